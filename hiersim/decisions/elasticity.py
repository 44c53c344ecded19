"""Elasticities: by how many per cent a run gets faster when a resource gets one per cent better.

    elasticity = d ln speed / d ln resource,        speed = 1 / makespan,

of a time (a latency, a launch) with respect to 1 / time, so that buying more is always to the right. A run that only
computes has 1 for its unit and 0 elsewhere. All rates k times as high and all times 1/k as long give 1/k of the
makespan (law 8); by Euler's theorem on homogeneous functions the elasticities of rates and times therefore add up to 1.

Where only one service on the critical path depends on a resource, the makespan is a + b/resource, and with elasticity e
a resource that is better by g gives exactly

    makespan(g) = makespan · (1 + e · (1/g - 1)).

The makespan is continuous in a rate but not smooth: it bends where another resource takes over, and jumps where the
lowering chooses another tile. So the central difference is taken with the largest step at which both sides agree; where
none does, each side stands for itself. Then the law is held against replays with 10 % more and 10 % less, and
half-way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from math import exp, log, sqrt
from typing import Any, Final, NamedTuple

from hiersim.decisions.case import Case, checked_time, dollars, joules
from hiersim.decisions.notebook import html_table, signed_percent
from hiersim.decisions.resources import Resource, Sense, resource, resources
from hiersim.lowering.host import STREAM
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.results import Result
from hiersim.run import DEFAULT_ENGINE

STEPS: Final = (0.01, 0.0025, 0.0005)
"""Steps of ln resource, tried in turn until both sides agree."""
LARGEST_STEP: Final = 0.1
TOLERATED_NOISE: Final = 0.02
"""A step may not be so small that rounding every service by a tick could move the elasticity by more than this."""
AGREE: Final = 0.005
"""Sides that differ by no more, and by the bend of a + b/resource itself, are one value."""
BEND: Final = 0.15
"""How much the sides of a + b/resource differ at most, per ln between them: they differ by e · (1 - e) · half of it."""
WIDE: Final = 1.1
"""The factor of the replays that the law is held against."""
HOLDS: Final = 0.01
"""The law holds where it gives the replayed time within this."""
NOTHING: Final = 5e-5
"""An elasticity below this is none."""

Progress = Callable[[str, int, int], None]


class Shape(Enum):
    """How the speed follows a resource around its present value."""

    FLAT = "flat"
    """Not at all."""
    SMOOTH = "smooth"
    """By the law, to 10 % more and less, and half-way."""
    BENDS = "bends"
    """By the law at first; within 10 % something else takes over."""
    KINK = "kink"
    """More helps otherwise than less hurts."""
    STEP = "step"
    """It jumps here: however small a change, the run is another one."""
    EDGE = "edge"
    """There is no less of it: one is the least, or the model does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A replay with the resource changed in one direction."""

    factor: float
    """By how much better the resource is; below 1, worse."""
    ticks: int
    elasticity: float
    """Of the arc from the present value to here."""

    @classmethod
    def between(cls, base: int, ticks: int, factor: float) -> Side:
        """The arc from a makespan of `base` to one of `ticks` at a resource that is better by `factor`."""
        return cls(factor=factor, ticks=ticks, elasticity=log(base / ticks) / log(factor))


class Price(NamedTuple):
    """What 10 % more of a capacity adds to the price of a design."""

    usd: float
    elasticity: float
    """d ln $ / d ln resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elasticity:
    """What one resource is worth to one run."""

    resource: Resource
    shape: Shape
    up: Side
    """With a little more."""
    down: Side | None
    """With a little less; None where that does not fit."""
    more: Side
    """With 10 % more, or one more of what is counted."""
    less: Side | None
    base_ticks: int
    price: Price | None
    """Of 10 % more, of memory; None where it is not known."""
    joules: float | None
    """d ln J / d ln resource; None where the design has no figure."""

    @property
    def speed(self) -> float:
        """d ln speed / d ln resource: the central difference; where the sides disagree, what more of it gives."""
        if self.down is None or self.shape in (Shape.KINK, Shape.STEP):
            return self.up.elasticity
        span = log(self.up.factor) - log(self.down.factor)
        return (log(self.down.ticks) - log(self.up.ticks)) / span

    @property
    def gain(self) -> float:
        """Speed gained with 10 % more: 0.061 is 6.1 %. Of a count that grew by another factor, brought to 10 %."""
        return exp(self.more.elasticity * log(WIDE)) - 1

    @property
    def loss(self) -> float | None:
        """Speed lost with 10 % less, as a negative share; None where that does not fit."""
        return None if self.less is None else exp(-self.less.elasticity * log(WIDE)) - 1

    def ticks(self, factor: float) -> float:
        """Makespan that the law gives for a resource that is better by `factor`."""
        side = self.up if factor >= 1 or self.down is None else self.down
        slope = side.elasticity if self.shape in (Shape.KINK, Shape.STEP, Shape.EDGE) else self.speed
        return self.base_ticks * (1 + slope * (1 / factor - 1))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        return {
            "resource": self.resource.path,
            "sense": self.resource.sense.value,
            "value": self.resource.value,
            "shape": self.shape.value,
            "elasticity": self.speed,
            "elasticity_up": self.up.elasticity,
            "elasticity_down": None if self.down is None else self.down.elasticity,
            "ln_step": log(self.up.factor),
            "gain": self.gain,
            "loss": self.loss,
            "more_usd": None if self.price is None else self.price.usd,
            "usd_elasticity": None if self.price is None else self.price.elasticity,
            "joule_elasticity": self.joules,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Advice:
    """What every resource of a design is worth to one run."""

    case: Case
    result: Result
    """The run as it is."""
    rows: tuple[Elasticity, ...]
    """What returns most for 10 % more comes first."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{row.resource.path} {row.speed:+.2f}" for row in self.rows[:4])
        return f"Advice({self.case.title}: {shown}{', …' if len(self.rows) > 4 else ''})"

    def __getitem__(self, path: str) -> Elasticity:
        for row in self.rows:
            if row.resource.path == path:
                return row
        raise KeyError(path)

    @property
    def scaling_sum(self) -> float:
        """Elasticities of all rates and times added up: 1 by the scaling law, where none of them is at a kink."""
        return sum(row.speed for row in self.rows if row.resource.scales_time)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        return {
            **self.case.head(self.result),
            "scaling_sum": self.scaling_sum,
            "resources": [row.to_dict() for row in self.rows],
        }

    def _repr_html_(self) -> str:
        rows = [
            (row.resource.path, f"{row.speed:.3f}", signed_percent(row.gain), signed_percent(row.loss), row.shape.value)
            for row in self.rows
            if row.shape is not Shape.FLAT
        ]
        return html_table(self.case.title, ("resource", "elasticity", "10 % better", "10 % worse", ""), rows)


def advise(
    trace: Trace,
    design: Design,
    fusion: str = "eager",
    *,
    paths: Iterable[str] | None = None,
    launch: str = STREAM,
    engine_name: str = DEFAULT_ENGINE,
    changes: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Advice:
    """What a little more of each resource of `design` is worth to `trace`.

    Parameters
    ----------
    trace, design, fusion, launch, engine_name, changes
        As for `simulate`.
    paths : iterable of str, optional
        Only these resources; all of the design otherwise.
    progress : callable, optional
        Told before each resource: its path, how many are done, how many there are.

    Raises
    ------
    HiersimError
        What `simulate` raises for the design as it is, a path that is no resource, or a run that takes no time.
    """
    case = Case(
        trace=trace, design=design, fusion=fusion, launch=launch, engine_name=engine_name, changes=changes or {}
    )
    chosen = resources(design, launch) if paths is None else [resource(design, path, launch) for path in paths]
    result = case.run()
    checked_time(result)
    rows = []
    for done, item in enumerate(chosen):
        if progress:
            progress(item.path, done, len(chosen))
        rows.append(elasticity(case, result, item))
    ordered = sorted(rows, key=lambda row: (-round(row.gain, 9), -round(row.speed, 9), row.resource.path))
    return Advice(case=case, result=result, rows=tuple(ordered))


def elasticity(case: Case, result: Result, item: Resource) -> Elasticity:
    """The elasticity of the run `result` of `case` with respect to one resource."""
    base = int(result.makespan)
    shape, up, down = _local(case, result, item)
    less = _side(case, item, 1 / WIDE, base)
    changes, factor = item.better(WIDE)
    wide = case.fits(changes)
    if wide is not None and wide.makespan <= 0:
        wide = None  # nothing is left that takes a tick
    more = up if wide is None else Side.between(base, int(wide.makespan), factor)
    found = Elasticity(
        resource=item, shape=shape, up=up, down=down, base_ticks=base, more=more, less=less,
        price=_price(case, item, wide, factor),
        joules=_slope(joules(result), None if wide is None else joules(wide), factor),
    )  # fmt: skip
    return found if shape in (Shape.KINK, Shape.STEP) else replace(found, shape=_shape(case, found))


def _price(case: Case, item: Resource, wide: Result | None, factor: float) -> Price | None:
    """What more of a tier's capacity costs; of all else nobody publishes it."""
    if wide is None or item.sense is not Sense.CAPACITY:
        return None
    now, new = dollars(case.design), dollars(case.design, wide.design)
    slope = _slope(now, new, factor)
    return None if now is None or new is None or slope is None else Price(usd=new - now, elasticity=slope)


def _slope(now: float | None, new: float | None, factor: float) -> float | None:
    """d ln value / d ln resource; None where either is unknown."""
    return log(new / now) / log(factor) if now and new else None


def _shape(case: Case, found: Elasticity) -> Shape:
    """The shape of what agrees on both sides: does the law hold at 10 % more and less, and half-way?"""
    if found.less is None:
        return Shape.EDGE
    wide: tuple[Side, ...] = (found.more, found.less)
    still = all(abs(side.elasticity) < NOTHING for side in (found.up, *wide))
    if still and found.resource.scales_time:
        return Shape.FLAT
    if not found.resource.whole:
        between = (_side(case, found.resource, factor, found.base_ticks) for factor in (sqrt(WIDE), 1 / sqrt(WIDE)))
        wide = (*wide, *filter(None, between))
    if not all(abs(found.ticks(side.factor) / side.ticks - 1) <= HOLDS for side in wide):
        return Shape.BENDS
    return Shape.FLAT if still else Shape.SMOOTH


def _side(case: Case, item: Resource, factor: float, base: int) -> Side | None:
    """The replay with the resource better by `factor`; None where it does not fit or there is no such amount."""
    changes, real = item.better(factor)
    if real == 1 or (real > 1) != (factor > 1):
        return None
    result = case.fits(changes)
    if result is None or result.makespan <= 0:
        return None
    return Side.between(base, int(result.makespan), real)


def _steps(result: Result, item: Resource) -> tuple[float, ...]:
    """Steps that are worth trying: counts have one, and rounding to ticks must not drown the difference."""
    if item.whole:
        return STEPS[:1]
    least = int(result.program.stage_counts().sum()) / result.makespan / TOLERATED_NOISE
    return tuple(step for step in STEPS if step >= least) or (min(least, LARGEST_STEP),)


def _local(case: Case, result: Result, item: Resource) -> tuple[Shape, Side, Side | None]:
    """Both sides at the largest step at which they agree, or at the smallest one."""
    base = int(result.makespan)
    jumps: list[float] = []
    still = Side(factor=WIDE, ticks=base, elasticity=0.0)
    up, down = still, None
    for step in _steps(result, item):
        found_up, down = _side(case, item, exp(step), base), _side(case, item, exp(-step), base)
        up = found_up or still
        if down is None:
            return Shape.EDGE, up, None
        if abs(up.elasticity - down.elasticity) <= AGREE + BEND * log(up.factor / down.factor):
            return Shape.SMOOTH, up, down
        jumps.append(max(abs(log(side.ticks / base)) for side in (up, down)))
    jumped = len(jumps) > 1 and jumps[-1] > jumps[-2] / 2
    return Shape.STEP if jumped else Shape.KINK, up, down
