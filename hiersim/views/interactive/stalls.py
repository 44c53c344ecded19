"""The ledger as stacked bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hiersim.units import show_ticks
from hiersim.views.figures.bars import cause_words
from hiersim.views.interactive.style import cause_marker, chart, plain, seconds, time_axis
from hiersim.views.series.stalls import Stack, ordered
from hiersim.views.tables import percent


def stalls_chart(stacks: Sequence[Stack], tiers: Sequence[str], title: str) -> Any:
    """One bar per stack, work first; names may come twice, so that bars stand by their number."""
    fig = chart(title, 210 + 26 * len(stacks), barmode="stack", bargap=0.25)
    rows = list(range(len(stacks)))
    for cause in ordered({cause for stack in stacks for cause, _ in stack.parts}, tiers):
        ticks = [dict(stack.parts).get(cause, 0) for stack in stacks]
        words = cause_words(cause)
        told = [
            f"{plain(stack.label)}<br>{words}: {show_ticks(part)}, {percent(part / max(stack.ticks, 1))} of "
            f"{show_ticks(stack.ticks)}"
            for stack, part in zip(stacks, ticks, strict=True)
        ]
        fig.add_bar(
            x=[seconds(part) for part in ticks], y=rows, orientation="h", name=words, marker=cause_marker(*cause),
            hovertext=told, hoverinfo="text",
        )  # fmt: skip
    fig.update_xaxes(**time_axis())
    names = [plain(stack.label) for stack in stacks]
    fig.update_yaxes(tickvals=rows, ticktext=names, autorange="reversed", automargin=True)
    below = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "traceorder": "normal"}
    fig.update_layout(legend=below, margin_b=115)
    return fig
