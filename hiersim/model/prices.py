"""`PriceBook`: what memory, silicon and power cost and what bytes take to move; each figure has a source and a date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from hiersim.errors import DesignError, nearest
from hiersim.units import Bytes

_T = TypeVar("_T")
SRAM = "sram"
"""The one kind whose price follows from silicon: from the node that it is made in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number from outside."""

    value: float
    as_of: str
    """Year, month or day of the source."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryKind:
    """One sort of memory as it is bought."""

    name: str
    title: str
    price: Figure | None
    """$/GB; None for SRAM."""
    energy: Figure | None
    """pJ/B of a read or write, device and interface; None where nobody published one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessNode:
    """One generation of logic silicon."""

    name: str
    title: str
    bit_cell: Figure
    """mm² of one bit of the densest SRAM."""
    wafer: Figure
    """$ of a processed 300 mm wafer."""
    defects: Figure
    """Defects per cm²."""
    sram_energy: Figure | None
    """pJ/B of an access to an array of about 1 MB."""
    arithmetic: Figure | None
    """pJ/FLOP of a 16-bit multiplication added in 32 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silicon:
    """What all nodes share: wafers, the exposure field, how defects cluster, how densely SRAM fills a block."""

    wafer_diameter: Figure
    """mm."""
    reticle: Figure
    """mm² of the largest die that is exposed at once."""
    clustering: Figure
    """The exponent of the negative-binomial yield."""
    block_capacity: Bytes
    """Data that a published die of nothing but SRAM holds."""
    block_node: str
    block_area: Figure
    """mm² of that die."""


class Point(NamedTuple):
    """The price of one year."""

    year: int
    usd_per_gb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Prices of one kind of memory over the years."""

    name: str
    title: str
    unit: str
    """Dollars of which year, and whose price."""
    as_of: str
    source: str
    points: tuple[Point, ...]

    def at(self, year: int) -> float:
        """$/GB of a year.

        Raises
        ------
        DesignError
            A year without a price.
        """
        found = {point.year: point.usd_per_gb for point in self.points}
        if year not in found:
            expected = f"{min(found)} to {max(found)}"
            raise DesignError(f"there is no price of {year}", key=f"history.{self.name}", expected=expected)
        return found[year]

    def yearly_change(self, first: int, last: int) -> float:
        """Mean change per year between two of its years: -0.3 is a fall of 30 % a year."""
        return float((self.at(last) / self.at(first)) ** (1 / (last - first))) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """Every price that is not a design's own."""

    memory: Mapping[str, MemoryKind]
    nodes: Mapping[str, ProcessNode]
    silicon: Silicon
    electricity: Figure
    """$ per kWh."""
    lifetime: Figure
    """Years over which the price of a device is spread."""
    history: Mapping[str, History]

    def kind(self, name: str, key: str | None = None) -> MemoryKind:
        """The kind of memory of that name; `key` is what a message blames.

        Raises
        ------
        DesignError
            Unknown name.
        """
        return _found(self.memory, name, key, "a kind of memory in the price book")

    def node(self, name: str, key: str | None = None) -> ProcessNode:
        """The process node of that name.

        Raises
        ------
        DesignError
            Unknown name.
        """
        return _found(self.nodes, name, key, "a process node in the price book")

    def figures(self) -> Iterable[tuple[str, Figure]]:
        """Every figure with the path that the file has it under."""
        for kind in self.memory.values():
            yield from _given((f"memory.{kind.name}", kind, ("price", "energy")))
        for node in self.nodes.values():
            names = ("bit_cell", "wafer", "defects", "sram_energy", "arithmetic")
            yield from _given((f"nodes.{node.name}", node, names))
        yield from _given(("silicon", self.silicon, ("wafer_diameter", "reticle", "clustering", "block_area")))
        yield "electricity", self.electricity
        yield "lifetime", self.lifetime


def _given(row: tuple[str, object, tuple[str, ...]]) -> Iterable[tuple[str, Figure]]:
    path, owner, names = row
    for name in names:
        figure = getattr(owner, name)
        if figure is not None:
            yield f"{path}.{name}", figure


def _found(table: Mapping[str, _T], name: str, key: str | None, what: str) -> _T:
    if name not in table:
        raise DesignError(f"'{name}' is not {what}", key=key, expected=nearest(name, table))
    return table[name]
