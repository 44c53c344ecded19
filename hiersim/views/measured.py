"""Tables of measured times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from hiersim.frontends.measured import Case, Measured, MeasuredTime

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_ORDER: Final = ("profiler", "events", "processor", "wall", "host")
_LAUNCH_ORDER: Final = ("host", "wall", "processor", "events", "profiler")
"""Clocks, the most telling first."""


def print_measured(measured: Measured, constants: Mapping[str, float], console: Console, match: str = "") -> None:
    """Print the header, the host's constants, the models and the cases whose name contains `match`."""
    from rich.table import Table

    header = measured.header
    versions = ", ".join(f"{name} {version}" for name, version in header.software.items())
    console.print(f"{header.device.get('name', '?')}, {header.date}\n{versions}\n{header.command}", markup=False)
    if measured.end is None:
        console.print("the run was cut: the last row is missing")
    if constants:
        table = Table("constant of the host", "time", box=None, header_style="bold")
        for name, seconds in constants.items():
            table.add_row(name, show_seconds(seconds))
        console.print(table)
    if measured.summaries:
        console.print(_models(measured))
    cases = [case for case in measured.cases.values() if case.suite != "model" and match in case.case]
    if cases:
        console.print(_cases(measured, cases))
    if measured.skipped:
        console.print(f"{len(measured.skipped)} not measured, the first: {measured.skipped[0].case}", markup=False)


def _models(measured: Measured) -> Table:
    from rich.table import Table

    own = {(time.case, time.mode): time.median_s for time in measured.times if time.clock == "processor"}
    columns = ("wall", *(["processor"] if own else []), "kernels", "launches", "coverage", "peak")
    table = Table("model", "mode", *columns, box=None, header_style="bold")
    for row in measured.summaries:
        processor = own.get((row.case, row.mode))
        peak = "" if row.peak_bytes is None else f"{row.peak_bytes / 1e9:.2f} GB"
        table.add_row(
            row.case.removeprefix("model/"), row.mode, show_seconds(row.wall_s),
            *([show_seconds(processor) if processor else ""] if own else []), show_seconds(row.kernel_s),
            str(row.launches), f"{row.coverage:.1%}", peak,
        )  # fmt: skip
    return table


def _cases(measured: Measured, cases: list[Case]) -> Table:
    """One line per case and mode: by the most direct clock, with the rates that follow from compulsory bytes."""
    from rich.table import Table

    table = Table("case", "mode", "clock", "warm", "cold", "GB/s", "TFLOP/s", box=None, header_style="bold")
    table.columns[0].overflow = "fold"
    wanted = {case.case: case for case in cases}
    found: dict[tuple[str, str], dict[str, MeasuredTime]] = {}
    for time in measured.times:
        if time.case in wanted:
            best = found.setdefault((time.case, time.mode), {})
            order = _LAUNCH_ORDER if wanted[time.case].suite == "launch" else _ORDER
            if time.cache not in best or order.index(time.clock) < order.index(best[time.cache].clock):
                best[time.cache] = time
    for (name, mode), times in found.items():
        table.add_row(*_cells(wanted[name], mode, times))
    return table


def _cells(case: Case, mode: str, times: Mapping[str, MeasuredTime]) -> Iterator[str]:
    warm, cold = times.get("warm", times.get("as-is")), times.get("cold")
    moved, matrix = case.read_bytes + case.written_bytes, case.flops.get("matrix", 0)
    yield from (case.case, mode, next(iter(times.values())).clock)
    yield from (show_seconds(time.median_s) if time else "" for time in (warm, cold))
    from_memory, computed = cold or warm, warm or cold
    yield f"{moved / from_memory.median_s / 1e9:.4g}" if moved and from_memory else ""
    yield f"{matrix / computed.median_s / 1e12:.4g}" if matrix and computed else ""


def show_seconds(seconds: float) -> str:
    """Four digits and the unit that suits: `12.34 us`."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if abs(seconds) >= factor:
            return f"{seconds / factor:.4g} {unit}"
    return f"{seconds / 1e-9:.4g} ns"
