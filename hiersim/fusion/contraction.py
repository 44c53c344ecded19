"""Groups of a DAG that are merged one by one and stay free of cycles.

Nodes carry a rank that rises along every edge, so that a search for a way between two groups stays between their
ranks. The idea is that of online topological ordering (Pearce and Kelly, 2006), with ranks instead of positions.
Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import pairwise
from typing import Any

import cython
import numpy as np

from hiersim.fusion.patterns import distinct_pairs
from hiersim.model.operators import IntArray

MOST_VISITED = 10_000
"""Groups that one search looks at; a way that is not excluded by then counts as one, so that the groups stay apart."""
SORTED = 16
"""Neighbours of one group that a search looks at in the order of their ranks; with more of them, those first found."""
FEW = 8
"""Names of neighbours that a group has before it is asked which of them are still different groups."""
GAP = 2**20
"""Between the ranks of neighbours at first, so that raising one seldom raises all that follow it to the graph's end."""


@cython.cclass
class Contraction:
    """Nodes 0 … N - 1 of a DAG in topological order, and the groups that they are in."""

    parent: cython.longlong[::1]
    rank: cython.longlong[::1]
    seen: cython.longlong[::1]  # the last search that came by
    waiting: cython.longlong[::1]  # what a search has still to look at
    searches: cython.longlong
    ahead: list[list[int]]  # by group, what it waits for: nodes, any of each group, some of them perhaps its own
    behind: list[list[int]]  # by group, what waits for it, likewise
    most: list[dict[int, int]]  # for each of the two, by group, names to have before they are looked through

    def __init__(self, count: int, source: IntArray, target: IntArray) -> None:
        self.ahead, self.behind = _neighbours(target, source, count), _neighbours(source, target, count)
        self.most = [{}, {}]
        self.searches = 0
        self.parent, self.rank, self.seen, self.waiting = (_column(count + 1) for _ in range(4))
        node: cython.longlong
        first: cython.longlong
        least: cython.longlong
        for node in range(count):
            self.parent[node] = node
            least = 0
            for first in self.ahead[node]:
                least = max(least, self.rank[first] + GAP)
            self.rank[node] = least

    def group(self, node: int) -> int:
        """The group of a node, named by one of its nodes."""
        return self.root(node)

    def before(self, group: int) -> set[int]:
        """The groups that a group waits for."""
        return {self.root(node) for node in self.ahead[group]} - {group}

    def groups(self) -> IntArray:
        """(N,) the group of each node."""
        found = np.array(self.parent, np.int64)[: len(self.ahead)]
        while True:
            further = found[found]
            if np.array_equal(further, found):
                return found
            found = further

    def can_merge(self, one: int, other: int) -> bool:
        """True where no way leads from one group to the other through a third."""
        early: cython.longlong = one
        late: cython.longlong = other
        node: cython.longlong
        first: cython.longlong
        begin: cython.longlong
        place: cython.longlong
        depth: cython.longlong = 1
        found: cython.longlong = 0
        if self.rank[early] > self.rank[late]:
            early, late = late, early
        floor: cython.longlong = self.rank[early]
        self.searches += 1
        self.seen[late] = self.searches
        self.waiting[0] = late
        while depth:
            depth -= 1
            node = self.waiting[depth]
            begin = depth
            for first in self.ahead[node]:
                if self.parent[first] != first:
                    first = self.root(first)
                if first == early:
                    if node != late:
                        return False
                elif self.rank[first] > floor and self.seen[first] != self.searches:
                    self.seen[first] = self.searches
                    found += 1
                    place = depth  # the nearest to `early` on top: a way is found soon
                    while (
                        place > begin
                        and depth - begin < SORTED
                        and self.rank[self.waiting[place - 1]] < self.rank[first]
                    ):
                        self.waiting[place] = self.waiting[place - 1]
                        place -= 1
                    self.waiting[place] = first
                    depth += 1
            if found > MOST_VISITED:
                return False
        return True

    def merge(self, one: int, other: int) -> int:
        """The group of both; only after `can_merge`."""
        if self.rank[one] > self.rank[other]:
            one, other = other, one
        floor, rank = self.rank[one], self.rank_of_both(one, other)
        more = len(self.ahead[one]) + len(self.behind[one]) >= len(self.ahead[other]) + len(self.behind[other])
        keep, gone = (one, other) if more else (other, one)
        self.parent[gone] = keep
        self.join(self.ahead, self.most[0], keep, gone)
        self.join(self.behind, self.most[1], keep, gone)
        self.rank[keep] = rank
        if rank > floor:
            self.lift(keep)
        return keep

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def root(self, node: cython.longlong) -> cython.longlong:
        """`group`."""
        while self.parent[node] != node:
            self.parent[node] = self.parent[self.parent[node]]
            node = self.parent[node]
        return node

    @cython.cfunc
    def join(
        self, neighbours: list[list[int]], most: dict[int, int], keep: cython.longlong, gone: cython.longlong
    ) -> None:
        """The neighbours of both; each group once as soon as there are twice as many names as there were groups.

        Other groups go on naming either, so that a merger costs no more where many look at it.
        """
        mine: list[int] = neighbours[keep]
        mine += neighbours[gone]
        neighbours[gone] = []
        if len(mine) > most.get(keep, FEW):
            found = {self.root(node) for node in mine}
            found.discard(keep)
            neighbours[keep] = list(found)
            most[keep] = 2 * len(found) + FEW

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def rank_of_both(self, one: cython.longlong, other: cython.longlong) -> cython.longlong:
        """A rank above all that either group waits for; that of `one`, the lower, where no follower need be raised."""
        waits: list[int] = self.ahead[other]
        if len(self.behind[one]) <= len(waits):
            return self.rank[other]
        first: cython.longlong
        found: cython.longlong = self.rank[one]
        for first in waits:
            first = self.root(first)
            if first != one and first != other and self.rank[first] >= found:
                found = self.rank[first] + 1
        return found

    @cython.cfunc
    def lift(self, group: cython.longlong) -> None:
        """Raise the ranks of all that follow a group above its own, lowest first, so that each is raised about once."""
        node: cython.longlong
        follower: cython.longlong
        least: cython.longlong
        count: int = len(self.ahead)
        self.searches += 1
        self.seen[group] = self.searches
        waiting: list[int] = [self.rank[group] * count + group]
        while waiting:
            node = heappop(waiting) % count
            least = self.rank[node]
            for follower in self.behind[node]:
                if self.parent[follower] != follower:
                    follower = self.root(follower)
                if self.rank[follower] <= least and follower != node:
                    if self.seen[follower] != self.searches:
                        self.seen[follower] = self.searches
                        heappush(waiting, self.rank[follower] * count + follower)
                    self.rank[follower] = least + 1


def _column(count: int) -> Any:
    """A column of zeros: an array where compiled, a list where interpreted (lists are quicker there)."""
    return np.zeros(count, np.int64) if cython.compiled else [0] * count


def _neighbours(of: IntArray, other: IntArray, count: int) -> list[list[int]]:
    """For each node its neighbours."""
    first, second = distinct_pairs(of, other, count)
    ptr, values = np.searchsorted(first, np.arange(count + 1)).tolist(), second.tolist()
    return [values[begin:end] for begin, end in pairwise(ptr)]
