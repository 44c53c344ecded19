"""A tornado: each resource alone over a range, the one that moves the run most on top."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log
from typing import Any, Final

from hiersim import units
from hiersim.decisions.case import Case, checked_time
from hiersim.decisions.elasticity import Progress
from hiersim.decisions.notebook import html_table, times
from hiersim.decisions.resources import Resource, resource, resources
from hiersim.errors import HiersimError
from hiersim.lowering.host import STREAM
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.results import Result
from hiersim.run import DEFAULT_ENGINE

HALF_AND_TWICE: Final = ("0.5x", "2x")


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The run at one end of a resource's range."""

    value: int
    """The resource there, in base units."""
    ticks: int | None
    """None where the model does not fit such a design."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One resource over its range."""

    resource: Resource
    low: End
    high: End
    base_ticks: int

    @property
    def span(self) -> float:
        """The longest of the three makespans over the shortest: 2 is twice as fast from end to end."""
        known = [ticks for ticks in (self.low.ticks, self.high.ticks, self.base_ticks) if ticks is not None]
        return max(known) / min(known)

    def speed(self, end: End) -> float | None:
        """Speed at an end over that of the run as it is."""
        return None if end.ticks is None else self.base_ticks / end.ticks

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        return {
            "resource": self.resource.path,
            "sense": self.resource.sense.value,
            "value": self.resource.value,
            "low_value": self.low.value,
            "low_speed": self.speed(self.low),
            "high_value": self.high.value,
            "high_speed": self.speed(self.high),
            "span": self.span,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tornado:
    """Every resource over its range; the longest bar first."""

    case: Case
    result: Result
    bars: tuple[Bar, ...]

    def __repr__(self) -> str:
        return f"Tornado({self.case.title}: {len(self.bars)} resources)"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        return {**self.case.head(self.result), "bars": [bar.to_dict() for bar in self.bars]}

    def _repr_html_(self) -> str:
        rows = []
        for bar in self.bars:
            ends = (bar.resource.show(bar.low.value), bar.resource.show(bar.high.value))
            rows.append((bar.resource.path, *ends, *map(times, map(bar.speed, (bar.low, bar.high))), times(bar.span)))
        return html_table(self.case.title, ("resource", "from", "to", "speed", "speed", "span"), rows)


def tornado(
    trace: Trace,
    design: Design,
    fusion: str = "eager",
    *,
    ranges: Mapping[str, tuple[str, str]] | None = None,
    paths: Iterable[str] | None = None,
    launch: str = STREAM,
    engine_name: str = DEFAULT_ENGINE,
    changes: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Tornado:
    """Replay `trace` with each resource of `design` at both ends of its range, all else as it is.

    Parameters
    ----------
    trace, design, fusion, launch, engine_name, changes
        As for `simulate`.
    ranges : mapping of path to two values, optional
        `{"memory.l2.capacity": ("25 MiB", "100 MiB")}`; a factor such as `0.5x` multiplies the present value. Half and
        twice the present value where nothing is said.
    paths : iterable of str, optional
        Only these resources; by default those of `ranges`, or all of the design where there are none.
    progress : callable, optional
        Told before each resource.

    Raises
    ------
    HiersimError
        What `simulate` raises for the design as it is, a path that is no resource, a value that cannot be read.
    """
    case = Case(
        trace=trace, design=design, fusion=fusion, launch=launch, engine_name=engine_name, changes=changes or {}
    )
    asked = dict(ranges or {})
    wanted = list(paths or ()) + [path for path in asked if path not in set(paths or ())]
    chosen = [resource(design, path, launch) for path in wanted] or list(resources(design, launch))
    result = case.run()
    base = checked_time(result)
    bars = []
    for done, item in enumerate(chosen):
        if progress:
            progress(item.path, done, len(chosen))
        low, high = (_end(case, item, text) for text in asked.get(item.path, HALF_AND_TWICE))
        bars.append(Bar(resource=item, low=low, high=high, base_ticks=base))
    ordered = sorted(bars, key=lambda bar: (-round(log(bar.span), 9), bar.resource.path))
    return Tornado(case=case, result=result, bars=tuple(ordered))


def _end(case: Case, item: Resource, text: str) -> End:
    """The replay with the resource at the value `text`."""
    changes = _changes(item, text)
    found = case.fits(changes)
    leaf = next(iter(item.leaves))
    return End(value=int(changes[leaf]), ticks=None if found is None else int(found.makespan))


def _changes(item: Resource, text: str) -> dict[str, int]:
    """Values of the design at which the resource is what `text` says: of several leaves, by one factor."""
    leaf, present = next(iter(item.leaves.items()))
    kind = _KINDS[item.sense.value] if item.sense.value in _KINDS else _rate(item.path)
    try:
        value = int(units.parse_change(kind, text, present))
    except HiersimError as error:
        raise HiersimError(error.problem, key=item.path, expected=error.expected) from None
    if value == 0:
        raise HiersimError(f"'{text}' is nothing", key=item.path, expected="a value above zero")
    rest = list(item.leaves.items())[1:]
    return {leaf: value, **{path: max(1, (amount * value + present // 2) // present) for path, amount in rest}}


_KINDS: Final = {"time": units.Ticks, "capacity": units.Bytes, "count": units.Count}


def _rate(path: str) -> object:
    """The quantity of a rate."""
    if path == "compute.clock":
        return units.Hertz
    return units.BytesPerSecond if path.endswith("bandwidth") else units.FlopsPerSecond
