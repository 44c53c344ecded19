"""Attention with keys outermost: algorithms 1 and 4 of FlashAttention (Dao et al., 2022, arXiv:2205.14135v1).

One block per head. Its keys and values go through a core in blocks of M ÷ 4d (M elements of the core's memory, d the
head dimension); for each of them all queries pass by, with partial results that go to memory and come back. So the
bytes of a head fall like N²d² ÷ M. The four blocks fill the memory, so that nothing is loaded ahead: tiles run one
after the other.

A cache behind the cores sees every core go round the same data. Least recently used keeps all of it or none; real
caches, with hashed sets and cores out of step, are nearer to a random choice of the block that goes. A block that is
touched again after the rest of W bytes, of which a share 1 - h missed, is still in a cache of C bytes with probability
h = exp(-(1 - h) W ÷ C): the share of hits is the least solution. W is that of a head on every core, or of the heads
that are left for the last wave.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `sweep.pxd` declares the fields.
"""

from __future__ import annotations

import cython

from hiersim.lowering.contraction import Cutter
from hiersim.model.operators import Kind
from hiersim.units import TICKS_PER_SECOND
from hiersim.units import UNLIMITED as NO_LIMIT

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.exact import ceil_share, ceil_share3, floor_share, product, total
    from cython.cimports.hiersim.lowering.rounding import ceil_div, padded_to
    from cython.cimports.hiersim.lowering.work import Work
    from cython.cimports.libc.math import ceil
else:
    from math import ceil

    from hiersim.columns import column
    from hiersim.exact import ceil_share, ceil_share3, floor_share, product, total
    from hiersim.lowering.rounding import ceil_div, padded_to
    from hiersim.lowering.work import Work

UNLIMITED = cython.declare(cython.longlong, NO_LIMIT)
SECOND = cython.declare(cython.longlong, TICKS_PER_SECOND)
FLASH = cython.declare(cython.longlong, int(Kind.FLASH))
DIMS = cython.declare(cython.longlong, 7)
"""Columns of `KernelClasses.type_dims`."""
BLOCKS = cython.declare(cython.longlong, 4)
"""Blocks in a core's memory at a time: queries, keys, values, results."""
SUM_BYTES = cython.declare(cython.longlong, 4)
"""Partial results are FP32."""
FORWARD_STATISTICS = cython.declare(cython.longlong, 8)
"""Bytes of a row's maximum and sum."""
BACKWARD_STATISTICS = cython.declare(cython.longlong, 12)
"""… and of its product of results and their gradients."""
SHARES = cython.declare(cython.longlong, 64)
"""Shares of misses are rounded up to one of so many."""
DOUBLINGS = cython.declare(cython.longlong, 20)
ROUNDS = cython.declare(cython.longlong, 200)


@cython.cfunc
def still_there(turns: cython.double) -> cython.double:
    """exp(-turns), by squaring, as IEEE doubles give it everywhere; 0 for more turns than a double can tell."""
    if turns >= 64.0:
        return 0.0
    left: cython.double = 1.0 - turns / 1048576.0  # 2 to the power of DOUBLINGS
    _turn: cython.longlong
    for _turn in range(DOUBLINGS):
        left *= left
    return left


@cython.cfunc
def missed_shares(used: cython.longlong, capacity: cython.longlong) -> cython.longlong:
    """Of `SHARES` parts of what cores go round, `used` bytes in all: how many miss a cache of `capacity` bytes."""
    if used <= capacity:
        return 0
    if capacity <= 0:
        return SHARES
    turns: cython.double = float(used) / float(capacity)
    hits: cython.double = 0.0
    _turn: cython.longlong
    for _turn in range(ROUNDS):
        hits = still_there(turns * (1.0 - hits))
    return min(SHARES, cython.cast(cython.longlong, ceil((1.0 - hits) * float(SHARES))))


@cython.cclass
class Sweeper(Cutter):
    """Cuts what `Cutter` cuts, and attention with keys outermost."""

    def __init__(self, work: Work) -> None:
        Cutter.__init__(self, work)
        self.far_partials = column(work.levels)
        self.serial = False
        self.sweep_again = self.head_use = self.heads = self.keys_side = 0

    @cython.cfunc
    def cut(self) -> cython.longlong:
        """Cut the anchor of `work`."""
        level: cython.longlong
        self.serial = self.classes.type_kind[self.work.anchor] == FLASH
        for level in range(self.work.levels):
            self.far_partials[level] = 0
        return Cutter.cut(self)

    @cython.cfunc
    def cut_attention(self) -> cython.longlong:
        """Either order of loops."""
        return self.cut_sweep() if self.serial else Cutter.cut_attention(self)

    @cython.cfunc
    def cut_sweep(self) -> cython.longlong:
        """A block per head; a step per block of keys and block of queries."""
        first: cython.longlong = self.work.anchor * DIMS
        heads: cython.longlong = max(1, self.classes.type_dims[first])
        queries: cython.longlong = max(1, self.classes.type_dims[first + 1])
        keys: cython.longlong = max(1, self.classes.type_dims[first + 2])
        head: cython.longlong = max(1, self.classes.type_dims[first + 3])
        backward: cython.bint = self.classes.type_dims[first + 4] > 0
        room: cython.longlong = self.figures.scratchpad if self.figures.scratchpad > 0 else self.figures.staging
        width: cython.longlong = product(head, self.element)
        side: cython.longlong = max(1, min(keys, room // product(BLOCKS, width)))
        passes: cython.longlong = ceil_div(keys, side)
        side = ceil_div(keys, passes)
        across: cython.longlong = ceil_div(queries, min(side, min(head, queries)))
        rows: cython.longlong = ceil_div(queries, across)
        self.tile_m, self.tile_n, self.tile_k, self.split = rows, head, side, 1
        self.block_m, self.block_n, self.head, self.keys_side = rows, head, head, side
        self.blocks = heads
        self.steps = self.inner = product(passes, across)
        self.step_size = self.padded = 1
        self.step_bytes = min(room, product(product(BLOCKS, side), width))
        places: cython.longlong = product(product(heads, queries), keys)
        if self.systolic:
            self.flops_per_inner = ceil_share(self.arrays.macs(), self.demand, product(product(2, head), places))
        else:
            padded: cython.longlong = padded_to(rows, self.figures.native(self.dtype, 0))
            padded = product(padded, padded_to(side, self.figures.native(self.dtype, 1)))
            self.flops_per_inner = ceil_share(self.demand, padded, places)
        statistics: cython.longlong = BACKWARD_STATISTICS if backward else FORWARD_STATISTICS
        streams: cython.longlong = 2 if backward else 1  # queries; their results' gradients
        sums: cython.longlong = product(queries, total(product(head, SUM_BYTES), statistics))
        lines: cython.longlong = product(product(queries, streams), width)
        used: cython.longlong = total(total(lines, sums), product(product(2 * streams, side), width))
        self.head_use, self.heads = used, heads
        turns: cython.longlong = product(heads, passes - 1)
        return self.sweep_far(product(turns, total(lines, sums)), product(turns, sums))

    @cython.cfunc
    def sweep_far(self, again: cython.longlong, sums: cython.longlong) -> cython.longlong:
        """Bytes by tier: all passes at the nearest one, behind caches what they miss of further passes.

        `again` bytes are read by all passes but the first, `sums` of them partial results that were written before.
        """
        level: cython.longlong
        index: cython.longlong
        self.sweep_again = again
        self.near_loads, self.extra_near = total(self.work.near_read, again), 0
        self.partial_bytes = sums
        self.inner_vector = self.padded_vector = self.work.vector_core_ticks
        for level in range(self.work.levels):
            loads: cython.longlong = self.again_from(level)
            for index in range(self.work.reads):
                loads = total(loads, self.work.far(index, level))
            self.far_loads[level] = loads
            self.far_partials[level] = self.work.again_of(self.missed(sums, self.figures.capacity(level)), level)
        return 0

    @cython.cfunc
    def missed(self, again: cython.longlong, capacity: cython.longlong) -> cython.longlong:
        """Of `again` bytes of all heads alike, those that miss a cache of `capacity` bytes."""
        cores: cython.longlong = self.figures.cores
        rest: cython.longlong = self.heads % cores
        last: cython.longlong = floor_share(again, rest, self.heads)
        found: cython.longlong = floor_share(last, missed_shares(product(rest, self.head_use), capacity), SHARES)
        shares: cython.longlong = missed_shares(product(cores, self.head_use), capacity)
        return total(found, floor_share(again - last, shares, SHARES))

    @cython.cfunc
    def again_from(self, level: cython.longlong) -> cython.longlong:
        """Bytes that are read again from far tier `level`."""
        if not self.serial:
            return Cutter.again_from(self, level)
        return self.work.again_of(self.again(self.figures.capacity(level)), level)

    @cython.cfunc
    def again(self, capacity: cython.longlong) -> cython.longlong:
        """Bytes of the contraction at hand that are read again from beyond a cache of `capacity` bytes."""
        if not self.serial:
            return Cutter.again(self, capacity)
        return self.missed(self.sweep_again, capacity)

    @cython.cfunc
    def step_ticks(self, length: cython.longlong, ends: cython.bint, last: cython.bint) -> cython.longlong:
        """Ticks of one step on every active core."""
        if not self.serial:
            return Cutter.step_ticks(self, length, ends, last)
        if self.core_rate >= UNLIMITED:
            return 0
        amount: cython.longlong = self.cycles(self.keys_side, ends, last) if self.systolic else 1
        return max(1, ceil_share3(self.flops_per_inner, amount, SECOND, self.core_rate))
