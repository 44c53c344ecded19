"""What a better part would return, and which runs no other beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hiersim.units import show_ticks
from hiersim.views.figures.tornado import FASTER, SLOWER
from hiersim.views.interactive.style import chart, plain
from hiersim.views.series.pareto import Pareto
from hiersim.views.series.parts import part_words
from hiersim.views.tables import dollars
from hiersim.what_ifs import FACTOR, WhatIf


def tornado_chart(items: Sequence[WhatIf], title: str) -> Any:
    """The change of time with each part twice and half as good; what returns most is on top."""
    fig = chart(title, 170 + 30 * len(items), barmode="overlay")
    names = [part_words(item) for item in items]
    better = [-100 * item.returned for item in items]
    worse = [100 * (item.lost or 0.0) for item in items]
    gained = [
        f"{name}, {FACTOR} times as good: {show_ticks(item.better_makespan)}"
        + (f", for {dollars(item.cost_usd)} more" if item.cost_usd is not None else "")
        for name, item in zip(names, items, strict=True)
    ]
    lost = [
        f"{name}, half as good: "
        + ("cannot hold the model" if item.worse_makespan is None else show_ticks(item.worse_makespan))
        for name, item in zip(names, items, strict=True)
    ]
    for values, told, colour, shape, words in (
        (better, gained, FASTER, "", f"{FACTOR} times as good"),
        (worse, lost, SLOWER, "/", "half as good"),
    ):
        marker = {"color": colour, "pattern": {"shape": shape, "fgcolor": "white"}}
        fig.add_bar(x=values, y=names, orientation="h", name=words, marker=marker, hovertext=told, hoverinfo="text")
    fig.add_vline(x=0, line_color="black", line_width=1)
    fig.update_xaxes(title="change of time in %")
    fig.update_yaxes(autorange="reversed", automargin=True)
    return fig


def pareto_chart(data: Pareto) -> Any:
    """Runs by their two figures; those that no other beats are joined."""
    fig = chart("")
    x, y = zip(*data.front, strict=True)
    middle = (min(run.x for run in data.runs) + max(run.x for run in data.runs)) / 2
    fig.add_scatter(x=x, y=y, mode="lines", line={"color": FASTER, "shape": "hv"}, name="not beaten", hoverinfo="skip")
    for best, colour, name in ((True, FASTER, "runs on the front"), (False, "grey", "beaten runs")):
        runs = [run for run in data.runs if run.best is best]
        if runs:
            sides = ["top left" if run.x > middle else "top right" for run in runs]
            fig.add_scatter(
                x=[run.x for run in runs], y=[run.y for run in runs], mode="markers+text", name=name,
                text=[plain(run.label) for run in runs], textposition=sides, marker={"color": colour, "size": 10},
                hovertemplate="%{text}<br>%{x:,.6~g}, %{y:,.6~g}<extra></extra>",
            )  # fmt: skip
    fig.update_xaxes(title=data.x_label, tickformat="~s" if data.x_unit else ",", ticksuffix=data.x_unit)
    fig.update_yaxes(title=data.y_label, tickformat="~s" if data.y_unit else ",", ticksuffix=data.y_unit)
    return fig
