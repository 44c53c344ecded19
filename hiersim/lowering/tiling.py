"""Tile rules: how a kernel's work is cut into waves of tiles over the cores.

Three rules cover every kernel. A *contraction* (matrix product, convolution, attention) runs blocks in waves,
each block a loop over its inner dimension. A *stream* (element-wise, reduction, gather, copy, unknown)
reads, computes and writes in order. Both give a `LoopNest` of few distinct tiles.
"""

from __future__ import annotations

from typing import Final

from hiersim.lowering.contraction import Shape
from hiersim.lowering.machine import VECTOR, Machine
from hiersim.lowering.stages import Body, LoopNest, TileMaker, Work
from hiersim.lowering.work import KernelWork
from hiersim.units import ceil_div

BLOCK_BYTES: Final = 4096
"""A streaming block: 256 threads with 16 bytes each."""
MIN_TILE_BYTES: Final = 1024
"""Per core; smaller pieces would not fill a core's load queue."""
MIN_TILES: Final = 8
"""A stream overlaps its own loads, arithmetic and stores at least this finely."""


def stream(work: KernelWork, machine: Machine) -> LoopNest:
    """Loop nest of a kernel without a contraction: equal tiles and a last one with the remainder."""
    near_read = sum(work.read_size)
    levels = len(machine.shared)
    reads = [near_read, *(sum(far[level] for far in work.read_far) for level in range(levels - 1))]
    writes = [work.write_size, *work.write_far]
    largest = max(near_read, work.write_size)
    active = min(machine.cores, max(1, ceil_div(largest, BLOCK_BYTES)))
    per_tile = max(1, machine.stream_buffer // machine.depth)
    tiles = max(1, ceil_div(largest, active * per_tile))
    tiles = max(tiles, min(MIN_TILES, ceil_div(largest, active * MIN_TILE_BYTES)), 1)
    maker, nest = TileMaker(machine), LoopNest(machine.depth)
    first = (
        [size // tiles for size in reads],
        _vector(work.vector_core_ticks // tiles, active, machine),
        [size // tiles for size in writes],
    )
    left = tiles - 1
    last = (
        [size - size // tiles * left for size in reads],
        _vector(work.vector_core_ticks - work.vector_core_ticks // tiles * left, active, machine),
        [size - size // tiles * left for size in writes],
    )
    nest.add(1, (left, maker.tile(left, active, *first)))
    nest.add(1, (1, maker.tile(1, active, *last)))
    nest.free = maker.free
    nest.buffer_bytes = min(machine.depth, tiles) * max(sum(last[0][:1]), sum(last[2][:1]))
    return nest


def _vector(core_ticks: int, active: int, machine: Machine) -> list[Work]:
    """Vector work of `core_ticks` of one core, done by `active` cores; moving data takes one tick at least."""
    if machine.vector_unlimited:
        return []
    ticks = max(1, ceil_div(core_ticks, active))
    tail = ticks * (machine.cores - active) // machine.cores
    return [Work(VECTOR, ticks, ticks - tail, tail)]


def contraction(work: KernelWork, shape: Shape, machine: Machine) -> LoopNest:
    """Loop nest of a kernel around a matrix product, convolution or attention.

    Full waves come first, then the last one, full or partial; each is a loop over the inner steps, of which the
    last also takes what the epilogue reads, its arithmetic and the stores.
    """
    cores, blocks = machine.cores, shape.blocks
    active = blocks % cores or min(blocks, cores)
    waves = (blocks - active) // cores
    maker, nest = TileMaker(machine), LoopNest(machine.depth)
    totals = _Totals(work, shape, machine)
    if waves:
        parts = _wave_tiles(maker, totals, shape, cores, waves, final=False)
        nest.add(waves, *parts)
    nest.add(1, *_wave_tiles(maker, totals, shape, active, 1, final=True))
    nest.free = maker.free
    nest.buffer_bytes = min(machine.depth, shape.steps) * min(blocks, cores) * shape.step_bytes
    return nest


class _Totals:
    """Bytes of a whole contraction that are still to be handed out to tiles."""

    def __init__(self, work: KernelWork, shape: Shape, machine: Machine) -> None:
        self.work = work
        self.machine = machine
        self.loads = [shape.near_loads, *shape.far_loads]
        self.extra_loads = [shape.extra_near, *shape.extra_far]
        self.stores = [work.write_size + shape.partial_bytes, *work.write_far]
        self.vector = work.vector_core_ticks
        self.left = [list(self.loads), list(self.extra_loads), list(self.stores)]

    def take(self, which: int, numerator: int, denominator: int, times: int) -> list[int]:
        """A share of each total, handed out `times` times."""
        source = (self.loads, self.extra_loads, self.stores)[which]
        sizes = [total * numerator // denominator for total in source]
        for level, size in enumerate(sizes):
            self.left[which][level] -= size * times
        return sizes

    def rest(self, which: int) -> list[int]:
        """All that is left."""
        sizes, self.left[which] = self.left[which], [0] * len(self.left[which])
        return sizes


def _wave_tiles(maker: TileMaker, totals: _Totals, shape: Shape, active: int, waves: int, *, final: bool) -> Body:
    """Tiles of one wave: (steps - 1) inner ones and the last."""
    steps, blocks, machine = shape.steps, shape.blocks, totals.machine
    weight, whole = shape.step_size, shape.inner
    tail_weight = whole - weight * (steps - 1)
    inner_reads = totals.take(0, active * weight, blocks * whole, waves * (steps - 1)) if steps > 1 else []
    inner = maker.tile(waves * (steps - 1), active, inner_reads, _step_work(shape, machine, active, weight), ())
    if final:
        reads, extra, stores = totals.rest(0), totals.rest(1), totals.rest(2)
    else:
        reads = totals.take(0, active * tail_weight, blocks * whole, waves)
        extra = totals.take(1, active, blocks, waves)
        stores = totals.take(2, active, blocks, waves)
    work = _step_work(shape, machine, active, tail_weight)
    epilogue = totals.vector - shape.inner_vector
    if epilogue > 0 and not machine.vector_unlimited:
        useful = epilogue * active // (blocks * machine.cores)
        ticks = max(1, ceil_div(epilogue, blocks))
        work.append(Work(VECTOR, ticks, useful, ticks * (machine.cores - active) // machine.cores))
    last = maker.tile(waves, active, [a + b for a, b in zip(reads, extra, strict=True)], work, stores)
    return [(steps - 1, inner), (1, last)]


def _step_work(shape: Shape, machine: Machine, active: int, weight: int) -> list[Work]:
    """Matrix and inner vector work of one step of `weight` along the inner dimension, by `active` cores."""
    idle = machine.cores - active
    work = []
    ticks = shape.step_ticks(weight)
    if ticks:
        useful = shape.useful_ticks * active * weight // (shape.blocks * shape.inner)
        work.append(Work(shape.unit, ticks, useful, ticks * idle // machine.cores))
    if shape.inner_vector and not machine.vector_unlimited:
        useful = shape.inner_vector * active * weight // (shape.blocks * shape.inner * machine.cores)
        ticks = max(1, ceil_div(shape.inner_vector * weight, shape.blocks * shape.inner))
        work.append(Work(VECTOR, ticks, useful, ticks * idle // machine.cores))
    return work
