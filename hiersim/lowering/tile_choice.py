"""The choice of a tile for a matrix product: candidates, their estimated times, and the best of them.

The tile is the one with the least time on this machine among those that fit the cores' memory, so its size follows the
SRAM: near-tier traffic is K·(M·N/BN + N·M/BM) elements. Cores with registers and a scratchpad choose among powers of
two of the native shape, as libraries do for GPUs; cores with one scratchpad among even cuts of the extents, with
accumulators and operands sharing it. Where nothing but the last tier is behind it, such a core may also keep a whole
panel of one operand (a block's side × the inner dimension) and stream the other one past it: if the inner dimension is
short, the panel takes less room than accumulators that save as much. (Behind a shared cache each panel would stream all
of the other operand through the cache, which groups of blocks need not.)

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `tile_choice.pxd` declares the fields and what other compiled modules use.
"""

from __future__ import annotations

import cython
import numpy as np

from hiersim.lowering.blocks import ACCUMULATOR_BYTES as SUM_BYTES
from hiersim.lowering.blocks import KEPT_A, KEPT_B
from hiersim.lowering.blocks import SPLIT_STEPS as LEAST_STEPS
from hiersim.lowering.columns import longer
from hiersim.lowering.tile_estimate import TileEstimate
from hiersim.model.operators import Kind
from hiersim.units import TICKS_PER_SECOND
from hiersim.units import UNLIMITED as NO_LIMIT

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.lowering.figures import Figures
    from cython.cimports.hiersim.lowering.rounding import ceil_div, padded_to
    from cython.cimports.hiersim.lowering.work import Work
else:
    from hiersim.columns import column
    from hiersim.lowering.figures import Figures
    from hiersim.lowering.rounding import ceil_div, padded_to
    from hiersim.lowering.work import Work

UNLIMITED = cython.declare(cython.longlong, NO_LIMIT)
SECOND = cython.declare(cython.longlong, TICKS_PER_SECOND)
ACCUMULATOR_BYTES = cython.declare(cython.longlong, SUM_BYTES)
SPLIT_STEPS = cython.declare(cython.longlong, LEAST_STEPS)
CONV = cython.declare(cython.longlong, int(Kind.CONV))
KEEP_A = cython.declare(cython.longlong, KEPT_A)
KEEP_B = cython.declare(cython.longlong, KEPT_B)
INNER_TILES = cython.declare(cython.longlong, 8)
"""A step along the inner dimension is at most this many native tiles."""
MOST_DOUBLINGS = cython.declare(cython.longlong, 4096)
"""A side of a tile is at most this many native ones."""
LEAST_SIDE = cython.declare(cython.longlong, 32)
LEAST_SUMS = cython.declare(cython.longlong, 4096)
"""Of a block on the vector unit of a GPU: the smallest that cuBLAS has names for are 64 × 64, 32 × 128 and 128 × 32; a
thread keeps 8 × 8 sums, so that it loads two elements for eight products."""
LONGEST_STREAM = cython.declare(cython.longlong, 2**24)
"""… or this long on a systolic unit, where a long stream hides fill and drain."""
MOST_SIDES = cython.declare(cython.longlong, 112)
"""Sides that a block may have: eight native ones and four to each octave from there to the longest."""
TIE = cython.declare(cython.double, 1.0 + 1e-9)
"""Tiles whose estimated times differ by less are equally good: estimates are IEEE doubles, and machines that differ by
a common factor of all rates must choose the same tile."""


@cython.cfunc
def next_count(count: cython.longlong) -> cython.longlong:
    """Native tiles along a side: 1, 2, … 8, 10, 12, 14, 16, 20, …, four to the octave."""
    step: cython.longlong = 1
    while step * 8 <= count:
        step *= 2
    return count + step


@cython.cfunc
def even_side(extent: cython.longlong, count: cython.longlong, native: cython.longlong) -> cython.longlong:
    """The least side that cuts `extent` into no more pieces than `count` native tiles would."""
    pieces: cython.longlong = ceil_div(extent, count * native)
    return padded_to(ceil_div(extent, pieces), native)


@cython.cclass
class TileChoice(TileEstimate):
    """Finds the tile of the product at hand, once per operator type."""

    def __init__(self, work: Work) -> None:
        TileEstimate.__init__(self, work)
        self.chosen, self.chosen_kept = column(work.classes.types * 4), column(work.classes.types)
        self.rooms = 64
        self.sides, self.keeps = column(self.rooms * 4), column(self.rooms)
        self.seconds = np.zeros(self.rooms) if cython.compiled else [0.0] * self.rooms
        self.heights, self.widths = column(MOST_SIDES), column(MOST_SIDES)
        self.least = self.loading = 0.0

    @cython.cfunc
    def choose(self) -> cython.longlong:
        """The tile of the product at hand; once per operator type."""
        first: cython.longlong = self.work.anchor * 4
        if self.chosen[first] == 0:
            self.list_candidates()
            self.take_best()
            self.chosen[first], self.chosen[first + 1] = self.tile_m, self.tile_n
            self.chosen[first + 2], self.chosen[first + 3] = self.tile_k, self.split
            self.chosen_kept[self.work.anchor] = self.kept
        self.tile_m, self.tile_n = self.chosen[first], self.chosen[first + 1]
        self.tile_k, self.split = self.chosen[first + 2], self.chosen[first + 3]
        self.kept = self.chosen_kept[self.work.anchor]
        return 0

    @cython.cfunc
    def list_candidates(self) -> cython.longlong:
        """Sides native, 2·native, … up to the first that covers the extent, where accumulators and operands fit.

        The squarest block, which loads least, goes first, and the others from the largest down: of those that load
        for longer than the best one takes no time needs to be estimated.
        """
        figures: Figures = self.figures
        self.forget()
        if figures.scratchpad > 0:
            return self.list_even_candidates()
        native_m: cython.longlong = figures.native(self.dtype, 0)
        native_n: cython.longlong = figures.native(self.dtype, 1)
        sums: cython.longlong = figures.accumulators // ACCUMULATOR_BYTES
        heights: cython.longlong = self.list_sides(self.heights, native_m, self.m, sums // native_n)
        widths: cython.longlong = self.list_sides(self.widths, native_n, self.n, sums // native_m)
        if heights == 0:
            return self.add_least()
        tall: cython.longlong = heights - 1
        wide: cython.longlong = widths - 1
        while tall > 0 and self.heights[tall] * self.heights[tall] > sums:
            tall -= 1
        while self.heights[tall] * self.widths[wide] > sums:
            wide -= 1
        self.add_block(self.heights[tall], self.widths[wide])
        for tall in range(heights - 1, -1, -1):
            m: cython.longlong = self.heights[tall]
            for wide in range(widths - 1, -1, -1):
                n: cython.longlong = self.widths[wide]
                if m * n > sums:
                    continue
                if self.loads_too_long(m, n):
                    break  # and so do narrower ones
                self.add_block(m, n)
        return self.add_least()

    @cython.cfunc
    def list_sides(
        self, sides: cython.longlong[::1], native: cython.longlong, extent: cython.longlong, most: cython.longlong
    ) -> cython.longlong:
        """Write the sides of blocks, at most `most` long, in ascending order; how many there are."""
        end: cython.longlong = min(max(extent, self.batched_side()), self.longest(native))
        count: cython.longlong = 0
        tiles: cython.longlong = 1
        while tiles * native <= most:
            sides[count] = tiles * native
            count += 1
            if tiles * native >= end:
                break
            tiles = self.next_side(tiles)
        return count

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def add_block(self, m: cython.longlong, n: cython.longlong) -> cython.longlong:
        """Note a block with the longest step that fits, where there is one."""
        figures: Figures = self.figures
        k: cython.longlong = self.inner_step(figures.staging // (figures.depth * (m + n) * self.element))
        return self.add_with_split(m, n, k) if k > 0 and not self.is_too_small(m, n) else 0

    @cython.cfunc
    def forget(self) -> cython.longlong:
        """No candidates yet for the product at hand; and how long blocks of single elements would load."""
        products: cython.double = float(self.batch * self.m) * float(self.n) * float(self.k)
        self.candidates = 0
        self.loading = self.figures.read_time(0, products * float(self.element), float(self.figures.cores))
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def loads_too_long(self, m: cython.longlong, n: cython.longlong) -> cython.bint:
        """Whether blocks of that tile load for longer than the best candidate takes, which they cannot beat.

        Each element of an operand is loaded by all blocks along the other side, and no more than all cores load at a
        time: what `estimate` gives is no less.
        """
        if self.candidates == 0:
            return False
        lines: cython.double = 1.0 / float(min(m, self.m)) + 1.0 / float(min(n, self.n))
        return self.loading * lines > self.least * TIE * TIE

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_too_small(self, m: cython.longlong, n: cython.longlong) -> cython.bint:
        """Whether a block leaves threads of the vector unit without the sums that they keep in registers.

        A side may be shorter where it covers its extent; not so in a batch for which the library has few kernels.
        """
        if self.unit == self.figures.matrix_unit:
            return False
        if min(m, n) < self.batched_side():
            return True
        if (m < LEAST_SIDE and m < self.m) or (n < LEAST_SIDE and n < self.n):
            return True
        return m * n < LEAST_SUMS and m < self.m and n < self.n

    @cython.cfunc
    @cython.exceptval(check=False)
    def batched_side(self) -> cython.longlong:
        """The least side of a block of a batch on the vector unit; 0 where sides may be shorter.

        Products with a vector have kernels of their own, and so have convolutions.
        """
        batched: cython.bint = self.batch > 1 and self.m > 1 and self.n > 1
        if not batched or self.unit == self.figures.matrix_unit or self.classes.type_kind[self.work.anchor] == CONV:
            return 0
        return self.figures.batched_side

    @cython.cfunc
    @cython.exceptval(check=False)
    def next_side(self, count: cython.longlong) -> cython.longlong:
        """The next side in native tiles: powers of two, as warps are arranged; four to the octave where the unit takes
        its operands from the cores' memory by itself."""
        return next_count(count) if self.asynchronous else 2 * count

    @cython.cfunc
    def list_even_candidates(self) -> cython.longlong:
        """Even cuts of both extents, where accumulators and the operands of all buffers fit one scratchpad together."""
        figures: Figures = self.figures
        native_m: cython.longlong = figures.native(self.dtype, 0)
        native_n: cython.longlong = figures.native(self.dtype, 1)
        tall: cython.longlong = 1
        while tall * native_m <= self.longest(native_m):
            m: cython.longlong = even_side(self.m, tall, native_m)
            wide: cython.longlong = 1
            while wide * native_n <= self.longest(native_n):
                n: cython.longlong = even_side(self.n, wide, native_n)
                left: cython.longlong = figures.scratchpad - m * n * ACCUMULATOR_BYTES
                k: cython.longlong = self.inner_step(left // (figures.depth * (m + n) * self.element))
                if k > 0:
                    self.add_with_split(m, n, k)
                if figures.levels == 1 and not self.systolic:
                    self.add_kept(m, n, left, KEEP_A)
                    self.add_kept(m, n, left, KEEP_B)
                if left <= 0 or n >= self.n:
                    break
                wide = next_count(wide)
            if m >= self.m:
                break
            tall = next_count(tall)
        return self.add_least()

    @cython.cfunc
    def add_kept(
        self, m: cython.longlong, n: cython.longlong, left: cython.longlong, kept: cython.longlong
    ) -> cython.longlong:
        """Note a tile that keeps a panel, where that and steps of the other fit the `left` bytes."""
        side: cython.longlong = m if kept == KEEP_A else n
        if left // self.element // side < self.k:
            return 0
        k: cython.longlong = self.inner_step(
            (left - side * self.k * self.element) // (self.figures.depth * (m + n - side) * self.element)
        )
        if k > 0 and self.passes_by_cores(m, n, kept) < self.passes_by_blocks(m, n, kept):
            self.add_candidate(m, n, k, 1, kept)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def add_with_split(self, m: cython.longlong, n: cython.longlong, k: cython.longlong) -> cython.longlong:
        """Note a tile, and the same with its inner dimension split where blocks are fewer than cores."""
        blocks: cython.longlong = self.batch * ceil_div(self.m, m) * ceil_div(self.n, n)
        self.add_candidate(m, n, k, 1, 0)
        split: cython.longlong = min(self.figures.cores // blocks, ceil_div(self.k, k) // SPLIT_STEPS)
        if split > 1:
            self.add_candidate(m, n, k, split, 0)
        return 0

    @cython.cfunc
    def add_least(self) -> cython.longlong:
        """Where nothing fits, the native tile."""
        if self.candidates == 0:
            figures: Figures = self.figures
            m: cython.longlong = figures.native(self.dtype, 0)
            self.add_candidate(m, figures.native(self.dtype, 1), figures.native(self.dtype, 2), 1, 0)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def longest(self, native: cython.longlong) -> cython.longlong:
        """No side of a tile is doubled from here on."""
        return max(native * MOST_DOUBLINGS, LONGEST_STREAM if self.systolic else 0)

    @cython.cfunc
    @cython.exceptval(check=False)
    def inner_step(self, room: cython.longlong) -> cython.longlong:
        """The largest power-of-two multiple of the native inner side within `room`; 0 when none fits."""
        native: cython.longlong = self.figures.native(self.dtype, 2)
        if native > room:
            return 0
        step: cython.longlong = native
        while step * 2 <= min(room, native * INNER_TILES) and step < self.k:
            step *= 2
        return step

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def add_candidate(
        self,
        m: cython.longlong,
        n: cython.longlong,
        k: cython.longlong,
        split: cython.longlong,
        kept: cython.longlong,
    ) -> cython.longlong:
        """Note a tile and its estimated time, unless a better one is noted."""
        seconds: cython.double = self.estimate(m, n, k, split, kept)
        if self.candidates > 0 and seconds > self.least * TIE:
            return 0
        if self.candidates == self.rooms:
            self.grow()
        if self.candidates == 0 or seconds < self.least:
            self.least = seconds
        first: cython.longlong = self.candidates * 4
        self.sides[first], self.sides[first + 1] = m, n
        self.sides[first + 2], self.sides[first + 3] = k, split
        self.keeps[self.candidates] = kept
        self.seconds[self.candidates] = seconds
        self.candidates += 1
        return 0

    def grow(self) -> None:
        """Twice the room for candidates."""
        seconds = np.zeros(2 * self.rooms)
        seconds[: self.rooms] = self.seconds
        self.rooms *= 2
        self.sides, self.keeps = longer(self.sides, self.rooms * 4), longer(self.keeps, self.rooms)
        self.seconds = seconds if cython.compiled else seconds.tolist()

    @cython.cfunc
    def take_best(self) -> cython.longlong:
        """Of all tiles within `TIE` of the least time the best one by `is_better`."""
        index: cython.longlong
        best: cython.longlong = -1
        for index in range(self.candidates):
            if self.seconds[index] <= self.least * TIE and (best < 0 or self.is_better(index, best)):
                best = index
        self.tile_m, self.tile_n = self.sides[best * 4], self.sides[best * 4 + 1]
        self.tile_k, self.split = self.sides[best * 4 + 2], self.sides[best * 4 + 3]
        self.kept = self.keeps[best]
        return 0

    @cython.cfunc
    def is_better(self, one: cython.longlong, other: cython.longlong) -> cython.bint:
        """Whether tile `one` goes before tile `other`.

        The one that loads least, where cores have one scratchpad; the one that keeps nothing; the largest; the first by
        (m, n, k, split).
        """
        if self.figures.scratchpad > 0:
            loads: cython.double = self.near_elements(one)
            rival: cython.double = self.near_elements(other)
            if loads != rival:
                return loads < rival
            if self.keeps[one] != self.keeps[other]:
                return self.keeps[one] < self.keeps[other]
        area: cython.longlong = self.sides[one * 4] * self.sides[one * 4 + 1]
        against: cython.longlong = self.sides[other * 4] * self.sides[other * 4 + 1]
        if area != against:
            return area > against
        place: cython.longlong
        for place in range(4):
            if self.sides[one * 4 + place] != self.sides[other * 4 + place]:
                return self.sides[one * 4 + place] < self.sides[other * 4 + place]
        return False

    @cython.cfunc
    def near_elements(self, index: cython.longlong) -> cython.double:
        """Operand elements that all blocks of tile `index` load."""
        m: cython.longlong = self.sides[index * 4]
        n: cython.longlong = self.sides[index * 4 + 1]
        a: cython.longlong = self.near_passes(m, n, self.keeps[index], KEEP_A)
        b: cython.longlong = self.near_passes(m, n, self.keeps[index], KEEP_B)
        return float(self.operand_a) * float(a) + float(self.operand_b) * float(b)
