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


def bounds(program: Program, design: Design) -> Bounds:
    """All bounds of `program`, which was lowered for `design`."""
    read, write = program.traffic()
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
    kernels, resources = len(program), len(program.resources)
    counts, owner = program.stage_counts(), program.stage_kernels()
    stages_per_tile = np.diff(program.stage_ptr)
    position = np.arange(len(program.stage_ticks)) - np.repeat(program.stage_ptr[:-1], stages_per_tile)
    awaited = position <= np.repeat(program.complete_stage, stages_per_tile)
    busy = np.zeros((kernels, resources), np.int64)
    np.add.at(busy, (owner[awaited], program.stage_resource[awaited]), (program.stage_ticks * counts)[awaited])
    passing = np.where(awaited, program.stage_ticks + program.stage_latency, 0)
    chain = np.zeros(len(stages_per_tile), np.int64)
    np.add.at(chain, np.repeat(np.arange(len(stages_per_tile)), stages_per_tile), passing)
    first = np.zeros(kernels, np.int64)
    for kernel in range(kernels):
        loop = int(program.loop_ptr[kernel])
        if loop < program.loop_ptr[kernel + 1]:
            first[kernel] = chain[program.body_tile[program.body_ptr[loop]]]
    return np.asarray(np.maximum(busy.max(axis=1, initial=0), first), np.int64)


def critical_path(program: Program) -> int:
    """Ticks of the longest chain through host launches and kernel dependences."""
    least = kernel_bounds(program).tolist()
    launched = (np.cumsum(program.host_ticks) + program.launch_latency).tolist()
    start = program.start_ticks.tolist()
    ptr, needs = program.needs_ptr.tolist(), program.needs.tolist()
    finish: list[int] = []
    for kernel, duration in enumerate(least):
        ready = max((finish[need] for need in needs[ptr[kernel] : ptr[kernel + 1]]), default=0)
        finish.append(max(ready, launched[kernel]) + start[kernel] + duration)
    return max(finish, default=0)
