"""Sweeps as tables for terminals: axes that vary, a few figures or those that were asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hiersim.sweeps.columns import cell
from hiersim.sweeps.grid import Axis
from hiersim.sweeps.rows import ERROR
from hiersim.sweeps.table import Sweep
from hiersim.units import (
    show_bandwidth,
    show_bytes,
    show_capacity,
    show_flops,
    show_frequency,
    show_rate,
    show_seconds,
    show_ticks,
)
from hiersim.views.tables import dollars, percent, plain_table

if TYPE_CHECKING:
    from rich.table import Table

FIGURES: Final = ("time_s", "stall_fraction", "utilization.overall")
"""What a table shows of every sweep, with the traffic of home tiers, the price and the energy where they are known."""
HEADS: Final = {
    "time_s": "time", "stall_fraction": "stalled", "utilization.overall": "utilization",
    "memory_cost_usd.total": "memory cost", "energy_j.total": "energy",
}  # fmt: skip
MOST_ROWS: Final = 60
_SHOWN: Final[dict[str, Callable[[Any], str]]] = {
    "s": show_seconds, "ps": show_ticks, "bytes": show_bytes, "B": show_capacity, "B/s": show_bandwidth,
    "FLOP": show_flops, "FLOP/s": show_rate, "Hz": show_frequency, "0-1": percent, "$": dollars,
    "J": lambda joules: f"{joules:.4g} J",
}  # fmt: skip
_LONG: Final = re.compile(r"\d{6,} (B|B/s|ps|FLOP/s|Hz)", re.ASCII)
"""What a range writes of a value that has no short name: `7812500 B`."""


def figures(sweep: Sweep) -> list[str]:
    """The figures that a table shows when none are asked for: those that some row has."""
    homes = dict.fromkeys(f"traffic_bytes.{design['home']}" for design in sweep.about["designs"].values())
    found = [name for name in FIGURES if name in sweep.columns]
    found += [name for name in homes if f"{name}.read" in sweep.columns]
    for name in ("memory_cost_usd.total", "energy_j.total"):
        if name in sweep.columns and not np.ma.getmaskarray(sweep.columns[name]).all():
            found.append(name)
    return found


def sweep_table(sweep: Sweep, names: Sequence[str] = (), most: int = MOST_ROWS) -> Table:
    """One row per point: the axes that vary, then the figures; what could not be run says why.

    Parameters
    ----------
    sweep : Sweep
        What to show.
    names : sequence of str
        Figures; those of `figures` when there are none.
    most : int
        Rows, at most.
    """
    axes = [axis for axis in sweep.axes if len(axis) > 1]
    words = [name if f"{name}.read" in sweep.columns else sweep.name(name) for name in names or figures(sweep)]
    shown = list(dict.fromkeys(words))
    table = plain_table(_title(sweep))
    for axis in axes:
        table.add_column(axis.name, justify="left" if axis.is_text else "right", overflow="fold")
    for name in shown:
        table.add_column(heading(name), justify="right", overflow="fold")
    lost = len(sweep.failed) > 0
    if lost:
        table.add_column("could not run", overflow="fold")
    columns = [(sweep.values(name), sweep.unit(name)) for name in shown]
    labels = {axis.name: axis_labels(axis) for axis in axes}
    for row in range(min(len(sweep), most)):
        at = sweep.grid.at(int(sweep.points[row]))
        cells = [labels[axis.name][at[axis.name]] for axis in axes]
        cells += [_cell(values, unit, row) for values, unit in columns]
        table.add_row(*cells, *([sweep.columns[ERROR][row] or ""] if lost else []))
    return table


def _title(sweep: Sweep) -> str:
    """What does not vary."""
    fixed = [str(axis.given[0]) for axis in sweep.axes if len(axis) == 1]
    return ", ".join(fixed) or f"{len(sweep):,} points"


def axis_labels(axis: Axis) -> tuple[str, ...]:
    """The values of an axis as people read them: as they were written, but `7.812 MB` for `7812500 B`.

    Exact where fewer digits would make two of them the same; files and JSON always are.
    """
    shown = tuple(
        figure_text(value, axis.unit) if _LONG.fullmatch(text) and not isinstance(value, str) else text
        for text, value in zip(axis.labels, axis.values, strict=True)
    )
    return shown if len(set(shown)) == len(set(axis.labels)) else axis.labels


def heading(name: str) -> str:
    """What a column is called: `time`, `hbm traffic`."""
    word = HEADS.get(name, name)
    group, _, tier = word.partition(".")
    return f"{tier} traffic" if group == "traffic_bytes" and tier and "." not in tier else word


def _cell(values: Any, unit: str, row: int) -> str:
    value = cell(values, row)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, str):
        return value
    return figure_text(value, unit)


def figure_text(value: float, unit: str) -> str:
    """A figure in its unit."""
    return _SHOWN[unit](value) if unit in _SHOWN else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def closing(sweep: Sweep, most: int = MOST_ROWS) -> list[str]:
    """What a table leaves out, in words."""
    lines = []
    if len(sweep) > most:
        lines.append(f"{len(sweep) - most:,} more rows: --csv, --parquet or --netcdf FILE, or --where AXIS=VALUE")
    lost = sweep.failed
    if len(lost):
        lines.append(f"{len(lost):,} of {len(sweep):,} points could not be run; the first: {lost.columns[ERROR][0]}")
    return lines
