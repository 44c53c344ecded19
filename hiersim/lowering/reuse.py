"""The walk over a kernel graph that measures every reuse interval; compiled where there is a compiler.

What an interval is and what the numbers mean stands in `residency.py`. Everything here is a flat column, indexed by
block, tensor or kernel, so that the walk costs the same per access however long the trace is. The caller has
checked that all indices are in range and that no sum of bytes reaches 2^62.
"""

from __future__ import annotations

from typing import Any

import cython
import numpy as np

from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED

NONE = -1


def _column(values: Any) -> Any:
    """A column to read: a contiguous array, or a list where the interpreter reads it."""
    column = np.ascontiguousarray(values, np.int64)
    return column.copy() if cython.compiled else column.tolist()


def _filled(length: int, value: int = 0) -> Any:
    """A column to write."""
    return np.full(length, value, np.int64) if cython.compiled else [value] * length


def _numbered(values: Any) -> tuple[int, Any]:
    """How many values differ, and the number of each among them (np.unique would import masked arrays)."""
    order = np.argsort(values, kind="stable")
    number = np.zeros(len(order), np.int64)
    number[order[1:]] = np.cumsum(np.diff(values[order]) > 0)
    return (int(number.max()) + 1 if len(order) else 0), number


def _share(size: Any, prior: Any, whole: Any) -> Any:
    """size · prior ÷ whole, rounded down; the product may need more than 64 bits."""
    return int(size) * int(prior) // int(whole)


@cython.cclass
class Walk:
    """One walk; `run` gives the columns of a `ReuseProfile` by name."""

    kernels: cython.longlong
    size: cython.longlong[::1]  # (S,) bytes of a storage; a block has the size of every storage that lies in it
    block: cython.longlong[::1]  # (S,) the block that a storage lies in
    fresh: cython.longlong[::1]  # (S,) 1: its block is chosen when it is first touched
    kind: cython.longlong[::1]  # (S,) index of its size among all sizes
    idle: cython.longlong[::1]  # (sizes,) storage freed last; the others hang on `idle_next`
    idle_next: cython.longlong[::1]  # (S,)
    release_ptr: cython.longlong[::1]
    release: cython.longlong[::1]  # CSR (K + 1,): storages freed after each kernel
    storage_of: cython.longlong[::1]  # (T,)
    read_ptr: cython.longlong[::1]
    read_tensor: cython.longlong[::1]
    read_size: cython.longlong[::1]
    write_ptr: cython.longlong[::1]
    write_tensor: cython.longlong[::1]
    write_size: cython.longlong[::1]

    last: cython.longlong[::1]  # (S,) kernel that touched the block last
    footprint: cython.longlong[::1]  # (S,) bytes that it touched
    touches: cython.longlong[::1]  # (S,) intervals of the block
    tree: cython.longlong[::1]  # (K + 1,) Fenwick tree over `held`
    held: cython.longlong[::1]  # (K,) bytes of the blocks that each kernel touched last
    total: cython.longlong  # their sum
    together: cython.longlong[::1]  # (K,) scratch: bytes of this kernel's blocks by kernel of last touch

    seen: cython.longlong[::1]  # (T,) kernel that saw the tensor last
    view: cython.longlong[::1]  # (T,) most bytes of it that one access moves in that kernel
    met: cython.longlong[::1]  # (S,) kernel that met the block last
    place: cython.longlong[::1]  # (S,) its place among the kernel's members
    members: cython.longlong  # blocks of this kernel, in order of their first access
    member: cython.longlong[::1]
    extent: cython.longlong[::1]  # bytes touched
    reading: cython.longlong[::1]  # bytes of all reads
    writing: cython.longlong[::1]  # bytes of all writes; -1: none
    older: cython.longlong[::1]  # bytes of members that were touched before the member was
    interval: cython.longlong[::1]
    order: cython.longlong[::1]

    intervals: cython.longlong
    begin: cython.longlong[::1]
    end: cython.longlong[::1]
    interval_block: cython.longlong[::1]
    interval_first: cython.longlong[::1]  # kernel of the earlier touch, kernel of the later one (K: the end of the run)
    interval_last: cython.longlong[::1]
    interval_bytes: cython.longlong[::1]  # bytes that the earlier one touched
    read_interval: cython.longlong[::1]
    read_prior: cython.longlong[::1]

    chunks: cython.longlong
    newest: cython.longlong[::1]  # (S,) chunk of the block that was written last; the larger ones hang on `under`
    under: cython.longlong[::1]
    chunk_kernel: cython.longlong[::1]
    chunk_block: cython.longlong[::1]
    chunk_bytes: cython.longlong[::1]
    chunk_flush: cython.longlong[::1]
    chunk_first: cython.longlong[::1]  # first interval of the block that the chunk must survive, and how many
    chunk_count: cython.longlong[::1]

    def __init__(self, graph: KernelGraph) -> None:
        table = graph.tensors
        storages, tensors = len(table.storage_bytes), len(table.tensor_storage)
        self.kernels = len(graph)
        self.size, self.storage_of = _column(table.storage_bytes), _column(table.tensor_storage)
        self.block = _column(np.arange(storages))
        self.fresh = _column(np.isin(table.storage_role, [int(role) for role in PRODUCED]))
        sizes, kind = _numbered(table.storage_bytes)
        self.kind, self.idle, self.idle_next = _column(kind), _filled(sizes, NONE), _filled(storages, NONE)
        freed = np.flatnonzero(table.storage_free >= 0)
        self.release = _column(freed[np.argsort(table.storage_free[freed], kind="stable")])
        counts = np.bincount(table.storage_free[freed], minlength=len(graph))
        self.release_ptr = _column(np.concatenate([[0], np.cumsum(counts)]))
        self.read_ptr, self.read_tensor = _column(graph.reads.ptr), _column(graph.reads.tensor)
        self.write_ptr, self.write_tensor = _column(graph.writes.ptr), _column(graph.writes.tensor)
        self.read_size, self.write_size = _column(graph.reads.size), _column(graph.writes.size)
        self.last, self.footprint, self.touches = _filled(storages, NONE), _filled(storages), _filled(storages)
        self.tree, self.held, self.together = _filled(len(graph) + 1), _filled(len(graph)), _filled(len(graph))
        self.total = 0
        self.seen, self.view = _filled(tensors, NONE), _filled(tensors)
        self.met, self.place = _filled(storages, NONE), _filled(storages)
        self._allocate(storages, len(graph.reads.tensor), len(graph.writes.tensor), _most(graph))

    def _allocate(self, storages: int, reads: int, writes: int, most: int) -> None:
        """Room for the members of one kernel, and for the results."""
        self.members = self.intervals = self.chunks = 0
        self.member, self.extent, self.order = _filled(most), _filled(most), _filled(most)
        self.reading, self.writing = _filled(most), _filled(most)
        self.older, self.interval = _filled(most), _filled(most)
        room = reads + writes + min(storages, writes)
        self.begin, self.end, self.interval_block = _filled(room), _filled(room), _filled(room)
        self.interval_first, self.interval_last, self.interval_bytes = _filled(room), _filled(room), _filled(room)
        self.read_interval, self.read_prior = _filled(reads), _filled(reads)
        self.newest, self.under = _filled(storages, NONE), _filled(writes)
        self.chunk_kernel, self.chunk_block = _filled(writes), _filled(writes)
        self.chunk_bytes, self.chunk_flush = _filled(writes), _filled(writes)
        self.chunk_first, self.chunk_count = _filled(writes), _filled(writes)

    def run(self, output: Any) -> dict[str, Any]:
        """Walk all kernels; `output` (S,) is 1 where a storage must reach its home at the end."""
        kernel: cython.longlong
        for kernel in range(self.kernels):
            self._meet(kernel)
            self._measure(kernel)
            self._note_reads(kernel)
            self._note_writes(kernel)
            self._remember(kernel)
            self._release(kernel)
        self._finish(_column(output))
        ptr, values = self._chunk_intervals()
        return {
            "distance_begin": np.array(self.begin[: self.intervals], np.int64),
            "distance_end": np.array(self.end[: self.intervals], np.int64),
            "interval_first": np.array(self.interval_first[: self.intervals], np.int64),
            "interval_last": np.array(self.interval_last[: self.intervals], np.int64),
            "interval_bytes": np.array(self.interval_bytes[: self.intervals], np.int64),
            "read_interval": np.array(self.read_interval, np.int64),
            "read_prior": np.array(self.read_prior, np.int64),
            "chunk_kernel": np.array(self.chunk_kernel[: self.chunks], np.int64),
            "chunk_bytes": np.array(self.chunk_bytes[: self.chunks], np.int64),
            "chunk_flush": np.array(self.chunk_flush[: self.chunks], np.int64),
            "chunk_ptr": ptr,
            "chunk_intervals": values,
        }

    @cython.cfunc
    def _meet(self, kernel: cython.longlong) -> cython.void:
        """Members of the kernel: its blocks, what it touches of each, and what it reads and writes there."""
        index: cython.longlong
        spot: cython.longlong
        self.members = 0
        for index in range(self.read_ptr[kernel], self.read_ptr[kernel + 1]):
            spot = self._touch(kernel, self.read_tensor[index], self.read_size[index])
            self.reading[spot] += self.read_size[index]
        for index in range(self.write_ptr[kernel], self.write_ptr[kernel + 1]):
            spot = self._touch(kernel, self.write_tensor[index], self.write_size[index])
            if self.writing[spot] == NONE:
                self.writing[spot] = 0
            self.writing[spot] += self.write_size[index]
        for spot in range(self.members):
            self.extent[spot] = min(self.extent[spot], self.size[self.member[spot]])

    @cython.cfunc
    def _touch(self, kernel: cython.longlong, tensor: cython.longlong, size: cython.longlong) -> cython.longlong:
        """The place of a tensor's block among the members; views of one block add up, each with its largest access."""
        storage: cython.longlong = self.storage_of[tensor]
        block: cython.longlong = self._block(storage)
        spot: cython.longlong
        if self.met[block] != kernel:
            self.met[block], self.place[block] = kernel, self.members
            spot = self.members
            self.members += 1
            self.member[spot], self.extent[spot], self.reading[spot], self.writing[spot] = block, 0, 0, NONE
        spot = self.place[block]
        if self.seen[tensor] != kernel:
            self.seen[tensor], self.view[tensor] = kernel, 0
        if size > self.view[tensor]:
            self.extent[spot] += size - self.view[tensor]
            self.view[tensor] = size
        return spot

    @cython.cfunc
    def _block(self, storage: cython.longlong) -> cython.longlong:
        """A storage that is allocated now takes the block of its size that was freed last."""
        freed: cython.longlong
        if self.fresh[storage]:
            self.fresh[storage] = 0
            freed = self.idle[self.kind[storage]]
            if freed != NONE:
                self.idle[self.kind[storage]] = self.idle_next[freed]
                self.block[storage] = self.block[freed]
        return self.block[storage]

    @cython.cfunc
    def _release(self, kernel: cython.longlong) -> cython.void:
        index: cython.longlong
        storage: cython.longlong
        for index in range(self.release_ptr[kernel], self.release_ptr[kernel + 1]):
            storage = self.release[index]
            if not self.fresh[storage]:
                self.idle_next[storage] = self.idle[self.kind[storage]]
                self.idle[self.kind[storage]] = storage

    @cython.cfunc
    def _measure(self, kernel: cython.longlong) -> cython.void:
        """A new interval for each member that was touched before."""
        spot: cython.longlong
        block: cython.longlong
        before: cython.longlong
        fixed: cython.longlong
        for spot in range(self.members):
            before = self.last[self.member[spot]]
            if before != NONE:
                self.together[before] += self.footprint[self.member[spot]]
        self._rank()
        for spot in range(self.members):
            block = self.member[spot]
            before = self.last[block]
            self.interval[spot] = NONE
            if before == NONE:
                continue
            # between + both + own: `together` is both and own
            fixed = self.total - self._prefix(before + 1) + self.together[before]
            self.interval[spot] = self._interval(
                block, kernel, fixed + self.held[before] - self.together[before], fixed + self.older[spot]
            )
        for spot in range(self.members):
            if self.last[self.member[spot]] != NONE:
                self.together[self.last[self.member[spot]]] = 0

    @cython.cfunc
    def _interval(
        self, block: cython.longlong, kernel: cython.longlong, begin: cython.longlong, end: cython.longlong
    ) -> cython.longlong:
        """Note the interval that `kernel` ends by touching `block` again."""
        number: cython.longlong = self.intervals
        self.interval_first[number], self.interval_last[number] = self.last[block], kernel
        self.interval_bytes[number] = self.footprint[block]
        self.begin[number], self.end[number], self.interval_block[number] = begin, end, block
        self.touches[block] += 1
        self.intervals += 1
        return number

    @cython.cfunc
    def _rank(self) -> cython.void:
        """`older` of all members: sorted by last touch (shell sort), bytes of those that come before."""
        gap: cython.longlong = self.members
        spot: cython.longlong
        hole: cython.longlong
        key: cython.longlong
        running: cython.longlong = 0
        below: cython.longlong = 0
        for spot in range(self.members):
            self.order[spot] = spot
        while gap > 1:
            gap = max(1, gap * 5 // 11)
            for spot in range(gap, self.members):
                key, hole = self.order[spot], spot
                while hole >= gap and self._age(self.order[hole - gap]) > self._age(key):
                    self.order[hole] = self.order[hole - gap]
                    hole -= gap
                self.order[hole] = key
        for spot in range(self.members):
            key = self.order[spot]
            if spot and self._age(key) != self._age(self.order[spot - 1]):
                below = running
            self.older[key] = below
            running += self.extent[key]

    @cython.cfunc
    def _age(self, spot: cython.longlong) -> cython.longlong:
        return self.last[self.member[spot]]

    @cython.cfunc
    def _note_reads(self, kernel: cython.longlong) -> cython.void:
        """What of each read was touched before; views of one block share that in proportion to their sizes."""
        index: cython.longlong
        spot: cython.longlong
        block: cython.longlong
        prior: cython.longlong
        whole: cython.longlong
        size: cython.longlong
        for index in range(self.read_ptr[kernel], self.read_ptr[kernel + 1]):
            block = self.block[self.storage_of[self.read_tensor[index]]]
            spot, size = self.place[block], self.read_size[index]
            self.read_interval[index] = self.interval[spot]
            prior = self.footprint[block] if self.interval[spot] != NONE else 0
            whole = min(self.reading[spot], self.size[block])
            if prior >= whole:
                self.read_prior[index] = size
            elif size < 2**31 and prior < 2**31:
                self.read_prior[index] = size * prior // whole
            else:
                self.read_prior[index] = _share(size, prior, whole)

    @cython.cfunc
    def _note_writes(self, kernel: cython.longlong) -> cython.void:
        """A chunk for each block that is written; it ends those of the block that are no larger."""
        spot: cython.longlong
        block: cython.longlong
        top: cython.longlong
        index: cython.longlong
        for index in range(self.write_ptr[kernel], self.write_ptr[kernel + 1]):
            block = self.block[self.storage_of[self.write_tensor[index]]]
            spot = self.place[block]
            if self.writing[spot] == NONE:
                continue  # written by an earlier access of this kernel
            top = self.newest[block]
            while top != NONE and self.chunk_bytes[top] <= self.writing[spot]:
                self.chunk_count[top] = self.touches[block] - self.chunk_first[top]
                top = self.under[top]
            self.under[self.chunks], self.newest[block] = top, self.chunks
            self.chunk_kernel[self.chunks], self.chunk_block[self.chunks] = kernel, block
            self.chunk_bytes[self.chunks] = min(self.writing[spot], self.extent[spot])
            self.chunk_first[self.chunks] = self.touches[block]
            self.chunks += 1
            self.writing[spot] = NONE

    @cython.cfunc
    def _remember(self, kernel: cython.longlong) -> cython.void:
        """The members are now the blocks touched last."""
        spot: cython.longlong
        block: cython.longlong
        moved: cython.longlong = 0
        for spot in range(self.members):
            block = self.member[spot]
            if self.last[block] != NONE:
                self._add(self.last[block], -self.footprint[block])
            self.last[block], self.footprint[block] = kernel, self.extent[spot]
            moved += self.extent[spot]
        self._add(kernel, moved)

    @cython.cfunc
    def _add(self, kernel: cython.longlong, amount: cython.longlong) -> cython.void:
        index: cython.longlong = kernel + 1
        self.held[kernel] += amount
        self.total += amount
        while index <= self.kernels:
            self.tree[index] += amount
            index += index & -index

    @cython.cfunc
    def _prefix(self, index: cython.longlong) -> cython.longlong:
        """Bytes of the blocks that kernels before `index` touched last."""
        total: cython.longlong = 0
        while index > 0:
            total += self.tree[index]
            index &= index - 1
        return total

    @cython.cfunc
    def _finish(self, output: cython.longlong[::1]) -> cython.void:
        """What is still dirty at the end: outputs are flushed, the rest has been evicted or stays."""
        block: cython.longlong
        before: cython.longlong
        fixed: cython.longlong
        top: cython.longlong
        flushed: cython.longlong[::1] = _filled(len(self.block))
        for block in range(len(self.block)):
            if output[block]:
                flushed[self.block[block]] = 1
        for block in range(len(self.block)):
            top = self.newest[block]
            if top == NONE:
                continue
            before = self.last[block]
            fixed = self.total - self._prefix(before + 1) + self.footprint[block]
            self._interval(block, self.kernels, fixed + self.held[before] - self.footprint[block], fixed)
            while top != NONE:
                self.chunk_flush[top] = flushed[block]
                self.chunk_count[top] = self.touches[block] - self.chunk_first[top]
                top = self.under[top]

    def _chunk_intervals(self) -> tuple[Any, Any]:
        """CSR by chunk: a run of the intervals of its block, which are in order of time."""
        index: cython.longlong
        first: cython.longlong
        place: cython.longlong = 0
        chunk: cython.longlong
        ends = np.cumsum(np.asarray(self.touches, np.int64))
        cursor: cython.longlong[::1] = _column(ends - np.asarray(self.touches, np.int64))
        start: cython.longlong[::1] = _column(cursor)
        sorted_: cython.longlong[::1] = _filled(self.intervals)
        for index in range(self.intervals):
            sorted_[cursor[self.interval_block[index]]] = index
            cursor[self.interval_block[index]] += 1
        ptr = np.zeros(self.chunks + 1, np.int64)
        np.cumsum(np.asarray(self.chunk_count[: self.chunks], np.int64), out=ptr[1:])
        values: cython.longlong[::1] = _filled(int(ptr[self.chunks]))
        for chunk in range(self.chunks):
            first = start[self.chunk_block[chunk]] + self.chunk_first[chunk]
            for index in range(first, first + self.chunk_count[chunk]):
                values[place] = sorted_[index]
                place += 1
        return ptr, np.asarray(values, np.int64)


def _most(graph: KernelGraph) -> int:
    """Accesses of the kernel that has most."""
    return int((np.diff(graph.reads.ptr) + np.diff(graph.writes.ptr)).max(initial=0))
