"""The walk over a kernel graph that measures every reuse interval; compiled where there is a compiler.

What an interval is and what the numbers mean stands in `residency.py`, what is dirty in `dirty.py`. Everything here is
a flat column, indexed by block, tensor, layer or kernel, so that the walk costs the same per access however long the
trace is. The caller has checked that all indices are in range and that no sum of bytes reaches 2^62.
"""

from __future__ import annotations

from typing import Any

import cython
import numpy as np

from hiersim.lowering.columns import longer
from hiersim.lowering.dirty import column, filled, result
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED, IntArray

if cython.compiled:
    from cython.cimports.hiersim.lowering.dirty import DirtyChunks
else:
    from hiersim.lowering.dirty import DirtyChunks

NONE = cython.declare(cython.longlong, -1)
MOST_LAYERS = cython.declare(cython.longlong, 32)
"""A block with more layers takes the two that were touched longest ago for one, as old as the older."""


@cython.cclass
class Walk:
    """One walk; `run` gives the columns of a `ReuseProfile` by name."""

    kernels: cython.longlong
    size: cython.longlong[::1]  # (S,) bytes of a storage; a block has the size of every storage that lies in it
    block: cython.longlong[::1]  # (S,) the block that a storage lies in
    fresh: cython.longlong[::1]  # (S,) 1: its block is chosen when it is first touched
    kind: cython.longlong[::1]  # (S,) storages of one kind take each other's blocks when memory is reused
    idle: cython.longlong[::1]  # (kinds,) storage freed last; the others hang on `idle_next`
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

    top: cython.longlong[::1]  # (S,) layer of the block that was touched last; the older ones hang on `layer_next`
    depth: cython.longlong[::1]  # (S,) how many layers the block has
    touches: cython.longlong[::1]  # (S,) intervals of the block
    layers: cython.longlong
    layer_next: cython.longlong[::1]
    layer_kernel: cython.longlong[::1]  # kernel that touched it last
    layer_bytes: cython.longlong[::1]
    tree: cython.longlong[::1]  # (K + 1,) Fenwick tree over `held`
    held: cython.longlong[::1]  # (K,) bytes that each kernel touched last
    total: cython.longlong  # their sum
    together: cython.longlong[::1]  # (K,) scratch: bytes that this kernel touches by kernel of last touch

    seen: cython.longlong[::1]  # (T,) kernel that saw the tensor last
    view: cython.longlong[::1]  # (T,) most bytes of it that one access moves in that kernel
    begins: cython.longlong[::1]  # (T,) where it begins in what that kernel touches of the block
    met: cython.longlong[::1]  # (S,) kernel that met the block last
    place: cython.longlong[::1]  # (S,) its place among the kernel's members
    members: cython.longlong  # blocks of this kernel, in order of their first access
    member: cython.longlong[::1]
    extent: cython.longlong[::1]  # bytes touched
    writing: cython.longlong[::1]  # bytes of all writes; -1: none
    part: cython.longlong[::1]  # (members + 1,) first of its parts: one for each layer that is touched again
    parts: cython.longlong
    part_last: cython.longlong[::1]  # kernel that touched it last
    part_low: cython.longlong[::1]  # where it begins in the block
    part_bytes: cython.longlong[::1]
    older: cython.longlong[::1]  # bytes of this kernel that were touched before the part was, or never
    interval: cython.longlong[::1]
    order: cython.longlong[::1]

    intervals: cython.longlong
    begin: cython.longlong[::1]
    end: cython.longlong[::1]
    interval_block: cython.longlong[::1]
    interval_first: cython.longlong[::1]  # kernel of the earlier touch, kernel of the later one, or the end of the run
    interval_last: cython.longlong[::1]
    interval_low: cython.longlong[::1]  # where its bytes begin in the block
    interval_bytes: cython.longlong[::1]
    pieces: cython.longlong
    read_pieces: cython.longlong[::1]  # (R,) pieces of each read
    piece_interval: cython.longlong[::1]
    piece_bytes: cython.longlong[::1]

    dirty: DirtyChunks

    def __init__(self, graph: KernelGraph, kind: IntArray) -> None:
        table = graph.tensors
        storages, tensors = len(table.storage_bytes), len(table.tensor_storage)
        self.kernels = len(graph)
        self.size, self.storage_of = column(table.storage_bytes), column(table.tensor_storage)
        self.block = column(np.arange(storages))
        self.fresh = column(np.isin(table.storage_role, [int(role) for role in PRODUCED]))
        kinds = int(kind.max(initial=-1)) + 1
        self.kind, self.idle, self.idle_next = column(kind), filled(kinds, NONE), filled(storages, NONE)
        freed = np.flatnonzero(table.storage_free >= 0)
        self.release = column(freed[np.argsort(table.storage_free[freed], kind="stable")])
        counts = np.bincount(table.storage_free[freed], minlength=len(graph))
        self.release_ptr = column(np.concatenate([[0], np.cumsum(counts)]))
        self.read_ptr, self.read_tensor = column(graph.reads.ptr), column(graph.reads.tensor)
        self.write_ptr, self.write_tensor = column(graph.writes.ptr), column(graph.writes.tensor)
        self.read_size, self.write_size = column(graph.reads.size), column(graph.writes.size)
        self.touches, self.top, self.depth = filled(storages), filled(storages, NONE), filled(storages)
        self.tree, self.held, self.together = filled(len(graph) + 1), filled(len(graph)), filled(len(graph))
        self.total = 0
        self.seen, self.view, self.begins = filled(tensors, NONE), filled(tensors), filled(tensors)
        self.met, self.place = filled(storages, NONE), filled(storages)
        self._allocate(storages, len(graph.reads.tensor), len(graph.writes.tensor), _most(graph))

    def _allocate(self, storages: int, reads: int, writes: int, most: int) -> None:
        """Room for the members of one kernel, and for the results.

        Each touch makes one layer and ends in one interval for each layer that it takes away, and one for a part.
        """
        touches = reads + writes
        self.members = self.parts = self.layers = self.intervals = self.pieces = 0
        self.member, self.extent, self.writing, self.part = filled(most), filled(most), filled(most), filled(most + 1)
        room = min(touches, int(MOST_LAYERS) * most) + most
        self.part_last, self.part_low, self.part_bytes = filled(room), filled(room), filled(room)
        self.older, self.interval, self.order = filled(room), filled(room), filled(room)
        self.layer_next, self.layer_kernel, self.layer_bytes = filled(touches), filled(touches), filled(touches)
        room = 3 * touches
        self.begin, self.end, self.interval_block = filled(room), filled(room), filled(room)
        self.interval_first, self.interval_last = filled(room), filled(room)
        self.interval_low, self.interval_bytes = filled(room), filled(room)
        self.read_pieces = filled(reads)
        self.piece_interval, self.piece_bytes = filled(reads), filled(reads)
        self.dirty = DirtyChunks(self.kernels, storages, touches, writes)

    def run(self, output: Any, runs: int = 1) -> dict[str, Any]:
        """Walk all kernels, which are `runs` runs of as many kernels each.

        `output` (S,) is 1 where a storage must reach its home.
        """
        kernel: cython.longlong
        for kernel in range(self.kernels):
            self._meet(kernel)
            self._measure(kernel)
            self._note_reads(kernel)
            self._note_writes(kernel)
            self._remember(kernel)
            self._release(kernel)
        period: cython.longlong = max(1, self.kernels // runs)
        flushed = self._finish(column(output), period)
        ptr = np.zeros(len(self.read_pieces) + 1, np.int64)
        np.cumsum(np.asarray(self.read_pieces, np.int64), out=ptr[1:])
        count = self.intervals
        size = result(self.interval_bytes, count)
        interval = result(self.interval_block, count), result(self.interval_low, count), size
        return {
            "distance_begin": result(self.begin, count),
            "distance_end": result(self.end, count),
            "interval_first": result(self.interval_first, count),
            "interval_last": result(self.interval_last, count),
            "interval_bytes": size,
            "read_ptr": ptr,
            "piece_interval": result(self.piece_interval, self.pieces),
            "piece_bytes": result(self.piece_bytes, self.pieces),
            **self.dirty.columns(flushed, period, interval, self.touches),
        }

    @cython.cfunc
    def _meet(self, kernel: cython.longlong) -> cython.void:
        """Members of the kernel: its blocks, what it touches of each, and what it reads and writes there."""
        index: cython.longlong
        spot: cython.longlong
        self.members = 0
        for index in range(self.read_ptr[kernel], self.read_ptr[kernel + 1]):
            self._touch(kernel, self.read_tensor[index], self.read_size[index])
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
            self.member[spot], self.extent[spot], self.writing[spot] = block, 0, NONE
        spot = self.place[block]
        if self.seen[tensor] != kernel:
            self.seen[tensor], self.view[tensor], self.begins[tensor] = kernel, 0, self.extent[spot]
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
        """A new interval for each part of a member that was touched before."""
        spot: cython.longlong
        part: cython.longlong
        before: cython.longlong
        fixed: cython.longlong
        never: cython.longlong = 0
        self.parts = 0
        for spot in range(self.members):
            self.part[spot] = self.parts
            never += self.extent[spot] - self._layers_of(spot)
        self.part[self.members] = self.parts
        self._rank(never)
        for spot in range(self.members):
            for part in range(self.part[spot], self.part[spot + 1]):
                before = self.part_last[part]
                # between + both + own: `together` is both and own
                fixed = self.total - self._prefix(before + 1) + self.together[before]
                self.interval[part] = self._interval(
                    self.member[spot], before, kernel, self.part_low[part], self.part_bytes[part],
                    fixed + self.held[before] - self.together[before], fixed + self.older[part],
                )  # fmt: skip
        for part in range(self.parts):
            self.together[self.part_last[part]] = 0

    @cython.cfunc
    def _layers_of(self, spot: cython.longlong) -> cython.longlong:
        """Note the parts of a member, from its start; how many bytes of it were touched before."""
        reached: cython.longlong = 0
        layer: cython.longlong = self.top[self.member[spot]]
        while layer != NONE and reached < self.extent[spot]:
            self.part_last[self.parts], self.part_low[self.parts] = self.layer_kernel[layer], reached
            self.part_bytes[self.parts] = min(self.layer_bytes[layer], self.extent[spot] - reached)
            self.together[self.layer_kernel[layer]] += self.part_bytes[self.parts]
            reached += self.part_bytes[self.parts]
            self.parts += 1
            layer = self.layer_next[layer]
        return reached

    @cython.cfunc
    def _interval(
        self,
        block: cython.longlong,
        before: cython.longlong,
        kernel: cython.longlong,
        low: cython.longlong,
        size: cython.longlong,
        begin: cython.longlong,
        end: cython.longlong,
    ) -> cython.longlong:
        """Note the interval of some bytes of `block` between two kernels."""
        number: cython.longlong = self.intervals
        self.interval_first[number], self.interval_last[number] = before, kernel
        self.interval_low[number], self.interval_bytes[number] = low, size
        self.begin[number], self.end[number], self.interval_block[number] = begin, end, block
        self.touches[block] += 1
        self.intervals += 1
        return number

    @cython.cfunc
    def _rank(self, never: cython.longlong) -> cython.void:
        """`older` of all parts: sorted by last touch (shell sort), bytes of those that come before."""
        gap: cython.longlong = self.parts
        spot: cython.longlong
        hole: cython.longlong
        key: cython.longlong
        running: cython.longlong = never
        below: cython.longlong = never
        for spot in range(self.parts):
            self.order[spot] = spot
        while gap > 1:
            gap = max(1, gap * 5 // 11)
            for spot in range(gap, self.parts):
                key, hole = self.order[spot], spot
                while hole >= gap and self.part_last[self.order[hole - gap]] > self.part_last[key]:
                    self.order[hole] = self.order[hole - gap]
                    hole -= gap
                self.order[hole] = key
        for spot in range(self.parts):
            key = self.order[spot]
            if spot and self.part_last[key] != self.part_last[self.order[spot - 1]]:
                below = running
            self.older[key] = below
            running += self.part_bytes[key]

    @cython.cfunc
    def _note_reads(self, kernel: cython.longlong) -> cython.void:
        """What of each read was touched before, part by part; views of one block lie side by side."""
        index: cython.longlong
        spot: cython.longlong
        part: cython.longlong
        low: cython.longlong
        high: cython.longlong
        size: cython.longlong
        tensor: cython.longlong
        for index in range(self.read_ptr[kernel], self.read_ptr[kernel + 1]):
            tensor = self.read_tensor[index]
            spot = self.place[self.block[self.storage_of[tensor]]]
            low = max(0, min(self.begins[tensor], self.extent[spot] - self.read_size[index]))
            high = low + self.read_size[index]
            for part in range(self.part[spot], self.part[spot + 1]):
                size = min(high, self.part_low[part] + self.part_bytes[part]) - max(low, self.part_low[part])
                if size > 0:
                    self._piece(self.interval[part], size)
                    self.read_pieces[index] += 1

    @cython.cfunc
    def _piece(self, interval: cython.longlong, size: cython.longlong) -> cython.void:
        if self.pieces == len(self.piece_bytes):
            self.piece_interval = longer(self.piece_interval, 2 * self.pieces)
            self.piece_bytes = longer(self.piece_bytes, 2 * self.pieces)
        self.piece_interval[self.pieces], self.piece_bytes[self.pieces] = interval, size
        self.pieces += 1

    @cython.cfunc
    def _note_writes(self, kernel: cython.longlong) -> cython.void:
        """A dirty chunk for each block that is written; all other chunks end where the kernel ends to touch them."""
        spot: cython.longlong
        block: cython.longlong
        index: cython.longlong
        size: cython.longlong
        for spot in range(self.members):
            self.dirty.cut(self.member[spot], self.extent[spot])
        for index in range(self.write_ptr[kernel], self.write_ptr[kernel + 1]):
            block = self.block[self.storage_of[self.write_tensor[index]]]
            spot = self.place[block]
            size = min(self.writing[spot], self.extent[spot])
            if size > 0:  # else nothing, or written by an earlier access of this kernel
                self.dirty.overwrite(block, kernel, index, size, self.touches[block])
            self.writing[spot] = NONE

    @cython.cfunc
    def _remember(self, kernel: cython.longlong) -> cython.void:
        """What the members touch is now what was touched last: a layer on top of what is left of the others."""
        spot: cython.longlong
        block: cython.longlong
        layer: cython.longlong
        left: cython.longlong
        taken: cython.longlong
        moved: cython.longlong = 0
        for spot in range(self.members):
            block, left = self.member[spot], self.extent[spot]
            layer = self.top[block]
            if left == 0:
                continue
            moved += left
            while layer != NONE and left > 0:
                taken = min(left, self.layer_bytes[layer])
                self._add(self.layer_kernel[layer], -taken)
                self.layer_bytes[layer] -= taken
                left -= taken
                if self.layer_bytes[layer] == 0:
                    layer = self.layer_next[layer]
                    self.depth[block] -= 1
            self.layer_kernel[self.layers], self.layer_bytes[self.layers] = kernel, self.extent[spot]
            self.layer_next[self.layers], self.top[block] = layer, self.layers
            self.layers += 1
            self.depth[block] += 1
            if self.depth[block] > MOST_LAYERS:
                self._merge(block)
        self._add(kernel, moved)

    @cython.cfunc
    def _merge(self, block: cython.longlong) -> cython.void:
        """Take the two oldest layers of the block for one."""
        layer: cython.longlong = self.top[block]
        last: cython.longlong
        while self.layer_next[self.layer_next[layer]] != NONE:
            layer = self.layer_next[layer]
        last = self.layer_next[layer]
        self._add(self.layer_kernel[layer], -self.layer_bytes[layer])
        self._add(self.layer_kernel[last], self.layer_bytes[layer])
        self.layer_bytes[layer] += self.layer_bytes[last]
        self.layer_kernel[layer], self.layer_next[layer] = self.layer_kernel[last], NONE
        self.depth[block] -= 1

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
        """Bytes that kernels before `index` touched last."""
        total: cython.longlong = 0
        while index > 0:
            total += self.tree[index]
            index &= index - 1
        return total

    def _finish(self, output: Any, period: cython.longlong) -> Any:
        """What is still dirty at the end has been evicted or stays; (S,) 1: a block of an output, which is flushed.

        The end is that of the run, `period` kernels long, that touched it last.
        """
        block: cython.longlong
        before: cython.longlong
        after: cython.longlong
        ends: cython.longlong
        layer: cython.longlong
        reached: cython.longlong
        dirty: cython.longlong
        flushed: cython.longlong[::1] = filled(len(self.block))
        for block in range(len(self.block)):
            if output[block]:
                flushed[self.block[block]] = 1
        for block in range(len(self.block)):
            dirty, reached, layer = self.dirty.end(block), 0, self.top[block]
            while reached < dirty:
                before = self.layer_kernel[layer]
                ends = (before // period + 1) * period
                after = self._prefix(ends) - self._prefix(before + 1)
                self._interval(block, before, ends, reached, self.layer_bytes[layer], after + self.held[before], after)
                reached += self.layer_bytes[layer]
                layer = self.layer_next[layer]
            self.dirty.close(block, self.touches[block])
        return flushed


def _most(graph: KernelGraph) -> int:
    """Accesses of the kernel that has most."""
    return int((np.diff(graph.reads.ptr) + np.diff(graph.writes.ptr)).max(initial=0))
