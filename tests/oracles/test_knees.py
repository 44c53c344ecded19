"""A tornado and the knees of a curve, against forms that one can work out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from build import design_from, matmul, pointwise
from hiersim.config.load import load_design
from hiersim.decisions.knees import knees
from hiersim.decisions.tornado import tornado
from hiersim.errors import HiersimError
from hiersim.frontends.load import load_trace


def cached(**changes: object) -> dict[str, object]:
    """A cache in front of one DRAM of 1 GB/s; arithmetic costs nothing."""
    cache = {"scope": "shared", "management": "cache", "capacity": "1 MB", "bandwidth": "unlimited"}
    dram = {"scope": "shared", "management": "scratchpad", "capacity": "64 GB", "bandwidth": "1 GB/s"}
    smem = {"scope": "core", "management": "scratchpad", "capacity": "1 KB"}
    return {"compute__matrix": None, "memory": {"smem": smem, "l2": cache, "dram": dram}, **changes}


def test_a_run_that_only_computes_halves_and_doubles_with_its_flops(tmp_path: Path) -> None:
    found = tornado(matmul(512, 512, 512, tmp_path), design_from(), paths=["compute.matrix.peak", "compute.clock"])
    bar = found.bars[0]
    assert (bar.resource.path, bar.speed(bar.low), bar.speed(bar.high), bar.span) == ("compute.matrix.peak", 0.5, 2, 4)
    assert found.bars[1].span == 1


def test_ranges_are_values_or_factors_and_the_longest_bar_is_first() -> None:
    trace, design = load_trace("bert-large-prefill"), load_design("h100-sxm")
    ranges = {"memory.hbm.latency": ("100 ns", "1x"), "memory.l2.bandwidth": ("4.85 TB/s", "2x")}
    first, second = tornado(trace, design, ranges=ranges).bars
    assert (first.resource.path, first.low.value, first.high.value) == (
        "memory.l2.bandwidth",
        4850 * 10**9,
        194 * 10**11,
    )
    assert (second.low.value, second.high.value, second.speed(second.high)) == (100_000, 206_000, 1.0)
    assert first.span > second.span > 1


def test_the_knee_of_a_chain_is_where_the_cache_holds_what_it_passes_on(tmp_path: Path) -> None:
    """Two element-wise operators: the second one finds what the first one wrote where the cache holds all between."""
    curve = knees(pointwise(100_000, tmp_path, chain=2), design_from(**cached()))
    assert [knee.point.capacity for knee in curve.knees[:1]] == [max(item.held_bytes for item in curve.knees[0].held)]
    knee = curve.knees[0]
    assert knee.saved > 0.2
    assert knee.after == pytest.approx(0, abs=0.005)
    assert min(point.home_bytes for point in curve.points) == 2 * 400_000  # input and output: compulsory
    assert curve.enough().capacity <= knee.point.capacity


def test_named_sets_of_a_knee_end_between_it_and_the_one_before() -> None:
    curve = knees(load_trace("gpt2-large-prefill"), load_design("h100-sxm"))
    assert len(curve.knees) >= 2
    usable = float(curve.case.design.tier("l2").usable)
    for knee in curve.knees:
        assert all(item.held_bytes / usable <= knee.point.capacity + 1 for item in knee.held)
    assert sum(knee.saved for knee in curve.knees) <= 1
    times = [point.ticks for point in curve.points]
    assert min(times) <= curve.enough().ticks <= max(times)


def test_a_design_without_a_cache_wants_a_tier(tmp_path: Path) -> None:
    with pytest.raises(HiersimError, match="no shared cache"):
        knees(pointwise(1000, tmp_path), design_from(memory__dram__bandwidth="1 GB/s"))


def test_sizes_at_which_the_model_does_not_fit_are_left_out(tmp_path: Path) -> None:
    design = design_from(memory__dram__bandwidth="1 GB/s", memory__smem__capacity="1 KB")
    sizes = [4_000, 8_000, 16_000, 32_000, 64_000]
    curve = knees(pointwise(1_000, tmp_path), design, tier="dram", sizes=sizes)
    assert [point.capacity for point in curve.points] == sizes[1:]
    assert curve.knees == ()
    with pytest.raises(HiersimError, match="at least three sizes"):
        knees(pointwise(1_000, tmp_path), design, tier="dram", sizes=sizes[:3])
