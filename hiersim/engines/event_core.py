"""The event loop of the compiled engine: tiles, ports and units over flat integer arrays, the ledger kept on the way.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. A tile in flight has a *slot*; it is always in exactly one place: in service at a resource, in the queue of
one, or in flight behind one. What a resource remembers of the past is pruned to what a tile that is still there may
be asked about.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import cython
import numpy as np

from hiersim.model.program import Access
from hiersim.model.timeline import ENGINES, Entry, LedgerPhase, distinct_ledgers, ledger_width

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
    from cython.cimports.cpython.exc import PyErr_CheckSignals
else:

    def PyErr_CheckSignals() -> None:  # noqa: N802
        """Interpreted code can be interrupted anyway."""


FNV_PRIME = cython.declare(cython.ulonglong, 1099511628211)
ALL_BITS = cython.declare(cython.ulonglong, 0xFFFFFFFFFFFFFFFF)
INFINITY = cython.declare(cython.longlong, (1 << 63) - 1)
NONE = cython.declare(cython.longlong, -1)
MOST_STATES = cython.declare(cython.longlong, 50_000)
MOST_LIVE = cython.declare(cython.longlong, 64)
FIRST_SAVE = cython.declare(cython.longlong, 32)
LONGEST_GLANCE = cython.declare(cython.longlong, 8)
LEAST_RUN = cython.declare(cython.longlong, 24)
LEAST_LOOP = cython.declare(cython.longlong, 4)

DEPENDENCY = cython.declare(cython.longlong, int(Entry.DEPENDENCY))
DISPATCH = cython.declare(cython.longlong, int(Entry.DISPATCH))
CAPACITY = cython.declare(cython.longlong, int(Entry.CAPACITY))
BANDWIDTH = cython.declare(cython.longlong, int(Entry.BANDWIDTH))
LATENCY = cython.declare(cython.longlong, int(Entry.LATENCY))
CONTENTION = cython.declare(cython.longlong, int(Entry.CONTENTION))
USEFUL = cython.declare(cython.longlong, int(Entry.USEFUL))
PADDING = cython.declare(cython.longlong, int(Entry.PADDING))
TAIL = cython.declare(cython.longlong, int(Entry.TAIL))
FILL = cython.declare(cython.longlong, int(LedgerPhase.FILL))
STEADY = cython.declare(cython.longlong, int(LedgerPhase.STEADY))
DRAIN = cython.declare(cython.longlong, int(LedgerPhase.DRAIN))
PHASES = cython.declare(cython.longlong, len(LedgerPhase))
CORES = cython.declare(cython.longlong, ENGINES.index("cores"))
COMPUTE = cython.declare(cython.longlong, int(Access.COMPUTE))
N_ENGINES = cython.declare(cython.longlong, len(ENGINES))
LOG_WIDTH = cython.declare(cython.longlong, 7)
RUN = cython.declare(cython.longlong, 0)
LOOP = cython.declare(cython.longlong, 1)


def column(length: int, value: int = 0) -> Any:
    """A column of integers: an array where compiled, a list where interpreted (quicker there)."""
    if not cython.compiled:
        return [value] * length
    values = np.zeros(length, np.int64)
    if value:
        values.fill(value)
    return values


def loaded(values: Any) -> Any:
    """An array of the program as a column."""
    return np.array(values, dtype=np.int64) if cython.compiled else [int(value) for value in values]


def longer(values: Any, length: int) -> Any:
    """A column with room for `length` numbers that begins with `values`."""
    if not cython.compiled:
        return list(values) + [0] * (length - len(values))
    grown = np.zeros(length, np.int64)
    grown[: len(values)] = values
    return grown


def array(values: Any) -> Any:
    """A column as an array."""
    return np.asarray(values) if cython.compiled else np.array(values, np.int64)


@cython.cfunc
def frozen(values: cython.longlong[::1], length: cython.longlong) -> object:
    """The first `length` numbers of a column, as a key."""
    if cython.compiled:
        return PyBytes_FromStringAndSize(cython.cast(cython.p_char, cython.address(values[0])), length * 8)
    return tuple(values[:length])


@cython.final
@cython.cclass
class Saved:
    """A state of a tile loop, and all counters at that moment."""

    valid: cython.longlong
    """0 nothing saved, 1 saved, 2 nothing more to gain in this loop."""
    glance: cython.longlong
    step: cython.longlong
    due: cython.longlong
    now: cython.longlong
    number: cython.longlong
    worked: cython.longlong
    computed: cython.longlong
    worked_computed: cython.longlong
    stages: cython.longlong
    size: cython.longlong
    period: cython.longlong
    glances: cython.longlong[::1]
    """Of the last steps, at their number modulo 16."""
    words: cython.longlong[::1]
    covered: cython.longlong[::1]
    worked_cover: cython.longlong[::1]
    busy: cython.longlong[::1]
    book: cython.longlong[::1]

    def __init__(self, resources: int, row_size: int) -> None:
        self.valid = 0
        self.glances = column(16, -1)
        self.words = column(256)
        self.covered, self.worked_cover = column(N_ENGINES), column(N_ENGINES)
        self.busy, self.book = column(resources), column(row_size)


@cython.cclass
class Machine:
    """Resources, tiles in flight and the ledger of one run. `Stream` and `Graph` drive it."""

    # the program
    resources: cython.longlong
    tiers: cython.longlong
    columns: cython.longlong
    row_size: cython.longlong
    longest: cython.longlong
    port_tier: cython.longlong[::1]
    unit_engine: cython.longlong[::1]
    depth: cython.longlong[::1]
    buffer_tier: cython.longlong[::1]
    total: cython.longlong[::1]
    nest: cython.longlong[::1]
    loop_ptr: cython.longlong[::1]
    loop_repeat: cython.longlong[::1]
    body_ptr: cython.longlong[::1]
    body_count: cython.longlong[::1]
    body_tile: cython.longlong[::1]
    type_nest: cython.longlong[::1]
    stage_ptr: cython.longlong[::1]
    release: cython.longlong[::1]
    complete: cython.longlong[::1]
    resource: cython.longlong[::1]
    ticks: cython.longlong[::1]
    latency: cython.longlong[::1]
    useful: cython.longlong[::1]
    padding: cython.longlong[::1]

    # time, and what waits where
    now: cython.longlong
    next_start: cython.longlong
    serving: cython.longlong[::1]
    service_end: cython.longlong[::1]
    queue_head: cython.longlong[::1]
    queue_tail: cython.longlong[::1]
    flight_head: cython.longlong[::1]
    flight_tail: cython.longlong[::1]
    busy: cython.longlong[::1]

    # slots of tiles; `granted` holds the grant of every stage so far, `longest` places a slot
    free_slot: cython.longlong
    slots: cython.longlong
    tile_kernel: cython.longlong[::1]
    tile_number: cython.longlong[::1]
    tile_type: cython.longlong[::1]
    tile_stage: cython.longlong[::1]
    tile_buffer: cython.longlong[::1]
    tile_time: cython.longlong[::1]
    tile_active: cython.longlong[::1]
    after: cython.longlong[::1]
    before: cython.longlong[::1]
    granted: cython.longlong[::1]
    last_slot: cython.longlong
    last_time: cython.longlong

    # kernels that issue tiles or wait for them
    actives: cython.longlong
    active_kernel: cython.longlong[::1]
    active_nest: cython.longlong[::1]
    active_loop: cython.longlong[::1]
    active_repeat: cython.longlong[::1]
    active_body: cython.longlong[::1]
    active_count: cython.longlong[::1]
    active_free: cython.longlong[::1]
    active_number: cython.longlong[::1]
    active_left: cython.longlong[::1]
    active_open: cython.longlong[::1]
    active_time: cython.longlong[::1]
    active_slot: cython.longlong[::1]

    # per kernel: times, and the union of all units' work until then (in a stream only one has a place: wide = 0)
    wide: cython.longlong
    current: cython.longlong
    ready: cython.longlong[::1]
    start: cython.longlong[::1]
    end: cython.longlong[::1]
    worked_ready: cython.longlong[::1]
    worked_start: cython.longlong[::1]
    computed: cython.longlong[::1]
    worked_computed: cython.longlong[::1]
    begun: cython.longlong[::1]
    producer: cython.longlong[::1]

    # how kernels drained after their last computation: intervals, each with a ledger column
    drain_from: cython.longlong[::1]
    drain_to: cython.longlong[::1]
    drain_computed: cython.longlong[::1]
    drain_worked: cython.longlong[::1]
    drains: cython.longlong
    drain_begin: cython.longlong[::1]
    drain_end: cython.longlong[::1]
    drain_column: cython.longlong[::1]
    drain_worked_begin: cython.longlong[::1]
    drain_worked_end: cython.longlong[::1]

    # the ledger, and the past that it looks up: when any unit worked, whom each port served
    book: cython.longlong[::1]
    covered: cython.longlong[::1]
    worked_cover: cython.longlong[::1]
    worked: cython.longlong
    work_count: cython.longlong
    work_start: cython.longlong[::1]
    work_end: cython.longlong[::1]
    past: cython.longlong
    past_count: cython.longlong[::1]
    past_start: cython.longlong[::1]
    past_end: cython.longlong[::1]
    past_kernel: cython.longlong[::1]
    pieces: cython.longlong
    piece_begin: cython.longlong[::1]
    piece_end: cython.longlong[::1]
    piece_column: cython.longlong[::1]

    # the stage log, when it is kept
    keep_log: cython.bint
    log_rows: cython.longlong
    log: cython.longlong[::1]

    # fast-forward of tile loops: the words of the present state, and a saved state of each level
    fast: cython.bint
    words: cython.longlong[::1]
    word_count: cython.longlong
    saved_run: Saved
    saved_loop: Saved

    # counted work
    stages: cython.longlong
    skipped: cython.longlong
    steps: cython.longlong
    snapshots: cython.longlong
    jumps: cython.longlong

    def __init__(self, program: Any, wide: bool, keep_log: bool, fast: bool) -> None:
        self.load(program)
        kernels = len(program) if wide else 1
        self.wide = 1 if wide else 0
        self.empty_resources()
        self.empty_slots()
        self.empty_kernels(len(program), kernels)
        self.empty_past()
        self.book = column(self.row_size * (kernels if wide else 2))
        self.keep_log, self.log_rows = keep_log, 0
        self.log = column(int(LOG_WIDTH) * (int(program.stage_counts().sum()) if keep_log else 0))
        self.fast = fast and not keep_log
        self.empty_saved()
        self.stages = self.skipped = self.steps = self.snapshots = self.jumps = 0

    def load(self, program: Any) -> None:
        """The program's columns; stages by their index among all stages instead of in their chain."""
        self.resources, self.tiers = len(program.resources), len(program.tiers)
        self.columns = ledger_width(len(program.tiers))
        self.row_size = self.columns * N_ENGINES
        self.port_tier = loaded([item.tier for item in program.resources])
        names = [item.name if item.tier < 0 else "" for item in program.resources]
        self.unit_engine = loaded([ENGINES.index(name) if name in ENGINES[1:] else 0 for name in names])
        self.nest = loaded(program.nest)
        self.depth, self.buffer_tier = loaded(program.depth), loaded(program.buffer_tier)
        self.loop_ptr, self.loop_repeat = loaded(program.loop_ptr), loaded(program.loop_repeat)
        self.body_ptr, self.body_count = loaded(program.body_ptr), loaded(program.body_count)
        self.body_tile = loaded(program.body_tile)
        self.stage_ptr = loaded(program.stage_ptr)
        self.release, self.complete = loaded(program.release_stage), loaded(program.complete_stage)
        self.total, self.type_nest = column(len(program.depth)), column(len(program.release_stage))
        self.count_tiles()
        self.resource, self.ticks = loaded(program.stage_resource), loaded(program.stage_ticks)
        self.latency = loaded(program.stage_latency)
        self.useful, self.padding = loaded(program.stage_useful), loaded(program.stage_padding)

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def count_tiles(self) -> cython.longlong:
        """Tiles of each nest, the nest of each tile type, the longest chain; chain positions become stages."""
        nest: cython.longlong
        loop: cython.longlong
        body: cython.longlong
        kind: cython.longlong
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
        return 0

    def empty_resources(self) -> None:
        """Nothing anywhere."""
        count = self.resources
        self.now, self.next_start = 0, INFINITY
        self.serving, self.service_end, self.busy = column(count, -1), column(count), column(count)
        self.queue_head, self.queue_tail = column(count, -1), column(count, -1)
        self.flight_head, self.flight_tail = column(count, -1), column(count, -1)

    def empty_slots(self) -> None:
        """Room for a few tiles, all free."""
        self.last_slot, self.last_time, self.slots, self.free_slot = NONE, NONE, 32, 0
        self.tile_kernel, self.tile_number, self.tile_type = column(32), column(32), column(32)
        self.tile_stage, self.tile_buffer, self.tile_time = column(32), column(32), column(32)
        self.tile_active, self.before, self.granted = column(32), column(32), column(32 * self.longest)
        self.after = loaded([*range(1, 32), -1])

    @cython.ccall
    def more_slots(self) -> cython.longlong:
        """Twice as many slots."""
        old: cython.longlong = self.slots
        new: cython.longlong = 2 * old
        slot: cython.longlong
        self.tile_kernel, self.tile_number = longer(self.tile_kernel, new), longer(self.tile_number, new)
        self.tile_type, self.tile_stage = longer(self.tile_type, new), longer(self.tile_stage, new)
        self.tile_buffer, self.tile_time = longer(self.tile_buffer, new), longer(self.tile_time, new)
        self.tile_active, self.after = longer(self.tile_active, new), longer(self.after, new)
        self.before, self.granted = longer(self.before, new), longer(self.granted, new * self.longest)
        for slot in range(new - 1, old - 1, -1):
            self.after[slot] = self.free_slot
            self.free_slot = slot
        self.slots = new
        return 0

    def empty_kernels(self, kernels: int, places: int) -> None:
        """No kernel is known yet."""
        self.actives, self.current = 0, NONE
        self.active_kernel, self.active_nest, self.active_loop = column(4), column(4), column(4)
        self.active_repeat, self.active_body, self.active_count = column(4), column(4), column(4)
        self.active_free, self.active_number, self.active_left = column(4), column(4), column(4)
        self.active_open, self.active_time, self.active_slot = column(4), column(4), column(4)
        self.ready, self.start, self.end = column(kernels, -1), column(kernels, -1), column(kernels, -1)
        self.worked_ready, self.worked_start = column(places), column(places)
        self.computed, self.worked_computed = column(places), column(places)
        self.begun, self.producer = column(places * N_ENGINES), column(places, -1)
        self.drain_from, self.drain_to = column(places), column(places)
        self.drain_computed, self.drain_worked = column(places), column(places)
        self.drains = 0
        self.drain_begin, self.drain_end, self.drain_column = column(16), column(16), column(16)
        self.drain_worked_begin, self.drain_worked_end = column(16), column(16)

    def more_actives(self, new: int) -> None:
        """Room for `new` kernels at once."""
        self.active_kernel, self.active_nest = longer(self.active_kernel, new), longer(self.active_nest, new)
        self.active_loop, self.active_repeat = longer(self.active_loop, new), longer(self.active_repeat, new)
        self.active_body, self.active_count = longer(self.active_body, new), longer(self.active_count, new)
        self.active_free, self.active_number = longer(self.active_free, new), longer(self.active_number, new)
        self.active_left, self.active_open = longer(self.active_left, new), longer(self.active_open, new)
        self.active_time, self.active_slot = longer(self.active_time, new), longer(self.active_slot, new)

    def empty_past(self) -> None:
        """Nothing has happened."""
        self.covered, self.worked_cover = column(N_ENGINES), column(N_ENGINES)
        self.worked = self.work_count = 0
        self.work_start, self.work_end = column(64), column(64)
        self.past, self.past_count = 64, column(self.resources)
        self.past_start = column(64 * self.resources)
        self.past_end, self.past_kernel = column(64 * self.resources), column(64 * self.resources)
        self.pieces = 0
        self.piece_begin, self.piece_end, self.piece_column = column(32), column(32), column(32)

    def empty_saved(self) -> None:
        """No state is saved at either level."""
        self.words, self.word_count = column(256), 0
        self.saved_run, self.saved_loop = (
            Saved(self.resources, self.row_size),
            Saved(self.resources, self.row_size),
        )

    # ------------------------------------------------------------------------------------------------ the event loop

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def next_event(self) -> cython.longlong:
        """Time of the next completion or start; INFINITY when nothing is left."""
        time: cython.longlong = self.next_start
        place: cython.longlong
        head: cython.longlong
        for place in range(self.resources):
            if self.serving[place] >= 0 and self.service_end[place] < time:
                time = self.service_end[place]
            head = self.flight_head[place]
            if head >= 0 and self.tile_time[head] < time:
                time = self.tile_time[head]
        return time

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def advance(self) -> cython.longlong:
        """Go to the next event; 0 when nothing is left."""
        time: cython.longlong = self.next_event()
        if time == INFINITY:
            return 0
        self.now = time
        self.steps += 1
        if self.steps & 0xFFFFF == 0:
            PyErr_CheckSignals()
        return 1

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def completions(self) -> cython.longlong:
        """All services and flights that end now take effect."""
        place: cython.longlong
        head: cython.longlong
        for place in range(self.resources):
            if self.serving[place] >= 0 and self.service_end[place] == self.now:
                self.served(place)
            head = self.flight_head[place]
            while head >= 0 and self.tile_time[head] == self.now:
                self.flight_head[place] = self.after[head]
                if self.after[head] < 0:
                    self.flight_tail[place] = NONE
                else:
                    self.before[self.after[head]] = NONE
                self.land(head)
                head = self.flight_head[place]
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def served(self, place: cython.longlong) -> cython.longlong:
        """The service at `place` ends: its buffer may become free, its data is on the way."""
        slot: cython.longlong = self.serving[place]
        stage: cython.longlong = self.tile_stage[slot]
        kind: cython.longlong = self.tile_type[slot]
        kernel: cython.longlong = self.tile_kernel[slot]
        delay: cython.longlong = self.latency[stage]
        active: cython.longlong
        self.serving[place] = NONE
        if self.port_tier[place] < 0 and self.end[kernel] < 0:
            self.computed[kernel * self.wide] = self.now
            self.worked_computed[kernel * self.wide] = self.worked_until(self.now)
        if stage == self.release[kind]:
            active = self.tile_active[slot]
            if active < self.actives and self.active_kernel[active] == kernel:
                self.active_free[active] += 1
        if delay == 0:
            self.land(slot)
        elif stage + 1 == self.stage_ptr[kind + 1] and stage != self.complete[kind]:
            self.retire(slot, self.now + delay)
        else:
            self.fly(slot, place, self.now + delay)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def fly(self, slot: cython.longlong, place: cython.longlong, time: cython.longlong) -> cython.longlong:
        """Data in flight behind `place` until `time`; in order of arrival."""
        other: cython.longlong = self.flight_tail[place]
        self.tile_time[slot] = time
        while other >= 0 and self.tile_time[other] > time:
            other = self.before[other]
        self.before[slot] = other
        if other >= 0:
            self.after[slot] = self.after[other]
            self.after[other] = slot
        else:
            self.after[slot] = self.flight_head[place]
            self.flight_head[place] = slot
        if self.after[slot] >= 0:
            self.before[self.after[slot]] = slot
        else:
            self.flight_tail[place] = slot
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def land(self, slot: cython.longlong) -> cython.longlong:
        """The data of a tile's stage has arrived: on to the next stage, or out."""
        kind: cython.longlong = self.tile_type[slot]
        stage: cython.longlong = self.tile_stage[slot]
        active: cython.longlong = self.tile_active[slot]
        if stage == self.complete[kind]:
            self.active_open[active] -= 1
            if self.active_left[active] == 0:
                if self.now > self.active_time[active]:
                    self.active_time[active] = self.now
                    self.active_slot[active] = slot
                elif self.tile_number[slot] < self.tile_number[self.active_slot[active]]:
                    self.active_slot[active] = slot
        if stage + 1 == self.stage_ptr[kind + 1]:
            self.retire(slot, self.now)
        else:
            self.tile_stage[slot] = stage + 1
            self.enqueue(slot, self.resource[stage + 1])
        return 0

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
        if keep:
            self.last_slot, self.last_time = slot, arrival
            slot = last
        if slot >= 0:
            self.after[slot] = self.free_slot
            self.free_slot = slot
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def enqueue(self, slot: cython.longlong, place: cython.longlong) -> cython.longlong:
        """Ask for a resource, now; the queue is in order of (request, kernel, tile, stage)."""
        other: cython.longlong = self.queue_tail[place]
        self.tile_time[slot] = self.now
        while (
            other >= 0
            and self.tile_time[other] == self.now
            and (
                self.tile_kernel[other] > self.tile_kernel[slot]
                or (
                    self.tile_kernel[other] == self.tile_kernel[slot]
                    and self.tile_number[other] > self.tile_number[slot]
                )
            )
        ):
            other = self.before[other]
        self.before[slot] = other
        if other >= 0:
            self.after[slot] = self.after[other]
            self.after[other] = slot
        else:
            self.after[slot] = self.queue_head[place]
            self.queue_head[place] = slot
        if self.after[slot] >= 0:
            self.before[self.after[slot]] = slot
        else:
            self.queue_tail[place] = slot
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def grants(self) -> cython.longlong:
        """Every idle resource serves the first in its queue."""
        place: cython.longlong
        slot: cython.longlong
        stage: cython.longlong
        for place in range(self.resources):
            slot = self.queue_head[place]
            if slot < 0 or self.serving[place] >= 0:
                continue
            self.queue_head[place] = self.after[slot]
            if self.after[slot] < 0:
                self.queue_tail[place] = NONE
            else:
                self.before[self.after[slot]] = NONE
            stage = self.tile_stage[slot]
            self.granted[slot * self.longest + stage - self.stage_ptr[self.tile_type[slot]]] = self.now
            self.serving[place] = slot
            self.service_end[place] = self.now + self.ticks[stage]
            self.busy[place] += self.ticks[stage]
            self.stages += 1
            if self.port_tier[place] < 0:
                self.work(place, slot, stage)
            else:
                self.remember(place, self.tile_kernel[slot], self.service_end[place])
            if self.keep_log:
                self.record(slot, stage)
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
            self.more_actives(2 * place)
        self.actives += 1
        self.current = kernel
        self.start[kernel] = self.now
        self.worked_start[kernel * self.wide] = self.worked_until(self.now)
        self.computed[kernel * self.wide] = self.now
        self.worked_computed[kernel * self.wide] = self.worked_start[kernel * self.wide]
        for engine in range(N_ENGINES):
            self.begun[kernel * self.wide * N_ENGINES + engine] = 0
        self.active_kernel[place], self.active_nest[place] = kernel, nest
        self.active_loop[place] = self.loop_ptr[nest]
        self.active_free[place] = self.depth[nest]
        self.active_left[place] = self.total[nest]
        self.active_number[place] = -self.total[nest]
        self.active_open[place], self.active_time[place], self.active_slot[place] = 0, NONE, NONE
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
        """Give the free buffers of a kernel to its next tiles, in order."""
        slot: cython.longlong
        kind: cython.longlong
        while self.active_free[active] > 0 and self.active_left[active] > 0:
            if self.fast:
                self.checkpoint(active)
            kind = self.body_tile[self.active_body[active]]
            if self.free_slot < 0:
                self.more_slots()
            slot = self.free_slot
            self.free_slot = self.after[slot]
            self.tile_kernel[slot] = self.active_kernel[active]
            self.tile_number[slot] = self.active_number[active]
            self.tile_type[slot] = kind
            self.tile_stage[slot] = self.stage_ptr[kind]
            self.tile_buffer[slot] = self.now
            self.tile_active[slot] = active
            self.active_free[active] -= 1
            self.active_left[active] -= 1
            self.active_open[active] += 1
            self.active_number[active] += 1
            self.enqueue(slot, self.resource[self.stage_ptr[kind]])
            self.next_tile(active)
        return 0

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
        if slot >= 0:
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
        self.active_kernel[target], self.active_nest[target] = kernel, self.active_nest[source]
        self.active_loop[target], self.active_repeat[target] = self.active_loop[source], self.active_repeat[source]
        self.active_body[target], self.active_count[target] = self.active_body[source], self.active_count[source]
        self.active_free[target], self.active_number[target] = self.active_free[source], self.active_number[source]
        self.active_left[target], self.active_open[target] = self.active_left[source], self.active_open[source]
        self.active_time[target], self.active_slot[target] = self.active_time[source], self.active_slot[source]
        for slot in range(self.slots):
            if self.tile_active[slot] == source and self.tile_kernel[slot] == kernel:
                self.tile_active[slot] = target
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def drained(self, piece: cython.longlong, worked: cython.longlong) -> cython.longlong:
        """One interval of a kernel's drain; `worked` until it begins. Returns that until it ends."""
        index: cython.longlong = self.drains
        if index == len(self.drain_begin):
            self.drain_begin, self.drain_end = longer(self.drain_begin, 2 * index), longer(self.drain_end, 2 * index)
            self.drain_column = longer(self.drain_column, 2 * index)
            self.drain_worked_begin = longer(self.drain_worked_begin, 2 * index)
            self.drain_worked_end = longer(self.drain_worked_end, 2 * index)
        self.drain_begin[index], self.drain_end[index] = self.piece_begin[piece], self.piece_end[piece]
        self.drain_column[index] = self.piece_column[piece]
        self.drain_worked_begin[index] = worked
        self.drain_worked_end[index] = self.worked_until(self.piece_end[piece])
        self.drains += 1
        return self.drain_worked_end[index]

    # ---------------------------------------------------------------------------------------------------- the ledger

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
        self.account(CORES, slot, kernel, stage, end)
        if engine > 0:
            self.account(engine, slot, kernel, stage, end)
        if self.work_count > 0 and self.now <= self.work_end[self.work_count - 1]:
            if end > self.work_end[self.work_count - 1]:
                self.worked += end - self.work_end[self.work_count - 1]
                self.work_end[self.work_count - 1] = end
        else:
            if self.work_count == len(self.work_start):
                self.forget_work()
            self.work_start[self.work_count], self.work_end[self.work_count] = self.now, end
            self.work_count += 1
            self.worked += end - self.now
        if self.covered[CORES] == end:
            self.worked_cover[CORES] = self.worked_until(end)
        if engine > 0 and self.covered[engine] == end:
            self.worked_cover[engine] = self.worked_until(end)
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
        phase: cython.longlong = STEADY if self.begun[flag] else FILL
        begin: cython.longlong = self.covered[engine]
        row: cython.longlong = self.row(kernel) + engine * self.columns
        self.begun[flag] = 1
        if self.now > begin:
            self.gap(engine, slot, begin, phase)
            begin = self.now
        if end > begin:
            self.labour(row, stage, begin - self.now, end - self.now)
            self.covered[engine] = end
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def labour(
        self, row: cython.longlong, stage: cython.longlong, begin: cython.longlong, end: cython.longlong
    ) -> cython.longlong:
        """The ticks [begin, end) of a service, laid out useful, padding, tail."""
        low: cython.longlong = self.useful[stage]
        high: cython.longlong = low + self.padding[stage]
        if begin < low:
            self.book[row + USEFUL] += min(end, low) - begin
        if begin < high and end > low:
            self.book[row + PADDING] += min(end, high) - max(begin, low)
        if end > high:
            self.book[row + TAIL] += end - max(begin, high)
        return 0

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
        place: cython.longlong = kernel * self.wide
        producer: cython.longlong = self.producer[place]
        source: cython.longlong = producer * self.wide
        row: cython.longlong = self.row(kernel) + engine * self.columns
        computed: cython.longlong = begin
        index: cython.longlong
        low: cython.longlong
        before: cython.longlong
        if producer < 0:
            self.book[row + DEPENDENCY] += self.ready[kernel] - begin - (self.worked_ready[place] - worked)
            return 0
        if self.drain_computed[source] > begin:
            computed = self.drain_computed[source]
            self.book[row + DEPENDENCY] += computed - begin - (self.drain_worked[source] - worked)
            worked = self.drain_worked[source]
        row = self.row(producer) + engine * self.columns
        for index in range(self.drain_from[source], self.drain_to[source]):
            if self.drain_end[index] <= computed:
                continue
            low, before = self.drain_begin[index], self.drain_worked_begin[index]
            if low < computed:
                low, before = computed, worked
            self.book[row + self.drain_column[index]] += (
                self.drain_end[index] - low - (self.drain_worked_end[index] - before)
            )
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
        self.piece(begin, min(end, time), self.name(CAPACITY, self.buffer_tier[self.type_nest[kind]], phase))
        for stage in range(first, last + 1):
            if time >= end:
                break
            place = self.resource[stage]
            tier = self.port_tier[place]
            grant = self.granted[slot * self.longest + stage - first]
            stop = grant + self.ticks[stage]
            arrive = stop + self.latency[stage]
            if grant > time and phase == STEADY:
                pace = place
            if arrive > begin:
                if tier < 0:
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
            self.piece_begin, self.piece_end = longer(self.piece_begin, 2 * index), longer(self.piece_end, 2 * index)
            self.piece_column = longer(self.piece_column, 2 * index)
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
        if place >= 0 and self.port_tier[place] >= 0:
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
    @cython.exceptval(check=False)
    def worked_until(self, time: cython.longlong) -> cython.longlong:
        """Ticks before `time` in which at least one unit worked."""
        total: cython.longlong = self.worked
        index: cython.longlong = self.work_count - 1
        while index >= 0 and self.work_end[index] > time:
            total -= self.work_end[index] - max(self.work_start[index], time)
            index -= 1
        return total

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
        """The time before which no tile that is still there had a buffer."""
        time: cython.longlong = self.now
        place: cython.longlong
        slot: cython.longlong
        if self.last_slot >= 0 and self.tile_buffer[self.last_slot] < time:
            time = self.tile_buffer[self.last_slot]
        for place in range(self.resources):
            slot = self.serving[place]
            if slot >= 0 and self.tile_buffer[slot] < time:
                time = self.tile_buffer[slot]
            slot = self.queue_head[place]
            while slot >= 0:
                time = min(time, self.tile_buffer[slot])
                slot = self.after[slot]
            slot = self.flight_head[place]
            while slot >= 0:
                time = min(time, self.tile_buffer[slot])
                slot = self.after[slot]
        return time

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forget(self) -> cython.longlong:
        """Drop services that nobody can ask about; make room when that is not enough."""
        time: cython.longlong = self.horizon()
        old: cython.longlong = self.past
        place: cython.longlong
        index: cython.longlong
        kept: cython.longlong
        most: cython.longlong = 0
        for place in range(self.resources):
            kept = 0
            for index in range(place * old, place * old + self.past_count[place]):
                if self.past_end[index] > time:
                    self.past_start[place * old + kept] = self.past_start[index]
                    self.past_end[place * old + kept] = self.past_end[index]
                    self.past_kernel[place * old + kept] = self.past_kernel[index]
                    kept += 1
            self.past_count[place] = kept
            most = max(most, kept)
        if 2 * most > old:
            self.widen(2 * old)
        return 0

    def widen(self, new: int) -> None:
        """Room for `new` services of each resource."""
        old, count = int(self.past), int(self.resources)
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
            self.work_start = longer(self.work_start, 2 * len(self.work_start))
            self.work_end = longer(self.work_end, 2 * len(self.work_end))
        return 0

    # -------------------------------------------------------------------------------------- fast-forward of tile loops

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def put(self, value: cython.longlong) -> cython.longlong:
        """One more word of the state that is being written down."""
        if self.word_count == len(self.words):
            self.more_words()
        self.words[self.word_count] = value
        self.word_count += 1
        return 0

    def more_words(self) -> None:
        """Room for twice as many words."""
        self.words = longer(self.words, 2 * len(self.words))

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def put_tile(
        self, slot: cython.longlong, kernel: cython.longlong, number: cython.longlong, stages: cython.longlong
    ) -> cython.longlong:
        """A tile relative to now, to a kernel and to a tile number, with the grants of its first `stages` stages."""
        index: cython.longlong
        self.put(self.tile_kernel[slot] - kernel)
        self.put(self.tile_number[slot] - number)
        self.put(self.tile_type[slot])
        self.put(self.tile_stage[slot])
        self.put(self.tile_buffer[slot] - self.now)
        self.put(self.tile_time[slot] - self.now)
        self.put(stages)
        for index in range(slot * self.longest, slot * self.longest + stages):
            self.put(self.granted[index] - self.now)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def few_tiles(self, kernel: cython.longlong) -> cython.longlong:
        """1 when there are few enough tiles to write down, and all belong to `kernel` (any, when it is NONE)."""
        place: cython.longlong
        slot: cython.longlong
        count: cython.longlong = 0
        for place in range(self.resources):
            slot = self.serving[place]
            if slot >= 0:
                count += 1
                if kernel >= 0 and self.tile_kernel[slot] != kernel:
                    return 0
            slot = self.queue_head[place]
            while slot >= 0:
                count += 1
                if count > MOST_LIVE or (kernel >= 0 and self.tile_kernel[slot] != kernel):
                    return 0
                slot = self.after[slot]
            slot = self.flight_head[place]
            while slot >= 0:
                count += 1
                if count > MOST_LIVE or (kernel >= 0 and self.tile_kernel[slot] != kernel):
                    return 0
                slot = self.after[slot]
        return 1

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def write_down(self, kernel: cython.longlong, number: cython.longlong, limit: cython.longlong) -> cython.longlong:
        """All that resources hold, and the past of ports after `limit`, as words relative to now."""
        place: cython.longlong
        slot: cython.longlong
        index: cython.longlong
        self.word_count = 0
        self.snapshots += 1
        for place in range(self.resources):
            slot = self.serving[place]
            if slot >= 0:
                self.put_tile(slot, kernel, number, self.tile_stage[slot] + 1 - self.stage_ptr[self.tile_type[slot]])
            self.put(INFINITY)
            slot = self.queue_head[place]
            while slot >= 0:
                self.put_tile(slot, kernel, number, self.tile_stage[slot] - self.stage_ptr[self.tile_type[slot]])
                slot = self.after[slot]
            self.put(INFINITY)
            slot = self.flight_head[place]
            while slot >= 0:
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
        if slot >= 0:
            index = self.tile_type[slot]
            self.put_tile(slot, kernel, number, self.stage_ptr[index + 1] - self.stage_ptr[index])
            self.put(self.last_time - self.now)
        self.put(INFINITY)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def checkpoint(self, active: cython.longlong) -> cython.longlong:
        """Just before a tile is issued: has the machine been in this state before, some tiles ago?"""
        loop: cython.longlong = self.active_loop[active]
        body: cython.longlong = self.active_body[active]
        count: cython.longlong = self.body_count[body]
        if self.active_count[active] == count:
            self.saved_run.valid = 0
            if body == self.body_ptr[loop] and self.loop_repeat[loop] >= LEAST_LOOP:
                self.look(active, LOOP, self.saved_loop, self.loop_repeat[loop] - self.active_repeat[active])
        if count >= LEAST_RUN:
            self.look(active, RUN, self.saved_run, count - self.active_count[active])
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def look(
        self, active: cython.longlong, level: cython.longlong, saved: Saved, step: cython.longlong
    ) -> cython.longlong:
        """Save the state when it seems to repeat, compare one period later, and skip what is left of the loop.

        What seems to repeat is told by `glance`; states are saved at steps 32, 64, 128, … in any case, and compared
        whenever a glance agrees (Brent, BIT 20, 1980), so that long periods are found as well.
        """
        left: cython.longlong
        glance: cython.longlong
        if saved.valid == 2 or (self.wide == 1 and (self.actives > 1 or self.next_start < INFINITY)):
            return 0
        left = (self.active_count[active] if level == RUN else self.active_repeat[active]) - 1
        if left < 1:
            return 0
        glance = self.glance(active)
        if step == 0:
            saved.due = FIRST_SAVE
        due: cython.bint = saved.period == 0 or step == saved.step + saved.period
        if saved.valid == 1 and due and glance == saved.glance and self.same(active, saved):
            if left >= step - saved.step:
                self.jump(active, level, saved, left // (step - saved.step), step - saved.step)
            saved.valid = 2
            return 0
        if saved.valid == 1 and saved.period > 0 and step >= saved.step + saved.period:
            saved.valid = 0
        if saved.valid == 0 or step == saved.due:
            self.save_if_due(active, saved, step, glance)
        saved.glances[step & 15] = glance
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def save_if_due(
        self, active: cython.longlong, saved: Saved, step: cython.longlong, glance: cython.longlong
    ) -> cython.longlong:
        """Save the state when its glance and the one before were seen some steps ago, or when it is time to."""
        period: cython.longlong
        saved.period = 0
        if step == saved.due:
            saved.due = 2 * step
        else:
            for period in range(1, min(LONGEST_GLANCE, step - 1) + 1):
                if (
                    glance == saved.glances[(step - period) & 15]
                    and saved.glances[(step - 1) & 15] == saved.glances[(step - 1 - period) & 15]
                ):
                    saved.period = period
                    break
            if saved.period == 0:
                return 0
        if self.few_tiles(self.active_kernel[active]):
            self.describe_loop(active)
            self.save(active, saved)
            saved.step, saved.glance = step, glance
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def glance(self, active: cython.longlong) -> cython.longlong:
        """One number that equal states share; most unequal ones do not."""
        place: cython.longlong
        total: cython.longlong = self.active_free[active] + 8 * self.active_open[active]
        for place in range(self.resources):
            total += total & 0xFFFFFFFFFFFF
            if self.serving[place] >= 0:
                total += self.service_end[place] - self.now
            if self.queue_tail[place] >= 0:
                total += self.now - self.tile_time[self.queue_tail[place]] + 1
        return total & 0xFFFFFFFFFFFF

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def describe_loop(self, active: cython.longlong) -> cython.longlong:
        """The state of a kernel's loop as words: the resources, the last work, buffers and phases."""
        kernel: cython.longlong = self.active_kernel[active]
        limit: cython.longlong = self.horizon()
        index: cython.longlong
        self.write_down(kernel, self.active_number[active], limit)
        for index in range(self.work_count):
            if self.work_end[index] > limit:
                self.put(max(self.work_start[index], limit) - self.now)
                self.put(self.work_end[index] - self.now)
        self.put(INFINITY)
        self.put(self.active_free[active])
        self.put(self.active_open[active])
        for index in range(N_ENGINES):
            self.put(self.begun[kernel * self.wide * N_ENGINES + index])
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def same(self, active: cython.longlong, saved: Saved) -> cython.longlong:
        """1 when the words equal the saved ones, and what each engine has covered moved along or stood still.

        Where it moved, the other units must also have worked as long since then: that is what the gap will be called.
        """
        index: cython.longlong
        moved: cython.longlong = self.now - saved.now
        worked: cython.longlong = self.worked - saved.worked
        place: cython.longlong = self.active_kernel[active] * self.wide
        if not self.few_tiles(self.active_kernel[active]):
            return 0
        self.describe_loop(active)
        if self.word_count != saved.size:
            return 0
        for index in range(self.word_count):
            if self.words[index] != saved.words[index]:
                return 0
        for index in range(N_ENGINES):
            if self.covered[index] == saved.covered[index]:
                continue
            if self.covered[index] - saved.covered[index] != moved:
                return 0
            if self.worked_cover[index] - saved.worked_cover[index] != worked:
                return 0
        if self.computed[place] == saved.computed:
            return 1
        if self.computed[place] - saved.computed != moved:
            return 0
        return 1 if self.worked_computed[place] - saved.worked_computed == worked else 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def save(self, active: cython.longlong, saved: Saved) -> cython.longlong:
        """Keep the words and every counter."""
        index: cython.longlong
        row: cython.longlong = self.row(self.active_kernel[active])
        if len(saved.words) < self.word_count:
            saved.words = longer(saved.words, len(self.words))
        for index in range(self.word_count):
            saved.words[index] = self.words[index]
        saved.valid, saved.size, saved.now = 1, self.word_count, self.now
        saved.number, saved.worked = self.active_number[active], self.worked
        saved.stages = self.stages + self.skipped
        saved.computed = self.computed[self.active_kernel[active] * self.wide]
        saved.worked_computed = self.worked_computed[self.active_kernel[active] * self.wide]
        for index in range(N_ENGINES):
            saved.covered[index], saved.worked_cover[index] = self.covered[index], self.worked_cover[index]
        for index in range(self.resources):
            saved.busy[index] = self.busy[index]
        for index in range(self.row_size):
            saved.book[index] = self.book[row + index]
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def jump(
        self, active: cython.longlong, level: cython.longlong, saved: Saved, times: cython.longlong,
        period: cython.longlong,
    ) -> cython.longlong:  # fmt: skip
        """Skip `times` periods: counters grow by what they grew in the last one, and all that is there moves along."""
        place: cython.longlong = self.active_kernel[active] * self.wide
        row: cython.longlong = self.row(self.active_kernel[active])
        moved: cython.longlong = self.now - saved.now
        worked: cython.longlong = (self.worked - saved.worked) * times
        tiles: cython.longlong = (self.active_number[active] - saved.number) * times
        index: cython.longlong
        for index in range(self.row_size):
            self.book[row + index] += (self.book[row + index] - saved.book[index]) * times
        for index in range(self.resources):
            self.busy[index] += (self.busy[index] - saved.busy[index]) * times
        for index in range(N_ENGINES):
            if self.covered[index] != saved.covered[index]:
                self.covered[index] += moved * times
                self.worked_cover[index] += worked
        if self.computed[place] != saved.computed:
            self.computed[place] += moved * times
            self.worked_computed[place] += worked
        self.worked += worked
        self.skipped += (self.stages + self.skipped - saved.stages) * times
        self.jumps += 1
        if level == RUN:
            self.active_count[active] -= times * period
        else:
            self.active_repeat[active] -= times * period
        self.active_number[active] += tiles
        self.active_left[active] -= tiles
        self.shift(moved * times, tiles)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def shift(self, moved: cython.longlong, tiles: cython.longlong) -> cython.longlong:
        """Everything that is there, later by `moved` ticks and by `tiles` tile numbers."""
        place: cython.longlong
        slot: cython.longlong
        index: cython.longlong
        self.now += moved
        if self.last_slot >= 0:
            self.last_time += moved
            self.shift_tile(self.last_slot, moved, tiles)
        for index in range(self.work_count):
            self.work_start[index] += moved
            self.work_end[index] += moved
        for place in range(self.resources):
            slot = self.serving[place]
            self.service_end[place] += moved
            if slot >= 0:
                self.shift_tile(slot, moved, tiles)
            slot = self.queue_head[place]
            while slot >= 0:
                self.shift_tile(slot, moved, tiles)
                slot = self.after[slot]
            slot = self.flight_head[place]
            while slot >= 0:
                self.shift_tile(slot, moved, tiles)
                slot = self.after[slot]
            for index in range(place * self.past, place * self.past + self.past_count[place]):
                self.past_start[index] += moved
                self.past_end[index] += moved
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def shift_tile(self, slot: cython.longlong, moved: cython.longlong, tiles: cython.longlong) -> cython.longlong:
        """One tile, later."""
        index: cython.longlong
        self.tile_number[slot] += tiles
        self.tile_buffer[slot] += moved
        self.tile_time[slot] += moved
        for index in range(slot * self.longest, (slot + 1) * self.longest):
            self.granted[index] += moved
        return 0

    # -------------------------------------------------------------------------------------------------- the end of it

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
        if self.last_slot >= 0:
            kernel = self.tile_kernel[self.last_slot]
        for engine in range(N_ENGINES):
            begin = self.covered[engine]
            if begin >= makespan:
                continue
            row = self.row(kernel) + engine * self.columns
            if self.last_slot < 0:
                self.book[row + DISPATCH] += makespan - begin
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
    ended_time: cython.longlong
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
        self.host_begin, self.launched = column(kernels, -1), column(kernels, -1)
        self.queue = program.queue
        self.host_next = self.host_free = self.ended = self.ended_time = 0
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
        return all(self.end[kernel] >= 0 for kernel in range(len(self.end)))

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
            if self.dispatch() == 1:
                changed = True
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
        self.producer[kernel] = max(needs, key=lambda need: (self.end[need], -need), default=-1)
        self.schedule(kernel)

    def schedule(self, kernel: int) -> None:
        """The start of a kernel that is ready and launched."""
        if self.ready[kernel] < 0 or self.launched[kernel] < 0:
            return
        due = max(int(self.ready[kernel]), int(self.launched[kernel])) + int(self.start_ticks[kernel])
        heappush(self.pending, (due, int(kernel)))
        self.next_start = self.pending[0][0]

    def start_next(self) -> None:
        """The first of the pending kernels starts."""
        kernel = heappop(self.pending)[1]
        self.next_start = self.pending[0][0] if self.pending else INFINITY
        self.activate(kernel)

    def dispatch(self) -> int:
        """The host launches what it can. Returns 1 when it launched anything."""
        launched = 0
        while self.host_next < len(self.end):
            kernel = self.host_next
            while self.ended < len(self.end) and self.end[self.ended] >= 0:
                self.ended_time = max(self.ended_time, self.end[self.ended])
                self.ended += 1
            begin = self.host_free
            if self.host_sync[kernel]:
                if self.ended < kernel:
                    break
                begin = max(begin, self.ended_before(kernel))
            if kernel >= self.queue:
                if self.start[kernel - self.queue] < 0:
                    break
                begin = max(begin, self.start[kernel - self.queue])
            self.host_begin[kernel] = begin
            self.host_free = begin + self.host_ticks[kernel]
            self.launched[kernel] = self.host_free + self.launch_latency[kernel]
            self.host_next += 1
            self.schedule(kernel)
            launched = 1
        return launched

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


@cython.final
@cython.cclass
class Index:
    """Open-addressed map from `width` integers to dense ids, in order of insertion."""

    width: cython.longlong
    count: cython.longlong
    mask: cython.ulonglong
    places: cython.longlong[::1]
    keys: cython.longlong[::1]
    key: cython.longlong[::1]

    def __init__(self, width: int) -> None:
        self.width, self.count, self.mask = width, 0, 255
        self.places, self.keys, self.key = column(256, -1), column(width * 128), column(width)

    @cython.cfunc
    @cython.exceptval(check=False)
    def place(self, start: cython.longlong, words: cython.longlong[::1]) -> cython.ulonglong:
        """Where the key at `words[start:]` is, or would be."""
        mixed: cython.ulonglong = ALL_BITS
        word: cython.ulonglong
        index: cython.longlong
        found: cython.longlong
        for index in range(self.width):
            word = words[start + index] & ALL_BITS
            mixed = ((mixed ^ word) * FNV_PRIME) & ALL_BITS
            mixed ^= mixed >> 29
        mixed &= self.mask
        while True:
            found = self.places[mixed]
            if found < 0:
                return mixed
            for index in range(self.width):
                if self.keys[found * self.width + index] != words[start + index]:
                    break
            else:
                return mixed
            mixed = (mixed + 1) & self.mask

    @cython.cfunc
    @cython.exceptval(check=False)
    def find(self) -> cython.longlong:
        """Id of the key in `key`, or NONE."""
        return self.places[self.place(0, self.key)]

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def add(self) -> cython.longlong:
        """Id of the key in `key`, new where it was not known."""
        place: cython.ulonglong = self.place(0, self.key)
        index: cython.longlong
        if self.places[place] >= 0:
            return self.places[place]
        if 2 * (self.count + 1) > self.mask:
            self.grow()
            place = self.place(0, self.key)
        for index in range(self.width):
            self.keys[self.count * self.width + index] = self.key[index]
        self.places[place] = self.count
        self.count += 1
        return self.count - 1

    def grow(self) -> None:
        """Twice the room."""
        self.mask = 2 * self.mask + 1
        index: cython.longlong
        self.places = column(self.mask + 1, -1)
        self.keys = longer(self.keys, self.width * (self.mask + 1) // 2)
        for index in range(self.count):
            self.places[self.place(index * self.width, self.keys)] = index


@cython.final
@cython.cclass
class Stream(Machine):
    """Kernels that each need the one before: from state to state at the ends of kernels.

    What a kernel does follows from the state that it finds, its loop nest and how long after its predecessor it
    starts. With fast-forward each such transition is played once and remembered.
    """

    host_ticks: cython.longlong[::1]
    host_sync: cython.longlong[::1]
    launch_latency: cython.longlong[::1]
    start_ticks: cython.longlong[::1]
    host_begin: cython.longlong[::1]
    launched: cython.longlong[::1]
    queue: cython.longlong

    # the last work of each engine, and the time since when gaps of the next kernel are looked into
    reached: cython.longlong[::1]
    seen: cython.longlong
    total_busy: cython.longlong[::1]

    # states at ends of kernels, and transitions between them
    state_ids: dict[Any, int]
    states: list[Any]
    transitions: Index
    t_of_key: cython.longlong[::1]
    t_next: cython.longlong[::1]
    t_length: cython.longlong[::1]
    t_computed: cython.longlong[::1]
    t_reached: cython.longlong[::1]
    t_used: cython.longlong[::1]
    t_stages: cython.longlong[::1]
    t_busy: cython.longlong[::1]
    t_rows: cython.longlong[::1]
    t_count: cython.longlong
    t_room: cython.longlong

    # distinct rows of the ledger
    row_keys: Index
    row_of_key: cython.longlong[::1]
    row_ids: dict[Any, int]
    rows: list[Any]
    scratch: cython.longlong[::1]
    ledger_row: cython.longlong[::1]
    late: cython.longlong[::1]
    remembered: cython.longlong

    def __init__(self, program: Any, keep_log: bool, fast: bool) -> None:
        Machine.__init__(self, program, False, keep_log, fast)
        kernels = len(program)
        self.host_ticks, self.host_sync = loaded(program.host_ticks), loaded(program.host_sync)
        self.launch_latency, self.start_ticks = loaded(program.launch_latency), loaded(program.start_ticks)
        self.host_begin, self.launched = column(kernels), column(kernels)
        self.queue = program.queue
        self.reached, self.seen, self.total_busy = column(N_ENGINES), 0, column(self.resources)
        self.state_ids, self.states, self.transitions = {}, [], Index(3)
        self.t_count, self.t_room = 0, 64
        self.t_next, self.t_length, self.t_computed = column(64), column(64), column(64)
        self.t_of_key = column(64)
        self.t_reached, self.t_used, self.t_stages = column(64 * N_ENGINES), column(64), column(64)
        self.t_busy, self.t_rows = column(64 * self.resources), column(128 * self.row_size)
        self.row_keys, self.row_of_key = Index(5), column(128)
        self.row_ids, self.rows = {}, []
        self.scratch, self.ledger_row = column(self.row_size), column(kernels)
        self.late = column(2 * N_ENGINES)
        self.remembered = 0

    def run(self) -> None:
        """Play or remember every kernel, then what is still on its way."""
        previous: cython.longlong = NONE
        kernel: cython.longlong
        here: cython.longlong = NONE
        count: cython.longlong = len(self.end)
        stale: cython.bint = False
        ready: cython.longlong = 0
        for kernel in range(count):
            self.ready[kernel] = ready
            wait: cython.longlong = self.launch(kernel, ready)
            known: cython.longlong = NONE
            if self.fast:
                if here == NONE:
                    here = self.state(kernel)
                if here >= 0:
                    self.transitions.key[0], self.transitions.key[1] = here, self.nest[kernel]
                    self.transitions.key[2] = wait
                    known = self.transitions.find()
                    known = self.t_of_key[known] if known >= 0 else NONE
            if known >= 0:
                stale = True
                self.recall(kernel, known, ready + wait)
            else:
                if stale:
                    self.restore(kernel, here)
                    stale = False
                known = self.play(kernel, ready + wait, here)
            self.keep_books(kernel, known, previous)
            here = self.t_next[known] if self.fast else NONE
            previous, ready = known, self.end[kernel]
        if stale:
            self.restore(count, here)
        self.run_dry(previous)

    @cython.cfunc
    @cython.exceptval(check=False)
    def launch(self, kernel: cython.longlong, ready: cython.longlong) -> cython.longlong:
        """The host's part: returns how long after it is ready the kernel starts."""
        begin: cython.longlong = self.host_begin[kernel - 1] + self.host_ticks[kernel - 1] if kernel > 0 else 0
        if self.host_sync[kernel]:
            begin = max(begin, ready)
        if kernel >= self.queue:
            begin = max(begin, self.start[kernel - self.queue])
        self.host_begin[kernel] = begin
        self.launched[kernel] = begin + self.host_ticks[kernel] + self.launch_latency[kernel]
        return max(self.launched[kernel] - ready, 0) + self.start_ticks[kernel]

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def recall(self, kernel: cython.longlong, known: cython.longlong, start: cython.longlong) -> cython.longlong:
        """A kernel does what was seen before."""
        self.start[kernel] = start
        self.end[kernel] = self.ready[kernel] + self.t_length[known]
        self.t_used[known] += 1
        self.remembered += 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def play(self, kernel: cython.longlong, start: cython.longlong, here: cython.longlong) -> cython.longlong:
        """Play one kernel from the end of its predecessor to its own; returns the transition that it made."""
        index: cython.longlong
        stages: cython.longlong = self.stages + self.skipped
        self.open_books(kernel)
        self.next_start = start
        while True:
            if self.next_start == self.now:
                self.next_start = INFINITY
                self.activate(kernel)
            if self.actives > 0 and self.active_left[0] == 0 and self.active_open[0] == 0:
                break
            if self.actives > 0:
                self.issue(0)
            self.grants()
            self.advance()
            self.completions()
        self.finish(0)
        known: cython.longlong = self.transition(kernel)
        self.t_stages[known] = self.stages + self.skipped - stages
        for index in range(self.resources):
            self.total_busy[index] += self.busy[index]
        if self.fast:
            self.t_next[known] = self.state(kernel + 1)
            if here >= 0 and self.t_next[known] >= 0:
                self.transitions.key[0], self.transitions.key[1] = here, self.nest[kernel]
                self.transitions.key[2] = start - self.ready[kernel]
                self.t_of_key[self.transitions.add()] = known
        return known

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def open_books(self, kernel: cython.longlong) -> cython.longlong:
        """Empty rows for this kernel and the one before; gaps begin where the latter last computed."""
        index: cython.longlong
        for index in range(2 * self.row_size):
            self.book[index] = 0
        for index in range(self.resources):
            self.busy[index] = 0
        for index in range(N_ENGINES):
            self.covered[index], self.worked_cover[index] = self.seen, 0
        for index in range(self.drains):
            self.drain_worked_begin[index] = self.drain_worked_end[index] = 0
        self.worked = self.work_count = 0
        self.drain_worked[0] = self.worked_ready[0] = 0
        self.producer[0] = kernel - 1
        self.current = NONE
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def transition(self, kernel: cython.longlong) -> cython.longlong:
        """Note what the kernel that has just been played did."""
        known: cython.longlong
        index: cython.longlong
        ready: cython.longlong = self.ready[kernel]
        if self.fast:
            known = self.t_count
            self.t_count += 1
        else:
            known = kernel & 1
        if known >= self.t_room:
            self.more_transitions(2 * self.t_room)
        self.t_length[known] = self.now - ready
        self.t_computed[known] = self.drain_computed[0] - ready
        self.t_used[known] = 0
        for index in range(N_ENGINES):
            self.t_reached[known * N_ENGINES + index] = self.covered[index] - ready if self.begun[index] else NONE
        for index in range(self.resources):
            self.t_busy[known * self.resources + index] = self.busy[index]
        for index in range(2 * self.row_size):
            self.t_rows[known * 2 * self.row_size + index] = self.book[index]
        return known

    def more_transitions(self, room: int) -> None:
        """Room for more."""
        self.t_next, self.t_length = longer(self.t_next, room), longer(self.t_length, room)
        self.t_of_key = longer(self.t_of_key, room)
        self.t_computed, self.t_used = longer(self.t_computed, room), longer(self.t_used, room)
        self.t_stages = longer(self.t_stages, room)
        self.t_reached = longer(self.t_reached, room * N_ENGINES)
        self.t_busy = longer(self.t_busy, room * self.resources)
        self.t_rows = longer(self.t_rows, room * 2 * self.row_size)
        self.t_room = room

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def keep_books(self, kernel: cython.longlong, known: cython.longlong, previous: cython.longlong) -> cython.longlong:
        """The row of the kernel before is complete; gaps that this one closed began before it."""
        engine: cython.longlong
        ready: cython.longlong = self.ready[kernel]
        if kernel > 0:
            self.ledger_row[kernel - 1] = self.row_id(previous, known)
        for engine in range(N_ENGINES):
            self.late[engine] = 0
            if self.t_reached[known * N_ENGINES + engine] >= 0:
                self.late[engine] = self.seen - self.reached[engine]
                self.reached[engine] = ready + self.t_reached[known * N_ENGINES + engine]
        self.seen = ready + self.t_computed[known]
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def row_id(self, known: cython.longlong, following: cython.longlong) -> cython.longlong:
        """Id of a kernel's row: what it did, the wait before it, and what its successor booked for its drain."""
        index: cython.longlong
        key: cython.longlong = NONE
        if self.fast:
            self.row_keys.key[0], self.row_keys.key[1] = known, following
            for index in range(N_ENGINES):
                self.row_keys.key[2 + index] = self.late[index]
            index = self.row_keys.count
            key = self.row_keys.add()
            if key < index:
                return self.row_of_key[key]
        for index in range(self.row_size):
            self.scratch[index] = self.t_rows[known * 2 * self.row_size + index]
            if following >= 0:
                self.scratch[index] += self.t_rows[(2 * following + 1) * self.row_size + index]
        for index in range(N_ENGINES):
            self.scratch[index * self.columns + DEPENDENCY] += self.late[index]
        found: cython.longlong = self.row_like_scratch()
        if key >= 0:
            if key >= len(self.row_of_key):
                self.row_of_key = longer(self.row_of_key, 2 * key)
            self.row_of_key[key] = found
        return found

    def row_like_scratch(self) -> int:
        """Id of the row whose entries are in `scratch`."""
        entries = frozen(self.scratch, self.row_size)
        found: int = self.row_ids.setdefault(entries, len(self.rows))
        if found == len(self.rows):
            self.rows.append(entries)
        return found

    # ------------------------------------------------------------------------------------------ states between kernels

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def state(self, kernel: cython.longlong) -> cython.longlong:
        """Id of the present state, at the end of the kernel before `kernel`; -2 when it is too large to keep."""
        index: cython.longlong
        if not self.few_tiles(NONE) or len(self.states) >= MOST_STATES:
            return -2
        self.write_down(kernel, 0, max(self.horizon(), self.covered[CORES]))
        self.put((self.drain_computed[0] if kernel > 0 else 0) - self.now)
        if kernel > 0:
            for index in range(self.drain_from[0], self.drain_to[0]):
                self.put(self.drain_begin[index] - self.now)
                self.put(self.drain_end[index] - self.now)
                self.put(self.drain_column[index])
        self.put(INFINITY)
        return self.state_of_words()

    def state_of_words(self) -> int:
        """Id of the state that was written down."""
        words = frozen(self.words, self.word_count)
        found: int = self.state_ids.setdefault(words, len(self.states))
        if found == len(self.states):
            self.states.append(words)
        return found

    def restore(self, kernel: int, known: int) -> None:
        """Bring the machine into a state that was seen before, at the end of the kernel before `kernel`."""
        slot: cython.longlong
        place: cython.longlong
        words = np.frombuffer(self.states[known], np.int64) if cython.compiled else self.states[known]
        self.words = loaded(words)
        self.word_count = 0
        self.now = self.end[kernel - 1]
        self.last_slot, self.last_time = NONE, NONE
        self.free_slot = NONE
        for slot in range(self.slots - 1, -1, -1):
            self.after[slot] = self.free_slot
            self.free_slot = slot
        for place in range(self.resources):
            self.restore_resource(place, kernel)
        if self.words[self.word_count] != INFINITY:
            slot = self.take_tile(kernel)
            self.last_slot, self.last_time = slot, self.take() + self.now
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

    @cython.cfunc
    @cython.exceptval(check=False)
    def take(self) -> cython.longlong:
        """The next word."""
        self.word_count += 1
        return self.words[self.word_count - 1]

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_tile(self, kernel: cython.longlong) -> cython.longlong:
        """A tile from words, in a slot."""
        index: cython.longlong
        count: cython.longlong
        if self.free_slot < 0:
            self.more_slots()
        slot: cython.longlong = self.free_slot
        self.free_slot = self.after[slot]
        self.tile_kernel[slot] = self.take() + kernel
        self.tile_number[slot] = self.take()
        self.tile_type[slot] = self.take()
        self.tile_stage[slot] = self.take()
        self.tile_buffer[slot] = self.take() + self.now
        self.tile_time[slot] = self.take() + self.now
        self.tile_active[slot] = 0
        count = self.take()
        for index in range(slot * self.longest, slot * self.longest + count):
            self.granted[index] = self.take() + self.now
        return slot

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def restore_resource(self, place: cython.longlong, kernel: cython.longlong) -> cython.longlong:
        """What one resource holds, and its past."""
        slot: cython.longlong
        index: cython.longlong
        time: cython.longlong
        self.serving[place] = self.queue_head[place] = self.queue_tail[place] = NONE
        self.flight_head[place] = self.flight_tail[place] = NONE
        if self.words[self.word_count] != INFINITY:
            slot = self.take_tile(kernel)
            index = self.tile_stage[slot]
            time = self.granted[slot * self.longest + index - self.stage_ptr[self.tile_type[slot]]]
            self.serving[place], self.service_end[place] = slot, time + self.ticks[index]
        self.take()
        while self.words[self.word_count] != INFINITY:
            slot = self.take_tile(kernel)
            self.before[slot], self.after[slot] = self.queue_tail[place], NONE
            if self.queue_tail[place] < 0:
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
                self.widen(2 * self.past)
            index = place * self.past + self.past_count[place]
            self.past_start[index] = self.take() + self.now
            self.past_end[index] = self.take() + self.now
            self.past_kernel[index] = self.take() + kernel
            self.past_count[place] += 1
        self.take()
        return 0

    # -------------------------------------------------------------------------------------------------- the end of it

    def run_dry(self, previous: int) -> None:
        """Play what is still on its way after the last kernel, and name the gaps that no tile ends."""
        count: cython.longlong = len(self.end)
        known: cython.longlong
        index: cython.longlong
        if count == 0:
            return
        for index in range(self.resources):
            self.busy[index] = 0
        self.next_start = INFINITY
        while True:
            self.grants()
            if self.advance() == 0:
                break
            self.completions()
        for known in range(self.t_count):
            for index in range(self.resources):
                self.busy[index] += self.t_busy[known * self.resources + index] * self.t_used[known]
            self.skipped += self.t_stages[known] * self.t_used[known]
        for index in range(self.resources):
            self.busy[index] += self.total_busy[index]
        self.ledger_row[count - 1] = self.row_id(previous, -1)
        for index in range(N_ENGINES):
            self.covered[index] = self.reached[index]
        self.trail()

    def trail(self) -> None:
        """Add the trailing gaps to the row of the tile that arrived last, and number the rows by first use."""
        index: cython.longlong
        kernel: cython.longlong = self.tile_kernel[self.last_slot] if self.last_slot >= 0 else len(self.end) - 1
        self.current = kernel
        for index in range(self.row_size):
            self.book[index] = 0
        self.trailing(self.makespan())
        entries = self.rows[self.ledger_row[kernel]]
        before: cython.longlong[::1] = loaded(np.frombuffer(entries, np.int64) if cython.compiled else entries)
        for index in range(self.row_size):
            self.scratch[index] = self.book[index] + before[index]
        self.ledger_row[kernel] = self.row_like_scratch()

    def ledger(self) -> dict[str, Any]:
        """Distinct rows in the order in which kernels first have them, and the row of each kernel."""
        order = self.order_of_first_use()
        if cython.compiled:
            table = np.frombuffer(b"".join([self.rows[row] for row in order]), np.int64)
        else:
            table = np.array([self.rows[row] for row in order], np.int64)
        return {
            "ledger_rows": table.reshape(-1, int(N_ENGINES), int(self.columns)),
            "ledger_row": array(self.ledger_row),
        }

    def order_of_first_use(self) -> list[int]:
        """Rows in the order in which kernels first have them; `ledger_row` then counts in that order."""
        kernel: cython.longlong
        row: cython.longlong
        number: cython.longlong[::1] = column(len(self.rows), -1)
        order: list[int] = []
        for kernel in range(len(self.ledger_row)):
            row = self.ledger_row[kernel]
            if number[row] < 0:
                number[row] = len(order)
                order.append(row)
            self.ledger_row[kernel] = number[row]
        return order

    def times(self) -> dict[str, Any]:
        """Columns of a timeline by field name."""
        return {
            "host_begin": array(self.host_begin), "launched": array(self.launched), "ready": array(self.ready),
            "start": array(self.start), "end": array(self.end), "busy": array(self.busy),
            "makespan": int(self.makespan()),
        }  # fmt: skip

    def counted(self) -> dict[str, int]:
        """Counted work of this run."""
        counts: dict[str, int] = Machine.counted(self)
        remembered = int(self.remembered)
        return counts | {
            "kernels_remembered": remembered, "kernels_played": len(self.end) - remembered, "states": len(self.states),
        }  # fmt: skip


def computes_late(program: Any) -> bool:
    """True when a tile computes after it has completed: then something may compute after its kernel has ended."""
    stage_ptr: cython.longlong[::1] = loaded(program.stage_ptr)
    complete: cython.longlong[::1] = loaded(program.complete_stage)
    access: cython.longlong[::1] = loaded(program.stage_access)
    kind: cython.longlong
    stage: cython.longlong
    for kind in range(len(complete)):
        for stage in range(stage_ptr[kind] + complete[kind] + 1, stage_ptr[kind + 1]):
            if access[stage] == COMPUTE:
                return True
    return False
