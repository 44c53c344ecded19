"""Random small `Program`s: DAGs of kernels and streams of repeated layers, over a few ports and units.

Both are made of random loop nests: loops over tile types, which are chains of stages with buffers, latencies and
write-back. Sizes are drawn with the small ones first, so that a failing program shrinks to one that can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from hiersim.model.operators import IntArray, csr
from hiersim.model.program import Access, Program, Resource

_TIERS = ("smem", "l2", "hbm")
_PORTS = (("l2", 1), ("hbm.read", 2), ("hbm.write", 2), ("hbm", 2))
_UNITS = ("matrix", "vector")
_STAGE = ("resource", "access", "ticks", "latency", "bytes", "useful", "padding", "tail")
_LONG = (2, 3, 7, 20, 60)
"""Lengths of loops in which the machine has time to become periodic."""
_DEPTHS = (1, 2, 3, 4, 1, 2, 3, 4, 9, 40)
_TILES = 300
"""Tiles of one program at most, so that a run stays within milliseconds."""


@dataclass(slots=True)
class _Columns:
    """Loop nests of a program under construction."""

    depth: list[int] = field(default_factory=list)
    buffer_tier: list[int] = field(default_factory=list)
    loop_ptr: list[int] = field(default_factory=lambda: [0])
    loop_repeat: list[int] = field(default_factory=list)
    body_ptr: list[int] = field(default_factory=lambda: [0])
    body_count: list[int] = field(default_factory=list)
    body_tile: list[int] = field(default_factory=list)
    stage_ptr: list[int] = field(default_factory=lambda: [0])
    release_stage: list[int] = field(default_factory=list)
    complete_stage: list[int] = field(default_factory=list)
    stages: list[tuple[int, ...]] = field(default_factory=list)

    def arrays(self) -> dict[str, IntArray]:
        """The columns of a `Program`."""
        table = np.array(self.stages, np.int64).reshape(-1, len(_STAGE)).T
        names = [name for name in self.__slots__ if name != "stages"]
        return {
            **{f"stage_{name}": column.copy() for name, column in zip(_STAGE, table, strict=True)},
            **{name: np.array(getattr(self, name), np.int64) for name in names},
        }


@st.composite
def programs(
    draw: st.DrawFn, max_kernels: int = 4, max_ticks: int = 6, *, any_needs: bool = False, max_tiles: int = _TILES
) -> Program:
    """A DAG of kernels; some share a loop nest, some are empty, some have long loops.

    Parameters
    ----------
    max_kernels : int
        Kernels at most.
    max_ticks : int
        Ticks of a service at most; latencies are sometimes ten times as long.
    any_needs : bool
        Kernels may also need later kernels and themselves, so that some programs deadlock.
    max_tiles : int
        Tiles of all kernels together, at most; at least 16 per kernel.
    """
    resources = _resources(draw)
    kernels = draw(st.sampled_from(range(1, max_kernels + 1)))
    nests = draw(st.sampled_from((kernels, *range(1, kernels))))
    columns = _Columns()
    for _ in range(nests):
        _nest(draw, columns, resources, max_ticks, max_tiles // kernels)
    own = nests == kernels and draw(st.booleans())
    nest = (
        list(range(kernels)) if own else draw(st.lists(st.integers(0, nests - 1), min_size=kernels, max_size=kernels))
    )
    needs = [
        [need for need in range(kernels if any_needs else kernel) if draw(st.booleans())] for kernel in range(kernels)
    ]
    rows = [_kernel(draw, max_ticks, host_share=1) for _ in range(kernels)]
    return _program(draw, resources, columns, nest, rows, needs)


@st.composite
def streams(draw: st.DrawFn, max_repeats: int = 8, max_ticks: int = 6, *, max_tiles: int = _TILES) -> Program:
    """A stream of kernels, each of which needs the one before: layers of 1-4 kernels, repeated like a model's.

    A prologue and an epilogue of up to two kernels lie around the layers. One to three loop nests serve all kernels;
    the host is idle, busy or the bottleneck.

    Parameters
    ----------
    max_repeats : int
        Repeats of the layer at most.
    max_ticks : int
        Ticks of a service at most; latencies are sometimes ten times as long.
    max_tiles : int
        Tiles of all kernels together, at most; at least 16 per kernel.
    """
    resources = _resources(draw)
    nests = draw(st.integers(1, 3))
    host_share = draw(st.sampled_from((1, 0, 10)))
    kernel = st.integers(0, nests - 1).map(lambda nest: (nest, _kernel(draw, max_ticks, host_share)))
    around = st.lists(kernel, max_size=2)
    before, layer, after = draw(around), draw(st.lists(kernel, min_size=1, max_size=4)), draw(around)
    order = [*before, *layer * draw(st.integers(1, max_repeats)), *after]
    columns = _Columns()
    for _ in range(nests):
        _nest(draw, columns, resources, max_ticks, max_tiles // len(order))
    needs = [[index - 1] if index else [] for index in range(len(order))]
    return _program(draw, resources, columns, [nest for nest, _ in order], [row for _, row in order], needs)


def _program(
    draw: st.DrawFn,
    resources: tuple[Resource, ...],
    columns: _Columns,
    nest: list[int],
    rows: Sequence[tuple[int, ...]],
    needs: list[list[int]],
) -> Program:
    """Loop nests and kernel rows as a program."""
    host_ticks, host_sync, launch_latency, start_ticks = np.array(rows, np.int64).reshape(-1, 4).T
    needs_ptr, needs_values = csr(needs)
    return Program(
        tiers=_TIERS,
        resources=resources,
        queue=draw(st.integers(1, 3)),
        kernel_names=tuple(f"kernel{index}" for index in range(len(nest))),
        host_ticks=host_ticks.copy(),
        host_sync=host_sync.copy(),
        launch_latency=launch_latency.copy(),
        start_ticks=start_ticks.copy(),
        needs_ptr=needs_ptr,
        needs=needs_values,
        nest=np.array(nest, np.int64),
        **dict[str, Any](columns.arrays()),
        free_bytes=np.zeros((2, len(_TIERS)), np.int64),
        peak_bytes=np.zeros(len(_TIERS), np.int64),
        flops=(0, 0),
        peak_ticks=(0, 0),
        compulsory_bytes=0,
        warnings=(),
    )


def _resources(draw: st.DrawFn) -> tuple[Resource, ...]:
    """One to four ports and units; some ports are fair."""
    ports = draw(st.lists(st.sampled_from(_PORTS), max_size=2, unique=True))
    units = draw(st.lists(st.sampled_from(_UNITS), min_size=0 if ports else 1, max_size=2, unique=True))
    return (
        *(Resource(name=name, tier=tier, fair=draw(st.booleans())) for name, tier in ports),
        *(Resource(name=name, tier=-1) for name in units),
    )


def _kernel(draw: st.DrawFn, max_ticks: int, host_share: int) -> tuple[int, int, int, int]:
    """Host ticks, sync, launch latency and start-up ticks of one kernel."""
    host = draw(st.integers(0, max_ticks)) * host_share
    sync = int(draw(st.sampled_from((False, False, False, True))))
    return host, sync, draw(st.integers(0, max_ticks)), draw(st.integers(0, 3))


def _nest(draw: st.DrawFn, columns: _Columns, resources: tuple[Resource, ...], max_ticks: int, max_tiles: int) -> None:
    """One loop nest: up to three tile types, and up to two loops over them. It may be empty."""
    first = len(columns.release_stage)
    everything = tuple(range(len(resources)))
    ports = tuple(index for index in everything if resources[index].tier >= 0)
    units = tuple(index for index in everything if resources[index].tier < 0)
    chosen = draw(st.sampled_from((everything, everything, everything, ports or units, units or ports)))
    for _ in range(draw(st.integers(1, 3))):
        _tile(draw, columns, resources, chosen, max_ticks)
    loops = draw(st.sampled_from((1, 2, 1, 2, 0)))
    room = max(max_tiles, 16) // max(loops, 1)
    for _ in range(loops):
        _loop(draw, columns, (first, len(columns.release_stage) - 1), room)
    columns.loop_ptr.append(len(columns.loop_repeat))
    columns.depth.append(draw(st.sampled_from(_DEPTHS)))
    columns.buffer_tier.append(draw(st.integers(0, 1)))


def _loop(draw: st.DrawFn, columns: _Columns, tiles: tuple[int, int], room: int) -> None:
    """One loop of at most `room` tiles, at least four: a short one, a long body or many repeats."""
    bodies = draw(st.integers(1, 2))
    form = draw(st.sampled_from(("short", "short", "body", "repeat")))
    long = draw(st.sampled_from(_LONG)) if form != "short" else 1
    once = 0
    for _ in range(bodies):
        count = draw(st.sampled_from((1, 2, 3))) * (long if form == "body" else 1)
        count = max(1, min(count, room // bodies))
        columns.body_count.append(count)
        columns.body_tile.append(draw(st.integers(*tiles)))
        once += count
    repeat = draw(st.integers(1, 2)) * (long if form == "repeat" else 1)
    columns.loop_repeat.append(max(1, min(repeat, room // once)))
    columns.body_ptr.append(len(columns.body_count))


def _tile(
    draw: st.DrawFn, columns: _Columns, resources: tuple[Resource, ...], chosen: tuple[int, ...], max_ticks: int
) -> None:
    """A chain of one to five stages on the chosen resources; those after the completing one are write-back."""
    length = draw(st.integers(1, 5))
    far = draw(st.sampled_from((1, 1, 1, 10)))
    for _ in range(length):
        resource = draw(st.sampled_from(chosen))
        ticks, latency = draw(st.integers(1, max_ticks)), draw(st.integers(0, max_ticks)) * far
        if resources[resource].tier < 0:
            useful = draw(st.integers(0, ticks))
            padding = draw(st.integers(0, ticks - useful))
            tail = ticks - useful - padding
            tail = draw(st.sampled_from((tail, tail, tail // 2)))
            split = draw(st.sampled_from(((0, useful, padding, tail),) * 3 + ((0, 0, 0, 0),)))
            access = Access.COMPUTE
        else:
            split = (draw(st.integers(0, 100)), 0, 0, 0)
            access = draw(st.sampled_from((Access.READ, Access.WRITE)))
        columns.stages.append((resource, access, ticks, latency, *split))
    columns.stage_ptr.append(len(columns.stages))
    columns.release_stage.append(draw(st.integers(0, length - 1)))
    columns.complete_stage.append(draw(st.integers(0, length - 1)))


@st.composite
def products(draw: st.DrawFn, max_ticks: int = 40, *, max_tiles: int = 1500) -> Program:
    """A stream of one to three kernels that look like blocked matrix products, with long loops at both levels.

    Waves of inner steps (load far, load near, matrix, sometimes vector), each closed by an epilogue that computes on
    the vector unit and stores near and far: work on one unit that goes on in the other's gaps, stores that hold up
    the loads of the next wave, states that repeat wave by wave but not at once.

    Parameters
    ----------
    max_ticks : int
        Ticks of a service and of a latency at most; those of the epilogue's stores are sometimes ten times as long.
    max_tiles : int
        Tiles of one kernel at most.
    """
    resources = (
        *(Resource(name=name, tier=tier, fair=draw(st.booleans())) for name, tier in (("l2", 1), ("hbm", 2))),
        *(Resource(name=name, tier=-1) for name in _UNITS),
    )
    columns = _Columns()
    kernels = draw(st.integers(1, 3))
    nests = draw(st.integers(1, kernels))
    for _ in range(nests):
        _product(draw, columns, max_ticks, max_tiles)
    nest = [*range(nests), *(draw(st.integers(0, nests - 1)) for _ in range(kernels - nests))]
    rows = [_kernel(draw, max_ticks, host_share=1) for _ in range(kernels)]
    needs = [[index - 1] if index else [] for index in range(kernels)]
    return _program(draw, resources, columns, nest, rows, needs)


def _product(draw: st.DrawFn, columns: _Columns, max_ticks: int, max_tiles: int) -> None:
    """One kernel: full waves, then the last one."""
    l2, hbm, matrix, vector = range(4)
    time, far = st.integers(1, max_ticks), draw(st.sampled_from((1, 1, 10)))
    load = [(hbm, Access.READ, draw(time), draw(time)), (l2, Access.READ, draw(time), draw(time))]
    inner = [*load, (matrix, Access.COMPUTE, draw(time), 0)]
    if draw(st.booleans()):
        inner.append((vector, Access.COMPUTE, draw(time), 0))
    store = [(l2, Access.WRITE, draw(time), draw(time)), (hbm, Access.WRITE, draw(time) * far, draw(time))]
    last = [*inner, (vector, Access.COMPUTE, draw(time), 0), *store]
    steps = draw(st.sampled_from((1, 3, 8, 30, 70)))
    waves = max(1, min(draw(st.sampled_from((1, 4, 12, 30))), max_tiles // (steps + 1)))
    for repeat in (waves, 1):
        for count, chain, end in ((steps, inner, len(inner) - 1), (1, last, len(last) - 2)):
            for resource, access, ticks, latency in chain:
                useful = draw(st.integers(0, ticks)) if access is Access.COMPUTE else 0
                tail = ticks - useful if access is Access.COMPUTE else 0
                size = 0 if access is Access.COMPUTE else ticks
                columns.stages.append((resource, access, ticks, latency, size, useful, 0, tail))
            columns.stage_ptr.append(len(columns.stages))
            columns.release_stage.append(end)
            columns.complete_stage.append(end)
            columns.body_count.append(count)
            columns.body_tile.append(len(columns.release_stage) - 1)
        columns.loop_repeat.append(repeat)
        columns.body_ptr.append(len(columns.body_count))
    columns.loop_ptr.append(len(columns.loop_repeat))
    columns.depth.append(draw(st.integers(1, 4)))
    columns.buffer_tier.append(0)
