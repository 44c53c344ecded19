"""A design as rows of path, value and source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from hiersim import units
from hiersim.model import dram_tiers
from hiersim.model.constants import SOURCES, Constants
from hiersim.model.design import Design, Place, Tier
from hiersim.model.design_changes import field_types
from hiersim.model.operators import DType

PRINTERS: Mapping[object, Callable[[Any], str]] = {
    units.Ticks: units.show_ticks,
    units.Bytes: units.show_capacity,
    units.BytesPerSecond: units.show_bandwidth,
    units.FlopsPerSecond: units.show_rate,
    units.Hertz: units.show_frequency,
    units.Factor: lambda value: f"{value:g}",
    units.Usd: lambda value: f"{value:,.0f} $",
    units.UsdPerGB: lambda value: f"{value:g} $/GB",
    units.SquareMillimetres: lambda value: f"{value:g} mm2",
    units.PicojoulesPerByte: lambda value: f"{value:g} pJ/B",
    units.PicojoulesPerFlop: lambda value: f"{value:g} pJ/FLOP",
}


def design_rows(design: Design) -> Iterator[tuple[str, str, str]]:
    """(path, value with unit, source) of every known value; constants where cores run threads, or where given."""
    places = [*_places(design.memory, "memory"), *_places(design.links, "links")]
    rest = [*_walk(design.host, "host"), *_walk(design.placement, "placement"), *_walk(design.device, "device")]
    if design.compute.threads or design.constants != Constants():
        rest += _walk(design.constants, "constants")
    for path, value in [*_walk(design.compute, "compute"), *places, *rest]:
        yield path, value, source_of(design, path) or SOURCES.get(path.removeprefix("constants."), "")


OTHERS = "others"
LAST = ("memory wall", "what if", OTHERS)
"""Groups of designs that are no family of devices."""


def by_family(designs: Iterable[Design]) -> dict[str, list[Design]]:
    """Designs by family in alphabetical order, made-up ones last; each by year, then by name."""
    ordered = sorted(designs, key=lambda item: (item.device.year or 9999, item.name))
    names = {item.device.family or OTHERS for item in ordered}
    places = sorted(names, key=lambda name: (LAST.index(name) + 1 if name in LAST else 0, name.lower()))
    return {name: [item for item in ordered if (item.device.family or OTHERS) == name] for name in places}


def summary_row(design: Design) -> tuple[str, str, str, str, str]:
    """Cores, highest peak with its dtype, far memory, its bandwidth, and what lies before it."""
    matrix = design.compute.matrix
    peaks = dict(matrix.peak if matrix else design.compute.vector.peak)
    wanted = [dtype for dtype in (DType.BF16, DType.FP16, DType.FP32) if dtype in peaks]
    best = wanted[0] if wanted else max(peaks, key=lambda dtype: peaks[dtype])
    home = design.home
    bandwidth = home.bandwidth or home.read_bandwidth or 0
    near = " · ".join(
        f"{tier.name} {units.show_capacity(tier.capacity)}" for tier in (*design.core_tiers, *design.shared_tiers[:-1])
    )
    return (
        str(design.compute.cores),
        f"{units.show_rate(peaks[best])} {best.name.lower()}",
        f"{home.name} {units.show_capacity(home.capacity)}",
        units.show_bandwidth(bandwidth),
        near,
    )


def source_of(design: Design, path: str) -> str:
    """The source of a value: that of its path, or of the nearest prefix that has one."""
    steps = path.split(".")
    for end in range(len(steps), 0, -1):
        found = design.sources.get(".".join(steps[:end]))
        if found is not None:
            return found
    return ""


def pattern_rows(design: Design) -> Iterator[tuple[str, str, str]]:
    """(tier and pattern, share of the bandwidth used, its factors) of every tier with a DRAM preset."""
    for tier in design.memory:
        if tier.dram is not None:
            for name, share, factors in dram_tiers.pattern_rows(tier):
                yield f"{tier.name}, {name}", share, factors


def _places(places: Iterable[Place], table: str) -> Iterator[tuple[str, str]]:
    for place in places:
        hidden = () if isinstance(place, Tier) and place.is_shared_cache else ("replacement", "start")
        rows = _walk(place, f"{table}.{place.name}")
        yield from (row for row in rows if row[0].rpartition(".")[2] not in hidden)


def _walk(value: Any, path: str) -> Iterator[tuple[str, str]]:
    kinds = field_types(value.__class__)
    for item in fields(value):
        entry, kind = getattr(value, item.name), kinds[item.name]
        here = f"{path}.{item.name}"
        if entry is None or (isinstance(value, Place) and item.name == "name"):
            continue
        if is_dataclass(entry):
            yield from _walk(entry, here)
        elif item.name == "peak":
            for dtype, rate in entry.items():
                yield f"{here}.{dtype.name.lower()}", units.show_rate(rate)
        elif item.name == "pins":
            yield from ((f"{here}.{pattern}", tier) for pattern, tier in entry.items())
        elif item.name == "stand_in":
            for dtype, target in entry.items():
                yield f"{here}.{dtype.name.lower()}", target.name.lower()
        else:
            yield here, _shown(entry, kind)


def _shown(value: Any, kind: Any) -> str:
    if kind in PRINTERS:
        return PRINTERS[kind](value)
    if isinstance(value, Enum):
        return str(value.value)
    return " x ".join(str(side) for side in value) if isinstance(value, tuple) else str(value)
