"""Where tiles wait and fly: queues in the order of requests, data on its way, and slots that are given back.

A tile in flight has a *slot*; it is always in exactly one place: in service at a resource, in the queue of one, or in
flight behind one.
"""

from __future__ import annotations

import cython

from hiersim.engines.core.repeats import Repeats

if cython.compiled:
    from cython.cimports.hiersim.engines.core.columns import doubled
    from cython.cimports.hiersim.engines.core.constants import BROKEN, INFINITY, NONE, TRACED
else:
    from hiersim.engines.core.columns import doubled
    from hiersim.engines.core.constants import BROKEN, INFINITY, NONE, TRACED


@cython.cclass
class Queues(Repeats):
    """The lists that a tile is in, linked by `before` and `after`."""

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def insert(self, slot: cython.longlong, place: cython.longlong) -> cython.longlong:
        """Into a queue, which is in order of (request, kernel, tile, stage); returns the tile before it."""
        other: cython.longlong = self.queue_tail[place]
        time: cython.longlong = self.tile_time[slot]
        while other != NONE and (
            self.tile_time[other] > time
            or (
                self.tile_time[other] == time
                and (
                    self.tile_kernel[other] > self.tile_kernel[slot]
                    or (
                        self.tile_kernel[other] == self.tile_kernel[slot]
                        and self.tile_number[other] > self.tile_number[slot]
                    )
                )
            )
        ):
            other = self.before[other]
        self.before[slot] = other
        if other != NONE:
            self.after[slot] = self.after[other]
            self.after[other] = slot
        else:
            self.after[slot] = self.queue_head[place]
            self.queue_head[place] = slot
        if self.after[slot] != NONE:
            self.before[self.after[slot]] = slot
        else:
            self.queue_tail[place] = slot
        return other

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def enqueue(self, slot: cython.longlong, place: cython.longlong) -> cython.longlong:
        """Ask for a resource, now."""
        self.tile_time[slot] = self.now
        if self.queue_head[place] < 0 and self.serving[place] < 0:
            self.waiting, self.ready_place = self.waiting + 1, place
        self.insert(slot, place)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def line_up(self, slot: cython.longlong, place: cython.longlong, active: cython.longlong) -> cython.longlong:
        """Ask for a resource as of the start of the kernel: before all that asked later.

        What is behind the tile in line asks when it is its turn: nobody can come between two tiles of one kernel that
        asked at the same time.
        """
        kernel: cython.longlong = self.tile_kernel[slot]
        time: cython.longlong = self.start[kernel]
        other: cython.longlong = self.queue_head[place]
        self.tile_time[slot] = self.tile_buffer[slot] = time
        self.active_front[active] = slot
        if other == NONE and self.serving[place] == NONE:
            self.waiting, self.ready_place = self.waiting + 1, place
        while other != NONE and (
            self.tile_time[other] < time or (self.tile_time[other] == time and self.tile_kernel[other] < kernel)
        ):
            other = self.after[other]
        self.after[slot] = other
        if other != NONE:
            self.before[slot] = self.before[other]
            self.before[other] = slot
        else:
            self.before[slot] = self.queue_tail[place]
            self.queue_tail[place] = slot
        if self.before[slot] != NONE:
            self.after[self.before[slot]] = slot
        else:
            self.queue_head[place] = slot
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def choose(self, place: cython.longlong) -> cython.longlong:
        """The request that a fair port serves next, brought to the head of its queue: one of those that have asked.

        Of each kernel's first request it is the one that lacks the fewest ticks; the others get a share of as many.
        """
        first: cython.longlong = self.queue_head[place]
        slot: cython.longlong = first
        chosen: cython.longlong = NONE
        least: cython.longlong = INFINITY
        count: cython.longlong = 0
        lacks: cython.longlong
        index: cython.longlong
        while slot >= 0 and self.tile_time[slot] <= self.now:
            if self.found[self.tile_kernel[slot]] != self.stages + 1:  # once a grant: a number of its own
                self.found[self.tile_kernel[slot]] = self.stages + 1
                if count == len(self.firsts):
                    self.firsts = doubled(self.firsts)
                self.firsts[count] = slot
                count += 1
                lacks = self.ticks[self.tile_stage[slot]] - self.tile_share[slot]
                if lacks < least:
                    least, chosen = lacks, slot
            slot = self.after[slot]
        for index in range(count):
            self.tile_share[self.firsts[index]] += least
        self.tile_share[chosen] = 0
        if chosen != first:
            self.after[self.before[chosen]] = self.after[chosen]
            if self.after[chosen] >= 0:
                self.before[self.after[chosen]] = self.before[chosen]
            else:
                self.queue_tail[place] = self.before[chosen]
            self.after[chosen] = first
        return chosen

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def fly(self, slot: cython.longlong, place: cython.longlong, time: cython.longlong) -> cython.longlong:
        """Data in flight behind `place` until `time`; in order of arrival."""
        other: cython.longlong = self.flight_tail[place]
        self.tile_time[slot] = time
        while other != NONE and self.tile_time[other] > time:
            other = self.before[other]
        self.before[slot] = other
        if other != NONE:
            self.after[slot] = self.after[other]
            self.after[other] = slot
        else:
            self.after[slot] = self.flight_head[place]
            self.flight_head[place] = slot
        if self.after[slot] != NONE:
            self.before[self.after[slot]] = slot
        else:
            self.flight_tail[place] = slot
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def end_flight(self, place: cython.longlong) -> cython.longlong:
        """The first of the tiles in flight behind `place` is so no more; returns it."""
        slot: cython.longlong = self.flight_head[place]
        self.flight_head[place] = self.after[slot]
        if self.after[slot] == NONE:
            self.flight_tail[place] = NONE
        else:
            self.before[self.after[slot]] = NONE
        return slot

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def retire(self, slot: cython.longlong, arrival: cython.longlong) -> cython.longlong:
        """A tile is done. The one that arrives last of all keeps its slot: the end of the run is named after it."""
        last: cython.longlong = self.last_slot
        keep: cython.bint = arrival > self.last_time
        if arrival == self.last_time:
            keep = self.tile_kernel[slot] < self.tile_kernel[last] or (
                self.tile_kernel[slot] == self.tile_kernel[last] and self.tile_number[slot] < self.tile_number[last]
            )
        if self.tracing == TRACED and not (keep and last != NONE and self.tile_type[last] == self.tile_type[slot]):
            self.tracing = BROKEN  # tiles of one type arrive in the order of their last service
        if keep:
            self.last_slot, self.last_time = slot, arrival
            slot = last
        if slot != NONE:
            self.tile_stage[slot] = NONE
            self.after[slot] = self.free_slot
            self.free_slot = slot
            self.live -= 1
        return 0
