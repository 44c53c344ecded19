"""`plot_tornado` and `plot_pareto`: what a better part would return, and which runs no other beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hiersim.decisions.knees import Curve, knee_words
from hiersim.results import Result
from hiersim.units import show_bytes, show_capacity, show_seconds, show_ticks
from hiersim.views.figures.tornado import FASTER, SLOWER
from hiersim.views.palette import SRAM
from hiersim.views.plots.style import Backend, Plot, drawing, interactive, plainer, ticks_axis
from hiersim.views.series.pareto import pareto
from hiersim.views.series.parts import part_words
from hiersim.views.tables import written
from hiersim.what_ifs import FACTOR, what_ifs

_PREFIXED: Final = {"s": lambda value, _: show_seconds(value), "B": lambda value, _: show_bytes(round(value))}


def plot_tornado(result: Result, ax: Any = None, backend: Backend = "matplotlib") -> Plot:
    """The change of time with each part of the design twice and half as good; every bar is a replay.

    Raises
    ------
    MissingExtraError
        Without the backend.
    """
    items = what_ifs(result)
    title = f"{result.trace.name} on {result.design.name}, {result.fusion}: {show_ticks(result.makespan)}"
    if interactive(backend, ax, "plot_tornado"):
        from hiersim.views.interactive.choices import tornado_chart

        return tornado_chart(items, title)
    fig, ax = drawing(ax, "plot_tornado", (8.5, 1.6 + 0.34 * len(items)))
    rows = range(len(items))
    ax.barh(rows, [-100 * item.returned for item in items], color=FASTER, label=f"{FACTOR} times as good", height=0.7)
    worse = [100 * (item.lost or 0.0) for item in items]
    ax.barh(rows, worse, color=SLOWER, hatch="//", edgecolor="white", label="half as good", height=0.7)
    ax.axvline(0, color="black", linewidth=1)
    ax.set_yticks(rows, [part_words(item) for item in items])
    ax.invert_yaxis()
    ax.set_xlabel("change of time in %")
    ax.set_title(title)
    plainer(ax)
    ax.legend(fontsize="small")
    return fig, ax


def plot_curve(curve: Curve, ax: Any = None, backend: Backend = "matplotlib") -> Plot:
    """Time over the capacity of a tier, from `hiersim.knees`: its knees, the present size and what is enough.

    Raises
    ------
    MissingExtraError
        Without the backend.
    """
    if interactive(backend, ax, "Curve.plot"):
        from hiersim.views.interactive.memory import curve_chart

        return curve_chart(curve)
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


def plot_pareto(
    results: Sequence[Result],
    x: str = "memory_cost",
    y: str = "time",
    ax: Any = None,
    backend: Backend = "matplotlib",
) -> Plot:
    """Runs by two figures of which less is better; those that no other run beats in both are joined.

    Parameters
    ----------
    results : sequence of Result
        Runs without a figure (no price known) are left out.
    x, y : {"time", "memory_cost", "home_bytes", "kernels"}
        What to compare.
    ax : matplotlib axes, optional
        Where to draw.
    backend : {"matplotlib", "plotly"}
        What draws.

    Raises
    ------
    HiersimError
        Unknown figure, or no run that has both.
    MissingExtraError
        Without the backend.
    """
    data = pareto(results, x, y)
    if interactive(backend, ax, "plot_pareto"):
        from hiersim.views.interactive.choices import pareto_chart

        return pareto_chart(data)
    fig, ax = drawing(ax, "plot_pareto")
    ax.plot(*zip(*data.front, strict=True), color=FASTER, drawstyle="steps-post")
    for run in data.runs:
        ax.plot(run.x, run.y, "o", color=FASTER if run.best else "grey", markersize=8 if run.best else 6)
        ax.annotate(run.label, (run.x, run.y), (6, 6), textcoords="offset points", fontsize="small")
    for axis, unit in ((ax.xaxis, data.x_unit), (ax.yaxis, data.y_unit)):
        if unit:
            axis.set_major_formatter(_PREFIXED[unit])
    ax.set_xlabel(data.x_label)
    ax.set_ylabel(data.y_label)
    plainer(ax)
    return fig, ax
