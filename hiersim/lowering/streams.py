"""Streams: kernels without a contraction read, compute and write in order, in equal tiles.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `streams.pxd` declares what other compiled modules use.
"""

from __future__ import annotations

import cython

from hiersim.lowering.row_passes import RowPasses

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.exact import floor_share, product, total
    from cython.cimports.hiersim.lowering.figures import Figures
    from cython.cimports.hiersim.lowering.rounding import ceil_div
    from cython.cimports.hiersim.lowering.stages import Sheet
    from cython.cimports.hiersim.lowering.work import Work
else:
    from hiersim.columns import column
    from hiersim.exact import floor_share, product, total
    from hiersim.lowering.figures import Figures
    from hiersim.lowering.rounding import ceil_div
    from hiersim.lowering.stages import Sheet
    from hiersim.lowering.work import Work

BLOCK_BYTES = cython.declare(cython.longlong, 4096)
"""A streaming block: 256 threads with 16 bytes each."""
MIN_TILE_BYTES = cython.declare(cython.longlong, 1024)
"""Per core; smaller pieces would not fill a core's load queue."""
ROW_TILES = cython.declare(cython.longlong, 4)
"""Tiles of rows in flight, at least: enough for reads, arithmetic and write-back to overlap."""
MIN_TILES = cython.declare(cython.longlong, 8)
"""A stream overlaps its own loads, arithmetic and stores at least this finely."""


@cython.cclass
class Streams(RowPasses):
    """Makes the nests of element-wise kernels, reductions, gathers, copies and unknown operators."""

    def __init__(self, work: Work, sheet: Sheet) -> None:
        RowPasses.__init__(self, work, sheet)
        self.slow_loads, self.slow_stores = column(self.levels), column(self.levels)
        self.pace = 0

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
            ticks = max(1, ceil_div(ticks + self.part_of(self.work.overhead_ticks, tiles, last), active))
            sheet.add_work(self.figures.vector_unit, ticks, useful, self.idle_share(ticks, active))
        return sheet.add_tile(count, active)
