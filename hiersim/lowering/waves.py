"""Waves: blocks of a contraction over the cores, each a loop over its inner dimension.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `waves.pxd` declares what other compiled modules use.
"""

from __future__ import annotations

import cython

from hiersim.lowering.layouts import Layouts
from hiersim.model.program import Access

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.exact import ceil_share, floor_share, product, total
    from cython.cimports.hiersim.lowering.rounding import ceil_div
    from cython.cimports.hiersim.lowering.stages import Sheet
    from cython.cimports.hiersim.lowering.sweep import Sweeper
else:
    from hiersim.columns import column
    from hiersim.exact import ceil_share, floor_share, product, total
    from hiersim.lowering.rounding import ceil_div
    from hiersim.lowering.stages import Sheet
    from hiersim.lowering.sweep import Sweeper

READ = cython.declare(cython.longlong, int(Access.READ))
WRITE = cython.declare(cython.longlong, int(Access.WRITE))


@cython.cclass
class Waves(Layouts):
    """Makes the nests of kernels around a matrix product, convolution or attention.

    `extra` are bytes that the epilogue reads; `left` is what is not handed out yet of loads, extras and stores.
    """

    def __init__(self, cutter: Sweeper, sheet: Sheet) -> None:
        Layouts.__init__(self, cutter, sheet)
        self.extra, self.left = column(self.levels), column(3 * self.levels)

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
        elif cutter.stages > 0:
            self.sheet.depth = min(self.sheet.depth, cutter.stages)
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
        result: cython.longlong = cutter.after if cutter.laid_out else self.work.write_size
        self.stores[0] = total(result, cutter.partial_bytes)
        for level in range(self.work.levels):
            self.loads[level + 1], self.extra[level + 1] = cutter.far_loads[level], cutter.extra_far[level]
            leaving: cython.longlong = cutter.lost_after[level] if cutter.laid_out else self.work.write_far[level]
            self.stores[level + 1] = total(leaving, cutter.far_partials[level])
        for level in range(self.levels):
            self.left[level] = self.loads[level]
            self.left[self.levels + level] = self.extra[level]
            self.left[2 * self.levels + level] = self.stores[level]
        return 0

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
        if last and cutter.second > 0:
            self.sheet.add_set_up(cutter.unit, cutter.second)
        self.epilogue(active)
        if last and cutter.laid_out:  # the copy of the result is launched
            self.sheet.add_set_up(cutter.unit, self.figures.relaunch)
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
            beside = max(1, ceil_share(cutter.padded_vector, length, whole))
        if ticks > 0:
            useful: cython.longlong = floor_share(cutter.useful_ticks, active * length, whole)
            ticks = cutter.with_softmax(ticks, beside)
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
            ticks = cutter.with_softmax(ticks, ceil_share(cutter.padded_vector, more, whole))
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
        cutter: Sweeper = self.cutter
        level: cython.longlong
        stored: cython.longlong = 0
        for level in range(self.levels):
            stored = max(stored, self.figures.move_ticks(level, WRITE, self.sheet.writes[level], active))
        if cutter.paged:
            return total(total(stored, cutter.fill), self.arrival(active))
        return total(stored // cutter.residents(cutter.tile_m, cutter.tile_n), cutter.fill)

    @cython.cfunc
    def arrival(self, active: cython.longlong) -> cython.longlong:
        """Ticks until the queries of blocks on `active` cores are there, nothing else under way, and the first keys.

        Where copies are asynchronous the first keys of a block come while the block before is at work.
        """
        cutter: Sweeper = self.cutter
        level: cython.longlong
        slowest: cython.longlong = 0
        step: cython.longlong = min(cutter.step_size, cutter.inner)
        for level in range(self.levels):
            keys: cython.longlong = floor_share(self.loads[level], active * step, product(cutter.blocks, cutter.inner))
            queries: cython.longlong = floor_share(self.extra[level], active, cutter.blocks)
            first: cython.longlong = queries if self.figures.asynchronous > 0 else total(queries, keys)
            slowest = max(slowest, self.figures.move_ticks(level, READ, first, active))
        return slowest

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
