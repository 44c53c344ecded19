"""Attention in blocks: rows of queries against blocks of keys and values, as libraries and scratchpads cut it.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results.
"""

from __future__ import annotations

import cython

from hiersim.lowering.blocks import ACCUMULATOR_BYTES as SUM_BYTES
from hiersim.lowering.blocks import SPLIT_STEPS as LEAST_STEPS
from hiersim.lowering.figures import FIXED_UNIT
from hiersim.lowering.panels import Panels

if cython.compiled:
    from cython.cimports.hiersim.exact import ceil_share, floor_share, product, total
    from cython.cimports.hiersim.lowering.figures import Figures
    from cython.cimports.hiersim.lowering.rounding import ceil_div, padded_to
    from cython.cimports.hiersim.lowering.work import Work
else:
    from hiersim.exact import ceil_share, floor_share, product, total
    from hiersim.lowering.figures import Figures
    from hiersim.lowering.rounding import ceil_div, padded_to
    from hiersim.lowering.work import Work

DIMS = cython.declare(cython.longlong, 7)
"""Columns of `KernelClasses.type_dims`."""
FIXED = cython.declare(cython.longlong, FIXED_UNIT)
ACCUMULATOR_BYTES = cython.declare(cython.longlong, SUM_BYTES)
SPLIT_STEPS = cython.declare(cython.longlong, LEAST_STEPS)
QUERY_BLOCK = cython.declare(cython.longlong, 128)
KEY_BLOCK = cython.declare(cython.longlong, 128)
SCORE_FLOPS = cython.declare(cython.longlong, 4)
"""Of a score, beside its exponential: scale, maximum, difference, sum."""
STAGES = cython.declare(cython.longlong, 2)
"""Blocks of keys and values that there is room for: Shah et al., FlashAttention-3; Dao, FlashAttention-2, 2023."""
LEAST_KEY_BLOCK = cython.declare(cython.longlong, 16)


@cython.cfunc
def pow2_at_least(value: cython.longlong) -> cython.longlong:
    """The first power of two that is no smaller; value at most 2^62."""
    power: cython.longlong = 1
    while power < value:
        power *= 2
    return power


@cython.cclass
class AttentionBlocks(Panels):
    """Cuts the attention of the class that `work` looks at into blocks and steps, see `Blocks`."""

    def __init__(self, work: Work) -> None:
        Panels.__init__(self, work)
        self.demand = self.side = self.key_block = 0

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
        on_threads: cython.bint = self.figures.threads > 0 and not self.systolic
        self.in_turn = on_threads and self.unit == self.figures.matrix_unit
        self.attention_block(rows, keys, head)
        row_blocks: cython.longlong = ceil_div(rows, self.side)
        blocks: cython.longlong = product(pairs, row_blocks)
        flops: cython.longlong = self.classes.type_matrix[anchor]
        executed: cython.longlong = flops - self.classes.type_masked[anchor]
        inner: cython.longlong = max(1, ceil_share(keys, executed, max(flops, 1)))
        useful: cython.longlong = product(rows, inner)
        longest: cython.longlong = keys
        if self.in_turn:
            longest = padded_to(keys, self.key_block)
            inner = self.whole_blocks(inner, longest, ceil_div(self.side, groups), row_blocks)
        split: cython.longlong = max(1, min(cores // blocks, ceil_div(inner, self.key_block) // SPLIT_STEPS))
        self.inner = ceil_div(inner, split)
        self.longest_inner = ceil_div(longest, split) if on_threads else 0
        self.tile_m, self.tile_n, self.tile_k, self.split = self.side, head, self.key_block, split
        demand: cython.longlong = ceil_share(flops, self.demand, executed) if executed else flops
        native: cython.longlong = min(self.figures.native(self.dtype, 0), self.figures.native(self.dtype, 1))
        places: cython.longlong = product(product(pairs, rows), keys)
        self.block_m, self.head = min(self.side, rows), head
        if self.in_turn:  # a group of warps with products of its own goes without the others
            least: cython.longlong = padded_to(rows, self.figures.native(self.dtype, 0))
            self.block_m = min(self.side, least) if self.figures.asynchronous > 0 else self.side
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
        asked: cython.longlong = min(product(self.blocks, self.inner), product(blocks, keys))
        self.near_loads = max(product(asked, kv_bytes), kv_total)
        if split > 1:
            self.partial_bytes = product(product(product(pairs, rows), head), ACCUMULATOR_BYTES * split)
        self.extra_near = total(max(0, self.work.read_total - kv_total), self.partial_bytes)
        self.inner_vector = min(self.work.vector_core_ticks, self.work.type_vector_ticks[anchor])
        self.padded_vector = self.inner_vector
        if self.in_turn:
            whole: cython.longlong = product(product(row_blocks, self.block_m), product(split, self.inner))
            self.fill_blocks(product(pairs, max(0, whole - useful)))
        return self.attention_far(kv_total, floor_share(kv_total, min(inner, keys), keys), row_blocks, pairs)

    @cython.cfunc
    def whole_blocks(
        self, inner: cython.longlong, longest: cython.longlong, queries: cython.longlong, row_blocks: cython.longlong
    ) -> cython.longlong:
        """Keys of the whole blocks that a block of `queries` goes over, the mean of all; `inner` of them are asked for.

        Blocks on the edge of a mask are computed whole: their last query sees half of them more than the mean one.
        """
        if row_blocks == 1 or inner >= longest:
            return longest
        return min(longest, max(self.key_block, inner + max(queries, self.key_block) // 2))

    @cython.cfunc
    def fill_blocks(self, unasked: cython.longlong) -> cython.longlong:
        """Kernels of a library for matrix units of threads: a block has its size, however few rows and keys it is for.

        `unasked` scores are computed beside those that count. Keys and values come one after the other, half a step
        each. Where a table says which keys are whose, a core begins a block when it has ended the one before: lengths,
        pages and keys are found one after the other, and nothing runs beside.
        """
        self.set_up = self.figures.window_set_up
        self.stages = 2 * STAGES if self.figures.asynchronous > 0 else STAGES
        self.step_size = max(1, self.key_block // 2)
        self.steps = ceil_div(self.inner, self.step_size)
        self.step_bytes //= 2
        if self.inner_vector > 0:  # scores of an operator without element-wise work are left as they are
            more: cython.longlong = self.figures.vector_core_ticks(self.dtype, product(SCORE_FLOPS, unasked), unasked)
            self.padded_vector = total(self.inner_vector, more)
        self.paged = self.classes.type_paged[self.work.anchor] > 0
        if self.paged:
            self.exposed = True
            waits: cython.longlong = ceil_share(self.figures.latency(0), self.figures.table_waits, FIXED)
            self.fill = total(self.figures.fill_ticks(), waits)
        return 0

    @cython.cfunc
    def with_softmax(self, products: cython.longlong, softmax: cython.longlong) -> cython.longlong:
        """Ticks of a step's products, and of its softmax where the two take turns.

        A power limit holds for the mean: where products are asynchronous they run at their peak, and rest meanwhile.
        """
        if not self.in_turn:
            return products
        if self.figures.asynchronous == 0:
            return total(products, softmax)
        return max(products, total(ceil_share(products, self.figures.sustained, FIXED), softmax))

    @cython.cfunc
    def library_block(self, head: cython.longlong) -> cython.longlong:
        """128 queries, or as many as fit, and the most keys for whose scores and sums there is room.

        Of each row there are sums, scores and the weights made of them. Where products do not run beside other work,
        two blocks share a core's registers: one computes its softmax while the other multiplies.
        """
        figures: Figures = self.figures
        shared: cython.longlong = 1 if figures.asynchronous > 0 else 2
        self.side = QUERY_BLOCK
        while self.side > LEAST_KEY_BLOCK:
            self.key_block = KEY_BLOCK
            while self.key_block >= 2 * LEAST_KEY_BLOCK:
                row: cython.longlong = (head + self.key_block) * ACCUMULATOR_BYTES + self.key_block * self.element
                lines: cython.longlong = self.side + STAGES * 2 * self.key_block
                fits: cython.bint = self.side * row * shared <= 2 * figures.accumulators
                if fits and lines <= figures.staging // self.element // head:
                    return 1
                self.key_block //= 2
            self.side //= 2
        return 0

    @cython.cfunc
    def attention_block(self, rows: cython.longlong, keys: cython.longlong, head: cython.longlong) -> cython.longlong:
        """Queries and keys per block: the largest that fit the cores' memory; keys for all systolic arrays."""
        if self.in_turn and self.library_block(head):
            return 0
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
        self, kv_total: cython.longlong, kv_asked: cython.longlong, row_blocks: cython.longlong, pairs: cython.longlong
    ) -> cython.longlong:
        """First-touch misses, and keys and values again for each wave when the cache cannot hold those in use.

        Of `kv_total` bytes of keys and values the rows of one wave ask for `kv_asked`, in the mean of all: a mask
        leaves the others out.
        """
        cores: cython.longlong = self.figures.cores
        self.kv_in_use = floor_share(kv_total, min(pairs, ceil_div(cores, row_blocks)), pairs)
        self.kv_again = max(0, product(max(1, row_blocks // cores), kv_asked) - kv_total)
        level: cython.longlong
        index: cython.longlong
        for level in range(self.work.levels):
            loads: cython.longlong = self.again_from(level)
            for index in range(self.work.reads):
                loads = total(loads, self.work.far(index, level))
            self.far_loads[level] = loads
        return 0
