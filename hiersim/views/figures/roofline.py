"""The hierarchical roofline, drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from xml.etree.ElementTree import Element

from hiersim.units import show_rate, show_ticks
from hiersim.views.figures.canvas import (
    NARROW,
    Frame,
    Scale,
    axis_x,
    axis_y,
    figure,
    line,
    logarithmic,
    path,
    powers,
    text,
)
from hiersim.views.markup import el
from hiersim.views.palette import tier_colour
from hiersim.views.series.roofline import Point, Roof, Roofline
from hiersim.views.tables import percent

_HALO = {
    "paint_order": "stroke",
    "stroke": "var(--ground, transparent)",
    "stroke_width": "4",
    "stroke_linejoin": "round",
}


def roofline_figure(data: Roofline, width: float) -> Element | None:
    """Roofs, kernels (hollow: the first run, filled: the last) and an arrow between whole runs at each tier."""
    points = [point for run in (data.runs[0], data.runs[-1]) for point in (*run.kernels, *run.whole)]
    if not points or not data.peaks:
        return None
    narrow = width <= NARROW
    frame = Frame(left=46, top=30, right=width - 8, bottom=(340 if narrow else 440))
    low_x, high_x, low_y, high_y = _window(data, points)
    x = logarithmic(low_x, high_x, frame.left, frame.right)
    y = logarithmic(low_y, high_y, frame.bottom, frame.top)
    children = [
        *axis_x(frame, x, powers(low_x, high_x, most=5 if narrow else 9), _plain, "FLOP per byte at the tier's port"),
        *axis_y(frame, y, powers(low_y, high_y), _rate, "FLOP/s"),
    ]
    roofs = list(_roofs(data, x, y, frame, low_x))
    children += [part for part in roofs if part.tag != "text"]
    shown = data.ends
    for place, run in enumerate(shown):
        filled = place == len(shown) - 1
        children += [_dot(point, x, y, filled, run.label) for point in reversed(run.kernels)]
    children += [part for part in roofs if part.tag == "text"]
    if len(shown) == 2:
        children += _arrows(shown[0].whole, shown[1].whole, x, y)
    for place, run in enumerate(shown):
        children += _wholes(run.whole, x, y, frame, place == len(shown) - 1)
    told = "; ".join(
        f"{run.label} at {point.tier}: {_plain(point.intensity)} FLOP/B, {show_rate(point.rate)}"
        for run in shown
        for point in run.whole
    )
    return figure(width, frame.bottom + 44, f"Roofline with a roof per tier. {told}.", *children)


def _window(data: Roofline, points: list[Point]) -> tuple[float, float, float, float]:
    """Axes that hold every point and every ridge, from power to power."""
    peak = data.peak
    xs = [*(point.intensity for point in points), *data.ridges]
    ys = [point.rate for point in points] + [float(peak)]
    low_x, high_x = max(min(xs) / 1.5, max(xs) * 1e-7), max(xs) * 2
    low_y, high_y = max(min(ys) / 1.5, peak * 1e-7), max(ys) * 1.7
    return low_x, high_x, low_y, high_y


def _roofs(data: Roofline, x: Scale, y: Scale, frame: Frame, low_x: float) -> Iterable[Element]:
    peak, ridge = data.peak, min(data.ridges, default=low_x)
    for place, roof in enumerate(data.peaks):
        begin = max(ridge * roof.rate / peak, low_x)
        yield line(x(begin), y(roof.rate), frame.right, y(roof.rate), stroke_width="1.6", stroke_opacity="0.75")
        yield text(frame.right - 2, y(roof.rate) + (-6 if place == 0 else 15), roof.label, "end", **_HALO)
    for roof in data.bandwidths:
        yield from _slope(roof, peak, x, y, frame)


def _slope(roof: Roof, peak: int, x: Scale, y: Scale, frame: Frame) -> Iterable[Element]:
    """A tier's roof, from where it enters the frame to its ridge, with its name along it."""
    ridge = peak / roof.rate
    end_x, end_y = x(ridge), y(peak)
    rise = (y(peak * 0.1) - end_y) / (x(ridge * 0.1) - end_x)
    begin_x = frame.left
    begin_y = end_y + rise * (begin_x - end_x)
    if begin_y > frame.bottom:
        begin_x, begin_y = end_x + (frame.bottom - end_y) / rise, frame.bottom
    colour = tier_colour(roof.name)
    yield path([(begin_x, begin_y), (end_x, end_y)], stroke=colour, stroke_width="2.4", fill="none")
    angle = math.degrees(math.atan(rise))
    at_x = begin_x + min(14.0, (end_x - begin_x) / 3)
    at_y = begin_y + rise * (at_x - begin_x)
    turn = f"rotate({angle:.2f} {at_x:.1f} {at_y:.1f})"
    yield text(at_x, at_y - 7, roof.label, transform=turn, font_weight="600", **_HALO)


def _dot(point: Point, x: Scale, y: Scale, filled: bool, label: str) -> Element:
    colour, radius = tier_colour(point.tier), 2.5 + 11 * math.sqrt(point.share)
    tip = (
        f"{point.name} ({point.kernels:,} x, {label}) at {point.tier}: {_plain(point.intensity)} FLOP/B, "
        f"{show_rate(point.rate)}, {show_ticks(point.ticks)}, {percent(point.share)} of kernel time"
    )
    style = {"fill": colour, "fill-opacity": "0.55" if filled else "0", "stroke": colour, "stroke-width": "1.5"}
    place = {"cx": x(point.intensity), "cy": y(point.rate), "r": radius}
    return el("circle", {**place, **style, "pointer-events": "all"}, el("title", None, tip))


def _arrows(before: Iterable[Point], after: Iterable[Point], x: Scale, y: Scale) -> Iterable[Element]:
    """From the first run as a whole to the last, at each tier."""
    ends = {point.tier: point for point in after}
    for point in before:
        if point.tier not in ends:
            continue
        a = (x(point.intensity), y(point.rate))
        b = (x(ends[point.tier].intensity), y(ends[point.tier].rate))
        length = math.dist(a, b)
        if length < 24:
            continue
        way = ((b[0] - a[0]) / length, (b[1] - a[1]) / length)
        begin = (a[0] + way[0] * 9, a[1] + way[1] * 9)
        tip = (b[0] - way[0] * 10, b[1] - way[1] * 10)
        wings = [(tip[0] - way[0] * 9 - s * way[1] * 5, tip[1] - way[1] * 9 + s * way[0] * 5) for s in (1, -1)]
        yield line(*begin, tip[0] - way[0] * 6, tip[1] - way[1] * 6, stroke_width="2")
        yield path([tip, *wings], close=True, fill="currentColor")


def _wholes(points: Iterable[Point], x: Scale, y: Scale, frame: Frame, filled: bool) -> Iterable[Element]:
    """A whole run as a diamond at each tier, with its name at the last."""
    places = list(points)
    last = places[-1] if places else None
    for point in places:
        a, b = x(point.intensity), y(point.rate)
        diamond = [(a, b - 8), (a + 8, b), (a, b + 8), (a - 8, b)]
        fill = tier_colour(point.tier) if filled else "var(--ground, #fff)"
        tip = f"{point.name}, all kernels at {point.tier}: {_plain(point.intensity)} FLOP/B, {show_rate(point.rate)}"
        mark = path(diamond, close=True, fill=fill, stroke="currentColor", stroke_width="1.8")
        mark.append(el("title", None, tip))
        yield mark
        if point is not last:
            continue
        name = point.name.split(" on ")[0].split(" (")[0]
        if filled:
            late = a > frame.right - 130
            anchor, shift = ("end", -13) if late else ("start", 13)
            yield text(a + shift, b + 5, name, anchor, font_weight="600", **_HALO)
        else:  # below: the arrow to the other run begins at its side
            yield text(a, b + 24, name, "middle", font_weight="600", **_HALO)


def _rate(value: float) -> str:
    """A rate without its unit, which stands above the axis."""
    return show_rate(value).removesuffix("FLOP/s").strip()


def _plain(value: float) -> str:
    """A ratio in few digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
