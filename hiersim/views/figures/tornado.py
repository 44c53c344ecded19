"""What a better or worse part would change, drawn as a tornado: what matters most is widest and on top."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from hiersim.views.figures.canvas import NARROW, Frame, faint, figure, line, linear, rule, text
from hiersim.views.markup import el
from hiersim.views.palette import HBM, HOST
from hiersim.views.series.parts import part_words
from hiersim.what_ifs import FACTOR, WhatIf

_ROW = 30
FASTER = HBM
SLOWER = HOST


def tornado_figure(items: Sequence[WhatIf], width: float) -> Element:
    """Per part a bar to the left for the time it gives back when better, to the right for what it costs when worse."""
    narrow = width <= NARROW
    label = 118 if narrow else 170
    frame = Frame(left=label, top=34, right=width - 8, bottom=34 + _ROW * len(items))
    gains = [100 * item.returned for item in items]
    losses = [100 * (item.lost or 0.0) for item in items]
    room = 58
    scale = linear(-max(max(gains), 1.0), max(max(losses), 1.0), frame.left + room, frame.right - room)
    zero = scale(0)
    children: list[Element] = [
        text(zero - 8, 14, "faster: twice as good", "end", font_weight="600"),
        text(zero + 8, 14, "slower: half as good", font_weight="600"),
    ]
    for row, item in enumerate(items):
        y = frame.top + row * _ROW
        children.append(rule(0, y + _ROW - 4, frame.right, y + _ROW - 4))
        children.append(text(0, y + 16, part_words(item)))
        children += _bar(scale, -gains[row], y, FASTER, f"{part_words(item)}, twice as good")
        children += _bar(scale, losses[row], y, SLOWER, f"{part_words(item)}, half as good")
    children.append(line(zero, frame.top - 8, zero, frame.bottom, stroke_width="1.2"))
    told = "; ".join(f"{part_words(item)} {_signed(-gain)}" for item, gain in zip(items, gains, strict=True))
    words = f"Change of time with each part {FACTOR} times as good: {told}."
    return figure(width, frame.bottom + 6, words, *children)


def _bar(scale: object, value: float, y: float, colour: str, tip: str) -> list[Element]:
    begin, end = sorted((scale(0), scale(value)))  # type: ignore[operator]
    bar = el("rect", {"x": begin, "y": y + 3, "width": max(end - begin, 0.8), "height": _ROW - 11, "fill": colour})
    bar.append(el("title", None, f"{tip}: {_signed(value)} time"))
    left = value < 0
    place = (begin - 6, "end") if left else (end + 6, "start")
    return [bar, faint(place[0], y + 17, _signed(value), place[1])]


def _signed(change: float) -> str:
    """A change of time in percent."""
    if abs(change) < 0.05:
        return "±0 %"
    return f"{'+' if change > 0 else '−'}{abs(change):.1f} %"
