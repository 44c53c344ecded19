"""Tile rules: how a kernel's work is cut into waves of tiles over the cores.

Two rules cover every kernel. A *contraction* (matrix product, convolution, attention) runs blocks in waves,
each block a loop over its inner dimension. A *stream* (element-wise, reduction, gather, copy, unknown)
reads, computes and writes in order. Both give loop nests of few distinct tiles.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results.
"""

# ruff: noqa: SIM110 (generators are slow where compiled)
from __future__ import annotations

from typing import Any

import cython
import numpy as np

from hiersim.lowering.rows import TOGETHER as TOGETHER_BYTES
from hiersim.lowering.stages import column
from hiersim.model.program import Access
from hiersim.units import LARGEST

if cython.compiled:
    from cython.cimports.hiersim.exact import ceil_share, floor_share, product, total
    from cython.cimports.hiersim.lowering.rounding import ceil_div
    from cython.cimports.hiersim.lowering.stages import Figures, Sheet
    from cython.cimports.hiersim.lowering.sweep import Sweeper
    from cython.cimports.hiersim.lowering.work import KernelClasses, Work
    from cython.cimports.libc.math import ceil, floor, sqrt
else:
    from math import ceil, floor, sqrt

    from hiersim.exact import ceil_share, floor_share, product, total
    from hiersim.lowering.rounding import ceil_div
    from hiersim.lowering.stages import Figures, Sheet
    from hiersim.lowering.sweep import Sweeper
    from hiersim.lowering.work import KernelClasses, Work

PRIME = cython.declare(cython.longlong, 1000003)
MASK = cython.declare(cython.longlong, 2**40 - 1)
"""Hashes have 40 bits, so that their products with the prime stay inside 63."""
BLOCK_BYTES = cython.declare(cython.longlong, 4096)
"""A streaming block: 256 threads with 16 bytes each."""
MIN_TILE_BYTES = cython.declare(cython.longlong, 1024)
"""Per core; smaller pieces would not fill a core's load queue."""
LARGEST_CACHE = cython.declare(cython.longlong, 2**61)
"""More than any cache holds."""
DEPENDENT = cython.declare(cython.double, 1.2)
"""A load that an address and a loop lead to takes this many unloaded latencies, as pointer chasing measures them."""
TOGETHER = cython.declare(cython.double, float(TOGETHER_BYTES))
READ = cython.declare(cython.longlong, int(Access.READ))
WRITE = cython.declare(cython.longlong, int(Access.WRITE))
LAYOUT_TILES = cython.declare(cython.longlong, 16)
"""A copy around a convolution overlaps its own loads and stores this finely."""
ROW_TILES = cython.declare(cython.longlong, 4)
"""Tiles of rows in flight, at least: enough for reads, arithmetic and write-back to overlap."""
MOST = cython.declare(cython.double, float(LARGEST))
MIN_TILES = cython.declare(cython.longlong, 8)
"""A stream overlaps its own loads, arithmetic and stores at least this finely."""


@cython.cclass
class Loom:
    """Makes the loop nests of all kernel classes on one machine.

    Classes of one shape that miss the same bytes are one *case*: the nest of a case is made once. Cases are found
    through `slots`, a hash table of their shape and misses.
    """

    classes: KernelClasses
    figures: Figures
    work: Work
    cutter: Sweeper
    sheet: Sheet
    levels: cython.longlong
    loads: cython.longlong[::1]
    extra: cython.longlong[::1]
    stores: cython.longlong[::1]
    slow_loads: cython.longlong[::1]
    slow_stores: cython.longlong[::1]
    left: cython.longlong[::1]
    cases: cython.longlong
    case_shape: cython.longlong[::1]
    case_nest: cython.longlong[::1]
    case_ptr: cython.longlong[::1]
    keys: cython.longlong[::1]
    slots: cython.longlong[::1]
    case_ticks: cython.longlong[::1]
    case_moved: cython.longlong[::1]
    case_free: cython.longlong[::1]
    ticks: cython.longlong
    moved: cython.longlong
    buffers: cython.longlong
    pace: cython.longlong
    free: cython.longlong[::1]

    def __init__(self, classes: KernelClasses, figures: Figures) -> None:
        self.classes, self.figures = classes, figures
        self.work = Work(classes, figures)
        self.cutter = Sweeper(self.work)
        self.sheet = Sheet(figures)
        self.levels = figures.levels
        self.loads, self.extra = column(self.levels), column(self.levels)
        self.stores, self.left = column(self.levels), column(3 * self.levels)
        self.slow_loads, self.slow_stores = column(self.levels), column(self.levels)
        self.cases = self.ticks = self.moved = self.buffers = self.pace = 0
        count: cython.longlong = classes.classes
        self.case_shape, self.case_nest, self.case_ptr = column(count), column(count), column(count + 1)
        reads: cython.longlong = (len(classes.arrays["piece_ptr"]) - 1) * (2 if classes.beside else 1)
        self.keys = column((reads + count) * self.work.levels)
        slots: cython.longlong = 4
        while slots < 2 * count:
            slots *= 2
        self.slots = column(slots)
        self.case_ticks, self.case_moved = column(count), column(count)
        self.case_free = column(count * 2 * self.levels)
        self.free = column(2 * self.levels)

    def weave(self) -> Any:
        """(C,) the nest of each class.

        Raises
        ------
        OverflowError
            When all services and latencies, or all bytes, of all kernels add up to more than a program can hold.
        """
        nests = np.zeros(self.classes.classes, np.int64)
        nest_of: cython.longlong[::1] = nests if cython.compiled else [0] * len(nests)
        index: cython.longlong
        for index in range(self.classes.classes):
            self.work.look(index)
            case: cython.longlong = self.find_case(index)
            self.count(case, self.classes.class_count[index])
            nest_of[index] = self.case_nest[case]
        return nests if cython.compiled else np.array(nest_of, np.int64)

    @property
    def nests(self) -> int:
        """How many distinct nests there are."""
        return self.sheet.nests

    def columns(self) -> dict[str, Any]:
        """Columns of a `Program` by field name: loops, bodies, tiles and stages."""
        return self.sheet.columns()

    def tiles(self) -> Any:
        """(T, 4) the tile chosen for each operator type: m, n, inner step and split; zeros where none was needed."""
        return np.array(self.cutter.chosen, np.int64).reshape(-1, 4)

    def shape(self, index: int) -> dict[str, int]:
        """How the contraction of class `index` is cut, after `weave`; nothing for a stream.

        `tile_m` × `tile_n` is the block of the result, `tile_k` the step along the inner dimension (of attention:
        queries, head dimension, keys), `split` the parts of that dimension; `blocks`, `waves` and `steps` count them.
        `kept_bytes` of one operand stay in each core from block to block.
        """
        if not self.turn_to(index):
            return {}
        cutter: Sweeper = self.cutter
        waves: int = ceil_div(cutter.blocks, self.figures.cores)
        sides = {"tile_m": cutter.tile_m, "tile_n": cutter.tile_n, "tile_k": cutter.tile_k, "split": cutter.split}
        counts = {"blocks": cutter.blocks, "waves": waves, "steps": cutter.steps}
        return {**sides, **counts, "kept_bytes": cutter.kept_bytes}

    def rereads(self, index: int) -> list[tuple[int, int]]:
        """(capacity, bytes) of class `index`: what its contraction reads again behind a cache of at least that size.

        Bytes fall from one row to the next; the first row is for no cache, the last reads nothing again.
        """
        if not self.turn_to(index):
            return []
        low: cython.longlong = 0
        left: cython.longlong = self.cutter.again(0)
        rows: list[tuple[int, int]] = [(low, left)]
        while left > 0:
            high: cython.longlong = LARGEST_CACHE
            while high - low > 1:
                middle: cython.longlong = (low + high) // 2
                if self.cutter.again(middle) < left:
                    high = middle
                else:
                    low = middle
            low, left = high, self.cutter.again(high)
            rows.append((low, left))
        return rows

    def row_rereads(self, index: int) -> tuple[int, int, int]:
        """Of class `index`: what a cache saves of further passes over its rows, from one size to another; or zeros."""
        self.work.look(index)
        if self.work.rows == 0 or self.work.passes < 2 or self.work.anchor >= 0:
            return 0, 0, 0
        use: cython.double = self.rows_in_use()
        low: cython.longlong = cython.cast(cython.longlong, floor(0.5 * use))
        high: cython.longlong = cython.cast(cython.longlong, ceil(1.5 * use))
        return low, high, product(self.work.read_total, self.work.passes - 1)

    def turn_to(self, index: int) -> bool:
        """Cut the contraction of class `index`; False where it has none."""
        level: cython.longlong
        self.work.look(index)
        if self.work.anchor < 0:
            return False
        for level in range(self.work.levels):
            self.work.missing(index, level)
        self.cutter.cut()
        return True

    def totals(self) -> tuple[int, Any]:
        """Largest use of the tile buffers, and bytes at ports that cost no time, (2, levels)."""
        return self.buffers, np.array(self.free, np.int64).reshape(2, self.levels)

    @cython.cfunc
    def count(self, case: cython.longlong, kernels: cython.longlong) -> cython.longlong:
        """Add what `kernels` kernels of that case do to the sums of the program."""
        self.ticks = total(self.ticks, product(self.case_ticks[case], kernels))
        self.moved = total(self.moved, product(self.case_moved[case], kernels))
        place: cython.longlong
        width: cython.longlong = 2 * self.levels
        for place in range(width):
            self.free[place] = total(self.free[place], product(self.case_free[case * width + place], kernels))
        return 0

    @cython.cfunc
    def find_case(self, index: cython.longlong) -> cython.longlong:
        """The case of class `index`; a new one is made."""
        levels: cython.longlong = self.work.levels
        first: cython.longlong = self.case_ptr[self.cases]
        width: cython.longlong = (self.work.reads + 1) * levels
        level: cython.longlong
        place: cython.longlong
        mark: cython.longlong = self.work.shape
        for level in range(levels):
            self.work.missing(index, level)
        for place in range(width):
            reads: cython.longlong = self.work.reads * levels
            value: cython.longlong = self.work.read_far[place] if place < reads else self.work.write_far[place - reads]
            self.keys[first + place] = value
            mark = ((mark & MASK) * PRIME) ^ (value & MASK)
        if self.classes.beside:
            for place in range(self.work.reads * levels):
                value = self.work.again(place // levels, place % levels)
                self.keys[first + width] = value
                mark = ((mark & MASK) * PRIME) ^ (value & MASK)
                width += 1
        slot: cython.longlong = (mark ^ (mark >> 20)) & (len(self.slots) - 1)
        while self.slots[slot] != 0:
            case: cython.longlong = self.slots[slot] - 1
            if self.case_shape[case] == self.work.shape and self.same_keys(self.case_ptr[case], first, width):
                return case
            slot = (slot + 1) & (len(self.slots) - 1)
        self.slots[slot] = self.cases + 1
        self.case_ptr[self.cases + 1] = first + width
        return self.make_case()

    @cython.cfunc
    def same_keys(self, one: cython.longlong, other: cython.longlong, width: cython.longlong) -> cython.bint:
        """Whether two cases ask the far tiers for the same bytes."""
        place: cython.longlong
        for place in range(width):
            if self.keys[one + place] != self.keys[other + place]:
                return False
        return True

    @cython.cfunc
    def make_case(self) -> cython.longlong:
        """Make the nest of what `work` looks at."""
        case: cython.longlong = self.cases
        sheet: Sheet = self.sheet
        sheet.begin()
        if self.work.anchor >= 0:
            self.contraction()
        else:
            self.stream()
        self.case_shape[case] = self.work.shape
        self.case_ticks[case], self.case_moved[case] = sheet.ticks, sheet.moved
        place: cython.longlong
        for place in range(2 * self.levels):
            self.case_free[case * 2 * self.levels + place] = sheet.free[place]
        self.case_nest[case] = sheet.finish()
        self.cases += 1
        return case

    @cython.cfunc
    def hold(
        self, tiles: cython.longlong, cores: cython.longlong, kept: cython.longlong, size: cython.longlong
    ) -> cython.longlong:
        """Note that on each of `cores` cores `tiles` tiles of `size` bytes are in flight and `kept` bytes stay."""
        limit: cython.longlong = self.figures.buffer_limit
        each: cython.longlong = tiles * cores  # both at most 10^9
        use: cython.longlong = limit if size > 0 and each > limit // size else each * size
        self.buffers = max(self.buffers, use + kept * cores)
        return 0

    # --- streams

    @cython.cfunc
    def stream(self) -> cython.longlong:
        """Nest of a kernel without a contraction: equal tiles and a last one with the remainder."""
        work: Work = self.work
        figures: Figures = self.figures
        largest: cython.longlong = max(work.read_total, work.write_size)
        active: cython.longlong = min(figures.cores, max(1, ceil_div(largest, BLOCK_BYTES)))
        depth: cython.longlong = max(figures.depth, ROW_TILES) if work.rows > 0 else figures.depth
        per_tile: cython.longlong = max(1, figures.stream_buffer // depth)
        tiles: cython.longlong = max(1, ceil_div(ceil_div(largest, active), per_tile))
        tiles = max(tiles, min(MIN_TILES, ceil_div(largest, active * MIN_TILE_BYTES)))
        if work.rows > 0:
            active = min(figures.cores, work.rows)
        self.gather()
        self.pace = self.row_ticks(active) if work.rows > 0 else 0
        self.sheet.depth = depth  # of rows, the queue says what overlaps, not the buffers
        self.sheet.open_loop(1)
        if tiles > 1:
            self.stream_tile(tiles, tiles - 1, active, False)
            self.sheet.close_loop()
        self.stream_tile(tiles, 1, active, True)
        self.sheet.close_loop()
        return self.hold(min(self.sheet.depth, tiles), 1, 0, largest - largest // tiles * (tiles - 1))

    @cython.cfunc
    def gather(self) -> cython.longlong:
        """Bytes of the whole kernel that each shared tier reads (`loads`) and writes (`stores`)."""
        work: Work = self.work
        level: cython.longlong
        index: cython.longlong
        self.loads[0], self.stores[0] = work.near_read, work.write_size
        if work.rows > 0:
            self.loads[0] = product(work.near_read, work.passes)
        for level in range(work.levels):
            missed: cython.longlong = 0
            for index in range(work.reads):
                missed += work.far(index, level)  # at most `read_total`
            self.loads[level + 1] = total(missed, self.read_again(level)) if work.rows > 0 else missed
            self.stores[level + 1] = work.write_far[level]
        if not work.ordered:
            self.sheet.slow = True
            for level in range(self.levels):
                self.pick(level)
                self.store(level, self.stores[level])
        return 0

    @cython.cfunc
    def resident_rows(self) -> cython.longlong:
        """Rows of a reduction that are worked on at once."""
        work: Work = self.work
        teams: cython.longlong = max(1, self.figures.threads // self.classes.shape_threads[work.shape])
        return min(work.rows, self.figures.cores * teams)

    @cython.cfunc
    def rows_in_use(self) -> cython.double:
        """Bytes that the rows at work read and write."""
        work: Work = self.work
        resident: cython.double = float(self.resident_rows()) / float(work.rows)
        return (float(work.read_total) + float(work.write_size)) * resident

    @cython.cfunc
    def read_again(self, level: cython.longlong) -> cython.longlong:
        """Bytes that far tier `level` supplies for the passes over a row after the first.

        Between two touches of an element the other rows at work are touched half to one and a half times, as far as
        they are with their own: what the cache before holds of such reuse distances is found again.
        """
        work: Work = self.work
        if work.passes < 2:
            return 0
        use: cython.double = self.rows_in_use()
        capacity: cython.double = float(self.figures.capacity(level))
        kept: cython.double = 1.0
        if use > 0.0:
            kept = min(1.0, max(0.0, (capacity - 0.5 * use) / use))
        size: cython.longlong = cython.cast(cython.longlong, ceil((1.0 - kept) * float(work.read_total)))
        return product(work.again_of(min(size, work.read_total), level), work.passes - 1)

    @cython.cfunc
    def row_ticks(self, active: cython.longlong) -> cython.longlong:
        """Ticks that the nearest tier takes at least to read the rows of a reduction, on `active` cores.

        Each of the N rows that a core has room for waits `wait` ticks and is served by the memory for `service` ticks
        in turn: a closed queue of N customers. With R the time of a service with its queue, R = service · (1 + (N - 1)
        · R ÷ (R + wait)) [Schweitzer, approximate mean value analysis, 1979]; N rows take R + wait, at least N ·
        service and at least service + wait.
        """
        work: Work = self.work
        rows: cython.double = float(work.rows)
        share: cython.double = max(1.0, float(self.resident_rows()) / float(active))
        service: cython.double = float(self.port_ticks(active)) * float(active) / rows
        wait: cython.double = self.row_wait()
        gap: cython.double = share * service - wait
        cycle: cython.double = wait + 0.5 * (gap + sqrt(gap * gap + 4.0 * service * wait))
        ticks: cython.double = ceil(cycle * (rows / (float(active) * share)))
        if ticks >= MOST:
            raise OverflowError("2^62 or more")
        return max(0, cython.cast(cython.longlong, ticks) - self.figures.move_ticks(0, WRITE, self.stores[0], active))

    @cython.cfunc
    def row_wait(self) -> cython.double:
        """Ticks that the team of one row waits for loads and exchanges, all others being idle."""
        work: Work = self.work
        figures: Figures = self.figures
        classes: KernelClasses = self.classes
        near: cython.double = float(classes.shape_near_waits[work.shape]) * float(figures.latency(0))
        far: cython.double = float(classes.shape_far_bytes[work.shape]) / TOGETHER
        level: cython.longlong
        index: cython.longlong
        for level in range(work.levels):
            missed: cython.double = 0.0
            for index in range(work.reads):
                missed += float(work.far(index, level))
            if work.read_total > 0:
                near += far * float(figures.latency(level + 1)) * min(1.0, missed / float(work.read_total))
        return DEPENDENT * near + float(classes.shape_exchanges[work.shape]) * float(figures.exchange)

    @cython.cfunc
    def port_ticks(self, active: cython.longlong) -> cython.longlong:
        """Ticks of the busiest port, or of the vector unit, for the whole kernel."""
        figures: Figures = self.figures
        busiest: cython.longlong = 0
        if not figures.vector_unlimited:
            busiest = ceil_div(self.work.vector_core_ticks, active)
        level: cython.longlong
        for level in range(self.levels):
            read: cython.longlong = figures.move_ticks(level, READ, self.loads[level], active)
            written: cython.longlong = figures.move_ticks(level, WRITE, self.stores[level], active)
            both: cython.longlong = total(read, written) if figures.one_port(level) else max(read, written)
            busiest = max(busiest, both)
        return busiest

    @cython.cfunc
    def pick(self, level: cython.longlong) -> cython.longlong:
        """Reads of a tier again, those in runs in whole sectors; what runs cost beyond streaming is `slow_loads`."""
        work: Work = self.work
        figures: Figures = self.figures
        index: cython.longlong
        self.slow_loads[level] = 0
        self.loads[level] = work.near_read - work.read_total if level == 0 else 0  # what is not coalesced
        if work.rows > 0:
            again: cython.longlong = (
                self.read_again(level - 1) if level > 0 else product(work.near_read, work.passes - 1)
            )
            self.loads[level] = total(self.loads[level], again)
        for index in range(work.reads):
            size: cython.longlong = work.read_size(index) if level == 0 else work.far(index, level - 1)
            pattern: cython.longlong = work.read_pattern(index)
            size = figures.fetched(pattern, level, size)
            self.loads[level] = total(self.loads[level], size)
            self.slow_loads[level] = total(self.slow_loads[level], figures.slowed(pattern, level, size))
        return 0

    @cython.cfunc
    def store(self, level: cython.longlong, size: cython.longlong) -> cython.longlong:
        """Of `size` bytes that go to that tier, as large a part is scattered as of all that is written."""
        work: Work = self.work
        self.stores[level], self.slow_stores[level] = size, 0
        if work.scattered > 0:
            apart: cython.longlong = floor_share(size, work.scattered, work.write_size)
            moved: cython.longlong = self.figures.fetched(work.scattered_pattern, level, apart)
            self.stores[level] = total(size - apart, moved)
            self.slow_stores[level] = self.figures.slowed(work.scattered_pattern, level, moved)
        return 0

    @cython.cfunc
    def stream_tile(
        self, tiles: cython.longlong, count: cython.longlong, active: cython.longlong, last: cython.bint
    ) -> cython.longlong:
        """One of `tiles` equal parts of a stream, or the last with the remainder."""
        sheet: Sheet = self.sheet
        level: cython.longlong
        for level in range(self.levels):
            sheet.reads[level] = self.part_of(self.loads[level], tiles, last)
            sheet.writes[level] = self.part_of(self.stores[level], tiles, last)
            if sheet.slow:
                sheet.slow_reads[level] = self.part_of(self.slow_loads[level], tiles, last)
                sheet.slow_writes[level] = self.part_of(self.slow_stores[level], tiles, last)
        sheet.pace = self.part_of(self.pace, tiles, last)
        ticks: cython.longlong = self.part_of(self.work.vector_core_ticks, tiles, last)
        if not self.figures.vector_unlimited:
            own: cython.longlong = max(1, ceil_div(ticks, active))  # moving data takes one tick at least
            useful: cython.longlong = own - self.idle_share(own, active)
            ticks = max(1, ceil_div(ticks + self.part_of(self.work.address_ticks, tiles, last), active))
            sheet.add_work(self.figures.vector_unit, ticks, useful, self.idle_share(ticks, active))
        return sheet.add_tile(count, active)

    @cython.cfunc
    def part_of(self, amount: cython.longlong, tiles: cython.longlong, last: cython.bint) -> cython.longlong:
        """One of `tiles` equal parts, rounded down, or the last with what is left."""
        part: cython.longlong = amount // tiles
        return amount - part * (tiles - 1) if last else part

    @cython.cfunc
    def idle_share(self, ticks: cython.longlong, active: cython.longlong) -> cython.longlong:
        """The part of `ticks` that idle cores make up."""
        cores: cython.longlong = self.figures.cores
        return floor_share(ticks, cores - active, cores)

    # --- contractions

    @cython.cfunc
    def contraction(self) -> cython.longlong:
        """Nest of a kernel around a matrix product, convolution or attention.

        Full waves come first, then the last one, full or partial; each is a loop over the inner steps, of which the
        last also takes what the epilogue reads, its arithmetic and the stores.
        """
        cutter: Sweeper = self.cutter
        cutter.cut()
        if cutter.serial:
            self.sheet.depth = 1  # a tile fills the memory of its core
        cores: cython.longlong = self.figures.cores
        active: cython.longlong = cutter.blocks % cores
        if active == 0:
            active = min(cutter.blocks, cores)
        waves: cython.longlong = (cutter.blocks - active) // cores
        if cutter.laid_out:
            self.lay_out_before()
        elif cutter.set_up > 0:
            self.pause(cutter.set_up)
        self.hand_out()
        if waves > 0:
            self.wave(cores, waves, False)
        self.wave(active, 1, True)
        if cutter.laid_out:
            self.lay_out_after()
        used: cython.longlong = min(cutter.blocks, cores)
        return self.hold(min(self.sheet.depth, cutter.steps), used, cutter.kept_bytes, cutter.step_bytes)

    @cython.cfunc
    def hand_out(self) -> cython.longlong:
        """Bytes of the whole kernel: operands, what the epilogue reads, stores; all of it is `left`."""
        cutter: Sweeper = self.cutter
        level: cython.longlong
        self.loads[0], self.extra[0] = cutter.near_loads, cutter.extra_near
        self.stores[0] = total(self.work.write_size, cutter.partial_bytes)
        for level in range(self.work.levels):
            self.loads[level + 1], self.extra[level + 1] = cutter.far_loads[level], cutter.extra_far[level]
            leaving: cython.longlong = cutter.lost_after[level] if cutter.laid_out else self.work.write_far[level]
            self.stores[level + 1] = total(leaving, cutter.far_partials[level])
        for level in range(self.levels):
            self.left[level] = self.loads[level]
            self.left[self.levels + level] = self.extra[level]
            self.left[2 * self.levels + level] = self.stores[level]
        return 0

    # --- tensors laid out anew around a convolution

    @cython.cfunc
    def pause(self, ticks: cython.longlong) -> cython.longlong:
        """A tile that keeps the matrix unit from work."""
        self.sheet.clear()
        self.sheet.open_loop(1)
        self.sheet.add_work(self.cutter.unit, ticks, 0, 0)
        self.sheet.add_tile(1, self.figures.cores)
        return self.sheet.close_loop()

    @cython.cfunc
    def lay_out_before(self) -> cython.longlong:
        """Input and weight are copied; then the product is launched. The first of the launches is the kernel's own."""
        cutter: Sweeper = self.cutter
        level: cython.longlong
        self.loads[0], self.stores[0] = cutter.read_before, cutter.written_before
        for level in range(self.work.levels):
            self.loads[level + 1], self.stores[level + 1] = cutter.far_before[level], cutter.lost_before[level]
        launches: cython.longlong = product(cutter.layouts, self.figures.relaunch)
        return self.lay_out(cutter.squares_before, total(launches, cutter.set_up))

    @cython.cfunc
    def lay_out_after(self) -> cython.longlong:
        """The result is copied to where it was asked for."""
        cutter: Sweeper = self.cutter
        level: cython.longlong
        self.loads[0], self.stores[0] = cutter.after, cutter.after
        for level in range(self.work.levels):
            self.loads[level + 1], self.stores[level + 1] = cutter.lost_after[level], self.work.write_far[level]
        return self.lay_out(cutter.squares_after, 0)

    @cython.cfunc
    def lay_out(self, squares: cython.longlong, pause: cython.longlong) -> cython.longlong:
        """A copy through `squares`, in equal tiles; the matrix unit waits at the end for `pause` ticks."""
        active: cython.longlong = min(self.figures.cores, max(1, squares))
        self.sheet.open_loop(1)
        self.lay_out_tile(squares, active, LAYOUT_TILES - 1, False, 0)
        self.lay_out_tile(squares, active, 1, True, pause)
        return self.sheet.close_loop()

    @cython.cfunc
    def lay_out_tile(
        self,
        squares: cython.longlong,
        active: cython.longlong,
        count: cython.longlong,
        last: cython.bint,
        pause: cython.longlong,
    ) -> cython.longlong:
        """One of `LAYOUT_TILES` equal parts of such a copy, or the last with the remainder."""
        level: cython.longlong
        for level in range(self.levels):
            self.sheet.reads[level] = self.part_of(self.loads[level], LAYOUT_TILES, last)
            self.sheet.writes[level] = self.part_of(self.stores[level], LAYOUT_TILES, last)
        ticks: cython.longlong = self.part_of(self.cutter.square_ticks(squares, active), LAYOUT_TILES, last)
        if ticks > 0:
            self.sheet.add_work(self.figures.vector_unit, ticks, 0, 0)
        if pause > 0:
            self.sheet.add_work(self.cutter.unit, pause, 0, 0)
        return self.sheet.add_tile(count, active)

    @cython.cfunc
    def take(
        self, place: cython.longlong, share: cython.longlong, whole: cython.longlong, times: cython.longlong
    ) -> cython.longlong:
        """share ÷ whole of the sum at `place` of `left`, handed out `times` times."""
        level: cython.longlong = place % self.levels
        amount: cython.longlong = self.loads[level]
        if place >= self.levels:
            amount = self.extra[level] if place < 2 * self.levels else self.stores[level]
        size: cython.longlong = floor_share(amount, share, whole)
        self.left[place] -= size * times
        return size

    @cython.cfunc
    def wave(self, active: cython.longlong, waves: cython.longlong, last: cython.bint) -> cython.longlong:
        """The loop of one kind of wave: (steps - 1) inner tiles and the one that ends the blocks."""
        cutter: Sweeper = self.cutter
        steps: cython.longlong = cutter.steps
        whole: cython.longlong = product(cutter.blocks, cutter.inner)
        end: cython.longlong = cutter.inner - cutter.step_size * (steps - 1)
        level: cython.longlong
        self.sheet.open_loop(waves)
        if steps > 1:
            self.sheet.clear()
            for level in range(self.levels):
                share: cython.longlong = active * cutter.step_size
                self.sheet.reads[level] = self.take(level, share, whole, waves * (steps - 1))
            self.step_work(active, cutter.step_size, whole, False, False)
            self.sheet.add_tile(steps - 1, active)
        if last:
            self.straggle(whole)
            self.rest()
        else:
            self.part(active, end, whole, waves)
        self.step_work(active, end, whole, True, last)
        self.epilogue(active)
        if last and cutter.laid_out:  # the copy of the result is launched
            self.sheet.add_work(cutter.unit, self.figures.relaunch, 0, 0)
        self.sheet.add_tile(1, active)
        return self.sheet.close_loop()

    @cython.cfunc
    def part(
        self, active: cython.longlong, length: cython.longlong, whole: cython.longlong, waves: cython.longlong
    ) -> cython.longlong:
        """Bytes of the tile that ends the blocks of a wave."""
        level: cython.longlong
        blocks: cython.longlong = self.cutter.blocks
        for level in range(self.levels):
            reads: cython.longlong = self.take(level, active * length, whole, waves)
            self.sheet.reads[level] = total(reads, self.take(self.levels + level, active, blocks, waves))
            self.sheet.writes[level] = self.take(2 * self.levels + level, active, blocks, waves)
        return 0

    @cython.cfunc
    def rest(self) -> cython.longlong:
        """All bytes that are left, for the last tile."""
        level: cython.longlong
        for level in range(self.levels):
            self.sheet.reads[level] = total(self.left[level], self.left[self.levels + level])
            self.sheet.writes[level] = self.left[2 * self.levels + level]
        return 0

    @cython.cfunc
    def step_work(
        self,
        active: cython.longlong,
        length: cython.longlong,
        whole: cython.longlong,
        ends: cython.bint,
        last: cython.bint,
    ) -> cython.longlong:
        """Matrix and inner vector work of one step of `length` along the inner dimension.

        The step may end the blocks of its wave, and be the last one of the kernel.
        """
        cutter: Sweeper = self.cutter
        ticks: cython.longlong = cutter.step_ticks(length, ends, last)
        if ends and not last and cutter.exposed:
            ticks = total(ticks, self.between(active))
        beside: cython.longlong = 0
        if cutter.inner_vector > 0 and not self.figures.vector_unlimited:
            beside = max(1, ceil_share(cutter.inner_vector, length, whole))
        if ticks > 0:
            useful: cython.longlong = floor_share(cutter.useful_ticks, active * length, whole)
            if cutter.in_turn:
                ticks = total(ticks, beside)
            self.sheet.add_work(cutter.unit, ticks, useful, self.idle_share(ticks, active))
        if beside > 0:
            done: cython.longlong = floor_share(cutter.inner_vector, active * length, whole) // self.figures.cores
            self.sheet.add_work(self.figures.vector_unit, beside, done, self.idle_share(beside, active))
        return 0

    @cython.cfunc
    def straggle(self, whole: cython.longlong) -> cython.longlong:
        """The longest block of a mask is among the last ones: a tile of what it has more than the others.

        Of blocks that go over between none and all of the keys the last wave takes the longest; cores that are done
        stand by.
        """
        cutter: Sweeper = self.cutter
        more: cython.longlong = cutter.longest_inner - cutter.inner
        if more <= 0:
            return 0
        ticks: cython.longlong = cutter.step_ticks(more, False, False)
        if cutter.in_turn and not self.figures.vector_unlimited:
            ticks = total(ticks, ceil_share(cutter.inner_vector, more, whole))
        if ticks <= 0:
            return 0
        self.sheet.clear()
        self.sheet.add_work(cutter.unit, ticks, 0, ticks)
        return self.sheet.add_tile(1, self.figures.cores)

    @cython.cfunc
    def between(self, active: cython.longlong) -> cython.longlong:
        """Ticks between two waves in which units stand still: results leave, and the next operands arrive.

        Blocks of a wave begin and end together, so that all of them store at once. The longest store counts; of the
        blocks that share a core, one stores while the others work.
        """
        level: cython.longlong
        stored: cython.longlong = 0
        for level in range(self.levels):
            stored = max(stored, self.figures.move_ticks(level, WRITE, self.sheet.writes[level], active))
        return total(stored // self.cutter.residents(self.cutter.tile_m, self.cutter.tile_n), self.cutter.fill)

    @cython.cfunc
    def epilogue(self, active: cython.longlong) -> cython.longlong:
        """Vector work at the end of a block: all that is not done inside the steps."""
        cutter: Sweeper = self.cutter
        work: cython.longlong = self.work.vector_core_ticks - cutter.inner_vector
        if work > 0 and not self.figures.vector_unlimited:
            useful: cython.longlong = floor_share(work, active, cutter.blocks) // self.figures.cores
            ticks: cython.longlong = max(1, ceil_div(work, cutter.blocks))
            self.sheet.add_work(self.figures.vector_unit, ticks, useful, self.idle_share(ticks, active))
        return 0
