"""Groups of a DAG that are merged one by one and stay free of cycles.

Nodes carry a rank that rises along every edge, so that a search for a way between two groups stays between their
ranks. The idea is that of online topological ordering (Pearce and Kelly, 2006), with ranks instead of positions.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

import numpy as np

from hiersim.fusion.patterns import distinct_pairs
from hiersim.model.operators import IntArray

MOST_VISITED: Final = 10_000
"""Groups that one search looks at; a way that is not excluded by then counts as one, so that the groups stay apart."""
GAP: Final = 2**20
"""Between the ranks of neighbours at first, so that raising one seldom raises all that follow it to the graph's end."""


class Contraction:
    """Nodes 0 … N - 1 of a DAG in topological order, and the groups that they are in."""

    def __init__(self, count: int, source: IntArray, target: IntArray) -> None:
        self._parent = list(range(count))
        self._before, before = _neighbours(target, source, count)
        self._after, _ = _neighbours(source, target, count)
        self._rank = rank = [0] * count
        for node, firsts in enumerate(before):
            if firsts:
                rank[node] = GAP + max([rank[first] for first in firsts])

    def group(self, node: int) -> int:
        """The group of a node, named by one of its nodes."""
        parent = self._parent
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def before(self, group: int) -> set[int]:
        """The groups that a group waits for."""
        return self._before[group]

    def groups(self) -> IntArray:
        """(N,) the group of each node."""
        found = np.array(self._parent, np.int64)
        while True:
            further = found[found]
            if np.array_equal(further, found):
                return found
            found = further

    def can_merge(self, one: int, other: int) -> bool:
        """True where no way leads from one group to the other through a third."""
        rank, before = self._rank, self._before
        if rank[one] > rank[other]:
            one, other = other, one
        floor = rank[one]
        waiting = [node for node in before[other] if rank[node] > floor and node != one]
        if not waiting:
            return True
        waiting.sort(key=rank.__getitem__, reverse=True)  # the nearest to `one` first: a way is found soon
        seen = {one}
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            if one in before[node] or len(seen) > MOST_VISITED:
                return False
            seen.add(node)
            more = [first for first in before[node] if rank[first] > floor and first not in seen]
            if len(more) > 1:
                more.sort(key=rank.__getitem__, reverse=True)
            waiting += more
        return True

    def merge(self, one: int, other: int) -> int:
        """The group of both; only after `can_merge`."""
        ranks, before, after = self._rank, self._before, self._after
        if ranks[one] > ranks[other]:
            one, other = other, one
        floor, rank = ranks[one], self._rank_of_both(one, other)
        more = len(before[one]) + len(after[one]) >= len(before[other]) + len(after[other])
        keep, gone = (one, other) if more else (other, one)
        self._parent[gone] = keep
        for ahead, behind in ((before, after), (after, before)):
            mine, theirs = ahead[keep], ahead[gone]
            for node in theirs:
                facing = behind[node]
                facing.discard(gone)
                if node != keep:
                    facing.add(keep)
                    mine.add(node)
            mine.discard(gone)
            theirs.clear()
        ranks[keep] = rank
        if rank > floor:
            self._raise(keep)
        return keep

    def _rank_of_both(self, one: int, other: int) -> int:
        """A rank above all that either group waits for; that of `one`, the lower, where no follower need be raised."""
        rank, waits = self._rank, self._before[other]
        if len(self._after[one]) <= len(waits):
            return rank[other]
        found = rank[one]
        for first in waits:
            if first != one and rank[first] >= found:
                found = rank[first] + 1
        return found

    def _raise(self, group: int) -> None:
        """Raise the ranks of all that follow a group above its own, lowest first, so that each is raised about once."""
        rank, after = self._rank, self._after
        queued, waiting = {group}, [(rank[group], group)]
        while waiting:
            _, node = heappop(waiting)
            least = rank[node]
            for follower in after[node]:
                if rank[follower] <= least:
                    if follower not in queued:
                        queued.add(follower)
                        heappush(waiting, (rank[follower], follower))
                    rank[follower] = least + 1


def _neighbours(of: IntArray, other: IntArray, count: int) -> tuple[list[set[int]], list[list[int]]]:
    """For each node its neighbours, as sets and as lists."""
    first, second = distinct_pairs(of, other, count)
    ptr, values = np.searchsorted(first, np.arange(count + 1)).tolist(), second.tolist()
    lists = [values[ptr[node] : ptr[node + 1]] for node in range(count)]
    return list(map(set, lists)), lists
