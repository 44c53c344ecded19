"""What the last tier holds over time, drawn as a stack of roles."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from hiersim.units import show_bytes, show_ticks
from hiersim.views.figures.canvas import NARROW, Frame, axis_x, axis_y, figure, line, linear, nice_ticks, path, text
from hiersim.views.markup import el
from hiersim.views.palette import LINK, ROLES
from hiersim.views.series.occupancy import Occupancy
from hiersim.views.tables import written


def occupancy_figure(data: Occupancy, width: float) -> Element:
    """Roles stacked, constant ones at the bottom; the capacity as a line where it is near."""
    narrow = width <= NARROW
    high = max(int(data.live.sum(axis=1).max(initial=1)), 1)
    near = data.capacity <= 2 * high
    top = max(high, data.capacity) * 1.06 if near else high * 1.08
    frame = Frame(left=66, top=30, right=width - 10, bottom=230 if narrow else 280)
    x = linear(0, max(data.end, 1), frame.left, frame.right)
    y = linear(0, top, frame.bottom, frame.top)
    children = [
        *axis_x(frame, x, nice_ticks(data.end, 3 if narrow else 8), lambda tick: show_ticks(int(tick)), "time"),
        *axis_y(frame, y, nice_ticks(top, 4), lambda tick: show_bytes(int(tick)), f"{written(data.tier)} holds"),
    ]
    floor = np.zeros(len(data.start), np.int64)
    edges = [x(int(start)) for start in data.start] + [frame.right]
    for place in data.steady_first:
        ceiling = floor + data.live[:, place]
        shape = [*_stairs(edges, ceiling, y), *reversed(_stairs(edges, floor, y))]
        role = data.roles[place]
        area = path(shape, close=True, fill=role_colour(role), fill_opacity="0.85")
        area.append(el("title", None, f"{role}: at most {show_bytes(int(data.live[:, place].max(initial=0)))}"))
        children.append(area)
        floor = ceiling
    if near:
        level = y(data.capacity)
        children.append(line(frame.left, level, frame.right, level, stroke_width="1.6", stroke_dasharray="6 4"))
        children.append(text(frame.right, level - 6, f"capacity {show_bytes(data.capacity)}", "end"))
    label = f"Bytes that {written(data.tier)} holds over time by role; at most {show_bytes(data.peak_bytes)}."
    return figure(width, frame.bottom + 44, label, *children)


def role_colour(role: str) -> str:
    """The colour of a role of tensors."""
    return ROLES.get(role, LINK)


def _stairs(edges: list[float], level: Any, y: Any) -> list[tuple[float, float]]:
    """The outline of steps."""
    found: list[tuple[float, float]] = []
    for place, value in enumerate(level.tolist()):
        height = y(value)
        found += [(edges[place], height), (edges[place + 1], height)]
    return found
