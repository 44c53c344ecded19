"""The cheapest design that meets a target: a grid of what-if changes, replayed whole, and the front of price and time.

The price of a point is that of the design as it is, and what its memory costs more or less. Nobody publishes what more
FLOPS or bandwidth costs, so that these come free unless a price is given for them (`prices`): such a grid tells what is
needed, not what it costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Final

from hiersim.decisions.case import Case, checked_time, dollars
from hiersim.decisions.elasticity import Progress
from hiersim.decisions.notebook import html_table
from hiersim.errors import DesignError, HiersimError, nearest
from hiersim.lowering.host import STREAM
from hiersim.model.design import Design
from hiersim.model.design_changes import leaf
from hiersim.model.trace import Trace
from hiersim.results import Result
from hiersim.run import DEFAULT_ENGINE
from hiersim.sweeps.axes import Vary, normalized
from hiersim.sweeps.pareto import pareto_front
from hiersim.units import TICKS_PER_SECOND, show_ticks

MOST_POINTS: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One point of the grid on which the model runs."""

    changes: Mapping[str, Any]
    usd: float
    ticks: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        changes = {path: str(value) for path, value in self.changes.items()}
        return {"set": changes, "price_usd": self.usd, "time_s": self.ticks / TICKS_PER_SECOND}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """A grid, and the cheapest of its points that is fast enough."""

    case: Case
    result: Result
    """The run as it is."""
    base_usd: float
    wanted_ticks: int
    candidates: tuple[Candidate, ...]
    """In the order of the grid."""
    misfits: int
    """Points at which the model does not fit, or that make no sense."""

    @property
    def met(self) -> tuple[Candidate, ...]:
        """Points that are fast enough; the cheapest first, of equally cheap ones the fastest."""
        found = [item for item in self.candidates if item.ticks <= self.wanted_ticks]
        return tuple(sorted(found, key=lambda item: (item.usd, item.ticks)))

    @property
    def best(self) -> Candidate | None:
        """The cheapest point that is fast enough; None where none is."""
        return self.met[0] if self.met else None

    @property
    def fastest(self) -> Candidate:
        """The fastest point; of equally fast ones the cheapest."""
        return min(self.candidates, key=lambda item: (item.ticks, item.usd))

    @property
    def front(self) -> tuple[Candidate, ...]:
        """Points than which none is both cheaper and faster, the cheapest first; of equal ones the first of all."""
        on = pareto_front([[item.usd, item.ticks] for item in self.candidates], ("lower", "lower"))
        chosen = {
            (item.usd, item.ticks): item for item, kept in reversed(list(zip(self.candidates, on, strict=True))) if kept
        }
        return tuple(chosen[key] for key in sorted(chosen))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        return {
            **self.case.head(self.result),
            "price_usd": self.base_usd,
            "wanted_s": self.wanted_ticks / TICKS_PER_SECOND,
            "best": None if self.best is None else self.best.to_dict(),
            "fastest": self.fastest.to_dict(),
            "front": [item.to_dict() for item in self.front],
            "met": len(self.met),
            "points": len(self.candidates),
            "misfits": self.misfits,
        }

    def _repr_html_(self) -> str:
        rows = [
            (
                ", ".join(f"{path}={value}" for path, value in item.changes.items()),
                f"{item.usd:,.2f} $",
                show_ticks(item.ticks),
                "yes" if item.ticks <= self.wanted_ticks else "",
            )
            for item in self.front
        ]
        return html_table(self.case.title, ("design", "price", "time", f"≤ {show_ticks(self.wanted_ticks)}"), rows)


def target(
    trace: Trace,
    design: Design,
    vary: Vary,
    time: float,
    fusion: str = "eager",
    *,
    prices: Mapping[str, float] | None = None,
    launch: str = STREAM,
    engine_name: str = DEFAULT_ENGINE,
    changes: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Target:
    """Replay `trace` at every point of a grid and find the cheapest that takes at most `time` seconds.

    Parameters
    ----------
    trace, design, fusion, launch, engine_name, changes
        As for `simulate`.
    vary : mapping of path to values
        As for `sweep`: values as `Design.replace` takes them, or a text such as `"1MiB..1GiB*2"`; the grid is their
        product.
    time : float
        Seconds, above zero.
    prices : mapping of path to float, optional
        Dollars per base unit (byte, B/s, FLOP/s, …) of what is varied, beside what its memory costs; a change of it
        costs (or saves) the difference.
    progress : callable, optional
        Told before each point.

    Raises
    ------
    HiersimError
        Nothing is varied, a value that cannot be read, too many points, a time that is not above zero, a design without
        any price, a price of what is not varied, or no point at which the model runs; and what `simulate` raises for
        the design as it is.
    """
    axes = _axes(design, vary)
    count = prod(len(values) for values in axes.values())
    _check(axes, count, time, prices or {})
    case = Case(
        trace=trace, design=design, fusion=fusion, launch=launch, engine_name=engine_name, changes=changes or {}
    )
    known = dollars(design)
    if known is None:
        raise DesignError(
            f"{design.name} has no price, nor has its memory", key="device.price", expected="a price, or those of tiers"
        )
    result = case.run()
    checked_time(result)
    found: list[Candidate] = []
    for done, values in enumerate(product(*axes.values())):
        changes = dict(zip(axes, values, strict=True))
        if progress:
            progress(", ".join(f"{path}={value}" for path, value in changes.items()), done, count)
        ran = case.fits(changes)
        if ran is not None:
            price = dollars(design, ran.design)
            usd = (known if price is None else price) + _extra(design, changes, prices or {})
            found.append(Candidate(changes=changes, usd=usd, ticks=int(ran.makespan)))
    if not found:
        raise HiersimError(f"{trace.name} runs at none of {count} points", key="--vary", expected="larger capacities")
    return Target(
        case=case, result=result, base_usd=known, wanted_ticks=int(time * TICKS_PER_SECOND),
        misfits=count - len(found), candidates=tuple(found),
    )  # fmt: skip


def _axes(design: Design, vary: Vary) -> dict[str, list[Any]]:
    """Path → its values; each value can be read by itself, whatever the whole then is."""
    dimensions = normalized(vary)
    for dimension in dimensions:
        if len(dimension) > 1:
            raise HiersimError("are varied in pairs", key=", ".join(dimension), expected="axes of their own")
    axes = {path: values for dimension in dimensions for path, values in dimension.items()}
    for path, values in axes.items():
        for value in values:
            leaf(design, path, value)
    return axes


def _check(axes: Mapping[str, Sequence[Any]], count: int, time: float, prices: Mapping[str, float]) -> None:
    if not axes:
        raise HiersimError("nothing is varied", key="--vary", expected="PATH=VALUES, as in memory.l2.capacity=1x,2x,4x")
    if count > MOST_POINTS:
        raise HiersimError(f"the grid has {count:,} points", key="--vary", expected=f"at most {MOST_POINTS:,}")
    if not 0 < time < float("inf"):
        raise HiersimError(f"{time} is not a time above zero", key="--time", expected="a time such as '10 ms'")
    for path in prices:
        if path not in axes:
            raise HiersimError(f"'{path}' has a price and is not varied", key="--price", expected=nearest(path, axes))


def _extra(design: Design, changes: Mapping[str, Any], prices: Mapping[str, float]) -> float:
    """What the varied values that were given a price cost more than those of `design`."""
    extra = 0.0
    for path, price in prices.items():
        extra += price * float(leaf(design, path, changes[path]).value - leaf(design, path, "1x").value)
    return extra
