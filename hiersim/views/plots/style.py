"""What all plots share: with what and where they are drawn, and colours with hatches."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal

from hiersim.errors import HiersimError, MissingExtraError, nearest
from hiersim.results import Result
from hiersim.units import show_bytes, show_ticks
from hiersim.views.palette import HATCHES, STYLES, cause_colour

Backend = Literal["matplotlib", "plotly"]
Drawing = tuple[Any, Any]
"""A matplotlib figure and its axes."""
Plot = Any
"""A `Drawing`; a `plotly.graph_objects.Figure` where plotly draws."""


def interactive(backend: str, ax: Any, name: str) -> bool:
    """Whether plotly is to draw; it makes a figure of its own, and takes no axes.

    Raises
    ------
    HiersimError
        For a backend of another name, and for axes together with plotly.
    MissingExtraError
        Without plotly, where it is asked for.
    """
    if backend not in ("matplotlib", "plotly"):
        raise HiersimError(f"'{backend}' draws no plots", expected=nearest(backend, ("matplotlib", "plotly")))
    if backend == "matplotlib":
        return False
    if ax is not None:
        raise HiersimError("plotly draws on no axes of matplotlib", expected="ax, or backend='plotly', not both")
    try:
        import_module("plotly.graph_objects")
    except ImportError:
        raise MissingExtraError(f"{name}(backend='plotly')", "plotly", "plotly") from None
    return True


def drawing(ax: Any, name: str, size: tuple[float, float] = (8.0, 4.5)) -> Drawing:
    """The axes to draw on and their figure; new ones where none are given.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    if ax is not None:
        return ax.figure, ax
    try:
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtraError(name, "matplotlib", "plots") from None
    made: Drawing = pyplot.subplots(figsize=size, layout="constrained")
    return made


def results_of(source: Result | Sequence[Result]) -> list[Result]:
    """One result, or several, as a list."""
    return [source] if isinstance(source, Result) else list(source)


def cause_style(entry: str, tier: str | None) -> dict[str, Any]:
    """Colour and hatch of a ledger entry, as bars take them."""
    hatch = STYLES[HATCHES.get(entry, "plain")]
    return {"color": cause_colour(entry, tier), "hatch": hatch, "edgecolor": "white", "linewidth": 0.4}


def plainer(ax: Any) -> None:
    """No frame where no axis is, and a faint grid behind what is drawn."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.set_axisbelow(True)
    ax.grid(True, which="major", alpha=0.25, linewidth=0.6)


def legend_below(fig: Any, ax: Any, columns: int = 4) -> None:
    """The legend below a plot that has its figure to itself, else inside its axes."""
    if len(fig.axes) == 1 and fig.get_layout_engine() is not None:
        fig.legend(fontsize="small", ncols=columns, loc="outside lower center", frameon=False)
    else:
        ax.legend(fontsize="small", ncols=min(columns, 2))


def ticks_axis(axis: Any) -> None:
    """Ticks of simulated time in seconds with a prefix."""
    axis.set_major_formatter(lambda value, _: show_ticks(round(value)))


def bytes_axis(axis: Any) -> None:
    """Bytes with a prefix."""
    axis.set_major_formatter(lambda value, _: show_bytes(round(value)))
