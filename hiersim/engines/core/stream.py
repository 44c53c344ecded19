"""Programs whose kernels each need the one before: what was seen is remembered, not played again."""

from __future__ import annotations

from typing import Any

import cython
import numpy as np

from hiersim.engines.core.columns import array, doubled, loaded
from hiersim.engines.core.landmarks import Landmarks
from hiersim.model.program import Access
from hiersim.model.timeline import ENGINES, Entry

if cython.compiled:
    from cython.cimports.hiersim.engines.core.columns import Index, column, frozen
else:
    from hiersim.engines.core.columns import Index, column, frozen

INFINITY = cython.declare(cython.longlong, int(np.iinfo(np.int64).max))
NONE = cython.declare(cython.longlong, -1)
DEPENDENCY = cython.declare(cython.longlong, int(Entry.DEPENDENCY))
DISPATCH = cython.declare(cython.longlong, int(Entry.DISPATCH))
COMPUTE = cython.declare(cython.longlong, int(Access.COMPUTE))
N_ENGINES = cython.declare(cython.longlong, len(ENGINES))


@cython.final
@cython.cclass
class Stream(Landmarks):
    """Kernels that each need the one before: from state to state at the ends of kernels.

    What a kernel does follows from the state that it finds, its loop nest and how long after its predecessor it
    starts. With fast-forward each such transition is played once and remembered. A kernel that finds the machine idle
    does what its loop nest says and nothing else, whatever was before: that is remembered for each nest as well, as a
    transition from its start and with the ledger after its start alone.
    """

    host_ticks: cython.longlong[::1]
    host_sync: cython.longlong[::1]
    launch_latency: cython.longlong[::1]
    start_ticks: cython.longlong[::1]
    host_begin: cython.longlong[::1]
    launched: cython.longlong[::1]
    queue: cython.longlong

    # the last work of each engine, and the time since when gaps of the next kernel are looked into
    reached: cython.longlong[::1]
    seen: cython.longlong
    total_busy: cython.longlong[::1]

    # transitions between states at ends of kernels
    transitions: Index
    t_of_key: cython.longlong[::1]
    t_next: cython.longlong[::1]
    t_length: cython.longlong[::1]
    t_computed: cython.longlong[::1]
    t_reached: cython.longlong[::1]
    t_used: cython.longlong[::1]
    t_stages: cython.longlong[::1]
    t_busy: cython.longlong[::1]
    t_first: cython.longlong[::1]
    t_last: cython.longlong[::1]
    cell_place: cython.longlong[::1]
    cell_ticks: cython.longlong[::1]
    cell_count: cython.longlong
    t_count: cython.longlong
    idle_of_nest: cython.longlong[::1]
    stale: cython.bint

    # distinct rows of the ledger
    row_keys: Index
    row_of_key: cython.longlong[::1]
    row_ids: dict[Any, int]
    rows: list[Any]
    scratch: cython.longlong[::1]
    pairs: cython.longlong[::1]
    ledger_row: cython.longlong[::1]
    late: cython.longlong[::1]
    late_busy: cython.longlong[::1]
    remembered: cython.longlong

    def __init__(self, program: Any, keep_log: bool, fast: bool) -> None:
        Landmarks.__init__(self, program, False, keep_log, fast)
        kernels = len(program)
        parts = (program.host_ticks, program.host_sync, program.launch_latency, program.start_ticks)
        self.whole, self.taken = loaded(np.concatenate(parts)), 0
        self.host_ticks, self.host_sync = self.part(kernels), self.part(kernels)
        self.launch_latency, self.start_ticks = self.part(kernels), self.part(kernels)
        self.host_begin, self.launched = column(kernels), column(kernels)
        self.queue = program.queue
        self.reached, self.seen, self.total_busy = column(N_ENGINES), 0, column(self.resources)
        self.transitions = Index(3)
        self.t_count = 0
        self.t_next, self.t_length, self.t_computed = column(64), column(64), column(64)
        self.t_of_key = column(64)
        self.t_reached, self.t_used, self.t_stages = column(64 * N_ENGINES), column(64), column(64)
        self.t_busy = column(64 * self.resources)
        self.t_first, self.t_last, self.cell_count = column(64), column(64), 0
        self.cell_place, self.cell_ticks = column(4 * self.row_size), column(4 * self.row_size)
        self.idle_of_nest, self.stale = column(len(self.depth), NONE), False
        self.row_keys, self.row_of_key = Index(5), column(128)
        self.row_ids, self.rows = {}, []
        self.scratch, self.pairs = column(self.row_size), column(2 * self.row_size)
        self.ledger_row = column(kernels)
        self.late, self.late_busy = column(2 * N_ENGINES), column(self.resources)
        self.remembered = 0

    def run(self) -> None:
        """Play or remember every kernel, then what is still on its way."""
        previous: cython.longlong = NONE
        kernel: cython.longlong
        here: cython.longlong = self.state(0) if self.fast else NONE
        count: cython.longlong = len(self.end)
        ready: cython.longlong = 0
        for kernel in range(count):
            self.ready[kernel] = ready
            wait: cython.longlong = self.launch(kernel, ready)
            known: cython.longlong = NONE
            if here != NONE:
                self.transitions.key[0], self.transitions.key[1] = here, self.nest[kernel]
                self.transitions.key[2] = wait
                known = self.transitions.find()
                known = self.t_of_key[known] if known != NONE else NONE
            if known != NONE:
                self.recall(kernel, known, ready + wait)
            else:
                if self.stale:
                    self.restore(kernel, here)
                    self.stale = False
                known = self.play(kernel, ready + wait, here)
            self.keep_books(kernel, known, previous)
            here = self.t_next[known]
            previous, ready = known, self.end[kernel]
        if self.stale:
            self.restore(count, here)
        self.run_dry(previous)

    @cython.cfunc
    @cython.exceptval(check=False)
    def launch(self, kernel: cython.longlong, ready: cython.longlong) -> cython.longlong:
        """The host's part: returns how long after it is ready the kernel starts."""
        begin: cython.longlong = self.host_begin[kernel - 1] + self.host_ticks[kernel - 1] if kernel > 0 else 0
        if self.host_sync[kernel]:
            begin = max(begin, ready)
        if kernel >= self.queue:
            begin = max(begin, self.start[kernel - self.queue])
        self.host_begin[kernel] = begin
        self.launched[kernel] = begin + self.host_ticks[kernel] + self.launch_latency[kernel]
        return max(self.launched[kernel] - ready, 0) + self.start_ticks[kernel]

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def recall(self, kernel: cython.longlong, known: cython.longlong, start: cython.longlong) -> cython.longlong:
        """A kernel does what was seen before."""
        self.start[kernel] = start
        self.end[kernel] = self.ready[kernel] + self.t_length[known]
        self.t_used[known] += 1
        self.remembered += 1
        self.stale = True
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def play(self, kernel: cython.longlong, start: cython.longlong, here: cython.longlong) -> cython.longlong:
        """Play one kernel from the end of its predecessor to its own; returns the transition that it made."""
        index: cython.longlong
        stages: cython.longlong = self.stages + self.skipped
        nest: cython.longlong = self.nest[kernel]
        self.open_books()
        self.next_start = start
        if start > self.now:
            self.until_done()
        self.next_start = INFINITY
        idle: cython.bint = self.fast and self.is_idle() and self.total[nest] > 0
        if idle and self.idle_of_nest[nest] != NONE:
            self.repeat(kernel, self.idle_of_nest[nest])
        else:
            self.play_tiles(kernel, idle)
        known: cython.longlong = self.transition(self.ready[kernel])
        self.t_stages[known] = self.stages + self.skipped - stages
        for index in range(self.resources):
            self.total_busy[index] += self.busy[index]
        if self.stale:
            self.t_next[known] = self.t_next[self.idle_of_nest[nest]]
        else:
            self.t_next[known] = self.state(kernel + 1) if self.fast else NONE
        if idle and not self.stale and self.t_next[known] != NONE:
            self.idle_of_nest[nest] = known - 1
            self.t_next[known - 1] = self.t_next[known]
        if here != NONE and self.t_next[known] != NONE:
            self.transitions.key[0], self.transitions.key[1] = here, nest
            self.transitions.key[2] = start - self.ready[kernel]
            self.t_of_key[self.transitions.add()] = known
        return known

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def play_tiles(self, kernel: cython.longlong, idle: cython.bint) -> cython.longlong:
        """Play a kernel that starts now; where it finds the machine idle, a transition from its start is noted."""
        index: cython.longlong
        known: cython.longlong
        start: cython.longlong = self.now
        stages: cython.longlong = self.stages + self.skipped
        for index in range(N_ENGINES if idle else 0):
            self.covered[index] = start  # what lies before is named afterwards
        for index in range(self.resources):
            self.late_busy[index] = self.busy[index]
            self.busy[index] = 0
        self.activate(kernel)
        self.until_done()
        if idle:
            known = self.transition(start)
            self.t_stages[known] = self.stages + self.skipped - stages
            self.name_idle_time(kernel)
        for index in range(self.resources):
            self.busy[index] += self.late_busy[index]
        self.finish(0)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def repeat(self, kernel: cython.longlong, known: cython.longlong) -> cython.longlong:
        """A kernel that finds the machine idle does what one of its nest did that found it idle too."""
        index: cython.longlong
        start: cython.longlong = self.now
        self.current, self.start[kernel] = kernel, start
        for index in range(N_ENGINES):
            self.begun[index] = 0
            if self.t_reached[known * N_ENGINES + index] != NONE:
                self.begun[index] = 1
                self.covered[index] = start + self.t_reached[known * N_ENGINES + index]
        self.name_idle_time(kernel)
        for index in range(self.t_first[known], self.t_last[known]):
            self.book[self.cell_place[index]] += self.cell_ticks[index]
        for index in range(self.resources):
            self.busy[index] += self.t_busy[known * self.resources + index]
        self.computed[0] = start + self.t_computed[known]
        self.now = self.end[kernel] = start + self.t_length[known]
        self.skipped += self.t_stages[known]
        self.remembered += 1
        self.stale = True
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def name_idle_time(self, kernel: cython.longlong) -> cython.longlong:
        """Name the gaps of engines that worked in a kernel, up to its start; nothing worked in them."""
        engine: cython.longlong
        begin: cython.longlong
        for engine in range(N_ENGINES):
            begin = self.seen
            if self.begun[engine]:
                if begin < self.ready[kernel]:
                    self.dependency(engine, kernel, begin, 0)
                    begin = self.ready[kernel]
                self.book[self.row(kernel) + engine * self.columns + DISPATCH] += self.start[kernel] - begin
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def open_books(self) -> cython.longlong:
        """Empty rows for this kernel and the one before; gaps begin where the latter last computed."""
        index: cython.longlong
        for index in range(2 * self.row_size):
            self.book[index] = 0
        for index in range(self.resources):
            self.busy[index] = 0
        for index in range(N_ENGINES):
            self.covered[index], self.worked_cover[index] = self.seen, 0
        for index in range(self.drains):
            self.drain_worked_begin[index] = self.drain_worked_end[index] = 0
        self.worked = self.work_count = 0
        self.drain_worked[0] = self.worked_ready[0] = 0
        self.current = NONE
        return 0

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

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def write_cells(self, known: cython.longlong) -> cython.longlong:
        """Keep the entries of both rows that are not zero: few are."""
        index: cython.longlong
        count: cython.longlong = self.cell_count if self.fast else known * 2 * self.row_size
        if count + 2 * self.row_size > len(self.cell_place):
            self.cell_place, self.cell_ticks = doubled(self.cell_place), doubled(self.cell_ticks)
        self.t_first[known] = count
        for index in range(2 * self.row_size):
            if self.book[index] != 0:
                self.cell_place[count], self.cell_ticks[count] = index, self.book[index]
                count += 1
        self.cell_count = self.t_last[known] = count
        return 0

    def more_transitions(self) -> None:
        """Room for twice as many."""
        self.t_next, self.t_length, self.t_of_key = doubled(self.t_next), doubled(self.t_length), doubled(self.t_of_key)
        self.t_computed, self.t_used = doubled(self.t_computed), doubled(self.t_used)
        self.t_reached, self.t_stages = doubled(self.t_reached), doubled(self.t_stages)
        self.t_busy = doubled(self.t_busy)
        self.t_first, self.t_last = doubled(self.t_first), doubled(self.t_last)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def keep_books(self, kernel: cython.longlong, known: cython.longlong, previous: cython.longlong) -> cython.longlong:
        """The row of the kernel before is complete; gaps that this one closed began before it."""
        engine: cython.longlong
        ready: cython.longlong = self.ready[kernel]
        if kernel > 0:
            self.ledger_row[kernel - 1] = self.row_id(previous, known)
        for engine in range(N_ENGINES):
            self.late[engine] = 0
            if self.t_reached[known * N_ENGINES + engine] != NONE:
                self.late[engine] = self.seen - self.reached[engine]
                self.reached[engine] = ready + self.t_reached[known * N_ENGINES + engine]
        self.seen = ready + self.t_computed[known]
        return 0

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
        for index in range(self.t_first[known], self.t_last[known]):
            if self.cell_place[index] < self.row_size:
                self.scratch[self.cell_place[index]] += self.cell_ticks[index]
        if following != NONE:
            for index in range(self.t_first[following], self.t_last[following]):
                if self.cell_place[index] >= self.row_size:
                    self.scratch[self.cell_place[index] - self.row_size] += self.cell_ticks[index]
        for index in range(N_ENGINES):
            self.scratch[index * self.columns + DEPENDENCY] += self.late[index]
        found: cython.longlong = self.row_like_scratch()
        if key != NONE:
            if key == len(self.row_of_key):
                self.row_of_key = doubled(self.row_of_key)
            self.row_of_key[key] = found
        return found

    def row_like_scratch(self) -> int:
        """Id of the row whose entries are in `scratch`, which is empty again afterwards.

        A row is kept as pairs of a place and its ticks, without zeros.
        """
        index: cython.longlong
        count: cython.longlong = 0
        for index in range(self.row_size):
            if self.scratch[index] != 0:
                self.pairs[count], self.pairs[count + 1] = index, self.scratch[index]
                self.scratch[index] = 0
                count += 2
        entries = frozen(self.pairs, count)
        found: int = self.row_ids.setdefault(entries, len(self.rows))
        if found == len(self.rows):
            self.rows.append(entries)
        return found

    # -------------------------------------------------------------------------------------------------- the end of it

    def run_dry(self, previous: int) -> None:
        """Play what is still on its way after the last kernel, and name the gaps that no tile ends."""
        count: cython.longlong = len(self.end)
        known: cython.longlong
        index: cython.longlong
        if count == 0:
            return
        for index in range(self.resources):
            self.busy[index] = 0
        while True:
            self.grants()
            if self.advance() == 0:
                break
            self.completions()
        for known in range(self.t_count if self.fast else 0):
            for index in range(self.resources):
                self.busy[index] += self.t_busy[known * self.resources + index] * self.t_used[known]
            self.skipped += self.t_stages[known] * self.t_used[known]
        for index in range(self.resources):
            self.busy[index] += self.total_busy[index]
        self.ledger_row[count - 1] = self.row_id(previous, NONE)
        for index in range(N_ENGINES):
            self.covered[index] = self.reached[index]
        self.trail()

    def trail(self) -> None:
        """Add the trailing gaps to the row of the tile that arrived last, and number the rows by first use."""
        index: cython.longlong
        kernel: cython.longlong = self.tile_kernel[self.last_slot] if self.last_slot != NONE else len(self.end) - 1
        self.current = kernel
        for index in range(self.row_size):
            self.book[index] = 0
        self.trailing(self.makespan())
        pairs: cython.longlong[::1] = self.pairs_of([self.ledger_row[kernel]])
        for index in range(self.row_size):
            self.scratch[index] = self.book[index]
        for index in range(0, len(pairs), 2):
            self.scratch[pairs[index]] += pairs[index + 1]
        self.ledger_row[kernel] = self.row_like_scratch()

    def pairs_of(self, rows: list[int]) -> Any:
        """The pairs of some rows, one row after the other."""
        if cython.compiled:
            return loaded(np.frombuffer(b"".join([self.rows[row] for row in rows]), np.int64))
        return [number for row in rows for number in self.rows[row]]

    def ledger(self) -> dict[str, Any]:
        """Distinct rows in the order in which kernels first have them, and the row of each kernel."""
        order = self.order_of_first_use()
        words: cython.longlong = 8 if cython.compiled else 1  # bytes, or numbers
        pairs: cython.longlong[::1] = self.pairs_of(order)
        table = np.zeros(len(order) * self.row_size, np.int64)
        cells: cython.longlong[::1] = table
        number: cython.longlong
        index: cython.longlong = 0
        end: cython.longlong = 0
        for number in range(len(order)):
            end += len(self.rows[order[number]]) // words
            while index < end:
                cells[number * self.row_size + pairs[index]] = pairs[index + 1]
                index += 2
        return {
            "ledger_rows": table.reshape(-1, int(N_ENGINES), int(self.columns)),
            "ledger_row": array(self.ledger_row),
        }

    def order_of_first_use(self) -> list[int]:
        """Rows in the order in which kernels first have them; `ledger_row` then counts in that order."""
        kernel: cython.longlong
        row: cython.longlong
        number: cython.longlong[::1] = column(len(self.rows), NONE)
        order: list[int] = []
        for kernel in range(len(self.ledger_row)):
            row = self.ledger_row[kernel]
            if number[row] == NONE:
                number[row] = len(order)
                order.append(row)
            self.ledger_row[kernel] = number[row]
        return order

    def times(self) -> dict[str, Any]:
        """Columns of a timeline by field name."""
        return {
            "host_begin": array(self.host_begin), "launched": array(self.launched), "ready": array(self.ready),
            "start": array(self.start), "end": array(self.end), "busy": array(self.busy),
            "makespan": int(self.makespan()),
        }  # fmt: skip

    def counted(self) -> dict[str, int]:
        """Counted work of this run."""
        counts: dict[str, int] = Landmarks.counted(self)
        remembered = int(self.remembered)
        return counts | {
            "kernels_remembered": remembered, "kernels_played": len(self.end) - remembered, "states": len(self.states),
        }  # fmt: skip


def suits(program: Any) -> bool:
    """True when every kernel needs exactly the one before it, and no tile computes after it has completed.

    After a tile has completed its kernel may end: then something would compute that is of no kernel's time.
    """
    names = ("needs_ptr", "needs", "stage_ptr", "complete_stage", "stage_access")
    parts = [getattr(program, name) for name in names]
    whole: cython.longlong[::1] = loaded(np.concatenate(parts))
    kernels: cython.longlong = len(parts[0]) - 1
    needs: cython.longlong = kernels + 1
    stage_ptr: cython.longlong = needs + len(parts[1])
    complete: cython.longlong = stage_ptr + len(parts[2])
    access: cython.longlong = complete + len(parts[3])
    kinds: cython.longlong = len(parts[3])
    kind: cython.longlong
    stage: cython.longlong
    if len(parts[1]) != max(kernels - 1, 0) or whole[0] != 0:
        return False
    for kind in range(kernels):
        if whole[1 + kind] != kind or (kind > 0 and whole[needs + kind - 1] != kind - 1):
            return False
    for kind in range(kinds):
        for stage in range(whole[stage_ptr + kind] + whole[complete + kind] + 1, whole[stage_ptr + kind + 1]):
            if whole[access + stage] == COMPUTE:
                return False
    return True
