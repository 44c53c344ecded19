"""Columns of integers that a run works on: parts of a block where compiled, lists where interpreted (quicker there).

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `columns.pxd` declares what other compiled modules use.
"""

from __future__ import annotations

import cython
import numpy as np

BLOCK = cython.declare(cython.longlong, 16384)
SHORT = cython.declare(cython.longlong, 1024)
"""Numbers in a block of short columns, and in the longest of them."""
if cython.compiled:
    block = cython.declare(cython.longlong[::1])
    used = cython.declare(cython.longlong, BLOCK + 1)  # there is none yet


@cython.cfunc
def column(length: cython.longlong, value: cython.longlong = 0) -> cython.longlong[::1]:
    """A column of integers to write, `value` in all places.

    Short ones are parts of one block, which lives as long as the last of them: a run needs two hundred of them.
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
