"""Shapes of contractions: which tile, how many blocks and steps, and the bytes that each tier sees.

The tile of a matrix product is the one with the least time on this machine among those that fit the cores' memory, so
its size follows the SRAM: near-tier traffic is K·(M·N/BN + N·M/BM) elements. Cores with registers and a scratchpad
choose among powers of two of the native shape, as libraries do for GPUs; cores with one scratchpad among even cuts of
the extents, with accumulators and operands sharing it. What a shared cache saves inside the kernel follows from its
capacity: an operand panel that is used again is read again from the next tier when more bytes than the cache holds
were touched in between, and waves are grouped so that as much as fits is used again. The tile does not depend on a
cache's capacity, and a larger group never reads more: a larger cache never moves more.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `contraction.pxd` declares the fields and what other compiled modules use.
"""

from __future__ import annotations

import cython
import numpy as np

from hiersim.lowering.stages import column, longer
from hiersim.model.operators import Kind
from hiersim.units import TICKS_PER_SECOND
from hiersim.units import UNLIMITED as NO_LIMIT

if cython.compiled:
    from cython.cimports.hiersim.exact import ceil_share, ceil_share3, floor_share, product, total
    from cython.cimports.hiersim.lowering.stages import Figures
    from cython.cimports.hiersim.lowering.systolic import Arrays
    from cython.cimports.hiersim.lowering.work import KernelClasses, Work
    from cython.cimports.libc.math import sqrt
else:
    from math import sqrt

    from hiersim.exact import ceil_share, ceil_share3, floor_share, product, total
    from hiersim.lowering.stages import Figures
    from hiersim.lowering.systolic import Arrays
    from hiersim.lowering.work import KernelClasses, Work

UNLIMITED = cython.declare(cython.longlong, NO_LIMIT)
SECOND = cython.declare(cython.longlong, TICKS_PER_SECOND)
CONV = cython.declare(cython.longlong, int(Kind.CONV))
ATTENTION = cython.declare(cython.longlong, int(Kind.ATTENTION))
DIMS = cython.declare(cython.longlong, 7)
"""Columns of `KernelClasses.type_dims`."""

ACCUMULATOR_BYTES = cython.declare(cython.longlong, 4)
INNER_TILES = cython.declare(cython.longlong, 8)
"""A step along the inner dimension is at most this many native tiles."""
QUERY_BLOCK = cython.declare(cython.longlong, 128)
KEY_BLOCK = cython.declare(cython.longlong, 128)
LEAST_KEY_BLOCK = cython.declare(cython.longlong, 16)
SPLIT_STEPS = cython.declare(cython.longlong, 4)
"""A block keeps at least this many inner steps when its inner dimension is split."""
MOST_DOUBLINGS = cython.declare(cython.longlong, 4096)
"""A side of a tile is at most this many native ones."""
LONGEST_STREAM = cython.declare(cython.longlong, 2**24)
"""… or this long on a systolic unit, where a long stream hides fill and drain."""
TIE = cython.declare(cython.double, 1.0 + 1e-9)
"""Tiles whose estimated times differ by less are equally good: estimates are IEEE doubles, and machines that differ by
a common factor of all rates must choose the same tile."""


@cython.cfunc
def ceil_div(a: cython.longlong, b: cython.longlong) -> cython.longlong:
    """a ÷ b, rounded up; a + b below 2^63."""
    return (a + b - 1) // b


@cython.cfunc
def padded_to(length: cython.longlong, native: cython.longlong) -> cython.longlong:
    """The next multiple of `native`."""
    return (length + native - 1) // native * native


@cython.cfunc
def pow2_at_least(value: cython.longlong) -> cython.longlong:
    """The first power of two that is no smaller; value at most 2^62."""
    power: cython.longlong = 1
    while power < value:
        power *= 2
    return power


@cython.cfunc
def root(value: cython.longlong) -> cython.longlong:
    """Square root, rounded down; value below 2^60."""
    result: cython.longlong = cython.cast(cython.longlong, sqrt(float(value)))
    while result * result > value:
        result -= 1
    while (result + 1) * (result + 1) <= value:
        result += 1
    return result


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


@cython.cfunc
def groups(bands: cython.longlong, band: cython.longlong, room: cython.longlong) -> cython.longlong:
    """How many groups `bands` bands of `band` bytes make when `room` bytes hold one group; a band each if none fits."""
    if band <= 0:
        return 1
    return ceil_div(bands, max(1, min(bands, room // band)))


@cython.cclass
class Cutter:
    """Cuts the contraction of the class that `work` looks at into blocks and steps; the fields are the shape.

    Bytes are of the whole kernel. `unit` and `core_rate` (FLOP/s of one core) say where it runs; `inner` is the length
    of the inner dimension of one block, `step_size` that of a step (the last may be shorter), `padded` its granule on
    the unit; `flops_per_inner` are the FLOPs that one core spends per element of inner length, padding included, or
    per cycle where the unit is systolic, on a block of `block_m` × `block_n`; `useful_ticks` those of all cores for the
    useful FLOPs alone. `step_bytes` are loaded by one core per step; `near_loads` and `far_loads` (levels,) are the
    operands', `extra_near` and `extra_far` what the epilogue reads (bias, residual). `partial_bytes` are partial sums
    stored by a split inner dimension, `inner_vector` the ticks of one core for the vector work inside the steps
    (softmax).
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.figures = work.figures
        self.classes = work.classes
        self.arrays = work.figures.arrays
        self.systolic = False
        self.block_m = self.block_n = self.head = 0
        self.far_loads, self.extra_far = column(work.levels), column(work.levels)
        self.chosen = column(work.classes.types * 4)
        self.batch = self.m = self.n = self.k = self.element = self.dtype = 0
        self.operand_a = self.operand_b = self.demand = 0
        self.tile_m = self.tile_n = self.tile_k = self.split = 0
        self.read_a = self.read_b = self.passes_a = self.passes_b = self.side = self.key_block = 0
        self.kv_in_use = self.kv_again = 0
        self.rooms = 64
        self.sides = column(self.rooms * 4)
        self.seconds = np.zeros(self.rooms) if cython.compiled else [0.0] * self.rooms

    @cython.cfunc
    def cut(self) -> cython.longlong:
        """Cut the anchor of `work`."""
        level: cython.longlong
        for level in range(self.work.levels):
            self.far_loads[level] = self.extra_far[level] = 0
        self.partial_bytes = self.inner_vector = 0
        self.dtype = self.classes.type_dtype[self.work.anchor]
        self.element = self.classes.type_element[self.work.anchor]
        self.unit = self.figures.unit(self.dtype)
        self.systolic = self.arrays.rows > 0 and self.unit == self.figures.matrix_unit
        rate: cython.longlong = self.figures.matrix_rate(self.dtype)
        self.core_rate = rate if rate >= UNLIMITED else max(1, rate // self.figures.cores)
        self.measure_demand(self.dtype)
        if self.classes.type_kind[self.work.anchor] == ATTENTION:
            return self.cut_attention()
        return self.cut_product()

    @cython.cfunc
    def step_ticks(self, length: cython.longlong, ends: cython.bint, last: cython.bint) -> cython.longlong:
        """Ticks of one step of that inner length on every active core; it may end a block, and be the kernel's last."""
        if self.core_rate >= UNLIMITED or length <= 0:
            return 0
        amount: cython.longlong = padded_to(length, self.padded)
        if self.systolic:
            amount = self.cycles(amount, ends, last)
        return max(1, ceil_share3(self.flops_per_inner, amount, SECOND, self.core_rate))

    @cython.cfunc
    def cycles(self, length: cython.longlong, ends: cython.bint, last: cython.bint) -> cython.longlong:
        """Cycles of such a step on systolic arrays; attention has two products: by the keys, and by the values."""
        arrays: Arrays = self.arrays
        count: cython.longlong
        if self.head > 0:
            count = total(
                arrays.cycles(self.block_m, length, self.head), arrays.cycles(self.block_m, self.head, length)
            )
        else:
            count = arrays.step(self.block_m, self.block_n, length)
            if ends:
                count = total(count, arrays.end(self.block_m, self.block_n, padded_to(self.inner, self.padded)))
        return total(count, arrays.once()) if last else count

    @cython.cfunc
    def block_side(self, tile: cython.longlong, extent: cython.longlong, side: cython.longlong) -> cython.longlong:
        """Side of a block on the unit: padded to the native one, and on systolic arrays no longer than the extent."""
        native: cython.longlong = self.figures.native(self.dtype, side)
        return padded_to(min(tile, extent) if self.systolic else tile, native)

    @cython.cfunc
    def measure_demand(self, dtype: cython.longlong) -> cython.longlong:
        """FLOPs that the kernel's contractions amount to at the anchor's rate, and their ticks on all cores."""
        classes: KernelClasses = self.classes
        rate: cython.longlong = self.figures.matrix_rate(dtype)
        shape: cython.longlong = self.work.shape
        place: cython.longlong
        self.demand = self.useful_ticks = 0
        for place in range(classes.shape_type_ptr[shape], classes.shape_type_ptr[shape + 1]):
            kind: cython.longlong = classes.shape_type[place]
            if not self.work.is_contraction(kind):
                continue
            executed: cython.longlong = classes.type_matrix[kind] - classes.type_masked[kind]
            own: cython.longlong = self.figures.matrix_rate(classes.type_dtype[kind])
            if own < UNLIMITED:
                self.useful_ticks = total(self.useful_ticks, floor_share(executed, SECOND, own))
                executed = ceil_share(executed, rate, own)
            self.demand = total(self.demand, executed)
        return 0

    # --- matrix products and convolutions

    @cython.cfunc
    def take_product(self, type_: cython.longlong) -> cython.longlong:
        """The batched matrix product that an operator type is."""
        first: cython.longlong = type_ * DIMS
        self.batch = max(1, self.classes.type_dims[first])
        self.m = max(1, self.classes.type_dims[first + 1])
        self.n = max(1, self.classes.type_dims[first + 2])
        self.k = max(1, self.classes.type_dims[first + 3])
        self.operand_a = self.batch * self.m * self.k
        self.operand_b = self.batch * self.k * self.n
        return 0

    @cython.cfunc
    def cut_product(self) -> cython.longlong:
        """Blocks in waves, steps along the inner dimension."""
        anchor: cython.longlong = self.work.anchor
        self.take_product(anchor)
        self.find_operands(self.classes.type_kind[anchor] == CONV)
        self.turn()
        self.choose()
        rows: cython.longlong = ceil_div(self.m, self.tile_m)
        columns: cython.longlong = ceil_div(self.n, self.tile_n)
        self.inner = ceil_div(self.k, self.split)
        self.blocks = product(self.batch * rows * columns, self.split)
        self.steps = ceil_div(self.inner, self.tile_k)
        self.step_size = self.tile_k
        self.padded = self.figures.native(self.dtype, 2)
        self.block_m = self.block_side(self.tile_m, self.m, 0)
        self.block_n = self.block_side(self.tile_n, self.n, 1)
        self.head = 0
        macs: cython.longlong = self.arrays.macs() if self.systolic else self.block_m * self.block_n
        self.flops_per_inner = ceil_share(macs, self.demand, self.batch * self.m * self.n * self.k)
        self.step_bytes = (self.tile_m + self.tile_n) * self.tile_k * self.element
        near_a: cython.longlong = product(self.work.stored(self.read_a, self.operand_a, self.element), columns)
        near_b: cython.longlong = product(self.work.stored(self.read_b, self.operand_b, self.element), rows)
        near_a = max(near_a, self.work.read_size(self.read_a))
        self.near_loads = total(near_a, max(near_b, self.work.read_size(self.read_b)))
        self.partial_bytes = self.partials()
        self.count_extras()
        return self.count_far_loads()

    @cython.cfunc
    def count_extras(self) -> cython.longlong:
        """Reads that are neither operand, and partial sums that are read again."""
        self.extra_near = self.partial_bytes
        index: cython.longlong
        level: cython.longlong
        for index in range(self.work.reads):
            if index != self.read_a and index != self.read_b:
                self.extra_near = total(self.extra_near, self.work.read_size(index))
                for level in range(self.work.levels):
                    self.extra_far[level] += self.work.far(index, level)
        return 0

    @cython.cfunc
    def turn(self) -> cython.longlong:
        """Compute the transpose where that gives the unit's longer side the longer extent, as libraries do.

        Not on systolic arrays: their dataflow says which operand stays.
        """
        if self.systolic:
            return 0
        native_m: cython.longlong = self.figures.native(self.dtype, 0)
        native_n: cython.longlong = self.figures.native(self.dtype, 1)
        if (native_m > native_n and self.m < self.n) or (native_m < native_n and self.m > self.n):
            self.m, self.n = self.n, self.m
            self.operand_a, self.operand_b = self.operand_b, self.operand_a
            self.read_a, self.read_b = self.read_b, self.read_a
        return 0

    @cython.cfunc
    def partials(self) -> cython.longlong:
        """Bytes of partial sums that a split inner dimension stores and reads once."""
        if self.split <= 1:
            return 0
        return product(product(self.batch * self.m * self.n, ACCUMULATOR_BYTES), self.split)

    @cython.cfunc
    def nearest_read(self, size: cython.longlong, taken: cython.longlong) -> cython.longlong:
        """The read whose size is nearest `size`, the first of equals, other than `taken`; -1 where there is none."""
        best: cython.longlong = -1
        least: cython.longlong = 0
        index: cython.longlong
        for index in range(self.work.reads):
            off: cython.longlong = abs(self.work.read_size(index) - size)
            if index != taken and (best < 0 or off < least):
                best, least = index, off
        return best

    @cython.cfunc
    def find_operands(self, convolution: cython.bint) -> cython.longlong:
        """Which reads are the two operands: those whose sizes are nearest the expected ones.

        The input of a convolution is smaller than its implicit matrix: its operands are the two largest reads, of
        which the one nearest the expected size of the weight is the weight.
        """
        weight: cython.longlong = product(self.operand_b, self.element)
        if not convolution:
            self.read_a = self.nearest_read(product(self.operand_a, self.element), -1)
            self.read_b = self.nearest_read(weight, self.read_a)
            return 0
        first: cython.longlong = self.nearest_read(UNLIMITED, -1)
        second: cython.longlong = self.nearest_read(UNLIMITED, first)
        off: cython.longlong = abs(self.work.read_size(first) - weight)
        self.read_a, self.read_b = second, first
        if second >= 0:
            other: cython.longlong = abs(self.work.read_size(second) - weight)
            if other < off or (other == off and second > first):
                self.read_a, self.read_b = first, second
        return 0

    @cython.cfunc
    def count_far_loads(self) -> cython.longlong:
        """Bytes that each farther tier supplies for the two operands, re-reads included."""
        level: cython.longlong
        for level in range(self.work.levels):
            loads: cython.longlong = self.again_from(level)
            if self.read_a >= 0:
                loads = total(loads, self.work.far(self.read_a, level))
            if self.read_b >= 0:
                loads = total(loads, self.work.far(self.read_b, level))
            behind: cython.bint = level > 0 and not self.classes.beside
            self.far_loads[level] = min(loads, self.far_loads[level - 1]) if behind else loads
        return 0

    @cython.cfunc
    def again_from(self, level: cython.longlong) -> cython.longlong:
        """Operand bytes that are read again from far tier `level`; where tiers lie beside each other, only its own."""
        capacity: cython.longlong = self.figures.capacity(level)
        if not self.classes.beside:
            return self.again(capacity)
        if self.classes.type_kind[self.work.anchor] == ATTENTION:
            return self.work.again_of(self.again(capacity), level)
        self.passes(capacity)
        a: cython.longlong = product(self.passes_a - 1, self.work.again(self.read_a, level))
        return total(a, product(self.passes_b - 1, self.work.again(self.read_b, level)))

    @cython.cfunc
    def again(self, capacity: cython.longlong) -> cython.longlong:
        """Operand bytes of the contraction at hand that are read again from beyond a cache of `capacity` bytes."""
        if self.classes.type_kind[self.work.anchor] == ATTENTION:
            return self.kv_again if self.kv_in_use > capacity else 0
        self.passes(capacity)
        a: cython.longlong = product(self.passes_a - 1, self.work.read_size(self.read_a))
        return total(a, product(self.passes_b - 1, self.work.read_size(self.read_b)))

    @cython.cfunc
    def passes(self, capacity: cython.longlong) -> cython.longlong:
        """How often each operand is read from beyond a cache of `capacity` bytes.

        A wave is a near-square rectangle of blocks. Waves go through groups of bands of rows, all bands of a group
        for one band of columns and then for the next (or the other way round, whichever moves less): the group's
        panels stay in the cache with one band of the other operand, which is read once per group. A group is as large
        as the cache allows; where not even one fits with it, every wave reads its own.
        """
        cores: cython.longlong = self.figures.cores
        rows: cython.longlong = ceil_div(self.m, self.tile_m)
        columns: cython.longlong = ceil_div(self.n, self.tile_n)
        high: cython.longlong = max(1, min(rows, root(max(1, cores * self.tile_n // self.tile_m))))
        wide: cython.longlong = max(1, min(columns, ceil_div(cores, high)))
        high = max(1, min(rows, ceil_div(cores, wide)))
        a: cython.longlong = self.work.read_size(self.read_a) // self.batch
        b: cython.longlong = self.work.read_size(self.read_b) // self.batch
        band_a: cython.longlong = floor_share(a, min(self.m, high * self.tile_m), self.m)
        band_b: cython.longlong = floor_share(b, min(self.n, wide * self.tile_n), self.n)
        across: cython.longlong = ceil_div(columns, wide)
        down: cython.longlong = ceil_div(rows, high)
        wave_a: cython.longlong = 1 if band_a + band_b <= capacity else across
        wave_b: cython.longlong = 1 if b + band_a <= capacity else groups(down, band_a, capacity - band_b)
        column_a: cython.longlong = 1 if a + band_b <= capacity else groups(across, band_b, capacity - band_a)
        column_b: cython.longlong = 1 if band_a + band_b <= capacity else down
        by_rows: cython.longlong = total(product(wave_a, a), product(wave_b, b))
        by_columns: cython.longlong = total(product(column_a, a), product(column_b, b))
        self.passes_a, self.passes_b = wave_a, wave_b
        if by_columns < by_rows:
            self.passes_a, self.passes_b = column_a, column_b
        return 0

    # --- the choice of a tile

    @cython.cfunc
    def choose(self) -> cython.longlong:
        """The tile of the product at hand; once per operator type."""
        first: cython.longlong = self.work.anchor * 4
        if self.chosen[first] == 0:
            self.list_candidates()
            self.take_best()
            self.chosen[first], self.chosen[first + 1] = self.tile_m, self.tile_n
            self.chosen[first + 2], self.chosen[first + 3] = self.tile_k, self.split
        self.tile_m, self.tile_n = self.chosen[first], self.chosen[first + 1]
        self.tile_k, self.split = self.chosen[first + 2], self.chosen[first + 3]
        return 0

    @cython.cfunc
    def list_candidates(self) -> cython.longlong:
        """Sides native, 2·native, … up to the first that covers the extent, where accumulators and operands fit."""
        figures: Figures = self.figures
        if figures.scratchpad > 0:
            return self.list_even_candidates()
        native_m: cython.longlong = figures.native(self.dtype, 0)
        native_n: cython.longlong = figures.native(self.dtype, 1)
        self.candidates = 0
        m: cython.longlong = native_m
        while True:
            n: cython.longlong = native_n
            while m * n * ACCUMULATOR_BYTES <= figures.accumulators:
                k: cython.longlong = self.inner_step(figures.staging // (figures.depth * (m + n) * self.element))
                if k > 0:
                    self.add_with_split(m, n, k)
                if n >= self.n or n >= self.longest(native_n):
                    break
                n *= 2
            if m >= self.m or m >= self.longest(native_m):
                break
            m *= 2
        return self.add_least()

    @cython.cfunc
    def list_even_candidates(self) -> cython.longlong:
        """Even cuts of both extents, where accumulators and the operands of all buffers fit one scratchpad together."""
        figures: Figures = self.figures
        native_m: cython.longlong = figures.native(self.dtype, 0)
        native_n: cython.longlong = figures.native(self.dtype, 1)
        self.candidates = 0
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
                if left <= 0 or n >= self.n:
                    break
                wide = next_count(wide)
            if m >= self.m:
                break
            tall = next_count(tall)
        return self.add_least()

    @cython.cfunc
    def add_with_split(self, m: cython.longlong, n: cython.longlong, k: cython.longlong) -> cython.longlong:
        """Note a tile, and the same with its inner dimension split where blocks are fewer than cores."""
        blocks: cython.longlong = self.batch * ceil_div(self.m, m) * ceil_div(self.n, n)
        self.add_candidate(m, n, k, 1)
        split: cython.longlong = min(self.figures.cores // blocks, ceil_div(self.k, k) // SPLIT_STEPS)
        if split > 1:
            self.add_candidate(m, n, k, split)
        return 0

    @cython.cfunc
    def add_least(self) -> cython.longlong:
        """Where nothing fits, the native tile."""
        if self.candidates == 0:
            figures: Figures = self.figures
            m: cython.longlong = figures.native(self.dtype, 0)
            self.add_candidate(m, figures.native(self.dtype, 1), figures.native(self.dtype, 2), 1)
        return 0

    @cython.cfunc
    def longest(self, native: cython.longlong) -> cython.longlong:
        """No side of a tile is doubled from here on."""
        return max(native * MOST_DOUBLINGS, LONGEST_STREAM if self.systolic else 0)

    @cython.cfunc
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
    def add_candidate(
        self, m: cython.longlong, n: cython.longlong, k: cython.longlong, split: cython.longlong
    ) -> cython.longlong:
        """Note a tile and its estimated time."""
        if self.candidates == self.rooms:
            self.rooms *= 2
            self.sides = longer(self.sides, self.rooms * 4)
            grown = list(self.seconds) + [0.0] * self.candidates
            self.seconds = np.array(grown) if cython.compiled else grown
        first: cython.longlong = self.candidates * 4
        self.sides[first], self.sides[first + 1] = m, n
        self.sides[first + 2], self.sides[first + 3] = k, split
        self.seconds[self.candidates] = self.estimate(m, n, k, split)
        self.candidates += 1
        return 0

    @cython.cfunc
    def take_best(self) -> cython.longlong:
        """Of all tiles within `TIE` of the least time the best one by `is_better`."""
        index: cython.longlong
        best: cython.longlong = -1
        least: cython.double = self.seconds[0]
        for index in range(self.candidates):
            least = min(least, self.seconds[index])
        for index in range(self.candidates):
            if self.seconds[index] <= least * TIE and (best < 0 or self.is_better(index * 4, best * 4)):
                best = index
        self.tile_m, self.tile_n = self.sides[best * 4], self.sides[best * 4 + 1]
        self.tile_k, self.split = self.sides[best * 4 + 2], self.sides[best * 4 + 3]
        return 0

    @cython.cfunc
    def is_better(self, one: cython.longlong, other: cython.longlong) -> cython.bint:
        """Whether the tile whose sides begin at `one` goes before the one at `other`.

        The one that loads least, where cores have one scratchpad; the largest; the first by (m, n, k, split).
        """
        if self.figures.scratchpad > 0:
            loads: cython.double = self.near_elements(one)
            rival: cython.double = self.near_elements(other)
            if loads != rival:
                return loads < rival
        area: cython.longlong = self.sides[one] * self.sides[one + 1]
        against: cython.longlong = self.sides[other] * self.sides[other + 1]
        if area != against:
            return area > against
        place: cython.longlong
        for place in range(4):
            if self.sides[one + place] != self.sides[other + place]:
                return self.sides[one + place] < self.sides[other + place]
        return False

    @cython.cfunc
    def near_elements(self, place: cython.longlong) -> cython.double:
        """Operand elements that all blocks of the tile whose sides begin at `place` load."""
        rows: cython.longlong = ceil_div(self.m, self.sides[place])
        columns: cython.longlong = ceil_div(self.n, self.sides[place + 1])
        return float(self.operand_a) * float(columns) + float(self.operand_b) * float(rows)

    @cython.cfunc
    def estimate(
        self, m: cython.longlong, n: cython.longlong, k: cython.longlong, split: cython.longlong
    ) -> cython.double:
        """Seconds by closed form, times the cores: waves × the slower of arithmetic and near loads, and partial sums.

        A product too small for the machine also waits for its largest operand from the last tier.
        """
        figures: Figures = self.figures
        cores: cython.double = float(figures.cores)
        rate: cython.longlong = figures.matrix_rate(self.dtype)
        blocks: cython.longlong = self.batch * ceil_div(self.m, m) * ceil_div(self.n, n) * split
        inner: cython.double = float(padded_to(ceil_div(self.k, split), figures.native(self.dtype, 2)))
        active: cython.longlong = min(blocks, figures.cores)
        per_block: cython.double = 0.0
        if rate < UNLIMITED:
            side_m: cython.longlong = self.block_side(m, self.m, 0)
            side_n: cython.longlong = self.block_side(n, self.n, 1)
            macs: cython.double = float(side_m * side_n) * inner
            if self.systolic:
                length: cython.longlong = padded_to(ceil_div(self.k, split), figures.native(self.dtype, 2))
                macs = float(self.arrays.macs()) * float(self.arrays.block(side_m, side_n, length, k))
            per_block = 2.0 * macs * cores / float(rate)
        loaded: cython.double = float(min(m, self.m) + min(n, self.n)) * inner * float(self.element) * float(active)
        per_block = max(per_block, figures.read_time(0, loaded, float(active)))
        seconds: cython.double = float(ceil_div(blocks, figures.cores)) * per_block
        if active * 2 < figures.cores:
            largest: cython.double = float(self.batch * self.k * max(self.m, self.n)) * float(self.element)
            far: cython.double = figures.read_time(figures.levels - 1, largest, float(active))
            seconds = max(seconds, far * cores / float(active))
        if split > 1:
            sums: cython.double = float(self.batch * self.m * self.n) * float(2 * ACCUMULATOR_BYTES * split)
            seconds += figures.read_time(0, sums, float(active))
        return seconds

    # --- attention

    @cython.cfunc
    def cut_attention(self) -> cython.longlong:
        """Flash attention: blocks of queries, a loop over blocks of keys; nothing of size queries × keys is stored.

        Heads that share keys (grouped queries) are one block's rows. Dao et al., FlashAttention-2, 2023.
        """
        anchor: cython.longlong = self.work.anchor
        first: cython.longlong = anchor * DIMS
        cores: cython.longlong = self.figures.cores
        kv_heads: cython.longlong = self.classes.type_dims[first + 2]
        groups: cython.longlong = max(1, self.classes.type_dims[first + 1] // max(1, kv_heads))
        pairs: cython.longlong = max(1, product(self.classes.type_dims[first], kv_heads))
        rows: cython.longlong = max(1, product(self.classes.type_dims[first + 3], groups))
        keys: cython.longlong = max(1, self.classes.type_dims[first + 4])
        head: cython.longlong = max(1, self.classes.type_dims[first + 5])
        self.attention_block(rows, keys, head)
        row_blocks: cython.longlong = ceil_div(rows, self.side)
        blocks: cython.longlong = product(pairs, row_blocks)
        flops: cython.longlong = self.classes.type_matrix[anchor]
        executed: cython.longlong = flops - self.classes.type_masked[anchor]
        inner: cython.longlong = max(1, ceil_share(keys, executed, max(flops, 1)))
        split: cython.longlong = max(1, min(cores // blocks, ceil_div(inner, self.key_block) // SPLIT_STEPS))
        self.inner = ceil_div(inner, split)
        self.tile_m, self.tile_n, self.tile_k, self.split = self.side, head, self.key_block, split
        demand: cython.longlong = ceil_share(flops, self.demand, executed) if executed else flops
        native: cython.longlong = min(self.figures.native(self.dtype, 0), self.figures.native(self.dtype, 1))
        places: cython.longlong = product(product(pairs, rows), keys)
        self.block_m, self.head = min(self.side, rows), head
        if self.systolic:  # two products of rows × keys × head
            self.flops_per_inner = ceil_share(self.arrays.macs(), demand, product(product(2, head), places))
        else:
            self.flops_per_inner = product(ceil_div(demand, places), padded_to(self.block_m, native))
        kv_bytes: cython.longlong = product(2 * self.element, head)
        kv_total: cython.longlong = product(product(pairs, keys), kv_bytes)
        self.blocks = product(blocks, split)
        self.steps = ceil_div(self.inner, self.key_block)
        self.step_size = self.key_block
        self.padded = 1 if self.systolic else self.figures.native(self.dtype, 1)
        self.step_bytes = product(self.key_block, kv_bytes)
        self.near_loads = max(product(product(self.blocks, self.inner), kv_bytes), kv_total)
        if split > 1:
            self.partial_bytes = product(product(product(pairs, rows), head), ACCUMULATOR_BYTES * split)
        self.extra_near = total(max(0, self.work.read_total - kv_total), self.partial_bytes)
        self.inner_vector = min(self.work.vector_core_ticks, self.work.type_vector_ticks[anchor])
        return self.attention_far(kv_total, row_blocks, pairs)

    @cython.cfunc
    def attention_block(self, rows: cython.longlong, keys: cython.longlong, head: cython.longlong) -> cython.longlong:
        """Queries and keys per block: the largest that fit the cores' memory; keys for all systolic arrays."""
        figures: Figures = self.figures
        least: cython.longlong = min(16, figures.native(self.dtype, 0))
        key_block: cython.longlong = KEY_BLOCK
        if self.systolic:
            key_block = pow2_at_least(max(KEY_BLOCK, self.arrays.columns * self.arrays.count))
        while key_block >= LEAST_KEY_BLOCK:
            side: cython.longlong = QUERY_BLOCK
            while side >= least:
                lines: cython.longlong = side + figures.depth * 2 * key_block
                fits: cython.bint = lines <= figures.staging // self.element // head
                if fits and head + key_block <= 2 * figures.accumulators // (side * ACCUMULATOR_BYTES):
                    self.side = max(min(side, pow2_at_least(rows)), 1)
                    self.key_block = min(key_block, pow2_at_least(keys))
                    return 0
                side //= 2
            key_block //= 2
        self.side, self.key_block = min(16, rows), min(16, keys)
        return 0

    @cython.cfunc
    def attention_far(
        self, kv_total: cython.longlong, row_blocks: cython.longlong, pairs: cython.longlong
    ) -> cython.longlong:
        """First-touch misses, and keys and values again for each wave when the cache cannot hold those in use."""
        cores: cython.longlong = self.figures.cores
        self.kv_in_use = floor_share(kv_total, min(pairs, ceil_div(cores, row_blocks)), pairs)
        self.kv_again = product(max(1, row_blocks // cores) - 1, kv_total)
        level: cython.longlong
        index: cython.longlong
        for level in range(self.work.levels):
            loads: cython.longlong = self.again_from(level)
            for index in range(self.work.reads):
                loads = total(loads, self.work.far(index, level))
            self.far_loads[level] = loads
        return 0
