"""How far off a prediction may be: errors known of kernels like those of a run, from `error_bands.json`.

`hiersim validate --write-bands` makes that file of measurements. A kernel belongs to a class: its kind, for products,
convolutions and attention the dtype too, and whether it takes less or more than 50 us. All kernels are taken to be off
to the same side, each by the mean absolute error of its class, so that nothing cancels:

    band = factor x sum over classes of share of the kernels' time x mean absolute error

Operators alone do not say how often that holds for a model, which launches kernels that no class knows of. The factor
is the one that measured models ask for: of their errors, each over its own sum, the quantile of split conformal
prediction, so that a further model of their kind lies inside with the coverage that the file states.

A class that was not measured on this design is *extrapolated*: it has the errors of all measured designs together.
The band is that of the kernels alone. A host is measured, not predicted: what launches took in measured models is told
beside it.

References
----------
J. Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani, L. Wasserman: Distribution-free predictive inference for regression,
Journal of the American Statistical Association 113, 2018 (split conformal prediction, residuals over a scale).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import HOST_ONLY, DType, IntArray, Kind
from hiersim.model.program import Program
from hiersim.model.timeline import Timeline
from hiersim.units import TICKS_PER_SECOND, show_ticks

FILE: Final = Path(__file__).with_suffix(".json")
VERSION: Final = 1
SHORT_TICKS: Final = 50 * 10**6
"""50 us: launch and latency decide shorter kernels, throughput longer ones."""
MODES: Final = ("eager", "compiled")
"""Who launches, in the order of `Launch`."""
POOL: Final = ""
"""Stands for all measured designs together."""
TYPED: Final = (Kind.GEMM, Kind.CONV, Kind.ATTENTION)
"""Kinds whose dtype decides which unit does them; all others are bound by memory."""
CHANGED: Final = "set to "
"""How the source of a value begins that `Design.replace` has set."""
HARMLESS: Final = ("host.", "placement.")
"""Values that say nothing of a kernel."""
NOTICED: Final = 0.05
"""Share of the time above which a class is named among what is extrapolated."""
_RANK: Final = (Kind.ATTENTION, Kind.CONV, Kind.GEMM, Kind.REDUCTION, Kind.SCATTER, Kind.GATHER, Kind.POINTWISE)
"""What a kernel is when it holds several kinds: the first of these that it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Errors of one class of kernels on one design, or on all together."""

    design: str
    """Empty: all measured designs together."""
    name: str
    """The class: `gemm bf16, above 50 us`."""
    n: int
    mape: float
    """Mean of |predicted / measured - 1|."""
    p90: float
    """Its 90th percentile."""
    geo: float
    """Geometric mean of predicted / measured."""
    shortest_s: float
    longest_s: float
    """Of the replayed kernels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What measured models make of the sum of their classes' errors."""

    coverage: float
    """Share of further models of their kind that lie inside the band."""
    n: int
    """Measured runs behind the factor."""
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassBand:
    """Kernels of one class in a run."""

    name: str
    kernels: int
    share: float
    """Of the time of all kernels."""
    n: int
    """Measurements behind the figures; 0: nothing like it was measured, and the largest error known is taken."""
    mape: float
    p90: float
    geo: float
    extrapolated: str
    """Why it is; empty where it was measured on this design."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBand:
    """How far off the kernels of a run may be, and what a slow host would make of it."""

    relative: float
    """Half-width of the band, as a share of the kernels' time: the factor of `Whole` times the sum over `rows`."""
    validated: float
    """Share of that time in classes that were measured on this design, in the range of their times."""
    host_s: float | None
    """What launching alone takes at the cost per launch of the measured models; None in one replay of a graph."""
    rows: tuple[ClassBand, ...]
    """Largest part of the band first."""
    extrapolated: tuple[str, ...]
    """What is extrapolated, and why; empty where nothing noticeable is."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        return {
            "relative": self.relative,
            "validated": self.validated,
            "host_s": self.host_s,
            "rows": [_row_dict(row) for row in self.rows],
            "extrapolated": list(self.extrapolated),
        }


def error_band(
    design: Design, graph: KernelGraph, program: Program, timeline: Timeline, launch: str = "stream"
) -> ErrorBand | None:
    """The band of a run; None where no kernel ran or nothing was ever measured.

    Parameters
    ----------
    launch : `stream` or `graph`.
    """
    bands, hosts = load_bands()
    if not bands or not int((timeline.end - timeline.start).sum()):
        return None
    changed = is_changed(design)
    rows = [
        _class_band(bands, None if changed else design.name, part)
        for part in parts_of(graph, program, timeline)
    ]  # fmt: skip
    return _combined(rows, design, changed, _host_s(hosts, graph) if launch == "stream" else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The kernels of one class in a run, whatever is known of them."""

    name: str
    kernels: int
    share: float
    """Of the time of all kernels."""
    shortest_s: float
    longest_s: float


def parts_of(graph: KernelGraph, program: Program, timeline: Timeline) -> tuple[Part, ...]:
    """The kernels of a run by class; none where they take no time."""
    ticks = timeline.end - timeline.start
    whole = int(ticks.sum())
    if not whole:
        return ()
    classes, owner = graph.derived(_classes), program.graph_kernel
    place = classes.place if owner is None else np.where(owner >= 0, classes.place[np.maximum(owner, 0)], classes.copy)
    place = 2 * place + (ticks < SHORT_TICKS)
    counts = np.bincount(place)
    shares = (np.bincount(place, weights=ticks) / whole).tolist()
    spans = [_span(ticks[place == key]) if count else (0.0, 0.0) for key, count in enumerate(counts.tolist())]
    return tuple(
        Part(
            name=class_name(classes.codes[key // 2], bool(key % 2)), kernels=count, share=shares[key],
            shortest_s=spans[key][0], longest_s=spans[key][1],
        )
        for key, count in enumerate(counts.tolist())
        if count
    )  # fmt: skip


def error_of(table: Mapping[tuple[str, str], Band], design: str | None, name: str) -> Band | None:
    """What is known of a class: on that design, or on all together; None where it was measured nowhere."""
    return table.get((design or "?", name)) or table.get((POOL, name))


def worst_of(table: Mapping[tuple[str, str], Band]) -> Band:
    """What stands for a class that was measured nowhere: the largest error known."""
    return max(table.values(), key=lambda item: (item.mape, item.name))


def is_changed(design: Design) -> bool:
    """Whether a value that kernels depend on was set after the design was read: then it is none that was measured."""
    return any(
        source.startswith(CHANGED) and not path.startswith(HARMLESS) and not path.endswith(".start")
        for path, source in reversed(tuple(design.sources.items()))  # the last change comes last
    )


def _host_s(hosts: Mapping[str, float], graph: KernelGraph) -> float | None:
    """Seconds of all launches, at what one took in measured models."""
    if any(mode not in hosts for mode in MODES):
        return None
    return math.fsum(count * hosts[mode] for count, mode in zip(graph.derived(_launches), MODES, strict=True))


def _launches(graph: KernelGraph) -> list[int]:
    """Kernels by who launches them, in the order of `MODES`."""
    counts: list[int] = np.bincount(graph.launch, minlength=len(MODES)).tolist()
    return counts


def _combined(rows: Sequence[ClassBand], design: Design, changed: bool, host_s: float | None) -> ErrorBand:
    ordered = sorted(rows, key=lambda row: (-row.share * row.mape, row.name))
    unknown = [row for row in ordered if row.extrapolated and row.share >= NOTICED]
    reasons = [f"{row.name}: {row.extrapolated}" for row in unknown]
    if len({row.extrapolated for row in unknown}) == 1 and len(unknown) > 1:
        reasons = [unknown[0].extrapolated]
    if changed and unknown:
        reasons = [f"{design.name} was changed for this run"]
    whole = load_whole()
    return ErrorBand(
        relative=(whole.factor if whole else 1.0) * math.fsum(row.share * row.mape for row in ordered),
        validated=math.fsum(row.share for row in ordered if not row.extrapolated),
        host_s=host_s,
        rows=tuple(ordered),
        extrapolated=tuple(reasons),
    )


def _class_band(table: Mapping[tuple[str, str], Band], design: str | None, part: Part) -> ClassBand:
    own, band, reason = table.get((design or "?", part.name)), error_of(table, design, part.name), ""
    if own is None:
        known = design is not None and any(where == design for where, _ in table)
        reason = "not measured on this design" if known else f"{design or 'a changed design'} was not measured"
    elif part.longest_s > own.longest_s or part.shortest_s < own.shortest_s:
        reason = f"kernels of {_time(own.shortest_s)} to {_time(own.longest_s)} were measured"
    if band is None:
        worst = worst_of(table)
        return ClassBand(
            name=part.name, kernels=part.kernels, share=part.share, n=0, mape=worst.mape, p90=worst.p90, geo=1.0,
            extrapolated="nothing like it was measured",
        )  # fmt: skip
    return ClassBand(
        name=part.name, kernels=part.kernels, share=part.share, n=band.n, mape=band.mape, p90=band.p90, geo=band.geo,
        extrapolated=reason,
    )  # fmt: skip


def _span(ticks: IntArray) -> tuple[float, float]:
    """Seconds of the shortest and the longest of some kernels."""
    return int(ticks.min()) / TICKS_PER_SECOND, int(ticks.max()) / TICKS_PER_SECOND


def _time(seconds: float) -> str:
    return show_ticks(round(seconds * TICKS_PER_SECOND))


class _Classes(NamedTuple):
    """The classes of a graph's kernels, but for their times."""

    codes: list[int]
    """Those that there are, and that of copies between tiers, which no graph has but a program may."""
    place: IntArray
    """(K,) index of each kernel's."""
    copy: int
    """Index of the copies'."""


def _classes(graph: KernelGraph) -> _Classes:
    codes, place = np.unique(np.append(class_codes(graph), _COPY), return_inverse=True)
    return _Classes(codes.tolist(), place[:-1], int(place[-1]))


_DTYPES: Final = len(DType)
_COPY: Final = int(Kind.COPY) * _DTYPES


def class_codes(graph: KernelGraph) -> IntArray:
    """(K,) kind x dtype of each kernel, as one number; see `class_name`."""
    operators = graph.operators
    rank = np.full(max(Kind) + 1, len(_RANK), np.int64)
    for position, kind in enumerate(_RANK):
        rank[int(kind)] = position
    rank[int(Kind.FLASH)] = rank[int(Kind.ATTENTION)]
    launched = ~np.isin(operators.kind, [int(kind) for kind in HOST_ONLY])
    own = np.where(launched, rank[operators.kind], len(_RANK) + 1)
    starts = graph.operator_ptr[:-1]
    best = np.minimum.reduceat(own, np.minimum(starts, max(0, len(own) - 1))) if len(own) else own
    kernel = np.repeat(np.arange(len(graph)), np.diff(graph.operator_ptr))
    first = np.full(len(graph), 0, np.int64)
    hits = np.flatnonzero(own == best[kernel])[::-1]
    first[kernel[hits]] = hits
    named = np.array([*(int(kind) for kind in _RANK), int(Kind.COPY), int(Kind.COPY)], np.int64)
    kinds = np.where(best == len(_RANK), operators.kind[first], named[np.minimum(best, len(_RANK))])
    typed = np.isin(kinds, [int(item) for item in TYPED])
    codes: IntArray = kinds * _DTYPES + np.where(typed, operators.dtype[first], 0)
    return codes


@cache
def class_name(code: int, short: bool) -> str:
    """`gemm bf16, above 50 us`; of kinds that memory binds without a dtype."""
    kind = Kind(code // _DTYPES)
    return class_name_of(kind, DType(code % _DTYPES) if kind in TYPED else None, short)


def class_name_of(kind: Kind, dtype: DType | None, short: bool) -> str:
    """The class of kernels of a kind."""
    named = f"{kind.name.lower()} {dtype.name.lower()}" if dtype is not None else kind.name.lower()
    return f"{named}, {'below' if short else 'above'} 50 us"


@cache
def load_bands() -> tuple[Mapping[tuple[str, str], Band], Mapping[str, float]]:
    """The bands that come with hiersim, by design and class, and seconds per launch by mode; none without the file."""
    if not FILE.exists():
        return {}, {}
    data = json.loads(FILE.read_text())
    bands = (Band(**row) for row in data["bands"])
    return {(band.design, band.name): band for band in bands}, {row["mode"]: row["launch_s"] for row in data["hosts"]}


@cache
def load_whole() -> Whole | None:
    """The factor that measured models ask for; None where the file has none, and the sum stands as it is."""
    if not FILE.exists():
        return None
    found = json.loads(FILE.read_text()).get("whole")
    return Whole(**found) if found else None


def _row_dict(row: ClassBand) -> dict[str, Any]:
    return {
        "class": row.name, "kernels": row.kernels, "share": row.share, "n": row.n, "mape": row.mape, "p90": row.p90,
        "geo": row.geo, "extrapolated": row.extrapolated,
    }  # fmt: skip
