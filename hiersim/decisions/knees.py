"""The knees of a capacity: where a larger tier stops to help, and which working set it then holds.

The curve is replayed at sizes in even ratios and at the ends of the working sets of the run, so that no knee falls
between two of them. A knee is a size from which on doubling the tier saves clearly less than it did before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log2
from typing import Any, Final

from hiersim.decisions.case import Case, checked_time
from hiersim.decisions.elasticity import Progress
from hiersim.decisions.notebook import html_table, signed_percent
from hiersim.errors import HiersimError, nearest
from hiersim.lowering.host import STREAM
from hiersim.lowering.working_sets import WorkingSet, reuses, working_sets
from hiersim.lowering.workload import prepare
from hiersim.model.design import Design, Scope, Tier
from hiersim.model.trace import Trace
from hiersim.presenting import drawn_by
from hiersim.results import Result
from hiersim.run import DEFAULT_ENGINE, kernels_of
from hiersim.units import show_bytes, show_ticks

PER_OCTAVE: Final = 2
LEAST: Final = 2**16
MOST_SETS: Final = 24
"""Working sets whose ends are replayed as well, those that save most."""
BEND: Final = 0.005
"""A knee saves at least this share of the time more per doubling before it than after it."""
STRAIGHT: Final = 0.03
"""Part of what all sizes can save by which a stretch of the curve may differ from a straight line."""
LEAST_SHARE: Final = 0.002
"""… and the share of the present makespan that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The run with the tier at one size."""

    capacity: int
    ticks: int
    home_bytes: int
    """Read and written at the last tier that kernels address."""
    usd: float | None
    """Of the tier, where it has a price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knee:
    """A size up to which the tier pays more than beyond it."""

    point: Point
    saved: float
    """Share of the present makespan that the tier saves since the knee before (or the smallest size)."""
    before: float
    """Share of the present makespan that doubling the tier saved on the way to it."""
    after: float
    """… saves on the way to the next size."""
    held: tuple[WorkingSet, ...]
    """What the tier holds from here on and did not at the size before, the largest savings first."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Time and traffic over the capacity of one tier, and its knees."""

    case: Case
    result: Result
    tier: str
    points: tuple[Point, ...]
    knees: tuple[Knee, ...]
    """The one that saves most first."""

    def enough(self, share: float = 0.95) -> Point:
        """The smallest size that gives this share of what all sizes can save."""
        times = [point.ticks for point in self.points]
        worst, best = max(times), min(times)
        goal = worst - share * (worst - best)
        return next(point for point in self.points if point.ticks <= goal)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        return {
            **self.case.head(self.result),
            "tier": self.tier,
            "enough_bytes": self.enough().capacity,
            "points": [_point(point) for point in self.points],
            "knees": [
                {
                    **_point(knee.point),
                    "saved_share": knee.saved,
                    "before_share": knee.before,
                    "after_share": knee.after,
                    "working_sets": [
                        {
                            "held_bytes": item.held_bytes,
                            "saved_bytes": item.saved_bytes,
                            "reuse": item.parts[0].reuse.value,
                            "role": item.parts[0].role,
                            "name": item.parts[0].kernel,
                        }
                        for item in knee.held
                    ],
                }
                for knee in self.knees
            ],
        }

    def __repr__(self) -> str:
        found = ", ".join(show_bytes(knee.point.capacity) for knee in self.knees)
        return f"Curve({self.case.title}: {self.tier} at {len(self.points)} sizes, knees at {found or 'none'})"

    plot = drawn_by("hiersim.views.plots.choices:plot_curve", "Time over the capacity of the tier, knees marked.")

    def _repr_html_(self) -> str:
        rows = [
            (
                show_bytes(knee.point.capacity),
                show_ticks(knee.point.ticks),
                signed_percent(-knee.saved),
                knee_words(knee),
            )
            for knee in self.knees
        ]
        return html_table(
            f"{self.case.title} · {self.tier}", ("knee at", "time", "beside the knee before", "holds"), rows
        )


def knee_words(knee: Knee) -> str:
    """The working set that matters most at a knee."""
    if not knee.held:
        return "–"
    part = knee.held[0].parts[0]
    return f"{part.reuse.value} of {part.role} by {part.kernel}"


def _point(point: Point) -> dict[str, Any]:
    return {
        "capacity_bytes": point.capacity,
        "time_s": point.ticks / 1e12,
        "home_bytes": point.home_bytes,
        "usd": point.usd,
    }


def knees(
    trace: Trace,
    design: Design,
    fusion: str = "eager",
    *,
    tier: str | None = None,
    sizes: Sequence[int] | None = None,
    launch: str = STREAM,
    engine_name: str = DEFAULT_ENGINE,
    changes: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Curve:
    """Replay `trace` with one tier of `design` at many sizes, and name the knees of the curve.

    Parameters
    ----------
    trace, design, fusion, launch, engine_name, changes
        As for `simulate`.
    tier : str, optional
        Which tier; the largest shared cache by default.
    sizes : sequence of int, optional
        Bytes, at least three sizes; by default two to the octave from an eighth of the smallest working set that
        matters to twice the largest (at least a quarter to four times the present size), and the ends of the working
        sets.
    progress : callable, optional
        Told before each size.

    Raises
    ------
    HiersimError
        No such tier, a design without a shared cache and no tier named, or too few sizes at which the model fits.
    """
    case = Case(
        trace=trace, design=design, fusion=fusion, launch=launch, engine_name=engine_name, changes=changes or {}
    )
    place = _chosen(design, tier)
    result = case.run()
    checked_time(result)
    sets = _sets(case) if place.is_shared_cache else ()
    asked = sorted(set(sizes)) if sizes is not None else _grid(place, sets, design)
    points = []
    for done, size in enumerate(asked):
        if progress:
            progress(f"{place.name} {size} B", done, len(asked))
        found = case.fits({f"memory.{place.name}.capacity": size})
        if found is not None:
            points.append(_point_of(found, place.name, size))
    if len(points) < 3:
        raise HiersimError(
            f"the model runs at {len(points)} of {len(asked)} sizes of '{place.name}'",
            key=f"memory.{place.name}.capacity", expected="at least three sizes at which it fits",
        )  # fmt: skip
    bends = tuple(sorted(_knees(points, sets, place, int(result.makespan)), key=lambda knee: -knee.saved))
    return Curve(case=case, result=result, tier=place.name, points=tuple(points), knees=bends)


def _chosen(design: Design, name: str | None) -> Tier:
    if name is not None:
        names = [tier.name for tier in design.memory]
        if name not in names:
            raise HiersimError(f"{design.name} has no tier '{name}'", key="--tier", expected=nearest(name, names))
        return design.tier(name)
    caches = [tier for tier in design.memory if tier.is_shared_cache]
    if not caches:
        names = [tier.name for tier in design.memory if tier.scope is not Scope.HOST]
        raise HiersimError(f"{design.name} has no shared cache", key="--tier", expected=f"one of {', '.join(names)}")
    return max(caches, key=lambda tier: int(tier.capacity))


def _sets(case: Case) -> tuple[WorkingSet, ...]:
    """The working sets of the run that matter, the one that saves most first."""
    graph = kernels_of(case.trace, case.design, case.fusion)
    found = working_sets(graph, reuses(graph.derived(prepare), case.design))
    return found[:MOST_SETS]


def _grid(place: Tier, sets: Sequence[WorkingSet], design: Design) -> list[int]:
    """Sizes in even ratios, and those at which the tier begins to serve, and fully serves, each working set."""
    usable = float(place.usable)
    ends = [round(size / usable) for item in sets for size in (item.begin_bytes, item.held_bytes) if size > 0]
    low = max(LEAST, min([int(place.capacity) // 4, *(end for end in ends)]))
    high = max([4 * int(place.capacity), *(2 * end for end in ends)])
    if place.name != design.home.name and place.scope is not Scope.CORE:
        high = min(high, int(design.home.capacity))
    if place.scope is Scope.CORE or not sets:
        low, high = max(1024, int(place.capacity) // 8), 8 * int(place.capacity)
    steps = max(2, round(PER_OCTAVE * log2(high / low)))
    even = [round(low * (high / low) ** (step / steps)) for step in range(steps + 1)]
    return sorted({*even, int(place.capacity), *(end for end in ends if low <= end <= high)})


def _point_of(result: Result, tier: str, size: int) -> Point:
    return Point(
        capacity=size, ticks=int(result.makespan), home_bytes=int(result.home_bytes), usd=result.memory_cost[tier]
    )


def _knees(points: Sequence[Point], sets: Sequence[WorkingSet], place: Tier, base: int) -> list[Knee]:
    """Corners of the curve at which the saving per doubling falls by more than `BEND` of the present makespan."""
    times = [point.ticks for point in points]
    tolerance = max(STRAIGHT * (max(times) - min(times)), LEAST_SHARE * base)
    corners = [points[index] for index in _corners(points, 0, len(points) - 1, tolerance)]
    slopes = [(near.ticks - far.ticks) / base / log2(far.capacity / near.capacity) for near, far in pairwise(corners)]
    found = []
    for index in range(1, len(corners) - 1):
        before, after = slopes[index - 1], slopes[index]
        if before > BEND and before - after > BEND:
            held = _held(sets, place, corners[index - 1].capacity, corners[index].capacity)
            saved = (corners[index - 1].ticks - corners[index].ticks) / base
            found.append(Knee(point=corners[index], saved=saved, before=before, after=after, held=held))
    return found


def _corners(points: Sequence[Point], first: int, last: int, tolerance: float) -> list[int]:
    """Ends of the fewest straight lines over ln capacity that keep within `tolerance` of every time.

    Ramer, An iterative procedure for the polygonal approximation of plane curves, 1972; Douglas and Peucker, 1973.
    """
    one, other = points[first], points[last]
    span = log2(other.capacity / one.capacity)

    def off(index: int) -> float:
        along = log2(points[index].capacity / one.capacity) / span
        return abs(points[index].ticks - one.ticks - along * (other.ticks - one.ticks))

    worst = max(range(first + 1, last), key=off, default=first)
    if worst == first or off(worst) <= tolerance:
        return [first, last]
    return [*_corners(points, first, worst, tolerance)[:-1], *_corners(points, worst, last, tolerance)]


def _held(sets: Sequence[WorkingSet], place: Tier, small: int, large: int) -> tuple[WorkingSet, ...]:
    """Working sets that a tier of `large` bytes holds whole and one of `small` does not."""
    usable = float(place.usable)
    return tuple(item for item in sets if small < round(item.held_bytes / usable) <= large)
