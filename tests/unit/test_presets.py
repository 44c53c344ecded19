"""The designs that come with hiersim: every number has a source, and the figures are those of the literature.

Peaks and bandwidths are typed here a second time from the data sheets, so that a slip in a preset shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hiersim import bundled, units
from hiersim.config import load
from hiersim.config.document import walk
from hiersim.model.design import Design, Scope, Tier
from hiersim.model.operators import DType

load_design = cache(load.load_design)
"""Every design once."""


@cache
def data_of(name: str) -> dict[str, Any]:
    """The file of a design, with what it extends merged under it."""
    return load.read_extended(load.resolve(name), ()).data


DEVICES = (
    "a100-40gb-pcie",
    "a100-80gb-sxm",
    "dojo-d1",
    "h100-sxm",
    "h200-sxm",
    "l4",
    "m1-max",
    "t4",
    "tpu-v4",
    "v100-pcie",
)
ALL = (*DEVICES, "tiny")
NVIDIA = tuple(name for name in DEVICES if name.split("-")[0] in ("a100", "h100", "h200", "l4", "t4", "v100"))
NAMES = ("scope", "management", "kind", "price_as_of", "to", "family")
"""Keys of a design that are no figures."""
TERA = 10**12
GIGA = 10**9

MATRIX_TERAFLOPS = {
    ("v100-pcie", "fp16"): 112,
    ("t4", "fp16"): 65,
    ("t4", "int8"): 130,
    ("a100-40gb-pcie", "bf16"): 312,
    ("a100-80gb-sxm", "fp64"): 19.5,
    ("a100-80gb-sxm", "tf32"): 156,
    ("a100-80gb-sxm", "fp16"): 312,
    ("a100-80gb-sxm", "bf16"): 312,
    ("a100-80gb-sxm", "int8"): 624,
    ("h100-sxm", "fp64"): 66.9,
    ("h100-sxm", "tf32"): 494.7,
    ("h100-sxm", "fp16"): 989.4,
    ("h100-sxm", "bf16"): 989.4,
    ("h100-sxm", "fp8"): 1978.9,
    ("h100-sxm", "int8"): 1978.9,
    ("h200-sxm", "bf16"): 989.4,
    ("h200-sxm", "fp8"): 1978.9,
    ("l4", "tf32"): 60,
    ("l4", "bf16"): 121,
    ("l4", "fp8"): 242.5,
    ("l4", "int8"): 242.5,
    ("tpu-v4", "bf16"): 275,
    ("tpu-v4", "int8"): 275,
    ("dojo-d1", "bf16"): 362,
}
FP32_TERAFLOPS = {
    "v100-pcie": 14,
    "t4": 8.1,
    "a100-40gb-pcie": 19.5,
    "a100-80gb-sxm": 19.5,
    "h100-sxm": 66.9,
    "h200-sxm": 66.9,
    "l4": 30.3,
    "dojo-d1": 22.6,
    "m1-max": 10.4,
}
HOME = {
    "v100-pcie": ("hbm", 32 * GIGA, 900),
    "t4": ("gddr", 16 * GIGA, 320),
    "a100-40gb-pcie": ("hbm", 40 * GIGA, 1555),
    "a100-80gb-sxm": ("hbm", 80 * GIGA, 2039),
    "h100-sxm": ("hbm", 80 * GIGA, 3350),
    "h200-sxm": ("hbm", 141 * GIGA, 4800),
    "l4": ("gddr", 24 * GIGA, 300),
    "tpu-v4": ("hbm", 32 * 2**30, 1200),
    "dojo-d1": ("hbm", 32 * GIGA, 800),
    "m1-max": ("lpddr", 64 * GIGA, 400),
}
"""Name, bytes, GB/s of the last tier."""
ON_CHIP = {
    ("v100-pcie", "l2"): 6 * 2**20,
    ("v100-pcie", "smem"): 96 * 2**10,
    ("t4", "l2"): 4 * 2**20,
    ("t4", "smem"): 64 * 2**10,
    ("a100-40gb-pcie", "l2"): 40 * 2**20,
    ("a100-80gb-sxm", "l2"): 40 * 2**20,
    ("a100-80gb-sxm", "smem"): 163 * 2**10,
    ("h100-sxm", "l2"): 50 * 2**20,
    ("h100-sxm", "smem"): 227 * 2**10,
    ("l4", "l2"): 48 * 2**20,
    ("l4", "smem"): 99 * 2**10,
    ("tpu-v4", "vmem"): 16 * 2**20,
    ("tpu-v4", "cmem"): 128 * 2**20,
    ("dojo-d1", "sram"): 1_250_000,
    ("m1-max", "slc"): 48_000_000,
}
CORES = {
    "v100-pcie": 80,
    "t4": 40,
    "a100-40gb-pcie": 108,
    "a100-80gb-sxm": 108,
    "h100-sxm": 132,
    "h200-sxm": 132,
    "l4": 58,
    "tpu-v4": 2,
    "dojo-d1": 354,
    "m1-max": 32,
}
MATRIX_FLOP_PER_CORE_AND_CYCLE = {
    "v100-pcie": (DType.FP16, 8 * 128),
    "t4": (DType.FP16, 8 * 128),
    "a100-80gb-sxm": (DType.BF16, 4 * 512),
    "h100-sxm": (DType.BF16, 4 * 1024),
    "l4": (DType.BF16, 4 * 256),
    "tpu-v4": (DType.BF16, 4 * 2 * 128 * 128),
    "dojo-d1": (DType.BF16, 2 * 8 * 8 * 4),
}
FP32_FLOP_PER_CORE_AND_CYCLE = {
    "v100-pcie": (2 * 64, 1.38),
    "t4": (2 * 64, 1.59),
    "a100-80gb-sxm": (2 * 64, 1.41),
    "h100-sxm": (2 * 128, 1.98),
    "l4": (2 * 128, 2.04),
    "dojo-d1": (2 * 16, 2.0),
    "m1-max": (2 * 128, 1.296),
}
RIDGE_POINTS = {
    "v100-pcie": 124,
    "t4": 203,
    "a100-40gb-pcie": 201,
    "a100-80gb-sxm": 153,
    "h100-sxm": 295,
    "h200-sxm": 206,
    "l4": 403,
    "tpu-v4": 229,
    "dojo-d1": 453,
    "m1-max": 26,
}
"""FLOP per byte of the last tier, at the 16-bit peak."""


def leaves(design: Design) -> Iterator[str]:
    """Dotted paths of all numbers that the file of `design` gives."""
    data = data_of(design.name)
    for section in ("compute", "memory", "links", "host", "device"):
        for path, value in walk(data.get(section), (section,)):
            if path[-1] in NAMES or "stand_in" in path or value is None:
                continue
            yield ".".join(path)
    for tier in design.memory:  # the price book's
        yield from (f"memory.{tier.name}.{name}" for name in ("price", "energy") if tier.kind is not None)
    yield "compute.energy"


def value_at(design: Design, path: str) -> object:
    owner, *rest = path.split(".")
    return getattr(
        design.compute if owner == "compute" else design.tier(rest[0]) if owner == "memory" else design.device, rest[-1]
    )


def covers(source: str, path: str) -> bool:
    return path == source or path.startswith(source + ".")


def best_16_bit_peak(design: Design) -> int:
    unit = design.compute.matrix or design.compute.vector
    return max(rate for dtype, rate in unit.peak.items() if dtype in (DType.FP16, DType.BF16))


def text_of(name: str) -> str:
    return bundled.designs()[name].read_text(encoding="utf-8")


def test_the_bundled_designs_are_there() -> None:
    assert set(ALL) <= set(bundled.designs())


@pytest.mark.parametrize("name", sorted(bundled.designs()))
def test_every_bundled_design_loads_under_its_own_name(name: str) -> None:
    design = load_design(name)
    assert design.name == name
    assert design.title
    assert design.checked() is design


@pytest.mark.parametrize("name", sorted(bundled.designs()))
def test_every_file_begins_with_its_schema_and_what_it_is(name: str) -> None:
    first, second, third = text_of(name).splitlines()[:3]
    assert first == "# yaml-language-server: $schema=design.schema.json"
    assert re.fullmatch(r"# .{20,}\.", second) or name == "tiny"
    assert third == f"name: {name}"
    assert (Path(bundled.designs()[name]).parent / "design.schema.json").is_file()


# Sources


@pytest.mark.parametrize("name", sorted(bundled.designs()))
def test_every_number_has_a_source(name: str) -> None:
    design = load_design(name)
    found = list(leaves(design))
    unknown = [path for path in found if path.endswith((".price", ".energy")) and value_at(design, path) is None]
    found = [path for path in found if path not in unknown]
    missing = [path for path in found if not any(covers(source, path) for source in design.sources)]
    assert len(found) >= 15
    assert not missing


@pytest.mark.parametrize("name", sorted(bundled.designs()))
def test_every_source_names_a_number_and_says_something(name: str) -> None:
    design = load_design(name)
    found = list(leaves(design))
    for source, text in design.sources.items():
        assert any(covers(source, path) for path in found), source
        assert len(text) >= 15, source
        assert " " in text, f"{source}: '{text}' looks like a reference that is not there"


@pytest.mark.parametrize("name", DEVICES)
def test_every_reference_is_used_and_dated(name: str) -> None:
    data = data_of(name)
    for key, text in data["references"].items():
        used = any(key == source or key in source for source in data["sources"].values())
        assert used or "extends" in data, key
        assert re.search(r"20\d\d|documentation|Programming Guide \d+", text), key


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_gives_its_own_source_for_each_number(name: str) -> None:
    """A prefix such as `compute` would hide that its numbers come from different places."""
    for source in load_design(name).sources:
        assert source.count(".") >= 1, source
        assert source not in ("compute.matrix", "compute.vector"), source
        assert not re.fullmatch(r"(memory|links)\.\w+", source), source


@pytest.mark.parametrize("name", DEVICES)
def test_every_price_has_a_date_and_a_plausible_height(name: str) -> None:
    for tier in load_design(name).memory:
        assert tier.price is not None
        assert re.fullmatch(r"20\d\d(-\d\d)?", tier.price_as_of or "")
        low, high = (50, 500) if tier.kind == "sram" else (0.01, 0.1) if tier.kind == "flash" else (1, 30)
        assert low <= tier.price <= high


@pytest.mark.parametrize("name", DEVICES)
def test_an_assumption_is_said_to_be_one(name: str) -> None:
    sources = load_design(name).sources
    for path in ("host.launch_eager", "host.launch_compiled", "host.latency", "compute.buffer_depth"):
        assert sources[path].startswith("assumption: "), path


# Figures of the literature


@pytest.mark.parametrize(("name", "dtype"), sorted(MATRIX_TERAFLOPS))
def test_the_matrix_peak_is_that_of_the_data_sheet(name: str, dtype: str) -> None:
    matrix = load_design(name).compute.matrix
    assert matrix is not None
    assert matrix.peak[DType[dtype.upper()]] == round(MATRIX_TERAFLOPS[name, dtype] * TERA)


@pytest.mark.parametrize("name", sorted(FP32_TERAFLOPS))
def test_the_fp32_peak_is_that_of_the_data_sheet(name: str) -> None:
    assert load_design(name).compute.vector.peak[DType.FP32] == round(FP32_TERAFLOPS[name] * TERA)


@pytest.mark.parametrize("name", DEVICES)
def test_the_last_tier_is_that_of_the_data_sheet(name: str) -> None:
    home = load_design(name).home
    assert (home.name, home.capacity, home.bandwidth) == (HOME[name][0], HOME[name][1], HOME[name][2] * GIGA)


@pytest.mark.parametrize(("name", "tier"), sorted(ON_CHIP))
def test_on_chip_capacities_are_those_of_the_literature(name: str, tier: str) -> None:
    assert load_design(name).tier(tier).capacity == ON_CHIP[name, tier]


@pytest.mark.parametrize("name", DEVICES)
def test_the_number_of_cores_is_that_of_the_literature(name: str) -> None:
    assert load_design(name).compute.cores == CORES[name]


@pytest.mark.parametrize("name", sorted(MATRIX_FLOP_PER_CORE_AND_CYCLE))
def test_the_matrix_peak_follows_from_cores_and_clock(name: str) -> None:
    design = load_design(name)
    assert design.compute.matrix is not None
    dtype, per_cycle = MATRIX_FLOP_PER_CORE_AND_CYCLE[name]
    derived = design.compute.cores * design.compute.clock * per_cycle
    assert derived == pytest.approx(design.compute.matrix.peak[dtype], rel=0.01)


@pytest.mark.parametrize("name", sorted(FP32_FLOP_PER_CORE_AND_CYCLE))
def test_the_fp32_peak_follows_from_cores_and_clock(name: str) -> None:
    design = load_design(name)
    per_cycle, gigahertz = FP32_FLOP_PER_CORE_AND_CYCLE[name]
    derived = design.compute.cores * gigahertz * GIGA * per_cycle
    assert derived == pytest.approx(design.compute.vector.peak[DType.FP32], rel=0.025)


@pytest.mark.parametrize("name", NVIDIA)
def test_special_functions_and_loads_follow_from_the_clock(name: str) -> None:
    compute = load_design(name).compute
    assert compute.vector.special == 16 * compute.cores * compute.clock
    assert compute.load_bandwidth == 64 * compute.clock


@pytest.mark.parametrize("name", DEVICES)
def test_the_ridge_point_is_the_known_one(name: str) -> None:
    design = load_design(name)
    assert design.home.bandwidth is not None
    assert best_16_bit_peak(design) / design.home.bandwidth == pytest.approx(RIDGE_POINTS[name], rel=0.01)


# Plausible as a machine


@pytest.mark.parametrize("name", DEVICES)
def test_tiers_grow_and_slow_down_outwards(name: str) -> None:
    shared = load_design(name).shared_tiers
    for near, far in pairwise(shared):
        assert near.capacity < far.capacity
        assert near.bandwidth is not None
        assert far.bandwidth is not None
        assert near.bandwidth > far.bandwidth


@pytest.mark.parametrize("name", DEVICES)
def test_all_cores_together_can_use_the_nearest_shared_tier(name: str) -> None:
    design = load_design(name)
    nearest = design.shared_tiers[0]
    assert nearest.bandwidth is not None
    assert design.compute.cores * design.compute.load_bandwidth >= nearest.bandwidth


@pytest.mark.parametrize("name", DEVICES)
def test_a_load_from_the_last_tier_takes_as_long_as_measured_devices_do(name: str) -> None:
    nanoseconds = sum(tier.latency for tier in load_design(name).shared_tiers) / 1000
    assert 250 <= nanoseconds <= 1000


@pytest.mark.parametrize(
    ("name", "cycles", "gigahertz"),
    [("v100-pcie", 434, 1.38), ("a100-80gb-sxm", 552, 1.41), ("h100-sxm", 689, 1.98)],
)
def test_the_latencies_of_l2_and_hbm_add_up_to_the_measured_one(name: str, cycles: int, gigahertz: float) -> None:
    design = load_design(name)
    total = (design.tier("l2").latency + design.tier("hbm").latency) / 1000
    assert total == pytest.approx(cycles / gigahertz, rel=0.005)


@pytest.mark.parametrize("name", DEVICES)
def test_core_tiers_have_no_port_and_the_others_have_one(name: str) -> None:
    def plausible(tier: Tier) -> bool:
        return tier.has_port == (tier.scope is not Scope.CORE)

    assert all(plausible(tier) for tier in load_design(name).memory)


@pytest.mark.parametrize("name", NVIDIA)
def test_every_card_has_a_host_behind_it_each_tier_slower_and_larger(name: str) -> None:
    design = load_design(name)
    dram, nvme = design.host_tiers
    (pcie,) = design.links
    assert (dram.name, nvme.name, pcie.to) == ("dram", "nvme", "dram")
    assert design.home.capacity < dram.capacity < nvme.capacity
    rates = [pcie.read_bandwidth, nvme.read_bandwidth, nvme.write_bandwidth]
    assert rates == sorted(rates, reverse=True)  # type: ignore[type-var]
    assert dram.bandwidth is not None and pcie.read_bandwidth is not None
    assert dram.bandwidth * dram.efficiency > 0.9 * pcie.read_bandwidth * pcie.efficiency
    assert dram.latency < pcie.latency < nvme.latency


@pytest.mark.parametrize("name", DEVICES)
def test_efficiencies_lie_between_a_third_and_one(name: str) -> None:
    design = load_design(name)
    shares = [tier.efficiency for tier in design.memory] + [design.compute.vector.efficiency]
    if design.compute.matrix is not None:
        shares.append(design.compute.matrix.efficiency)
    assert all(1 / 3 <= share <= 1 for share in shares)
    assert 0.7 <= design.home.efficiency <= 0.95


@pytest.mark.parametrize("name", ["v100-pcie", "t4"])
def test_devices_before_ampere_stand_in_fp16_for_bf16(name: str) -> None:
    matrix = load_design(name).compute.matrix
    assert matrix is not None
    assert DType.BF16 not in matrix.peak
    assert matrix.stand_in[DType.BF16] is DType.FP16


def test_the_host_of_all_nvidia_devices_is_the_same() -> None:
    assert len({load_design(name).host for name in NVIDIA}) == 1


def test_compiled_calls_cost_less_than_eager_ones_and_views_least() -> None:
    for name in ALL:
        host = load_design(name).host
        assert host.launch_view <= host.launch_compiled <= host.launch_eager <= units.parse(units.Ticks, "20 us")


def test_the_h200_is_the_h100_with_another_memory_and_has_a_short_name() -> None:
    h200, h100 = load_design("h200"), load_design("h100-sxm")
    assert h200.name == "h200-sxm"
    assert h200.compute == h100.compute
    assert h200.host == h100.host
    assert [tier for tier in h200.memory if tier != h200.home] == [tier for tier in h100.memory if tier != h100.home]
    changed = {"capacity": 141 * GIGA, "bandwidth": 4800 * GIGA}
    assert all(getattr(h200.home, name) == value for name, value in changed.items())
    assert h200.home.latency == h100.home.latency


def test_the_pcie_card_is_the_sxm_card_with_another_memory_and_less_power() -> None:
    pcie, sxm = load_design("a100-40gb-pcie"), load_design("a100-80gb-sxm")
    assert pcie.compute.matrix is not None and sxm.compute.matrix is not None
    assert pcie.compute.matrix.efficiency < sxm.compute.matrix.efficiency, "its limit is 250 W, not 400"
    assert pcie.compute == replace(sxm.compute, matrix=replace(sxm.compute.matrix, efficiency=units.Share(0.83)))
    assert (*pcie.core_tiers, *pcie.shared_tiers[:-1]) == (*sxm.core_tiers, *sxm.shared_tiers[:-1])
    assert pcie.home != sxm.home
    assert pcie.links == sxm.links
