"""The state of the event core: what the program says, what is where, and the past that may still be asked about."""

from __future__ import annotations

from typing import Any, Final

import cython

from hiersim.engines.core.columns import joined
from hiersim.model.timeline import ENGINES, ledger_width

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.engines.core.columns import doubled
    from cython.cimports.hiersim.engines.core.constants import (  # isort: skip
        COMPLETES, COMPUTES, INFINITY, LAST, LEAVES, LOG_WIDTH, N_ENGINES, NONE, RELEASES,
    )  # fmt: skip
else:
    from hiersim.columns import column
    from hiersim.engines.core.columns import doubled
    from hiersim.engines.core.constants import (  # isort: skip
        COMPLETES, COMPUTES, INFINITY, LAST, LEAVES, LOG_WIDTH, N_ENGINES, NONE, RELEASES,
    )  # fmt: skip

PROGRAM_COLUMNS: Final = (
    "nest", "depth", "buffer_tier", "loop_ptr", "loop_repeat", "body_ptr", "body_count", "body_tile", "stage_ptr",
    "release_stage", "complete_stage", "stage_resource", "stage_ticks", "stage_latency", "stage_useful",
    "stage_padding", "stage_tail",
)  # fmt: skip


@cython.cclass
class State:
    """Resources, tiles in flight and the ledger of one run: columns, as `state.pxd` lists them."""

    def __init__(self, program: Any, wide: bool, keep_log: bool, fast: bool) -> None:
        self.load(program)
        kernels = len(program) if wide else 1
        self.wide = 1 if wide else 0
        self.find_lines()
        self.empty_resources()
        self.empty_slots()
        self.empty_kernels(len(program), kernels)
        self.empty_past()
        self.book = column(self.row_size * (kernels if wide else 2))
        self.keep_log, self.log_rows = keep_log, 0
        self.log = column(int(LOG_WIDTH) * int(program.stage_counts().sum()) if keep_log else 0)
        self.fast, self.tracing = fast and not keep_log, 0
        self.stages = self.skipped = self.steps = self.snapshots = self.jumps = 0

    def load(self, program: Any) -> None:
        """The program's columns; stages by their index among all stages instead of in their chain."""
        parts = [getattr(program, name) for name in PROGRAM_COLUMNS]
        self.whole, self.taken = joined(parts), 0
        sizes: cython.longlong[::1] = column(len(parts))
        index: cython.longlong
        for index in range(len(parts)):
            sizes[index] = len(parts[index])
        self.resources, self.tiers = len(program.resources), len(program.tiers)
        self.columns = ledger_width(len(program.tiers))
        self.row_size = self.columns * N_ENGINES
        self.port_tier, self.fair = column(self.resources), column(self.resources)
        self.unit_engine = column(self.resources, NONE)
        for index in range(self.resources):
            item = program.resources[index]
            self.port_tier[index], self.fair[index] = item.tier, int(item.fair)
            if item.name in ENGINES:
                self.unit_engine[index] = ENGINES.index(item.name)
        self.nest, self.depth, self.buffer_tier = self.part(sizes[0]), self.part(sizes[1]), self.part(sizes[2])
        self.loop_ptr, self.loop_repeat, self.body_ptr = self.part(sizes[3]), self.part(sizes[4]), self.part(sizes[5])
        self.body_count, self.body_tile, self.stage_ptr = self.part(sizes[6]), self.part(sizes[7]), self.part(sizes[8])
        self.release, self.complete = self.part(sizes[9]), self.part(sizes[10])
        self.resource, self.ticks, self.latency = self.part(sizes[11]), self.part(sizes[12]), self.part(sizes[13])
        self.useful, self.padding, self.tail = self.part(sizes[14]), self.part(sizes[15]), self.part(sizes[16])
        self.total, self.type_nest = column(len(self.depth)), column(len(self.release))
        self.marks = column(len(self.resource))
        self.count_tiles()

    @cython.final
    @cython.cfunc
    def part(self, length: cython.longlong) -> cython.longlong[::1]:
        """The next of the program's columns."""
        self.taken += length
        return self.whole[self.taken - length : self.taken]

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def count_tiles(self) -> cython.longlong:
        """Tiles of each nest, the nest of each tile type, the longest chain; what is special of a stage is marked."""
        nest: cython.longlong
        loop: cython.longlong
        body: cython.longlong
        kind: cython.longlong
        stage: cython.longlong
        for nest in range(len(self.total)):
            for loop in range(self.loop_ptr[nest], self.loop_ptr[nest + 1]):
                for body in range(self.body_ptr[loop], self.body_ptr[loop + 1]):
                    self.total[nest] += self.loop_repeat[loop] * self.body_count[body]
                    self.type_nest[self.body_tile[body]] = nest
        self.longest = 1
        for kind in range(len(self.type_nest)):
            self.longest = max(self.longest, self.stage_ptr[kind + 1] - self.stage_ptr[kind])
            self.release[kind] += self.stage_ptr[kind]
            self.complete[kind] += self.stage_ptr[kind]
            self.marks[self.stage_ptr[kind + 1] - 1] |= LAST
            self.marks[self.release[kind]] |= RELEASES
            self.marks[self.complete[kind]] |= COMPLETES
        for stage in range(len(self.marks)):
            if self.port_tier[self.resource[stage]] == NONE:
                self.marks[stage] |= COMPUTES
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def find_lines(self) -> cython.longlong:
        """Nests whose tiles are handed out one by one, although all may be in play at once: those of copies."""
        nest: cython.longlong
        kind: cython.longlong
        self.line = column(len(self.depth), NONE)
        if self.wide == 0:
            return 0
        for nest in range(len(self.depth)):
            if self.total[nest] > 1 and self.depth[nest] >= self.total[nest]:
                self.line[nest] = self.line_of(nest)
        for kind in range(len(self.type_nest)):
            if self.line[self.type_nest[kind]] != NONE:
                self.marks[self.stage_ptr[kind]] |= LEAVES
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def line_of(self, nest: cython.longlong) -> cython.longlong:
        """The resource that all tiles of a nest need first, where none computes or goes on after it has completed."""
        place: cython.longlong = NONE
        body: cython.longlong
        kind: cython.longlong
        stage: cython.longlong
        for body in range(self.body_ptr[self.loop_ptr[nest]], self.body_ptr[self.loop_ptr[nest + 1]]):
            kind = self.body_tile[body]
            if place == NONE:
                place = self.resource[self.stage_ptr[kind]]
            if self.resource[self.stage_ptr[kind]] != place or self.complete[kind] != self.stage_ptr[kind + 1] - 1:
                return NONE
            for stage in range(self.stage_ptr[kind], self.stage_ptr[kind + 1]):
                if self.marks[stage] & COMPUTES:
                    return NONE
        return place

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def in_line(self, slot: cython.longlong) -> cython.bint:
        """Whether a tile has waited since its kernel started."""
        return self.line[self.nest[self.tile_kernel[slot]]] != NONE

    def empty_resources(self) -> None:
        """Nothing anywhere."""
        count = self.resources
        self.now, self.next_start = 0, INFINITY
        self.next_due, self.next_place, self.waiting, self.ready_place = INFINITY, 0, 0, 0
        self.serving, self.service_end, self.busy = column(count, NONE), column(count), column(count)
        self.due = column(count, INFINITY)
        self.queue_head, self.queue_tail = column(count, NONE), column(count, NONE)
        self.flight_head, self.flight_tail = column(count, NONE), column(count, NONE)
        self.firsts, self.found = column(4), column(len(self.nest) if any(self.fair) else 0)

    def empty_slots(self) -> None:
        """Room for a few tiles, all free."""
        self.last_slot, self.last_time, self.free_slot, self.live = NONE, NONE, NONE, 0
        self.tile_kernel, self.tile_number, self.tile_type = column(32), column(32), column(32)
        self.tile_stage, self.tile_buffer, self.tile_time = column(32), column(32), column(32)
        self.tile_active, self.before, self.granted = column(32), column(32), column(32 * self.longest)
        self.after, self.tile_share, self.tile_base = column(32), column(32), column(32)
        self.slots = len(self.after)
        self.vacate(0)

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def more_slots(self) -> cython.longlong:
        """Twice as many slots."""
        old: cython.longlong = self.slots
        self.tile_kernel, self.tile_number = doubled(self.tile_kernel), doubled(self.tile_number)
        self.tile_type, self.tile_stage = doubled(self.tile_type), doubled(self.tile_stage)
        self.tile_buffer, self.tile_time = doubled(self.tile_buffer), doubled(self.tile_time)
        self.tile_active, self.after = doubled(self.tile_active), doubled(self.after)
        self.before, self.granted = doubled(self.before), doubled(self.granted)
        self.tile_share, self.tile_base = doubled(self.tile_share), doubled(self.tile_base)
        self.slots = len(self.after)
        self.vacate(old)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def vacate(self, first: cython.longlong) -> cython.longlong:
        """Slots from `first` on are free, the lowest first; a free slot is in no stage."""
        slot: cython.longlong
        for slot in range(self.slots - 1, first - 1, -1):
            self.tile_stage[slot] = NONE
            self.tile_share[slot] = 0
            self.after[slot] = self.free_slot
            self.free_slot = slot
        return 0

    def empty_kernels(self, kernels: int, places: int) -> None:
        """No kernel is known yet."""
        self.actives, self.current = 0, NONE
        self.active_kernel, self.active_loop = column(4), column(4)
        self.active_repeat, self.active_body, self.active_count = column(4), column(4), column(4)
        self.active_free, self.active_number, self.active_left = column(4), column(4), column(4)
        self.active_open, self.active_time, self.active_slot = column(4), column(4), column(4)
        self.active_line, self.active_front = column(4, NONE), column(4, NONE)
        self.ready, self.start, self.end = column(kernels, NONE), column(kernels, NONE), column(kernels, NONE)
        self.worked_ready, self.worked_start = column(places), column(places)
        self.computed, self.worked_computed = column(places), column(places)
        self.begun, self.producer = column(places * N_ENGINES), column(places, NONE)
        self.drain_from, self.drain_to = column(places), column(places)
        self.drain_computed, self.drain_worked = column(places), column(places)
        self.drains = 0
        self.drain_begin, self.drain_end, self.drain_column = column(16), column(16), column(16)
        self.drain_worked_begin, self.drain_worked_end = column(16), column(16)

    def more_actives(self) -> None:
        """Room for twice as many kernels at once."""
        self.active_kernel, self.active_loop = doubled(self.active_kernel), doubled(self.active_loop)
        self.active_repeat, self.active_body = doubled(self.active_repeat), doubled(self.active_body)
        self.active_count, self.active_free = doubled(self.active_count), doubled(self.active_free)
        self.active_number, self.active_left = doubled(self.active_number), doubled(self.active_left)
        self.active_open, self.active_time = doubled(self.active_open), doubled(self.active_time)
        self.active_slot = doubled(self.active_slot)
        self.active_line, self.active_front = doubled(self.active_line), doubled(self.active_front)

    def empty_past(self) -> None:
        """Nothing has happened."""
        self.covered, self.worked_cover = column(N_ENGINES), column(N_ENGINES)
        self.worked = self.work_count = 0
        self.work_start, self.work_end = column(64), column(64)
        self.past, self.past_count = 64, column(self.resources)
        self.past_start = column(self.past * self.resources)
        self.past_end, self.past_kernel = column(self.past * self.resources), column(self.past * self.resources)
        self.pieces = 0
        self.piece_begin, self.piece_end, self.piece_column = column(32), column(32), column(32)

    # ------------------------------------------------------------------------------------------------------ the past

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def remember(self, place: cython.longlong, kernel: cython.longlong, end: cython.longlong) -> cython.longlong:
        """The port `place` serves `kernel` from now on; adjoining services of one kernel are one."""
        index: cython.longlong = place * self.past + self.past_count[place]
        if (
            self.past_count[place] > 0
            and self.past_end[index - 1] == self.now
            and self.past_kernel[index - 1] == kernel
        ):
            self.past_end[index - 1] = end
            return 0
        if self.past_count[place] == self.past:
            self.forget()
            index = place * self.past + self.past_count[place]
        self.past_start[index], self.past_end[index], self.past_kernel[index] = self.now, end, kernel
        self.past_count[place] += 1
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def horizon(self) -> cython.longlong:
        """The time before which no tile that is still there had a buffer, or left the line in which it waited."""
        time: cython.longlong = self.now
        slot: cython.longlong
        for slot in range(self.slots):
            if self.tile_stage[slot] != NONE:
                time = min(time, self.since(slot))
        return time

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def since(self, slot: cython.longlong) -> cython.longlong:
        """Since when a tile may be asked about, but for its time in line."""
        if not self.in_line(slot):
            return self.tile_buffer[slot]
        if self.active_front[self.tile_active[slot]] == slot:
            return self.now
        return self.granted[slot * self.longest]

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def line_horizon(self, place: cython.longlong, time: cython.longlong) -> cython.longlong:
        """`time`, or before it the start of a kernel whose tiles wait in line at `place`."""
        active: cython.longlong
        for active in range(self.actives):
            if self.active_line[active] == place:
                time = min(time, self.start[self.active_kernel[active]])
        if self.last_slot != NONE and self.line[self.nest[self.tile_kernel[self.last_slot]]] == place:
            time = min(time, self.tile_buffer[self.last_slot])
        return time

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forget(self) -> cython.longlong:
        """Drop services that nobody can ask about; make room when that is not enough."""
        if 2 * self.forget_past(self.horizon()) > self.past:
            self.widen()
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def forget_past(self, time: cython.longlong) -> cython.longlong:
        """Drop services that ended until `time`; returns how many are left at the resource that has most."""
        old: cython.longlong = self.past
        since: cython.longlong
        place: cython.longlong
        index: cython.longlong
        kept: cython.longlong
        most: cython.longlong = 0
        for place in range(self.resources):
            kept = 0
            since = self.line_horizon(place, time)
            for index in range(place * old, place * old + self.past_count[place]):
                if self.past_end[index] > since:
                    self.past_start[place * old + kept] = self.past_start[index]
                    self.past_end[place * old + kept] = self.past_end[index]
                    self.past_kernel[place * old + kept] = self.past_kernel[index]
                    kept += 1
            self.past_count[place] = kept
            most = max(most, kept)
        return most

    def widen(self) -> None:
        """Room for twice as many services of each resource."""
        old, new, count = int(self.past), 2 * int(self.past), int(self.resources)
        place: cython.longlong
        index: cython.longlong
        starts: cython.longlong[::1] = column(new * count)
        ends: cython.longlong[::1] = column(new * count)
        kernels: cython.longlong[::1] = column(new * count)
        for place in range(count):
            for index in range(self.past_count[place]):
                starts[place * new + index] = self.past_start[place * old + index]
                ends[place * new + index] = self.past_end[place * old + index]
                kernels[place * new + index] = self.past_kernel[place * old + index]
        self.past_start, self.past_end, self.past_kernel = starts, ends, kernels
        self.past = new

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forget_work(self) -> cython.longlong:
        """Drop work that nobody can ask about; make room when that is not enough."""
        time: cython.longlong = self.horizon()
        index: cython.longlong
        kept: cython.longlong = 0
        for index in range(self.work_count):
            if self.work_end[index] > time:
                self.work_start[kept], self.work_end[kept] = self.work_start[index], self.work_end[index]
                kept += 1
        self.work_count = kept
        if 2 * kept > len(self.work_start):
            self.work_start, self.work_end = doubled(self.work_start), doubled(self.work_end)
        return 0
