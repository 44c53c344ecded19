"""Plots with plotly show the numbers of those with matplotlib: both draw the same series."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

import hiersim as hs
from hiersim.errors import HiersimError
from hiersim.results import Comparison
from hiersim.units import TICKS_PER_SECOND
from hiersim.views.series.roofline import roofline

matplotlib.use("Agg")


EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "relu.jsonl"


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return hs.compare(hs.load_trace("bert-large-prefill"), [hs.load_design("l4")])


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Figures of a test are closed behind it."""
    from matplotlib import pyplot

    yield
    pyplot.close("all")


def both(call: Any, *args: Any, **options: Any) -> tuple[Any, Any]:
    """Axes of matplotlib and a figure of plotly from the same call; the figure can be written down."""
    _, ax = call(*args, **options)
    fig = call(*args, **options, backend="plotly")
    assert fig.to_json()
    assert not fig.layout.title.text or fig.layout.title.text == ax.get_title()
    return ax, fig


def ticks(values: Any) -> list[int]:
    """Seconds of an axis in ticks."""
    return [round(value * TICKS_PER_SECOND) for value in values]


@pytest.mark.parametrize("by", ["run", "module"])
def test_stalls_have_the_same_bars(comparison: Comparison, by: str) -> None:
    ax, fig = both((comparison if by == "run" else comparison[1]).plot_stalls, by=by)
    static = {group.get_label(): [round(bar.get_width()) for bar in group] for group in ax.containers}
    assert {bars.name: ticks(bars.x) for bars in fig.data} == static
    assert list(fig.layout.yaxis.ticktext) == [text.get_text() for text in ax.get_yticklabels()]
    styles = {(bars.marker.color, bars.marker.pattern.shape) for bars in fig.data}
    assert len(styles) == len(fig.data), "causes differ by colour or hatch"


def test_the_roofline_has_the_same_points_roofs_and_arrows(comparison: Comparison) -> None:
    ax, fig = both(comparison.plot_roofline)
    static = sorted(tuple(np.asarray(group.get_offsets())[0].tolist()) for group in ax.collections[:-2])
    marks = [trace for trace in fig.data if trace.mode == "markers"]
    kernels = [trace for trace in marks if trace.marker.symbol != "diamond"]
    found = sorted((x, y) for trace in kernels for x, y in zip(trace.x, trace.y, strict=True))
    assert static[0] == pytest.approx(found[0])
    assert len(found) == len(static) and np.allclose(found, static)
    whole = {trace.name: (trace.x[0], trace.y[0]) for trace in marks if trace.marker.symbol == "diamond"}
    lines = {line.get_label(): line.get_xydata()[-1].tolist() for line in ax.lines}
    assert {name: pytest.approx(lines[name]) for name in whole} == whole
    data = roofline(comparison)
    slopes = {trace.name: (trace.x, trace.y) for trace in fig.data if trace.mode == "lines"}
    for roof in data.bandwidths:
        x, y = slopes[roof.label]
        assert [b / a for a, b in zip(x, y, strict=True)] == pytest.approx([roof.rate] * 2)
        assert (x[1], y[1]) == pytest.approx(lines[roof.label])
    for roof in data.peaks:
        assert list(slopes[roof.label][1]) == [roof.rate] * 2
    ends = {(10**arrow.ax, 10**arrow.ay, 10**arrow.x, 10**arrow.y) for arrow in fig.layout.annotations}
    arrows = [text for text in ax.texts if text.arrow_patch is not None]
    assert len(ends) == len(arrows) == 2
    static_ends = sorted((*text.get_position(), *text.xy) for text in arrows)
    assert np.allclose(sorted(ends), static_ends)


def test_occupancy_and_lives_are_the_same(comparison: Comparison) -> None:
    ax, fig = both(comparison[0].plot_occupancy)
    for area, trace in zip(ax.collections, fig.data, strict=True):
        assert area.get_label() == trace.name
    heights = np.sum([trace.y for trace in fig.data], axis=0)
    assert heights.max() == comparison[0].live.total.max()
    top = ax.collections[-1].get_paths()[0].vertices
    assert top[:, 1].max() == heights.max() and set(np.round(top[:, 0])) == set(ticks(fig.data[0].x))
    ax, fig = both(comparison[0].plot_lifetimes)
    static = sorted((round(bar.get_x()), round(bar.get_width()), round(bar.get_y() + 0.4)) for bar in ax.patches)
    rows = [zip(ticks(bars.base), ticks(bars.x), bars.y, strict=True) for bars in fig.data]
    assert sorted(row for trace in rows for row in trace) == static


def test_knees_have_the_same_curve_and_places(comparison: Comparison) -> None:
    ax, fig = both(comparison[0].plot_knees)
    assert np.array_equal(ax.lines[0].get_xydata(), np.array([fig.data[0].x, fig.data[0].y]).T)
    dots = [line.get_xydata()[0].tolist() for line in ax.lines if line.get_marker() == "o"]
    assert dots == [list(point) for point in zip(fig.data[1].x, fig.data[1].y, strict=True)]
    named = [text.get_text() for text in ax.figure.legends[0].get_texts()][-len(dots) :]
    for legend, told in zip(named, fig.data[1].hovertext, strict=True):
        assert legend.split(": ", 1)[1].rstrip("…") in told.replace("&gt;", ">")
    level = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == ":"]
    assert fig.layout.shapes[0].y0 == level[0]
    curve = hs.knees(hs.load_trace(EXAMPLE), hs.load_design("tiny"))
    ax, fig = both(curve.plot)
    assert ticks(fig.data[0].y) == [round(value) for value in ax.lines[0].get_ydata()]


def test_tornado_and_pareto_have_the_same_bars_and_points(comparison: Comparison) -> None:
    ax, fig = both(comparison[1].plot_tornado)
    for static, bars in zip(ax.containers, fig.data, strict=True):
        assert list(bars.x) == [bar.get_width() for bar in static]
    assert list(fig.data[0].y) == [text.get_text() for text in ax.get_yticklabels()]
    ax, fig = both(comparison.plot_pareto, "home_bytes", "time")
    assert [list(point) for point in zip(fig.data[0].x, fig.data[0].y, strict=True)] == [
        list(point) for point in ax.lines[0].get_xydata()
    ]
    dots = sorted(line.get_xydata()[0].tolist() for line in ax.lines[1:])
    assert sorted([x, y] for trace in fig.data[1:] for x, y in zip(trace.x, trace.y, strict=True)) == dots


def test_bands_and_kernels_are_the_same(comparison: Comparison) -> None:
    result = comparison[1]
    ax, fig = both(result.plot_traffic)
    links, nodes = fig.data[0].link, fig.data[0].node.label
    moved = {(nodes[a], nodes[b]): size for a, b, size in zip(links.source, links.target, links.value, strict=True)}
    assert sum(moved.values()) == sum(sum(ways.values()) for ways in result.traffic.values())
    (read,) = (size for (begin, end), size in moved.items() if begin.startswith("L2<br>") and end == "cores")
    assert read == result.traffic["l2"]["read"]
    bands = [np.ptp(band.get_paths()[0].vertices[:, 1]) for band in ax.collections]
    assert sorted(np.array(bands) / max(bands)) == pytest.approx(sorted(np.array(links.value) / max(links.value)))
    ax, fig = both(result.plot_kernels, first=20, most=8)
    shown = {text.get_text() for text in ax.texts if getattr(text, "arrow_patch", None) is None}
    operators = {name for trace in fig.data if trace.mode == "text" for name in trace.text}
    assert operators | {str(kernel) for kernel in range(20, 28)} == shown
    arrows = sum(getattr(text, "arrow_patch", None) is not None for text in ax.texts)
    assert sum(trace.mode == "lines" for trace in fig.data) == arrows > 0
    assert len(fig.layout.shapes) == 8


def test_the_wall_has_the_same_points_and_trends() -> None:
    names = ("p100-sxm", "v100-sxm", "a100-80gb-sxm", "h100-sxm", "b200")
    ax, fig = both(hs.plot_memory_wall, [hs.load_design(name) for name in names])
    marks = [trace for trace in fig.data if trace.mode == "markers"]
    assert len(marks) == 4
    for static, trace in zip(ax.collections, marks, strict=True):
        assert static.get_label() == trace.name
        assert np.allclose(static.get_offsets(), np.array([trace.x, trace.y]).T)
    lines = [trace for trace in fig.data if trace.mode == "lines"]
    for line, trace in zip(ax.lines, lines, strict=True):
        assert np.allclose(line.get_xydata(), np.array([trace.x, trace.y]).T)


def test_names_are_no_markup(comparison: Comparison) -> None:
    from hiersim.views.interactive.stalls import stalls_chart
    from hiersim.views.series.stalls import Stack

    fig = stalls_chart([Stack(label="<b>x</b>", parts=((("useful", None), 5),))], (), "<i>")
    assert fig.layout.yaxis.ticktext == ("&lt;b&gt;x&lt;/b&gt;",) and fig.layout.title.text == "&lt;i&gt;"


def test_what_cannot_be_drawn_is_named(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import pyplot

    with pytest.raises(HiersimError, match="'bokeh' draws no plots"):
        comparison[0].plot_stalls(backend="bokeh")
    with pytest.raises(HiersimError, match="no axes of matplotlib"):
        comparison[0].plot_stalls(pyplot.subplots()[1], backend="plotly")
    monkeypatch.setitem(__import__("sys").modules, "plotly.graph_objects", None)
    with pytest.raises(hs.MissingExtraError, match=r"hiersim\[plotly\]"):
        comparison[0].plot_stalls(backend="plotly")
