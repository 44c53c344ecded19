"""The memory wall by year."""

from __future__ import annotations

from typing import Any, Final

from hiersim.views.interactive.style import chart
from hiersim.views.series.wall import Wall

_SYMBOLS: Final = ("circle", "square", "triangle-up", "x")


def wall_chart(data: Wall | None, title: str) -> Any:
    """Each quantity relative to its first value, and its trend; devices are named below the pointer."""
    fig = chart(title, 540)
    for growth, symbol in zip(data.growths if data is not None else (), _SYMBOLS, strict=False):
        fig.add_scatter(
            x=list(growth.years), y=list(growth.values), mode="markers", name=growth.words,
            marker={"color": growth.colour, "symbol": symbol, "size": 9}, hoverinfo="text",
            hovertext=[
                f"{label}, {year}: {value:,.3g} x"
                for label, year, value in zip(growth.labels, growth.years, growth.values, strict=True)
            ],
        )  # fmt: skip
        if growth.trend is not None:
            years, ends = zip(*growth.trend, strict=True)
            line = {"color": growth.colour, "width": 1.6}
            fig.add_scatter(x=years, y=ends, mode="lines", line=line, showlegend=False, hoverinfo="skip")
    fig.update_xaxes(title="year", dtick=1)
    fig.update_yaxes(title=f"relative to {data.baseline}" if data is not None else "relative", type="log", dtick=1)
    return fig
