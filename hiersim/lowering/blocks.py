"""A contraction cut into blocks and steps: the time of a step, and the bytes that each farther tier supplies.

What a shared cache saves inside the kernel follows from its capacity: an operand panel that is used again is read again
from the next tier when more bytes than the cache holds were touched in between, and waves are grouped so that as much
as fits is used again. The tile does not depend on a cache's capacity, and a larger group never reads more: a larger
cache never moves more.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `blocks.pxd` declares the fields and what other compiled modules use.
"""

from __future__ import annotations

import cython

from hiersim.model.operators import Kind
from hiersim.units import TICKS_PER_SECOND
from hiersim.units import UNLIMITED as NO_LIMIT

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.exact import ceil_share3, floor_share, product, total
    from cython.cimports.hiersim.lowering.rounding import ceil_div, padded_to
    from cython.cimports.hiersim.lowering.systolic import Arrays
    from cython.cimports.hiersim.lowering.work import Work
    from cython.cimports.libc.math import sqrt
else:
    from math import sqrt

    from hiersim.columns import column
    from hiersim.exact import ceil_share3, floor_share, product, total
    from hiersim.lowering.rounding import ceil_div, padded_to
    from hiersim.lowering.systolic import Arrays
    from hiersim.lowering.work import Work

ACCUMULATOR_BYTES = 4
KEPT_A, KEPT_B = 1, 2
"""Which operand's panel stays in the cores' memory from block to block; 0: none."""
WIDEST = 16
"""Bytes of the widest access of a core, asynchronous copies included: PTX ISA, `cp.async` and `ld.global.v4`."""
SPLIT_STEPS = 4
"""A block keeps at least this many inner steps when its inner dimension is split."""

WIDE = cython.declare(cython.longlong, WIDEST)
SUM_BYTES = cython.declare(cython.longlong, ACCUMULATOR_BYTES)
RESIDENTS = cython.declare(cython.longlong, 16)
"""A core runs at most this many blocks at a time: 16 to 32 by generation, CUDA C++ Programming Guide, table of
technical specifications."""
UNLIMITED = cython.declare(cython.longlong, NO_LIMIT)
SECOND = cython.declare(cython.longlong, TICKS_PER_SECOND)
ATTENTION = cython.declare(cython.longlong, int(Kind.ATTENTION))


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
def groups(bands: cython.longlong, band: cython.longlong, room: cython.longlong) -> cython.longlong:
    """How many groups `bands` bands of `band` bytes make when `room` bytes hold one group; a band each if none fits."""
    if band <= 0:
        return 1
    return ceil_div(bands, max(1, min(bands, room // band)))


@cython.cclass
class Blocks:
    """The shape of a contraction: blocks and steps of the class that `work` looks at. `Cutter` finds it.

    Bytes are of the whole kernel. `unit` and `core_rate` (FLOP/s of one core) say where it runs; `inner` is the length
    of the inner dimension of one block, `step_size` that of a step (the last may be shorter), `padded` its granule on
    the unit; `flops_per_inner` are the FLOPs that one core spends per element of inner length, padding included, or
    per cycle where the unit is systolic, on a block of `block_m` × `block_n`; `useful_ticks` those of all cores for the
    useful FLOPs alone. `step_bytes` are loaded by one core per step, beside `kept_bytes` that stay from block to block;
    `near_loads` and `far_loads` (levels,) are the operands', `extra_near` and `extra_far` what the epilogue reads (bias
    and residual). `partial_bytes` are partial sums stored by a split inner dimension; where a second launch adds them
    up, `second` are the ticks from the last block until it has them; `inner_vector` the ticks of one
    core for the vector work inside the steps (softmax), `padded_vector` those that it takes when rows and steps are
    filled up; `stages` steps of a block are under way at a time, 0 as the machine has them. Blocks that are `paged`
    find their keys by a table. Where products are blocked for the nearest shared tier, `held_rows` × `held_columns`
    blocks of the result take the place of a near-square wave; with more `panels` than one, parts of the inner dimension
    that run one after the other, their sums wait there in between, which needs `held_room` bytes of that tier, and each
    panel of a block counts as a block.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.figures = work.figures
        self.classes = work.classes
        self.arrays = work.figures.arrays
        self.systolic = self.asynchronous = self.exposed = False
        self.fill = 0
        self.width, self.access_rate = WIDE, 0
        self.block_m = self.block_n = self.head = 0
        self.far_loads, self.extra_far = column(work.levels), column(work.levels)
        self.batch = self.m = self.n = self.k = self.element = self.dtype = 0
        self.operand_a = self.operand_b = 0
        self.tile_m = self.tile_n = self.tile_k = self.split = 0
        self.read_a = self.read_b = self.passes_a = self.passes_b = 0
        self.kept = self.kept_bytes = self.near_a = self.near_b = 0
        self.panels, self.held_rows, self.held_columns, self.held_room = 1, 0, 0, 0
        self.kv_in_use = self.kv_again = 0
        self.unit = self.core_rate = self.useful_ticks = self.flops_per_inner = self.padded = 0
        self.longest_inner, self.in_turn, self.paged = 0, False, False
        self.stages = self.padded_vector = self.second = 0
        self.blocks = self.steps = self.inner = self.step_size = self.step_bytes = 0
        self.near_loads = self.extra_near = self.partial_bytes = self.inner_vector = 0

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
    @cython.exceptval(check=False)
    def narrow_accesses(self, m: cython.longlong, n: cython.longlong) -> cython.longlong:
        """Accesses that bring in a block's operands per element of the inner dimension; 0 where they set no pace."""
        if self.access_rate == 0:
            return 0
        return ceil_div((min(m, self.m) + min(n, self.n)) * self.element, self.width)

    @cython.cfunc
    @cython.exceptval(check=False)
    def residents(self, m: cython.longlong, n: cython.longlong) -> cython.longlong:
        """Blocks of m × n whose sums fit a core's registers together: while one fills, the others work."""
        return max(1, min(RESIDENTS, self.figures.accumulators // (m * n * SUM_BYTES)))

    @cython.cfunc
    @cython.exceptval(check=False)
    def block_side(self, tile: cython.longlong, extent: cython.longlong, side: cython.longlong) -> cython.longlong:
        """Side of a block on the unit: padded to the native one, and on systolic arrays no longer than the extent."""
        native: cython.longlong = self.figures.native(self.dtype, side)
        return padded_to(min(tile, extent) if self.systolic else tile, native)

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
        """Operand bytes of the contraction at hand that are read again from beyond a cache of `capacity` bytes.

        And sums that a cache without room for them could not keep from panel to panel.
        """
        if self.classes.type_kind[self.work.anchor] == ATTENTION:
            again: cython.bint = self.kv_in_use > capacity and self.work.read_total > 0
            return self.kv_again if again else 0
        self.passes(capacity)
        a: cython.longlong = product(self.passes_a - 1, self.work.read_size(self.read_a))
        both: cython.longlong = total(a, product(self.passes_b - 1, self.work.read_size(self.read_b)))
        return total(both, self.partial_bytes) if self.panels > 1 and capacity < self.held_room else both

    @cython.cfunc
    def passes(self, capacity: cython.longlong) -> cython.longlong:
        """How often each operand is read from beyond a cache of `capacity` bytes.

        A wave is a near-square rectangle of blocks. Waves go through groups of bands of rows, all bands of a group
        for one band of columns and then for the next (or the other way round, whichever moves less): the group's
        panels stay in the cache with one band of the other operand, which is read once per group. A group is as large
        as the cache allows; where not even one fits with it, every wave reads its own. Sums that wait in the cache take
        room from the panels.
        """
        cores: cython.longlong = self.figures.cores
        rows: cython.longlong = ceil_div(self.m, self.tile_m)
        columns: cython.longlong = ceil_div(self.n, self.tile_n)
        high: cython.longlong = max(1, min(rows, root(max(1, cores * self.tile_n // self.tile_m))))
        wide: cython.longlong = max(1, min(columns, ceil_div(cores, high)))
        high = max(1, min(rows, ceil_div(cores, wide)))
        if self.held_rows > 0 and capacity >= self.held_room:
            high, wide = self.held_rows, self.held_columns
            if self.panels > 1:
                capacity -= high * wide * self.tile_m * self.tile_n * SUM_BYTES
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
