"""DRAM presets in designs: which efficiency is used, what it says of itself, and what results report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hiersim.cli.main import main
from hiersim.config.load import load_design
from hiersim.errors import DesignError
from hiersim.frontends.load import load_trace
from hiersim.model.dram import achieved
from hiersim.model.dram_presets import PRESETS
from hiersim.model.dram_tiers import bandwidth_share, row_access, sector_bytes, slowdown, tier_achieves
from hiersim.run import simulate
from hiersim.views.designs import design_rows, pattern_rows

CHILD = "name: child\ntitle: A child\nextends: h100-sxm\nmemory: {hbm: {%s}}\n"


def child(folder: Path, values: str) -> Path:
    path = folder / "child.yaml"
    path.write_text(CHILD % values, encoding="utf-8")
    return path


def streaming(name: str) -> float:
    return round(achieved(PRESETS[name].timings).share, 4)


def test_a_preset_without_an_efficiency_brings_its_own(tmp_path: Path) -> None:
    design = load_design(child(tmp_path, "dram: ddr5"))
    assert design.home.dram == "ddr5"
    assert design.home.efficiency == streaming("ddr5") != load_design("h100-sxm").home.efficiency
    assert design.sources["memory.hbm.efficiency"].startswith("DRAM model, preset ddr5, streaming: 0.9")
    assert design.home.bandwidth == load_design("h100-sxm").home.bandwidth


def test_a_measured_efficiency_beside_a_preset_stays(tmp_path: Path) -> None:
    design = load_design(child(tmp_path, "dram: hbm3, efficiency: 0.8"))
    assert (design.home.dram, design.home.efficiency) == ("hbm3", 0.8)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_change_of_the_preset_changes_the_efficiency_unless_it_is_given(name: str) -> None:
    design = load_design("h100-sxm")
    assert design.replace({"memory.hbm.dram": name}).home.efficiency == streaming(name)
    for order in (("dram", "efficiency"), ("efficiency", "dram")):
        values = {"dram": name, "efficiency": 0.7}
        assert design.replace({f"memory.hbm.{key}": values[key] for key in order}).home.efficiency == 0.7


def test_other_changes_leave_a_modelled_efficiency_alone() -> None:
    design = load_design("h100-sxm").replace({"memory.hbm.dram": "hbm3"})
    assert design.replace({"memory.hbm.capacity": "96 GB"}).home.efficiency == design.home.efficiency


@pytest.mark.parametrize(
    ("path", "text", "problem", "expected"),
    [
        ("memory.hbm.dram", "hbm4e", "'hbm4e' is not a DRAM preset", "hbm"),
        ("memory.hbm.dram", 3, "cannot be set here", ""),
        ("memory.smem.dram", "hbm3", "is given for a tier in the cores", "a preset at a shared tier"),
    ],
)
def test_a_wrong_preset_is_one_line(path: str, text: object, problem: str, expected: str) -> None:
    with pytest.raises(DesignError) as caught:
        load_design("h100-sxm").replace({path: text})
    assert problem in caught.value.problem
    assert expected in (caught.value.expected or "")
    assert caught.value.key == path


def test_bundled_designs_name_no_preset_yet() -> None:
    """Their measured efficiencies stay, and predictions with them; see ADR 9."""
    from hiersim import bundled

    for name in bundled.designs():
        assert all(tier.dram is None for tier in load_design(name).memory)


def test_shares_are_in_proportion_to_streaming() -> None:
    tier = load_design("h100-sxm").replace({"memory.hbm.dram": "hbm3", "memory.hbm.efficiency": 0.5}).home
    short = row_access(64)
    ratio = tier_achieves(tier, short).moved / tier_achieves(tier).moved
    assert slowdown(tier, short) == pytest.approx(1 / ratio)
    assert bandwidth_share(tier, (64, 4096)) == {"streaming": 0.5, "worst": pytest.approx(0.5 * ratio)}
    assert bandwidth_share(tier, (16,))["worst"] == pytest.approx(0.5 * ratio * 16 / 64)


def test_without_a_preset_only_sectors_are_paid() -> None:
    tier = load_design("h100-sxm").home
    assert slowdown(tier, row_access(4)) == 1.0
    assert (sector_bytes(tier, 4), sector_bytes(tier, 64), sector_bytes(tier, 65)) == (64, 64, 128)
    assert bandwidth_share(tier, (4,)) == {"streaming": 0.92, "worst": pytest.approx(0.92 * 4 / 64)}


def test_a_burst_is_never_split() -> None:
    tier = load_design("h100-sxm").replace({"memory.hbm.dram": "ddr4", "memory.hbm.granularity": "32 B"}).home
    assert sector_bytes(tier, 32) == 64


def test_show_lists_the_shares_with_their_factors() -> None:
    design = load_design("h100-sxm").replace({"memory.hbm.dram": "hbm3"})
    rows = {name: (share, factors) for name, share, factors in pattern_rows(design)}
    assert rows["hbm, in order"][0] == f"{design.home.efficiency:.3f}"
    assert float(rows["hbm, 64 B anywhere"][0]) < float(rows["hbm, 1024 B anywhere"][0]) < design.home.efficiency
    assert all(
        word in rows["hbm, 64 B anywhere"][1] for word in ("refresh", "columns", "turnaround", "rows", "sectors")
    )
    assert list(pattern_rows(load_design("h100-sxm"))) == []
    paths = {path: (value, source) for path, value, source in design_rows(design)}
    assert paths["memory.hbm.dram"] == ("hbm3", "set to hbm3")
    shown = CliRunner().invoke(main, ["designs", "show", "h100-sxm", "--set", "memory.hbm.dram=hbm3"])
    assert shown.exit_code == 0
    assert "64 B anywhere" in shown.output and "refresh" in shown.output


def test_a_result_reports_the_share_that_it_used() -> None:
    design = load_design("h100-sxm").replace({"memory.hbm.dram": "hbm3"})
    shares = simulate(load_trace("llama3-8b-decode"), design).to_dict()["bandwidth_share"]
    assert shares["l2"] == {"streaming": 1.0, "worst": 1.0}
    assert shares["hbm"]["streaming"] == design.home.efficiency
    assert 0.2 < shares["hbm"]["worst"] < shares["hbm"]["streaming"]  # rows of the key and value caches


def test_the_verbose_table_shows_it() -> None:
    arguments = ["run", "llama3-8b-decode", "--design", "h100-sxm", "--set", "memory.hbm.dram=ddr5", "-v"]
    shown = CliRunner().invoke(main, arguments)
    assert shown.exit_code == 0, shown.output
    assert "hbm bandwidth used in order" in shown.output
    plain = CliRunner().invoke(main, [*arguments[:-1], "--json"])
    assert json.loads(plain.stdout)["bandwidth_share"]["hbm"]["streaming"] == streaming("ddr5")
