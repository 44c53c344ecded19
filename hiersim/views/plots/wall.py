"""`plot_memory_wall`: arithmetic, bandwidth, capacity and price of memory by year."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hiersim.model.design import Design
from hiersim.views.plots.style import Backend, Plot, drawing, interactive, plainer
from hiersim.views.series.wall import Wall, memory_wall

TITLE: Final = "Arithmetic, memory and its price by year"
_MARKERS: Final = ("o", "s", "^", "x")


def plot_memory_wall(designs: Sequence[Design] | None = None, ax: Any = None, backend: Backend = "matplotlib") -> Plot:
    """Peak FLOP/s, bandwidth and capacity of the last tier by year, and the price of DRAM, with their trends.

    Parameters
    ----------
    designs : sequence of Design, optional
        Default: the bundled ones. Those without a year, a peak or a bandwidth are left out.
    ax : matplotlib axes, optional
        Where to draw.
    backend : {"matplotlib", "plotly"}
        What draws.

    Returns
    -------
    tuple
        Figure and axes; of plotly a figure. All is relative to the earliest device, the price to that of the first year
        (lowest retail prices of the bundled price book). A trend is a straight line through logarithms, least squares;
        its growth is for two years.

    Raises
    ------
    MissingExtraError
        Without the backend.
    """
    from hiersim.config.prices import load_prices

    data = memory_wall(_bundled() if designs is None else designs, load_prices().history.get("dram"))
    if interactive(backend, ax, "plot_memory_wall"):
        from hiersim.views.interactive.wall import wall_chart

        return wall_chart(data, TITLE)
    fig, ax = drawing(ax, "plot_memory_wall", (8.5, 5.5))
    if data is not None:
        _draw(ax, data)
        ax.legend(fontsize="small")
    ax.set_yscale("log")
    ax.set_xlabel("year")
    ax.set_ylabel(f"relative to {data.baseline}" if data is not None else "relative")
    ax.set_title(TITLE)
    plainer(ax)
    return fig, ax


def _draw(ax: Any, data: Wall) -> None:
    for growth, marker in zip(data.growths, _MARKERS, strict=False):
        if growth.trend is not None:
            ax.plot(*zip(*growth.trend, strict=True), color=growth.colour, linewidth=1.5)
        ax.scatter(growth.years, growth.values, color=growth.colour, marker=marker, label=growth.words, zorder=3)
    peaks = data.growths[0]
    for year, name, height in zip(peaks.years, data.names, peaks.values, strict=True):
        ax.annotate(name, (year, height), (4, 4), textcoords="offset points", fontsize="xx-small")


def _bundled() -> list[Design]:
    """Designs of devices: those that were made up for a study are left out."""
    from hiersim import bundled
    from hiersim.config.load import load_design

    found = [load_design(name) for name in bundled.designs()]
    return [design for design in found if not design.name.startswith(("memory-wall", "what-if", "tiny"))]
