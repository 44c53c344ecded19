"""Stacked bars of the ledger: of whole runs, true to their length, and of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

from hiersim.units import show_ticks
from hiersim.views.figures.canvas import NARROW, Frame, axis_x, figure, linear, nice_ticks, shortened, swatch, text
from hiersim.views.markup import el
from hiersim.views.series.stalls import Cause, Stack
from hiersim.views.tables import percent, written_cause

_BAR = 30
_ROW = 62
_SMALL_ROW = 24


def cause_words(key: Cause) -> str:
    """A ledger entry in words: `HBM bandwidth`, `launch and set-up`, `useful work`."""
    return "useful work" if key[0] == "useful" else written_cause(key)


def run_bars(stacks: Sequence[Stack], width: float) -> Element:
    """One bar per run, as long as it takes; its name and time above it."""
    longest = max(max((stack.ticks for stack in stacks), default=0), 1)
    frame = Frame(left=0, top=0, right=width - 1, bottom=_ROW * len(stacks))
    scale = linear(0, longest, frame.left, frame.right)
    children: list[Element] = []
    for row, stack in enumerate(stacks):
        y = row * _ROW + 22
        name = text(0, y - 8, "")
        name.append(el("tspan", {"font-weight": "600"}, shortened(stack.label, width * 0.7)))
        name.append(el("tspan", {"dx": 9}, show_ticks(stack.ticks)))
        children.append(name)
        children += _parts(stack, y, _BAR, scale, shares=True)
    told = "; ".join(f"{stack.label}: {show_ticks(stack.ticks)}" for stack in stacks)
    return figure(width, frame.bottom, f"Stacked bars of the time of each run by cause. {told}.", *children)


def layer_bars(stacks: Sequence[Stack], width: float) -> Element:
    """One thin bar per layer in the order in which they run, names before them."""
    longest = max(max((stack.ticks for stack in stacks), default=0), 1)
    most = 110 if width <= NARROW else 230
    label = min(most, 16 + 7.2 * max(len(stack.label) for stack in stacks))
    frame = Frame(left=label, top=0, right=width - 14, bottom=_SMALL_ROW * len(stacks))
    scale = linear(0, longest, frame.left, frame.right)
    ticks = nice_ticks(longest, 3 if width <= NARROW else 6)
    children = axis_x(frame, scale, ticks, lambda value: show_ticks(int(value)), "time")
    for row, stack in enumerate(stacks):
        y = row * _SMALL_ROW + 4
        children.append(text(label - 8, y + 12, _tail(stack.label, label - 8), "end"))
        children += _parts(stack, y, _SMALL_ROW - 8, scale, shares=False)
    return figure(width, frame.bottom + 40, "Stacked bars of the time of each layer by cause.", *children)


def _parts(stack: Stack, y: float, height: float, scale: Callable[[float], float], shares: bool) -> list[Element]:
    found: list[Element] = []
    done, total = 0, max(stack.ticks, 1)
    for (entry, tier), ticks in stack.parts:
        begin, end = scale(done), scale(done + ticks)
        done += ticks
        tip = f"{cause_words((entry, tier))}: {show_ticks(ticks)}, {percent(ticks / total)}"
        found += swatch(begin, y, end - begin, height, entry, tier, tip)
        if shares and end - begin > 54:
            found += _share(begin, y, height, percent(ticks / total))
    return found


def _share(x: float, y: float, height: float, words: str) -> list[Element]:
    """A figure on a bar, on a ground of its own: it can be read on every colour and hatch."""
    wide = 7.1 * len(words) + 8
    ground = el("rect", {"x": x + 6, "y": y + 6, "width": wide, "height": height - 12, "rx": 3, "fill": "#111827"})
    return [ground, text(x + 6 + wide / 2, y + height / 2 + 4.4, words, "middle", fill="#fff", pointer_events="none")]


def _tail(words: str, width: float) -> str:
    """The end of a path, which tells layers apart."""
    cut = shortened(words[::-1], width)
    return cut[::-1]
