"""The ledger that the event core keeps on the way: services, gaps and what they are called."""

from __future__ import annotations

import cython

from hiersim.engines.core.state import State

if cython.compiled:
    from cython.cimports.hiersim.engines.core.columns import doubled
    from cython.cimports.hiersim.engines.core.constants import (  # isort: skip
        BANDWIDTH, BROKEN, CAPACITY, COMPUTED, CONTENTION, CORES, DEPENDENCY, DISPATCH, DRAIN, FILL, LATENCY,
        N_ENGINES, NONE, PADDING, PHASES, SET_UP, STEADY, TAIL, USEFUL,
    )  # fmt: skip
else:
    from hiersim.engines.core.columns import doubled
    from hiersim.engines.core.constants import (  # isort: skip
        BANDWIDTH, BROKEN, CAPACITY, COMPUTED, CONTENTION, CORES, DEPENDENCY, DISPATCH, DRAIN, FILL, LATENCY,
        N_ENGINES, NONE, PADDING, PHASES, SET_UP, STEADY, TAIL, USEFUL,
    )  # fmt: skip


@cython.cclass
class Book(State):
    """The ledger: every tick of every engine gets a name when it is known what the tile waited for."""

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def row(self, kernel: cython.longlong) -> cython.longlong:
        """Where a kernel's row begins in the book; a stream has two: the current kernel's and the one before."""
        if self.wide == 1:
            return kernel * self.row_size
        return 0 if kernel == self.current else self.row_size

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def name(self, entry: cython.longlong, tier: cython.longlong, phase: cython.longlong) -> cython.longlong:
        """Ledger column of a blamed entry."""
        return CAPACITY + ((entry - CAPACITY) * self.tiers + tier) * PHASES + phase

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def work(self, place: cython.longlong, slot: cython.longlong, stage: cython.longlong) -> cython.longlong:
        """A unit begins a service: the gaps that it ends get their names, and its own ticks theirs."""
        kernel: cython.longlong = self.tile_kernel[slot]
        end: cython.longlong = self.now + self.ticks[stage]
        engine: cython.longlong = self.unit_engine[place]
        begin: cython.longlong = self.covered[CORES]
        steady: cython.longlong = self.begun[kernel * self.wide * N_ENGINES]
        self.account(CORES, slot, kernel, stage, end)
        if engine != NONE:
            if (
                begin == self.covered[engine]
                and begin >= self.start[kernel]
                and (steady == self.begun[kernel * self.wide * N_ENGINES + engine])
            ):
                self.account_alike(engine, kernel, stage, end)
            else:
                self.account(engine, slot, kernel, stage, end)
        if self.work_count > 0 and self.now <= self.work_end[self.work_count - 1]:
            self.worked += max(end - self.work_end[self.work_count - 1], 0)
            self.work_end[self.work_count - 1] = max(end, self.work_end[self.work_count - 1])
        else:
            if self.work_count == len(self.work_start):
                self.forget_work()
            self.work_start[self.work_count], self.work_end[self.work_count] = self.now, end
            self.work_count += 1
            self.worked += end - self.now
        worked: cython.longlong = self.worked_until(end)
        if self.covered[CORES] == end:
            self.worked_cover[CORES] = worked
        if engine != NONE and self.covered[engine] == end:
            self.worked_cover[engine] = worked
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def account(
        self, engine: cython.longlong, slot: cython.longlong, kernel: cython.longlong, stage: cython.longlong,
        end: cython.longlong,
    ) -> cython.longlong:  # fmt: skip
        """One engine's part of a service that begins now."""
        flag: cython.longlong = kernel * self.wide * N_ENGINES + engine
        phase: cython.longlong = STEADY if self.begun[flag] == COMPUTED else FILL
        begin: cython.longlong = self.covered[engine]
        row: cython.longlong = self.row(kernel) + engine * self.columns
        if self.begun[flag] < COMPUTED:
            self.begun[flag] = max(self.begun[flag], self.progress(stage))
        if self.now > begin:
            self.gap(engine, slot, begin, phase)
            begin = self.now
        elif begin > self.now and self.tracing:
            self.tracing = BROKEN
        self.labour(row, stage, begin - self.now, end - self.now)
        self.covered[engine] = max(begin, end)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def account_alike(
        self, engine: cython.longlong, kernel: cython.longlong, stage: cython.longlong, end: cython.longlong
    ) -> cython.longlong:
        """The part of an engine whose gap is that of the cores, which has just been described."""
        row: cython.longlong = self.row(kernel) + engine * self.columns
        index: cython.longlong
        flag: cython.longlong = kernel * self.wide * N_ENGINES + engine
        if self.begun[flag] < COMPUTED:
            self.begun[flag] = max(self.begun[flag], self.progress(stage))
        if self.now > self.covered[engine]:
            for index in range(self.pieces):
                self.book[row + self.piece_column[index]] += self.piece_end[index] - self.piece_begin[index]
        self.labour(row, stage, 0, end - self.now)
        self.covered[engine] = end
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def labour(
        self, row: cython.longlong, stage: cython.longlong, begin: cython.longlong, end: cython.longlong
    ) -> cython.longlong:
        """The ticks [begin, end) of a service, laid out useful, padding, tail, set-up."""
        low: cython.longlong = self.useful[stage]
        high: cython.longlong = low + self.padding[stage]
        edge: cython.longlong = high + self.tail[stage]
        self.book[row + USEFUL] += max(min(end, low) - begin, 0)
        self.book[row + PADDING] += max(min(end, high) - max(begin, low), 0)
        self.book[row + TAIL] += max(min(end, edge) - max(begin, high), 0)
        if end > max(begin, edge):
            self.book[row + DISPATCH] += end - max(begin, edge)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def progress(self, stage: cython.longlong) -> cython.longlong:
        """How far a unit that serves the stage has got with the kernel."""
        return COMPUTED if self.useful[stage] + self.padding[stage] + self.tail[stage] > 0 else SET_UP

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def gap(
        self, engine: cython.longlong, slot: cython.longlong, begin: cython.longlong, phase: cython.longlong
    ) -> cython.longlong:
        """The gap from `begin` until now that a tile ends: other units' work, then what the tile waited for."""
        kernel: cython.longlong = self.tile_kernel[slot]
        place: cython.longlong = kernel * self.wide
        row: cython.longlong = self.row(kernel) + engine * self.columns
        worked: cython.longlong = self.worked_cover[engine]
        others: cython.longlong = self.worked_until(self.now) - worked
        index: cython.longlong
        idle: cython.longlong
        self.book[row + DEPENDENCY] += others
        if begin < self.ready[kernel]:
            self.dependency(engine, kernel, begin, worked)
            begin, worked = self.ready[kernel], self.worked_ready[place]
        if begin < self.start[kernel]:
            self.book[row + DISPATCH] += self.start[kernel] - begin - (self.worked_start[place] - worked)
            begin, worked = self.start[kernel], self.worked_start[place]
        self.describe(slot, self.tile_stage[slot], begin, self.now, phase)
        for index in range(self.pieces):
            idle = self.piece_end[index] - self.piece_begin[index]
            if others > 0:
                idle += worked
                worked = self.worked_until(self.piece_end[index])
                idle -= worked
            self.book[row + self.piece_column[index]] += idle
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def dependency(
        self, engine: cython.longlong, kernel: cython.longlong, begin: cython.longlong, worked: cython.longlong
    ) -> cython.longlong:
        """The idle ticks from `begin` until the kernel is ready: its producer's drain by causes, else dependency."""
        producer: cython.longlong = self.producer[kernel * self.wide]
        source: cython.longlong = producer * self.wide
        row: cython.longlong = self.row(kernel) + engine * self.columns
        computed: cython.longlong
        index: cython.longlong
        idle: cython.longlong
        computed = max(begin, self.drain_computed[source])
        self.book[row + DEPENDENCY] += computed - begin + worked
        worked = max(worked, self.drain_worked[source])
        self.book[row + DEPENDENCY] -= worked
        row = self.row(producer) + engine * self.columns
        for index in range(self.drain_from[source], self.drain_to[source]):  # what lies before `computed` adds nothing
            idle = max(self.drain_end[index], computed) - max(self.drain_begin[index], computed)
            idle -= max(self.drain_worked_end[index], worked) - max(self.drain_worked_begin[index], worked)
            self.book[row + self.drain_column[index]] += idle
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def describe(
        self, slot: cython.longlong, last: cython.longlong, begin: cython.longlong, end: cython.longlong,
        phase: cython.longlong,
    ) -> cython.longlong:  # fmt: skip
        """What a tile was doing in [begin, end), up to the stage `last`, as pieces with a ledger column each."""
        kind: cython.longlong = self.tile_type[slot]
        first: cython.longlong = self.stage_ptr[kind]
        time: cython.longlong = self.tile_buffer[slot]
        pace: cython.longlong = NONE
        stage: cython.longlong
        place: cython.longlong
        tier: cython.longlong
        grant: cython.longlong
        stop: cython.longlong
        arrive: cython.longlong
        bandwidth: cython.longlong
        flight: cython.longlong
        self.pieces = 0
        if begin >= end:
            return 0
        if begin < time:
            self.piece(begin, min(end, time), self.name(CAPACITY, self.buffer_tier[self.type_nest[kind]], phase))
        for stage in range(first, last + 1):
            if time >= end:
                break
            place = self.resource[stage]
            tier = self.port_tier[place]
            grant = self.granted[self.tile_base[slot] + stage]
            stop = grant + self.ticks[stage]
            arrive = stop + self.latency[stage]
            if grant > time and phase == STEADY:
                pace = NONE if tier == NONE else place
            if arrive > begin:
                if tier == NONE:
                    self.piece(max(begin, time), min(end, arrive), DEPENDENCY)
                else:
                    bandwidth = self.name(BANDWIDTH, tier, phase)
                    self.paced(place, bandwidth, max(begin, time), min(end, grant), self.tile_kernel[slot], phase)
                    self.paced(pace, bandwidth, max(begin, grant), min(end, stop), self.tile_kernel[slot], phase)
                    flight = self.name(LATENCY, tier, phase)
                    self.paced(pace, flight, max(begin, stop), min(end, arrive), self.tile_kernel[slot], phase)
            time = arrive
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def piece(self, begin: cython.longlong, end: cython.longlong, name: cython.longlong) -> cython.longlong:
        """[begin, end) has one name."""
        index: cython.longlong = self.pieces
        if begin >= end:
            return 0
        if index == len(self.piece_begin):
            self.piece_begin, self.piece_end = doubled(self.piece_begin), doubled(self.piece_end)
            self.piece_column = doubled(self.piece_column)
        self.piece_begin[index], self.piece_end[index], self.piece_column[index] = begin, end, name
        self.pieces += 1
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def paced(
        self, place: cython.longlong, name: cython.longlong, begin: cython.longlong, end: cython.longlong,
        kernel: cython.longlong, phase: cython.longlong,
    ) -> cython.longlong:  # fmt: skip
        """[begin, end): bandwidth or contention of the port `place` while it is busy, `name` otherwise."""
        tier: cython.longlong
        index: cython.longlong
        limit: cython.longlong
        low: cython.longlong
        high: cython.longlong
        if begin >= end:
            return 0
        if place != NONE:
            tier = self.port_tier[place]
            limit = place * self.past + self.past_count[place]
            index = limit
            while index > place * self.past and self.past_end[index - 1] > begin:
                index -= 1
            while index < limit and self.past_start[index] < end:
                low, high = max(begin, self.past_start[index]), min(end, self.past_end[index])
                self.piece(begin, low, name)
                if self.past_kernel[index] == kernel:
                    self.piece(low, high, self.name(BANDWIDTH, tier, phase))
                else:
                    self.piece(low, high, self.name(CONTENTION, tier, phase))
                begin = high
                index += 1
        self.piece(begin, end, name)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def drained(self, piece: cython.longlong, worked: cython.longlong) -> cython.longlong:
        """One interval of a kernel's drain; `worked` until it begins. Returns that until it ends."""
        index: cython.longlong = self.drains
        if index == len(self.drain_begin):
            self.drain_begin, self.drain_end = doubled(self.drain_begin), doubled(self.drain_end)
            self.drain_column = doubled(self.drain_column)
            self.drain_worked_begin = doubled(self.drain_worked_begin)
            self.drain_worked_end = doubled(self.drain_worked_end)
        self.drain_begin[index], self.drain_end[index] = self.piece_begin[piece], self.piece_end[piece]
        self.drain_column[index] = self.piece_column[piece]
        self.drain_worked_begin[index] = worked
        self.drain_worked_end[index] = self.worked_until(self.piece_end[piece])
        self.drains += 1
        return self.drain_worked_end[index]

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def worked_until(self, time: cython.longlong) -> cython.longlong:
        """Ticks before `time` in which at least one unit worked."""
        total: cython.longlong = self.worked
        index: cython.longlong = self.work_count - 1
        while index >= 0 and self.work_end[index] > time:
            total -= self.work_end[index] - max(self.work_start[index], time)
            index -= 1
        return total

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def trailing(self, makespan: cython.longlong) -> cython.longlong:
        """The gaps that no tile ends, named after the tile that arrived last."""
        engine: cython.longlong
        begin: cython.longlong
        time: cython.longlong
        row: cython.longlong
        index: cython.longlong
        kernel: cython.longlong = len(self.end) - 1
        if self.last_slot != NONE:
            kernel = self.tile_kernel[self.last_slot]
        for engine in range(N_ENGINES):
            begin = self.covered[engine]
            if begin >= makespan:
                continue
            row = self.row(kernel) + engine * self.columns
            if self.last_slot == NONE:  # then nothing has been covered
                self.book[row + DISPATCH] += makespan
                continue
            time = min(max(begin, self.covered[CORES], self.ready[kernel]), makespan)
            self.book[row + DEPENDENCY] += time - begin
            begin = min(max(time, self.start[kernel]), makespan)
            self.book[row + DISPATCH] += begin - time
            index = self.stage_ptr[self.tile_type[self.last_slot] + 1] - 1
            self.describe(self.last_slot, index, begin, makespan, DRAIN)
            for index in range(self.pieces):
                self.book[row + self.piece_column[index]] += self.piece_end[index] - self.piece_begin[index]
            self.book[row + DEPENDENCY] += max(makespan - max(begin, self.last_time), 0)
        return 0
