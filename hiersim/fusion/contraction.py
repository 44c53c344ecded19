"""Groups of a DAG that are merged one by one and stay free of cycles.

Nodes carry a rank that rises along every edge, so that a search for a way between two groups stays between their
ranks. The idea is that of online topological ordering (Pearce and Kelly, 2006), with ranks instead of positions.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

from hiersim.model.operators import IntArray

MOST_VISITED: Final = 10_000
"""Groups that one search looks at; a way that is not excluded by then counts as one, so that the groups stay apart."""
GAP: Final = 2**20
"""Between the ranks of neighbours at first, so that raising one seldom raises all that follow it to the graph's end."""


class Contraction:
    """Nodes 0 … N - 1 of a DAG in topological order, and the groups that they are in."""

    def __init__(self, count: int, source: IntArray, target: IntArray) -> None:
        self._parent = list(range(count))
        self._before: list[set[int]] = [set() for _ in range(count)]
        self._after: list[set[int]] = [set() for _ in range(count)]
        for first, second in zip(source.tolist(), target.tolist(), strict=True):
            self._before[second].add(first)
            self._after[first].add(second)
        self._rank = [0] * count
        for node in range(count):
            self._rank[node] = GAP + max((self._rank[first] for first in self._before[node]), default=-GAP)

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

    def can_merge(self, one: int, other: int) -> bool:
        """True where no way leads from one group to the other through a third."""
        if self._rank[one] > self._rank[other]:
            one, other = other, one
        rank = self._rank
        floor, seen = rank[one], {one}
        waiting = [node for node in self._before[other] if node != one and rank[node] > floor]
        waiting.sort(key=rank.__getitem__, reverse=True)  # the nearest to `one` first: a way is found soon
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            if one in self._before[node] or len(seen) > MOST_VISITED:
                return False
            seen.add(node)
            more = [first for first in self._before[node] if rank[first] > floor and first not in seen]
            if len(more) > 1:
                more.sort(key=rank.__getitem__, reverse=True)
            waiting += more
        return True

    def merge(self, one: int, other: int) -> int:
        """The group of both; only after `can_merge`."""
        if self._rank[one] > self._rank[other]:
            one, other = other, one
        floor, rank = self._rank[one], self._rank_of_both(one, other)
        degree = [len(self._before[group]) + len(self._after[group]) for group in (one, other)]
        keep, gone = (one, other) if degree[0] >= degree[1] else (other, one)
        self._parent[gone] = keep
        for ahead, behind in ((self._before, self._after), (self._after, self._before)):
            for node in ahead[gone]:
                behind[node].discard(gone)
                if node != keep:
                    behind[node].add(keep)
            ahead[keep] |= ahead[gone]
            ahead[keep] -= {keep, gone}
            ahead[gone] = set()
        self._rank[keep] = rank
        if rank > floor:
            self._raise(keep)
        return keep

    def _rank_of_both(self, one: int, other: int) -> int:
        """A rank above all that either group waits for; that of `one`, the lower, where no follower need be raised."""
        if len(self._after[one]) <= len(self._before[other]):
            return self._rank[other]
        waits = [1 + self._rank[first] for first in self._before[other] if first != one]
        return max([self._rank[one], *waits])

    def _raise(self, group: int) -> None:
        """Raise the ranks of all that follow a group above its own, lowest first, so that each is raised about once."""
        rank = self._rank
        queued, waiting = {group}, [(rank[group], group)]
        while waiting:
            _, node = heappop(waiting)
            for follower in self._after[node]:
                if rank[follower] <= rank[node]:
                    if follower not in queued:
                        queued.add(follower)
                        heappush(waiting, (rank[follower], follower))
                    rank[follower] = rank[node] + 1
