"""Traffic against the capacity of the shared cache, drawn; knees carry numbers that the list beside it explains."""

from __future__ import annotations

from bisect import bisect_left
from xml.etree.ElementTree import Element

from hiersim.units import show_bytes, show_capacity
from hiersim.views.explanation import capacity as cache_size
from hiersim.views.figures.canvas import (
    NARROW,
    Frame,
    axis_x,
    axis_y,
    figure,
    line,
    linear,
    logarithmic,
    nice_ticks,
    path,
    powers,
    text,
)
from hiersim.views.markup import el
from hiersim.views.palette import HBM, SRAM
from hiersim.views.series.knees import Knees
from hiersim.views.tables import written


def knees_figure(data: Knees, width: float) -> Element:
    """The curve, the least possible, the design's cache as an upright line, and a numbered mark at each knee."""
    narrow = width <= NARROW
    frame = Frame(left=66, top=34, right=width - 14, bottom=270 if narrow else 330)
    low, high = data.capacities[0], data.capacities[-1]
    top = max(data.traffic) * 1.08
    x = logarithmic(low, high, frame.left, frame.right)
    y = linear(0, top, frame.bottom, frame.top)
    children = [
        *axis_x(frame, x, powers(low, high, 2, 4 if narrow else 9), _size, "capacity of one shared cache"),
        *axis_y(frame, y, nice_ticks(top, 5), lambda tick: show_bytes(int(tick)), f"{written(data.home)} traffic"),
    ]
    least = y(data.least)
    children.append(line(frame.left, least, frame.right, least, stroke_width="1.4", stroke_dasharray="2 4"))
    children.append(text(frame.left + 6, least - 6, f"compulsory {show_bytes(data.least)}"))
    curve = [(x(size), y(moved)) for size, moved in zip(data.capacities, data.traffic, strict=True)]
    children.append(path(curve, fill="none", stroke=HBM, stroke_width="2.6", stroke_linejoin="round"))
    if data.capacity is not None:
        children += _here(data, x(data.capacity), frame)
    for place, knee in enumerate(data.knees, start=1):
        index = min(bisect_left(data.capacities, knee.held_bytes), len(curve) - 1)
        children += _mark(place, *curve[index], f"{cache_size(knee.held_bytes)}: {knee.name}")
    ends = f"from {show_bytes(max(data.traffic))} to {show_bytes(min(data.traffic))}"
    label = f"{written(data.home)} traffic falls with the capacity of a shared cache {ends}."
    return figure(width, frame.bottom + 44, label, *children)


def _here(data: Knees, x: float, frame: Frame) -> list[Element]:
    """Where the design stands."""
    anchor, shift = ("end", -6) if x > frame.right - 150 else ("start", 6)
    label = f"{written(data.cache or '')} finds {cache_size(data.capacity or 0)} again"
    rule = line(x, frame.top - 14, x, frame.bottom, stroke=SRAM, stroke_width="2")
    return [rule, text(x + shift, frame.top - 4, label, anchor, font_weight="600")]


def _mark(number: int, x: float, y: float, tip: str) -> list[Element]:
    mark = el("circle", {"cx": x, "cy": y, "r": 9.5, "fill": "#111827", "stroke": "#fff", "stroke-width": "1.5"})
    mark.append(el("title", None, tip))
    return [mark, text(x, y + 4.3, str(number), "middle", fill="#fff", font_weight="600", pointer_events="none")]


def _size(value: float) -> str:
    return show_capacity(int(value))
