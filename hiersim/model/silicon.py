"""What SRAM costs, from silicon: bit cells, how densely they fill a block, dies per wafer, yield, wafer price.

docs/sram-price.md walks through it. Yield is negative-binomial (Stapper): (1 + A·D/α)^-α for area A, defect density D
and clustering α. Spare rows, spare cores and the price of packages and tests are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from hiersim.model.prices import PriceBook

BITS_PER_GB: Final = 8e9
MM2_PER_CM2: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SramPrice:
    """Every step from a bit cell to a price."""

    node: str
    efficiency: float
    """Share of a block's area that is bit cells of data."""
    cells_mm2: float
    """Bit cells of one GB."""
    area_mm2: float
    """Area of one GB."""
    die_mm2: float
    """The die that it is made on."""
    dies_per_gb: int
    """Dies of the largest size that one GB needs, when it stands alone."""
    dies_per_wafer: float
    good_share: float
    """Yield."""
    usd_per_die: float
    """Of a good one."""
    usd_per_mm2: float
    usd_per_gb: float
    as_of: str
    """Date of the wafer price."""


def sram_price(book: PriceBook, node: str, die_area: float | None = None) -> SramPrice:
    """The price of SRAM in a process node.

    Parameters
    ----------
    book : PriceBook
        Cells, wafers and defects by node.
    node : str
        Its name in the book: `5nm`.
    die_area : float, optional
        mm² of the die that the SRAM is part of and shares the yield of. Without it, 1 GB stands alone, on one die or
        on as few equal ones as the exposure field (reticle) allows.

    Raises
    ------
    DesignError
        Unknown node.
    """
    found = book.node(node)
    efficiency = sram_efficiency(book)
    cells = BITS_PER_GB * found.bit_cell.value
    area = cells / efficiency
    dies = math.ceil(area / book.silicon.reticle.value)
    die = area / dies if die_area is None else die_area
    per_wafer = dies_per_wafer(die, book.silicon.wafer_diameter.value)
    good = good_share(die, found.defects.value, book.silicon.clustering.value)
    usd_per_die = found.wafer.value / (per_wafer * good)
    return SramPrice(
        node=node,
        efficiency=efficiency,
        cells_mm2=cells,
        area_mm2=area,
        die_mm2=die,
        dies_per_gb=dies,
        dies_per_wafer=per_wafer,
        good_share=good,
        usd_per_die=usd_per_die,
        usd_per_mm2=usd_per_die / die,
        usd_per_gb=usd_per_die / die * area,
        as_of=found.wafer.as_of,
    )


def sram_efficiency(book: PriceBook) -> float:
    """Share of a block of SRAM that is bit cells of data, as on the published die of the book.

    The rest is what data needs beside its cells: sense amplifiers, drivers, tags, error correction, wires.
    """
    silicon = book.silicon
    cells = silicon.block_capacity * 8 * book.node(silicon.block_node).bit_cell.value
    return cells / silicon.block_area.value


def sram_area(book: PriceBook, node: str, size: int) -> float:
    """mm² that `size` bytes of SRAM take in a node."""
    return size * 8 * book.node(node).bit_cell.value / sram_efficiency(book)


def dies_per_wafer(die_area: float, diameter: float) -> float:
    """Whole dies that a round wafer gives: its area over the die's, less those that its rim cuts.

    At least one, as for a die that is the wafer.
    """
    return max(1.0, math.pi * (diameter / 2) ** 2 / die_area - math.pi * diameter / math.sqrt(2 * die_area))


def good_share(die_area: float, defects: float, clustering: float) -> float:
    """Yield of dies of `die_area` mm² with `defects` per cm², negative-binomial."""
    return float((1 + die_area / MM2_PER_CM2 * defects / clustering) ** -clustering)
