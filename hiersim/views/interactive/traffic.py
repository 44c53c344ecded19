"""Bytes from tier to tier as a Sankey, and the graph of kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hiersim.units import show_bytes
from hiersim.views.interactive.style import chart, plain
from hiersim.views.palette import HBM, HOST, tier_colour
from hiersim.views.series.traffic import Box, KernelGraph, Place

_CORES: Final = "#6B7280"
_GREY: Final = "rgba(120,120,120,0.22)"
_BEND: Final = 16
"""Pieces that an arc is drawn in."""


def traffic_chart(places: Sequence[Place], title: str) -> Any:
    """From the farthest tier that is read, on the left, by way of the cores to the farthest that is written."""
    from plotly import graph_objects as go

    readers = [place for place in reversed(places) if place.read]
    writers = [place for place in places if place.write]
    nodes = [(f"{place.label}<br>{show_bytes(place.read)}", tier_colour(place.tier)) for place in readers]
    nodes.append(("cores", _CORES))
    nodes += [(f"{place.label}<br>{show_bytes(place.write)}", tier_colour(place.tier)) for place in writers]
    cores = len(readers)
    links = [
        (row, row + 1, place.read, _clear(HBM), f"read from {place.label}") for row, place in enumerate(readers)
    ] + [
        (cores + row, cores + row + 1, place.write, _clear(HOST), f"written to {place.label}")
        for row, place in enumerate(writers)
    ]
    source, target, value, colour, label = ([*column] for column in zip(*links, strict=True)) if links else [[]] * 5
    fig = chart(title, 420)
    fig.add_trace(
        go.Sankey(
            node={"label": [name for name, _ in nodes], "color": [shade for _, shade in nodes], "pad": 18},
            link={
                "source": source, "target": target, "value": value, "color": colour, "label": label,
                "customdata": [show_bytes(size) for size in value],
                "hovertemplate": "%{label}: %{customdata}<extra></extra>",
            },
            valuesuffix="B", valueformat=".4s",
        )
    )  # fmt: skip
    return fig


def _clear(colour: str) -> str:
    """A colour that lets others shine through."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.45)"


def kernels_chart(data: KernelGraph, title: str) -> Any:
    """Boxes with their operators in launch order, and arcs from each kernel to those that read what it wrote."""
    rows = sum(len(box.operators) + 1 for box in data.boxes)
    fig = chart(title, 110 + 20 * max(rows, 4), showlegend=False, hovermode="closest")
    middle: dict[int, float] = {}
    y = 0.0
    for box in data.boxes:
        tall = len(box.operators)
        shade = _clear(HBM).replace("0.45", "0.25") if box.fused else _GREY
        fig.add_shape(type="rect", x0=0, x1=1, y0=y, y1=y + tall, fillcolor=shade, line_width=0, layer="below")
        middle[box.kernel] = y + tall / 2
        _lines(fig, box, y)
        y += tall + 0.5
    for producer, consumer in data.arcs:
        _arc(fig, data, middle, producer, consumer)
    fig.update_xaxes(visible=False, range=[-0.01, 1.5])
    fig.update_yaxes(visible=False, range=[y, -0.5])
    return fig


def _lines(fig: Any, box: Box, top: float) -> None:
    fig.add_scatter(
        x=[0.02] * len(box.operators), y=[top + 0.5 + row for row in range(len(box.operators))], mode="text",
        text=[plain(name) for name in box.operators], textposition="middle right", name=f"kernel {box.kernel}",
        hovertext=f"kernel {box.kernel}: {plain(box.name)}", hoverinfo="text",
    )  # fmt: skip


def _arc(fig: Any, data: KernelGraph, middle: dict[int, float], producer: int, consumer: int) -> None:
    """Half an ellipse to the right of the boxes, wider for those that lie further apart."""
    names = {box.kernel: plain(box.name) for box in data.boxes}
    begin, end = middle[producer], middle[consumer]
    reach = min(0.05 + 0.02 * (end - begin), 0.45)
    steps = [place / _BEND for place in range(_BEND + 1)]
    told = f"{producer} {names[producer]} → {consumer} {names[consumer]}"
    fig.add_scatter(
        x=[1 + reach * 4 * step * (1 - step) for step in steps], y=[begin + (end - begin) * step for step in steps],
        mode="lines", line={"color": "#6B7280", "width": 1.2}, name=f"arc {producer} {consumer}", hovertext=told,
        hoverinfo="text",
    )  # fmt: skip
    fig.add_annotation(
        x=1, y=end, ax=12, ay=-4, axref="pixel", ayref="pixel", text="", showarrow=True, arrowhead=2, arrowwidth=1.2,
        arrowcolor="#6B7280",
    )  # fmt: skip
