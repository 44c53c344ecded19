"""Work, bytes and time by class of operator, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hiersim.movement import ClassRow
from hiersim.results import Result
from hiersim.units import show_bytes, show_flops, show_ticks
from hiersim.views.tables import percent, plain_table, where

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS: Final = ("operators", "kernels", "FLOPs", "", "bytes", "", "time", "")


def classes_table(result: Result, rows: tuple[ClassRow, ...]) -> Table:
    """One row per class, with its shares, and their sums."""
    table = plain_table(title=f"classes of operators of {result.trace.name}, {result.fusion}, on {where(result)}")
    table.add_column("class", no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    flops, moved, ticks = (sum(getattr(row, name) for row in rows) for name in ("flops", "moved_bytes", "ticks"))
    for row in rows:
        table.add_row(
            row.operator_class.value, str(row.operators), str(row.kernels),
            show_flops(row.flops), percent(row.flops / max(flops, 1)),
            show_bytes(row.moved_bytes), percent(row.moved_bytes / max(moved, 1)),
            show_ticks(row.ticks), percent(row.ticks / max(ticks, 1)),
        )  # fmt: skip
    operators, kernels = sum(row.operators for row in rows), sum(row.kernels for row in rows)
    table.add_row(
        "all", str(operators), str(kernels), show_flops(flops), "", show_bytes(moved), "", show_ticks(ticks), ""
    )
    return table
