"""`plot_roofline`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hiersim.results import Result
from hiersim.units import show_rate
from hiersim.views.palette import tier_colour
from hiersim.views.plots.style import Backend, Plot, drawing, interactive, plainer, results_of
from hiersim.views.series.roofline import Point, Roofline, RunPoints, roofline
from hiersim.views.tables import written


def plot_roofline(source: Result | Sequence[Result], ax: Any = None, backend: Backend = "matplotlib") -> Plot:
    """The hierarchical roofline: a roof per tier, kernels below it, arrows from the first run to the last.

    Parameters
    ----------
    source : Result or sequence of Result
        Several are compared when they ran on the first one's design; the first is hollow, the last filled.
    ax : matplotlib axes, optional
        Where to draw.
    backend : {"matplotlib", "plotly"}
        What draws.

    Returns
    -------
    tuple
        Figure and axes; of plotly a figure. Points are as large as their share of the time.

    Raises
    ------
    MissingExtraError
        Without the backend.
    """
    title = f"{results_of(source)[0].trace.name} on {results_of(source)[0].design.name}"
    if interactive(backend, ax, "plot_roofline"):
        from hiersim.views.interactive.roofline import roofline_chart

        return roofline_chart(roofline(results_of(source)), title)
    fig, ax = drawing(ax, "plot_roofline", (8.5, 5.5))
    data = roofline(results_of(source))
    shown = data.ends
    ax.set_xscale("log")
    ax.set_yscale("log")
    for run in shown:
        _kernels(ax, run, filled=run is shown[-1])
    if len(shown) == 2:
        _arrows(ax, *shown)
    for run in shown:
        for point in run.whole:
            face = tier_colour(point.tier) if run is shown[-1] else "white"
            ax.plot(
                point.intensity, point.rate, "D", color=face, markeredgecolor="black", markersize=8, zorder=4,
                label=f"{run.label}, all kernels at {written(point.tier)}",
            )  # fmt: skip
    _roofs(ax, data)
    ax.set_xlabel("FLOP per byte at the tier's port")
    ax.set_ylabel("FLOP/s")
    ax.yaxis.set_major_formatter(lambda value, _: show_rate(value))
    ax.set_title(title)
    plainer(ax)
    if any(run.whole for run in shown):
        ax.legend(fontsize="small", loc="lower right")
    return fig, ax


def _kernels(ax: Any, run: RunPoints, filled: bool) -> None:
    for point in run.kernels:
        colour = tier_colour(point.tier)
        face = colour if filled else "none"
        size = 14 + 400 * point.share
        ax.scatter(point.intensity, point.rate, s=size, facecolors=face, edgecolors=colour, alpha=0.6, zorder=3)


def _arrows(ax: Any, before: RunPoints, after: RunPoints) -> None:
    ends: dict[str, Point] = {point.tier: point for point in after.whole}
    for point in before.whole:
        if point.tier in ends:
            end = ends[point.tier]
            ax.annotate(
                "", xytext=(point.intensity, point.rate), xy=(end.intensity, end.rate), zorder=4,
                arrowprops={"arrowstyle": "-|>", "color": "black", "shrinkA": 5, "shrinkB": 5},
            )  # fmt: skip


def _roofs(ax: Any, data: Roofline) -> None:
    """Every roof, between the edges of the axes or as far as a ridge asks for."""
    lines = data.lines(*ax.get_xlim())
    for line in lines:
        x, y = zip(line.begin, line.end, strict=True)
        if line.roof.tier is not None:
            ax.plot(x, y, color=tier_colour(line.roof.name), linewidth=2, label=line.roof.label)
        else:
            ax.hlines(y[0], *x, color="black", linewidth=1.2)
            ax.annotate(line.roof.label, line.end, (0, 3), textcoords="offset points", ha="right", fontsize="small")
    if lines:
        ends = [x for line in lines for x in (line.begin[0], line.end[0])]
        ax.set_xlim(min(ends), max(ends))
