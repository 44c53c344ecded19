"""JSON, element by element of one long list: a file of hundreds of megabytes is never in memory as a whole.

Profilers write names of kernels as they find them, so bytes that are no UTF-8 and control characters inside texts
are taken; `NaN` reads as null. Numbers with a decimal point stay exact.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, Protocol

from hiersim.errors import TraceError

CHUNK: Final = 2**20
MAX_VALUE: Final = 16 * 2**20
"""Characters of one event, or of one value beside the events."""
MAX_ELEMENTS: Final = 10_000_000
MAX_BLANK: Final = 2**20
_BLANK: Final = " \t\r\n"
_DECODER: Final = json.JSONDecoder(strict=False, parse_float=Decimal, parse_constant=lambda _: None)


def elements(
    path: Path, file: str, head: dict[str, Any], keys: tuple[str, ...], wanted: str
) -> Iterator[dict[str, Any]]:
    """Objects of the list under one of `keys`, or of a bare list, or written one after the other; others go to `head`.

    Raises
    ------
    TraceError
        Not JSON, cut off, or not made of objects; `wanted` says what was expected.
    """
    try:
        with path.open("rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            yield from _Scanner(stream, file, keys, wanted).run(head)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TraceError(f"cannot be read: {reason}", file=file, expected=f"{wanted}, plain or gzip") from None


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Scanner:
    """A window of text over the stream."""

    def __init__(self, stream: _Stream, file: str, keys: tuple[str, ...], wanted: str) -> None:
        self.stream = stream
        self.file = file
        self.keys = keys
        self.wanted = wanted
        self.decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self.text = ""
        self.at = 0
        self.ended = False
        self.line = 1
        self.count = 0

    def fail(self, problem: str, expected: str | None = None) -> TraceError:
        return TraceError(problem, file=self.file, line=self.line, expected=expected or self.wanted)

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
            except (RecursionError, ValueError, InvalidOperation):
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
            if key in self.keys:
                found = True
                yield from self.list()
            else:
                head[key] = self.value()
            separator = self.peek() == ","
            self.at += separator
        self.take("}", "after a value")
        if not found:
            if self.peek() != "{":
                raise self.fail(f"has no '{self.keys[0]}'")
            while self.peek() == "{":
                yield self.element()

    def element(self) -> dict[str, Any]:
        value = self.value()
        if not isinstance(value, dict):
            raise self.fail(f"holds a {type(value).__name__} among its elements", expected="objects")
        self.count += 1
        if self.count > MAX_ELEMENTS:
            raise self.fail("has too many elements", expected=f"at most {MAX_ELEMENTS}")
        return value

    def list(self) -> Iterator[dict[str, Any]]:
        self.take("[", "where the list begins")
        if self.peek() == "]":
            self.at += 1
            return
        while True:
            yield self.element()
            if self.peek() != ",":
                break
            self.at += 1
            if self.peek() == "]":  # some exporters leave a comma behind the last element
                break
        self.take("]", "after an element")
