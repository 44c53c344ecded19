"""What interactive plots share: a figure, axes whose figures carry units, and colours with hatches."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Any, Final

from hiersim.units import TICKS_PER_SECOND, show_capacity
from hiersim.views.palette import HATCHES, cause_colour

PATTERNS: Final = {"plain": "", "dots": ".", "rise": "/", "cross": "x"}
"""Hatch → how plotly writes it."""
_MARGIN: Final = {"l": 70, "r": 20, "t": 50, "b": 55}


def chart(title: str, height: int = 480, **layout: Any) -> Any:
    """An empty figure."""
    from plotly import graph_objects as go

    fig = go.Figure()
    fig.update_layout(title=plain(title), template="plotly_white", height=height, margin=_MARGIN, **layout)
    return fig


def plain(words: str) -> str:
    """Words that plotly shows as they are: it takes what looks like markup for markup."""
    return html.escape(words, quote=False)


def seconds(ticks: float) -> float:
    """Ticks as the time axes take them."""
    return float(ticks) / TICKS_PER_SECOND


def time_axis(title: str = "time") -> dict[str, Any]:
    """Seconds with a prefix."""
    return {"title": title, "tickformat": "~s", "ticksuffix": "s"}


def bytes_axis(title: str) -> dict[str, Any]:
    """Bytes with a prefix, from zero."""
    return {"title": title, "tickformat": "~s", "ticksuffix": "B", "rangemode": "tozero"}


def capacity_axis(title: str, sizes: Iterable[int]) -> dict[str, Any]:
    """Powers of two, named in binary units; at most about nine of them."""
    found = list(sizes)
    low, high = math.floor(math.log2(min(found))), math.ceil(math.log2(max(found)))
    marks = [2**power for power in range(low, high + 1, max(-((low - high) // 8), 1))]
    return {"title": title, "type": "log", "tickvals": marks, "ticktext": [show_capacity(mark) for mark in marks]}


def level(fig: Any, capacity: int, words: str, colour: str, dash: str = "solid") -> None:
    """An upright line at a place of a logarithmic axis, named above it; annotations take the power of ten."""
    fig.add_vline(x=capacity, line_color=colour, line_dash=dash)
    fig.add_annotation(
        x=math.log10(capacity), y=1, yref="paper", yanchor="bottom", text=words, showarrow=False, font={"color": colour}
    )


def log_range(low: float, high: float) -> list[float]:
    """The range of a logarithmic axis."""
    return [math.log10(low), math.log10(high)]


def cause_marker(entry: str, tier: str | None) -> dict[str, Any]:
    """Colour and hatch of a ledger entry, as bars take them."""
    shape = PATTERNS[HATCHES.get(entry, "plain")]
    return {
        "color": cause_colour(entry, tier),
        "line": {"color": "white", "width": 0.5},
        "pattern": {"shape": shape, "fgcolor": "white", "size": 6},
    }
