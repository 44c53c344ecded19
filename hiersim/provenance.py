"""What decides a result, as one hash: the trace, the resolved design, the policy and the version of the program."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np

from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.version import __version__


def fingerprint(trace: Trace, design: Design, fusion: str, launch: str) -> str:
    """SHA-256 of everything that decides a result. The trace's part is computed once per trace."""
    digest = trace.derived(_trace_digest).copy()
    digest.update(design_text(design).encode())
    digest.update(fusion.encode())
    digest.update(launch.encode())
    digest.update(__version__.encode())
    hexadecimal: str = digest.hexdigest()
    return hexadecimal


def trace_sha256(trace: Trace) -> str:
    """SHA-256 of what decides results of `trace`; computed once per trace."""
    text: str = trace.derived(_trace_digest).hexdigest()
    return text


def design_sha256(design: Design) -> str:
    """SHA-256 of the resolved design, sources included."""
    return hashlib.sha256(design_text(design).encode()).hexdigest()


def design_text(design: Design) -> str:
    """The design as JSON with sorted keys. Parts that it shares with other designs are written once."""
    return _object(design)


def _object(value: Any) -> str:
    """A dataclass, whatever it is called."""
    kind: Any = type(value)
    return "{" + ", ".join([f'"{name}": {_part(getattr(value, name))}' for name in _sorted_names(kind)]) + "}"


def _part(value: Any) -> str:
    kind: Any = type(value)
    if kind in _ATOMS or issubclass(kind, Enum):
        return _atom(value)
    if kind is tuple:
        return f"[{', '.join([_part(entry) for entry in value])}]"
    if _field_names(kind) is not None:
        return _kept(value)
    if kind is dict and type(next(iter(value), None)) is str:  # sources and pins: a text for every path
        return "{" + ", ".join([_line(path, value[path]) for path in sorted(value)]) + "}"
    return json.dumps(plain(value), sort_keys=True)


@lru_cache(maxsize=4096, typed=True)
def _atom(value: Any) -> str:
    return json.dumps(plain(value))


@lru_cache(maxsize=4096, typed=True)
def _line(path: str, text: str) -> str:
    return f"{json.dumps(path)}: {json.dumps(text)}"


_TEXTS: dict[int, tuple[Any, str]] = {}
"""Parts of designs, which never change, and their texts. Holding a part keeps its id from being given to another."""
_MOST_TEXTS: Final = 512


def _kept(part: Any) -> str:
    known = _TEXTS.get(id(part))
    if known is not None:
        return known[1]
    text = _object(part)
    if len(_TEXTS) >= _MOST_TEXTS:
        _TEXTS.clear()
    _TEXTS[id(part)] = (part, text)
    return text


DECIDING: Final = ("header", "graph", "schedules", "groupings")
"""Fields of a trace that decide a result: all but measured times and what compilers expected."""


def _trace_digest(trace: Trace) -> Any:
    """Everything but measured times, which decide nothing."""
    digest = hashlib.sha256()
    for part in DECIDING:
        digest.update(part.encode() + b"\0")
        _feed(digest, getattr(trace, part))
    return digest


def _feed(digest: Any, value: Any) -> None:
    """Hash nested dataclasses, tables and columns, field by field."""
    if isinstance(value, np.ndarray):
        digest.update(np.ascontiguousarray(value, dtype="<i8").tobytes())
    elif is_dataclass(value):
        for item in fields(value):
            part = getattr(value, item.name)
            if part is not None:  # a table that a trace lacks leaves its hash as it was before there were such tables
                digest.update(item.name.encode() + b"\0")
                _feed(digest, part)
    elif isinstance(value, Mapping):
        for key in sorted(value):
            digest.update(str(key).encode() + b"\0")
            _feed(digest, value[key])
    else:
        digest.update(repr(value).encode() + b"\0")


def plain(value: Any) -> Any:
    """A design as nested tables of plain values (base units), in the order of its fields."""
    kind: Any = type(value)
    if kind in _ATOMS:
        return value
    names = _field_names(kind)
    if names is not None:
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Enum):
        return value._name_.lower()
    if isinstance(value, Mapping):
        return {plain(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    return value


_ATOMS: Final = frozenset((str, int, float, bool, type(None)))
"""Types that are plain already; most values of a design are of these."""


@cache
def _sorted_names(kind: Any) -> tuple[str, ...]:
    return tuple(sorted(_field_names(kind) or ()))


@cache
def _field_names(kind: Any) -> tuple[str, ...] | None:
    """Names of a dataclass's fields; None of any other type."""
    return tuple(item.name for item in fields(kind)) if is_dataclass(kind) else None
