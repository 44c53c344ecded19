"""Lines of one figure against another, and points of which some are beaten by none: what sweeps look like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from hiersim.views.figures.canvas import (
    NARROW,
    Frame,
    Scale,
    Shown,
    axis_x,
    axis_y,
    figure,
    linear,
    logarithmic,
    nice_ticks,
    path,
    powers,
)
from hiersim.views.markup import el
from hiersim.views.palette import DRAM, FLASH, HBM, HOST, LINK, SRAM, WORK

COLOURS: Final = (HBM, HOST, SRAM, DRAM, FLASH, LINK, WORK)
DASHES: Final = ("none", "7 4", "2 3")
"""Lines of one colour differ by dash."""
MOST_LINES: Final = len(COLOURS) * len(DASHES)
_WIDE_RATIO: Final = 8
"""Values that lie further apart are drawn on a logarithmic scale …"""
_TALL_RATIO: Final = 20
"""… and figures, which else begin at zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points of one line, from left to right; places without a value are left out."""

    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What an axis shows."""

    title: str
    show: Shown
    binary: bool = False
    """Whether its round values are powers of two."""


def colour_of(place: int) -> str:
    """The colour of a line."""
    return COLOURS[place % len(COLOURS)]


def dash_of(place: int) -> str:
    """The dash of a line."""
    return DASHES[place // len(COLOURS) % len(DASHES)]


def lines_figure(lines: Sequence[Line], x: Axis, y: Axis, width: float) -> Element:
    """Every line with a mark at each of its points."""
    frame, across, up, children = _axes([point for line in lines for point in line.points], x, y, width)
    for place, line in enumerate(lines):
        places = [(across(a), up(b)) for a, b in line.points]
        drawn = path(places, fill="none", stroke=colour_of(place), stroke_width="2.2", stroke_linejoin="round")
        drawn.set("stroke-dasharray", dash_of(place))
        children.append(drawn)
        for (a, b), point in zip(places, line.points, strict=True):
            mark = el("circle", {"cx": a, "cy": b, "r": 3.6, "fill": colour_of(place)})
            mark.append(el("title", None, f"{line.label}: {x.show(point[0])}, {y.show(point[1])}"))
            children.append(mark)
    label = f"{y.title} against {x.title}, {len(lines)} lines."
    return figure(width, frame.bottom + 44, label, *children)


def front_figure(
    points: Sequence[tuple[float, float]], labels: Sequence[str], best: Sequence[bool], x: Axis, y: Axis, width: float
) -> Element:
    """Points, with those that no other beats filled and joined."""
    frame, across, up, children = _axes(list(points), x, y, width)
    front = sorted(point for point, chosen in zip(points, best, strict=True) if chosen)
    stairs: list[tuple[float, float]] = []
    for a, b in front:
        if stairs:
            stairs.append((across(a), stairs[-1][1]))
        stairs.append((across(a), up(b)))
    children.append(path(stairs, fill="none", stroke=HBM, stroke_width="2"))
    for (a, b), label, chosen in zip(points, labels, best, strict=True):
        look = {"fill": HBM, "r": 5.5} if chosen else {"fill": WORK, "r": 4, "fill-opacity": "0.6"}
        mark = el("circle", {"cx": across(a), "cy": up(b), **look})
        mark.append(el("title", None, f"{label}: {x.show(a)}, {y.show(b)}"))
        children.append(mark)
    label = f"{y.title} against {x.title}; {len(front)} of {len(points)} points are beaten by no other."
    return figure(width, frame.bottom + 44, label, *children)


def _axes(
    points: Sequence[tuple[float, float]], x: Axis, y: Axis, width: float
) -> tuple[Frame, Scale, Scale, list[Element]]:
    narrow = width <= NARROW
    frame = Frame(left=70, top=30, right=width - 16, bottom=260 if narrow else 340)
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    across, marks = _scale(min(xs), max(xs), x, frame.left + 8, frame.right - 8, 4 if narrow else 8)
    if min(ys) > 0 and max(ys) / min(ys) >= _TALL_RATIO:
        up, rungs = _scale(min(ys) / 1.3, max(ys) * 1.3, y, frame.bottom, frame.top, 6)
    else:
        top = (max(ys) or 1.0) * 1.06
        up, rungs = linear(0, top, frame.bottom, frame.top), nice_ticks(top, 5)
    children = axis_x(frame, across, marks, x.show, x.title) + axis_y(frame, up, rungs, y.show, y.title)
    return frame, across, up, children


def _scale(low: float, high: float, axis: Axis, begin: float, end: float, most: int) -> tuple[Scale, list[float]]:
    """A linear scale that holds the values, or a logarithmic one where they lie far apart."""
    if low > 0 and high / low >= _WIDE_RATIO:
        ticks = powers(low, high, 2 if axis.binary else 10, most)
        return logarithmic(low, high, begin, end), ticks or [low, high]
    room = (high - low) * 0.04 or abs(high) * 0.5 or 1.0
    first = low - room
    step_ticks = nice_ticks(high - first, most)
    step = step_ticks[1] if len(step_ticks) > 1 else (high - first) or 1.0
    count = int((high + room) / step)
    return linear(first, high + room, begin, end), [step * index for index in range(math.ceil(first / step), count + 1)]
