"""The numbers of the pages on prices are computed again, from the bundled price book."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from hiersim import bundled, cost
from hiersim.config.load import load_design
from hiersim.config.prices import load_prices
from hiersim.model.silicon import sram_price

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "sram-price.md").read_text()
PRICES = (DOCS / "prices.md").read_text()
LIBRARY = (DOCS / "design-library.md").read_text()
BOOK = load_prices()


def step(name: str) -> float:
    """The value of one row of the derivation."""
    (row,) = re.findall(rf"^\| \**{re.escape(name)}\** \|.*\| \**([\d.]+)[^|]*\|$", PAGE, re.MULTILINE)
    return float(row)


def test_every_step_of_the_derivation_is_computed_again() -> None:
    node, found = BOOK.node("5nm"), sram_price(BOOK, "5nm")
    assert step("bit cell") == pytest.approx(node.bit_cell.value * 1e6)
    assert step("cells of 1 GB") == round(found.cells_mm2)
    assert step("cells' share of a block") == round(found.efficiency, 3)
    assert step("area of 1 GB") == round(found.area_mm2)
    assert step("dies per wafer") == round(found.dies_per_wafer, 1)
    assert step("yield") == round(found.good_share, 3)
    assert step("wafer") == node.wafer.value
    assert step("good die") == round(found.usd_per_die)
    assert step("price") == round(found.usd_per_gb)
    assert "14.5 mm2" in PAGE and round(found.efficiency * 41, 1) == 14.5


def test_the_table_by_node_is_computed_again() -> None:
    rows = re.findall(r"^\| (\d+nm) \| ([\d.]+) \| (\d+) \| (\d) \| ([\d.]+) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    assert [row[0] for row in rows] == list(BOOK.nodes)
    for name, *shown in rows:
        node, found = BOOK.node(name), sram_price(BOOK, name)
        expected = [
            node.bit_cell.value * 1e6, round(found.area_mm2), found.dies_per_gb, round(found.good_share, 3),
            node.wafer.value, round(found.usd_per_gb),
        ]  # fmt: skip
        assert [float(text) for text in shown] == pytest.approx(expected), name


def test_other_numbers_of_the_page_hold() -> None:
    h100 = load_design("h100-sxm")
    fit = cost.sram_fit(h100, BOOK)
    assert fit is not None and fit.share is not None
    assert f"{sram_price(BOOK, '5nm', 814).usd_per_gb:.0f} $/GB; its {fit.sram_bytes / 1e6:.0f} MB" in PAGE
    on_chip = [value for name, value in cost.memory_cost(h100).items() if name in ("registers", "smem", "l2")]
    assert f"then are {sum(value or 0 for value in on_chip):.0f} $, and take {fit.sram_mm2:.0f} mm2" in PAGE
    assert f"{fit.share:.0%}".replace("%", " %") in PAGE
    defects = sram_price(BOOK, "5nm").area_mm2 / 100 * 0.10
    assert f"Poisson would give {math.exp(-defects):.3f}" in PAGE
    assert f"Murphy {((1 - math.exp(-defects)) / defects) ** 2:.3f}" in PAGE
    assert BOOK.silicon.reticle.value == 26 * 33 == 858
    assert sram_price(BOOK, "5nm").usd_per_gb / 2.4 == pytest.approx(90, rel=0.05)


def test_the_history_of_prices_is_that_of_the_book() -> None:
    for title, name in (("DRAM", "dram"), ("hard disks", "disk")):
        series = BOOK.history[name]
        years = " | ".join(f"{series.at(year):g}" for year in (2003, 2012, 2021, 2023))
        falls = " | ".join(
            f"{series.yearly_change(*span):.0%}".replace("%", " %") for span in ((2003, 2012), (2012, 2021))
        )
        assert f"| {title} | {years} | {falls} |" in PRICES
    dram = BOOK.history["dram"]
    assert (round(dram.at(2003) / dram.at(2012)), round(dram.at(2012) / dram.at(2021), 1)) == (26, 1.7)
    assert round(BOOK.history["flash"].yearly_change(2013, 2023), 2) == -0.28


def test_kinds_and_designs_that_the_pages_name_are_there() -> None:
    (kinds,) = re.findall(r"by the `kind` of the tier: ((?:`\w+`,?\s+)+`\w+`)", PRICES)
    assert set(re.findall(r"`(\w+)`", kinds)) == set(BOOK.memory) - {"sram"}
    named = set(re.findall(r"`([a-z][\w-]+)`", LIBRARY.partition("Designs of one family")[0]))
    for name in bundled.designs():
        assert name in named or name.startswith("memory-wall"), name


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PRICES, re.DOTALL)
    exec(compile(block, "prices.md", "exec"), {})
    assert re.fullmatch(r"twice the bandwidth may cost [\d,]+ \$ more\n", capsys.readouterr().out)
