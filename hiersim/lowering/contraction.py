"""Shapes of contractions: matrix products, convolutions and attention become blocks in waves, each a loop over steps.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. One class is built up from module to module: `blocks` (what a shape costs), `tile_estimate`, `tile_choice`,
`windows`, `panels`, `attention_blocks` and this one, each with a `.pxd` that declares its fields and what other
compiled modules use.
"""

from __future__ import annotations

import cython

from hiersim.lowering.attention_blocks import AttentionBlocks
from hiersim.lowering.blocks import ACCUMULATOR_BYTES as SUM_BYTES
from hiersim.lowering.blocks import KEPT_A, KEPT_B, WIDEST
from hiersim.lowering.blocks import SPLIT_STEPS as LEAST_STEPS
from hiersim.lowering.figures import FIXED_UNIT
from hiersim.model.operators import Kind
from hiersim.units import TICKS_PER_SECOND
from hiersim.units import UNLIMITED as NO_LIMIT

if cython.compiled:
    from cython.cimports.hiersim.exact import ceil_share, floor_share, product, total
    from cython.cimports.hiersim.lowering.rounding import ceil_div
    from cython.cimports.hiersim.lowering.tile_estimate import common
    from cython.cimports.hiersim.lowering.work import KernelClasses
    from cython.cimports.libc.math import floor
else:
    from math import floor

    from hiersim.exact import ceil_share, floor_share, product, total
    from hiersim.lowering.rounding import ceil_div
    from hiersim.lowering.tile_estimate import common
    from hiersim.lowering.work import KernelClasses

UNLIMITED = cython.declare(cython.longlong, NO_LIMIT)
SECOND = cython.declare(cython.longlong, TICKS_PER_SECOND)
CONV = cython.declare(cython.longlong, int(Kind.CONV))
ATTENTION = cython.declare(cython.longlong, int(Kind.ATTENTION))
FLASH = cython.declare(cython.longlong, int(Kind.FLASH))
DIMS = cython.declare(cython.longlong, 7)
"""Columns of `KernelClasses.type_dims`."""

FIXED = cython.declare(cython.longlong, FIXED_UNIT)
ACCUMULATOR_BYTES = cython.declare(cython.longlong, SUM_BYTES)
SPLIT_STEPS = cython.declare(cython.longlong, LEAST_STEPS)
KEEP_A = cython.declare(cython.longlong, KEPT_A)
KEEP_B = cython.declare(cython.longlong, KEPT_B)
WIDE = cython.declare(cython.longlong, WIDEST)


@cython.cclass
class Cutter(AttentionBlocks):
    """Cuts the contraction of the class that `work` looks at into blocks and steps, see `Blocks`."""

    @cython.cfunc
    def cut(self) -> cython.longlong:
        """Cut the anchor of `work`."""
        level: cython.longlong
        for level in range(self.work.levels):
            self.far_loads[level] = self.extra_far[level] = 0
        self.partial_bytes = self.inner_vector = self.kept = self.kept_bytes = self.set_up = 0
        self.gathered = self.laid_out = self.direct = self.in_turn = self.paged = False
        self.longest_inner, self.panels, self.held_rows = 0, 1, 0
        self.stages = self.padded_vector = self.second = 0
        self.dtype = self.classes.type_dtype[self.work.anchor]
        self.element = self.classes.type_element[self.work.anchor]
        self.unit = self.figures.unit(self.dtype)
        self.systolic = self.arrays.rows > 0 and self.unit == self.figures.matrix_unit
        rate: cython.longlong = self.figures.matrix_rate(self.dtype)
        self.core_rate = rate if rate >= UNLIMITED else max(1, rate // self.figures.cores)
        self.measure_demand(self.dtype)
        self.exposed, self.asynchronous, self.fill = False, False, 0
        if self.classes.type_kind[self.work.anchor] in (ATTENTION, FLASH):
            return self.cut_attention()
        return self.cut_product()

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
        products: cython.longlong = product(self.batch * self.m * self.n, self.k)
        self.measure_width(self.classes.type_kind[anchor] == CONV)
        if self.classes.type_kind[anchor] == CONV:
            self.plan_convolution()
        on_threads: cython.bint = self.figures.threads > 0 and self.figures.scratchpad == 0 and not self.systolic
        if on_threads and not self.gathered and not self.direct:
            self.set_up = self.figures.prologue
            self.second = self.second_launch()
        on_matrix: cython.bint = self.unit == self.figures.matrix_unit
        self.asynchronous = on_matrix and self.figures.asynchronous > 0 and self.access_rate == 0
        self.exposed = self.figures.scratchpad == 0 and not self.systolic and not self.asynchronous
        self.turn()
        self.choose()
        if self.classes.type_kind[anchor] != CONV:
            self.block_for_shared()
        if self.split == 1:
            self.second = 0
        rows: cython.longlong = ceil_div(self.m, self.tile_m)
        columns: cython.longlong = ceil_div(self.n, self.tile_n)
        self.inner = ceil_div(self.k, self.split * self.panels)
        self.blocks = product(self.batch * rows * columns, self.split * self.panels)
        self.steps = ceil_div(self.inner, self.tile_k)
        self.step_size = self.tile_k
        self.padded = 1 if self.direct else self.figures.native(self.dtype, 2)
        self.block_m = self.block_side(self.tile_m, self.m, 0)
        self.block_n = self.block_side(self.tile_n, self.n, 1)
        self.head = 0
        macs: cython.longlong = self.arrays.macs() if self.systolic else self.block_m * self.block_n
        self.flops_per_inner = ceil_share(macs, self.demand, products)
        accesses: cython.longlong = self.narrow_accesses(self.tile_m, self.tile_n)
        if accesses > 0 and self.core_rate < UNLIMITED:
            loading: cython.longlong = ceil_share(accesses, self.core_rate, self.access_rate)
            self.flops_per_inner = max(self.flops_per_inner, loading)
        self.step_bytes = (self.tile_m + self.tile_n) * self.tile_k * self.element
        self.keep_panel()
        if self.exposed:
            self.fill = self.figures.fill_ticks() // self.residents(self.tile_m, self.tile_n)
        near_a: cython.longlong = product(self.work.stored(self.read_a, self.operand_a, self.element), self.near_a)
        near_b: cython.longlong = product(self.work.stored(self.read_b, self.operand_b, self.element), self.near_b)
        near_a = max(near_a, self.work.read_size(self.read_a))
        self.near_loads = total(near_a, max(near_b, self.work.read_size(self.read_b)))
        if self.laid_out:
            self.near_loads = max(self.near_loads, self.asked())
        self.partial_bytes = self.partials()
        self.count_extras()
        return self.count_far_loads()

    @cython.cfunc
    def second_launch(self) -> cython.longlong:
        """Ticks until a kernel that adds up partial sums has done so: they arrive, it starts, loads and exchanges."""
        waiting: cython.double = (1.0 + self.figures.dependent_load) * float(self.figures.latency(0))
        fixed: cython.longlong = total(self.figures.relaunch, self.figures.exchange)
        return total(fixed, cython.cast(cython.longlong, floor(waiting + 0.5)))

    @cython.cfunc
    def measure_width(self, convolution: cython.bint) -> cython.longlong:
        """Bytes to which all rows of the operands are aligned, at most `WIDE`: rows of k and of n elements.

        Not where a program moves whole tiles, nor for products with a vector, which stream the matrix, nor where a
        compiler pads rows.
        """
        self.width, self.access_rate = WIDE, 0
        self.gathered = self.laid_out = False
        if self.classes.type_padded[self.work.anchor]:
            return 0
        if self.figures.scratchpad > 0 or self.systolic or convolution or self.m == 1 or self.n == 1:
            return 0
        row: cython.longlong = common(self.k * self.element, self.n * self.element)
        self.width = max(1, common(row, WIDE))
        if self.width < WIDE:
            self.access_rate = self.figures.narrow_rate
        return 0

    @cython.cfunc
    def keep_panel(self) -> cython.longlong:
        """What stays in a core from block to block, and how often each operand is read from the nearest shared tier.

        A panel's bytes come in evenly with the blocks that use it.
        """
        side: cython.longlong = self.tile_m if self.kept == KEEP_A else self.tile_n
        self.near_a = self.near_passes(self.tile_m, self.tile_n, self.kept, KEEP_A)
        self.near_b = self.near_passes(self.tile_m, self.tile_n, self.kept, KEEP_B)
        self.kept_bytes = 0
        if self.kept > 0:
            self.kept_bytes = side * self.k * self.element
            self.step_bytes -= side * self.tile_k * self.element
        return 0

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
        """Bytes of partial sums that a split inner dimension, or one in panels, stores and reads once."""
        stored: cython.longlong = self.split if self.split > 1 else self.panels - 1
        return product(product(self.batch * self.m * self.n, ACCUMULATOR_BYTES), stored) if stored > 0 else 0

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
