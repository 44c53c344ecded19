"""The event loop with one event per service instead of three.

When a service begins it is known when it ends, when its data will have arrived and where the tile asks next: the tile
is put into that queue at once, with the time at which it will ask. A queue is in order of (request, kernel, tile) as
ever, but holds tiles that are still served elsewhere, or in flight. The next service of a resource begins when it is
free and the first in its queue has asked; of all resources, that which begins first is next. Nothing that is put into
a queue later can ask as early as that, since every service takes at least a tick.

Nobody can tell the difference but where the machine's state is looked at: there, and when a kernel ends or starts,
every tile is put back to where it is at that tick. Runs whose stages are logged, and tiles whose events are traced, are
played event by event (`machine.py`).
"""

from __future__ import annotations

from typing import Any

import cython

from hiersim.engines.core.machine import Machine

if cython.compiled:
    from cython.cimports.cpython.exc import PyErr_CheckSignals
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.engines.core.constants import (  # isort: skip
        COMPLETES, COMPUTES, INFINITY, LAST, LEAVES, LOOK, NONE, RELEASES,
    )  # fmt: skip
else:
    from hiersim.columns import column
    from hiersim.engines.core.constants import (  # isort: skip
        COMPLETES, COMPUTES, INFINITY, LAST, LEAVES, LOOK, NONE, RELEASES,
    )  # fmt: skip

    def PyErr_CheckSignals() -> None:  # noqa: N802
        """Interpreted code can be interrupted anyway."""


@cython.cclass
class Ahead(Machine):
    """Plays what is there until a kernel ends or starts. `due` is here when the next service of a resource begins."""

    def __init__(self, program: Any, wide: bool, keep_log: bool, fast: bool) -> None:
        Machine.__init__(self, program, wide, keep_log, fast)
        self.frees, self.frees_of = column(self.resources, INFINITY), column(self.resources)
        self.computes_for = column(self.resources, NONE)
        self.next_free, self.stop_time, self.may_issue, self.is_ahead = INFINITY, INFINITY, False, False

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def play_on(self) -> cython.longlong:
        """Go to the next tick at which a kernel ends or starts, or some ticks on the way; 0 when nothing is left."""
        active: cython.longlong
        if not self.keep_log and self.drift_phase == 0:
            self.look_ahead()
            more: cython.longlong = self.run_ahead()
            self.put_back()
            return more
        for active in range(self.actives):
            if self.active_left[active] > 0 and self.active_free[active] > 0:
                self.issue(active)
        if self.waiting > 0:
            self.grants()
        if self.advance() == 0:
            return 0
        self.completions()
        return 1

    # ----------------------------------------------------------------------------------------------------- the events

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def run_ahead(self) -> cython.longlong:
        """Issue tiles and begin services in the order of time, until a kernel ends or starts or events are traced.

        Returns 0 when nothing is left that could happen.
        """
        while True:
            if self.may_issue and self.issue_ahead() == 0:
                return 1
            self.serve()
            if self.may_issue:
                continue
            if self.next_free < self.stop_time:
                self.now = self.next_free
                self.free_buffers()
            elif self.stop_time < INFINITY:
                self.now = self.stop_time
                return 1
            else:
                return self.end_all()

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def serve(self) -> cython.longlong:
        """Begin services in the order of time, as long as no tile is to be issued and no kernel ends or starts."""
        place: cython.longlong
        index: cython.longlong
        time: cython.longlong
        slot: cython.longlong
        stage: cython.longlong
        marks: cython.longlong
        end: cython.longlong
        while not self.may_issue:
            time, place = INFINITY, 0
            for index in range(self.resources):  # the first of equals; without a branch, which none could guess
                end = self.due[index]
                place = index if end < time else place
                time = min(time, end)
            if time >= self.next_free or time >= self.stop_time:
                break
            self.now = time
            self.steps += 1
            if self.steps & LOOK == 0:
                PyErr_CheckSignals()
            if self.serving[place] >= 0:
                self.leave(place)
            slot = self.choose(place) if self.fair[place] else self.queue_head[place]
            index = self.after[slot]
            self.queue_head[place] = index
            if index < 0:
                self.queue_tail[place] = NONE
            else:
                self.before[index] = NONE
            stage = self.tile_stage[slot]
            marks = self.marks[stage]
            end = time + self.ticks[stage]
            self.granted[self.tile_base[slot] + stage] = time
            self.busy[place] += end - time
            self.stages += 1
            if marks & COMPUTES:
                self.begin_work(place, slot, stage)
            else:
                self.remember(place, self.tile_kernel[slot], end)
            self.service_end[place] = end
            if marks & (RELEASES | LEAVES):
                self.give_back(place, slot, marks, end)
            end += self.latency[stage]
            if marks & COMPLETES:
                self.complete_at(slot, end)
            if marks & LAST:
                self.serving[place], self.tile_time[slot] = slot, time
            else:
                self.tile_stage[slot], self.tile_time[slot] = stage + 1, end
                self.ask_ahead(slot, self.resource[stage + 1])
            self.find_begin(place)
        return 0

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def find_begin(self, place: cython.longlong) -> cython.longlong:
        """When the next service of a resource begins."""
        slot: cython.longlong = self.queue_head[place]
        self.due[place] = INFINITY if slot < 0 else max(self.service_end[place], self.tile_time[slot])
        return 0

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def ask_ahead(self, slot: cython.longlong, place: cython.longlong) -> cython.longlong:
        """Into the queue of a resource, at the time of the tile's request."""
        if self.insert(slot, place) == NONE:
            self.due[place] = max(self.service_end[place], self.tile_time[slot])
        return 0

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def begin_work(self, place: cython.longlong, slot: cython.longlong, stage: cython.longlong) -> cython.longlong:
        """A unit begins a service."""
        if self.work_count == len(self.work_start):  # what is about to be dropped may still be asked about
            self.note_all_computed()
        else:
            self.note_computed(place)
        self.computes_for[place] = self.tile_kernel[slot]
        return self.work(place, slot, stage)

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def note_computed(self, place: cython.longlong) -> cython.longlong:
        """What a unit served has ended: when its kernel last computed, and how long any unit had worked until then."""
        kernel: cython.longlong = self.computes_for[place]
        time: cython.longlong = self.service_end[place]
        if kernel != NONE and self.end[kernel] == NONE and time >= self.computed[kernel * self.wide]:
            self.computed[kernel * self.wide] = time
            if self.wide == 1:
                self.worked_computed[kernel] = self.worked_until(time)
        self.computes_for[place] = NONE
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def note_all_computed(self) -> cython.longlong:
        """All services of units that have ended by now."""
        place: cython.longlong
        for place in range(self.resources):
            if self.service_end[place] <= self.now:
                self.note_computed(place)
        return 0

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def give_back(
        self, place: cython.longlong, slot: cython.longlong, marks: cython.longlong, end: cython.longlong
    ) -> cython.longlong:
        """The end of a service frees the buffer of its tile; or a tile is no longer first in line, from now on."""
        active: cython.longlong = self.tile_active[slot]
        if marks & RELEASES and self.active_left[active] > 0 and self.active_kernel[active] == self.tile_kernel[slot]:
            self.frees[place], self.frees_of[place] = end, active
            self.next_free = min(self.next_free, end)
        if marks & LEAVES:
            self.active_front[active] = NONE
            self.may_issue = True
        return 0

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def complete_at(self, slot: cython.longlong, time: cython.longlong) -> cython.longlong:
        """A tile of a kernel will have completed; that which does so last ends the kernel."""
        active: cython.longlong = self.tile_active[slot]
        self.active_open[active] -= 1
        if time > self.active_time[active]:
            self.active_time[active], self.active_slot[active] = time, slot
        elif time == self.active_time[active] and self.tile_number[slot] < self.tile_number[self.active_slot[active]]:
            self.active_slot[active] = slot
        if self.active_open[active] == 0 and self.active_left[active] == 0:
            self.stop_time = min(self.stop_time, self.active_time[active])
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def issue_ahead(self) -> cython.longlong:
        """Give the free buffers to the next tiles. Returns 0 when events are traced from now on."""
        active: cython.longlong
        kind: cython.longlong
        slot: cython.longlong
        for active in range(self.actives):
            while self.active_free[active] > 0 and self.active_left[active] > 0 and self.active_front[active] == NONE:
                if self.is_looked_at(active):
                    self.let_go()
                    self.checkpoint(active)
                    if self.drift_phase > 0:
                        self.issue_one(active)
                        return 0
                    if not self.is_ahead:
                        self.look_ahead()
                kind = self.body_tile[self.active_body[active]]
                slot = self.take_slot(active, kind)
                if self.active_line[active] == NONE:
                    self.tile_time[slot] = self.now
                    self.ask_ahead(slot, self.resource[self.stage_ptr[kind]])
                else:
                    self.line_up(slot, self.active_line[active], active)
                    self.find_begin(self.active_line[active])
                self.next_tile(active)
        self.may_issue = False
        return 1

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def free_buffers(self) -> cython.longlong:
        """Buffers that become free now; and when the next does."""
        place: cython.longlong
        self.next_free = INFINITY
        for place in range(self.resources):
            if self.frees[place] <= self.now:
                self.frees[place] = INFINITY
                self.active_free[self.frees_of[place]] += 1
                self.may_issue = True
            self.next_free = min(self.next_free, self.frees[place])
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def leave(self, place: cython.longlong) -> cython.longlong:
        """The last service of a tile's chain has ended at a resource: it is done, or still in flight."""
        slot: cython.longlong = self.serving[place]
        stage: cython.longlong = self.tile_stage[slot]
        self.serving[place] = NONE
        self.land_all(place)
        if self.marks[stage] & COMPLETES and self.service_end[place] + self.latency[stage] > self.now:
            self.fly(slot, place, self.service_end[place] + self.latency[stage])
        else:
            self.retire(slot, self.service_end[place] + self.latency[stage])
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def let_go(self) -> cython.longlong:
        """Tiles that have left the machine by now give their slots back."""
        place: cython.longlong
        for place in range(self.resources):
            if self.serving[place] >= 0 and self.service_end[place] <= self.now:
                self.leave(place)
            else:
                self.land_all(place)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def end_all(self) -> cython.longlong:
        """Nobody asks for anything any more: the last services end."""
        place: cython.longlong
        for place in range(self.resources):
            if self.serving[place] >= 0:
                self.now = max(self.now, self.service_end[place])
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def land_all(self, place: cython.longlong) -> cython.longlong:
        """Tiles that have arrived behind the last service of their chain are done."""
        slot: cython.longlong = self.flight_head[place]
        while slot != NONE and self.tile_time[slot] <= self.now:
            self.retire(self.end_flight(place), self.tile_time[slot])
            slot = self.flight_head[place]
        return 0

    # --------------------------------------------------------------------------------------------- there and back again

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def look_ahead(self) -> cython.longlong:
        """Put every tile that is served or in flight into the queue where it asks next."""
        place: cython.longlong
        slot: cython.longlong
        following: cython.longlong
        stage: cython.longlong
        time: cython.longlong
        self.next_free, self.stop_time = INFINITY, self.next_start
        self.may_issue = self.is_ahead = True
        for place in range(self.resources):
            self.frees[place], self.computes_for[place] = INFINITY, NONE
            following = self.flight_head[place]
            self.flight_head[place] = self.flight_tail[place] = NONE
            while following != NONE:
                slot, following = following, self.after[following]
                self.go_on(slot, place, self.tile_time[slot])
            slot = self.serving[place]
            if slot == NONE:
                continue
            stage = self.tile_stage[slot]
            time = self.service_end[place]
            if self.marks[stage] & COMPUTES:
                self.computes_for[place] = self.tile_kernel[slot]
            self.give_back(place, slot, self.marks[stage] & RELEASES, time)
            self.go_on(slot, place, time + self.latency[stage])
        for place in range(self.resources):
            self.find_begin(place)
            self.due[place] = max(self.due[place], self.now)  # a tile that asked before may be served from now on
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def go_on(self, slot: cython.longlong, place: cython.longlong, arrival: cython.longlong) -> cython.longlong:
        """A tile whose stage at a resource has begun: where it will be next."""
        stage: cython.longlong = self.tile_stage[slot]
        if self.marks[stage] & COMPLETES:
            self.complete_at(slot, arrival)
        if self.marks[stage] & LAST == 0:
            if self.serving[place] == slot:
                self.serving[place] = NONE
            self.tile_stage[slot], self.tile_time[slot] = stage + 1, arrival
            self.insert(slot, self.resource[stage + 1])
        elif self.serving[place] != slot:
            self.fly(slot, place, arrival)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put_back(self) -> cython.longlong:
        """Put every tile to where it is now: after the ends of services and before the grants of this tick."""
        place: cython.longlong
        slot: cython.longlong
        if not self.is_ahead:
            return 0
        self.is_ahead = False
        self.free_buffers()
        self.let_go()
        self.note_all_computed()
        for place in range(self.resources):
            slot = self.serving[place]
            if slot != NONE:
                self.come_back(slot, self.tile_stage[slot])
            slot = self.flight_head[place]
            while slot != NONE:
                self.active_open[self.tile_active[slot]] += 1
                slot = self.after[slot]
        for place in range(self.resources):
            slot = self.queue_tail[place]
            while slot != NONE and self.tile_time[slot] > self.now:
                self.queue_tail[place] = self.before[slot]
                if self.before[slot] == NONE:
                    self.queue_head[place] = NONE
                else:
                    self.after[self.before[slot]] = NONE
                self.come_back(slot, self.tile_stage[slot] - 1)
                slot = self.queue_tail[place]
        self.waiting = 0
        for place in range(self.resources):
            if self.serving[place] == NONE and self.queue_head[place] != NONE:
                self.waiting, self.ready_place = self.waiting + 1, place
        self.find_due()
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def come_back(self, slot: cython.longlong, stage: cython.longlong) -> cython.longlong:
        """A tile whose stage has begun and not arrived: in service, or in flight."""
        place: cython.longlong = self.resource[stage]
        begin: cython.longlong = self.granted[self.tile_base[slot] + stage]
        end: cython.longlong = begin + self.ticks[stage]
        self.tile_stage[slot] = stage
        if self.marks[stage] & COMPLETES:
            self.active_open[self.tile_active[slot]] += 1
        if end > self.now:
            self.serving[place], self.tile_time[slot] = slot, begin
        else:
            self.fly(slot, place, end + self.latency[stage])
        return 0
