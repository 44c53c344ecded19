"""What every figure is drawn on: a frame with scales, axes and text. All takes the colour of the page's text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree.ElementTree import Element

from hiersim.views.markup import Child, el
from hiersim.views.palette import HATCHES, cause_colour

WIDE: Final = 960
NARROW: Final = 400
"""Units across: a figure is drawn for screens of two widths, and never shrunk until it cannot be read."""
FONT: Final = 12.5
GAP: Final = 5
Scale = Callable[[float], float]
Shown = Callable[[Any], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The rectangle between the axes."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Units across."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Units from top to bottom."""
        return self.bottom - self.top


def figure(width: float, height: float, label: str, *children: Child) -> Element:
    """The whole drawing; `label` is what a screen reader says of it."""
    return el(
        "svg",
        {
            "viewBox": f"0 0 {width:g} {height:g}",
            "role": "img",
            "aria-label": label,
            "font-size": FONT,
            "class": "figure",
            "width": "100%",
        },
        *children,
    )


def linear(low: float, high: float, begin: float, end: float) -> Scale:
    """Values from `low` to `high` as places from `begin` to `end`."""
    span = (high - low) or 1.0
    return lambda value: begin + (value - low) / span * (end - begin)


def logarithmic(low: float, high: float, begin: float, end: float) -> Scale:
    """The same with equal ratios at equal distances."""
    inner = linear(math.log10(low), math.log10(high), begin, end)
    return lambda value: inner(math.log10(max(value, low * 1e-3)))


def nice_ticks(high: float, most: int = 5) -> list[float]:
    """Round values from zero to `high`."""
    if high <= 0:
        return [0.0]
    rough = high / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [step * index for index in range(int(high / step + 1e-9) + 1)]


def powers(low: float, high: float, base: int = 10, most: int = 7) -> list[float]:
    """Powers of `base` from `low` to `high`, at most so many."""
    first, last = math.ceil(math.log(low, base) - 1e-9), math.floor(math.log(high, base) + 1e-9)
    stride = max(1, -(-(last - first + 1) // most))
    return [float(base) ** exponent for exponent in range(first, last + 1, stride)]


def _named(attributes: dict[str, Any]) -> dict[str, Any]:
    """Python's names as SVG writes them: `stroke_width`, `class_`."""
    return {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}


def text(x: float, y: float, words: str, anchor: str = "start", **attributes: Any) -> Element:
    """Words at a place; attributes are given with underscores."""
    named = _named(attributes)
    return el("text", {"x": x, "y": y, "text-anchor": anchor, "fill": "currentColor", **named}, words)


def faint(x: float, y: float, words: str, anchor: str = "start", **attributes: Any) -> Element:
    """Words that stand back."""
    return text(x, y, words, anchor, fill_opacity="0.72", **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: Any) -> Element:
    """A line; attributes are given with underscores."""
    named = _named(attributes)
    return el("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "stroke": "currentColor", **named})


def rule(x1: float, y1: float, x2: float, y2: float) -> Element:
    """A line of the grid."""
    return line(x1, y1, x2, y2, stroke_opacity="0.14", stroke_width="1")


def path(points: Sequence[tuple[float, float]], close: bool = False, **attributes: Any) -> Element:
    """A broken line through points."""
    steps = " ".join(f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(points))
    named = _named(attributes)
    return el("path", {"d": steps + ("Z" if close else ""), **named})


def axis_x(frame: Frame, scale: Scale, ticks: Iterable[float], show: Shown, title: str) -> list[Element]:
    """Rules and figures along the bottom."""
    found: list[Element] = []
    for tick in ticks:
        x = scale(tick)
        found.append(rule(x, frame.top, x, frame.bottom))
        anchor = "end" if x > frame.right - 2 * GAP else "middle"
        found.append(faint(x, frame.bottom + 17, show(tick), anchor))
    found.append(faint(frame.right, frame.bottom + 35, title, "end"))
    return found


def axis_y(frame: Frame, scale: Scale, ticks: Iterable[float], show: Shown, title: str) -> list[Element]:
    """Rules and figures along the left; the title stands above them, to be read without turning one's head."""
    found: list[Element] = [faint(0, frame.top - 12, title)]
    for tick in ticks:
        y = scale(tick)
        found.append(rule(frame.left, y, frame.right, y))
        found.append(faint(frame.left - 8, y + 4, show(tick), "end"))
    return found


def hatches() -> Element:
    """The patterns that figures lay over colours; a page holds them once."""

    def pattern(name: str, side: int, *children: Element) -> Element:
        attributes = {"id": f"hiersim-{name}", "width": side, "height": side, "patternUnits": "userSpaceOnUse"}
        return el("pattern", attributes, *children)

    def stroke(way: str) -> Element:
        return el("path", {"d": way, "stroke": "#fff", "stroke-opacity": "0.75", "stroke-width": "1.4"})

    rise = "M-1 7L7 -1M-1 1L1 -1M5 7L7 5"
    fall = "M-1 -1L7 7M5 -1L7 1M-1 5L1 7"
    dot = el("circle", {"cx": "2.5", "cy": "2.5", "r": "1.1", "fill": "#fff", "fill-opacity": "0.85"})
    return el(
        "svg",
        {"width": 0, "height": 0, "class": "hatches", "aria-hidden": "true"},
        el(
            "defs",
            None,
            pattern("rise", 6, stroke(rise)),
            pattern("cross", 6, stroke(rise), stroke(fall)),
            pattern("dots", 5, dot),
        ),
    )


def swatch(
    x: float, y: float, width: float, height: float, entry: str, tier: str | None, tip: str = ""
) -> list[Element]:
    """A piece of a bar: the colour of whom to blame, and over it the hatch of the entry."""
    place = {"x": x, "y": y, "width": max(width, 0.0), "height": height}
    title = el("title", None, tip) if tip else None
    found = [el("rect", {**place, "fill": cause_colour(entry, tier)}, title)]
    hatch = HATCHES.get(entry, "plain")
    if hatch != "plain":
        over = el("title", None, tip) if tip else None
        found.append(el("rect", {**place, "fill": f"url(#hiersim-{hatch})"}, over))
    return found


def key(entry: str, tier: str | None) -> Element:
    """A swatch for a legend."""
    attributes = {"viewBox": "0 0 14 14", "width": 14, "height": 14, "aria-hidden": "true", "class": "key"}
    return el("svg", attributes, *swatch(0, 0, 14, 14, entry, tier))


def plain_key(colour: str) -> Element:
    """A swatch of one colour."""
    attributes = {"viewBox": "0 0 14 14", "width": 14, "height": 14, "aria-hidden": "true", "class": "key"}
    return el("svg", attributes, el("rect", {"width": 14, "height": 14, "fill": colour}))


def shortened(words: str, width: float, font: float = FONT) -> str:
    """Words cut to a width, by the breadth of an average letter."""
    room = max(int(width / (font * 0.56)), 1)
    return words if len(words) <= room else words[: max(room - 1, 1)] + "…"
