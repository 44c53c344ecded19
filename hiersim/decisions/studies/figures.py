"""Figures that several studies take from results: where the time went and what returns it, in a few groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import exp, log
from typing import Final

from hiersim.decisions.case import Case
from hiersim.decisions.resources import Resource, resources
from hiersim.errors import CapacityError, DesignError, FusionError
from hiersim.model.design import Design, Scope
from hiersim.model.trace import Trace
from hiersim.results import MAIN_ENGINE, Result
from hiersim.run import simulate

WORK: Final = ("useful", "tail")
GROUPS: Final = ("work", "padding", "host", "near_memory", "far_memory", "other_waiting")
"""Where the time of the cores goes: arithmetic that was asked for (with idle cores of last waves), arithmetic on edges
that nobody asked for, waiting for launches, for memory on the chip, for the home tier and what lies behind it, and for
other kernels or buffers."""
PURSES: Final = ("flops", "near_memory", "far_memory", "host")
"""What one would buy: peaks of the units, ports on the chip, the home tier and what lies behind it, faster launches."""
STEP: Final = 0.005


def group_of(design: Design, entry: str, tier: str | None) -> str:
    """The group of a ledger entry."""
    if entry in WORK or entry == "padding":
        return "padding" if entry == "padding" else "work"
    if entry == "dispatch":
        return "host"
    if tier is None:
        return "other_waiting"
    near = {item.name for item in design.memory if item.scope is not Scope.HOST} - {design.home.name}
    return "near_memory" if tier in near else "far_memory"


def ticks_by_group(result: Result) -> dict[str, int]:
    """Ticks of the cores by group; they add up to the makespan."""
    found = dict.fromkeys(GROUPS, 0)
    for row in result.ledger:
        if row.engine == MAIN_ENGINE:
            found[group_of(result.design, row.entry, row.tier)] += row.ticks
    return found


def shares(result: Result) -> dict[str, float]:
    """`<group>_share` of the makespan for each group."""
    return {f"{name}_share": ticks / result.makespan for name, ticks in ticks_by_group(result).items()}


def saved_shares(before: Result, after: Result) -> dict[str, float]:
    """`<group>_saved`: what `after` spends less in each group, as shares of the time of `before`."""
    one, other = ticks_by_group(before), ticks_by_group(after)
    return {f"{name}_saved": (one[name] - other[name]) / before.makespan for name in GROUPS}


def returns(case: Case, result: Result) -> dict[str, float]:
    """`<purse>_return`: by how much speed grows in per cent when all rates and times of a purse get 1 % better at once.

    The central difference over half a per cent; by law 8 the four add up to 1, but for kinks between purses.
    """
    purses: dict[str, list[Resource]] = {name: [] for name in PURSES}
    for item in resources(case.design, case.launch):
        if item.scales_time:
            purses[_bought(case.design, item.path)].append(item)
    return {f"{name}_return": _return(case, result, items) for name, items in purses.items()}


def _return(case: Case, result: Result, items: Sequence[Resource]) -> float:
    """d ln speed / d ln of all `items` together."""
    if not items:
        return 0.0
    ticks = [_with(case, items, exp(step)).makespan for step in (-STEP, STEP)]
    return log(ticks[0] / ticks[1]) / (2 * STEP)


def _with(case: Case, items: Sequence[Resource], factor: float) -> Result:
    """The run with all `items` better by `factor`."""
    changes: dict[str, int] = {}
    for item in items:
        changes.update(item.better(factor)[0])
    return case.run(changes)


def _bought(design: Design, path: str) -> str:
    """Which purse a rate or time belongs to."""
    kind, place, *_ = path.split(".")
    if kind == "memory":
        own = design.tier(place)
        return "far_memory" if own.scope is Scope.HOST or place == design.home.name else "near_memory"
    if kind == "links":
        return "far_memory"
    if path in ("compute.start_up", "compute.exchange", "compute.window_set_up") or kind == "host":
        return "host"
    return "near_memory" if path in ("compute.load_bandwidth", "compute.clock") else "flops"


def run_all(
    trace: Trace, designs: Iterable[Design], fusions: Sequence[str]
) -> tuple[list[tuple[Result, ...]], list[str]]:
    """Results of each design that the trace fits, one per policy; and the names of the designs that it does not."""
    found, left = [], []
    for design in designs:
        try:
            found.append(tuple(simulate(trace, design, fusion) for fusion in fusions))
        except (CapacityError, DesignError, FusionError):
            left.append(design.name)
    return found, left


def ridge(design: Design) -> float:
    """Its ridge point; studies use real devices, whose rates are known."""
    found = design.ridge_point
    assert found is not None
    return found


def told(values: Mapping[tuple[str, str], float], form: Callable[[Mapping[str, float]], str] | None = None) -> str:
    """Values by (trace, design) as `gpt2-train: h100-sxm 2.41, …; …`."""
    traces = dict.fromkeys(trace for trace, _ in values)
    show = form or named
    return "; ".join(
        f"{trace}: {show({design: value for (of, design), value in values.items() if of == trace})}" for trace in traces
    )


def named(values: Mapping[str, float], form: str = "{:.2f}") -> str:
    """`h100-sxm 0.48, a100-80gb-sxm 0.38`."""
    return ", ".join(f"{name} {form.format(value)}" for name, value in values.items())


def in_percent(values: Mapping[str, float]) -> str:
    """`h100-sxm 47.5 %, a100-80gb-sxm 38.3 %`."""
    return named({name: 100 * value for name, value in values.items()}, "{:.1f} %")


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's: 1 where both rise together, -1 where one falls as the other rises. For values that all differ."""
    count = len(one)
    ranks = [sorted(range(count), key=values.__getitem__) for values in (one, other)]
    places = [{item: place for place, item in enumerate(order)} for order in ranks]
    apart = sum((places[0][item] - places[1][item]) ** 2 for item in range(count))
    return 1 - 6 * apart / (count * (count * count - 1))


def times(values: Mapping[str, float]) -> str:
    """`h100-sxm 2.41 x, a100-80gb-sxm 1.96 x`."""
    return named(values, "{:.2f} x")
