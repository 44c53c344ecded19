"""Closed-form lower bounds of a program: what no schedule can beat. They are the oracles of every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hiersim.model.design import Design, Place
from hiersim.model.operators import IntArray
from hiersim.model.program import Program
from hiersim.tally import Tally, longest_chain, tally
from hiersim.units import TICKS_PER_SECOND, UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Lower bounds of one run: times in ticks, traffic in bytes."""

    compute_ticks: int
    """Useful FLOPs at datasheet peak, the busiest unit."""
    link_ticks: Mapping[str, int]
    """Per tier and link: the bytes moved at its ports ÷ achievable bandwidth."""
    critical_path_ticks: int
    """Longest chain of launches and dependent kernels, each at its own bound."""
    compulsory_bytes: int
    """External inputs read once and outputs written once, at the home tier."""

    @property
    def ticks(self) -> int:
        """The largest time bound."""
        return max(self.compute_ticks, self.critical_path_ticks, *self.link_ticks.values())


def bounds(program: Program, design: Design, sums: Tally | None = None) -> Bounds:
    """All bounds of `program`, which was lowered for `design`; `sums` is its tally, when that is at hand."""
    sums = sums or tally(program)
    places = {place.name: place for place in design.places}
    links = {
        name: _link_ticks(places[name], read, write)
        for name, read, write in zip(program.tiers, sums.read.tolist(), sums.write.tolist(), strict=True)
        if places[name].has_port
    }
    return Bounds(
        compute_ticks=max(program.peak_ticks),
        link_ticks=links,
        critical_path_ticks=longest_chain(program, sums.least),
        compulsory_bytes=program.compulsory_bytes,
    )


def _link_ticks(tier: Place, read: int, write: int) -> int:
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
    return np.asarray(tally(program).least[program.nest], np.int64)


def critical_path(program: Program) -> int:
    """Ticks of the longest chain through host launches and kernel dependences."""
    return longest_chain(program, tally(program).least)
