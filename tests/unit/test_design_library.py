"""The library beside the measured devices: figures of data sheets typed a second time, so that a slip shows."""

from __future__ import annotations

import json
from functools import cache
from itertools import groupby

import pytest
from click.testing import CliRunner

from hiersim import bundled
from hiersim.cli.main import main
from hiersim.config.load import load_design
from hiersim.model.design import Design
from hiersim.model.operators import DType
from hiersim.model.prices import SRAM

SHEETS = {
    # name: (year, cores, best 16-bit or only TFLOP/s, FLOP of it per core and cycle; last tier: GB, GB/s, kind)
    "p100-sxm": (2016, 56, 21.2, 256, 16, 732, "hbm2"),
    "v100-sxm": (2017, 80, 125, 1024, 32, 900, "hbm2"),
    "l40s": (2023, 142, 362.05, 1024, 48, 864, "gddr6"),
    "h100-pcie": (2022, 114, 756, 4096, 80, 2039, "hbm2e"),
    "b200": (2024, 148, 2250, 8192, 192, 8000, "hbm3e"),
    "mi210": (2022, 104, 181, 1024, 64, 1600, "hbm2e"),
    "mi300x": (2023, 304, 1307.4, 2048, 192, 5300, "hbm3"),
    "tpu-v1": (2015, 1, 92, 2 * 256 * 256, 8.589934592, 34, "ddr3"),
    "tpu-v2": (2017, 2, 46, 2 * 128 * 128, 17.179869184, 700, "hbm2"),
    "tpu-v3": (2018, 2, 123, 4 * 128 * 128, 34.359738368, 900, "hbm2"),
    "tpu-v5e": (2023, 1, 197, 8 * 128 * 128, 16, 819, "hbm2"),
    "tpu-v5p": (2023, 2, 459, 8 * 128 * 128, 95, 2765, "hbm2e"),
    "tpu-v6e": (2024, 1, 918, 8 * 256 * 256, 32, 1640, "hbm3"),
    "m1": (2020, 8, 2.6, 256, 16, 68.25, "lpddr4"),
    "m1-ultra": (2022, 64, 21, 256, 128, 800, "lpddr5"),
    "groq-lpu": (2020, 4, 188, 320 * 320 / 2, 0.23068672, 80_000, "sram"),
    "wse-2": (2021, 850, 7500, 8000, 29.8, 3_740_000, "sram"),
    "ipu-gc200": (2020, 1472, 250, 128, 0.747634688, 7800, "sram"),
    "ryzen-7950x": (2022, 16, 4.608, 64, 64, 83.2, "ddr5"),
}
MADE_UP = ("memory-wall-", "what-if-", "tiny")
CHECKED_ELSEWHERE = (
    "a100-40gb-pcie", "a100-80gb-sxm", "dojo-d1", "h100-sxm", "h200-sxm", "l4", "m1-max", "t4", "tpu-v4", "v100-pcie",
)  # fmt: skip


@cache
def design_of(name: str) -> Design:
    return load_design(name)


def best(design: Design) -> int:
    """The highest 16-bit rate, else the highest of all."""
    unit = design.compute.matrix or design.compute.vector
    half = [rate for dtype, rate in unit.peak.items() if dtype in (DType.FP16, DType.BF16)]
    return int(max(half or unit.peak.values()))


def test_every_bundled_device_is_checked_somewhere() -> None:
    devices = {name for name in bundled.designs() if not name.startswith(MADE_UP)}
    assert devices == set(SHEETS) | set(CHECKED_ELSEWHERE)


@pytest.mark.parametrize("name", SHEETS)
def test_figures_are_those_of_the_data_sheet(name: str) -> None:
    year, cores, tera, per_cycle, capacity, bandwidth, kind = SHEETS[name]
    design = design_of(name)
    assert (design.device.year, design.compute.cores, design.home.kind) == (year, cores, kind)
    assert best(design) == round(tera * 10**12)
    assert design.home.capacity == pytest.approx(capacity * 10**9, rel=1e-4)
    assert design.home.bandwidth == round(bandwidth * 10**9)
    derived = per_cycle * cores * design.compute.clock
    assert derived == pytest.approx(best(design), rel=0.025), "peak, cores and clock belong together"


@pytest.mark.parametrize("name", SHEETS)
def test_what_nobody_publishes_is_said_to_be_assumed(name: str) -> None:
    design = design_of(name)
    unit = "compute.matrix.efficiency" if design.compute.matrix else "compute.vector.efficiency"
    for path in (unit, "host.latency", "host.start", "compute.buffer_depth"):
        source = design.sources[path]
        measured = ("assumption", "derived", "measured", "99th percentile", "101 of", "two tiles of weights")
        assert source.startswith(measured), path
    assert not [text for text in design.sources.values() if "no source given" in text]


@pytest.mark.parametrize("name", ["groq-lpu", "wse-2", "ipu-gc200"])
def test_sram_only_devices_have_sram_alone(name: str) -> None:
    design = design_of(name)
    assert all(tier.kind == SRAM for tier in (*design.core_tiers, *design.shared_tiers))


def test_families_share_their_constants() -> None:
    for child, parent in (("p100-sxm", "v100-pcie"), ("h100-pcie", "h100-sxm"), ("l40s", "l4"), ("b200", "h100-sxm")):
        assert design_of(child).host == load_design(parent).host
        assert design_of(child).compute.start_up == load_design(parent).compute.start_up
    nvidia = ("p100-sxm", "v100-sxm", "l40s", "h100-pcie", "b200")
    for name in nvidia:
        compute = design_of(name).compute
        assert compute.vector.special == 16 * compute.cores * compute.clock
        assert compute.load_bandwidth == 64 * compute.clock
        assert compute.exchange == pytest.approx(1190 / compute.clock * 10**12, rel=0.002), "1190 cycles"


def test_a_device_that_extends_another_has_facts_of_its_own() -> None:
    assert design_of("b200").device.price == 35000
    assert load_design("h200-sxm").device.price is None
    for name in ("what-if-h100-10x-sram", "what-if-a100-h100-flops"):
        device = load_design(name).device
        assert (device.year, device.price, device.family) == (None, None, "what if")


def test_what_if_designs_change_what_they_say_and_nothing_else() -> None:
    h100, large = load_design("h100-sxm"), load_design("what-if-h100-10x-sram")
    for tier in ("registers", "smem", "l2"):
        assert large.tier(tier).capacity == 10 * h100.tier(tier).capacity
    assert (large.compute, large.home, large.host) == (h100.compute, h100.home, h100.host)
    a100, fast = load_design("a100-80gb-sxm"), load_design("what-if-a100-h100-flops")
    assert fast.memory == a100.memory and fast.compute.cores == a100.compute.cores
    assert best(fast) == best(h100)


def test_the_memory_wall_differs_in_flops_bandwidth_capacity_and_price_only() -> None:
    designs = [load_design(f"memory-wall-{year}") for year in (2016, 2017, 2020, 2022, 2024)]
    assert [design.device.year for design in designs] == [2016, 2017, 2020, 2022, 2024]
    assert len({(design.host, design.home.efficiency, design.compute.vector.efficiency) for design in designs}) == 1
    assert len({design.compute.matrix.efficiency for design in designs if design.compute.matrix}) == 1
    assert [design.home.capacity // 10**9 for design in designs] == [16, 32, 40, 80, 192]
    assert all(design.home.price is not None for design in designs)


def test_the_list_is_by_family_and_year() -> None:
    shown = json.loads(CliRunner().invoke(main, ["designs", "list", "--json"]).output)["designs"]
    assert {entry["name"] for entry in shown} == set(bundled.designs())
    families = [entry["family"] for entry in shown]
    assert len([name for name, _ in groupby(families)]) == len(set(families)), "each family in one place"
    tpus = [entry["name"] for entry in shown if entry["family"] == "Google TPU"]
    assert tpus == ["tpu-v1", "tpu-v2", "tpu-v3", "tpu-v4", "tpu-v5e", "tpu-v5p", "tpu-v6e"]
    text = CliRunner().invoke(main, ["designs"]).output
    assert text.index("NVIDIA Hopper") < text.index("memory wall") < text.index("what if")
