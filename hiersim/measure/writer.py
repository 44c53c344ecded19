"""Appends rows of measured times to a file, each whole or not at all, so that a run that is cut keeps what it has."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, fields
from enum import Enum
from types import TracebackType
from typing import Any

from hiersim.errors import MeasurementError
from hiersim.frontends.measured import FORMAT, ROWS, VERSION, MeasuredHeader


class Writer:
    """An open file of measured times; one `write` per row. A run that fails before its first row leaves no file."""

    def __init__(self, path: str, header: MeasuredHeader) -> None:
        if path.endswith(".gz"):
            raise MeasurementError(
                "would lose rows when a run is cut",
                file=path,
                expected="a name in .jsonl; gzip the file when it is done",
            )
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except OSError as error:
            expected = "a new name: measured times are never overwritten" if os.path.exists(path) else "a file to write"
            raise MeasurementError(f"cannot be written: {error.strerror}", file=path, expected=expected) from None
        self.path = path
        self._rows = 0
        self._append({"format": FORMAT, "version": VERSION, **_plain(header)})

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
        if error is not None and not self._rows:
            os.unlink(self.path)

    def write(self, row: Any) -> None:
        """Append a `Case`, `MeasuredTime`, … (a value of `hiersim.frontends.measured.ROWS`)."""
        kind = next(name for name, table in ROWS.items() if type(row) is table)
        self._append({"row": kind, **_plain(row)})
        self._rows += 1

    def _append(self, row: Mapping[str, Any]) -> None:
        data = (json.dumps(row, separators=(",", ":"), allow_nan=False) + "\n").encode()
        written = os.write(self._file, data)
        if written != len(data):
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise MeasurementError("has no room for another row", file=self.path, expected="space on the disk")


def _plain(row: Any) -> dict[str, Any]:
    """The fields that differ from their defaults; times with six digits."""
    found: dict[str, Any] = {}
    for item in fields(row):
        value = getattr(row, item.name)
        if item.name == "line" or (item.default is not MISSING and value == item.default):
            continue
        if item.default_factory is not MISSING and not value:
            continue
        found[item.name] = _value(value)
    return found


def _value(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _value(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_value(entry) for entry in value]
    return value
