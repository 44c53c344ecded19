"""Columns of integers: arrays where compiled, lists where interpreted; and a map from several to an id."""

from __future__ import annotations

from typing import Any

import cython
import numpy as np

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize

NONE = cython.declare(cython.longlong, -1)
BLOCK = cython.declare(cython.longlong, 16384)
SHORT = cython.declare(cython.longlong, 1024)
"""Numbers in a block of short columns, and in the longest of them."""
if cython.compiled:
    block = cython.declare(cython.longlong[::1])
    used = cython.declare(cython.longlong, BLOCK + 1)  # there is none yet
FNV_BASIS = cython.declare(cython.ulonglong, 14695981039346656037)
FNV_PRIME = cython.declare(cython.ulonglong, 1099511628211)
ALL_BITS = cython.declare(cython.ulonglong, 0xFFFFFFFFFFFFFFFF)


@cython.cfunc
def column(length: cython.longlong, value: cython.longlong = 0) -> cython.longlong[::1]:
    """A column of integers: an array where compiled, a list where interpreted (quicker there).

    Short ones are parts of one block, which lives as long as the last of them: a run needs a hundred of them.
    """
    if cython.compiled:
        global block, used
        index: cython.longlong
        if length > SHORT:
            return np.full(length, value, np.int64) if value else np.zeros(length, np.int64)
        if used + length > BLOCK:
            block, used = np.zeros(BLOCK, np.int64), 0
        values: cython.longlong[::1] = block[used : used + length]
        used += length
        for index in range(length if value else 0):
            values[index] = value
        return values
    return [value] * length


def loaded(values: Any) -> Any:
    """An array of the program as a column."""
    return np.array(values, dtype=np.int64) if cython.compiled else [int(value) for value in values]


def doubled(values: Any) -> Any:
    """A column twice as long that begins with `values`; what follows is set before it is read."""
    return np.concatenate((values, values)) if cython.compiled else list(values) * 2


def array(values: Any) -> Any:
    """A column as an array of its own."""
    return np.array(values, np.int64)


@cython.cfunc
def frozen(values: cython.longlong[::1], length: cython.longlong) -> object:
    """The first `length` numbers of a column, as a key."""
    if cython.compiled:
        return PyBytes_FromStringAndSize(cython.cast(cython.p_char, cython.address(values[0])), length * 8)
    return tuple(values[:length])


@cython.cfunc
@cython.exceptval(-1, check=False)
def words_in(kept: object) -> cython.longlong:
    """How many numbers a frozen column has."""
    return len(kept) // 8 if cython.compiled else len(kept)  # type: ignore[arg-type]


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
