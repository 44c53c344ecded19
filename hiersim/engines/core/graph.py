"""Programs whose kernels need any others: every kernel is played."""

from __future__ import annotations

from typing import Any

import cython
import numpy as np

from hiersim.engines.core.ahead import Ahead
from hiersim.engines.core.columns import loaded

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.engines.core.columns import Sequences, array, entries
    from cython.cimports.hiersim.engines.core.constants import INFINITY, N_ENGINES, NONE
else:
    from hiersim.columns import column
    from hiersim.engines.core.columns import Sequences, array, entries
    from hiersim.engines.core.constants import INFINITY, N_ENGINES, NONE


@cython.final
@cython.cclass
class Graph(Ahead):
    """Kernels that need any others: every one is played."""

    consumers_ptr: cython.longlong[::1]
    consumers: cython.longlong[::1]
    needs_ptr: cython.longlong[::1]
    needs: cython.longlong[::1]
    missing: cython.longlong[::1]
    host_ticks: cython.longlong[::1]
    host_sync: cython.longlong[::1]
    launch_latency: cython.longlong[::1]
    start_ticks: cython.longlong[::1]
    host_begin: cython.longlong[::1]
    launched: cython.longlong[::1]
    queue: cython.longlong
    host_next: cython.longlong
    host_free: cython.longlong
    # how many of the first kernels have ended, and when the last of these did
    ended: cython.longlong
    ended_at: cython.longlong
    # kernels that are ready and launched: a heap in order of (start, kernel)
    pending: cython.longlong
    pending_start: cython.longlong[::1]
    pending_kernel: cython.longlong[::1]

    def __init__(self, program: Any, keep_log: bool, fast: bool) -> None:
        Ahead.__init__(self, program, True, keep_log, fast)
        kernels = len(program)
        self.needs_ptr, self.needs = loaded(program.needs_ptr), loaded(program.needs)
        counts = np.diff(program.needs_ptr)
        consumer = np.repeat(np.arange(kernels), counts)
        order = np.argsort(program.needs, kind="stable")
        self.consumers = loaded(consumer[order])
        self.consumers_ptr = loaded(np.searchsorted(program.needs[order], np.arange(kernels + 1)))
        self.missing = loaded(counts)
        self.host_ticks, self.host_sync = loaded(program.host_ticks), loaded(program.host_sync)
        self.launch_latency, self.start_ticks = loaded(program.launch_latency), loaded(program.start_ticks)
        self.host_begin, self.launched = column(kernels, NONE), column(kernels, NONE)
        self.queue = program.queue
        self.host_next = self.host_free = self.ended = self.ended_at = self.pending = 0
        self.pending_start, self.pending_kernel = column(kernels), column(kernels)

    def run(self) -> None:
        """Play the program. Kernels that never end keep an end of -1."""
        kernel: cython.longlong
        for kernel in range(len(self.end)):
            if self.missing[kernel] == 0:
                self.make_ready(kernel)
        self.play()
        if self.ended == len(self.end):
            self.trailing(self.makespan())

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def play(self) -> cython.longlong:
        """The semantics of one tick, until nothing is left."""
        active: cython.longlong
        self.settle()
        while True:
            if self.play_on() == 0:
                return 0
            for active in range(self.actives):
                if self.active_left[active] == 0 and self.active_open[active] == 0:
                    self.settle()
                    break
            else:
                if self.next_start == self.now:
                    self.settle()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def settle(self) -> cython.longlong:
        """Kernels end, others become ready, the host goes on, kernels start; until nothing changes."""
        active: cython.longlong
        changed: cython.bint = True
        while changed:
            changed = False
            active = 0
            while active < self.actives:
                if self.active_left[active] == 0 and self.active_open[active] == 0:
                    self.end_kernel(active)
                    changed = True
                else:
                    active += 1
            self.dispatch()
            while self.next_start == self.now:
                self.start_next()
                changed = True
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def end_kernel(self, active: cython.longlong) -> cython.longlong:
        """A kernel ends now; those that needed nothing else are ready."""
        kernel: cython.longlong = self.active_kernel[active]
        index: cython.longlong
        consumer: cython.longlong
        self.finish(active)
        for index in range(self.consumers_ptr[kernel], self.consumers_ptr[kernel + 1]):
            consumer = self.consumers[index]
            self.missing[consumer] -= 1
            if self.missing[consumer] == 0:
                self.make_ready(consumer)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def make_ready(self, kernel: cython.longlong) -> cython.longlong:
        """All that a kernel needs has ended; its producer is the one that ended last, of equals the first."""
        index: cython.longlong
        need: cython.longlong
        last: cython.longlong = NONE
        self.ready[kernel] = self.now
        self.worked_ready[kernel] = self.worked_until(self.now)
        for index in range(self.needs_ptr[kernel], self.needs_ptr[kernel + 1]):
            need = self.needs[index]
            if last == NONE or self.end[need] > self.end[last] or (self.end[need] == self.end[last] and need < last):
                last = need
        self.producer[kernel] = last
        self.schedule(kernel)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def schedule(self, kernel: cython.longlong) -> cython.longlong:
        """The start of a kernel that is ready and launched."""
        place: cython.longlong = self.pending
        above: cython.longlong
        start: cython.longlong
        if self.ready[kernel] == NONE or self.launched[kernel] == NONE:
            return 0
        start = max(self.ready[kernel], self.launched[kernel]) + self.start_ticks[kernel]
        self.pending += 1
        while place > 0:
            above = (place - 1) // 2
            if self.pending_start[above] < start or (
                self.pending_start[above] == start and self.pending_kernel[above] < kernel
            ):
                break
            self.pending_start[place] = self.pending_start[above]
            self.pending_kernel[place] = self.pending_kernel[above]
            place = above
        self.pending_start[place], self.pending_kernel[place] = start, kernel
        self.next_start = self.pending_start[0]
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def start_next(self) -> cython.longlong:
        """The first of the pending kernels starts."""
        first: cython.longlong = self.pending_kernel[0]
        start: cython.longlong
        kernel: cython.longlong
        place: cython.longlong = 0
        below: cython.longlong = 1
        self.pending -= 1
        start, kernel = self.pending_start[self.pending], self.pending_kernel[self.pending]
        while below < self.pending:
            if below + 1 < self.pending and (
                self.pending_start[below + 1] < self.pending_start[below]
                or (
                    self.pending_start[below + 1] == self.pending_start[below]
                    and self.pending_kernel[below + 1] < self.pending_kernel[below]
                )
            ):
                below += 1
            if start < self.pending_start[below] or (
                start == self.pending_start[below] and kernel < self.pending_kernel[below]
            ):
                break
            self.pending_start[place] = self.pending_start[below]
            self.pending_kernel[place] = self.pending_kernel[below]
            place, below = below, 2 * below + 1
        self.pending_start[place], self.pending_kernel[place] = start, kernel
        self.next_start = self.pending_start[0] if self.pending > 0 else INFINITY
        self.activate(first)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def dispatch(self) -> cython.longlong:
        """The host launches what it can."""
        kernel: cython.longlong
        begin: cython.longlong
        while self.ended < len(self.end) and self.end[self.ended] != NONE:
            self.ended_at = max(self.ended_at, self.end[self.ended])
            self.ended += 1
        while self.host_next < len(self.end):
            kernel = self.host_next
            begin = self.host_free
            if self.host_sync[kernel]:
                if self.ended < kernel:
                    break
                begin = max(begin, self.ended_at)  # of all kernels before this one, which has not been launched
            if kernel >= self.queue:
                if self.start[kernel - self.queue] == NONE:
                    break
                begin = max(begin, self.start[kernel - self.queue])
            self.host_begin[kernel] = begin
            self.host_free = begin + self.host_ticks[kernel]
            self.launched[kernel] = self.host_free + self.launch_latency[kernel]
            self.host_next += 1
            self.schedule(kernel)
        return 0

    def ledger(self) -> dict[str, Any]:
        """Distinct rows in the order in which kernels first have them, and the row of each kernel."""
        kernels: cython.longlong = len(self.end)
        kernel: cython.longlong
        index: cython.longlong
        count: cython.longlong
        pairs: cython.longlong[::1] = column(2 * self.row_size)  # places and ticks without zeros: few are none
        cells: cython.longlong[::1] = column(self.row_size)
        row: cython.longlong[::1] = column(kernels)
        known = Sequences()
        first: list[int] = []
        for kernel in range(kernels):
            for index in range(self.row_size):
                cells[index] = self.book[kernel * self.row_size + index]
            count = entries(cells, self.row_size, pairs, 0)
            row[kernel] = known.add(pairs, count)
            if row[kernel] == len(first):
                first.append(kernel)
        dense = np.asarray(self.book, np.int64).reshape(-1, int(self.row_size))
        rows = dense[first].reshape(-1, int(N_ENGINES), int(self.columns))
        return {"ledger_rows": rows, "ledger_row": array(row)}

    def times(self) -> dict[str, Any]:
        """Columns of a timeline by field name."""
        return {
            "host_begin": array(self.host_begin), "launched": array(self.launched), "ready": array(self.ready),
            "start": array(self.start), "end": array(self.end), "busy": array(self.busy),
            "makespan": int(self.makespan()),
        }  # fmt: skip
