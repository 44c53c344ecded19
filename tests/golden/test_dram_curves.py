"""Does the DRAM model follow a cycle-level simulator? `dram_curves.json` keeps its curves with their configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hiersim.model.dram import Access, achieved
from hiersim.model.dram_presets import PRESETS
from hiersim.model.dram_timings import DramTimings

CURVES = json.loads(Path(__file__).with_name("dram_curves.json").read_text())["standards"]
REQUIRED = ("hbm2", "hbm3", "ddr4", "ddr5")
POINTS = [(name, point) for name, curve in CURVES.items() for point in curve["points"]]
SATURATED = [(name, point) for name, point in POINTS if "offered" not in point]


def timings_of(name: str, point: dict[str, Any]) -> DramTimings:
    known = {**CURVES[name]["timings"], "interleave": point["interleave_bytes"], "window": point["window"]}
    return DramTimings(title=name, **known)


def access_of(point: dict[str, Any]) -> Access:
    run = point.get("run_bytes")
    return Access(run=run, alignment=run, stride=point.get("stride_bytes"), write_share=point["write_share"])


def difference(name: str, point: dict[str, Any]) -> float:
    """Model less simulator, in points of the peak."""
    return 100 * (achieved(timings_of(name, point), access_of(point)).moved - point["efficiency"])


def usual(name: str, point: dict[str, Any]) -> bool:
    """With the address mapping and the window of the preset."""
    timings = CURVES[name]["timings"]
    return bool(point["interleave_bytes"] == timings["interleave"] and point["window"] == timings["window"])


def chosen(pattern: str, written: bool, mapping: bool) -> list[Any]:
    return [
        pytest.param(name, point, id=f"{name}-{point.get('run_bytes', '')}-{point['write_share']}-{index}")
        for index, (name, point) in enumerate(SATURATED)
        if point["pattern"] == pattern and (point["write_share"] > 0) is written and usual(name, point) is mapping
    ]


@pytest.mark.parametrize(("name", "point"), chosen("stream", False, True) + chosen("stream", True, True))
def test_streams_are_within_five_points_whatever_they_write(name: str, point: dict[str, Any]) -> None:
    assert abs(difference(name, point)) <= 5


@pytest.mark.parametrize(("name", "point"), chosen("random", False, True) + chosen("random", True, True))
def test_random_runs_are_within_five_points_whatever_they_write(name: str, point: dict[str, Any]) -> None:
    assert abs(difference(name, point)) <= (5 if name in REQUIRED else 7)


@pytest.mark.parametrize(("name", "point"), chosen("random", False, False))
def test_so_they_are_in_other_windows_and_mappings(name: str, point: dict[str, Any]) -> None:
    """A window of eight requests, too, which keeps few banks busy."""
    assert abs(difference(name, point)) <= (5 if name in REQUIRED else 7.5)


@pytest.mark.parametrize(("name", "point"), chosen("strided", False, True))
def test_strides_within_a_few_blocks_are_within_five_points(name: str, point: dict[str, Any]) -> None:
    if point["stride_bytes"] <= 9 * point["run_bytes"]:  # longer ones meet or miss bank groups by chance: D28
        assert abs(difference(name, point)) <= 5


@pytest.mark.parametrize("name", sorted(CURVES))
def test_each_curve_has_a_stream_random_runs_writes_and_loads(name: str) -> None:
    points = CURVES[name]["points"]
    runs = {point["run_bytes"] // CURVES[name]["timings"]["burst_bytes"] for point in points if "run_bytes" in point}
    assert {1, 2, 4, 8, 16, 64} <= runs
    assert {0.0, 0.25, 0.5, 0.75, 1.0} <= {point["write_share"] for point in points if point["pattern"] == "stream"}
    assert sum("offered" in point for point in points) >= 8


@pytest.mark.parametrize("name", sorted(CURVES))
@pytest.mark.parametrize("pattern", ["stream", "random"])
def test_the_curve_rises_to_the_modelled_share_and_latency_with_it(name: str, pattern: str) -> None:
    burst = CURVES[name]["timings"]["burst_bytes"]
    curve = [
        point
        for own, point in POINTS
        if own == name and point["pattern"] == pattern and usual(name, point) and not point["write_share"]
        and point.get("run_bytes", burst) == burst
    ]  # fmt: skip
    curve.sort(key=lambda point: point.get("offered", 99.0))
    served = [point["efficiency"] for point in curve]
    waited = [point["read_latency_ns"] for point in curve]
    assert served == sorted(served)
    assert waited[-1] == max(waited) > 1.5 * min(waited)
    model = achieved(timings_of(name, curve[-1]), access_of(curve[-1])).moved
    assert all(share <= model + 0.05 for share in served)
    for point in curve[:-1]:
        if point["offered"] < 0.7 * model:  # what is offered is served, but for what refresh holds up
            assert 0.9 * point["offered"] <= point["efficiency"] <= point["offered"]


@pytest.mark.parametrize("name", REQUIRED)
def test_the_presets_are_near_what_was_simulated(name: str) -> None:
    """Their timings differ where the standard, not the simulator, was followed; what they achieve hardly does."""
    simulated = DramTimings(title=name, **CURVES[name]["timings"])
    preset = PRESETS[name].timings
    assert preset.interleave == simulated.interleave
    for access in (Access(), *(Access(run=run, alignment=run) for run in (64, 256, 1024))):  # type: ignore[arg-type]
        assert achieved(preset, access).moved == pytest.approx(achieved(simulated, access).moved, abs=0.05)
