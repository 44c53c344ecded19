"""Fast-forward of tile loops whose state does not come again but drifts: the same events, a little later each time.

Where two ports are almost equally busy, a queue before one of them grows or shrinks by the same few ticks with every
tile, for thousands of tiles; no two states are equal. Played are then three *boundaries*, one period apart. Let `B` be
all that happened in a period, in its order and with what happened in the same tick. Where `B` happens, whatever the
machine computes is a sum and difference of times that it found and of constants: every time is affine in those, and
what decides that `B` happens is in which order the times come. So when

- both periods saw the same `B`, and
- the times of a boundary changed by the same `d` from the first to the second as from the second to the third,

the times after k more periods are those of the third plus k · d, and so are the events in between, as long as times
that followed each other, at a boundary or in a period, still do, and equal times change alike. That is a least number
of periods over pairs of neighbours. They are skipped: times grow by k · d, and counters, of which each period adds an
amount that is affine in its number as well, by the sum of a series.

What is not an order of these times is not skipped: overlapping work of two units, fair ports, the last arrival of a
tile of another type.
"""

# ruff: noqa: SIM110 (generators are slow where compiled)
from __future__ import annotations

from typing import Any

import cython

from hiersim.engines.core.boundaries import Boundaries

if cython.compiled:
    from cython.cimports.hiersim.engines.core.boundaries import Boundary
    from cython.cimports.hiersim.engines.core.constants import INFINITY, N_ENGINES, NONE, OFF, TRACED
else:
    from hiersim.engines.core.boundaries import Boundary
    from hiersim.engines.core.constants import INFINITY, N_ENGINES, NONE, OFF, TRACED

LEAST_LEAP = cython.declare(cython.longlong, 8)
"""Periods that are worth it."""
PAUSE = cython.declare(cython.longlong, 16)
"""Tiles between two attempts, times one more than there were in vain."""


@cython.cfunc
@cython.exceptval(check=False)
def same_shape(one: Boundary, other: Boundary) -> cython.bint:
    """Whether the times of two boundaries belong to the same things."""
    index: cython.longlong
    if one.time_count != other.time_count or one.shape_count != other.shape_count:
        return False
    for index in range(one.shape_count):
        if one.shape[index] != other.shape[index]:
            return False
    return True


@cython.cclass
class Drift(Boundaries):
    """Compares three boundaries, and leaps over the periods that are like the two between them."""

    def __init__(self, program: Any, wide: bool, keep_log: bool, fast: bool) -> None:
        Boundaries.__init__(self, program, wide, keep_log, fast)
        self.drift_step = self.drift_period = self.drift_wait = self.drift_vain = self.half = 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def forget_drift(self) -> cython.longlong:
        """Another run of tiles begins."""
        self.tracing, self.drift_phase, self.drift_wait, self.drift_vain = OFF, 0, 0, 0
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def begin_drift(self, active: cython.longlong, step: cython.longlong, period: cython.longlong) -> cython.longlong:
        """The first boundary."""
        if len(self.boundaries) == 0:
            self.empty_boundaries()
        self.drift_step, self.drift_period, self.drift_phase, self.events = step, period, 0, 0
        self.tracing = TRACED
        return self.note_boundary(active)

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def next_boundary(self, active: cython.longlong, step: cython.longlong, most: cython.longlong) -> cython.longlong:
        """A period later: note it. Returns how many periods were skipped, of at most `most`, after the third."""
        count: cython.longlong = 0
        if step == self.drift_step + self.drift_period and self.tracing == TRACED:
            self.drift_step = step
            self.note_boundary(active)
            if self.drift_phase == 2:
                self.half = self.events
                if same_shape(self.boundaries[0], self.boundaries[1]):
                    return 0
            else:
                count = self.periods(most)
                if count >= LEAST_LEAP:
                    self.leap(active, count)
                else:
                    count = 0
        self.drift_vain = self.drift_vain + 1 if count == 0 else 0
        self.drift_wait = step + count * self.drift_period + PAUSE * self.drift_vain
        self.tracing, self.drift_phase = OFF, 0
        return count

    # -------------------------------------------------------------------------------------------------------- how far

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def periods(self, most: cython.longlong) -> cython.longlong:
        """How many more periods are like the last two, of at most `most`; 0 where these two differ."""
        first: Boundary = self.boundaries[0]
        second: Boundary = self.boundaries[1]
        third: Boundary = self.boundaries[2]
        index: cython.longlong
        last: cython.longlong = third.time_count
        if self.tracing != TRACED or self.events != 2 * self.half:
            return 0
        if not same_shape(second, third):
            return 0
        for index in range(N_ENGINES):
            if first.covered[index] == second.covered[index] and second.covered[index] == third.covered[index]:
                self.is_now(last - 1 - N_ENGINES + index)  # stands still: nobody asks about it
            elif not self.in_step(
                first.worked - first.worked_cover[index], second.worked - second.worked_cover[index],
                third.worked - third.worked_cover[index],
            ):  # fmt: skip
                return 0
        if first.computed == second.computed and second.computed == third.computed:
            self.is_now(last - 1)
        elif self.wide == 1 and not self.in_step(
            first.worked - first.worked_computed, second.worked - second.worked_computed,
            third.worked - third.worked_computed,
        ):  # fmt: skip
            return 0
        for index in range(last):
            if not self.in_step(first.times[index], second.times[index], third.times[index]):
                return 0
            self.shifts[index] = third.times[index] - second.times[index]
        return self.ordered(third, last, self.same_events(most))

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def is_now(self, place: cython.longlong) -> cython.longlong:
        """A time that no order depends on, in all boundaries."""
        boundary: Boundary
        for boundary in self.boundaries:
            boundary.times[place] = 0
        return 0

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def in_step(self, one: cython.longlong, two: cython.longlong, three: cython.longlong) -> cython.bint:
        """Whether the second is as far from the first as the third from the second."""
        return two - one == three - two

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def same_events(self, most: cython.longlong) -> cython.longlong:
        """How many periods have the events of the last two in their order."""
        index: cython.longlong
        gap: cython.longlong
        rate: cython.longlong
        before: cython.longlong = 0
        past: cython.longlong = 0
        for index in range(self.half):
            if self.event[index] != self.event[self.half + index]:
                return 0
            gap = self.event_time[self.half + index] - before
            rate = gap - (self.event_time[index] - past)
            before, past = self.event_time[self.half + index], self.event_time[index]
            most = min(most, self.lasting(gap, rate))
        return most

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def lasting(self, gap: cython.longlong, rate: cython.longlong) -> cython.longlong:
        """For how many periods a gap that grows by `rate` stays one; for how many no gap stays none."""
        if gap == 0:
            return INFINITY if rate == 0 else 0
        return (gap - 1) // -rate if rate < 0 else INFINITY

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def ordered(self, third: Boundary, count: cython.longlong, most: cython.longlong) -> cython.longlong:
        """For how many periods, of at most `most`, the times of a boundary stay in their order, as in the last two.

        Nobody asks about the time before the last work of the units of these tiles, except whether a stage waited.
        """
        index: cython.longlong
        place: cython.longlong
        this: cython.longlong
        sorted_count: cython.longlong = 1
        first: cython.longlong = count - 2 - N_ENGINES
        floor: cython.longlong = first
        for index in range(first, count - 1):
            if third.times[index] < third.times[floor]:
                floor = index
        self.order[0] = floor
        for index in range(count):
            this = third.times[index]
            if self.waits[index]:
                most = min(most, self.apart(third, index - 1, index))
            if this <= third.times[floor]:
                if first <= index < count - 1:  # of equals none may become the least
                    most = min(most, self.apart(third, floor, index))
                else:
                    most = min(most, self.not_above(third, index, floor))
                continue
            place = sorted_count  # sorted by insertion: they come almost in order
            while third.times[self.order[place - 1]] > this:
                self.order[place] = self.order[place - 1]
                place -= 1
            self.order[place] = index
            sorted_count += 1
        for index in range(1, sorted_count):
            most = min(most, self.apart(third, self.order[index - 1], self.order[index]))
        return most

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def apart(self, third: Boundary, one: cython.longlong, other: cython.longlong) -> cython.longlong:
        """For how many periods a later time stays later, or an equal one equal; 0 where it was not so before."""
        gap: cython.longlong = third.times[other] - third.times[one]
        rate: cython.longlong = self.shifts[other] - self.shifts[one]
        return 0 if gap > 0 and gap - 2 * rate <= 0 else self.lasting(gap, rate)

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def not_above(self, third: Boundary, one: cython.longlong, floor: cython.longlong) -> cython.longlong:
        """For how many periods a time that is not above another stays so; 0 where it was not so before."""
        gap: cython.longlong = third.times[floor] - third.times[one]
        rate: cython.longlong = self.shifts[floor] - self.shifts[one]
        if gap - 2 * rate < 0:
            return 0
        return gap // -rate if rate < 0 else INFINITY

    # -------------------------------------------------------------------------------------------------------- the leap

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def grown(
        self, one: cython.longlong, two: cython.longlong, three: cython.longlong, times: cython.longlong
    ) -> cython.longlong:
        """What a counter grows by in `times` more periods: an arithmetic series."""
        return times * (three - two) + (three - 2 * two + one) * (times * (times + 1) // 2)

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def leap(self, active: cython.longlong, times: cython.longlong) -> cython.longlong:
        """Skip `times` periods."""
        first: Boundary = self.boundaries[0]
        second: Boundary = self.boundaries[1]
        third: Boundary = self.boundaries[2]
        kernel: cython.longlong = self.active_kernel[active]
        row: cython.longlong = self.row(kernel)
        place: cython.longlong = kernel * self.wide
        last: cython.longlong = third.time_count
        tiles: cython.longlong = (third.number - second.number) * times
        index: cython.longlong
        worked: cython.longlong
        self.moved = self.grown(first.now, second.now, third.now, times)
        for index in range(last):
            self.shifts[index] *= times
        self.moving = True
        self.walk(active)
        self.moving = False
        self.worked = third.worked + self.grown(first.worked, second.worked, third.worked, times)
        for index in range(N_ENGINES):
            if second.covered[index] != third.covered[index]:
                self.covered[index] += self.moved + self.shifts[last - 1 - N_ENGINES + index]
                worked = third.worked - third.worked_cover[index]
                worked += times * (worked - (second.worked - second.worked_cover[index]))
                self.worked_cover[index] = self.worked - worked
        if second.computed != third.computed:
            self.computed[place] += self.moved + self.shifts[last - 1]
        if second.computed != third.computed and self.wide == 1:
            worked = third.worked - third.worked_computed
            worked += times * (worked - (second.worked - second.worked_computed))
            self.worked_computed[place] = self.worked - worked
        for index in range(self.resources):
            self.busy[index] += self.grown(first.busy[index], second.busy[index], third.busy[index], times)
        for index in range(self.row_size):
            self.book[row + index] += self.grown(first.book[index], second.book[index], third.book[index], times)
        self.skipped += (third.stages - second.stages) * times
        self.active_count[active] -= times * self.drift_period
        self.active_number[active] += tiles
        self.active_left[active] -= tiles
        for index in range(self.slots):
            self.tile_number[index] += tiles
        self.now += self.moved
        self.jumps += 1
        self.find_due()
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def find_due(self) -> cython.longlong:
        """When the next service or flight of each resource ends."""
        place: cython.longlong
        self.next_due = INFINITY
        for place in range(self.resources):
            self.due[place] = self.service_end[place] if self.serving[place] != NONE else INFINITY
            if self.flight_head[place] != NONE:
                self.due[place] = min(self.due[place], self.tile_time[self.flight_head[place]])
            if self.due[place] < self.next_due:
                self.next_due, self.next_place = self.due[place], place
        return 0
