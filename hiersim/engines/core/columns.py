"""Columns of integers: arrays where compiled, lists where interpreted; and maps from several, or many, to an id."""

from __future__ import annotations

from typing import Any

import cython
import numpy as np

if cython.compiled:
    from cython.cimports.hiersim.columns import column, memory
    from cython.cimports.hiersim.engines.core.constants import NONE
    from cython.cimports.libc.string import memcpy
else:
    from hiersim.columns import column
    from hiersim.engines.core.constants import NONE

FNV_BASIS = cython.declare(cython.ulonglong, 14695981039346656037)
FNV_PRIME = cython.declare(cython.ulonglong, 1099511628211)
ALL_BITS = cython.declare(cython.ulonglong, 0xFFFFFFFFFFFFFFFF)


def joined(parts: Any) -> Any:
    """Some arrays of the program, one after the other, as a column of its own."""
    whole = np.concatenate(parts)
    if not cython.compiled:
        return [int(value) for value in whole]
    return whole if whole.dtype == np.int64 else whole.astype(np.int64)


def loaded(values: Any) -> Any:
    """An array of the program as a column."""
    return np.array(values, dtype=np.int64) if cython.compiled else [int(value) for value in values]


@cython.cfunc
def doubled(values: cython.longlong[::1]) -> cython.longlong[::1]:
    """A column twice as long that begins with `values`; what follows is set before it is read."""
    if not cython.compiled:
        return list(values) * 2
    length: cython.longlong = len(values)
    longer: cython.longlong[::1] = memory(2 * length)
    memcpy(cython.address(longer[0]), cython.address(values[0]), length * 8)
    return longer


@cython.cfunc
def array(values: cython.longlong[::1]) -> object:
    """A column as an array of its own."""
    if not cython.compiled:
        return np.array(values, np.int64)
    copy = np.empty(len(values), np.int64)
    places: cython.longlong[::1] = copy
    if len(values):
        memcpy(cython.address(places[0]), cython.address(values[0]), len(values) * 8)
    return copy


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def spread(mixed: cython.ulonglong, word: cython.ulonglong) -> cython.ulonglong:
    """One more word in a hash (FNV-1a, 64 bits, and a shift). Nothing but the time to find a key depends on it."""
    mixed = ((mixed ^ (word & ALL_BITS)) * FNV_PRIME) & ALL_BITS
    return mixed ^ (mixed >> 29)


@cython.final
@cython.cclass
class Index:
    """Open-addressed map from `width` integers to dense ids, in order of insertion."""

    def __init__(self, width: int) -> None:
        self.width, self.count, self.mask = width, 0, 255
        self.places, self.keys, self.key = column(256, NONE), column(128 * width), column(width)

    @cython.cfunc
    @cython.exceptval(check=False)
    def place(self, start: cython.longlong, words: cython.longlong[::1]) -> cython.ulonglong:
        """Where the key at `words[start:]` is, or would be."""
        mixed: cython.ulonglong = FNV_BASIS
        index: cython.longlong
        found: cython.longlong
        for index in range(self.width):
            mixed = spread(mixed, words[start + index])
        mixed &= self.mask
        while True:
            found = self.places[mixed]
            if found == NONE:
                return mixed
            for index in range(self.width):
                if self.keys[found * self.width + index] != words[start + index]:
                    break
            else:
                return mixed
            mixed = (mixed + 1) & self.mask

    @cython.cfunc
    @cython.exceptval(check=False)
    def find(self) -> cython.longlong:
        """Id of the key in `key`, or NONE."""
        return self.places[self.place(0, self.key)]

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def add(self) -> cython.longlong:
        """Id of the key in `key`, new where it was not known."""
        place: cython.ulonglong = self.place(0, self.key)
        index: cython.longlong
        if self.places[place] != NONE:
            return self.places[place]
        if 2 * (self.count + 1) > self.mask:
            self.grow()
            place = self.place(0, self.key)
        for index in range(self.width):
            self.keys[self.count * self.width + index] = self.key[index]
        self.places[place] = self.count
        self.count += 1
        return self.count - 1

    def grow(self) -> None:
        """Twice the room; half of the places stay empty."""
        self.mask = 2 * self.mask + 1
        index: cython.longlong
        self.places = column(self.mask + 1, NONE)
        self.keys = doubled(self.keys)
        for index in range(self.count):
            self.places[self.place(index * self.width, self.keys)] = index


@cython.cfunc
@cython.exceptval(check=False)
def entries(
    cells: cython.longlong[::1], end: cython.longlong, pairs: cython.longlong[::1], count: cython.longlong
) -> cython.longlong:
    """Write places and values of `cells[:end]` that are not zero, few are, to `pairs[count:]`; the count after them.

    Eight at a time: what is in a group of which some are not zero is written without a branch.
    """
    index: cython.longlong = 0
    stop: cython.longlong
    while index < end:
        stop = min(index + 8, end)
        if stop == index + 8 and (
            cells[index] | cells[index + 1] | cells[index + 2] | cells[index + 3]
            | cells[index + 4] | cells[index + 5] | cells[index + 6] | cells[index + 7]
        ) == 0:  # fmt: skip
            index = stop
        while index < stop:
            pairs[count], pairs[count + 1] = index, cells[index]
            count += 2 * (cells[index] != 0)
            index += 1
    return count


@cython.final
@cython.cclass
class Sequences:
    """Distinct sequences of integers, with dense ids in order of insertion: `words[first[id]:first[id + 1]]`."""

    def __init__(self) -> None:
        self.count, self.mask = 0, 127
        self.places, self.mixed, self.first, self.words = column(128, NONE), column(64), column(65), column(512)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def add(self, words: cython.longlong[::1], length: cython.longlong) -> cython.longlong:
        """Id of `words[:length]`, new where it was not known."""
        mixed: cython.ulonglong = FNV_BASIS
        other: cython.ulonglong = length  # two chains at a time: each word waits for the one before
        place: cython.ulonglong
        index: cython.longlong
        begin: cython.longlong
        for index in range(0, length - 1, 2):
            mixed = spread(mixed, words[index])
            other = spread(other, words[index + 1])
        if length & 1:
            other = spread(other, words[length - 1])
        mixed = spread(mixed, other) >> 1  # kept as a number with a sign
        place = mixed & self.mask
        while self.places[place] != NONE:
            begin = self.first[self.places[place]]
            if self.first[self.places[place] + 1] - begin == length:
                for index in range(length):
                    if self.words[begin + index] != words[index]:
                        break
                else:
                    return self.places[place]
            place = (place + 1) & self.mask
        begin = self.first[self.count]
        while begin + length > len(self.words):
            self.words = doubled(self.words)
        for index in range(length):
            self.words[begin + index] = words[index]
        self.mixed[self.count], self.places[place] = mixed, self.count
        self.count += 1
        self.first[self.count] = begin + length
        if 2 * (self.count + 1) > self.mask:
            self.grow()
        return self.count - 1

    def grow(self) -> None:
        """Twice the room; half of the places stay empty."""
        index: cython.longlong
        place: cython.ulonglong
        self.mask = 2 * self.mask + 1
        self.places, self.mixed = column(self.mask + 1, NONE), doubled(self.mixed)
        first: cython.longlong[::1] = column(self.mask // 2 + 2)
        for index in range(self.count + 1):
            first[index] = self.first[index]
        self.first = first
        for index in range(self.count):
            place = self.mixed[index] & self.mask
            while self.places[place] != NONE:
                place = (place + 1) & self.mask
            self.places[place] = index
