"""The sweep behind Belady's rule: what stays in a cache that lets go of what it holds by a fixed order.

What the items are and why such an order is a good one stands in `belady.py`. Ordinary Python with types for Cython:
compiled where there is a C compiler, interpreted elsewhere, with the same results.
"""

from __future__ import annotations

from typing import Any

import cython
import numpy as np

from hiersim.lowering.columns import column, loaded
from hiersim.model.operators import IntArray


@cython.cclass
class Sweep:
    """N items that would stay from one kernel to a later one, and the order in which a full cache keeps them.

    Nothing here changes after construction: one sweep serves every capacity.
    """

    items: cython.longlong
    first: cython.longlong[::1]  # (N,) the kernel after which the item comes in
    last: cython.longlong[::1]  # (N,) the later kernel that it waits for
    weight: cython.longlong[::1]  # (N,) its bytes
    rank: cython.longlong[::1]  # (N,) its place in the order
    ranked: cython.longlong[::1]  # (N,) the item at each place
    coming: cython.longlong[::1]  # (N,) items by `first`
    leaving: cython.longlong[::1]  # (N,) items by `last`

    def __init__(self, first: IntArray, last: IntArray, weight: IntArray, order: IntArray) -> None:
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        self.items = len(order)
        self.first, self.last, self.weight = _own(first), _own(last), _own(weight)
        self.rank, self.ranked = _own(rank), _own(order)
        self.coming, self.leaving = _own(np.argsort(first, kind="stable")), _own(np.argsort(last, kind="stable"))

    def run(self, capacity: int) -> IntArray:
        """(N,) bytes of each item that a cache of `capacity` bytes still holds when the kernel comes that it waits for.

        At each kernel what waited for it leaves and what begins there comes in; of all that is then there the items
        that come last in the order leave, byte by byte, until the rest fits. N log N.
        """
        kept: cython.longlong[::1] = column(self.items)
        heap: cython.longlong[::1] = column(self.items)  # places in the order of what has come in, the last one on top
        depth: cython.longlong = 0
        room: cython.longlong = capacity
        held: cython.longlong = 0
        index: cython.longlong = 0
        gone: cython.longlong = 0
        item: cython.longlong
        now: cython.longlong
        cut: cython.longlong
        while index < self.items:
            now = self.first[self.coming[index]]
            while self.last[self.leaving[gone]] <= now:
                held -= kept[self.leaving[gone]]
                gone += 1
            while index < self.items and self.first[self.coming[index]] == now:
                item = self.coming[index]
                kept[item] = self.weight[item]
                held += self.weight[item]
                _push(heap, depth, self.rank[item])
                depth += 1
                index += 1
            while held > room:
                item = self.ranked[heap[0]]
                if self.last[item] > now:
                    cut = min(kept[item], held - room)
                    kept[item] -= cut
                    held -= cut
                if self.last[item] <= now or kept[item] == 0:  # its kernel has come, or nothing of it is left
                    depth -= 1
                    _pop(heap, depth)
        return np.array(kept, np.int64)


def _own(values: Any) -> Any:
    """A column of its own to read; compiled code cannot look at one that is read-only."""
    return loaded(np.array(values, np.int64))


@cython.cfunc
def _push(heap: cython.longlong[::1], depth: cython.longlong, rank: cython.longlong) -> cython.longlong:
    """Add to a heap of `depth` numbers, the largest on top."""
    spot: cython.longlong = depth
    while spot > 0 and heap[(spot - 1) // 2] < rank:
        heap[spot] = heap[(spot - 1) // 2]
        spot = (spot - 1) // 2
    heap[spot] = rank
    return 0


@cython.cfunc
def _pop(heap: cython.longlong[::1], depth: cython.longlong) -> cython.longlong:
    """Take the top off; `depth` numbers are left."""
    rank: cython.longlong = heap[depth]
    spot: cython.longlong = 0
    child: cython.longlong = 1
    while child < depth:
        if child + 1 < depth and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= rank:
            break
        heap[spot] = heap[child]
        spot, child = child, 2 * child + 1
    heap[spot] = rank
    return 0
