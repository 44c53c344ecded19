"""The price book: every figure has a source and a date, SRAM follows from silicon, and seeds of the literature hold."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hiersim import bundled
from hiersim.cli.main import main
from hiersim.config import price_schema, prices
from hiersim.config.load import load_design
from hiersim.config.prices import load_prices
from hiersim.errors import DesignError
from hiersim.model.silicon import dies_per_wafer, good_share, sram_area, sram_efficiency, sram_price

BOOK = load_prices()
SAUCE = "nodes.16nm.bit_cell.sauce"


def folder_with(tmp_path: Path, name: str, old: str, new: str) -> Path:
    """The bundled book with one passage of one file changed."""
    folder = tmp_path / "book"
    shutil.copytree(bundled.prices(), folder)
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    return folder


def test_our_book_is_read_alike_with_and_without_the_validator() -> None:
    """Every figure and its type."""
    wanted = price_schema.read_prices(bundled.prices(), "configs/prices", {})
    assert repr(dataclasses.replace(BOOK, history={})) == repr(wanted)
    assert repr(dict(BOOK.history)) == repr(price_schema.read_history(bundled.prices(), "configs/prices"))


def test_histories_are_read_when_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run looks prices up and no history; a folder that the user names is read, and refused, as a whole."""
    read: list[str] = []
    kept = prices.read_document

    def noted(path: Path, *rest: Any) -> Any:
        read.append(path.name)
        return kept(path, *rest)

    for module in (prices, price_schema):
        monkeypatch.setattr(module, "read_document", noted)
    book = prices._bundled.__wrapped__()
    assert read == ["prices.yaml"]
    assert book.history == BOOK.history and len(book.history) > 1
    assert read == ["prices.yaml", "history.yaml"]
    load_prices(bundled.prices())
    assert read[2:] == ["prices.yaml", "history.yaml"]


def refusal(folder: Path) -> DesignError:
    with pytest.raises(DesignError) as caught:
        load_prices(folder)
    return caught.value


# Sources


def test_every_figure_has_a_source_and_a_date() -> None:
    figures = dict(BOOK.figures())
    assert len(figures) > 40
    for path, figure in figures.items():
        assert figure.value > 0, path
        assert re.fullmatch(r"(19|20)\d\d(-\d\d)?", figure.as_of), path
        assert len(figure.source) > 12 and " " in figure.source, path
    for series in BOOK.history.values():
        assert "McCallum" in series.source and series.as_of == "2024-05"


@pytest.mark.parametrize(
    ("name", "old", "new", "key", "problem"),
    [
        ("prices.yaml", '      as_of: "2018"\n', "", "memory.hbm2.price.as_of", "is missing"),
        ("prices.yaml", '"2018"', "last year", "memory.hbm2.price.as_of", "'last year' is not a valid name or date"),
        ("prices.yaml", ', source: "Wu et al., A 16nm', ', sauce: "Wu et al., A 16nm', SAUCE, "is not a key"),
        ("prices.yaml", '"assumption: a fifth below HBM3"', '"x"', "memory.hbm2e.price.source", "'x' says nothing"),
        ("prices.yaml", "value: 15 $/GB", "value: 15", "memory.hbm2.price.value", "15 has no unit"),
        ("prices.yaml", "{value: 3984 $,", "{value: 3984 m,", "nodes.16nm.wafer.value", "is not a unit of an amount"),
        ("prices.yaml", "block_node: 7nm", "block_node: 6nm", "silicon.block_node", "is not a node of this file"),
        ("history.yaml", '    as_of: "2024-05"\n', "", "history.dram.as_of", "is missing"),
        ("history.yaml", "2003: 107.2", "2003: -1", "history.dram.points.2003", "greater than 0"),
    ],
)  # fmt: skip
def test_a_figure_without_source_or_date_is_refused(
    tmp_path: Path, name: str, old: str, new: str, key: str, problem: str
) -> None:
    error = refusal(folder_with(tmp_path, name, old, new))
    faults = {fault.key: fault for fault in (error, *error.others)}
    assert problem in str(faults[key])
    assert name in str(error)


def test_a_price_in_a_design_needs_a_date_and_a_source(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nextends: m1\nmemory: {slc: {price: 9 $/GB, price_as_of: 2024-01}}\n")
    with pytest.raises(DesignError, match=r"mine.yaml:3: memory.slc.price: has no source \(expected sources: "):
        load_design(path)
    path.write_text("name: mine\nextends: m1\nmemory: {slc: {price: 9 $/GB}}\nsources: {memory.slc: a quote of 2024}\n")
    with pytest.raises(DesignError, match=r"memory.slc.price: has no date"):
        load_design(path)


def test_a_device_price_needs_a_date_and_a_source(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nextends: h100-sxm\ndevice: {price: 1 $}\n")
    with pytest.raises(DesignError, match=r"device.price: has no date"):
        load_design(path)
    path.write_text("name: mine\nextends: h100-sxm\ndevice: {price: 1 $, price_as_of: 2024}\n")
    with pytest.raises(DesignError, match=r"device.price: has no source"):
        load_design(path)


# What the literature says


def test_dram_has_hardly_become_cheaper_since_2012() -> None:
    dram = BOOK.history["dram"]
    assert dram.yearly_change(2003, 2012) == pytest.approx(-0.30, abs=0.01)
    assert dram.yearly_change(2012, 2021) == pytest.approx(-0.055, abs=0.005)
    assert dram.yearly_change(2012, 2023) == pytest.approx(-0.114, abs=0.005), "the fall of 2023 is no plateau"
    assert BOOK.history["flash"].yearly_change(2013, 2023) < 2 * dram.yearly_change(2012, 2023)
    assert dram.at(2012) == 4.127
    with pytest.raises(DesignError, match=r"no price of 1999 \(expected 2003 to 2023\)"):
        dram.at(1999)


def test_hbm_costs_ten_to_twenty_dollars_a_gigabyte() -> None:
    for name in ("hbm2", "hbm2e", "hbm3", "hbm3e"):
        price = BOOK.kind(name).price
        assert price is not None and 10 <= price.value <= 20, name


def test_a_gigabyte_of_sram_in_5_nm_costs_hundreds_of_dollars() -> None:
    assert 200 <= sram_price(BOOK, "5nm").usd_per_gb <= 500
    assert 200 <= sram_price(BOOK, "5nm", 814).usd_per_gb <= 500


def test_energies_are_those_of_the_literature() -> None:
    per_bit = {name: kind.energy.value / 8 for name, kind in BOOK.memory.items() if kind.energy is not None}
    assert all(3.8 <= per_bit[name] <= 7 for name in ("hbm2", "hbm2e", "hbm3", "hbm3e"))
    assert per_bit["gddr6"] == pytest.approx(415 / 64, rel=0.01)
    assert per_bit["ddr4"] == pytest.approx(1300 / 64, rel=0.01)


# SRAM from silicon


def test_the_derivation_is_the_formula_by_hand() -> None:
    cells = 8e9 * 0.021e-6
    efficiency = 64 * 2**20 * 8 * 0.027e-6 / 41
    area = cells / efficiency
    dies = 3.141592653589793 * 150**2 / area - 3.141592653589793 * 300 / (2 * area) ** 0.5
    good = (1 + area / 100 * 0.10 / 2) ** -2
    found = sram_price(BOOK, "5nm")
    assert found.usd_per_gb == pytest.approx(16988 / (dies * good))
    assert (found.dies_per_gb, sram_efficiency(BOOK)) == (1, pytest.approx(efficiency))
    assert sram_area(BOOK, "5nm", 10**9) == pytest.approx(area)


def test_what_exceeds_the_exposure_field_is_cut_into_equal_dies() -> None:
    found = sram_price(BOOK, "16nm")
    assert found.dies_per_gb == 2
    assert found.die_mm2 == pytest.approx(found.area_mm2 / 2) and found.die_mm2 < 858


def test_larger_dies_and_more_defects_never_yield_better() -> None:
    yields = [good_share(area, 0.1, 2) for area in (1, 100, 400, 858)]
    assert yields == sorted(yields, reverse=True) and yields[0] > 0.99
    assert good_share(400, 0.05, 2) > good_share(400, 0.1, 2)
    dies = [dies_per_wafer(area, 300) for area in (100, 400, 858, 46225)]
    assert dies == sorted(dies, reverse=True)
    assert dies[-1] == 1
    prices = [sram_price(BOOK, "5nm", area).usd_per_gb for area in (50, 200, 400, 814)]
    assert prices == sorted(prices), "SRAM on a larger die shares a worse yield"


def test_an_unknown_node_names_the_others() -> None:
    with pytest.raises(DesignError, match=r"'5 nm' is not a process node in the price book"):
        sram_price(BOOK, "5 nm")


# A design's own


def test_sram_follows_from_the_node_unless_a_price_is_given(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nextends: h100-sxm\ndevice: {process: 7nm}\n")
    tier = load_design(path).tier("l2")
    assert tier.price == pytest.approx(sram_price(BOOK, "7nm", 814).usd_per_gb, abs=0.01)
    assert tier.price_as_of == "2020-04"
    source = "sources: {memory.l2.price: a quote of 2024}\n"
    path.write_text(
        f"name: mine\nextends: h100-sxm\nmemory: {{l2: {{price: 99 $/GB, price_as_of: 2024-01}}}}\n{source}"
    )
    mine = load_design(path)
    assert mine.tier("l2").price == 99
    assert mine.tier("smem").price == pytest.approx(sram_price(BOOK, "5nm", 814).usd_per_gb, abs=0.01)
    assert mine.sources["memory.l2.price"] == "a quote of 2024"
    assert "475 mm2/GB in 5nm" in mine.sources["memory.smem.price"]


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("device: {process: 4nm}", "device.process", "'4nm' is not a process node"),
        ("memory: {hbm: {kind: hbm9}}", "memory.hbm.kind", "'hbm9' is not a kind of memory"),
        ("memory: {l2: {process: 9nm}}", "memory.l2.process", "'9nm' is not a process node"),
        ("device: {die_area: 814}", "device.die_area", "814 has no unit"),
        ("device: {year: '2022'}", "device.year", ""),
        ("device: {prize: 1 $}", "device.prize", "is not a key of a design (expected 'price')"),
    ],
)
def test_a_wrong_name_is_refused(tmp_path: Path, text: str, key: str, problem: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\nextends: h100-sxm\n{text}\n")
    with pytest.raises(DesignError) as caught:
        load_design(path)
    assert caught.value.key == key
    assert problem in str(caught.value)
    assert f"{path}:3:" in str(caught.value)


@pytest.mark.parametrize("path", ["device.process", "device.die_area", "memory.l2.kind", "memory.l2.process"])
def test_what_prices_were_looked_up_by_is_changed_in_a_file(path: str) -> None:
    with pytest.raises(DesignError, match="decides prices, which are looked up when a file is read"):
        load_design("h100-sxm").replace({path: "7nm"})


def test_another_machine_is_not_sold_at_the_known_price() -> None:
    h100 = load_design("h100-sxm")
    assert h100.device.price == 27500
    assert h100.replace({"memory.l2.capacity": "2x"}).device.price is None
    assert h100.replace({"host.launch_eager": "4 us"}).device.price == 27500
    assert h100.replace({"memory.hbm.price": "10 $/GB"}).device.price == 27500
    assert h100.replace({"memory.l2.capacity": "2x", "device.price": "30000 $"}).device.price == 30000


# The command


def run(*words: str) -> Any:
    done = CliRunner().invoke(main, ["prices", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_shows_every_figure() -> None:
    shown = json.loads(run("list", "--json"))
    assert set(shown["figures"]) == {path for path, _ in BOOK.figures()}
    assert all(entry["unit"] or path == "silicon.clustering" for path, entry in shown["figures"].items())
    assert shown["sram"]["5nm"]["usd_per_gb"] == sram_price(BOOK, "5nm").usd_per_gb
    assert "hbm3e" in run()
    assert "220 $/GB" in run("sram", "5nm")
    assert json.loads(run("sram", "5nm", "--die", "814 mm2", "--json"))["die_mm2"] == 814
    assert "2012" in run("history", "dram")
