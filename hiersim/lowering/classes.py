"""Equal rows of ragged columns, found by hash and confirmed by content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hiersim.model.operators import IntArray

_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """One list of numbers per row, CSR: `ptr` (N + 1,) and `values`."""

    ptr: IntArray
    values: IntArray

    @property
    def lengths(self) -> IntArray:
        """(N,)"""
        return np.diff(self.ptr)

    def rows(self, chosen: IntArray) -> Ragged:
        """The lists of the chosen rows, in that order."""
        lengths = self.lengths[chosen]
        ptr = np.zeros(len(chosen) + 1, np.int64)
        np.cumsum(lengths, out=ptr[1:])
        return Ragged(ptr, self.values[_places(self.ptr[chosen], lengths, ptr)])


Column = IntArray | Ragged
"""One number or one list of numbers per row."""


def _places(first: IntArray, lengths: IntArray, ptr: IntArray) -> IntArray:
    """Indices first, first + 1, … of each row, one after the other."""
    return np.repeat(first - ptr[:-1], lengths) + np.arange(int(ptr[-1]), dtype=np.int64)


def equal_rows(columns: Sequence[Column]) -> tuple[IntArray, IntArray]:
    """Which rows are equal in all columns.

    Returns
    -------
    (N,) array of int
        The class of each row, numbered by first appearance.
    (C,) array of int
        The first row of each class.
    """
    count = len(columns[0].ptr) - 1 if isinstance(columns[0], Ragged) else len(columns[0])
    if count == 1:  # a graph of one kernel has nothing to compare
        return np.zeros(1, np.int64), np.zeros(1, np.int64)
    marks = np.add.reduce([_hashes(column, seed) for seed, column in enumerate(columns, 1)])
    order = np.argsort(marks, kind="stable")  # np.unique would import masked arrays
    starts = np.append(True, np.diff(marks[order]) != 0)[: len(order)]
    first = order[starts]
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    label = np.empty(len(order), np.int64)
    label[order] = rank[np.cumsum(starts) - 1]
    first = np.sort(first)
    if all(_same(column, first[label]) for column in columns):
        return label, first
    return _by_content(columns)  # two lists of one hash


def _hashes(column: Column, seed: int) -> npt.NDArray[np.uint64]:
    """(N,) 64-bit hashes; lists that differ in a value, its place or their length differ but for chance."""
    if not isinstance(column, Ragged):
        return _mixed(column, seed)
    lengths = column.lengths
    total = _mixed(lengths, seed)
    filled = lengths > 0
    if len(column.values):
        place = np.arange(len(column.values), dtype=np.int64) - np.repeat(column.ptr[:-1], lengths)
        place *= int(_MIX[1] >> np.uint64(1))  # wraps: far apart for neighbours
        place += column.values
        total[filled] += np.add.reduceat(_mixed(place, seed), column.ptr[:-1][filled])
    return total


def _mixed(values: IntArray, seed: int) -> npt.NDArray[np.uint64]:
    """Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014 (the finisher of SplitMix)."""
    mixed = values.astype(np.uint64)
    mixed += np.uint64(seed * int(_MIX[0]) % 2**64)
    mixed ^= mixed >> np.uint64(30)
    mixed *= _MIX[1]
    mixed ^= mixed >> np.uint64(27)
    mixed *= _MIX[2]
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _same(column: Column, twin: IntArray) -> bool:
    """Whether every row equals its twin."""
    if not isinstance(column, Ragged):
        return bool(np.array_equal(column, column[twin]))
    lengths = column.lengths
    if not np.array_equal(lengths, lengths[twin]):
        return False
    return bool(np.array_equal(column.values, column.values[_places(column.ptr[twin], lengths, column.ptr)]))


def _by_content(columns: Sequence[Column]) -> tuple[IntArray, IntArray]:
    """`equal_rows` without a hash of ours."""
    lists = [
        [column.values[low:high].tobytes() for low, high in zip(column.ptr[:-1], column.ptr[1:], strict=True)]
        if isinstance(column, Ragged)
        else column.tolist()
        for column in columns
    ]
    seen: dict[tuple[object, ...], int] = {}
    first: list[int] = []
    label = []
    for row, content in enumerate(zip(*lists, strict=True)):
        label.append(seen.setdefault(content, len(first)))
        if label[-1] == len(first):
            first.append(row)
    return np.array(label, np.int64), np.array(first, np.int64)
