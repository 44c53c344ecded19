"""`plot_occupancy`, `plot_lifetimes` and `plot_knees`: what memory holds, and what a larger cache would save."""

from __future__ import annotations

from typing import Any

import numpy as np

from hiersim.errors import HiersimError
from hiersim.results import Result
from hiersim.units import show_bytes, show_capacity
from hiersim.views.explanation import capacity as cache_size
from hiersim.views.figures.occupancy import role_colour
from hiersim.views.palette import HBM, SRAM
from hiersim.views.plots.style import Backend, Plot, bytes_axis, drawing, interactive, legend_below, plainer, ticks_axis
from hiersim.views.series.knees import knees
from hiersim.views.series.occupancy import lives, occupancy
from hiersim.views.tables import written


def plot_occupancy(result: Result, ax: Any = None, backend: Backend = "matplotlib") -> Plot:
    """What the last tier holds over time, stacked by role of the tensors.

    Raises
    ------
    MissingExtraError
        Without the backend.
    """
    title = f"{result.trace.name} on {result.design.name}, {result.fusion}"
    if interactive(backend, ax, "plot_occupancy"):
        from hiersim.views.interactive.memory import occupancy_chart

        return occupancy_chart(occupancy(result), title)
    fig, ax = drawing(ax, "plot_occupancy")
    data = occupancy(result)
    edges = np.append(data.start, data.end)
    floor = np.zeros(len(data.start), np.int64)
    for place in data.steady_first:
        ceiling = floor + data.live[:, place]
        role = data.roles[place]
        ax.fill_between(
            edges, np.append(floor, floor[-1:]), np.append(ceiling, ceiling[-1:]), step="post", label=role,
            color=role_colour(role), alpha=0.85, linewidth=0,
        )  # fmt: skip
        floor = ceiling
    if data.capacity <= 2 * data.peak_bytes:
        ax.axhline(data.capacity, color="black", linestyle="--", label=f"capacity {show_bytes(data.capacity)}")
    ax.set_xlim(0, max(data.end, 1))
    ax.set_ylim(0)
    ax.set_xlabel("time")
    ax.set_ylabel(f"{written(data.tier)} holds")
    ticks_axis(ax.xaxis)
    bytes_axis(ax.yaxis)
    ax.set_title(title)
    plainer(ax)
    ax.legend(fontsize="small")
    return fig, ax


def plot_lifetimes(result: Result, ax: Any = None, most: int = 60, backend: Backend = "matplotlib") -> Plot:
    """The largest tensors that are made on the way, each from its first use to its last.

    Raises
    ------
    MissingExtraError
        Without the backend.
    """
    found = lives(result, most)
    least = f", at least {show_bytes(min(life.bytes for life in found))} each" if found else ""
    title = f"{result.trace.name}, {result.fusion}: the {len(found)} largest tensors{least}"
    if interactive(backend, ax, "plot_lifetimes"):
        from hiersim.views.interactive.memory import lifetimes_chart

        return lifetimes_chart(found, title)
    fig, ax = drawing(ax, "plot_lifetimes", (8.5, 1.6 + 0.12 * len(found)))
    for row, life in enumerate(found):
        label = life.role if life.role not in [other.role for other in found[:row]] else None
        ax.barh(row, life.end - life.begin, left=life.begin, color=role_colour(life.role), height=0.8, label=label)
    ax.invert_yaxis()
    ax.set_yticks([])
    ax.set_xlabel("time")
    ticks_axis(ax.xaxis)
    ax.set_title(title)
    plainer(ax)
    if found:
        ax.legend(fontsize="small")
    return fig, ax


def plot_knees(result: Result, ax: Any = None, most: int = 6, backend: Backend = "matplotlib") -> Plot:
    """Traffic at the last tier against the capacity of a shared cache, with the working sets that make its knees.

    Raises
    ------
    HiersimError
        When no bytes are used twice.
    MissingExtraError
        Without the backend.
    """
    data = knees(result, most)
    if data is None:
        raise HiersimError("no bytes are used twice", expected="a run in which a cache could save traffic")
    title = f"{result.trace.name}, {result.fusion}"
    if interactive(backend, ax, "plot_knees"):
        from hiersim.views.interactive.memory import knees_chart

        return knees_chart(data, title)
    fig, ax = drawing(ax, "plot_knees", (8.5, 6.5))
    ax.plot(data.capacities, data.traffic, color=HBM, linewidth=2.2)
    ax.axhline(data.least, color="black", linestyle=":", label=f"compulsory {show_bytes(data.least)}")
    if data.capacity is not None:
        ax.axvline(data.capacity, color=SRAM, linewidth=1.8, label=data.cache_words)
    for place, knee in enumerate(data.knees, start=1):
        traffic = data.traffic_at(knee.held_bytes)
        name = knee.name if len(knee.name) <= 58 else knee.name[:57] + "…"
        label = f"{place}: {cache_size(knee.held_bytes)} {name}"
        ax.plot(knee.held_bytes, traffic, "o", color="black", markersize=11, label=label)
        ax.annotate(str(place), (knee.held_bytes, traffic), ha="center", va="center", color="white", fontsize="x-small")
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(lambda value, _: show_capacity(int(value)))
    bytes_axis(ax.yaxis)
    ax.set_ylim(0)
    ax.set_xlabel("capacity of one shared cache")
    ax.set_ylabel(f"{written(data.home)} traffic")
    ax.set_title(title)
    plainer(ax)
    legend_below(fig, ax, columns=1)
    return fig, ax
