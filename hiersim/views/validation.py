"""Tables of a validation: errors by class, the worst operators, models, counted bytes, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import geometric_mean
from typing import TYPE_CHECKING, Final

from hiersim.errors import one_line
from hiersim.units import show_bytes
from hiersim.validation.accuracy import Accuracy, Pair, accuracy
from hiersim.validation.validate import WORST, Group, Validation
from hiersim.views.measured import show_seconds
from hiersim.views.tables import percent, plain_table

if TYPE_CHECKING:
    from rich.table import Table

_MODELS: Final = "models: kernels alone, and end to end (*: had not settled, h: host of the design, not measured)"
_SPEED_UPS: Final = "what compilation gains: time eager / time compiled, geometric mean, and errors of it"
_TRAFFIC: Final = "bytes of the device memory: errors of reads, of reads and writes, and sums"
_ERRORS: Final = ("n", "MAPE", "median", "geo", "p90", "roofline")
KEY: Final = (
    "MAPE, p90: mean and 90th percentile of |predicted / measured - 1|; median, geo: of predicted / measured; "
    "roofline: MAPE of max(FLOPs / peak, compulsory bytes / bandwidth) on the same rows"
)


def tables(validation: Validation, worst: int = WORST) -> Iterator[Table]:
    """All tables that have rows, in the order in which `hiersim validate` prints them."""
    if validation.operators:
        yield group_table("operators by class", validation, validation.groups)
        yield group_table("operators by suite", validation, validation.totals)
        if worst:
            yield _worst_table(validation, worst)
    if validation.models:
        yield _model_table(validation)
    if validation.speed_ups:
        yield _speed_up_table(validation)
    if validation.counters:
        yield _traffic_table(validation)
    if validation.skipped:
        yield _skip_table(validation)


def heading(validation: Validation) -> str:
    """What was compared, in one line."""
    places = ", ".join(f"{design} beside {device}" for device, design in validation.machines)
    days = sorted({date[:10] for date in validation.dates})
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return one_line(f"hiersim {validation.version}: {places or 'nothing was replayed'}, measured {span}")


def _columns(table: Table, words: Sequence[str], numbers: Sequence[str]) -> Table:
    for word in words:
        table.add_column(word, overflow="fold")
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    return table


def _add(table: Table, *cells: str) -> None:
    """A row whose cells are shown as they are: names come from files, and may look like markup."""
    from rich.markup import escape

    table.add_row(*(escape(one_line(cell)) for cell in cells))


def _place(validation: Validation) -> tuple[str, ...]:
    """The column that tells devices apart, where there are several."""
    return ("device",) if len(validation.machines) > 1 else ()


def group_table(title: str, validation: Validation, groups: Sequence[Group]) -> Table:
    """Errors of some groups of a validation, with a column of devices where it has several."""
    place = _place(validation)
    table = _columns(plain_table(title), (*place, "suite", "class"), _ERRORS)
    for group in groups:
        _add(table, *(group.device for _ in place), group.suite, group.name, *accuracy_cells(group.accuracy))
    return table


def accuracy_cells(found: Accuracy) -> tuple[str, ...]:
    """Count, MAPE, median and geometric mean of the ratio, 90th percentile, MAPE of the roofline."""
    roofline = "–" if found.roofline_mape is None else percent(found.roofline_mape)
    return (str(found.n), percent(found.mape), f"{found.median:.2f}", f"{found.geo:.2f}", percent(found.p90), roofline)


def _worst_table(validation: Validation, count: int) -> Table:
    numbers = ("kernels", "launched", "predicted", "measured", "ratio")
    rows, place = validation.worst(count), _place(validation)
    table = _columns(plain_table(f"worst {len(rows)} operators"), (*place, "case", "cache"), numbers)
    for row in rows:
        launches = "–" if row.launches is None else str(row.launches)
        mode = row.cache if row.mode == "eager" else f"{row.cache}, {row.mode}"
        _add(table, *(row.device for _ in place), row.case, mode, str(row.kernels), launches, *_pair_cells(row.pair))
    return table


def _pair_cells(pair: Pair) -> tuple[str, str, str]:
    return show_seconds(pair.predicted), show_seconds(pair.measured), f"{pair.ratio:.3g}"


def _model_table(validation: Validation) -> Table:
    numbers = ("kernels", "launched", "device", "measured", "ratio", "wall", "measured", "ratio")
    place = _place(validation)
    table = _columns(plain_table(_MODELS), (*place, "model", "mode"), numbers)
    for row in sorted(validation.models, key=lambda row: (row.device, row.mode, row.model)):
        mode = row.mode + (" *" if not row.stable else "") + (" h" if not row.measured_host else "")
        cells = (*_pair_cells(row.device_time), *_pair_cells(row.wall))
        _add(table, *(row.device for _ in place), row.model, mode, str(row.kernels), str(row.launches), *cells)
    return table


def _speed_up_table(validation: Validation) -> Table:
    place = _place(validation)
    table = _columns(plain_table(_SPEED_UPS), (*place, "suite", "clock"), ("n", "predicted", "measured", "MAPE", "geo"))
    found: dict[tuple[str, str, str], list[Pair]] = {}
    for row in validation.speed_ups:
        found.setdefault((row.device, row.suite, row.clock), []).append(row.pair)
    for (device, suite, clock), pairs in found.items():
        errors = accuracy(pairs)
        gains = (geometric_mean(getattr(pair, side) for pair in pairs) for side in ("predicted", "measured"))
        cells = (str(len(pairs)), *(f"{gain:.2f}" for gain in gains), percent(errors.mape), f"{errors.geo:.2f}")
        _add(table, *(device for _ in place), suite, clock, *cells)
    return table


def _traffic_table(validation: Validation) -> Table:
    numbers = ("n", "MAPE", "median", "both", "read", "counted", "written", "counted", "moved", "counted")
    place = _place(validation)
    table = _columns(plain_table(_TRAFFIC), (*place, "suite", "cache"), numbers)
    for row in validation.traffic:
        errors = ("–", "–") if row.reads is None else (percent(row.reads.mape), f"{row.reads.median:.2f}")
        both = "–" if row.both is None else percent(row.both.mape)
        sums = (
            row.predicted_read, row.counted_read, row.predicted_written, row.counted_written, row.predicted,
            row.counted,
        )  # fmt: skip
        _add(
            table,
            *(row.device for _ in place),
            row.suite,
            row.cache,
            str(row.n),
            *errors,
            both,
            *("–" if size is None else show_bytes(size) for size in sums),
        )
    return table


def _skip_table(validation: Validation) -> Table:
    table = _columns(plain_table("not replayed"), ("reason",), ("n",))
    for reason, count in validation.skipped.items():
        _add(table, reason, str(count))
    return table
