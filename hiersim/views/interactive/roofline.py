"""The hierarchical roofline, with each kernel's name and figures below the pointer."""

from __future__ import annotations

from typing import Any

from hiersim.units import show_bytes, show_flops, show_rate, show_ticks
from hiersim.views.interactive.style import chart, log_range, plain
from hiersim.views.palette import tier_colour
from hiersim.views.series.roofline import Point, Roofline, RunPoints
from hiersim.views.tables import percent, written


def roofline_chart(data: Roofline, title: str) -> Any:
    """Roofs, kernels (hollow: the first run, filled: the last) and an arrow between whole runs at each tier."""
    fig = chart(title, 560)
    fig.update_xaxes(title="FLOP per byte at the tier's port", type="log", dtick=1)
    fig.update_yaxes(title="FLOP/s", type="log", dtick=1, tickformat="~s")
    for run in data.ends:
        filled = run is data.ends[-1]
        _kernels(fig, run, filled)
        _wholes(fig, run, filled)
    if len(data.ends) == 2:
        _arrows(fig, *data.ends)
    _roofs(fig, data)
    return fig


def _kernels(fig: Any, run: RunPoints, filled: bool) -> None:
    for tier in dict.fromkeys(point.tier for point in run.kernels):
        points = [point for point in run.kernels if point.tier == tier]
        fig.add_scatter(
            x=[point.intensity for point in points], y=[point.rate for point in points], mode="markers",
            name=f"{plain(run.label)}, kernels at {written(tier)}", hovertext=[_told(point) for point in points],
            hoverinfo="text", opacity=0.65,
            marker={
                "size": [4 + 26 * point.share**0.5 for point in points], "color": tier_colour(tier),
                "symbol": "circle" if filled else "circle-open", "line": {"width": 1},
            },
        )  # fmt: skip


def _wholes(fig: Any, run: RunPoints, filled: bool) -> None:
    for point in run.whole:
        fig.add_scatter(
            x=[point.intensity], y=[point.rate], mode="markers", hovertext=[_told(point)], hoverinfo="text",
            name=f"{plain(run.label)}, all kernels at {written(point.tier)}",
            marker={
                "size": 12, "symbol": "diamond", "line": {"width": 1.2, "color": "black"},
                "color": tier_colour(point.tier) if filled else "white",
            },
        )  # fmt: skip


def _told(point: Point) -> str:
    """A point in words."""
    return (
        f"{plain(point.name)} at {written(point.tier)}: {point.kernels:,} kernels, {show_ticks(point.ticks)}, "
        f"{percent(point.share)} of the time<br>{show_flops(point.flops)}, {show_bytes(point.bytes)}: "
        f"{point.intensity:,.3g} FLOP/B, {show_rate(point.rate)}"
    )


def _arrows(fig: Any, before: RunPoints, after: RunPoints) -> None:
    """Arrows are placed in pixels of their axes: those of logarithmic ones by their powers of ten."""
    ends = {point.tier: point for point in after.whole}
    for begin in before.whole:
        if begin.tier in ends:
            end = ends[begin.tier]
            ax, ay = log_range(begin.intensity, begin.rate)
            x, y = log_range(end.intensity, end.rate)
            fig.add_annotation(
                x=x, y=y, ax=ax, ay=ay, xref="x", yref="y", axref="x", ayref="y", text="", showarrow=True,
                arrowhead=2, arrowwidth=1.4, standoff=7, startstandoff=7,
            )  # fmt: skip


def _roofs(fig: Any, data: Roofline) -> None:
    """Every roof, as wide as the points or as far as a ridge asks for."""
    places = [1.0, *(point.intensity for run in data.ends for point in (*run.kernels, *run.whole))]
    for drawn in data.lines(min(places), max(places)):
        x, y = zip(drawn.begin, drawn.end, strict=True)
        slope = drawn.roof.tier is not None
        line = {"color": tier_colour(drawn.roof.name), "width": 2} if slope else {"color": "black", "width": 1.3}
        fig.add_scatter(x=x, y=y, mode="lines", name=drawn.roof.label, line=line)
