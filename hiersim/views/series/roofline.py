"""The hierarchical roofline: a roof per tier, and every kernel once below each of them.

Williams, Waterman, Patterson: Roofline, an insightful visual performance model (CACM 2009); a roof for every level of
the memory as Ilic, Pratas and Sousa (2014) and Yang, Kurth and Williams (2020) draw it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hiersim.lowering.working_sets import family
from hiersim.model.design import Design
from hiersim.model.operators import DType, IntArray
from hiersim.model.program import Program
from hiersim.results import Result
from hiersim.units import TICKS_PER_SECOND, UNLIMITED, show_bandwidth, show_rate
from hiersim.views.tables import written

MOST_POINTS: Final = 60
"""Kernels of one run that are drawn, longest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """A tier's datasheet bandwidth, or a unit's peak."""

    name: str
    tier: str | None
    rate: int
    """Bytes per second of a tier, FLOP per second of a unit."""
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoofLine:
    """A roof as it is drawn, from (FLOP per byte, FLOP per second) to the same."""

    roof: Roof
    begin: tuple[float, float]
    end: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Kernels of one name and one shape at the port of one tier.

    Its time ends when the results have arrived for others; bytes that are written back behind that count as well, so
    that a kernel which mostly writes may stand a little above its roof.
    """

    tier: str
    name: str
    kernels: int
    flops: int
    bytes: int
    ticks: int
    share: float
    """Of the time of all kernels."""

    @property
    def intensity(self) -> float:
        """FLOP per byte at the tier's port."""
        return self.flops / self.bytes

    @property
    def rate(self) -> float:
        """FLOP per second."""
        return self.flops * TICKS_PER_SECOND / self.ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPoints:
    """One run below the roofs."""

    label: str
    kernels: tuple[Point, ...]
    """Longest first, at each tier."""
    whole: tuple[Point, ...]
    """All its kernels as one point, at each tier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """Roofs of one design and the runs on it."""

    design: str
    bandwidths: tuple[Roof, ...]
    """Of shared tiers, nearest first."""
    peaks: tuple[Roof, ...]
    """Of the units that did any work, fastest first."""
    runs: tuple[RunPoints, ...]

    @property
    def ends(self) -> tuple[RunPoints, ...]:
        """The runs that are drawn: the first and, of several, the last."""
        return self.runs[:1] if len(self.runs) == 1 else (self.runs[0], self.runs[-1])

    @property
    def peak(self) -> int:
        """The highest roof."""
        return max(roof.rate for roof in self.peaks)

    @property
    def ridges(self) -> tuple[float, ...]:
        """Where the slope of each tier meets the highest roof, in FLOP per byte."""
        return tuple(self.peak / roof.rate for roof in self.bandwidths)

    def lines(self, low: float, high: float) -> tuple[RoofLine, ...]:
        """Slopes from the left edge to their ridge, and peaks from the nearest ridge to the right edge.

        The edges are `low` and `high` in FLOP per byte, or farther out, so that every ridge has room beside it. None
        where no unit did any work.
        """
        if not self.peaks:
            return ()
        ridges = self.ridges
        low, high = min([low, *(ridge / 10 for ridge in ridges)]), max([high, *(3 * ridge for ridge in ridges)])
        slopes = [
            RoofLine(roof=roof, begin=(low, low * roof.rate), end=(ridge, float(self.peak)))
            for roof, ridge in zip(self.bandwidths, ridges, strict=True)
        ]
        begins = [min((roof.rate / band.rate for band in self.bandwidths), default=low) for roof in self.peaks]
        flats = [
            RoofLine(roof=roof, begin=(begin, roof.rate), end=(high, roof.rate))
            for roof, begin in zip(self.peaks, begins, strict=True)
        ]
        return (*slopes, *flats)


def roofline(results: Sequence[Result], labels: Sequence[str] | None = None) -> Roofline:
    """The roofline of runs on the first one's design; runs on other designs are left out."""
    first = results[0]
    names = labels or [result.fusion for result in results]
    chosen = [(result, name) for result, name in zip(results, names, strict=True) if result.design == first.design]
    return Roofline(
        design=first.design.name,
        bandwidths=tuple(_bandwidths(first.design)),
        peaks=tuple(sorted(_peaks(first), key=lambda roof: (-roof.rate, roof.name))),
        runs=tuple(_run_points(result, name) for result, name in chosen),
    )


def _bandwidths(design: Design) -> list[Roof]:
    roofs = []
    for tier in design.shared_tiers:
        rate = int(tier.bandwidth or tier.read_bandwidth or UNLIMITED)
        if rate < UNLIMITED:
            roofs.append(
                Roof(name=tier.name, tier=tier.name, rate=rate, label=f"{written(tier.name)} {show_bandwidth(rate)}")
            )
    return roofs


def _peaks(result: Result) -> list[Roof]:
    """Each unit's peak in the dtype in which it did most of its work."""
    compute, table = result.design.compute, result.graph.operators
    vector = table.vector_flops + table.special_ops
    found = []
    if compute.matrix is not None and table.matrix_flops.any():
        dtype = _main_dtype(table.dtype, table.matrix_flops)
        dtype = compute.matrix.stand_in.get(dtype, dtype)
        found.append(("matrix unit", dtype, compute.matrix.peak.get(dtype)))
    if vector.any() or not found:
        dtype = _main_dtype(table.dtype, vector)
        dtype = dtype if dtype in compute.vector.peak else DType.FP32
        found.append(("vector unit", dtype, compute.vector.peak.get(dtype)))
    return [
        Roof(name=name, tier=None, rate=int(rate), label=f"{name} {show_rate(rate)} {dtype.name.lower()}")
        for name, dtype, rate in found
        if rate is not None and rate < UNLIMITED
    ]


def _main_dtype(dtypes: IntArray, work: IntArray) -> DType:
    return max(DType, key=lambda dtype: (int(work[dtypes == dtype].sum()), -int(dtype)))


def kernel_flops(result: Result) -> IntArray:
    """(K,) useful FLOPs of each kernel of the program, special functions as one each; copies have none."""
    table, graph = result.graph.operators, result.graph
    work = table.matrix_flops - table.masked_flops + table.vector_flops + table.special_ops
    total = np.concatenate(([0], np.cumsum(work)))
    of_kernel = np.diff(total[graph.operator_ptr])
    flops = np.zeros(len(result.program), np.int64)
    flops[result.program.places] = of_kernel
    return flops


def nest_bytes(program: Program) -> IntArray:
    """(N, tiers) bytes that one kernel of each loop nest moves at each tier's port, both ways."""
    tier = np.array([resource.tier for resource in program.resources], np.int64)[program.stage_resource]
    tile = np.repeat(np.arange(len(program.stage_ptr) - 1), np.diff(program.stage_ptr))
    moved = np.zeros((len(program.depth), len(program.tiers)), np.int64)
    rows = np.flatnonzero(tier >= 0)
    size = program.stage_bytes * program.tile_repeats()[tile]
    np.add.at(moved, (program.tile_nests()[tile[rows]], tier[rows]), size[rows])
    return moved


def _run_points(result: Result, label: str) -> RunPoints:
    program, timeline = result.program, result.timeline
    span = timeline.end - timeline.start
    flops, moved = kernel_flops(result), nest_bytes(program)
    shared = [program.tiers.index(tier.name) for tier in result.design.shared_tiers if tier.name in program.tiers]
    groups: dict[tuple[int, str], list[int]] = {}
    for kernel, (nest, name) in enumerate(zip(program.nest.tolist(), program.kernel_names, strict=True)):
        groups.setdefault((nest, family(name)), []).append(kernel)
    whole_time = max(int(span.sum()), 1)
    longest = sorted(groups.items(), key=lambda item: (-int(span[item[1]].sum()), item[0]))[:MOST_POINTS]
    kernels = [
        _point(program.tiers[tier], name, members, flops, moved[program.nest[members], tier], span, whole_time)
        for (_, name), members in longest
        for tier in shared
    ]
    everything = list(range(len(program)))
    whole = [
        _point(program.tiers[tier], label, everything, flops, moved[program.nest, tier], span, whole_time)
        for tier in shared
    ]
    return RunPoints(label=label, kernels=_drawable(kernels), whole=_drawable(whole))


def _point(
    tier: str, name: str, members: list[int], flops: IntArray, moved: IntArray, span: IntArray, whole_time: int
) -> Point:
    ticks = int(span[members].sum())
    return Point(
        tier=tier, name=name, kernels=len(members), flops=int(flops[members].sum()), bytes=int(moved.sum()),
        ticks=ticks, share=ticks / whole_time,
    )  # fmt: skip


def _drawable(points: list[Point]) -> tuple[Point, ...]:
    """A point needs work, bytes and time to have a place on logarithmic axes."""
    return tuple(point for point in points if point.flops and point.bytes and point.ticks)
