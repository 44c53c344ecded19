"""Boundaries between periods of a tile loop: every time that may be asked about, what it belongs to, and counters.

What happens in between is noted as well, in its order. `drift.py` compares boundaries, and moves what is there on.
"""

from __future__ import annotations

from typing import Any

import cython

from hiersim.engines.core.book import Book

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.engines.core.columns import doubled
    from cython.cimports.hiersim.engines.core.constants import BROKEN, KINDS, N_ENGINES, NONE, STEP, TRACED
else:
    from hiersim.columns import column
    from hiersim.engines.core.columns import doubled
    from hiersim.engines.core.constants import BROKEN, KINDS, N_ENGINES, NONE, STEP, TRACED

LONGEST_TRACE = cython.declare(cython.longlong, 512)
MOST_LIVE = cython.declare(cython.longlong, 32)
ROOM = cython.declare(cython.longlong, 512)
"""Times of a boundary that nearly always fit."""


@cython.final
@cython.cclass
class Boundary:
    """Between two periods: all times that are still to be asked about, what they belong to, and the counters."""

    def __init__(self, resources: int, row_size: int) -> None:
        self.now = self.number = self.worked = self.stages = self.time_count = self.shape_count = 0
        self.computed = self.worked_computed = 0
        self.times, self.shape = column(ROOM), column(ROOM)
        self.covered, self.worked_cover = column(N_ENGINES), column(N_ENGINES)
        self.busy, self.book = column(resources), column(row_size)


@cython.cclass
class Boundaries(Book):
    """Boundaries are noted by `walk`, and moved by the same `walk`: `time` and `shape` say which is which."""

    def __init__(self, program: Any, wide: bool, keep_log: bool, fast: bool) -> None:
        Book.__init__(self, program, wide, keep_log, fast)
        self.events = self.time_count = self.shape_count = self.drift_phase = 0
        self.moving, self.moved, self.drift_number = False, 0, 0
        self.boundaries: list[Any] = []

    def empty_boundaries(self) -> None:
        """Room for what is noted; most runs need none."""
        self.boundaries = [Boundary(self.resources, self.row_size) for _ in range(3)]
        self.boundary = self.boundaries[0]
        self.event, self.event_time, self.shifts = column(LONGEST_TRACE), column(LONGEST_TRACE), column(ROOM)
        self.order, self.waits = column(ROOM), column(ROOM)

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def happens(self, kind: cython.longlong, slot: cython.longlong, stage: cython.longlong) -> cython.longlong:
        """One more event of the period."""
        code: cython.longlong = STEP
        if self.events == LONGEST_TRACE:
            self.tracing = BROKEN
        if self.tracing == TRACED:
            if kind != STEP:
                code = ((self.tile_number[slot] - self.drift_number) * len(self.marks) + stage) * KINDS + kind
            self.event[self.events], self.event_time[self.events] = code, self.now - self.boundary.now
            self.events += 1
        return 0

    # -------------------------------------------------------------------------------------------------- what is there

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def time(self, value: cython.longlong) -> cython.longlong:
        """A time of the state: noted relative to now, or moved."""
        place: cython.longlong = self.time_count
        self.time_count += 1
        if self.moving:
            return value + self.moved + self.shifts[place]
        self.boundary.times[place] = value - self.now
        self.waits[self.time_count] = 0
        return value

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def shape(self, value: cython.longlong) -> cython.longlong:
        """What a time belongs to: the same at every boundary."""
        if not self.moving:
            self.boundary.shape[self.shape_count] = value
            self.shape_count += 1
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def walk_tile(self, slot: cython.longlong, active: cython.longlong, stages: cython.longlong) -> cython.longlong:
        """A tile with the history of its first `stages` stages: when each was granted, ended and arrived."""
        index: cython.longlong
        granted: cython.longlong
        first: cython.longlong = self.stage_ptr[self.tile_type[slot]]
        self.shape(self.tile_type[slot])
        self.shape(self.tile_stage[slot])
        self.shape(stages)
        self.shape(self.tile_number[slot] - self.active_number[active])
        self.shape(self.tile_kernel[slot])
        self.tile_time[slot] = self.time(self.tile_time[slot])
        self.tile_buffer[slot] = self.time(self.tile_buffer[slot])
        for index in range(stages):
            granted = self.granted[slot * self.longest + index]
            self.waits[self.time_count] = 1
            self.granted[slot * self.longest + index] = self.time(granted)
            self.time(granted + self.ticks[first + index])
            self.time(granted + self.ticks[first + index] + self.latency[first + index])
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def walk(self, active: cython.longlong) -> cython.longlong:
        """Everything that is there and has a time."""
        place: cython.longlong
        slot: cython.longlong
        index: cython.longlong
        self.time_count = self.shape_count = 0
        for place in range(self.resources):
            slot = self.serving[place]
            if slot != NONE:
                index = self.tile_stage[slot] + 1 - self.stage_ptr[self.tile_type[slot]]
                self.service_end[place] = self.time(self.service_end[place])
                self.walk_tile(slot, active, index)
            self.shape(NONE)
            slot = self.queue_head[place]
            while slot != NONE:
                self.walk_tile(slot, active, self.tile_stage[slot] - self.stage_ptr[self.tile_type[slot]])
                slot = self.after[slot]
            self.shape(NONE)
            slot = self.flight_head[place]
            while slot != NONE:
                self.walk_tile(slot, active, self.tile_stage[slot] + 1 - self.stage_ptr[self.tile_type[slot]])
                slot = self.after[slot]
            self.shape(NONE)
            for index in range(place * self.past, place * self.past + self.past_count[place]):
                self.shape(self.past_kernel[index])
                self.past_start[index] = self.time(self.past_start[index])
                self.past_end[index] = self.time(self.past_end[index])
            self.shape(NONE)
        slot = self.last_slot
        if slot != NONE:
            index = self.tile_type[slot]
            self.walk_tile(slot, active, self.stage_ptr[index + 1] - self.stage_ptr[index])
            self.last_time = self.time(self.last_time)
        for index in range(self.work_count):
            self.work_start[index] = self.time(self.work_start[index])
            self.work_end[index] = self.time(self.work_end[index])
        self.shape(self.work_count)
        self.shape(self.active_free[active])
        self.shape(self.active_open[active])
        for index in range(N_ENGINES):
            self.shape(self.begun[self.active_kernel[active] * self.wide * N_ENGINES + index])
        return 0

    # ----------------------------------------------------------------------------------------------------- boundaries

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def note_boundary(self, active: cython.longlong) -> cython.longlong:
        """Note what is there, and every counter; nobody asks about the time before the oldest buffer."""
        found: Boundary = self.boundaries[self.drift_phase]
        kernel: cython.longlong = self.active_kernel[active]
        row: cython.longlong = self.row(kernel)
        index: cython.longlong
        self.boundary = found
        self.drift_phase += 1
        self.snapshots += 1
        self.moving = False
        if self.live > MOST_LIVE:
            self.tracing = BROKEN
            return 0
        self.make_room_for_times()
        self.walk(active)
        found.now, found.number, self.drift_number = self.now, self.active_number[active], self.active_number[active]
        self.time(self.now)
        for index in range(N_ENGINES):
            found.covered[index], found.worked_cover[index] = self.time(self.covered[index]), self.worked_cover[index]
        found.computed = self.time(self.computed[kernel * self.wide])
        found.worked_computed = self.worked_computed[kernel * self.wide]
        found.time_count, found.shape_count = self.time_count, self.shape_count
        found.worked, found.stages = self.worked, self.stages + self.skipped
        for index in range(self.resources):
            found.busy[index] = self.busy[index]
        for index in range(self.row_size):
            found.book[index] = self.book[row + index]
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def make_room_for_times(self) -> cython.longlong:
        """Drop the past that nobody can ask about, and make room for the rest."""
        limit: cython.longlong = self.horizon()
        most: cython.longlong = (self.live + 2) * (5 + 3 * self.longest) + 8 * self.resources + 4 * N_ENGINES
        place: cython.longlong
        index: cython.longlong
        kept: cython.longlong
        self.forget_past(limit)
        for place in range(self.resources):
            for index in range(place * self.past, place * self.past + self.past_count[place]):
                self.past_start[index] = max(self.past_start[index], limit)
            most += 2 * self.past_count[place]
        kept = 0
        for index in range(self.work_count):
            if self.work_end[index] > limit:
                self.work_start[kept], self.work_end[kept] = max(self.work_start[index], limit), self.work_end[index]
                kept += 1
        self.work_count = kept
        most += 2 * kept
        while most > len(self.boundary.times):
            self.boundary.times, self.boundary.shape = doubled(self.boundary.times), doubled(self.boundary.shape)
        while most > len(self.shifts):
            self.shifts, self.order, self.waits = doubled(self.shifts), doubled(self.order), doubled(self.waits)
        return 0
