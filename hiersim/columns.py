"""Columns of integers that a run works on: parts of a block where compiled, lists where interpreted (quicker there).

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `columns.pxd` declares what other compiled modules use.
"""

from __future__ import annotations

import sys

import cython
import numpy as np

BLOCK = cython.declare(cython.longlong, 16384)
SHORT = cython.declare(cython.longlong, 1024)
"""Numbers in a block of short columns, and in the longest of them."""
MOST_KEPT = cython.declare(cython.longlong, 1 << 19)
LONGEST_KEPT = cython.declare(cython.longlong, 1 << 16)
"""Numbers in all pieces of memory that are kept for later runs, 4 MB, and in the longest of them."""
if cython.compiled:
    from cython.cimports.libc.string import memset

    block = cython.declare(cython.longlong[::1])
    used = cython.declare(cython.longlong, BLOCK + 1)  # there is none yet
    pieces = cython.declare(dict, {})
    kept = cython.declare(cython.longlong, 0)
    unused = cython.declare(cython.longlong, 0)


@cython.cfunc
def memory(length: cython.longlong) -> cython.longlong[::1]:
    """A column with whatever was there: a piece that nobody has any more, or a new one.

    To give a megabyte back to the system after a run and to ask for it again takes longer than to play a small model.
    """
    if not cython.compiled:
        return [0] * length
    global kept, unused
    piece: object
    for piece in pieces.get(length, ()):
        if sys.getrefcount(piece) == unused:
            return piece
    piece = np.empty(length, np.int64)
    if length <= LONGEST_KEPT:
        if kept + length > MOST_KEPT:  # by runs of another size: those to come are like this one
            pieces.clear()
            kept = 0
        kept += length
        pieces.setdefault(length, []).append(piece)
        unused = sys.getrefcount(piece)  # by the list and the name here
    return piece


@cython.cfunc
def column(length: cython.longlong, value: cython.longlong = 0) -> cython.longlong[::1]:
    """A column of integers to write, `value` in all places.

    Short ones are parts of one block, which lives as long as the last of them: a run needs two hundred of them.
    """
    if cython.compiled:
        global block, used
        index: cython.longlong
        values: cython.longlong[::1]
        if length > SHORT:
            values = memory(length)
        else:
            if used + length > BLOCK:
                block, used = memory(BLOCK), 0
            values = block[used : used + length]
            used += length
        if value == 0 and length > 0:
            memset(cython.address(values[0]), 0, length * 8)
        for index in range(length if value else 0):
            values[index] = value
        return values
    return [value] * length
