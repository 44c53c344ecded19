"""What devices of each year have, relative to the earliest, with a trend: the memory wall as series."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hiersim.model.design import Design
from hiersim.model.operators import DType
from hiersim.model.prices import History
from hiersim.units import UNLIMITED, show_bandwidth, show_capacity, show_rate
from hiersim.views.palette import DRAM, HBM, HOST, SRAM

DTYPES: Final = (DType.BF16, DType.FP16, DType.FP32)
"""The first that a device has is what it is judged by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """One quantity over the years, and the straight line through its logarithms (least squares)."""

    name: str
    colour: str
    years: tuple[int, ...]
    values: tuple[float, ...]
    """Relative to the first."""
    labels: tuple[str, ...]
    """Whose value it is, and how large in its own unit."""
    trend: tuple[tuple[int, float], tuple[int, float]] | None
    """Where the line begins and ends; None where all is of one year."""

    @property
    def in_two_years(self) -> float | None:
        """By how much the trend grows in two years."""
        if self.trend is None:
            return None
        (first, low), (last, high) = self.trend
        return float((high / low) ** (2 / (last - first)))

    @property
    def words(self) -> str:
        """Its name and growth, as a legend tells them."""
        growth = self.in_two_years
        return self.name if growth is None else f"{self.name}: {growth:.2f} x in two years"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wall:
    """Growth of arithmetic, of memory and of its price."""

    baseline: str
    names: tuple[str, ...]
    """Devices in the order of their years, as the values of `growths[0]` are."""
    growths: tuple[Growth, ...]


def memory_wall(designs: Iterable[Design], price: History | None = None) -> Wall | None:
    """Peak, bandwidth and capacity of the last tier of `designs`, and what a GB of memory cost in the same years.

    Designs without a year, a peak or a bandwidth are left out; None where that leaves none. The capacity is that of
    the tier whose bandwidth is shown.
    """
    found = [
        (int(design.device.year), design.name, peak, rate, int(design.home.capacity))
        for design in designs
        if design.device.year is not None
        and (peak := peak_of(design)) is not None
        and (rate := bandwidth_of(design)) is not None
    ]
    if not found:
        return None
    found.sort()
    years, names, *columns = (list(column) for column in zip(*found, strict=True))
    shown: tuple[tuple[str, str, Callable[[int], str]], ...] = (
        ("peak FLOP/s", HOST, show_rate),
        ("bandwidth", HBM, show_bandwidth),
        ("capacity", SRAM, show_capacity),
    )
    growths = [
        _growth(name, colour, years, column, [f"{who} {show(value)}" for who, value in zip(names, column, strict=True)])
        for (name, colour, show), column in zip(shown, columns, strict=True)
    ]
    points = [point for point in price.points if years[0] <= point.year <= years[-1]] if price is not None else []
    if price is not None and points:
        costs = [point.usd_per_gb for point in points]
        labels = [f"{price.title} {cost:.3g} $/GB" for cost in costs]
        growths.append(_growth(f"$/GB of {price.title}", DRAM, [point.year for point in points], costs, labels))
    return Wall(baseline=names[0], names=tuple(names), growths=tuple(growths))


def _growth(name: str, colour: str, years: list[int], values: Sequence[float], labels: list[str]) -> Growth:
    relative = np.array(values, float) / values[0]
    trend = None
    if len(set(years)) > 1:
        slope, start = np.polyfit(np.array(years, float) - years[0], np.log(relative), 1)
        end = float(np.exp(start + slope * (years[-1] - years[0])))
        trend = ((years[0], float(np.exp(start))), (years[-1], end))
    return Growth(
        name=name, colour=colour, years=tuple(years), values=tuple(relative.tolist()), labels=tuple(labels), trend=trend
    )


def peak_of(design: Design) -> int | None:
    """Dense FLOP/s of the matrix unit, or of the vector unit where there is none; None where no such dtype is known."""
    unit = design.compute.matrix or design.compute.vector
    rates = [int(unit.peak[dtype]) for dtype in DTYPES if unit.peak.get(dtype, UNLIMITED) < UNLIMITED]
    return rates[0] if rates else None


def bandwidth_of(design: Design) -> int | None:
    """Bytes per second of the last tier that kernels address."""
    rate = int(design.home.bandwidth or design.home.read_bandwidth or UNLIMITED)
    return rate if rate < UNLIMITED else None
