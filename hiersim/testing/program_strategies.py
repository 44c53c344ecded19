"""Random small `Program`s: DAGs of kernels, nested loops, chains of stages on a few ports and units."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from hiersim.model.operators import IntArray, csr
from hiersim.model.program import Access, Program, Resource

_TIERS = ("smem", "l2", "hbm")
_PORTS = (("l2", 1), ("hbm.read", 2), ("hbm.write", 2), ("hbm", 2))
_UNITS = ("matrix", "vector")


@dataclass(slots=True)
class _Columns:
    """Columns of a program under construction."""

    loop_ptr: list[int] = field(default_factory=lambda: [0])
    loop_repeat: list[int] = field(default_factory=list)
    body_ptr: list[int] = field(default_factory=lambda: [0])
    body_count: list[int] = field(default_factory=list)
    body_tile: list[int] = field(default_factory=list)
    stage_ptr: list[int] = field(default_factory=lambda: [0])
    release: list[int] = field(default_factory=list)
    complete: list[int] = field(default_factory=list)
    stages: list[tuple[int, ...]] = field(default_factory=list)


@st.composite
def programs(draw: st.DrawFn, max_kernels: int = 4, max_ticks: int = 6) -> Program:
    """A program with at most `max_kernels` kernels whose services take at most `max_ticks` ticks each."""
    resources = _resources(draw)
    kernels = draw(st.sampled_from(range(1, max_kernels + 1)))
    columns = _Columns()
    for _ in range(kernels):
        _kernel(draw, columns, resources, max_ticks)
    small = st.integers(0, max_ticks)
    needs = [[need for need in range(kernel) if draw(st.booleans())] for kernel in range(kernels)]
    needs_ptr, needs_values = csr(needs)
    return Program(
        tiers=_TIERS,
        resources=resources,
        queue=draw(st.integers(1, 3)),
        kernel_names=tuple(f"kernel{index}" for index in range(kernels)),
        host_ticks=_column(draw, kernels, small),
        host_sync=_column(draw, kernels, st.integers(0, 1)),
        launch_latency=_column(draw, kernels, small),
        start_ticks=_column(draw, kernels, st.integers(0, 3)),
        needs_ptr=needs_ptr,
        needs=needs_values,
        nest=np.arange(kernels, dtype=np.int64),
        depth=_column(draw, kernels, st.integers(1, 4)),
        buffer_tier=np.zeros(kernels, np.int64),
        **_arrays(columns),
        free_bytes=np.zeros((2, len(_TIERS)), np.int64),
        peak_bytes=np.zeros(len(_TIERS), np.int64),
        flops=(0, 0),
        peak_ticks=(0, 0),
        compulsory_bytes=0,
        warnings=(),
    )


def _resources(draw: st.DrawFn) -> tuple[Resource, ...]:
    """One to four ports and units."""
    ports = draw(st.lists(st.sampled_from(_PORTS), max_size=2, unique=True))
    units = draw(st.lists(st.sampled_from(_UNITS), min_size=0 if ports else 1, max_size=2, unique=True))
    return (
        *(Resource(name=name, tier=tier) for name, tier in ports),
        *(Resource(name=name, tier=-1) for name in units),
    )


def _kernel(draw: st.DrawFn, columns: _Columns, resources: tuple[Resource, ...], max_ticks: int) -> None:
    """Tile types of one kernel, and loops over them; at most 16 tiles. A kernel may be empty."""
    first = len(columns.release)
    for _ in range(draw(st.integers(1, 3))):
        _tile(draw, columns, resources, max_ticks)
    types = st.integers(first, len(columns.release) - 1)
    for _ in range(draw(st.sampled_from((1, 2, 1, 2, 0)))):
        columns.loop_repeat.append(draw(st.integers(1, 2)))
        for _ in range(draw(st.integers(1, 2))):
            columns.body_count.append(draw(st.sampled_from((1, 2, 3))))
            columns.body_tile.append(draw(types))
        columns.body_ptr.append(len(columns.body_count))
    columns.loop_ptr.append(len(columns.loop_repeat))


def _tile(draw: st.DrawFn, columns: _Columns, resources: tuple[Resource, ...], max_ticks: int) -> None:
    """A chain of one to five stages; those after the completing one are write-back."""
    length = draw(st.integers(1, 5))
    for _ in range(length):
        resource = draw(st.integers(0, len(resources) - 1))
        ticks, latency = draw(st.integers(1, max_ticks)), draw(st.integers(0, max_ticks))
        if resources[resource].tier < 0:
            useful = draw(st.integers(0, ticks))
            padding = draw(st.integers(0, ticks - useful))
            split = (0, useful, padding, ticks - useful - padding)
            access = Access.COMPUTE
        else:
            split = (draw(st.integers(0, 100)), 0, 0, 0)
            access = draw(st.sampled_from((Access.READ, Access.WRITE)))
        columns.stages.append((resource, access, ticks, latency, *split))
    columns.stage_ptr.append(len(columns.stages))
    columns.release.append(draw(st.integers(0, length - 1)))
    columns.complete.append(draw(st.integers(0, length - 1)))


def _column(draw: st.DrawFn, length: int, values: st.SearchStrategy[int]) -> IntArray:
    return np.array([draw(values) for _ in range(length)], np.int64)


def _arrays(columns: _Columns) -> dict[str, IntArray]:
    names = ("resource", "access", "ticks", "latency", "bytes", "useful", "padding", "tail")
    table = np.array(columns.stages, np.int64).reshape(-1, len(names)).T
    lists = {
        "loop_ptr": columns.loop_ptr,
        "loop_repeat": columns.loop_repeat,
        "body_ptr": columns.body_ptr,
        "body_count": columns.body_count,
        "body_tile": columns.body_tile,
        "stage_ptr": columns.stage_ptr,
        "release_stage": columns.release,
        "complete_stage": columns.complete,
    }
    return {
        **{f"stage_{name}": column.copy() for name, column in zip(names, table, strict=True)},
        **{name: np.array(values, np.int64) for name, values in lists.items()},
    }
