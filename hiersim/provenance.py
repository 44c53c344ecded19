"""What decides a result, as one hash: the trace, the resolved design, the policy and the version of the program."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final

import numpy as np

from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.version import package_version


def fingerprint(trace: Trace, design: Design, fusion: str, launch: str) -> str:
    """SHA-256 of everything that decides a result. The trace's part is computed once per trace."""
    digest = trace.derived(_trace_digest).copy()
    digest.update(json.dumps(plain(design), sort_keys=True).encode())
    digest.update(fusion.encode())
    digest.update(launch.encode())
    digest.update(package_version().encode())
    hexadecimal: str = digest.hexdigest()
    return hexadecimal


DECIDING: Final = ("header", "graph", "schedules", "groupings")
"""Fields of a trace that decide a result: all but measured times."""


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
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, Mapping):
        return {plain(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    return value
