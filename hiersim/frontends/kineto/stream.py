"""Chrome JSON, event by event: a profile of hundreds of megabytes is never in memory as a whole.

Profilers write names of kernels as they find them, so bytes that are no UTF-8 and control characters inside texts
are taken; `NaN` reads as null. Numbers with a decimal point stay exact.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol

from hiersim.errors import TraceError

CHUNK: Final = 2**20
MAX_VALUE: Final = 16 * 2**20
"""Characters of one event, or of one value beside the events."""
MAX_EVENTS: Final = 10_000_000
MAX_BLANK: Final = 2**20
_BLANK: Final = " \t\r\n"
_DECODER: Final = json.JSONDecoder(strict=False, parse_float=Decimal, parse_constant=lambda _: None)


def events(path: Path, file: str, head: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Objects of `traceEvents` (or of a bare list) in the order of the file; other values go to `head`.

    Raises
    ------
    TraceError
        Not JSON, cut off, or a value that no profiler writes.
    """
    try:
        with path.open("rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            yield from _Scanner(stream, file).run(head)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TraceError(f"cannot be read: {reason}", file=file, expected="JSON, plain or gzip") from None
    except ValueError as error:  # a path that no file can have
        raise TraceError(f"cannot be read: {error}", file=file, expected="JSON, plain or gzip") from None


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Scanner:
    """A window of text over the stream."""

    def __init__(self, stream: _Stream, file: str) -> None:
        self.stream = stream
        self.file = file
        self.decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self.text = ""
        self.at = 0
        self.ended = False
        self.line = 1
        self.count = 0

    def fail(self, problem: str, expected: str = "a profile in Chrome JSON") -> TraceError:
        return TraceError(problem, file=self.file, line=self.line, expected=expected)

    def fill(self, size: int = CHUNK) -> None:
        """Drop what is behind, append a chunk."""
        self.line += self.text.count("\n", 0, self.at)
        data = self.stream.read(size)
        self.ended = not data
        self.text = self.text[self.at :] + self.decode(data, self.ended)
        self.at = 0

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        blank = 0
        while True:
            text, at = self.text, self.at
            while at < len(text) and text[at] in _BLANK:
                at += 1
            blank += at - self.at
            self.at = at
            if at < len(text):
                return text[at]
            if blank > MAX_BLANK:
                raise self.fail("holds a megabyte of blanks")
            if self.ended:
                return ""
            self.fill()

    def take(self, wanted: str, where: str) -> None:
        found = self.peek()
        if found != wanted:
            shown = f"'{found}'" if found else "the end of the file"
            raise self.fail(f"has {shown} {where}", expected=f"'{wanted}'")
        self.at += 1

    def value(self) -> Any:
        """The next value; the window grows until it is whole."""
        self.peek()
        size = CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                problem = error.msg
            except (RecursionError, ValueError):
                raise self.fail("holds a value that is nested too deeply or has too many digits") from None
            else:
                if end < len(self.text) or self.ended:
                    self.at = end
                    return value
                problem = ""
            if self.ended:
                raise self.fail(f"ends inside a value or is no JSON: {problem}")
            if len(self.text) - self.at > MAX_VALUE:
                raise self.fail(f"is no JSON, or holds a value of more than {MAX_VALUE >> 20} MiB: {problem}")
            self.fill(size)
            size *= 2

    def run(self, head: dict[str, Any]) -> Iterator[dict[str, Any]]:
        first = self.peek()
        if first == "[":
            yield from self.list()
        elif first == "{":
            yield from self.table(head)
        else:
            raise self.fail("is empty" if not first else f"begins with {first!r}")
        if self.peek():
            raise self.fail("goes on after its end")

    def table(self, head: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.at += 1
        separator = self.peek() != "}"
        found = False
        while separator:
            key = self.value()
            if not isinstance(key, str):
                raise self.fail("has a key that is no text")
            self.take(":", f"after '{key[:40]}'")
            if key == "traceEvents":
                found = True
                yield from self.list()
            else:
                head[key] = self.value()
            separator = self.peek() == ","
            self.at += separator
        self.take("}", "after a value")
        if not found:
            raise self.fail("has no 'traceEvents'", expected="the file that the PyTorch profiler exports")

    def list(self) -> Iterator[dict[str, Any]]:
        self.take("[", "where the events begin")
        if self.peek() == "]":
            self.at += 1
            return
        while True:
            value = self.value()
            if not isinstance(value, dict):
                raise self.fail(f"holds a {type(value).__name__} among its events", expected="objects")
            self.count += 1
            if self.count > MAX_EVENTS:
                raise self.fail("has too many events", expected=f"at most {MAX_EVENTS}")
            yield value
            if self.peek() != ",":
                break
            self.at += 1
            if self.peek() == "]":  # some exporters leave a comma behind the last event
                break
        self.take("]", "after an event")
