"""Rows of CSV and Parquet files with names for every fault, and files of measured times made of them."""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, NoReturn

from hiersim.errors import HiersimError, MeasurementError, MissingExtraError, nearest
from hiersim.frontends.lines import lines
from hiersim.frontends.measured import Case, Counted, Measured, MeasuredHeader, MeasuredTime, Skipped

LARGEST_SIZE: Final = 2**40


class Row:
    """One row of a table; every fault names file, line and column."""

    __slots__ = ("file", "line", "values")

    def __init__(self, file: str, line: int, values: Mapping[str, Any]) -> None:
        self.file, self.line, self.values = file, line, values

    def fail(self, problem: str, key: str | None = None, expected: str | None = None) -> NoReturn:
        """Raise a fault at this row."""
        raise MeasurementError(problem, file=self.file, line=self.line, key=key, expected=expected)

    def text(self, key: str) -> str:
        """A text, without spaces around it."""
        return str(self.values[key]).strip()

    def choice(self, key: str, choices: Sequence[str] | Mapping[str, Any]) -> str:
        """One of `choices`."""
        text = self.text(key)
        if text not in choices:
            self.fail(f"'{text[:40]}' is not known here", key, nearest(text, choices))
        return text

    def size(self, key: str) -> int:
        """A whole number above 0."""
        number = self._number(key)
        if number != int(number) or not 0 < number < LARGEST_SIZE:
            self.fail(f"'{self.text(key)[:40]}' is no size", key, "a whole number, 1 … 2^40")
        return int(number)

    def count(self, key: str) -> int:
        """A whole number, 0 or more."""
        return 0 if self._number(key) == 0 else self.size(key)

    def positive(self, key: str) -> float:
        """A number above 0."""
        number = self._number(key)
        if not 0 < number < LARGEST_SIZE:
            self.fail(f"'{self.text(key)[:40]}' is out of range", key, "a number above 0")
        return number

    def _number(self, key: str) -> float:
        try:
            number = float(self.text(key))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"'{self.text(key)[:40]}' is no number", key, "a number")
        return number


def csv_rows(path: Path, needed: Sequence[str] = (), names: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of a CSV file, plain or gzip; `names` are the columns of a file without a first line of names.

    Raises
    ------
    MeasurementError
        A column that is `needed` and missing, rows of other lengths, no rows, or what cannot be read.
    """
    file = str(path)
    try:
        text = lines(path, file)
        found = list(names) or [name.strip() for name in next(csv.reader(islice(text, 1)), [])]
        for name in needed:
            if name not in found:
                expected = f"columns {', '.join(needed)}"
                raise MeasurementError("is missing", file=file, line=1, key=name, expected=expected)
        line = 0
        for line, values in enumerate(csv.reader(text), start=1 if names else 2):
            if len(values) != len(found):
                expected = f"{len(found)}: {', '.join(found[:8])}"
                raise MeasurementError(f"has {len(values)} columns", file=file, line=line, expected=expected)
            yield Row(file, line, dict(zip(found, values, strict=True)))
        if not line:
            raise MeasurementError("holds no rows", file=file, expected="at least one row")
    except MeasurementError:
        raise
    except HiersimError as error:  # limits of lines are those of traces
        raise MeasurementError(error.problem, file=error.file, line=error.line, expected="rows of CSV") from None
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MeasurementError(f"cannot be read: {reason}", file=file, expected="CSV, plain or gzip") from None


def parquet_rows(path: Path, needed: Sequence[str]) -> Iterator[Row]:
    """Rows of a Parquet file.

    Raises
    ------
    MissingExtraError
        Without pyarrow.
    MeasurementError
        A column that is `needed` and missing, or what cannot be read.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingExtraError(f"reading {path.name}", "pyarrow", "parquet") from None
    file = str(path)
    try:
        table = parquet.read_table(path)
    except (OSError, ArrowException) as error:
        raise MeasurementError(f"cannot be read: {error}", file=file, expected="Parquet") from None
    for name in needed:
        if name not in table.schema.names:
            raise MeasurementError("is missing", file=file, key=name, expected=f"columns {', '.join(needed)}")
    for line, values in enumerate(table.to_pylist(), start=1):
        yield Row(file, line, values)


class Sheaf:
    """Cases and times of one device, as they are read."""

    def __init__(
        self,
        device: str,
        command: str,
        date: str,
        notes: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        torch: str = "",
    ) -> None:
        self.header = MeasuredHeader(
            date=date, command=command, device={"kind": "cuda", "name": device}, host={},
            software={"torch": torch} if torch else {}, settings=settings or {}, notes=tuple(notes),
        )  # fmt: skip
        self._seen: dict[str, int] = {}
        self.cases: dict[str, Case] = {}
        self.times: list[MeasuredTime] = []
        self.counters: list[Counted] = []
        self.skipped: list[Skipped] = []

    def add(self, case: Case, seconds: float, *, clock: str, cache: str, n: int = 1) -> None:
        """A case with its time in eager mode; one that has the name of another gets a name of its own."""
        self.time(self.fresh(case), seconds, clock=clock, cache=cache, n=n)

    def time(self, case: Case, seconds: float, *, clock: str, cache: str, mode: str = "eager", n: int = 1) -> None:
        """A further time of a case that is there."""
        self.times.append(
            MeasuredTime(
                case=case.case, mode=mode, cache=cache, clock=clock, n=n, min_s=seconds, p10_s=seconds,
                p25_s=seconds, median_s=seconds, p75_s=seconds, p90_s=seconds,
            )
        )  # fmt: skip

    def count(self, case: Case, moved_bytes: int, cache: str) -> None:
        """Bytes that a case moved at the device memory, read and written together."""
        self.counters.append(
            Counted(
                case=case.case, mode="eager", cache=cache, dram_bytes=moved_bytes,
                kernels=tuple(row["operator"] for row in case.rows if "operator" in row),
            )
        )  # fmt: skip

    def skip(self, case: Case, why: str) -> None:
        """A case whose time says nothing of the device."""
        self.skipped.append(Skipped(case=self.fresh(case).case, why=why))

    def fresh(self, case: Case) -> Case:
        """Take a case without its time."""
        self._seen[case.case] = count = self._seen.get(case.case, 0) + 1
        own = case if count == 1 else replace(case, case=f"{case.case},again={count}")
        self.cases[own.case] = own
        return own

    def measured(self) -> Measured:
        """All that was read."""
        return Measured(
            header=self.header, cases=self.cases, times=tuple(self.times), counters=tuple(self.counters),
            skipped=tuple(self.skipped),
        )  # fmt: skip
