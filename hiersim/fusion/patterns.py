"""Numbers that equal rows share: 10^5 operators have few distinct ones, and policies look at each of these once."""

from __future__ import annotations

from typing import Final

import numpy as np

from hiersim.model.operators import IntArray

Column = np.ndarray[tuple[int], np.dtype[np.int64]] | np.ndarray[tuple[int], np.dtype[np.float64]]
SPARE: Final = 8
"""Numbers in a table for each that is looked up."""


def distinct(values: IntArray) -> IntArray:
    """The distinct values in rising order, as `numpy.unique` has them; sorting beats hashing on such columns."""
    if not len(values):
        return values
    found = np.sort(values)
    first = np.ones(len(found), np.bool_)
    np.not_equal(found[1:], found[:-1], out=first[1:])
    kept: IntArray = found[first]
    return kept


def distinct_pairs(first: IntArray, second: IntArray, below: int) -> tuple[IntArray, IntArray]:
    """The distinct pairs in rising order; values of `second` are at least 0 and less than `below`."""
    pairs = distinct(first * max(below, 1) + second)
    return pairs // max(below, 1), pairs % max(below, 1)


def classes(*columns: Column) -> IntArray:
    """(N,) a number for each row of the columns: equal rows, equal numbers, and only they; from 0, without gaps."""
    found = _dense(columns[0])
    for column in columns[1:]:
        value = _dense(column)
        found = _dense(found * (int(value.max(initial=0)) + 1) + value)
    return found


def sequences(ptr: IntArray, values: IntArray) -> IntArray:
    """(N,) a number for each row of a CSR list: equal lists, equal numbers, and only they."""
    value, counts = _dense(values), np.diff(ptr)
    width = int(value.max(initial=0)) + 1
    found, fresh = counts.astype(np.int64), int(counts.max(initial=0)) + 1
    rows, place = np.flatnonzero(counts > 0), 0
    while len(rows):
        number = _dense(found[rows] * width + value[ptr[rows] + place])
        found[rows] = number + fresh
        fresh += int(number.max()) + 1
        place += 1
        rows = rows[counts[rows] > place]
    return _dense(found)


def _dense(values: Column) -> IntArray:
    """(N,) the place of each value among the distinct ones."""
    if len(values) and values.dtype == np.int64:
        low = int(values.min())
        span = int(values.max()) - low + 1
        if span <= SPARE * len(values):  # a table of all numbers between is smaller work than sorting
            seen = np.zeros(span, np.bool_)
            seen[values - low] = True
            found: IntArray = (np.cumsum(seen) - 1)[values - low]
            return found
    number: IntArray = np.unique(values, return_inverse=True)[1].astype(np.int64)
    return number
