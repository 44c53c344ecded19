"""What kernels did between two states at their ends, and the distinct rows of the ledger that come of it."""

from __future__ import annotations

from typing import Any

import cython
import numpy as np

from hiersim.engines.core.landmarks import Landmarks

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.engines.core.columns import Index, Sequences, array, doubled, entries
    from cython.cimports.hiersim.engines.core.constants import DEPENDENCY, N_ENGINES, NONE
else:
    from hiersim.columns import column
    from hiersim.engines.core.columns import Index, Sequences, array, doubled, entries
    from hiersim.engines.core.constants import DEPENDENCY, N_ENGINES, NONE


@cython.cclass
class Transitions(Landmarks):
    """What kernels did, each once: how long, the work of each engine and resource, and two rows of the ledger.

    A transition `known` has columns `t_...`; its entries of the ledger are cells, those of the kernel itself and, a row
    further, those that it books for the drain of the one before. A row of the ledger is complete when the next kernel
    is: equal ones are kept once.
    """

    def __init__(self, program: Any, keep_log: bool, fast: bool) -> None:
        Landmarks.__init__(self, program, False, keep_log, fast)
        self.transitions = Index(3)
        self.t_count = 0
        self.t_next, self.t_length, self.t_computed = column(64), column(64), column(64)
        self.t_of_key = column(64)
        self.t_reached, self.t_used, self.t_stages = column(64 * N_ENGINES), column(64), column(64)
        self.t_busy = column(64 * self.resources)
        self.t_first, self.t_last, self.cell_count = column(64), column(64), 0
        self.cells = column(8 * self.row_size)
        self.row_keys, self.row_of_key = Index(5), column(128)
        self.rows = Sequences()
        self.scratch, self.pairs = column(self.row_size), column(2 * self.row_size)
        self.ledger_row, self.late = column(len(program)), column(2 * N_ENGINES)

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def transition(self, since: cython.longlong) -> cython.longlong:
        """Note what the kernel that has just been played did, with times since `since`."""
        known: cython.longlong = self.t_count
        index: cython.longlong
        self.t_count = known + 1 if self.fast else 1 - known  # else only that of the kernel before is still needed
        if known == len(self.t_next):
            self.more_transitions()
        self.t_length[known] = self.now - since
        self.t_computed[known] = self.computed[0] - since
        self.t_used[known] = 0
        for index in range(N_ENGINES):
            self.t_reached[known * N_ENGINES + index] = self.covered[index] - since if self.begun[index] else NONE
        for index in range(self.resources):
            self.t_busy[known * self.resources + index] = self.busy[index]
        self.write_cells(known)
        return known

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def write_cells(self, known: cython.longlong) -> cython.longlong:
        """Keep the entries of both rows that are not zero, as pairs of a place and its ticks."""
        count: cython.longlong = self.cell_count if self.fast else 4 * known * self.row_size
        if count + 4 * self.row_size > len(self.cells):
            self.cells = doubled(self.cells)
        self.t_first[known] = count
        self.cell_count = self.t_last[known] = entries(self.book, 2 * self.row_size, self.cells, count)
        return 0

    def more_transitions(self) -> None:
        """Room for twice as many."""
        self.t_next, self.t_length, self.t_of_key = doubled(self.t_next), doubled(self.t_length), doubled(self.t_of_key)
        self.t_computed, self.t_used = doubled(self.t_computed), doubled(self.t_used)
        self.t_reached, self.t_stages = doubled(self.t_reached), doubled(self.t_stages)
        self.t_busy = doubled(self.t_busy)
        self.t_first, self.t_last = doubled(self.t_first), doubled(self.t_last)

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def row_id(self, known: cython.longlong, following: cython.longlong) -> cython.longlong:
        """Id of a kernel's row: what it did, the wait before it, and what its successor booked for its drain."""
        index: cython.longlong
        key: cython.longlong = NONE
        if self.fast:
            self.row_keys.key[0], self.row_keys.key[1] = known, following
            for index in range(N_ENGINES):
                self.row_keys.key[2 + index] = self.late[index]
            index = self.row_keys.count
            key = self.row_keys.add()
            if key < index:
                return self.row_of_key[key]
        self.add_to_scratch(known, 0)
        if following != NONE:
            self.add_to_scratch(following, self.row_size)
        for index in range(N_ENGINES):
            self.scratch[index * self.columns + DEPENDENCY] += self.late[index]
        found: cython.longlong = self.row_like_scratch()
        if key != NONE:
            if key == len(self.row_of_key):
                self.row_of_key = doubled(self.row_of_key)
            self.row_of_key[key] = found
        return found

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def add_to_scratch(self, known: cython.longlong, begin: cython.longlong) -> cython.longlong:
        """Add one row of a transition, the one whose entries start at `begin`."""
        index: cython.longlong
        place: cython.longlong
        for index in range(self.t_first[known], self.t_last[known], 2):
            place = self.cells[index] - begin
            if 0 <= place < self.row_size:
                self.scratch[place] += self.cells[index + 1]
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def row_like_scratch(self) -> cython.longlong:
        """Id of the row whose entries are in `scratch`, which is empty again afterwards.

        A row is kept as pairs of a place and its ticks, without zeros.
        """
        index: cython.longlong
        count: cython.longlong = entries(self.scratch, self.row_size, self.pairs, 0)
        for index in range(0, count, 2):
            self.scratch[self.pairs[index]] = 0
        return self.rows.add(self.pairs, count)

    def ledger(self) -> dict[str, Any]:
        """Distinct rows in the order in which kernels first have them, and the row of each kernel."""
        order = self.order_of_first_use()
        table = np.zeros(len(order) * self.row_size, np.int64)
        cells: cython.longlong[::1] = table
        number: cython.longlong
        row: cython.longlong
        index: cython.longlong
        for number in range(len(order)):
            row = order[number]
            for index in range(self.rows.first[row], self.rows.first[row + 1], 2):
                cells[number * self.row_size + self.rows.words[index]] = self.rows.words[index + 1]
        return {
            "ledger_rows": table.reshape(-1, int(N_ENGINES), int(self.columns)),
            "ledger_row": array(self.ledger_row),
        }

    def order_of_first_use(self) -> list[int]:
        """Rows in the order in which kernels first have them; `ledger_row` then counts in that order."""
        kernel: cython.longlong
        row: cython.longlong
        number: cython.longlong[::1] = column(self.rows.count, NONE)
        order: list[int] = []
        for kernel in range(len(self.ledger_row)):
            row = self.ledger_row[kernel]
            if number[row] == NONE:
                number[row] = len(order)
                order.append(row)
            self.ledger_row[kernel] = number[row]
        return order
