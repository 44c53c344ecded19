"""The price book as rows of tables and as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from hiersim.model.prices import SRAM, Figure, History, PriceBook
from hiersim.model.silicon import SramPrice, sram_price

UNITS = {
    "price": "$/GB", "energy": "pJ/B", "bit_cell": "mm2", "wafer": "$", "defects": "/cm2", "sram_energy": "pJ/B",
    "arithmetic": "pJ/FLOP", "wafer_diameter": "mm", "reticle": "mm2", "clustering": "", "block_area": "mm2",
    "electricity": "$/kWh", "lifetime": "years",
}  # fmt: skip


def memory_rows(book: PriceBook) -> Iterator[tuple[str, str, str, str, str]]:
    """(kind, $/GB, date, pJ/bit, source of the price); SRAM by node, 1 GB of it standing alone."""
    for kind in book.memory.values():
        if kind.name != SRAM:
            yield kind.name, *_money(kind.price), _energy(kind.energy), kind.price.source if kind.price else "unknown"
    for name, node in book.nodes.items():
        found = sram_price(book, name)
        source = f"derived: docs/sram-price.md; wafers: {node.wafer.source}"
        yield f"sram {name}", f"{found.usd_per_gb:.0f}", found.as_of, _energy(node.sram_energy), source


def _money(figure: Figure | None) -> tuple[str, str]:
    return ("–", "") if figure is None else (f"{figure.value:.4g}", figure.as_of)


def _energy(figure: Figure | None) -> str:
    return "–" if figure is None else f"{figure.value / 8:.3g}"


def sram_rows(price: SramPrice, book: PriceBook) -> Iterator[tuple[str, str, str]]:
    """(step, value, how) from a bit cell to a price."""
    node, silicon = book.node(price.node), book.silicon
    yield "bit cell", f"{node.bit_cell.value * 1e6:g} um2", node.bit_cell.source
    yield "cells of 1 GB", f"{price.cells_mm2:,.0f} mm2", "8e9 bits"
    yield "cells' share of a block", f"{price.efficiency:.3f}", f"data of a published die: {silicon.block_area.source}"
    yield (
        "area of 1 GB",
        f"{price.area_mm2:,.0f} mm2",
        f"dies within {silicon.reticle.value:g} mm2 (reticle): {price.dies_per_gb}",
    )
    yield "die", f"{price.die_mm2:,.0f} mm2", "the die that the SRAM is part of"
    yield "dies per wafer", f"{price.dies_per_wafer:.1f}", f"{silicon.wafer_diameter.value:g} mm, less those at the rim"
    yield (
        "yield",
        f"{price.good_share:.3f}",
        f"negative-binomial, {node.defects.value:g} defects per cm2: {node.defects.source}",
    )
    yield "wafer", f"{node.wafer.value:,.0f} $", f"{node.wafer.source}; {node.wafer.as_of}"
    yield "good die", f"{price.usd_per_die:,.0f} $", "wafer / (dies x yield)"
    yield "SRAM", f"{price.usd_per_gb:,.0f} $/GB", "good die / die x area of 1 GB"


def history_rows(series: History) -> Iterator[tuple[str, str]]:
    """(year, $/GB)."""
    for point in series.points:
        yield str(point.year), f"{point.usd_per_gb:.4g}"


def plain_book(book: PriceBook) -> dict[str, Any]:
    """Every figure with its unit, date and source, the SRAM prices that follow, and the histories."""
    figures = {path: {**asdict(figure), "unit": UNITS[path.rpartition(".")[2]]} for path, figure in book.figures()}
    return {
        "figures": figures,
        "sram": {name: asdict(sram_price(book, name)) for name in book.nodes},
        "history": {
            name: {"unit": item.unit, "as_of": item.as_of, "source": item.source, "points": dict(item.points)}
            for name, item in book.history.items()
        },
    }
