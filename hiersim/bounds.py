"""Closed-form lower bounds of a program: what no schedule can beat. They are the oracles of every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hiersim.model.design import Design, Tier
from hiersim.model.operators import IntArray
from hiersim.model.program import Program
from hiersim.units import TICKS_PER_SECOND, UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Lower bounds of one run: times in ticks, traffic in bytes."""

    compute_ticks: int
    """Useful FLOPs at datasheet peak, the busiest unit."""
    link_ticks: Mapping[str, int]
    """Per tier: the bytes moved at its ports ÷ achievable bandwidth."""
    critical_path_ticks: int
    """Longest chain of launches and dependent kernels, each at its own bound."""
    compulsory_bytes: int
    """External inputs read once and outputs written once, at the home tier."""

    @property
    def ticks(self) -> int:
        """The largest time bound."""
        return max(self.compute_ticks, self.critical_path_ticks, *self.link_ticks.values())


def bounds(program: Program, design: Design, moved: tuple[IntArray, IntArray] | None = None) -> Bounds:
    """All bounds of `program`, which was lowered for `design`; `moved` is its traffic, when that is at hand."""
    read, write = moved or program.traffic()
    links = {
        tier.name: _link_ticks(tier, int(read[index]), int(write[index]))
        for index, tier in enumerate(design.memory)
        if tier.has_port
    }
    return Bounds(
        compute_ticks=max(program.peak_ticks),
        link_ticks=links,
        critical_path_ticks=critical_path(program),
        compulsory_bytes=program.compulsory_bytes,
    )


def _link_ticks(tier: Tier, read: int, write: int) -> int:
    if tier.full_duplex:
        pairs = [(read, tier.read_bandwidth), (write, tier.write_bandwidth)]
    else:
        pairs = [(read + write, tier.bandwidth)]
    ticks = []
    for size, rate in pairs:
        unlimited = rate is None or rate >= UNLIMITED
        ticks.append(0 if unlimited else size * TICKS_PER_SECOND // max(1, int(rate * tier.efficiency)))  # type: ignore[operator]
    return max(ticks)


def kernel_bounds(program: Program) -> IntArray:
    """(K,) least ticks between a kernel's start and its end: its busiest resource, or its first tile's chain."""
    nests, resources = len(program.depth), len(program.resources)
    stages_per_tile = np.diff(program.stage_ptr)
    tile = np.repeat(np.arange(len(stages_per_tile)), stages_per_tile)
    awaited = np.arange(len(tile)) - program.stage_ptr[tile] <= program.complete_stage[tile]
    busy = np.zeros((nests, resources), np.int64)
    amount = program.stage_ticks * program.tile_repeats()[tile]
    np.add.at(busy, (program.tile_nests()[tile][awaited], program.stage_resource[awaited]), amount[awaited])
    chain = np.zeros(len(stages_per_tile), np.int64)
    np.add.at(chain, tile, np.where(awaited, program.stage_ticks + program.stage_latency, 0))
    least = busy.max(axis=1, initial=0)
    filled = np.flatnonzero(np.diff(program.loop_ptr))
    first_tile = program.body_tile[program.body_ptr[program.loop_ptr[filled]]]
    least[filled] = np.maximum(least[filled], chain[first_tile])
    return np.asarray(least[program.nest], np.int64)


def critical_path(program: Program) -> int:
    """Ticks of the longest chain through host launches and kernel dependences."""
    if program.in_stream:
        return _stream_path(program)
    least = kernel_bounds(program).tolist()
    launched = (np.cumsum(program.host_ticks) + program.launch_latency).tolist()
    start = program.start_ticks.tolist()
    ptr, needs = program.needs_ptr.tolist(), program.needs.tolist()
    finish: list[int] = []
    for kernel, duration in enumerate(least):
        ready = max((finish[need] for need in needs[ptr[kernel] : ptr[kernel + 1]]), default=0)
        finish.append(max(ready, launched[kernel]) + start[kernel] + duration)
    return max(finish, default=0)


def _stream_path(program: Program) -> int:
    """`critical_path` of a stream: each kernel ends its own time after the later of its launch and its predecessor."""
    if not len(program):
        return 0
    own = program.start_ticks + kernel_bounds(program)
    passed = np.cumsum(own)
    launched = np.cumsum(program.host_ticks) + program.launch_latency
    return int(passed[-1] + max(int((launched - passed + own).max()), 0))
