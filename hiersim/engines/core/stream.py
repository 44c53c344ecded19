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
COMPUTE = cython.declare(cython.longlong, int(Access.COMPUTE))
N_ENGINES = cython.declare(cython.longlong, len(ENGINES))


@cython.final
@cython.cclass
class Stream(Landmarks):
    """Kernels that each need the one before: from state to state at the ends of kernels.

    What a kernel does follows from the state that it finds, its loop nest and how long after its predecessor it
    starts. With fast-forward each such transition is played once and remembered.
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
    t_rows: cython.longlong[::1]
    t_count: cython.longlong

    # distinct rows of the ledger
    row_keys: Index
    row_of_key: cython.longlong[::1]
    row_ids: dict[Any, int]
    rows: list[Any]
    scratch: cython.longlong[::1]
    ledger_row: cython.longlong[::1]
    late: cython.longlong[::1]
    remembered: cython.longlong

    def __init__(self, program: Any, keep_log: bool, fast: bool) -> None:
        Landmarks.__init__(self, program, False, keep_log, fast)
        kernels = len(program)
        self.host_ticks, self.host_sync = loaded(program.host_ticks), loaded(program.host_sync)
        self.launch_latency, self.start_ticks = loaded(program.launch_latency), loaded(program.start_ticks)
        self.host_begin, self.launched = column(kernels), column(kernels)
        self.queue = program.queue
        self.reached, self.seen, self.total_busy = column(N_ENGINES), 0, column(self.resources)
        self.transitions = Index(3)
        self.t_count = 0
        self.t_next, self.t_length, self.t_computed = column(64), column(64), column(64)
        self.t_of_key = column(64)
        self.t_reached, self.t_used, self.t_stages = column(64 * N_ENGINES), column(64), column(64)
        self.t_busy, self.t_rows = column(64 * self.resources), column(128 * self.row_size)
        self.row_keys, self.row_of_key = Index(5), column(128)
        self.row_ids, self.rows = {}, []
        self.scratch, self.ledger_row = column(self.row_size), column(kernels)
        self.late = column(2 * N_ENGINES)
        self.remembered = 0

    def run(self) -> None:
        """Play or remember every kernel, then what is still on its way."""
        previous: cython.longlong = NONE
        kernel: cython.longlong
        here: cython.longlong = self.state(0) if self.fast else NONE
        count: cython.longlong = len(self.end)
        stale: cython.bint = False
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
                stale = True
                self.recall(kernel, known, ready + wait)
            else:
                if stale:
                    self.restore(kernel, here)
                    stale = False
                known = self.play(kernel, ready + wait, here)
            self.keep_books(kernel, known, previous)
            here = self.t_next[known]
            previous, ready = known, self.end[kernel]
        if stale:
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
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def play(self, kernel: cython.longlong, start: cython.longlong, here: cython.longlong) -> cython.longlong:
        """Play one kernel from the end of its predecessor to its own; returns the transition that it made."""
        index: cython.longlong
        stages: cython.longlong = self.stages + self.skipped
        self.open_books()
        self.next_start = start
        if start > self.now:
            self.until_done()
        self.next_start = INFINITY
        self.activate(kernel)
        self.until_done()
        self.finish(0)
        known: cython.longlong = self.transition(kernel)
        self.t_stages[known] = self.stages + self.skipped - stages
        for index in range(self.resources):
            self.total_busy[index] += self.busy[index]
        self.t_next[known] = self.state(kernel + 1) if self.fast else NONE
        if here != NONE and self.t_next[known] != NONE:
            self.transitions.key[0], self.transitions.key[1] = here, self.nest[kernel]
            self.transitions.key[2] = start - self.ready[kernel]
            self.t_of_key[self.transitions.add()] = known
        return known

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
    def transition(self, kernel: cython.longlong) -> cython.longlong:
        """Note what the kernel that has just been played did."""
        known: cython.longlong
        index: cython.longlong
        ready: cython.longlong = self.ready[kernel]
        if self.fast:
            known = self.t_count
            self.t_count += 1
        else:
            known = kernel & 1
        if known == len(self.t_next):
            self.more_transitions()
        self.t_length[known] = self.now - ready
        self.t_computed[known] = self.drain_computed[0] - ready
        self.t_used[known] = 0
        for index in range(N_ENGINES):
            self.t_reached[known * N_ENGINES + index] = self.covered[index] - ready if self.begun[index] else NONE
        for index in range(self.resources):
            self.t_busy[known * self.resources + index] = self.busy[index]
        for index in range(2 * self.row_size):
            self.t_rows[known * 2 * self.row_size + index] = self.book[index]
        return known

    def more_transitions(self) -> None:
        """Room for twice as many."""
        self.t_next, self.t_length, self.t_of_key = doubled(self.t_next), doubled(self.t_length), doubled(self.t_of_key)
        self.t_computed, self.t_used = doubled(self.t_computed), doubled(self.t_used)
        self.t_reached, self.t_stages = doubled(self.t_reached), doubled(self.t_stages)
        self.t_busy, self.t_rows = doubled(self.t_busy), doubled(self.t_rows)

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
        for index in range(self.row_size):
            self.scratch[index] = self.t_rows[known * 2 * self.row_size + index]
            if following != NONE:
                self.scratch[index] += self.t_rows[(2 * following + 1) * self.row_size + index]
        for index in range(N_ENGINES):
            self.scratch[index * self.columns + DEPENDENCY] += self.late[index]
        found: cython.longlong = self.row_like_scratch()
        if key != NONE:
            if key == len(self.row_of_key):
                self.row_of_key = doubled(self.row_of_key)
            self.row_of_key[key] = found
        return found

    def row_like_scratch(self) -> int:
        """Id of the row whose entries are in `scratch`."""
        entries = frozen(self.scratch, self.row_size)
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
        for known in range(self.t_count):
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
        entries = self.rows[self.ledger_row[kernel]]
        before: cython.longlong[::1] = loaded(np.frombuffer(entries, np.int64) if cython.compiled else entries)
        for index in range(self.row_size):
            self.scratch[index] = self.book[index] + before[index]
        self.ledger_row[kernel] = self.row_like_scratch()

    def ledger(self) -> dict[str, Any]:
        """Distinct rows in the order in which kernels first have them, and the row of each kernel."""
        order = self.order_of_first_use()
        if cython.compiled:
            table = np.frombuffer(b"".join([self.rows[row] for row in order]), np.int64)
        else:
            table = np.array([self.rows[row] for row in order], np.int64)
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


def computes_late(program: Any) -> bool:
    """True when a tile computes after it has completed: then something may compute after its kernel has ended."""
    stage_ptr: cython.longlong[::1] = loaded(program.stage_ptr)
    complete: cython.longlong[::1] = loaded(program.complete_stage)
    access: cython.longlong[::1] = loaded(program.stage_access)
    kind: cython.longlong
    stage: cython.longlong
    for kind in range(len(complete)):
        for stage in range(stage_ptr[kind] + complete[kind] + 1, stage_ptr[kind + 1]):
            if access[stage] == COMPUTE:
                return True
    return False
