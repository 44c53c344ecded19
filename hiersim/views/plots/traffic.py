"""`plot_traffic` and `plot_kernels`: bytes from tier to tier, and which operators share a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hiersim.results import Result
from hiersim.units import show_bytes
from hiersim.views.palette import HBM, HOST, tier_colour
from hiersim.views.plots.style import Backend, Plot, drawing, interactive
from hiersim.views.series.traffic import Box, Place, kernel_graph, traffic

READ, WRITE = HBM, HOST
_GAP: Final = 0.4
"""Between kernels, in lines of text."""


def plot_traffic(result: Result, ax: Any = None, backend: Backend = "matplotlib") -> Plot:
    """A Sankey of the bytes between tiers: bands as wide as what is read (towards the cores) and written.

    Raises
    ------
    MissingExtraError
        Without the backend.
    """
    places = traffic(result)
    title = f"{result.trace.name} on {result.design.name}, {result.fusion}: bytes from tier to tier"
    if interactive(backend, ax, "plot_traffic"):
        from hiersim.views.interactive.traffic import traffic_chart

        return traffic_chart(places, title)
    fig, ax = drawing(ax, "plot_traffic", (3.8 + 2.2 * len(places), 4.5))
    widest = max((place.read + place.write for place in places), default=1)
    for column, height in enumerate(_heights(places, widest)):
        tier = places[column - 1] if column else None
        colour, words = ("0.4", "cores") if tier is None else (tier_colour(tier.tier), tier.label)
        ax.bar(column, height, width=0.12, bottom=-height / 2, color=colour, zorder=3)
        ax.annotate(words, (column, height / 2), (0, 5), textcoords="offset points", ha="center", weight="bold")
    for column, place in enumerate(places):
        top = (place.read + place.write) / widest / 2
        for way, size, colour, mark in (("read", place.read, READ, "◄"), ("write", place.write, WRITE, "►")):
            width = size / widest
            if width:
                _band(ax, column, top, width, colour)
                label, middle = f"{mark} {way} {show_bytes(size)}", (column + 0.5, top - width / 2)
                ax.annotate(label, middle, ha="center", va="center", fontsize="small", zorder=4)
            top -= width
    ax.set_xlim(-0.4, len(places) + 0.4)
    ax.set_ylim(-0.6, 0.68)
    ax.set_axis_off()
    ax.set_title(title)
    return fig, ax


def _heights(places: Sequence[Place], widest: int) -> list[float]:
    """How tall the cores and each tier are: as wide as the wider of the bands on their sides."""
    bands = [(place.read + place.write) / widest for place in places]
    return [max(near, far, 0.02) for near, far in zip([0.0, *bands], [*bands, 0.0], strict=True)]


def _band(ax: Any, place: int, top: float, width: float, colour: str) -> None:
    ax.fill_between([place + 0.06, place + 0.94], top - width, top, color=colour, alpha=0.45, linewidth=0)


def plot_kernels(
    result: Result, ax: Any = None, first: int = 0, most: int = 12, backend: Backend = "matplotlib"
) -> Plot:
    """Kernels in launch order as boxes with their operators, and arcs from each to those that read what it wrote.

    Parameters
    ----------
    result : Result
        The run.
    ax : matplotlib axes, optional
        Where to draw.
    first : int
        The first kernel of the graph that is drawn.
    most : int
        How many are drawn.
    backend : {"matplotlib", "plotly"}
        What draws.

    Raises
    ------
    MissingExtraError
        Without the backend.
    """
    data = kernel_graph(result, first, most)
    last = data.boxes[-1].kernel if data.boxes else first
    title = f"{result.trace.name}, {result.fusion}: kernels {first} to {last}, those of several operators blue"
    if interactive(backend, ax, "plot_kernels"):
        from hiersim.views.interactive.traffic import kernels_chart

        return kernels_chart(data, title)
    spans = box_spans(data.boxes)
    fig, ax = drawing(ax, "plot_kernels", (8.5, 1.0 + 0.34 * sum(1 + len(box.operators) for box in data.boxes)))
    middle = {box.kernel: (top + bottom) / 2 for box, (top, bottom) in zip(data.boxes, spans, strict=True)}
    for box, (top, bottom) in zip(data.boxes, spans, strict=True):
        ax.fill_between([0, 1], bottom, top, color=HBM if box.fused else "0.75", alpha=0.25, linewidth=0)
        for row, name in enumerate(box.operators):
            ax.text(0.02, top - 0.8 - row, name, va="center", fontsize="small")
        ax.text(0.98, middle[box.kernel], str(box.kernel), ha="right", va="center", fontsize="x-small", color="0.4")
    for producer, consumer in data.arcs:
        bow = -0.35 * min(1.0, 3 / max(middle[producer] - middle[consumer], 0.1))
        arrow = {"arrowstyle": "-|>", "color": "0.35", "connectionstyle": f"arc3,rad={bow:.3f}"}
        ax.annotate("", (1.0, middle[consumer]), (1.0, middle[producer]), arrowprops=arrow)
    ax.set_xlim(0, 1.45)
    ax.set_ylim(spans[-1][1] - _GAP if spans else -1, 0.3)
    ax.set_axis_off()
    ax.set_title(title)
    return fig, ax


def box_spans(boxes: Sequence[Box]) -> list[tuple[float, float]]:
    """Top and bottom of each box, in lines of text below zero."""
    spans, y = [], 0.0
    for box in boxes:
        tall = len(box.operators) + 0.6
        spans.append((-y, -y - tall))
        y += tall + _GAP
    return spans
