"""`plot_stalls`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hiersim.results import Result
from hiersim.views.figures.bars import cause_words
from hiersim.views.plots.style import (
    Backend,
    Plot,
    cause_style,
    drawing,
    interactive,
    legend_below,
    plainer,
    results_of,
    ticks_axis,
)
from hiersim.views.series.stalls import By, ordered, stacks_by


def plot_stalls(
    source: Result | Sequence[Result],
    ax: Any = None,
    by: By | None = None,
    most: int = 40,
    backend: Backend = "matplotlib",
) -> Plot:
    """The ledger as stacked bars; causes differ by hatch as well as by colour.

    Parameters
    ----------
    source : Result or sequence of Result
        Several give one bar each.
    ax : matplotlib axes, optional
        Where to draw.
    by : {"run", "module", "layer", "kernel"}, optional
        What a bar is. `module`: a part of a layer, all layers added up; `layer`: every layer by itself; `kernel`: every
        kernel. Default: `module` for one result, `run` for several.
    most : int
        Bars that are drawn: of more those that take longest, in their own order.
    backend : {"matplotlib", "plotly"}
        What draws.

    Returns
    -------
    tuple
        Figure and axes; of plotly a figure. The lengths of all bars of a run add up to its makespan, unless `most` left
        some out.

    Raises
    ------
    MissingExtraError
        Without the backend.
    """
    results = results_of(source)
    title = results[0].trace.name if len(results) > 1 else f"{results[0].trace.name}, {results[0].fusion}"
    stacks = stacks_by(results, by or ("module" if len(results) == 1 else "run"), most)
    if interactive(backend, ax, "plot_stalls"):
        from hiersim.views.interactive.stalls import stalls_chart

        return stalls_chart(stacks, results[0].program.tiers, title)
    fig, ax = drawing(ax, "plot_stalls", (9.0, 2.2 + 0.32 * len(stacks)))
    tiers = results[0].program.tiers
    done = [0] * len(stacks)
    for cause in ordered({cause for stack in stacks for cause, _ in stack.parts}, tiers):
        lengths = [dict(stack.parts).get(cause, 0) for stack in stacks]
        ax.barh(range(len(stacks)), lengths, left=done, label=cause_words(cause), height=0.72, **cause_style(*cause))
        done = [begin + length for begin, length in zip(done, lengths, strict=True)]
    ax.set_yticks(range(len(stacks)), [stack.label for stack in stacks])
    ax.invert_yaxis()
    ax.set_xlabel("time")
    ticks_axis(ax.xaxis)
    ax.set_title(title)
    plainer(ax)
    legend_below(fig, ax)
    return fig, ax
