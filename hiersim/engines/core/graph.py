"""Programs whose kernels need any others: every kernel is played."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import cython
import numpy as np

from hiersim.engines.core.columns import array, loaded
from hiersim.engines.core.machine import Machine
from hiersim.model.timeline import ENGINES, distinct_ledgers

if cython.compiled:
    from cython.cimports.hiersim.engines.core.columns import column
else:
    from hiersim.engines.core.columns import column

INFINITY = cython.declare(cython.longlong, int(np.iinfo(np.int64).max))
NONE = cython.declare(cython.longlong, -1)
N_ENGINES = cython.declare(cython.longlong, len(ENGINES))


@cython.final
@cython.cclass
class Graph(Machine):
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
    ended: cython.longlong
    pending: list[tuple[int, int]]

    def __init__(self, program: Any, keep_log: bool, fast: bool) -> None:
        Machine.__init__(self, program, True, keep_log, fast)
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
        self.host_next = self.host_free = self.ended = 0
        self.pending = []

    def run(self) -> None:
        """Play the program. Kernels that never end keep an end of -1."""
        for kernel in range(len(self.end)):
            if self.missing[kernel] == 0:
                self.make_ready(kernel)
        self.play()
        if self.ended_all():
            self.trailing(self.makespan())

    def ended_all(self) -> bool:
        """True when every kernel has ended."""
        return all(self.end[kernel] != NONE for kernel in range(len(self.end)))

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def play(self) -> cython.longlong:
        """The semantics of one tick, until nothing is left."""
        active: cython.longlong
        self.settle()
        while True:
            for active in range(self.actives):
                self.issue(active)
            self.grants()
            if self.advance() == 0:
                return 0
            self.completions()
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

    def end_kernel(self, active: int) -> None:
        """A kernel ends now; those that needed nothing else are ready."""
        kernel = self.active_kernel[active]
        self.finish(active)
        for index in range(self.consumers_ptr[kernel], self.consumers_ptr[kernel + 1]):
            consumer = self.consumers[index]
            self.missing[consumer] -= 1
            if self.missing[consumer] == 0:
                self.make_ready(consumer)

    def make_ready(self, kernel: int) -> None:
        """All that a kernel needs has ended; its producer is the one that ended last, of equals the first."""
        self.ready[kernel] = self.now
        self.worked_ready[kernel] = self.worked_until(self.now)
        needs = [int(self.needs[index]) for index in range(self.needs_ptr[kernel], self.needs_ptr[kernel + 1])]
        self.producer[kernel] = max(needs, key=lambda need: (self.end[need], -need), default=NONE)
        self.schedule(kernel)

    def schedule(self, kernel: int) -> None:
        """The start of a kernel that is ready and launched."""
        if self.ready[kernel] == NONE or self.launched[kernel] == NONE:
            return
        due = max(int(self.ready[kernel]), int(self.launched[kernel])) + int(self.start_ticks[kernel])
        heappush(self.pending, (due, int(kernel)))
        self.next_start = self.pending[0][0]

    def start_next(self) -> None:
        """The first of the pending kernels starts."""
        kernel = heappop(self.pending)[1]
        self.next_start = self.pending[0][0] if self.pending else INFINITY
        self.activate(kernel)

    def dispatch(self) -> None:
        """The host launches what it can."""
        while self.host_next < len(self.end):
            kernel = self.host_next
            while self.ended < len(self.end) and self.end[self.ended] != NONE:
                self.ended += 1
            begin = self.host_free
            if self.host_sync[kernel]:
                if self.ended < kernel:
                    break
                begin = max(begin, self.ended_before(kernel))
            if kernel >= self.queue:
                if self.start[kernel - self.queue] == NONE:
                    break
                begin = max(begin, self.start[kernel - self.queue])
            self.host_begin[kernel] = begin
            self.host_free = begin + self.host_ticks[kernel]
            self.launched[kernel] = self.host_free + self.launch_latency[kernel]
            self.host_next += 1
            self.schedule(kernel)

    def ended_before(self, kernel: int) -> int:
        """When the last of the kernels before this one ended."""
        return max([int(self.end[earlier]) for earlier in range(kernel)], default=0)

    def ledger(self) -> dict[str, Any]:
        """Distinct rows in the order in which kernels first have them, and the row of each kernel."""
        dense = array(self.book).reshape(len(self.end), int(N_ENGINES), int(self.columns))
        return distinct_ledgers(dense.swapaxes(0, 1))

    def times(self) -> dict[str, Any]:
        """Columns of a timeline by field name."""
        return {
            "host_begin": array(self.host_begin), "launched": array(self.launched), "ready": array(self.ready),
            "start": array(self.start), "end": array(self.end), "busy": array(self.busy),
            "makespan": int(self.makespan()),
        }  # fmt: skip
