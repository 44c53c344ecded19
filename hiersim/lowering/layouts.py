"""Tensors laid out anew around a convolution: copies before and after its product.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `layouts.pxd` declares what other compiled modules use.
"""

from __future__ import annotations

import cython

from hiersim.lowering.nest_maker import NestMaker

if cython.compiled:
    from cython.cimports.hiersim.exact import product, total
    from cython.cimports.hiersim.lowering.stages import Sheet
    from cython.cimports.hiersim.lowering.sweep import Sweeper
else:
    from hiersim.exact import product, total
    from hiersim.lowering.stages import Sheet
    from hiersim.lowering.sweep import Sweeper

LAYOUT_TILES = cython.declare(cython.longlong, 16)
"""A copy around a convolution overlaps its own loads and stores this finely."""


@cython.cclass
class Layouts(NestMaker):
    """Writes the copies around what `cutter` cuts."""

    def __init__(self, cutter: Sweeper, sheet: Sheet) -> None:
        NestMaker.__init__(self, cutter.work, sheet)
        self.cutter = cutter

    @cython.cfunc
    def pause(self, ticks: cython.longlong) -> cython.longlong:
        """A tile of set-up, which keeps the unit from work."""
        self.sheet.clear()
        self.sheet.open_loop(1)
        self.sheet.add_set_up(self.cutter.unit, ticks)
        self.sheet.add_tile(1, self.figures.cores)
        return self.sheet.close_loop()

    @cython.cfunc
    def lay_out_before(self) -> cython.longlong:
        """Input and weight are copied; then the product is launched. The first of the launches is the kernel's own."""
        cutter: Sweeper = self.cutter
        level: cython.longlong
        self.loads[0], self.stores[0] = cutter.read_before, total(cutter.written_before, cutter.cleared)
        for level in range(self.work.levels):
            self.loads[level + 1], self.stores[level + 1] = cutter.far_before[level], cutter.lost_before[level]
        launches: cython.longlong = product(cutter.layouts, self.figures.relaunch)
        return self.lay_out(cutter.squares_before, total(launches, cutter.set_up))

    @cython.cfunc
    def lay_out_after(self) -> cython.longlong:
        """The result is copied to where it was asked for."""
        cutter: Sweeper = self.cutter
        level: cython.longlong
        self.loads[0], self.stores[0] = cutter.after, self.work.write_size
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
        """One of `LAYOUT_TILES` equal parts of such a copy, or the last with the remainder.

        It holds the product's unit, since launches follow one another: the blocks of one do not begin before the
        last one's are done.
        """
        level: cython.longlong
        for level in range(self.levels):
            self.sheet.reads[level] = self.part_of(self.loads[level], LAYOUT_TILES, last)
            self.sheet.writes[level] = self.part_of(self.stores[level], LAYOUT_TILES, last)
        ticks: cython.longlong = self.part_of(self.cutter.square_ticks(squares, active), LAYOUT_TILES, last)
        if ticks > 0 or pause > 0:
            self.sheet.add_work(self.cutter.unit, ticks, 0, 0)
            self.sheet.add_waiting(pause)
        return self.sheet.add_tile(count, active)
