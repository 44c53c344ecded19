"""Plots with matplotlib, and what notebooks show: their lengths and points are the run's own numbers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

import hiersim as hs
from hiersim.errors import HiersimError
from hiersim.results import Comparison
from hiersim.units import TICKS_PER_SECOND
from hiersim.views.series.knees import knees
from hiersim.views.series.occupancy import lives, occupancy
from hiersim.views.series.pareto import pareto_front
from hiersim.views.series.roofline import kernel_flops, nest_bytes, roofline
from hiersim.views.series.stalls import family_stacks, kernel_stacks, ledger_stack, module_stacks

matplotlib.use("Agg")
PLOTS = (
    "plot_roofline",
    "plot_stalls",
    "plot_occupancy",
    "plot_lifetimes",
    "plot_knees",
    "plot_tornado",
    "plot_traffic",
    "plot_kernels",
)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return hs.compare(hs.load_trace("bert-large-prefill"), [hs.load_design("l4")])


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Figures of a test are closed behind it, and none was there before."""
    from matplotlib import pyplot

    assert pyplot.get_fignums() == []
    yield
    pyplot.close("all")


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_draws_on_axes_of_its_own_or_on_those_it_is_given(comparison: Comparison, name: str) -> None:
    from matplotlib import pyplot

    fig, ax = getattr(comparison[1], name)()
    assert ax.figure is fig and (ax.get_children() and ax.get_title())
    assert fig.axes == [ax]
    own, given = pyplot.subplots()
    assert getattr(comparison[1], name)(ax=given) == (own, given)
    fig.canvas.draw()


def test_bars_of_a_comparison_are_as_long_as_the_runs(comparison: Comparison) -> None:
    _, ax = comparison.plot_stalls()
    ends = np.zeros(2)
    for bar in ax.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        ends[row] = max(ends[row], bar.get_x() + bar.get_width())
    assert ends.tolist() == [result.makespan for result in comparison]
    colours = {(bar.get_facecolor(), bar.get_hatch()) for bar in ax.patches}
    assert len(colours) == len(ax.containers), "causes differ by colour or hatch"


def test_stacks_of_modules_kernels_and_names_add_up_to_the_ledger(comparison: Comparison) -> None:
    for result in comparison:
        whole = dict(ledger_stack("", result.to_dict()).parts)
        families, counts = family_stacks(result)
        assert sum(counts.values()) == len(result.program)
        for stacks in (module_stacks(result), module_stacks(result, 1, True), kernel_stacks(result), families):
            total: dict[Any, int] = {}
            for stack in stacks:
                for cause, ticks in stack.parts:
                    total[cause] = total.get(cause, 0) + ticks
            assert total == whole


def test_the_roofline_stands_on_the_runs_work_bytes_and_time(comparison: Comparison) -> None:
    data = roofline(comparison)
    assert [run.label for run in data.runs] == ["eager", "inductor (captured)"]
    for result, run in zip(comparison, data.runs, strict=True):
        assert kernel_flops(result).sum() == sum(result.program.flops)
        moved = nest_bytes(result.program)[result.program.nest].sum(axis=0)
        for point in run.whole:
            assert point.bytes == sum(result.traffic[point.tier].values())
            assert point.bytes == moved[result.program.tiers.index(point.tier)]
            roof = next(roof for roof in data.bandwidths if roof.tier == point.tier)
            assert point.rate <= min(max(roof.rate for roof in data.peaks), roof.rate * point.intensity)
        for point in run.kernels:
            roof = next(roof for roof in data.bandwidths if roof.tier == point.tier)
            assert point.rate <= roof.rate * point.intensity * 1.1, "above its roof is at most what is written back"
        for tier in ("l2", "gddr"):
            kernels = [point for point in run.kernels if point.tier == tier]
            assert sum(point.share for point in kernels) == pytest.approx(1, abs=0.02)


def test_occupancy_keeps_the_peak_however_few_steps_are_drawn(comparison: Comparison) -> None:
    result = comparison[0]
    for most in (1, 7, 400):
        data = occupancy(result, most)
        assert len(data.start) == min(most, len(result.graph)) == len(data.live)
        assert data.live.sum(axis=1).max() == data.peak_bytes == result.live.total.max()
    for life in lives(result):
        assert 0 <= life.begin < life.end <= result.makespan


def test_the_knees_meet_the_replay_at_the_designs_own_cache(comparison: Comparison) -> None:
    for result in comparison:
        data = knees(result)
        assert data is not None and data.capacity is not None
        assert list(data.traffic) == sorted(data.traffic, reverse=True)
        assert data.traffic[-1] == data.least == result.bounds.compulsory_bytes
        here = data.traffic[data.capacities.index(data.capacity)]
        assert here == pytest.approx(result.home_bytes, rel=0.02)


def test_the_front_is_what_no_other_beats() -> None:
    points = [(3, 1, 0), (1, 3, 1), (2, 2, 2), (2, 3, 3), (1, 4, 4), (4, 1, 5)]
    assert pareto_front(points) == [(1, 3, 1), (2, 2, 2), (3, 1, 0)]


def test_pareto_names_what_it_cannot_do(comparison: Comparison) -> None:
    with pytest.raises(HiersimError, match="cannot be an axis"):
        comparison.plot_pareto(x="beauty")
    _, ax = comparison.plot_pareto("home_bytes", "time")
    drawn = [line.get_xydata()[0].tolist() for line in ax.lines[1:]]
    assert sorted(drawn) == sorted([int(r.home_bytes), r.makespan / TICKS_PER_SECOND] for r in comparison)


def test_bands_of_the_traffic_are_as_wide_as_the_bytes(comparison: Comparison) -> None:
    result = comparison[0]
    _, ax = result.plot_traffic()
    bands = [np.ptp(band.get_paths()[0].vertices[:, 1]) for band in ax.collections]
    moved = [ways[way] for ways in result.traffic.values() for way in ("read", "write") if ways[way]]
    assert np.array(bands) / max(bands) == pytest.approx(np.array(moved) / max(moved))


def test_the_memory_wall_has_the_growth_that_was_put_in() -> None:
    base = hs.load_design("tiny")
    designs = [
        dataclasses.replace(
            base.replace(
                {
                    "compute.matrix.peak.bf16": f"{3**step}x",
                    "memory.hbm.bandwidth": f"{2**step}x",
                    "memory.hbm.capacity": f"{4**step}x",
                }
            ),
            name=f"d{step}",
            device=dataclasses.replace(base.device, year=2016 + 2 * step),
        )
        for step in range(4)
    ]
    fig, ax = hs.plot_memory_wall([*designs, dataclasses.replace(base, name="of no year")])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [
        "peak FLOP/s: 3.00 x in two years",
        "bandwidth: 2.00 x in two years",
        "capacity: 4.00 x in two years",
        labels[3],
    ]
    prices = [point.usd_per_gb for point in hs.load_prices().history["dram"].points if 2016 <= point.year <= 2022]
    assert labels[3].startswith("$/GB of DRAM: 0.")
    drawn = np.asarray(ax.collections[3].get_offsets())
    assert drawn[:, 0].tolist() == list(range(2016, 2023)) and drawn[:, 1] * prices[0] == pytest.approx(prices)
    assert not any(text.get_text() == "of no year" for text in ax.texts)
    fig, ax = hs.plot_memory_wall()
    names = {text.get_text() for text in ax.texts}
    assert {"h100-sxm", "a100-80gb-sxm", "b200"} <= names and "tiny" not in names
    fig.canvas.draw()


def test_notebooks_show_every_value_as_well_formed_markup(comparison: Comparison) -> None:
    for value in (*comparison, comparison, comparison[0].design, comparison[0].trace, hs.load_design("m1-max")):
        html = value._repr_html_()
        root = ElementTree.fromstring(html)
        assert root.tag == "div" and len(root.findall(".//svg[@role='img']")) >= 1
        assert not re.search("<script|https?://|onload", html)
    assert "no results" in Comparison()._repr_html_()


def test_a_missing_package_is_named_with_its_extra(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(hs.MissingExtraError, match=r"hiersim\[plots\]"):
        comparison[0].plot_stalls()


def test_hostile_names_are_text_in_notebooks(tmp_path: Path) -> None:
    rows = "name,kind,dims,shape,dtype,inputs\n<script>alert(1)</script>,pointwise,,64x512,bf16,x:input:64x512\n"
    (tmp_path / "t.csv").write_text(rows)
    trace = hs.import_table(str(tmp_path / "t.csv"), name="<img src=x onerror=alert(1)>")
    result = hs.simulate(trace, hs.load_design("tiny"))
    for value in (trace, result, Comparison([result])):
        root = ElementTree.fromstring(value._repr_html_())
        assert not root.findall(".//script") and not root.findall(".//img")
