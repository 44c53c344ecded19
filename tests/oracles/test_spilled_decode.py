"""Llama-3-70B on devices that are too small for it: time per token against docs/spilling.md, worked out by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hiersim import load_design, load_trace
from hiersim.results import Result
from hiersim.run import simulate
from hiersim.units import TICKS_PER_SECOND

PAGE = (Path(__file__).parents[2] / "docs" / "spilling.md").read_text()
TRACE = "llama3-70b-decode"


def row(label: str) -> float:
    """The last number of the row of the page's table that begins with `label`."""
    line = next(line for line in PAGE.splitlines() if line.startswith(f"| {label} |"))
    return float(re.findall(r"[\d.]+", line.rsplit("|", 2)[1])[0])


@pytest.fixture(scope="module")
def eager() -> Result:
    return simulate(load_trace(TRACE), load_design("h100-sxm"))


def by_hand(result: Result) -> tuple[float, float]:
    """Seconds of the link and of HBM, from the design's numbers and the bytes."""
    design = result.design
    (link,) = design.links
    hbm = design.tier("hbm")
    assert link.read_bandwidth is not None and hbm.bandwidth is not None
    moved = result.traffic
    near = moved["hbm"]["read"] + moved["hbm"]["write"]
    seconds = moved["pcie"]["read"] / (link.read_bandwidth * link.efficiency)
    return seconds, near / (hbm.bandwidth * hbm.efficiency)


@pytest.mark.parametrize("fusion", ["eager", "inductor"])
def test_a_token_takes_the_link_part_and_the_hbm_part(fusion: str) -> None:
    result = simulate(load_trace(TRACE), load_design("h100-sxm"), fusion=fusion)
    assert result.time == pytest.approx(sum(by_hand(result)), rel=0.03)
    assert result.time == pytest.approx((row("**link part**") + row("**HBM part**")) / 1000, rel=0.03)


def test_the_page_says_what_the_simulator_moves(eager: Result) -> None:
    moved = eager.traffic
    assert row("bytes copied in") == pytest.approx(moved["pcie"]["read"] / 1e9, abs=0.001)
    assert row("HBM reads") == pytest.approx(moved["hbm"]["read"] / 1e9, abs=0.01)
    assert row("HBM writes") == pytest.approx(moved["hbm"]["write"] / 1e9, abs=0.01)
    link, hbm = by_hand(eager)
    assert row("**link part**") == pytest.approx(link * 1000, abs=0.1)
    assert row("**HBM part**") == pytest.approx(hbm * 1000, abs=0.1)
    assert row("**token**") == pytest.approx((link + hbm) * 1000, abs=0.1)
    assert f"{eager.time * 1000:.1f} ms eager" in PAGE


def test_every_spilled_byte_comes_once_and_the_result_names_what_spilled(eager: Result) -> None:
    (spilled,) = [placed for placed in eager.placement if placed.tier == "dram"]
    table = eager.graph.tensors
    embedding = table.storage_bytes[table.storage_names.index("embed_tokens.weight")]
    gathered = eager.traffic["pcie"]["read"] - (spilled.bytes - embedding)
    assert 0 < gathered < 100_000  # one row of the embedding table
    assert spilled.role == "weight"
    assert spilled.bytes + sum(placed.bytes for placed in eager.placement if placed.tier == "hbm") >= 141 * 10**9
    assert any("'lm_head.weight'" in warning and "live in 'dram'" in warning for warning in eager.program.warnings)
    waits = {(entry.entry, entry.tier): 0 for entry in eager.ledger}
    for entry in eager.ledger:
        waits[entry.entry, entry.tier] += entry.ticks * (entry.engine == "cores")
    assert max(waits, key=lambda key: waits[key]) == ("bandwidth", "pcie")


def test_with_little_dram_the_drive_sets_the_pace() -> None:
    design = load_design("h100-sxm").replace({"memory.dram.capacity": "16 GB"})
    result = simulate(load_trace(TRACE), design, fusion="inductor")
    nvme = design.tier("nvme")
    assert nvme.read_bandwidth is not None
    drive = result.traffic["nvme"]["read"] / nvme.read_bandwidth
    assert drive < result.time < 1.07 * drive
    blamed = sum(row.ticks for row in result.ledger if row.engine == "cores" and row.tier == "nvme")
    assert blamed > 0.9 * result.makespan
    assert result.peak["dram"] <= design.tier("dram").capacity


SPREAD = {"placement.order": "spread", "placement.prefetch": "24"}


def test_spread_over_the_run_copies_hide_behind_nothing_but_their_link() -> None:
    """Spilled weights lie between resident ones: the link brings the next while kernels read HBM."""
    result = simulate(load_trace(TRACE), load_design("h100-sxm").replace(SPREAD))
    link, _ = by_hand(result)
    assert link < result.time < 1.01 * link
    assert f"{result.time * 1000:.1f} ms eager, the link part and 1 %" in PAGE


def test_copies_from_dram_and_from_the_drive_run_at_once() -> None:
    """0.7 s from DRAM and 3.3 s from the drive: one after the other by default, the longer of both where spread."""
    trace, small = load_trace(TRACE), load_design("h100-sxm").replace({"memory.dram.capacity": "40 GB"})
    apart, together = (simulate(trace, design) for design in (small, small.replace(SPREAD)))
    nvme = small.tier("nvme")
    assert nvme.read_bandwidth is not None
    drive = together.traffic["nvme"]["read"] / nvme.read_bandwidth
    assert drive < together.time < 1.05 * drive
    assert f"{together.time:.2f} s instead of {apart.time:.2f} s" in PAGE.replace("\n  ", " ")


def test_with_room_for_all_nothing_is_copied() -> None:
    result = simulate(load_trace(TRACE), load_design("h100-sxm").replace({"memory.hbm.capacity": "200 GB"}))
    assert {name for name, moved in result.traffic.items() if sum(moved.values())} == {"l2", "hbm"}
    assert not result.program.warnings
    assert result.makespan < 0.06 * TICKS_PER_SECOND


@pytest.mark.parametrize(("pattern", "role", "least"), [("kv_cache", "kv_cache", 0.6e9), ("layers.7*", "weight", 16e9)])
def test_pins_are_kept(pattern: str, role: str, least: float) -> None:
    design = load_design("h100-sxm").replace({"memory.hbm.capacity": "200 GB", f"placement.pins.{pattern}": "dram"})
    result = simulate(load_trace(TRACE), design)
    (pinned,) = [placed for placed in result.placement if placed.tier == "dram"]
    assert pinned.role == role
    assert pinned.bytes > least
    assert result.traffic["pcie"]["read"] >= pinned.bytes * 0.99
