"""A YAML file as plain data with the line of every value, and nothing that YAML can hide in it.

The parser is ruamel.yaml's (YAML 1.2). Tags, anchors and aliases are refused, as are duplicate keys, deep
nesting and large files, so that reading a stranger's design is safe and quick. Files that come with hiersim are read by
libyaml where PyYAML brings it, thirty times as fast; it reads them alike, and what it objects to is read again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hiersim import bundled
from hiersim.errors import DesignError

MAX_SIZE: Final = 128 * 1024
MAX_DEPTH: Final = 12
MAX_VALUES: Final = 4096
PathKey = tuple[str, ...]

_NULL = re.compile(r"~|null|Null|NULL|", re.ASCII)
_INT = re.compile(r"[-+]?[0-9]{1,40}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,4})?", re.ASCII)
_SPECIAL = {".inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The data of one file; `lines` maps the path of each key or list entry to its line (from 1).

    `base` is the document that this one extends; its values are merged into `data`.
    """

    file: str
    data: dict[str, Any]
    lines: dict[PathKey, int]
    base: Document | None = None
    bundled: bool = False
    """It came with hiersim, without a fault that a parser would see."""

    def line(self, path: PathKey) -> int | None:
        """Line of `path`, or of the nearest parent that has one."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def place(self, path: PathKey) -> tuple[str, int | None]:
        """File and line of `path`, or of its nearest parent; the base's when only that has it."""
        found, best = (self.file, self.line(path)), self._depth(path)
        base = self.base
        while base is not None:
            if base._depth(path) > best:
                found, best = (base.file, base.line(path)), base._depth(path)
            base = base.base
        return found

    def _depth(self, path: PathKey) -> int:
        return next((end for end in range(len(path), 0, -1) if path[:end] in self.lines), 0)


def read_document(
    path: Path, name: str | None = None, *, what: str = "design", largest: int = MAX_SIZE, most: int = MAX_VALUES
) -> Document:
    """Parse the YAML file at `path`, of at most `largest` bytes and `most` keys and values.

    `name` is how the user called it, `what` it is to be.
    """
    file = name or str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(largest + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DesignError(f"cannot be read: {reason}", file=file, expected="a YAML file") from None
    if len(raw) > largest:
        raise DesignError(f"is too large for a {what}", file=file, expected=f"at most {largest // 1024} KiB")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DesignError(f"is not UTF-8 text at byte {error.start}", file=file, expected="a YAML file") from None
    found = parse_quickly(text, file, what, most) if bundled.is_bundled(path) else None
    return found or parse_document(text, file, what, most)


def parse_quickly(text: str, file: str, what: str = "design", most: int = MAX_VALUES) -> Document | None:
    """What `parse_document` makes of a file without faults, by libyaml; None where that is not there, or objects."""
    try:
        from yaml import CSafeLoader, YAMLError, parse
    except ImportError:
        return None
    builder = _Builder(file, what, most)
    try:
        for event in parse(text, Loader=CSafeLoader):
            builder.take(event)
    except (YAMLError, DesignError, ValueError):
        return None
    if not isinstance(builder.root, dict):
        return None
    return Document(file=file, data=builder.root, lines=builder.lines, bundled=True)


def parse_document(text: str, file: str, what: str = "design", most: int = MAX_VALUES) -> Document:
    """Parse YAML text; `file` is used in messages only."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    builder = _Builder(file, what, most)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        problem = f"is not valid YAML: {error.problem or error.context}"
        raise DesignError(problem, file=file, line=line) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise DesignError(f"is not valid YAML: {error}", file=file) from None
    data = builder.root
    if not isinstance(data, dict):
        raise DesignError("is empty" if data is None else "is not a table", file=file, expected="'name: …' and so on")
    return Document(file=file, data=data, lines=builder.lines)


class _Builder:
    """Builds plain data from parse events, one at a time, without recursion."""

    def __init__(self, file: str, what: str, most: int) -> None:
        self.file = file
        self.what = what
        self.most = most
        self.root: Any = None
        self.lines: dict[PathKey, int] = {}
        self.stack: list[tuple[Any, list[Any]]] = []  # container, [pending key]
        self.path: list[str] = []
        self.documents = 0
        self.values = 0

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        line = event.start_mark.line + 1 if event.start_mark else None
        self.values += 1
        if self.values > self.most:
            expected = f"at most {self.most} keys and values"
            raise DesignError(f"holds too much for a {self.what}", file=self.file, line=line, expected=expected)
        if kind == "AliasEvent" or getattr(event, "anchor", None):
            raise DesignError("uses a YAML anchor or alias", file=self.file, line=line, expected="the value itself")
        if kind == "DocumentStartEvent":
            self.documents += 1
            if self.documents > 1:
                raise DesignError(
                    "holds a second document", file=self.file, line=line, expected=f"one {self.what} per file"
                )
        if getattr(event, "tag", None) or getattr(event, "ctag", None):
            raise DesignError(f"uses the YAML tag {event.tag}", file=self.file, line=line, expected="plain values only")
        if kind == "MappingStartEvent":
            self._open({}, line)
        elif kind == "SequenceStartEvent":
            self._open([], line)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self.stack.pop()
            self._leave()
        elif kind == "ScalarEvent":
            self._scalar(event, line)

    def _open(self, container: Any, line: int | None) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise DesignError("is nested too deeply", file=self.file, line=line, expected=f"at most {MAX_DEPTH} levels")
        if self.stack and isinstance(self.stack[-1][0], dict) and not self.stack[-1][1]:
            raise DesignError("uses a table or list as a key", file=self.file, line=line, expected="a name")
        self._place(container, line)
        self.stack.append((container, []))

    def _place(self, value: Any, line: int | None) -> None:
        """Put a finished or fresh value where it belongs and step into its path."""
        if not self.stack:
            self.root = value
            return
        container, pending = self.stack[-1]
        if isinstance(container, dict):
            key = pending.pop()
            container[key] = value
        else:
            key = str(len(container))
            container.append(value)
            self.lines[(*self.path, key)] = line or 0
        self.path.append(key)

    def _leave(self) -> None:
        if self.path:
            self.path.pop()

    def _scalar(self, event: Any, line: int | None) -> None:
        if self.stack and isinstance(self.stack[-1][0], dict) and not self.stack[-1][1]:
            key = event.value
            if key in self.stack[-1][0]:
                place = ".".join([*self.path, key])
                raise DesignError("is there twice", file=self.file, line=line, key=place, expected="each key once")
            self.stack[-1][1].append(key)
            self.lines[(*self.path, key)] = line or 0
            return
        self._place(event.value if event.style else _plain(event.value), line)
        if self.stack:
            self._leave()


def _plain(text: str) -> Any:
    """An unquoted scalar by the YAML 1.2 core schema."""
    if _NULL.fullmatch(text):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    if text.lower() in _SPECIAL:
        return _SPECIAL[text.lower()]
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def walk(data: Any, path: PathKey = ()) -> Iterator[tuple[PathKey, Any]]:
    """Every leaf of nested tables and lists with its path."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from walk(value, (*path, key))
    else:
        yield path, data
