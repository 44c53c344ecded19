"""What a device costs per hour, per run and per throughput, what its waiting costs, and when another one pays off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hiersim.cost.memory import device_memory_cost
from hiersim.model.design import Design
from hiersim.model.prices import PriceBook

HOURS_PER_YEAR: Final = 8766.0
SECONDS_PER_HOUR: Final = 3600.0
JOULES_PER_KWH: Final = 3.6e6
DEVICE: Final = "device"
MEMORY: Final = "memory"
ADJUSTED: Final = "device, memory changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capital:
    """What has to be bought, and what that figure is."""

    usd: float
    basis: str
    """`device`: the price of the whole device; `memory`: of its memory alone, where no price of the device is known;
    `device, memory changed`: the price of the device that it was made from, with the difference of the memories."""


def capital(design: Design) -> Capital | None:
    """The price of the device or, where none is known, of its memory; None where neither is."""
    if design.device.price is not None:
        return Capital(usd=design.device.price, basis=DEVICE)
    memory = device_memory_cost(design)
    return None if memory is None else Capital(usd=memory, basis=MEMORY)


def what_if_capital(base: Design, changed: Design) -> Capital | None:
    """The capital of a design that was made from `base`: its price, and the difference of what their memories cost.

    What else a change would cost (silicon of units, pins, packages, development) is left out.
    """
    known, before, after = capital(base), device_memory_cost(base), device_memory_cost(changed)
    if changed.device.price is not None:
        return capital(changed)
    if known is None or before is None or after is None:
        return capital(changed)
    basis = MEMORY if known.basis == MEMORY else ADJUSTED
    return Capital(usd=known.usd - before + after, basis=basis)


def usd_per_hour(price_usd: float, years: float) -> float:
    """A price spread evenly over every hour of `years`."""
    return price_usd / (years * HOURS_PER_YEAR)


def stalled_usd_per_hour(price_usd: float, years: float, stall_fraction: float) -> float:
    """The part of each hour's price during which the main compute engine waits."""
    return usd_per_hour(price_usd, years) * stall_fraction


def usd_per_throughput(price_usd: float, time_s: float, items: int = 1) -> float:
    """Dollars of capital for one item per second: $ per (token/s), per (image/s). Lower is better."""
    return price_usd * time_s / items


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCost:
    """What one run costs: its share of the price, and its energy."""

    capital_usd: float
    energy_usd: float | None
    """None where the energy is unknown."""

    @property
    def usd(self) -> float:
        """Both together, as far as they are known."""
        return self.capital_usd + (self.energy_usd or 0.0)


def run_cost(
    price_usd: float, time_s: float, joules: float | None, book: PriceBook, years: float | None = None
) -> RunCost:
    """The cost of one run of `time_s` seconds on a device of that price.

    Parameters
    ----------
    price_usd : float
        Of the device.
    time_s : float
        The makespan in seconds.
    joules : float, optional
        Energy of the run.
    book : PriceBook
        The price of electricity and, where `years` is not given, the years of use.
    """
    hourly = usd_per_hour(price_usd, book.lifetime.value if years is None else years)
    energy = None if joules is None else joules / JOULES_PER_KWH * book.electricity.value
    return RunCost(capital_usd=hourly * time_s / SECONDS_PER_HOUR, energy_usd=energy)


def break_even_price(price_usd: float, time_s: float, other_time_s: float) -> float:
    """The price at which another device gives as much throughput per dollar: cheaper than that, it is worth more."""
    return price_usd * time_s / other_time_s


def break_even_runs(
    price_usd: float, usd_per_run: float, other_price_usd: float, other_usd_per_run: float
) -> float | None:
    """Runs after which a dearer device has repaid the difference by cheaper runs.

    0 where it is not dearer and its runs are not either; None where it never does. `usd_per_run` is what each run
    costs beside the price of the device: its energy, or what is paid for its hours.
    """
    extra, saved = other_price_usd - price_usd, usd_per_run - other_usd_per_run
    if extra <= 0:
        return 0.0 if saved >= 0 else None
    return extra / saved if saved > 0 else None
