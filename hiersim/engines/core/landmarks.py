"""States between kernels: written down, told apart, and restored."""

from __future__ import annotations

from typing import Any

import cython

from hiersim.engines.core.ahead import Ahead

if cython.compiled:
    from cython.cimports.hiersim.engines.core.columns import Sequences, doubled
    from cython.cimports.hiersim.engines.core.constants import CORES, INFINITY, NONE
else:
    from hiersim.engines.core.columns import Sequences, doubled
    from hiersim.engines.core.constants import CORES, INFINITY, NONE

MOST_STATES = cython.declare(cython.longlong, 50_000)


@cython.cclass
class Landmarks(Ahead):
    """States at ends of kernels: equal ones have one id, and the machine can be brought back into any."""

    def __init__(self, program: Any, wide: bool, keep_log: bool, fast: bool) -> None:
        Ahead.__init__(self, program, wide, keep_log, fast)
        self.states = Sequences()

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def state(self, kernel: cython.longlong) -> cython.longlong:
        """Id of the present state, at the end of the kernel before `kernel`; NONE when it is too large to keep."""
        index: cython.longlong
        if not self.few_tiles() or self.states.count >= MOST_STATES:
            return NONE
        limit: cython.longlong = self.horizon()
        if self.begun[CORES]:  # nobody asks about the time before the last work
            limit = max(limit, self.covered[CORES])
        self.write_down(kernel, 0, limit)
        self.put(self.drain_computed[0] - self.now)
        for index in range(self.drain_from[0], self.drain_to[0]):
            self.put(self.drain_begin[index] - self.now)
            self.put(self.drain_end[index] - self.now)
            self.put(self.drain_column[index])
        self.put(INFINITY)
        return self.states.add(self.words, self.word_count)

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def is_idle(self) -> cython.bint:
        """True when everything has arrived, and before now; the tile that arrived last keeps its slot."""
        return self.live == (self.last_slot != NONE) and self.last_time < self.now

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def read_words(self, known: cython.longlong) -> cython.longlong:
        """The words of a state that was seen before."""
        index: cython.longlong
        begin: cython.longlong = self.states.first[known]
        count: cython.longlong = self.states.first[known + 1] - begin
        while count > len(self.words):
            self.words = doubled(self.words)
        for index in range(count):
            self.words[index] = self.states.words[begin + index]
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def restore(self, kernel: cython.longlong, known: cython.longlong) -> cython.longlong:
        """Bring the machine into a state that was seen before, at the end of the kernel before `kernel`.

        What comes next is found when it looks ahead, which it does from here on, whatever was traced before.
        """
        place: cython.longlong
        begin: cython.longlong
        end: cython.longlong
        self.read_words(known)
        self.forget_drift()
        self.word_count = 0
        self.now = self.end[kernel - 1]
        self.last_slot, self.last_time, self.free_slot, self.live = NONE, NONE, NONE, 0
        self.vacate(0)
        for place in range(self.resources):
            self.restore_resource(place, kernel)
        if self.words[self.word_count] != INFINITY:
            self.last_slot = self.take_tile(kernel)
            self.last_time = self.take() + self.now
        self.take()
        self.drain_computed[0] = self.take() + self.now
        self.drains = self.drain_from[0] = 0
        while self.words[self.word_count] != INFINITY:
            begin = self.take() + self.now  # one by one: the order of arguments is not C's concern
            end = self.take() + self.now
            self.pieces = 0
            self.piece(begin, end, self.take())
            self.drained(0, 0)
        self.drain_to[0] = self.drains
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def take(self) -> cython.longlong:
        """The next word."""
        self.word_count += 1
        return self.words[self.word_count - 1]

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_tile(self, kernel: cython.longlong) -> cython.longlong:
        """A tile from words, in a slot."""
        index: cython.longlong
        count: cython.longlong
        if self.free_slot == NONE:
            self.more_slots()
        slot: cython.longlong = self.free_slot
        self.free_slot = self.after[slot]
        self.live += 1
        self.tile_kernel[slot] = self.take() + kernel
        self.tile_number[slot] = self.take()
        self.tile_type[slot] = self.take()
        self.tile_stage[slot] = self.take()
        self.tile_buffer[slot] = self.take() + self.now
        self.tile_time[slot] = self.take() + self.now
        self.tile_active[slot] = 0
        self.tile_base[slot] = slot * self.longest - self.stage_ptr[self.tile_type[slot]]
        count = self.take()
        for index in range(slot * self.longest, slot * self.longest + count):
            self.granted[index] = self.take() + self.now
        return slot

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def restore_resource(self, place: cython.longlong, kernel: cython.longlong) -> cython.longlong:
        """What one resource holds, and its past."""
        slot: cython.longlong
        index: cython.longlong
        time: cython.longlong
        self.serving[place] = self.queue_head[place] = self.queue_tail[place] = NONE
        self.flight_head[place] = self.flight_tail[place] = NONE
        self.service_end[place] = 0
        if self.words[self.word_count] != INFINITY:
            slot = self.take_tile(kernel)
            index = self.tile_stage[slot]
            time = self.granted[self.tile_base[slot] + index]
            self.serving[place], self.service_end[place] = slot, time + self.ticks[index]
        self.take()
        while self.words[self.word_count] != INFINITY:
            slot = self.take_tile(kernel)
            self.before[slot], self.after[slot] = self.queue_tail[place], NONE
            if self.fair[place]:
                self.tile_share[slot] = self.take()
            if self.queue_tail[place] == NONE:
                self.queue_head[place] = slot
            else:
                self.after[self.queue_tail[place]] = slot
            self.queue_tail[place] = slot
        self.take()
        while self.words[self.word_count] != INFINITY:
            slot = self.take_tile(kernel)
            self.fly(slot, place, self.tile_time[slot])
        self.take()
        self.past_count[place] = 0
        while self.words[self.word_count] != INFINITY:
            if self.past_count[place] == self.past:
                self.widen()
            index = place * self.past + self.past_count[place]
            self.past_start[index] = self.take() + self.now
            self.past_end[index] = self.take() + self.now
            self.past_kernel[index] = self.take() + kernel
            self.past_count[place] += 1
        self.take()
        return 0
