"""The cheapest design of a grid, and devices by dollars per throughput, against what one works out by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from build import design_from, matmul, pointwise
from hiersim.decisions.rank import rank, real_devices
from hiersim.decisions.target import Target, target
from hiersim.errors import DesignError, HiersimError
from hiersim.model.design import Design
from hiersim.units import Usd

SECONDS = 2 * 512**3 / 1e12
"""Of a product of 512 x 512 x 512 at 1 TFLOP/s, and nothing else."""


def priced(**changes: Any) -> Design:
    """One that costs 128 $: 64 GB at 2 $/GB, and cores without a price of their own."""
    memory = {
        "memory__dram__price": "2 $/GB", "memory__dram__price_as_of": "2024-01",
        "memory__smem__price": "0 $/GB", "memory__smem__price_as_of": "2024-01",
        "sources": {"memory": "chosen for this test"},
    }  # fmt: skip
    return design_from(**{**memory, **changes})


def aimed(folder: Path, time: float, prices: dict[str, float] | None = None) -> Target:
    """Peak and capacity over a grid of nine points; time follows the peak alone, price the capacity."""
    vary = {
        "compute.matrix.peak.fp32": "1TFLOP/s..3TFLOP/s+1TFLOP/s",
        "memory.dram.capacity": ["32 GB", "1x", "128 GB"],
    }
    return target(matmul(512, 512, 512, folder), priced(), vary, time, prices=prices)


def test_the_cheapest_point_that_is_fast_enough_is_the_best(tmp_path: Path) -> None:
    found = aimed(tmp_path, SECONDS / 2)
    assert found.best is not None
    assert found.best.changes == {"compute.matrix.peak.fp32": "3 TFLOP/s", "memory.dram.capacity": "32 GB"}
    assert (found.base_usd, found.best.usd) == (128, 64)  # peaks are free, so that of equally cheap ones the fastest
    assert len(found.met) == 6
    assert found.misfits == 0
    assert [(item.usd, item.changes["compute.matrix.peak.fp32"]) for item in found.front] == [(64, "3 TFLOP/s")]


def test_what_has_a_price_is_bought_no_more_than_needed(tmp_path: Path) -> None:
    found = aimed(tmp_path, SECONDS / 2, prices={"compute.matrix.peak.fp32": 100 / 1e12})
    assert found.best is not None
    assert found.best.changes["compute.matrix.peak.fp32"] == "2 TFLOP/s"
    assert found.best.usd == pytest.approx(64 + 100)
    assert [item.usd for item in found.front] == pytest.approx([64, 164, 264])
    assert [item.ticks for item in found.front] == sorted((item.ticks for item in found.front), reverse=True)


def test_where_none_is_fast_enough_the_fastest_is_told(tmp_path: Path) -> None:
    found = aimed(tmp_path, SECONDS / 10)
    assert found.best is None
    assert found.fastest.usd == 64
    assert found.fastest.ticks == pytest.approx(SECONDS / 3 * 1e12, rel=1e-3)


def test_points_at_which_the_model_does_not_fit_are_counted_and_left_out(tmp_path: Path) -> None:
    vary = {"memory.dram.capacity": ["4 KB", "8 KB", "1 GB"]}
    design = priced(memory__dram__bandwidth="1 GB/s", memory__smem__capacity="1 KB")
    found = target(pointwise(1000, tmp_path), design, vary, 1.0)
    assert found.misfits == 1
    assert [item.changes["memory.dram.capacity"] for item in found.candidates] == ["8 KB", "1 GB"]


@pytest.mark.parametrize(
    ("vary", "time", "prices", "problem"),
    [
        ({}, 1.0, {}, "nothing is varied"),
        ({"memory.dram.capacity": "1GB"}, 0.0, {}, "not a time above zero"),
        ({"memory.dram.capacity": "1GB"}, 1.0, {"memory.dram.latency": 1.0}, "has a price and is not varied"),
        ({"memory.dram.capacity": "1GB,2XB"}, 1.0, {}, "is not a unit"),
        ({"memory.dram.capasity": "1GB"}, 1.0, {}, "is not a value of a design"),
        ({"memory.dram.capacity": "1B..1GB+1B"}, 1.0, {}, "too many values"),
        ({"memory.dram.capacity": ["1 B"]}, 1.0, {}, "runs at none of 1 points"),
    ],
)  # fmt: skip
def test_a_wrong_question_is_refused(
    vary: dict[str, Any], time: float, prices: dict[str, float], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(HiersimError, match=problem):
        target(matmul(64, 64, 64, tmp_path), priced(), vary, time, prices=prices)


def test_a_design_without_any_price_has_no_cheapest(tmp_path: Path) -> None:
    with pytest.raises(DesignError, match="has no price"):
        target(matmul(64, 64, 64, tmp_path), design_from(), {"memory.dram.capacity": "1GB"}, 1.0)


def sold(name: str, usd: float | None, tera: int) -> Design:
    """A device of that price and peak."""
    made = design_from(name=name, compute__matrix__peak={"fp32": f"{tera} TFLOP/s"})
    price = None if usd is None else Usd(usd)
    return dataclasses.replace(made, device=dataclasses.replace(made.device, price=price))


def test_devices_stand_by_dollars_per_throughput_and_unknown_prices_stay_unknown(tmp_path: Path) -> None:
    devices = [sold("fast", 1000, 4), sold("unknown", None, 2), sold("cheap", 100, 1), sold("beaten", 2000, 3)]
    found = rank(matmul(512, 512, 512, tmp_path), devices)
    assert [row.design.name for row in found.rows] == ["cheap", "fast", "beaten", "unknown"]
    assert [row.usd_per_throughput for row in found.rows] == [
        pytest.approx(100 * SECONDS), pytest.approx(250 * SECONDS), pytest.approx(2000 / 3 * SECONDS, rel=1e-4), None,
    ]  # fmt: skip
    assert [row.on_front for row in found.rows] == [True, True, False, False]
    assert found.rows[-1].to_dict()["price_usd"] is None
    assert found.rows[-1].to_dict()["usd_per_run"] is None


def test_what_does_not_run_is_told_and_ranked_last(tmp_path: Path) -> None:
    small = dataclasses.replace(design_from(memory__dram__capacity="8 KB", memory__smem__capacity="4 KB"), name="small")
    found = rank(matmul(512, 512, 512, tmp_path), [small, sold("cheap", 100, 1)])
    assert [row.design.name for row in found.rows] == ["cheap", "small"]
    assert "dram" in found.rows[-1].problem
    with pytest.raises(HiersimError, match="runs on none of 1 designs"):
        rank(matmul(512, 512, 512, tmp_path), [small])


def test_made_up_designs_are_not_ranked_among_devices() -> None:
    names = {design.name for design in real_devices()}
    assert {"h100-sxm", "a100-80gb-sxm", "m1-max"} <= names
    assert "tiny" not in names
    assert not [name for name in names if name.startswith(("memory-wall", "what-if"))]
