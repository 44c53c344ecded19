"""`plot_traffic` and `plot_kernels`: bytes from tier to tier, and which operators share a kernel."""

from __future__ import annotations

from typing import Any

from hiersim.results import Result
from hiersim.units import show_bytes
from hiersim.views.palette import HBM, HOST, tier_colour
from hiersim.views.perfetto import flows
from hiersim.views.plots.style import Drawing, drawing
from hiersim.views.tables import written

READ, WRITE = HBM, HOST


def plot_traffic(result: Result, ax: Any = None) -> Drawing:
    """A Sankey of the bytes between tiers: bands as wide as what is read (towards the cores) and written.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    moved = {name: ways for name, ways in result.traffic.items() if ways["read"] + ways["write"]}
    places = ["cores", *moved]
    fig, ax = drawing(ax, "plot_traffic", (1.6 + 2.2 * len(places), 4.5))
    widest = max((ways["read"] + ways["write"] for ways in moved.values()), default=1)
    heights = _heights(moved, widest)
    for place, name in enumerate(places):
        height = max(heights[place], 0.02)
        colour = tier_colour(name) if place else "0.4"
        ax.bar(place, height, width=0.12, bottom=-height / 2, color=colour, zorder=3)
        ax.annotate(
            written(name) if place else name,
            (place, height / 2),
            (0, 5),
            textcoords="offset points",
            ha="center",
            weight="bold",
        )
    for place, ways in enumerate(moved.values()):
        top = (ways["read"] + ways["write"]) / widest / 2
        for way, colour, mark in (("read", READ, "◄"), ("write", WRITE, "►")):
            width = ways[way] / widest
            if width:
                _band(ax, place, top, width, colour)
                label = f"{mark} {way} {show_bytes(ways[way])}"
                ax.annotate(label, (place + 0.5, top - width / 2), ha="center", va="center", fontsize="small", zorder=4)
            top -= width
    ax.set_xlim(-0.4, len(places) - 0.6)
    ax.set_ylim(-0.6, 0.68)
    ax.set_axis_off()
    ax.set_title(f"{result.trace.name} on {result.design.name}, {result.fusion}: bytes from tier to tier")
    return fig, ax


def _heights(moved: dict[str, dict[str, int]], widest: int) -> list[float]:
    """How tall each place is: as wide as the wider of the bands on its sides."""
    bands = [(ways["read"] + ways["write"]) / widest for ways in moved.values()]
    return [max(near, far) for near, far in zip([0.0, *bands], [*bands, 0.0], strict=True)]


def _band(ax: Any, place: int, top: float, width: float, colour: str) -> None:
    ax.fill_between([place + 0.06, place + 0.94], top - width, top, color=colour, alpha=0.45, linewidth=0)


def plot_kernels(result: Result, ax: Any = None, first: int = 0, most: int = 12) -> Drawing:
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

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    graph, places = result.graph, result.program.places.tolist()
    kernels = list(range(first, min(first + most, len(graph))))
    operators = {kernel: _operators(result, kernel) for kernel in kernels}
    fig, ax = drawing(ax, "plot_kernels", (8.5, 1.0 + 0.34 * sum(1 + len(names) for names in operators.values())))
    middle: dict[int, float] = {}
    y = 0.0
    for kernel in kernels:
        tall = len(operators[kernel]) + 0.6
        fused = len(operators[kernel]) > 1
        box = {"color": HBM if fused else "0.75", "alpha": 0.25, "linewidth": 0}
        ax.fill_between([0, 1], -y - tall, -y, **box)
        for row, name in enumerate(operators[kernel]):
            ax.text(0.02, -y - 0.8 - row, name, va="center", fontsize="small")
        ax.text(0.98, -y - tall / 2, str(kernel), ha="right", va="center", fontsize="x-small", color="0.4")
        middle[places[kernel]] = -y - tall / 2
        y += tall + 0.4
    for producer, consumer in flows(result):
        if producer in middle and consumer in middle:
            bow = -0.35 * min(1.0, 3 / max(middle[producer] - middle[consumer], 0.1))
            arrow = {"arrowstyle": "-|>", "color": "0.35", "connectionstyle": f"arc3,rad={bow:.3f}"}
            ax.annotate("", (1.0, middle[consumer]), (1.0, middle[producer]), arrowprops=arrow)
    ax.set_xlim(0, 1.45)
    ax.set_ylim(-y, 0.3)
    ax.set_axis_off()
    last = kernels[-1] if kernels else first
    ax.set_title(f"{result.trace.name}, {result.fusion}: kernels {first} to {last}, those of several operators blue")
    return fig, ax


def _operators(result: Result, kernel: int) -> list[str]:
    """Names of the operators that a kernel runs."""
    graph = result.graph
    rows = range(int(graph.operator_ptr[kernel]), int(graph.operator_ptr[kernel + 1]))
    return [graph.operators.label(row) for row in rows] or [graph.names[kernel]]
