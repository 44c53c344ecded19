"""`plot_stalls`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from hiersim.results import Result
from hiersim.views.figures.bars import cause_words
from hiersim.views.plots.style import Drawing, cause_style, drawing, legend_below, plainer, results_of, ticks_axis
from hiersim.views.series.stalls import Stack, kernel_stacks, ledger_stack, module_stacks, ordered
from hiersim.views.tables import headings

By = Literal["run", "module", "layer", "kernel"]


def plot_stalls(source: Result | Sequence[Result], ax: Any = None, by: By | None = None, most: int = 40) -> Drawing:
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

    Returns
    -------
    tuple
        Figure and axes. The lengths of all bars of a run add up to its makespan, unless `most` left some out.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    results = results_of(source)
    stacks = _stacks(results, by or ("module" if len(results) == 1 else "run"), most)
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
    ax.set_title(results[0].trace.name if len(results) > 1 else f"{results[0].trace.name}, {results[0].fusion}")
    plainer(ax)
    legend_below(fig, ax)
    return fig, ax


def _stacks(results: list[Result], by: By, most: int) -> list[Stack]:
    if by == "run":
        labels = [heading.replace("\n", ", ") for heading in headings(results)]
        return [ledger_stack(label, result.to_dict()) for label, result in zip(labels, results, strict=True)]
    if by == "kernel":
        return [stack for result in results for stack in kernel_stacks(result, most)]
    return [stack for result in results for stack in module_stacks(result, int(by == "module"), by == "module", most)]
