"""Columns of integers: arrays where compiled, lists where interpreted (lists are quicker there)."""

from __future__ import annotations

from typing import Any

import cython
from numpy import ascontiguousarray, empty, int64, zeros


def column(length: int) -> Any:
    """A column of zeros to write."""
    return zeros(length, int64) if cython.compiled else [0] * length


def room(length: int) -> Any:
    """A column whose numbers are written before they are read."""
    return empty(length, int64) if cython.compiled else [0] * length


def loaded(values: Any) -> Any:
    """A column to read."""
    array = ascontiguousarray(values, int64)
    return array if cython.compiled else array.tolist()


def longer(values: Any, length: int) -> Any:
    """A column with room for `length` numbers that begins with `values`; what follows is written before it is read."""
    if not cython.compiled:
        return values + [0] * (length - len(values))
    grown = empty(length, int64)
    grown[: len(values)] = values
    return grown
