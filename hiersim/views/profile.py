"""Predicted beside measured, as a table: of a replay of a trace that carries a profiler's times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hiersim.measured_times import measured_times
from hiersim.results import Result
from hiersim.units import Ticks, show_ticks
from hiersim.views.tables import plain_table

if TYPE_CHECKING:
    from rich.table import Table


def profile_table(result: Result, most: int = 20) -> Table | None:
    """The operators that took longest; None where nothing was measured, or kernels are not those of the profile."""
    measured = measured_times(result.trace, result.graph, result.program, result.timeline)
    if measured is None or not measured["rows"]:
        return None
    table = plain_table(
        title=f"predicted ({result.design.name}) against measured ({measured['device'] or 'a profile'})"
    )
    for heading in ("operator", "count", "measured", "predicted", "predicted ÷ measured"):
        table.add_column(heading, justify="left" if heading == "operator" else "right", overflow="fold")
    rows = measured["rows"]
    for row in rows[:most]:
        _add(table, row["operator"] + ("" if row["predictable"] else " (unknown)"), row)
    if len(rows) > most:
        _add(table, f"{len(rows) - most} more", _total(rows[most:]))
    known = [row for row in rows if row["predictable"]]
    _add(table, "all with a cost formula", _total(known))
    if len(known) < len(rows):
        _add(table, "all others (unknown)", _total([row for row in rows if not row["predictable"]]))
    return table


def profile_line(result: Result) -> str | None:
    """The profile in a sentence."""
    profile = result.trace.measured
    if profile is None:
        return None
    return (
        f"measured{f' on {profile.device}' if profile.device else ''}: kernel time {show_ticks(profile.kernel_time)} "
        f"in {show_ticks(profile.span)}, device idle {profile.idle_share:.1%}"
    )


def _add(table: Table, name: str, row: dict[str, Any]) -> None:
    measured, predicted = row["measured_ticks"], row["predicted_ticks"]
    ratio = f"{predicted / measured:.2f}" if measured else "-"
    table.add_row(name, str(row["operators"]), show_ticks(Ticks(measured)), show_ticks(Ticks(predicted)), ratio)


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: sum(row[key] for row in rows) for key in ("operators", "measured_ticks", "predicted_ticks")}
