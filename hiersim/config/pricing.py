"""Prices and energies of a design: its own where the file gives them, else those of the price book."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hiersim.config.load import covered
from hiersim.config.prices import load_prices
from hiersim.errors import DesignError
from hiersim.model.design import Design, Scope, Tier
from hiersim.model.prices import SRAM, Figure, PriceBook
from hiersim.model.silicon import sram_price
from hiersim.units import PicojoulesPerByte, PicojoulesPerFlop, UsdPerGB


def priced(design: Design) -> Design:
    """`design` with the book's figures where it has none of its own.

    Raises
    ------
    DesignError
        A price without a source, or a kind or node that the book does not know.
    """
    faults = list(unsourced(design))
    if faults:
        raise DesignError(faults[0].problem, key=faults[0].key, expected=faults[0].expected, others=faults[1:])
    if design.device.process is None and all(tier.kind is tier.process is None for tier in design.memory):
        return design
    book, sources = load_prices(), dict(design.sources)
    memory = tuple(_tier(tier, design, book, sources) for tier in design.memory)
    return replace(design, memory=memory, compute=_compute(design, book, sources), sources=sources)


def unsourced(design: Design) -> Iterator[DesignError]:
    """A fault for every price whose source is not named."""
    own = [f"memory.{tier.name}.price" for tier in design.memory if tier.price is not None]
    own += ["device.price"] if design.device.price is not None else []
    for path in own:
        if not covered(path, design.sources):
            yield DesignError("has no source", key=path, expected=f"sources: {{{path}: who said so, and where}}")


def _tier(tier: Tier, design: Design, book: PriceBook, sources: dict[str, str]) -> Tier:
    """`tier` with the price and energy of its kind; what it says itself stays."""
    path = f"memory.{tier.name}"
    changes: dict[str, Any] = {}
    process = tier.process or design.device.process
    if tier.process is not None:
        book.node(tier.process, f"{path}.process")
    if tier.kind is None:
        return tier
    kind = book.kind(tier.kind, f"{path}.kind")
    if tier.price is None:
        price = _sram(tier, design, book) if kind.name == SRAM else kind.price
        if price is not None:
            changes |= {"price": UsdPerGB(price.value), "price_as_of": price.as_of}
            sources[f"{path}.price"] = price.source
    if tier.energy is None and tier.scope is not Scope.CORE:  # what moves within a core is not counted
        energy = kind.energy
        if kind.name == SRAM and process is not None:
            energy = book.node(process, "device.process").sram_energy
        if energy is not None:
            changes["energy"] = PicojoulesPerByte(energy.value)
            sources[f"{path}.energy"] = energy.source
    return replace(tier, **changes)


def _sram(tier: Tier, design: Design, book: PriceBook) -> Figure | None:
    """The price of SRAM in the tier's node; that of a die of the device's size where that is the same node."""
    process = tier.process or design.device.process
    if process is None:
        return None
    book.node(process, "device.process")
    own_die = tier.process in (None, design.device.process)
    found = sram_price(book, process, design.device.die_area if own_die else None)
    source = (
        f"derived: {found.area_mm2:.0f} mm2/GB in {process} x {found.usd_per_mm2:.3f} $/mm2 of good dies of "
        f"{found.die_mm2:.0f} mm2 (docs/sram-price.md; wafers: {book.node(process).wafer.source})"
    )
    return Figure(value=round(found.usd_per_gb, 2), as_of=found.as_of, source=source)


def _compute(design: Design, book: PriceBook, sources: dict[str, str]) -> Any:
    """The cores, with the energy of arithmetic in their node where one is published."""
    process, compute = design.device.process, design.compute
    if process is None:
        return compute
    figure = book.node(process, "device.process").arithmetic
    if figure is None or compute.energy is not None:
        return compute
    sources["compute.energy"] = figure.source
    return replace(compute, energy=PicojoulesPerFlop(figure.value))
