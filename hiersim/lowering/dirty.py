"""What kernels wrote and no later kernel has overwritten, chunk by chunk; compiled where there is a compiler.

The chunks of a block lie side by side from its start. What is written ends the chunks below it; where a kernel touches
a part of a chunk, the chunk is cut in two, each with the history of both. A chunk need not reach the home tier if a
cache holds it through all intervals of the block that lie over it, from its write to the one that overwrites it.
"""

from __future__ import annotations

from typing import Any

import cython
import numpy as np

NONE = cython.declare(cython.longlong, -1)
MOST = cython.declare(cython.longlong, 32)
"""A block with this many chunks is not cut further: all of a chunk then fares like its first byte."""


def column(values: Any) -> Any:
    """A column to read: a contiguous array, or a list where the interpreter reads it."""
    own = np.ascontiguousarray(values, np.int64)
    return own.copy() if cython.compiled else own.tolist()


def result(values: Any, length: int) -> Any:
    """The first `length` numbers of a column, as an array of their own."""
    return np.array(values[:length], np.int64)


def filled(length: int, value: int = 0) -> Any:
    """A column to write."""
    if not cython.compiled:
        return [value] * length
    return np.full(length, value, np.int64) if value else np.zeros(length, np.int64)  # zeros take no memory until used


@cython.cclass
class DirtyChunks:
    """The chunks of all blocks, in flat columns; `blocks` blocks, room for `writes` writes and `touches` touches.

    `newest` (blocks,) is the first chunk of a block, the others hang on `under` in order of their place; `pieces` says
    how many they are. Of each chunk: the `write` that made it, its `kernel` and `block`; `low` and `size`: where it
    lies in the block; `last`: the kernel that overwrote it, `kernels` if none did; `first` and `count`: which intervals
    of the block came since.
    """

    def __init__(self, kernels: int, blocks: int, touches: int, writes: int) -> None:
        room = touches + 3 * writes
        self.kernels, self.chunks = kernels, 0
        self.newest, self.pieces, self.under = filled(blocks, -1), filled(blocks), filled(room)
        self.write, self.kernel, self.block = filled(room), filled(room), filled(room)
        self.low, self.size, self.last = filled(room), filled(room), filled(room)
        self.first, self.count = filled(room), filled(room)

    @cython.cfunc
    def _new(
        self,
        block: cython.longlong,
        kernel: cython.longlong,
        write: cython.longlong,
        low: cython.longlong,
        size: cython.longlong,
    ) -> cython.longlong:
        chunk: cython.longlong = self.chunks
        self.block[chunk], self.kernel[chunk], self.write[chunk] = block, kernel, write
        self.low[chunk], self.size[chunk], self.last[chunk] = low, size, self.kernels
        self.pieces[block] += 1
        self.chunks += 1
        return chunk

    @cython.cfunc
    def _split(self, chunk: cython.longlong, place: cython.longlong) -> cython.void:
        """The bytes of the chunk from `place` on become one of their own."""
        end: cython.longlong = self.low[chunk] + self.size[chunk]
        rest: cython.longlong = self._new(self.block[chunk], self.kernel[chunk], self.write[chunk], place, end - place)
        self.first[rest], self.under[rest] = self.first[chunk], self.under[chunk]
        self.size[chunk], self.under[chunk] = place - self.low[chunk], rest

    @cython.cfunc
    def cut(self, block: cython.longlong, place: cython.longlong) -> cython.void:
        """A kernel touches the block up to `place`: a chunk that goes on behind it has two fates from now on."""
        chunk: cython.longlong = self.newest[block]
        if self.pieces[block] >= MOST:
            return
        while chunk != NONE and self.low[chunk] + self.size[chunk] <= place:
            chunk = self.under[chunk]
        if chunk != NONE and self.low[chunk] < place:
            self._split(chunk, place)

    @cython.cfunc
    def overwrite(
        self,
        block: cython.longlong,
        kernel: cython.longlong,
        write: cython.longlong,
        size: cython.longlong,
        touches: cython.longlong,
    ) -> cython.void:
        """The first `size` bytes of the block are written, after `touches` intervals."""
        top: cython.longlong = self.newest[block]
        chunk: cython.longlong
        while top != NONE and self.low[top] < size:
            if self.low[top] + self.size[top] > size:
                self._split(top, size)
            self.last[top], self.count[top] = kernel, touches - self.first[top]
            self.pieces[block] -= 1
            top = self.under[top]
        chunk = self._new(block, kernel, write, 0, size)
        self.first[chunk], self.under[chunk], self.newest[block] = touches, top, chunk

    @cython.cfunc
    def end(self, block: cython.longlong) -> cython.longlong:
        """How many bytes of the block are dirty."""
        size: cython.longlong = 0
        chunk: cython.longlong = self.newest[block]
        while chunk != NONE:
            size += self.size[chunk]
            chunk = self.under[chunk]
        return size

    @cython.cfunc
    def close(self, block: cython.longlong, touches: cython.longlong) -> cython.void:
        """The run ends after `touches` intervals of the block."""
        chunk: cython.longlong = self.newest[block]
        while chunk != NONE:
            self.count[chunk] = touches - self.first[chunk]
            chunk = self.under[chunk]

    def columns(self, flushed: Any, period: int, intervals: Any, touches: Any) -> dict[str, Any]:
        """The chunks as columns of a `ReuseProfile`, by the write that made them and by place.

        Parameters
        ----------
        flushed : (blocks,) column
            1 where what is dirty at the end of a run must reach the home tier.
        period : int
            Kernels of a run; there may be several, one after the other.
        intervals : (3, V) array
            Block, first byte and bytes of each interval, in order of time.
        touches : (blocks,) column
            How many of them each block has.
        """
        write, low = result(self.write, self.chunks), result(self.low, self.chunks)
        order = np.lexsort((low, write))
        kernel, last = result(self.kernel, self.chunks)[order], result(self.last, self.chunks)[order]
        stays = last >= (kernel // max(period, 1) + 1) * period
        ptr, chosen = self._over(order, intervals, touches)
        return {
            "chunk_kernel": kernel,
            "chunk_write": write[order],
            "chunk_bytes": result(self.size, self.chunks)[order],
            "chunk_flush": result(flushed, len(flushed))[result(self.block, self.chunks)[order]] * stays,
            "chunk_ptr": ptr,
            "chunk_intervals": chosen,
        }

    def _over(self, order: Any, intervals: Any, touches: Any) -> tuple[Any, Any]:
        """CSR by chunk, in that order: the intervals that lie over it."""
        sorted_: cython.longlong[::1] = column(np.argsort(intervals[0], kind="stable"))
        low: cython.longlong[::1] = column(intervals[1])
        high: cython.longlong[::1] = column(intervals[1] + intervals[2])
        start: cython.longlong[::1] = column(np.cumsum(touches) - np.asarray(touches, np.int64))
        chunks: cython.longlong[::1] = column(order)
        ptr: cython.longlong[::1] = filled(self.chunks + 1)
        values: cython.longlong[::1] = filled(0)
        turn: cython.longlong
        place: cython.longlong
        index: cython.longlong
        first: cython.longlong
        chunk: cython.longlong
        found: cython.longlong = 0
        for turn in range(2):  # count, then fill
            values = filled(found)
            found = 0
            for place in range(self.chunks):
                chunk = chunks[place]
                first = start[self.block[chunk]] + self.first[chunk]
                for index in range(first, first + self.count[chunk]):
                    if low[sorted_[index]] <= self.low[chunk] < high[sorted_[index]]:
                        if turn == 1:
                            values[found] = sorted_[index]
                        found += 1
                ptr[place + 1] = found
        return result(ptr, self.chunks + 1), result(values, found)
