"""The machine's state as words, relative to now: equal words mean an equal future (ADR 7)."""

from __future__ import annotations

from typing import Any

import cython

from hiersim.engines.core.drift import Drift

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.engines.core.columns import doubled
    from cython.cimports.hiersim.engines.core.constants import INFINITY, NONE
else:
    from hiersim.columns import column
    from hiersim.engines.core.columns import doubled
    from hiersim.engines.core.constants import INFINITY, NONE

MOST_LIVE = cython.declare(cython.longlong, 64)
SPARE = cython.declare(cython.longlong, 16)


@cython.cclass
class Words(Drift):
    """What is where, and the past that may be asked about, written down; `landmarks.py` reads it back."""

    def __init__(self, program: Any, wide: bool, keep_log: bool, fast: bool) -> None:
        Drift.__init__(self, program, wide, keep_log, fast)
        self.words, self.word_count = column(256), 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put_back(self) -> cython.longlong:
        """Before the state is looked at: put every tile to where it is now, if it is not there (`ahead.py`)."""
        return 0

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def put(self, value: cython.longlong) -> cython.longlong:
        """One more word of the state that is being written down; `write_down` has made room."""
        self.words[self.word_count] = value
        self.word_count += 1
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def make_room(self) -> cython.longlong:
        """Room for all words that a state may have: tiles with a share and a time, pasts, works and drains."""
        place: cython.longlong
        most: cython.longlong = (self.live + 1) * (9 + self.longest) + 2 * self.work_count
        if self.wide == 0:
            most += 3 * self.drains
        for place in range(self.resources):
            most += 4 + 3 * self.past_count[place]
        while most + SPARE > len(self.words):
            self.words = doubled(self.words)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def put_tile(
        self, slot: cython.longlong, kernel: cython.longlong, number: cython.longlong, stages: cython.longlong
    ) -> cython.longlong:
        """A tile relative to now, to a kernel and to a tile number, with the grants of its first `stages` stages."""
        index: cython.longlong
        word: cython.longlong = self.word_count
        now: cython.longlong = self.now
        time: cython.longlong = self.tile_time[slot] - now
        buffer: cython.longlong = self.tile_buffer[slot] - now
        if self.tile_kernel[slot] == kernel and self.in_line(slot):  # since the start of the kernel, whenever that was
            time, buffer = 0 if time == buffer else time, 0
        self.words[word], self.words[word + 1] = self.tile_kernel[slot] - kernel, self.tile_number[slot] - number
        self.words[word + 2], self.words[word + 3] = self.tile_type[slot], self.tile_stage[slot]
        self.words[word + 4], self.words[word + 5], self.words[word + 6] = buffer, time, stages
        for index in range(stages):
            self.words[word + 7 + index] = self.granted[slot * self.longest + index] - now
        self.word_count = word + 7 + stages
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def few_tiles(self) -> cython.bint:
        """True when there are few enough tiles to write down."""
        return self.live <= MOST_LIVE

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def write_down(self, kernel: cython.longlong, number: cython.longlong, limit: cython.longlong) -> cython.longlong:
        """All that resources hold, and the past of ports after `limit`, as words relative to now."""
        place: cython.longlong
        slot: cython.longlong
        index: cython.longlong
        self.make_room()
        self.word_count = 0
        self.snapshots += 1
        for place in range(self.resources):
            slot = self.serving[place]
            if slot != NONE:
                self.put_tile(slot, kernel, number, self.tile_stage[slot] + 1 - self.stage_ptr[self.tile_type[slot]])
            self.put(INFINITY)
            slot = self.queue_head[place]
            while slot != NONE:
                self.put_tile(slot, kernel, number, self.tile_stage[slot] - self.stage_ptr[self.tile_type[slot]])
                if self.fair[place]:
                    self.put(self.tile_share[slot])
                slot = self.after[slot]
            self.put(INFINITY)
            slot = self.flight_head[place]
            while slot != NONE:
                self.put_tile(slot, kernel, number, self.tile_stage[slot] + 1 - self.stage_ptr[self.tile_type[slot]])
                slot = self.after[slot]
            self.put(INFINITY)
            for index in range(place * self.past, place * self.past + self.past_count[place]):
                if self.past_end[index] > limit:
                    self.put(max(self.past_start[index], limit) - self.now)
                    self.put(self.past_end[index] - self.now)
                    self.put(self.past_kernel[index] - kernel)
            self.put(INFINITY)
        slot = self.last_slot
        if slot != NONE:
            index = self.tile_type[slot]
            self.put_tile(slot, kernel, number, self.stage_ptr[index + 1] - self.stage_ptr[index])
            self.put(self.last_time - self.now)
        self.put(INFINITY)
        return 0
