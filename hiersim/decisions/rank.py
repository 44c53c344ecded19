"""Devices ranked by what they cost for what they do: dollars per item a second, and who is beaten on both counts.

A price that is not known stays unknown: such a device is shown by its time, after those that have one. The price of its
memory, which often is known, is never taken for its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hiersim import bundled
from hiersim.config.load import load_design
from hiersim.config.prices import load_prices
from hiersim.cost import Work, run_cost, usd_per_hour, usd_per_throughput, work_of
from hiersim.decisions.case import SCHEMA
from hiersim.decisions.elasticity import Progress
from hiersim.decisions.notebook import html_table
from hiersim.errors import CapacityError, DesignError, HiersimError
from hiersim.lowering.host import STREAM
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.results import Result
from hiersim.run import DEFAULT_ENGINE, simulate
from hiersim.units import show_ticks
from hiersim.version import __version__

MADE_UP: Final = ("what if", "memory wall")
"""Families of designs that nobody sells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One device and one run on it."""

    design: Design
    result: Result | None
    """None where it does not run there."""
    problem: str
    """Why it does not; else empty."""
    work: Work
    years: float
    on_front: bool
    """No device with a known price is both cheaper and faster. False where its own price is unknown."""

    @property
    def price(self) -> float | None:
        """Dollars of the whole device, as sold; None where nobody says."""
        return self.design.device.price

    @property
    def usd_per_throughput(self) -> float | None:
        """Dollars for one item a second."""
        if self.price is None or self.result is None:
            return None
        return usd_per_throughput(self.price, self.result.time, self.work.items)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        result, price = self.result, self.price
        joules = None if result is None else result.energy["total"]
        spent = (
            None if price is None or result is None else run_cost(price, result.time, joules, load_prices(), self.years)
        )
        return {
            "design": self.design.name,
            "title": self.design.title,
            "year": self.design.device.year,
            "time_s": None if result is None else result.time,
            "items_per_second": None if result is None else self.work.items / result.time,
            "stall_fraction": None if result is None else result.stall_fraction,
            "price_usd": price,
            "price_as_of": self.design.device.price_as_of,
            "usd_per_hour": None if price is None else usd_per_hour(price, self.years),
            "usd_per_run": None if spent is None else spent.usd,
            "usd_per_throughput": self.usd_per_throughput,
            "on_front": self.on_front,
            "problem": self.problem or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """Devices, the one with the fewest dollars per throughput first; then those of unknown price, by time."""

    trace: Trace
    fusion: str
    work: Work
    rows: tuple[Standing, ...]

    def __repr__(self) -> str:
        shown = ", ".join(row.design.name for row in self.rows[:4])
        return f"Ranking({self.trace.name} · {self.fusion}: {shown}{', …' if len(self.rows) > 4 else ''})"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        return {
            "schema": SCHEMA,
            "version": __version__,
            "trace": self.trace.name,
            "fusion": self.fusion,
            "items": self.work.items,
            "item_unit": self.work.unit,
            "rows": [row.to_dict() for row in self.rows],
        }

    def _repr_html_(self) -> str:
        rows = []
        for row in self.rows:
            time = "does not run" if row.result is None else show_ticks(row.result.makespan)
            worth = "unknown" if row.usd_per_throughput is None else f"{row.usd_per_throughput:,.4g}"
            price = "unknown" if row.price is None else f"{row.price:,.0f} $"
            rows.append((row.design.name, time, price, worth, "*" if row.on_front else ""))
        unit = f"$ per {self.work.unit.removesuffix('s')}/s"
        return html_table(f"{self.trace.name} · {self.fusion}", ("design", "time", "price", unit, "front"), rows)


def real_devices() -> list[Design]:
    """Bundled designs of devices that are or were sold or built."""
    found = [load_design(name) for name in bundled.designs()]
    return [design for design in found if design.device.family not in (None, *MADE_UP)]


def rank(
    trace: Trace,
    designs: Iterable[Design] | None = None,
    fusion: str = "eager",
    *,
    launch: str = STREAM,
    engine_name: str = DEFAULT_ENGINE,
    progress: Progress | None = None,
) -> Ranking:
    """Rank devices by dollars per throughput of `trace`.

    Parameters
    ----------
    trace, fusion, launch, engine_name
        As for `simulate`.
    designs : iterable of Design, optional
        All bundled devices by default.
    progress : callable, optional
        Told before each design.

    Raises
    ------
    HiersimError
        Unknown policy or launch mode, or no device at all on which the trace runs.
    """
    chosen = real_devices() if designs is None else list(designs)
    found: list[tuple[Design, Result | None, str]] = []
    for done, design in enumerate(chosen):
        if progress:
            progress(design.name, done, len(chosen))
        try:
            result = simulate(trace, design, fusion, engine_name=engine_name, launch=launch)
            found.append((design, result, ""))
        except (CapacityError, DesignError) as error:
            found.append((design, None, str(error)))
    ran = [result for _, result, _ in found if result is not None]
    if not ran:
        raise HiersimError(
            f"{trace.name} runs on none of {len(chosen)} designs: {found[0][2] if found else 'none given'}"
        )
    work, years = work_of(trace), load_prices().lifetime.value
    rows = [
        Standing(
            design=design, result=result, problem=problem, work=work, years=years,
            on_front=result is not None and _on_front(design, result, ran),
        )
        for design, result, problem in found
    ]  # fmt: skip
    return Ranking(trace=trace, fusion=ran[0].fusion, work=work, rows=tuple(sorted(rows, key=_place)))


def _place(row: Standing) -> tuple[float, float, str]:
    worth = row.usd_per_throughput
    time = float("inf") if row.result is None else row.result.time
    return (float("inf") if worth is None else worth, time, row.design.name)


def _on_front(design: Design, result: Result, others: Sequence[Result]) -> bool:
    """True where nothing of known price is at least as good in both and better in one."""
    price = design.device.price
    if price is None:
        return False
    for other in others:
        cost = other.design.device.price
        as_good = cost is not None and cost <= price and other.makespan <= result.makespan
        if as_good and (cost, other.makespan) != (price, result.makespan):
            return False
    return True
