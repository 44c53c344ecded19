"""Tables of a calibration: the fitted values with their ranges, and errors before, after and held out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from hiersim.calibration.calibrate import Calibration, ClassErrors
from hiersim.calibration.write import quantity
from hiersim.errors import one_line
from hiersim.validation.accuracy import Accuracy
from hiersim.views.tables import percent, plain_table

if TYPE_CHECKING:
    from rich.table import Table

KEY: Final = (
    "MAPE: mean of |predicted / measured - 1|; median: its median; geo: geometric mean of predicted / measured; "
    "held out: by fits that had not seen the row; range: 95 %, rows independent"
)


def heading(calibration: Calibration) -> str:
    """What was fitted to what, in one line."""
    total, files = calibration.total, ", ".join(calibration.files)
    device = f" on {calibration.device}" if calibration.device else ""
    return one_line(f"{calibration.base.name} fitted to {total.after.n} rows of {files}{device}")


def tables(calibration: Calibration) -> Iterator[Table]:
    """Values, errors, and what was left out."""
    yield _values(calibration)
    yield _errors(calibration)
    for title, rows in (
        ("left as it is", list(calibration.left.items())),
        ("not replayed", [(reason, str(count)) for reason, count in calibration.skipped.items()]),
    ):
        if rows:
            table = plain_table(title)
            table.add_column("", no_wrap=title == "left as it is")
            table.add_column("", justify="left")
            for first, second in rows:
                _add(table, first, second)
            yield table


def _values(calibration: Calibration) -> Table:
    table = plain_table("fitted values")
    table.add_column("value", no_wrap=True)
    for name in ("before", "after", "range", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for row in calibration.parameters:
        before, after, low, high = (
            quantity(calibration, row.path, value) for value in (row.before, row.after, row.low, row.high)
        )
        _add(table, row.path, before, after, f"{low} … {high}", "at its bound" if row.at_bound else "")
    return table


def _errors(calibration: Calibration) -> Table:
    table = plain_table("errors before → after → held out")
    table.add_column("class", overflow="fold")
    for name in ("n", "MAPE", "median", "geo"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in calibration.classes:
        columns = [_three(row, name) for name in ("mape", "median_error", "geo")]
        _add(table, row.name, str(row.after.n), *columns)
    return table


def _three(row: ClassErrors, name: str) -> str:
    def cell(found: Accuracy | None) -> str:
        if found is None:
            return "–"
        value = float(getattr(found, name))
        return f"{value:.2f}" if name == "geo" else percent(value)

    return " → ".join(cell(found) for found in (row.before, row.after, row.held_out))


def _add(table: Table, *cells: str) -> None:
    from rich.markup import escape

    table.add_row(*(escape(one_line(cell)) for cell in cells))
