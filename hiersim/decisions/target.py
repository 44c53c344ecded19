"""The cheapest design that meets a target: a grid of what-if changes, replayed whole, and the front of price and time.

The price of a point is that of the design as it is, and what its memory costs more or less. Nobody publishes what more
FLOPS or bandwidth costs, so that these come free unless a price is given for them (`prices`): such a grid tells what is
needed, not what it costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Final

from hiersim.decisions.case import Case, checked_time, dollars
from hiersim.decisions.elasticity import Progress
from hiersim.decisions.resources import resources
from hiersim.errors import CapacityError, DesignError, HiersimError, nearest
from hiersim.lowering.host import STREAM
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.results import Result
from hiersim.run import DEFAULT_ENGINE
from hiersim.units import TICKS_PER_SECOND

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
        """Points than which none is both cheaper and faster: the cheapest first."""
        kept: list[Candidate] = []
        for item in sorted(self.candidates, key=lambda item: (item.usd, item.ticks)):
            if not kept or item.ticks < kept[-1].ticks:
                kept.append(item)
        return tuple(kept)

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


def target(
    trace: Trace,
    design: Design,
    vary: Mapping[str, Sequence[Any]],
    time: float,
    fusion: str = "eager",
    *,
    prices: Mapping[str, float] | None = None,
    launch: str = STREAM,
    engine_name: str = DEFAULT_ENGINE,
    progress: Progress | None = None,
) -> Target:
    """Replay `trace` at every point of a grid and find the cheapest that takes at most `time` seconds.

    Parameters
    ----------
    trace, design, fusion, launch, engine_name
        As for `simulate`.
    vary : mapping of path to values
        What `Design.replace` takes; the grid is their product.
    time : float
        Seconds, above zero.
    prices : mapping of path to float, optional
        Dollars per base unit (byte, B/s, FLOP/s, core …) of a varied resource, beside what its memory costs; a change
        of it costs (or saves) the difference.
    progress : callable, optional
        Told before each point.

    Raises
    ------
    HiersimError
        Nothing is varied, too many points, a time that is not above zero, a design without any price, a price of what
        is not varied, or no point at which the model runs; and what `simulate` and `Design.replace` raise for the
        design as it is.
    """
    count = prod(len(values) for values in vary.values())
    _check(vary, count, time, prices or {})
    case = Case(trace=trace, design=design, fusion=fusion, launch=launch, engine_name=engine_name)
    known = dollars(design)
    if known is None:
        raise DesignError(
            f"{design.name} has no price, nor has its memory", key="device.price", expected="a price, or those of tiers"
        )
    result = case.run()
    checked_time(result)
    found, misfits = [], 0
    for done, changes in enumerate(_grid(vary)):
        if progress:
            progress(", ".join(f"{path}={value}" for path, value in changes.items()), done, count)
        point = _candidate(case, changes, known, prices or {})
        misfits += point is None
        found += [point] if point is not None else []
    if not found:
        raise HiersimError(f"{trace.name} runs at none of {count} points", key="--vary", expected="larger capacities")
    return Target(
        case=case, result=result, base_usd=known, wanted_ticks=int(time * TICKS_PER_SECOND), misfits=misfits,
        candidates=tuple(found),
    )  # fmt: skip


def _check(vary: Mapping[str, Sequence[Any]], count: int, time: float, prices: Mapping[str, float]) -> None:
    if not vary or not count:
        raise HiersimError("nothing is varied", key="--vary", expected="PATH=VALUES, as in memory.l2.capacity=1x,2x,4x")
    if count > MOST_POINTS:
        raise HiersimError(f"the grid has {count:,} points", key="--vary", expected=f"at most {MOST_POINTS:,}")
    if not 0 < time < float("inf"):
        raise HiersimError(f"{time} is not a time above zero", key="--time", expected="a time such as '10 ms'")
    for path in prices:
        if path not in vary:
            raise HiersimError(f"'{path}' has a price and is not varied", key="--price", expected=nearest(path, vary))


def _grid(vary: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in product(*vary.values()):
        yield dict(zip(vary, values, strict=True))


def _candidate(case: Case, changes: dict[str, Any], known: float, prices: Mapping[str, float]) -> Candidate | None:
    """One point, replayed and priced; None where the model does not fit it, or it makes no sense as a whole."""
    design = case.design
    for path, value in changes.items():  # a value that cannot be read is a fault of the question, not a misfit
        if path not in _readable(design, path, value):
            return None
    try:
        result = case.run(changes)
    except CapacityError:
        return None
    except DesignError:
        return None
    price = dollars(design, result.design)
    return Candidate(
        changes=changes, ticks=int(result.makespan),
        usd=(known if price is None else price) + _extra(design, result.design, prices),
    )  # fmt: skip


def _readable(design: Design, path: str, value: Any) -> tuple[str, ...]:
    return (path,)


def _extra(design: Design, changed: Design, prices: Mapping[str, float]) -> float:
    """What resources with a given price cost more than in `design`."""
    if not prices:
        return 0.0
    before = {item.path: item.value for item in resources(design)}
    after = {item.path: item.value for item in resources(changed)}
    return sum(price * (after[path] - before[path]) for path, price in prices.items())
