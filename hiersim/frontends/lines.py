"""JSON lines within limits: plain or gzip, one object per line, decompressed piece by piece."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

from hiersim.errors import TraceError

MAX_TEXT: Final = 32 * 2**20
MAX_LINE: Final = 2**20
MAX_BLANK: Final = 1000


class Reporter(Protocol):
    """Raises a fault at the present line."""

    def fail(self, problem: str, key: str | None = None, expected: str | None = None) -> NoReturn:
        """Never returns."""


def lines(path: Path, file: str) -> Iterator[str]:
    """Lines of the file, decompressed piece by piece within limits."""
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    total = number = 0
    with gzip.open(path, "rb") if packed else path.open("rb") as stream:
        while raw := stream.readline(MAX_LINE + 1):
            number, total = number + 1, total + len(raw)
            if len(raw) > MAX_LINE:
                raise TraceError("is longer than 1 MiB", file=file, line=number, expected="one row per line")
            if total > MAX_TEXT:
                raise TraceError(
                    "unpacks to more than 32 MiB", file=file, line=number,
                    expected="the compact form (.npz) for large traces",
                )  # fmt: skip
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise TraceError(
                    f"is not UTF-8 text at byte {error.start}", file=file, line=number, expected="JSON lines"
                ) from None


def parse(text: str, reader: Reporter) -> dict[str, Any]:
    """One JSON object; every fault is reported at the reader's line."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(items)
        if len(row) < len(items):
            again = Counter(key for key, _ in items).most_common(1)[0][0]
            reader.fail("is there twice", key=again, expected="each key once")
        return row

    def constant(name: str) -> NoReturn:
        reader.fail(f"{name} is not a number", expected="a finite number")

    try:
        row = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        reader.fail(f"is not JSON at column {error.colno}: {error.msg}", expected="one JSON object per line")
    except (RecursionError, ValueError):
        reader.fail("is nested too deeply or holds an endless number", expected="one flat JSON object per line")
    if not isinstance(row, dict):
        reader.fail("is not an object", expected='{"tensor": …} or {"operator": …}')
    return row
