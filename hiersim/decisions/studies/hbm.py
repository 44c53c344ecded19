"""HBM's share of what an accelerator costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hiersim.config.load import load_design
from hiersim.config.prices import load_prices
from hiersim.decisions.studies import PLACES
from hiersim.decisions.studies.claims import Agreement, Claim, Study, Table
from hiersim.decisions.studies.figures import in_percent
from hiersim.model.design import Design
from hiersim.model.prices import PriceBook
from hiersim.model.silicon import sram_price

NAME: Final = "hbm"
DESIGNS: Final = ("p100-sxm", "v100-sxm", "a100-80gb-sxm", "h100-sxm", "h200-sxm", "b200", "mi300x", "tpu-v4")
ESTIMATE: Final = 3320.0
"""Dollars that it costs to make one H100: Raymond James, August 2023 (reported by T. Kim, Barron's)."""


def study() -> Study:
    """Dollars of HBM beside those of the compute dies, and beside the price as sold, where it is known."""
    book = load_prices()
    designs = [load_design(name) for name in DESIGNS]
    return Study(
        name=NAME,
        question=PLACES[NAME],
        claims=(_largest(designs, book), _sold(designs), _estimate()),
        tables=(Table(title="HBM beside silicon and price", rows=tuple(_rows(designs, book))),),
        notes=(
            "compute dies: wafer price, dies per wafer and yield of the price book; spare cores, packages, "
            "interposers, tests, boards and margins are left out, so that this is no share of a bill",
            "prices of 2020 for wafers, of 2018 to 2025 for HBM, of their date for devices: see `hiersim designs show`",
        ),
    )


def hbm_usd(design: Design) -> float | None:
    """Dollars of the last tier of the device; None where it has no price."""
    home = design.home
    return None if home.price is None else int(home.capacity) / 1e9 * float(home.price)


def dies_usd(design: Design, book: PriceBook) -> float | None:
    """Dollars of good compute dies; None where node or area are unknown."""
    device = design.device
    if device.process is None or device.die_area is None:
        return None
    return sram_price(book, device.process, float(device.die_area)).usd_per_die * int(device.dies)


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or whole is None else part / whole


def _of_both(design: Design, book: PriceBook) -> float | None:
    """HBM over HBM and dies."""
    memory, dies = hbm_usd(design), dies_usd(design, book)
    return None if memory is None or dies is None else memory / (memory + dies)


def _largest(designs: list[Design], book: PriceBook) -> Claim:
    known = {design.name: share for design in designs if (share := _of_both(design, book)) is not None}
    return Claim(
        claim="HBM costs more than the compute die that it feeds",
        found=f"HBM's share of HBM and compute dies: {in_percent(known)}",
        agrees=Agreement.of(share > 0.5 for share in known.values()),
    )


def _sold(designs: list[Design]) -> Claim:
    known = {
        design.name: share for design in designs if (share := _share(hbm_usd(design), design.device.price)) is not None
    }
    return Claim(
        claim="HBM is a large part of what a buyer pays for an accelerator",
        found=f"of the price as sold, where one is known: {in_percent(known)}",
        agrees=Agreement.of(share > 0.2 for share in known.values()),
    )


def _estimate() -> Claim:
    usd = hbm_usd(load_design("h100-sxm"))
    assert usd is not None
    return Claim(
        claim="HBM is a third of what an H100 costs to make",
        found=f"{usd:,.0f} $ are {100 * usd / ESTIMATE:.0f} % of the {ESTIMATE:,.0f} $ that Raymond James estimated in "
        "August 2023 (the price per GB that is assumed for HBM3 is not independent of that estimate)",
        agrees=Agreement.of([0.25 <= usd / ESTIMATE <= 0.45]),
    )


def _rows(designs: list[Design], book: PriceBook) -> Iterator[dict[str, object]]:
    for design in designs:
        memory, price = hbm_usd(design), design.device.price
        yield {
            "design": design.name,
            "year": design.device.year,
            "capacity_bytes": int(design.home.capacity),
            "usd_per_gb": design.home.price,
            "hbm_usd": memory,
            "dies_usd": dies_usd(design, book),
            "price_usd": price,
            "hbm_of_dies_share": _of_both(design, book),
            "hbm_of_price_share": _share(memory, price),
        }
