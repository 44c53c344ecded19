"""The event loop, event by event: tiles, ports and units over flat integer arrays; and kernels that start and end.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. What a resource remembers of the past is pruned to what a tile that is still there may be asked about.
"""

from __future__ import annotations

from typing import Any

import cython
import numpy as np

from hiersim.engines.core.queues import Queues

if cython.compiled:
    from cython.cimports.cpython.exc import PyErr_CheckSignals
    from cython.cimports.hiersim.engines.core.columns import array
    from cython.cimports.hiersim.engines.core.constants import (  # isort: skip
        COMPLETES, COMPUTES, DRAIN, GRANTED, INFINITY, ISSUED, LANDED, LAST, LEAVES, LOG_WIDTH, LOOK,
        N_ENGINES, NONE, RELEASES, SERVED, TRACED,
    )  # fmt: skip
else:
    from hiersim.engines.core.columns import array
    from hiersim.engines.core.constants import (  # isort: skip
        COMPLETES, COMPUTES, DRAIN, GRANTED, INFINITY, ISSUED, LANDED, LAST, LEAVES, LOG_WIDTH, LOOK,
        N_ENGINES, NONE, RELEASES, SERVED, TRACED,
    )  # fmt: skip

    def PyErr_CheckSignals() -> None:  # noqa: N802
        """Interpreted code can be interrupted anyway."""


@cython.cclass
class Machine(Queues):
    """Resources, tiles in flight and the ledger of one run. `Stream` and `Graph` drive it."""

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def advance(self) -> cython.longlong:
        """Go to the next event; 0 when nothing is left."""
        time: cython.longlong = min(self.next_start, self.next_due)
        if time == INFINITY:
            return 0
        self.now = time
        self.steps += 1
        if self.tracing == TRACED:
            self.happens(0, NONE, 0)
        if self.steps & LOOK == 0:
            PyErr_CheckSignals()
        return 1

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def completions(self) -> cython.longlong:
        """All services and flights that end now take effect."""
        place: cython.longlong
        head: cython.longlong
        due: cython.longlong
        now: cython.longlong = self.now
        while self.next_due == now:
            place = self.next_place
            if self.serving[place] >= 0 and self.service_end[place] == now:
                self.served(place)
            due = INFINITY  # nothing is served here until the next grant
            if self.serving[place] >= 0:
                due = self.service_end[place]
            head = self.flight_head[place]
            while head >= 0:
                if self.tile_time[head] != now:
                    due = min(due, self.tile_time[head])
                    break
                self.land(self.end_flight(place))
                head = self.flight_head[place]
            self.due[place] = due
            self.find_next()
        return 0

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def find_next(self) -> cython.longlong:
        """The resource at which something ends first, the first of equals; without a branch, which none could guess."""
        place: cython.longlong
        due: cython.longlong
        next_due: cython.longlong = INFINITY
        next_place: cython.longlong = 0
        for place in range(self.resources):
            due = self.due[place]
            next_place = place if due < next_due else next_place
            next_due = min(next_due, due)
        self.next_due, self.next_place = next_due, next_place
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def served(self, place: cython.longlong) -> cython.longlong:
        """The service at `place` ends: its buffer may become free, its data is on the way."""
        slot: cython.longlong = self.serving[place]
        stage: cython.longlong = self.tile_stage[slot]
        delay: cython.longlong = self.latency[stage]
        marks: cython.longlong = self.marks[stage]
        kernel: cython.longlong
        active: cython.longlong
        if self.tracing == TRACED:
            self.happens(SERVED, slot, stage)
        self.serving[place] = NONE
        if self.queue_head[place] >= 0:
            self.waiting, self.ready_place = self.waiting + 1, place
        if marks & (COMPUTES | RELEASES):
            kernel = self.tile_kernel[slot]
            if marks & COMPUTES and self.end[kernel] == NONE:
                self.computed[kernel * self.wide] = self.now
                if self.wide == 1:  # in a stream, nothing works between a kernel's last computation and its end
                    self.worked_computed[kernel] = self.worked_until(self.now)
            if marks & RELEASES:
                active = self.tile_active[slot]
                if self.active_kernel[active] == kernel:  # one that has ended may get it too: nobody takes it
                    self.active_free[active] += 1
        if delay == 0:
            self.land(slot)
        elif marks & (LAST | COMPLETES) == LAST:
            self.retire(slot, self.now + delay)
        else:
            self.fly(slot, place, self.now + delay)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def land(self, slot: cython.longlong) -> cython.longlong:
        """The data of a tile's stage has arrived: on to the next stage, or out."""
        stage: cython.longlong = self.tile_stage[slot]
        marks: cython.longlong = self.marks[stage]
        active: cython.longlong
        if self.tracing == TRACED:
            self.happens(LANDED, slot, stage)
        if marks & COMPLETES:
            active = self.tile_active[slot]
            self.active_open[active] -= 1
            if self.active_left[active] == 0:
                if self.now > self.active_time[active]:
                    self.active_time[active] = self.now
                    self.active_slot[active] = slot
                elif self.tile_number[slot] < self.tile_number[self.active_slot[active]]:
                    self.active_slot[active] = slot
        if marks & LAST:
            self.retire(slot, self.now)
        else:
            self.tile_stage[slot] = stage + 1
            self.enqueue(slot, self.resource[stage + 1])
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def grants(self) -> cython.longlong:
        """Every idle resource serves the first in its queue."""
        place: cython.longlong
        slot: cython.longlong
        stage: cython.longlong
        second: cython.longlong
        end: cython.longlong
        now: cython.longlong = self.now
        place = self.ready_place if self.waiting == 1 else 0
        while self.waiting > 0:
            slot = self.queue_head[place]
            if slot < 0 or self.serving[place] >= 0:
                place += 1
                continue
            if self.fair[place]:
                slot = self.choose(place)
            second = self.after[slot]
            self.queue_head[place] = second
            if second < 0:
                self.queue_tail[place] = NONE
            else:
                self.before[second] = NONE
            stage = self.tile_stage[slot]
            if self.tracing == TRACED:
                self.happens(GRANTED, slot, stage)
            end = now + self.ticks[stage]
            self.granted[self.tile_base[slot] + stage] = now
            self.serving[place] = slot
            self.waiting -= 1
            self.service_end[place] = end
            self.due[place] = min(self.due[place], end)
            if end < self.next_due or (end == self.next_due and place < self.next_place):
                self.next_due, self.next_place = end, place
            self.busy[place] += end - now
            self.stages += 1
            if self.marks[stage] & COMPUTES:
                self.work(place, slot, stage)
            else:
                if self.marks[stage] & LEAVES:
                    self.active_front[self.tile_active[slot]] = NONE
                self.remember(place, self.tile_kernel[slot], end)
            if self.keep_log:
                self.record(slot, stage)
            self.tile_time[slot] = now
            place += 1
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def record(self, slot: cython.longlong, stage: cython.longlong) -> cython.longlong:
        """One row of the stage log: kernel, tile, stage, request, grant, end, buffer."""
        row: cython.longlong = self.log_rows * LOG_WIDTH
        kernel: cython.longlong = self.tile_kernel[slot]
        self.log[row] = kernel
        self.log[row + 1] = self.tile_number[slot] + self.total[self.nest[kernel]]
        self.log[row + 2] = stage
        self.log[row + 3] = self.tile_time[slot]
        self.log[row + 4] = self.now
        self.log[row + 5] = self.now + self.ticks[stage]
        self.log[row + 6] = self.tile_buffer[slot]
        self.log_rows += 1
        return 0

    # ------------------------------------------------------------------------------------------------------- kernels

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def activate(self, kernel: cython.longlong) -> cython.longlong:
        """A kernel starts now. Returns 1 when it has no tiles and is done already."""
        place: cython.longlong = self.actives
        nest: cython.longlong = self.nest[kernel]
        engine: cython.longlong
        if place == len(self.active_kernel):
            self.more_actives()
        self.actives += 1
        self.current = kernel
        self.start[kernel] = self.now
        self.worked_start[kernel * self.wide] = self.worked_until(self.now)
        self.computed[kernel * self.wide] = self.now
        self.worked_computed[kernel * self.wide] = self.worked_start[kernel * self.wide]
        for engine in range(N_ENGINES):
            self.begun[kernel * self.wide * N_ENGINES + engine] = 0
        self.active_kernel[place] = kernel
        self.active_loop[place] = self.loop_ptr[nest]
        self.active_free[place] = self.depth[nest]
        self.active_left[place] = self.total[nest]
        self.active_number[place] = -self.total[nest]
        self.active_open[place], self.active_time[place], self.active_slot[place] = 0, NONE, NONE
        self.active_line[place], self.active_front[place] = self.line[nest], NONE
        if self.total[nest] == 0:
            return 1
        self.enter_loop(place)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def enter_loop(self, active: cython.longlong) -> cython.longlong:
        """The first tile of the loop that is next."""
        loop: cython.longlong = self.active_loop[active]
        self.active_repeat[active] = self.loop_repeat[loop]
        self.active_body[active] = self.body_ptr[loop]
        self.active_count[active] = self.body_count[self.body_ptr[loop]]
        self.saved_loop.valid = 0
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def issue(self, active: cython.longlong) -> cython.longlong:
        """Give the free buffers of a kernel to its next tiles, in order; where they wait in line, to one at a time."""
        while self.active_free[active] > 0 and self.active_left[active] > 0 and self.active_front[active] == NONE:
            if self.fast:
                self.checkpoint(active)
            self.issue_one(active)
        return 0

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def issue_one(self, active: cython.longlong) -> cython.longlong:
        """Give a free buffer to the next tile."""
        kind: cython.longlong = self.body_tile[self.active_body[active]]
        slot: cython.longlong = self.take_slot(active, kind)
        if self.tracing == TRACED:
            self.happens(ISSUED, slot, self.stage_ptr[kind])
        if self.active_line[active] == NONE:
            self.enqueue(slot, self.resource[self.stage_ptr[kind]])
        else:
            self.line_up(slot, self.active_line[active], active)
        self.next_tile(active)
        return 0

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def take_slot(self, active: cython.longlong, kind: cython.longlong) -> cython.longlong:
        """A slot for the next tile of a kernel, in which it takes one of its free buffers."""
        if self.free_slot == NONE:
            self.more_slots()
        slot: cython.longlong = self.free_slot
        self.free_slot = self.after[slot]
        self.tile_kernel[slot] = self.active_kernel[active]
        self.tile_number[slot] = self.active_number[active]
        self.tile_type[slot] = kind
        self.tile_base[slot] = slot * self.longest - self.stage_ptr[kind]
        self.tile_stage[slot] = self.stage_ptr[kind]
        self.tile_buffer[slot] = self.now
        self.tile_active[slot] = active
        self.live += 1
        self.active_free[active] -= 1
        self.active_left[active] -= 1
        self.active_open[active] += 1
        self.active_number[active] += 1
        return slot

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def next_tile(self, active: cython.longlong) -> cython.longlong:
        """One tile further in the loops."""
        loop: cython.longlong = self.active_loop[active]
        self.active_count[active] -= 1
        if self.active_count[active] > 0:
            return 0
        self.active_body[active] += 1
        if self.active_body[active] == self.body_ptr[loop + 1]:
            self.active_repeat[active] -= 1
            if self.active_repeat[active] == 0:
                self.active_loop[active] += 1
                if self.active_left[active] > 0:
                    self.enter_loop(active)
                return 0
            self.active_body[active] = self.body_ptr[loop]
        self.active_count[active] = self.body_count[self.active_body[active]]
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def finish(self, active: cython.longlong) -> cython.longlong:
        """A kernel's tiles have all arrived: note how it drained, and give its place away."""
        kernel: cython.longlong = self.active_kernel[active]
        place: cython.longlong = kernel * self.wide
        slot: cython.longlong = self.active_slot[active]
        index: cython.longlong
        worked: cython.longlong = self.worked_computed[place]
        self.end[kernel] = self.now
        if self.wide == 0:
            self.drains = 0
        self.drain_from[place] = self.drains
        self.drain_computed[place], self.drain_worked[place] = self.computed[place], worked
        if slot != NONE:
            self.describe(slot, self.complete[self.tile_type[slot]], self.computed[place], self.now, DRAIN)
            for index in range(self.pieces):
                worked = self.drained(index, worked)
        self.drain_to[place] = self.drains
        self.actives -= 1
        if active < self.actives:
            self.move_active(self.actives, active)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def move_active(self, source: cython.longlong, target: cython.longlong) -> cython.longlong:
        """The kernel at one place moves to another, its tiles with it."""
        slot: cython.longlong
        kernel: cython.longlong = self.active_kernel[source]
        self.active_kernel[target] = kernel
        self.active_loop[target], self.active_repeat[target] = self.active_loop[source], self.active_repeat[source]
        self.active_body[target], self.active_count[target] = self.active_body[source], self.active_count[source]
        self.active_free[target], self.active_number[target] = self.active_free[source], self.active_number[source]
        self.active_left[target], self.active_open[target] = self.active_left[source], self.active_open[source]
        self.active_time[target], self.active_slot[target] = self.active_time[source], self.active_slot[source]
        self.active_line[target], self.active_front[target] = self.active_line[source], self.active_front[source]
        for slot in range(self.slots):
            if self.tile_active[slot] == source and self.tile_kernel[slot] == kernel:
                self.tile_active[slot] = target
        return 0

    # ------------------------------------------------------------------------------------------------- the end of it

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def makespan(self) -> cython.longlong:
        """The last arrival, or the last end of a kernel."""
        time: cython.longlong = max(self.last_time, 0)
        kernel: cython.longlong
        for kernel in range(len(self.end)):
            time = max(time, self.end[kernel])
        return time

    def stage_log(self) -> Any:
        """(7, N) columns of the stage log, in order of (kernel, tile, stage)."""
        rows = array(self.log)[: int(self.log_rows * LOG_WIDTH)].reshape(-1, int(LOG_WIDTH))
        return rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))].T.copy()

    def counted(self) -> dict[str, int]:
        """Counted work of this run."""
        return {
            "stages": int(self.stages), "stages_skipped": int(self.skipped), "steps": int(self.steps),
            "snapshots": int(self.snapshots), "jumps": int(self.jumps),
            "kernels_remembered": 0, "kernels_played": len(self.end), "states": 0,
        }  # fmt: skip
