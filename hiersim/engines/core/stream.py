"""Programs whose kernels each need the one before: what was seen is remembered, not played again."""

from __future__ import annotations

from typing import Any

import cython

from hiersim.engines.core.columns import joined
from hiersim.engines.core.transitions import Transitions

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.engines.core.columns import array
    from cython.cimports.hiersim.engines.core.constants import COMPUTE, DISPATCH, INFINITY, N_ENGINES, NONE
else:
    from hiersim.columns import column
    from hiersim.engines.core.columns import array
    from hiersim.engines.core.constants import COMPUTE, DISPATCH, INFINITY, N_ENGINES, NONE


@cython.final
@cython.cclass
class Stream(Transitions):
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

    idle_of_nest: cython.longlong[::1]
    stale: cython.bint
    late_busy: cython.longlong[::1]
    remembered: cython.longlong

    def __init__(self, program: Any, keep_log: bool, fast: bool) -> None:
        Transitions.__init__(self, program, keep_log, fast)
        kernels = len(program)
        parts = (program.host_ticks, program.host_sync, program.launch_latency, program.start_ticks)
        self.whole, self.taken = joined(parts), 0
        self.host_ticks, self.host_sync = self.part(kernels), self.part(kernels)
        self.launch_latency, self.start_ticks = self.part(kernels), self.part(kernels)
        self.host_begin, self.launched = column(kernels), column(kernels)
        self.queue = program.queue
        self.reached, self.seen, self.total_busy = column(N_ENGINES), 0, column(self.resources)
        self.idle_of_nest, self.stale = column(len(self.depth), NONE), False
        self.late_busy, self.remembered = column(self.resources), 0

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
        while self.now < start:
            self.play_on()
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
        if here != NONE and self.t_next[known] != NONE:  # the key is that which `run` has looked for
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
        while self.active_left[0] > 0 or self.active_open[0] > 0:
            self.play_on()
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
        for index in range(self.t_first[known], self.t_last[known], 2):
            self.book[self.cells[index]] += self.cells[index + 1]
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
        while self.play_on() != 0:
            pass
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
        row: cython.longlong = self.ledger_row[kernel]
        for index in range(self.row_size):
            self.scratch[index] = self.book[index]
        for index in range(self.rows.first[row], self.rows.first[row + 1], 2):
            self.scratch[self.rows.words[index]] += self.rows.words[index + 1]
        self.ledger_row[kernel] = self.row_like_scratch()

    def times(self) -> dict[str, Any]:
        """Columns of a timeline by field name."""
        return {
            "host_begin": array(self.host_begin), "launched": array(self.launched), "ready": array(self.ready),
            "start": array(self.start), "end": array(self.end), "busy": array(self.busy),
            "makespan": int(self.makespan()),
        }  # fmt: skip

    def counted(self) -> dict[str, int]:
        """Counted work of this run."""
        counts: dict[str, int] = Transitions.counted(self)
        remembered = int(self.remembered)
        return counts | {
            "kernels_remembered": remembered, "kernels_played": len(self.end) - remembered,
            "states": int(self.states.count),
        }  # fmt: skip


def suits(program: Any) -> bool:
    """True when every kernel needs exactly the one before it, and no tile computes after it has completed.

    After a tile has completed its kernel may end: then something would compute that is of no kernel's time.
    """
    names = ("needs_ptr", "needs", "stage_ptr", "complete_stage", "stage_access")
    parts = [getattr(program, name) for name in names]
    whole: cython.longlong[::1] = joined(parts)
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
