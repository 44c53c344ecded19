"""`plot_tornado` and `plot_pareto`: what a better part would return, and which runs no other beats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hiersim.decisions.knees import Curve, knee_words
from hiersim.errors import HiersimError, nearest
from hiersim.results import Result
from hiersim.units import show_bytes, show_capacity, show_ticks
from hiersim.views.figures.tornado import FASTER, SLOWER
from hiersim.views.palette import SRAM
from hiersim.views.plots.style import Drawing, drawing, plainer, ticks_axis
from hiersim.views.series.parts import part_words
from hiersim.views.tables import headings, written
from hiersim.what_ifs import FACTOR, what_ifs

AXES: Final[Mapping[str, tuple[str, Callable[[Result], float | None]]]] = {
    "time": ("time in s", lambda result: result.time),
    "memory_cost": ("memory cost in $", lambda result: result.memory_cost["total"]),
    "home_bytes": ("bytes at the last tier", lambda result: int(result.home_bytes)),
    "kernels": ("kernels", lambda result: len(result.program)),
}
"""Name → label and value; less is better of each."""


def plot_tornado(result: Result, ax: Any = None) -> Drawing:
    """The change of time with each part of the design twice and half as good; every bar is a replay.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    items = what_ifs(result)
    fig, ax = drawing(ax, "plot_tornado", (8.5, 1.6 + 0.34 * len(items)))
    rows = range(len(items))
    ax.barh(rows, [-100 * item.returned for item in items], color=FASTER, label=f"{FACTOR} times as good", height=0.7)
    worse = [100 * (item.lost or 0.0) for item in items]
    ax.barh(rows, worse, color=SLOWER, hatch="//", edgecolor="white", label="half as good", height=0.7)
    ax.axvline(0, color="black", linewidth=1)
    ax.set_yticks(rows, [part_words(item) for item in items])
    ax.invert_yaxis()
    ax.set_xlabel("change of time in %")
    ax.set_title(f"{result.trace.name} on {result.design.name}, {result.fusion}: {show_ticks(result.makespan)}")
    plainer(ax)
    ax.legend(fontsize="small")
    return fig, ax


def plot_curve(curve: Curve, ax: Any = None) -> Drawing:
    """Time over the capacity of a tier, from `hiersim.knees`: its knees, the present size and what is enough.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    fig, ax = drawing(ax, "Curve.plot")
    ax.plot([point.capacity for point in curve.points], [point.ticks for point in curve.points], color=SRAM)
    present = int(curve.case.design.tier(curve.tier).capacity)
    ax.axvline(present, color="black", linestyle=":", label=f"as it is: {show_capacity(present)}")
    for place, knee in enumerate(curve.knees, start=1):
        label = f"{place}: {show_bytes(knee.point.capacity)}, {knee_words(knee)}"
        ax.plot(knee.point.capacity, knee.point.ticks, "o", color="black", markersize=11, label=label)
        ax.annotate(
            str(place), (knee.point.capacity, knee.point.ticks), ha="center", va="center", color="white",
            fontsize="x-small",
        )  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda size, _: show_capacity(round(size)))
    ax.set_ylim(0)
    ticks_axis(ax.yaxis)
    ax.set_xlabel(f"capacity of {written(curve.tier)}")
    ax.set_ylabel("time")
    ax.set_title(curve.case.title)
    plainer(ax)
    ax.legend(fontsize="small")
    return fig, ax


def plot_pareto(results: Sequence[Result], x: str = "memory_cost", y: str = "time", ax: Any = None) -> Drawing:
    """Runs by two figures of which less is better; those that no other run beats in both are joined.

    Parameters
    ----------
    results : sequence of Result
        Runs without a figure (no price known) are left out.
    x, y : {"time", "memory_cost", "home_bytes", "kernels"}
        What to compare.
    ax : matplotlib axes, optional
        Where to draw.

    Raises
    ------
    HiersimError
        Unknown figure, or no run that has both.
    MissingExtraError
        Without matplotlib.
    """
    for name in (x, y):
        if name not in AXES:
            raise HiersimError(f"'{name}' cannot be an axis", expected=nearest(name, AXES))
    found = [(AXES[x][1](result), AXES[y][1](result), index) for index, result in enumerate(results)]
    points = [point for point in found if point[0] is not None and point[1] is not None]
    if not points:
        raise HiersimError(f"no run has both {x} and {y}", expected="designs with prices")
    fig, ax = drawing(ax, "plot_pareto")
    labels = [heading.replace("\n", ", ") for heading in headings(results)]
    front = pareto_front(points)
    ax.plot([point[0] for point in front], [point[1] for point in front], color=FASTER, drawstyle="steps-post")
    for point in points:
        best = point in front
        ax.plot(point[0], point[1], "o", color=FASTER if best else "grey", markersize=8 if best else 6)
        ax.annotate(labels[point[2]], point[:2], (6, 6), textcoords="offset points", fontsize="small")
    ax.set_xlabel(AXES[x][0])
    ax.set_ylabel(AXES[y][0])
    plainer(ax)
    return fig, ax


def pareto_front(points: Sequence[tuple[Any, Any, int]]) -> list[tuple[Any, Any, int]]:
    """Points that no other beats: from the least x, each with a smaller y than all before it."""
    front: list[tuple[Any, Any, int]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front
