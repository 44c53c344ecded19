"""What memory holds over time, the lives of tensors, and what a larger cache would save."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hiersim.decisions.knees import Curve, knee_words
from hiersim.units import show_bytes, show_capacity, show_ticks
from hiersim.views.explanation import capacity as cache_size
from hiersim.views.figures.occupancy import role_colour
from hiersim.views.interactive.style import bytes_axis, capacity_axis, chart, level, plain, seconds, time_axis
from hiersim.views.palette import HBM, SRAM
from hiersim.views.series.knees import Knees
from hiersim.views.series.occupancy import Life, Occupancy
from hiersim.views.tables import written


def occupancy_chart(data: Occupancy, title: str) -> Any:
    """Roles stacked, constant ones at the bottom; the capacity as a line where it is near."""
    fig = chart(title, hovermode="x unified")
    edges = [seconds(edge) for edge in np.append(data.start, data.end).tolist()]
    for place in data.steady_first:
        held, role = data.live[:, place], data.roles[place]
        fig.add_scatter(
            x=edges, y=np.append(held, held[-1:]).tolist(), name=role, mode="lines", stackgroup="held",
            line={"shape": "hv", "width": 0, "color": role_colour(role)}, fillcolor=role_colour(role),
            hovertemplate="%{y:.4s}B",
        )  # fmt: skip
    if data.capacity <= 2 * data.peak_bytes:
        words = f"capacity {show_bytes(data.capacity)}"
        fig.add_hline(y=data.capacity, line_dash="dash", line_color="black", annotation_text=words)
    fig.update_xaxes(**time_axis(), range=[0, seconds(max(data.end, 1))])
    fig.update_yaxes(**bytes_axis(f"{written(data.tier)} holds"))
    return fig


def lifetimes_chart(found: Sequence[Life], title: str) -> Any:
    """Each tensor from its first use to its last."""
    fig = chart(title, 160 + 11 * len(found), barmode="overlay", bargap=0.15)
    for role in dict.fromkeys(life.role for life in found):
        rows = [(row, life) for row, life in enumerate(found) if life.role == role]
        told = [
            f"{plain(life.name)}: {show_bytes(life.bytes)}<br>{show_ticks(life.begin)} to {show_ticks(life.end)}"
            for _, life in rows
        ]
        fig.add_bar(
            x=[seconds(life.end - life.begin) for _, life in rows], base=[seconds(life.begin) for _, life in rows],
            y=[row for row, _ in rows], orientation="h", name=role, marker={"color": role_colour(role)},
            hovertext=told, hoverinfo="text",
        )  # fmt: skip
    fig.update_xaxes(**time_axis())
    fig.update_yaxes(showticklabels=False, autorange="reversed")
    fig.update_layout(showlegend=True)
    return fig


def knees_chart(data: Knees, title: str) -> Any:
    """Traffic at the last tier against the capacity of a shared cache, and the working sets that make its knees."""
    fig = chart(title, 520)
    told = [
        f"{show_capacity(size)}: {show_bytes(moved)}" for size, moved in zip(data.capacities, data.traffic, strict=True)
    ]
    fig.add_scatter(
        x=list(data.capacities), y=list(data.traffic), mode="lines", name="traffic", line={"color": HBM, "width": 2.4},
        hovertext=told, hoverinfo="text",
    )  # fmt: skip
    places = [knee.held_bytes for knee in data.knees]
    _numbered(
        fig,
        places,
        [data.traffic_at(place) for place in places],
        [
            f"{cache_size(knee.held_bytes)} {plain(knee.name)}<br>saves {show_bytes(knee.saved_bytes)}"
            for knee in data.knees
        ],
        "working sets",
    )
    fig.add_hline(y=data.least, line_dash="dot", annotation_text=f"compulsory {show_bytes(data.least)}")
    if data.capacity is not None:
        level(fig, data.capacity, data.cache_words, SRAM)
    fig.update_xaxes(**capacity_axis("capacity of one shared cache", data.capacities))
    fig.update_yaxes(**bytes_axis(f"{written(data.home)} traffic"))
    return fig


def curve_chart(curve: Curve) -> Any:
    """Time over the capacity of a tier, replayed."""
    fig = chart(curve.case.title, 480)
    sizes = [point.capacity for point in curve.points]
    told = [f"{show_capacity(point.capacity)}: {show_ticks(point.ticks)}" for point in curve.points]
    fig.add_scatter(
        x=sizes, y=[seconds(point.ticks) for point in curve.points], mode="lines", name="time",
        line={"color": SRAM, "width": 2.4}, hovertext=told, hoverinfo="text",
    )  # fmt: skip
    points = [knee.point for knee in curve.knees]
    words = [f"{show_bytes(knee.point.capacity)}: {plain(knee_words(knee))}" for knee in curve.knees]
    _numbered(fig, [point.capacity for point in points], [seconds(point.ticks) for point in points], words, "knees")
    present = int(curve.case.design.tier(curve.tier).capacity)
    level(fig, present, f"as it is: {show_capacity(present)}", "black", "dot")
    fig.update_xaxes(**capacity_axis(f"capacity of {written(curve.tier)}", sizes))
    fig.update_yaxes(**time_axis(), rangemode="tozero")
    return fig


def _numbered(fig: Any, x: Sequence[float], y: Sequence[float], words: Sequence[str], name: str) -> None:
    """Points with their number in them, and what they are below the pointer."""
    fig.add_scatter(
        x=list(x), y=list(y), mode="markers+text", name=name, text=[str(place) for place in range(1, len(x) + 1)],
        textfont={"color": "white", "size": 10}, marker={"size": 17, "color": "black"},
        hovertext=list(words), hoverinfo="text",
    )  # fmt: skip
