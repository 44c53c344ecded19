"""The search behind a scratchpad's plan: the smallest gap among what is alive at the same time.

Which storage is placed when stands in `allocation.py`. Ordinary Python with types for Cython: compiled where there is a
C compiler, interpreted elsewhere, with the same results.
"""

from __future__ import annotations

from typing import Any

import cython
import numpy as np

from hiersim.lowering.columns import column, loaded
from hiersim.model.operators import IntArray

NONE = cython.declare(cython.longlong, -1)
SHARE = cython.declare(cython.longlong, 16)
"""The tree gives up when it has found more than 1/16 of all that is placed: to sort them would take longer."""


@cython.cclass
class Pad:
    """Storages by the beginning of their lives, and two ways to those that are placed and alive in a span of time.

    Where few are alive, a tree finds them: leaf `i` stands for storage `i` and holds the last kernel of its life once
    it is placed, before that `NONE`; a node holds the largest of its leaves. Where many are, all that is placed is
    looked at in the order of addresses, in which it is kept without the latest.
    """

    storages: cython.longlong
    first: cython.longlong[::1]  # (S,) ascending
    last: cython.longlong[::1]
    size: cython.longlong[::1]
    address: cython.longlong[::1]
    leaves: cython.longlong  # a power of two
    tree: cython.longlong[::1]  # (2 · leaves,) children of node n: 2n and 2n + 1; the leaves are the last
    stack: cython.longlong[::1]  # nodes that a search has still to visit
    found: cython.longlong[::1]  # storages that it has found
    start: cython.longlong[::1]  # where those that are alive begin and end, by address
    end: cython.longlong[::1]
    ordered: cython.longlong  # how many placed storages are in order of addresses: all but the latest
    ordered_first: cython.longlong[::1]  # copies of their columns, to be read one after the other
    ordered_last: cython.longlong[::1]
    ordered_start: cython.longlong[::1]
    ordered_end: cython.longlong[::1]
    waiting: cython.longlong
    latest: cython.longlong[::1]

    def __init__(self, first: IntArray, last: IntArray, size: IntArray) -> None:
        self.storages = len(first)
        self.first, self.last, self.size = _own(first), _own(last), _own(size)
        self.leaves = 1
        while self.leaves < self.storages:
            self.leaves *= 2
        self.address, self.found = column(self.storages), column(self.storages)
        self.start, self.end, self.latest = column(self.storages), column(self.storages), column(self.storages)
        self.ordered_first, self.ordered_last = column(self.storages), column(self.storages)
        self.ordered_start, self.ordered_end = column(self.storages), column(self.storages)
        self.tree, self.stack = column(2 * self.leaves), column(130)
        self.ordered = self.waiting = 0

    def place(self, order: IntArray, capacity: int) -> IntArray:
        """(S,) the address of each storage, -1 where it found no gap below `capacity`; placed in that order."""
        wanted: cython.longlong[::1] = _own(order)
        room: cython.longlong = capacity
        place: cython.longlong
        self.ordered = self.waiting = 0
        for place in range(2 * self.leaves):
            self.tree[place] = NONE
        for place in range(self.storages):
            storage: cython.longlong = wanted[place]
            living: cython.longlong = self._search(storage, (self.ordered + self.waiting) // SHARE + SHARE)
            if living == NONE:
                living = self._scan(storage)
            self.address[storage] = self._gap(self.size[storage], living, room)
            if self.address[storage] != NONE:
                self._add(storage)
        return np.array(self.address, np.int64)

    @cython.cfunc
    def _gap(self, size: cython.longlong, living: cython.longlong, room: cython.longlong) -> cython.longlong:
        """The lowest address of the smallest gap between the `living` that were found; above them when none is left."""
        least: cython.longlong = room
        best: cython.longlong = NONE
        end: cython.longlong = 0
        index: cython.longlong
        for index in range(living):
            gap: cython.longlong = self.start[index] - end
            if size <= gap and (best == NONE or gap < least):
                least, best = gap, end
            end = max(end, self.end[index])
        if best == NONE and size <= room - end:
            best = end
        return best

    @cython.cfunc
    def _search(self, storage: cython.longlong, most: cython.longlong) -> cython.longlong:
        """Find the placed storages whose lives overlap that of `storage`; how many, `NONE` when more than `most`."""
        begin: cython.longlong = self.first[storage]
        living: cython.longlong = 0
        depth: cython.longlong = 1
        self.stack[0] = 1
        while depth > 0:
            depth -= 1
            node: cython.longlong = self.stack[depth]
            if self.tree[node] < begin:
                continue  # all of them are dead by then, or not placed
            if node < self.leaves:
                if self._begins_in_time(2 * node + 1, self.last[storage]):
                    self.stack[depth] = 2 * node + 1
                    depth += 1
                self.stack[depth] = 2 * node
                depth += 1
            elif self.first[node - self.leaves] <= self.last[storage]:
                if living == most:
                    return NONE
                self.found[living] = node - self.leaves
                living += 1
        self._sort(self.found, living)
        for depth in range(living):
            self.start[depth] = self.address[self.found[depth]]
            self.end[depth] = self.start[depth] + self.size[self.found[depth]]
        return living

    @cython.cfunc
    def _begins_in_time(self, node: cython.longlong, end: cython.longlong) -> cython.bint:
        """Whether the first storage below `node` begins before or at `end`; the others begin no earlier."""
        while node < self.leaves:
            node *= 2
        return node - self.leaves < self.storages and self.first[node - self.leaves] <= end

    @cython.cfunc
    def _scan(self, storage: cython.longlong) -> cython.longlong:
        """Find them among all that is placed; how many."""
        begin: cython.longlong = self.first[storage]
        end: cython.longlong = self.last[storage]
        living: cython.longlong = 0
        index: cython.longlong
        self._merge()
        for index in range(self.ordered):
            if self.ordered_first[index] <= end and self.ordered_last[index] >= begin:
                self.start[living], self.end[living] = self.ordered_start[index], self.ordered_end[index]
                living += 1
        return living

    @cython.cfunc
    def _merge(self) -> cython.longlong:
        """Bring the latest into order, from the end."""
        self._sort(self.latest, self.waiting)
        left: cython.longlong = self.ordered - 1
        spot: cython.longlong
        self.ordered += self.waiting
        for spot in range(self.ordered - 1, -1, -1):
            if self.waiting == 0:
                break
            new: cython.longlong = self.latest[self.waiting - 1]
            if left >= 0 and self.ordered_start[left] > self.address[new]:
                self.ordered_first[spot], self.ordered_last[spot] = self.ordered_first[left], self.ordered_last[left]
                self.ordered_start[spot], self.ordered_end[spot] = self.ordered_start[left], self.ordered_end[left]
                left -= 1
            else:
                self.ordered_first[spot], self.ordered_last[spot] = self.first[new], self.last[new]
                self.ordered_start[spot], self.ordered_end[spot] = self.address[new], self.address[new] + self.size[new]
                self.waiting -= 1
        return 0

    @cython.cfunc
    def _add(self, storage: cython.longlong) -> cython.longlong:
        """Note that the storage is placed."""
        node: cython.longlong = self.leaves + storage
        self.latest[self.waiting] = storage
        self.waiting += 1
        while node > 0 and self.tree[node] < self.last[storage]:
            self.tree[node] = self.last[storage]
            node //= 2
        return 0

    @cython.cfunc
    def _sort(self, column_: cython.longlong[::1], count: cython.longlong) -> cython.longlong:
        """The first `count` storages of a column by address (shell sort)."""
        gap: cython.longlong = count
        index: cython.longlong
        while gap > 1:
            gap = max(1, gap * 5 // 11)
            for index in range(gap, count):
                key: cython.longlong = column_[index]
                hole: cython.longlong = index
                while hole >= gap and self.address[column_[hole - gap]] > self.address[key]:
                    column_[hole] = column_[hole - gap]
                    hole -= gap
                column_[hole] = key
        return 0


def _own(values: Any) -> Any:
    """A column of its own; compiled code cannot look at one that is read-only."""
    return loaded(np.array(values, np.int64))
