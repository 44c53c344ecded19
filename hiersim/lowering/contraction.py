"""Shapes of contractions: which tile, how many blocks and steps, and the bytes that each tier sees.

The tile of a matrix product is the one with the least time on this machine among powers of two of the
native shape that fit the cores' memory, so its size follows the SRAM: near-tier traffic is
K·(M·N/BN + N·M/BM) elements. What a shared cache saves inside the kernel follows from its capacity: an
operand panel that is used again is read again from the next tier when more bytes than the cache holds
were touched in between. Neither the tile nor the wave order depends on a cache's capacity, so a larger
cache never moves more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Final, NamedTuple

from hiersim.lowering.machine import Machine, Rate
from hiersim.lowering.work import KernelWork, element_bytes
from hiersim.model.operators import DIMS, DType, Kind, OperatorTable
from hiersim.units import TICKS_PER_SECOND, UNLIMITED, ceil_div

ACCUMULATOR_BYTES: Final = 4
INNER_TILES: Final = 8
"""A step along the inner dimension is at most this many native tiles."""
QUERY_BLOCK: Final = 128
KEY_BLOCKS: Final = (128, 64, 32, 16)
SPLIT_STEPS: Final = 4
"""A block keeps at least this many inner steps when its inner dimension is split."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One contraction cut into blocks and steps. Bytes are of the whole kernel."""

    unit: str
    blocks: int
    steps: int
    inner: int
    """Length of the inner dimension of one block."""
    step_size: int
    """Inner length of a step; the last may be shorter."""
    padded: int
    """Granule of the inner dimension on the unit."""
    flops_per_inner: int
    """FLOPs that one core spends per element of inner length, padding included."""
    core_rate: int
    """FLOP/s of one core."""
    useful_ticks: int
    """Ticks of all cores for the useful FLOPs alone."""
    step_bytes: int
    """Bytes that one core loads per step."""
    near_loads: int
    far_loads: tuple[int, ...]
    extra_near: int
    """Reads of the epilogue (bias, residual), from the nearest shared tier."""
    extra_far: tuple[int, ...]
    partial_bytes: int = 0
    """Partial sums stored by a split inner dimension."""
    inner_vector: int = 0
    """Ticks of one core for the vector work inside the steps (softmax)."""

    def step_ticks(self, length: int) -> int:
        """Ticks of one step of that inner length on every active core."""
        if self.core_rate >= UNLIMITED or length <= 0:
            return 0
        padded = ceil_div(length, self.padded) * self.padded
        return max(1, ceil_div(self.flops_per_inner * padded * TICKS_PER_SECOND, self.core_rate))


class Product(NamedTuple):
    """A batched matrix product: the key of a tile choice."""

    batch: int
    m: int
    n: int
    k: int
    element: int
    """Bytes of an operand's element."""


class Blocking(NamedTuple):
    """A tile choice: block sides, inner step and the number of pieces the inner dimension is split into."""

    m: int
    n: int
    k: int
    split: int


class Contractions:
    """Cuts contractions for one machine; equal products are cut once."""

    def __init__(self, machine: Machine, operators: OperatorTable) -> None:
        self.machine = machine
        self.operators = operators
        self._chosen: dict[tuple[Product, str, int], Blocking] = {}

    def shape(self, work: KernelWork) -> Shape:
        """The shape of the kernel's anchor."""
        row = work.anchor
        kind = Kind(int(self.operators.kind[row]))
        low, high = int(self.operators.dims_ptr[row]), int(self.operators.dims_ptr[row + 1])
        dims = dict(zip(DIMS[kind], self.operators.dims[low:high].tolist(), strict=True))
        if kind is Kind.ATTENTION:
            return self._attention(work, dims)
        batch = dims["groups"] if kind is Kind.CONV else dims["batch"]
        element = max(1, element_bytes(int(self.operators.dtype[row]), 1))
        product = Product(max(1, batch), max(1, dims["m"]), max(1, dims["n"]), max(1, dims["k"]), element)
        return self._product(work, product, kind)

    def _rate(self, row: int) -> Rate:
        return self.machine.matrix_rate(DType(int(self.operators.dtype[row])))

    def _demand(self, work: KernelWork, rate: Rate) -> tuple[int, int]:
        """FLOPs that the kernel's contractions amount to at the anchor's rate, and their ticks on all cores."""
        flops = ticks = 0
        for row in work.contractions:
            executed = int(self.operators.matrix_flops[row] - self.operators.masked_flops[row])
            own = self._rate(row)
            if own.sustained < UNLIMITED:
                ticks += executed * TICKS_PER_SECOND // own.sustained
                executed = ceil_div(executed * rate.sustained, own.sustained)
            flops += executed
        return flops, ticks

    def _product(self, work: KernelWork, product: Product, kind: Kind) -> Shape:
        machine, row = self.machine, work.anchor
        rate = self._rate(row)
        operands = (product.batch * product.m * product.k, product.batch * product.k * product.n)
        a, b = _operands(work, tuple(size * product.element for size in operands), convolution=kind is Kind.CONV)
        if _turned(product, rate.tile):
            product, operands, a, b = product._replace(m=product.n, n=product.m), operands[::-1], b, a
        tile = self.blocking(product, rate)
        rows, columns = ceil_div(product.m, tile.m), ceil_div(product.n, tile.n)
        inner = ceil_div(product.k, tile.split)
        flops, useful = self._demand(work, rate)
        near = max(operands[0] * product.element * columns, _size(work, a))
        near += max(operands[1] * product.element * rows, _size(work, b))
        extra = [index for index in range(len(work.read_size)) if index not in (a, b)]
        return Shape(
            unit=rate.unit,
            blocks=product.batch * rows * columns * tile.split,
            steps=ceil_div(inner, tile.k),
            inner=inner,
            step_size=tile.k,
            padded=rate.tile[2],
            flops_per_inner=ceil_div(
                _padded(tile.m, rate.tile[0]) * _padded(tile.n, rate.tile[1]) * flops,
                product.batch * product.m * product.n * product.k,
            ),
            core_rate=_per_core(rate.sustained, machine.cores),
            useful_ticks=useful,
            step_bytes=(tile.m + tile.n) * tile.k * product.element,
            near_loads=near,
            far_loads=self._far_loads(work, product, tile, (a, b)),
            extra_near=sum(work.read_size[index] for index in extra) + _partials(product, tile),
            extra_far=_sum_far(work, extra, len(machine.shared) - 1),
            partial_bytes=_partials(product, tile),
        )

    def _far_loads(self, work: KernelWork, product: Product, tile: Blocking, pair: tuple[int, int]) -> tuple[int, ...]:
        """Bytes that each farther tier supplies for the two operands, re-reads included."""
        loads = []
        caches = [int(tier.capacity) for tier in self.machine.shared[:-1]]
        for level, capacity in enumerate(caches):
            sizes = tuple(_size(work, index) for index in pair)
            passes = _passes(product, tile, sizes, self.machine.cores, capacity)
            total = 0
            for index, again in zip(pair, passes, strict=True):
                if index >= 0:
                    total += work.read_far[index][level] + (again - 1) * work.read_size[index]
            loads.append(total)
        for level in range(1, len(loads)):
            loads[level] = min(loads[level], loads[level - 1])
        return tuple(loads)

    def blocking(self, product: Product, rate: Rate) -> Blocking:
        """The tile with the least estimated time; of equals the larger one."""
        key = (product, rate.unit, rate.sustained)
        if key not in self._chosen:
            tiles = self._candidates(product, rate)
            self._chosen[key] = min((self._estimate(product, tile, rate), -tile.m * tile.n, tile) for tile in tiles)[2]
        return self._chosen[key]

    def _candidates(self, product: Product, rate: Rate) -> Iterator[Blocking]:
        machine = self.machine
        native_m, native_n, native_k = rate.tile
        fitted = False
        for m in _sides(native_m, product.m):
            for n in _sides(native_n, product.n):
                if m * n * ACCUMULATOR_BYTES > machine.accumulators:
                    continue
                room = machine.staging // (machine.depth * (m + n) * product.element)
                k = _inner_step(native_k, product.k, room)
                if k == 0:
                    continue
                fitted = True
                steps = ceil_div(product.k, k)
                blocks = product.batch * ceil_div(product.m, m) * ceil_div(product.n, n)
                yield Blocking(m, n, k, 1)
                split = min(machine.cores // blocks if blocks else 1, steps // SPLIT_STEPS)
                if split > 1:
                    yield Blocking(m, n, k, split)
        if not fitted:
            yield Blocking(native_m, native_n, native_k, 1)

    def _estimate(self, product: Product, tile: Blocking, rate: Rate) -> Fraction:
        """Seconds by closed form: waves × the slower of arithmetic and near-tier loads, and the partial sums.

        Exact, so that machines which differ by a common factor of all rates choose the same tile.
        """
        machine = self.machine
        blocks = product.batch * ceil_div(product.m, tile.m) * ceil_div(product.n, tile.n) * tile.split
        inner = _padded(ceil_div(product.k, tile.split), rate.tile[2])
        active = min(blocks, machine.cores)
        compute = Fraction(0)
        if rate.sustained < UNLIMITED:
            sides = _padded(tile.m, rate.tile[0]) * _padded(tile.n, rate.tile[1])
            compute = Fraction(2 * sides * inner * machine.cores, rate.sustained)
        loads = (min(tile.m, product.m) + min(tile.n, product.n)) * inner * product.element * active
        per_block = max(compute, machine.read_time(0, loads, active))
        far = Fraction(0)
        if active * 2 < machine.cores:
            largest = product.batch * product.k * max(product.m, product.n) * product.element
            far = machine.read_time(len(machine.shared) - 1, largest, active)
        total = max(ceil_div(blocks, machine.cores) * per_block, far * machine.cores / active)
        return total + machine.read_time(0, 2 * _partials(product, tile), active)

    def _attention(self, work: KernelWork, dims: dict[str, int]) -> Shape:
        """Flash attention: blocks of queries, a loop over blocks of keys; nothing of size queries × keys is stored.

        Heads that share keys (grouped queries) are one block's rows. Dao et al., FlashAttention-2, 2023.
        """
        machine, row = self.machine, work.anchor
        rate = self._rate(row)
        element = max(1, element_bytes(int(self.operators.dtype[row]), 1))
        groups = max(1, dims["heads"] // max(1, dims["kv_heads"]))
        pairs = max(1, dims["batch"] * dims["kv_heads"])
        rows, keys, head = max(1, dims["queries"] * groups), max(1, dims["keys"]), max(1, dims["head_dim"])
        side, key_block = self._attention_block(rows, keys, head, element, rate)
        row_blocks = ceil_div(rows, side)
        flops = int(self.operators.matrix_flops[row])
        executed = flops - int(self.operators.masked_flops[row])
        inner = max(1, ceil_div(keys * executed, max(flops, 1)))
        split = max(1, min(machine.cores // (pairs * row_blocks), ceil_div(inner, key_block) // SPLIT_STEPS))
        inner = ceil_div(inner, split)
        demand, useful = self._demand(work, rate)
        demand = ceil_div(flops * demand, executed) if executed else flops
        per_key = ceil_div(demand, pairs * rows * keys) * _padded(min(side, rows), min(rate.tile[:2]))
        kv_bytes = 2 * head * element
        kv_total = pairs * keys * kv_bytes
        near = max(pairs * row_blocks * split * inner * kv_bytes, kv_total)
        others = max(0, sum(work.read_size) - kv_total)
        partial = (split > 1) * split * pairs * rows * head * ACCUMULATOR_BYTES
        return Shape(
            unit=rate.unit,
            blocks=pairs * row_blocks * split,
            steps=ceil_div(inner, key_block),
            inner=inner,
            step_size=key_block,
            padded=rate.tile[1],
            flops_per_inner=per_key,
            core_rate=_per_core(rate.sustained, machine.cores),
            useful_ticks=useful,
            step_bytes=key_block * kv_bytes,
            near_loads=near,
            far_loads=self._attention_far(work, kv_total, row_blocks, pairs),
            extra_near=others + partial,
            extra_far=(0,) * (len(machine.shared) - 1),
            partial_bytes=partial,
            inner_vector=min(work.vector_core_ticks, self._softmax_core_ticks(row)),
        )

    def _softmax_core_ticks(self, row: int) -> int:
        table = self.operators
        work = (int(table.vector_flops[row]), int(table.special_ops[row]))
        return self.machine.vector_core_ticks(DType(int(table.dtype[row])), *work)

    def _attention_block(self, rows: int, keys: int, head: int, element: int, rate: Rate) -> tuple[int, int]:
        """Queries and keys per block: the largest that fit the cores' memory."""
        machine = self.machine
        for key_block in KEY_BLOCKS:
            side = QUERY_BLOCK
            while side >= min(16, rate.tile[0]):
                fits = (side + machine.depth * 2 * key_block) * head * element <= machine.staging
                if fits and side * (head + key_block) * ACCUMULATOR_BYTES <= 2 * machine.accumulators:
                    return max(min(side, _pow2_at_least(rows)), 1), min(key_block, _pow2_at_least(keys))
                side //= 2
        return min(16, rows), min(16, keys)

    def _attention_far(self, work: KernelWork, kv_total: int, row_blocks: int, pairs: int) -> tuple[int, ...]:
        """First-touch misses, and keys and values again for each wave when the cache cannot hold those in use."""
        loads = []
        in_use = kv_total * min(pairs, ceil_div(self.machine.cores, row_blocks)) // pairs
        waves = max(1, row_blocks // self.machine.cores)
        for level, tier in enumerate(self.machine.shared[:-1]):
            again = 0 if in_use <= tier.capacity else (waves - 1) * kv_total
            loads.append(sum(far[level] for far in work.read_far) + again)
        return tuple(loads)


def _per_core(rate: int, cores: int) -> int:
    return rate if rate >= UNLIMITED else max(1, rate // cores)


def _padded(length: int, native: int) -> int:
    return ceil_div(length, native) * native


def _pow2_at_least(value: int) -> int:
    return 1 << max(0, value - 1).bit_length()


def _sides(native: int, extent: int) -> Iterator[int]:
    """native, 2·native, … up to the first that covers `extent`."""
    side = native
    while True:
        yield side
        if side >= extent or side >= native * 4096:
            return
        side *= 2


def _inner_step(native: int, extent: int, room: int) -> int:
    """The largest power-of-two multiple of the native inner side within `room`; 0 when none fits."""
    if native > room:
        return 0
    step = native
    while step * 2 <= min(room, native * INNER_TILES) and step < extent:
        step *= 2
    return step


def _size(work: KernelWork, index: int) -> int:
    """Bytes of a read; none where there is no such read."""
    return work.read_size[index] if index >= 0 else 0


def _turned(product: Product, native: tuple[int, int, int]) -> bool:
    """Whether the product is computed as its transpose: libraries give the unit's longer side the longer extent."""
    return (native[0] - native[1]) * (product.m - product.n) < 0


def _partials(product: Product, tile: Blocking) -> int:
    """Bytes of partial sums that a split inner dimension stores and reads once."""
    return product.batch * product.m * product.n * ACCUMULATOR_BYTES * tile.split if tile.split > 1 else 0


def _operands(work: KernelWork, expected: tuple[int, ...], *, convolution: bool) -> tuple[int, int]:
    """Which reads are the two operands: the two whose sizes are nearest the expected ones, in order of reading."""
    left = list(range(len(work.read_size)))
    chosen = []
    if convolution:
        by_size = sorted(left, key=lambda index: (-work.read_size[index], index))[:2]
        weight = min(by_size, key=lambda index: (abs(work.read_size[index] - expected[1]), -index), default=-1)
        others = [index for index in by_size if index != weight]
        return (others[0] if others else -1), weight
    for size in expected:
        best = min(left, key=lambda index: (abs(work.read_size[index] - size), index), default=-1)
        if best >= 0:
            left.remove(best)
        chosen.append(best)
    return chosen[0], chosen[1]


def _passes(product: Product, tile: Blocking, sizes: tuple[int, ...], cores: int, capacity: int) -> tuple[int, int]:
    """How often each operand is read from beyond a cache of `capacity` bytes.

    A wave is a near-square rectangle of blocks; waves sweep a band of rows (or of columns, whichever moves less).
    The band's own panel is used again by the next wave, the other operand by the next band.
    """
    rows, columns = ceil_div(product.m, tile.m), ceil_div(product.n, tile.n)
    high = max(1, min(rows, isqrt(max(1, cores * tile.n // tile.m))))
    wide = max(1, min(columns, ceil_div(cores, high)))
    high = max(1, min(rows, ceil_div(cores, wide)))
    a, b = (size // product.batch for size in sizes)
    band_a, band_b = a * min(product.m, high * tile.m) // product.m, b * min(product.n, wide * tile.n) // product.n
    wave = band_a + band_b
    across, down = ceil_div(columns, wide), ceil_div(rows, high)
    by_rows = (1 if wave <= capacity else across, 1 if b + band_a <= capacity else down)
    by_columns = (1 if a + band_b <= capacity else across, 1 if wave <= capacity else down)
    cost = [passes[0] * a + passes[1] * b for passes in (by_rows, by_columns)]
    return by_rows if cost[0] <= cost[1] else by_columns


def _sum_far(work: KernelWork, indices: Sequence[int], levels: int) -> tuple[int, ...]:
    return tuple(sum(work.read_far[index][level] for index in indices) for level in range(levels))
