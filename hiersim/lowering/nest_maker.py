"""What tile rules share: the kernel at hand, the sheet, tile buffers and equal parts.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `nest_maker.pxd` declares what other compiled modules use.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.exact import floor_share
    from cython.cimports.hiersim.lowering.stages import Sheet
    from cython.cimports.hiersim.lowering.work import Work
else:
    from hiersim.columns import column
    from hiersim.exact import floor_share
    from hiersim.lowering.stages import Sheet
    from hiersim.lowering.work import Work


@cython.cclass
class NestMaker:
    """What every tile rule works with: one kernel class at a time (`work`) and the nests it writes (`sheet`).

    `loads` and `stores` are the bytes of the whole kernel that each shared tier reads and writes, `buffers` the largest
    use of the tile buffers so far.
    """

    def __init__(self, work: Work, sheet: Sheet) -> None:
        self.work, self.sheet = work, sheet
        self.figures, self.classes = work.figures, work.classes
        self.levels = work.figures.levels
        self.loads, self.stores = column(self.levels), column(self.levels)
        self.buffers = 0

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

    @cython.cfunc
    @cython.exceptval(check=False)
    def part_of(self, amount: cython.longlong, tiles: cython.longlong, last: cython.bint) -> cython.longlong:
        """One of `tiles` equal parts, rounded down, or the last with what is left."""
        part: cython.longlong = amount // tiles
        return amount - part * (tiles - 1) if last else part

    @cython.cfunc
    @cython.exceptval(-1)
    def idle_share(self, ticks: cython.longlong, active: cython.longlong) -> cython.longlong:
        """The part of `ticks` that idle cores make up."""
        cores: cython.longlong = self.figures.cores
        return floor_share(ticks, cores - active, cores)
