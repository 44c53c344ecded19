"""The figures of a run that one looks at first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hiersim.model.timeline import WORK
from hiersim.results.ledger import MAIN_ENGINE
from hiersim.units import show_bytes, show_ticks

if TYPE_CHECKING:
    from hiersim.results.result import Result


def headline(result: Result) -> dict[str, str]:
    """The figures that one looks at first, in words."""
    waits: dict[str, int] = {}
    for row in result.ledger:
        if row.engine == MAIN_ENGINE and row.entry not in [entry.name.lower() for entry in WORK]:
            name = f"{row.tier} {row.entry}" if row.tier else row.entry
            waits[name] = waits.get(name, 0) + row.ticks
    largest = sorted(waits.items(), key=lambda item: (-item[1], item[0]))[:3]
    home = result.design.home.name
    return {
        "time": show_ticks(result.makespan),
        "stalled": f"{100 * result.stall_fraction:.1f} %",
        **{f"… {name}": f"{100 * ticks / max(result.makespan, 1):.1f} %" for name, ticks in largest},
        "utilization": f"{100 * result.utilization['overall']:.1f} %",
        f"{home} traffic": show_bytes(result.home_bytes),
        f"{home} peak": show_bytes(result.peak[home]),
    }
