"""Groups of a DAG that are merged one by one and stay free of cycles.

Nodes carry a rank that rises along every edge, so that a search for a way between two groups stays between their
ranks, and comes from both of them. The idea is that of online topological ordering (Pearce and Kelly, 2006), with
ranks instead of positions.
Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import cython
import numpy as np

from hiersim.fusion.patterns import Column, distinct_pairs
from hiersim.model.operators import IntArray

MOST_VISITED = 100_000
"""Neighbours that one search looks at; a way that is not excluded by then counts as one: the groups stay apart."""
SORTED = 16
"""Neighbours of one group that a search looks at in the order of their ranks; with more of them, those first found."""
FEW = 8
"""Names of neighbours that a group has before it is asked which of them are still different groups."""
GAP = 2**20
"""Between the ranks of neighbours at first, so that raising one seldom raises all that follow it to the graph's end."""


@cython.cclass
class Neighbours:
    """A list of neighbours for each group, in columns: two lists become one without being copied."""

    node: cython.longlong[::1]  # (E,) a node of the neighbour, any; perhaps of the group itself, once it has grown
    following: cython.longlong[::1]  # (E,) the next entry of the same list; -1 behind the last
    first: cython.longlong[::1]  # by group, the first entry of its list; -1 where there is none
    last: cython.longlong[::1]
    count: cython.longlong[::1]
    most: cython.longlong[::1]  # by group, entries to have before they are looked through

    def __init__(self, of: IntArray, other: IntArray, count: int) -> None:
        group, node = distinct_pairs(of, other, count)
        counts = np.bincount(group, minlength=count)
        ends, filled = np.cumsum(counts), counts > 0
        following = np.arange(1, len(node) + 1)
        following[ends[filled] - 1] = -1
        self.node, self.following = _column(node), _column(following)
        self.first, self.last = _column(np.where(filled, ends - counts, -1)), _column(np.where(filled, ends - 1, -1))
        self.count, self.most = _column(counts), _column(np.full(count, FEW))

    @cython.cfunc
    def append(self, keep: cython.longlong, gone: cython.longlong) -> None:
        """Hang the list of one group on that of another."""
        if self.first[gone] < 0:
            return
        if self.first[keep] < 0:
            self.first[keep] = self.first[gone]
        else:
            self.following[self.last[keep]] = self.first[gone]
        self.last[keep] = self.last[gone]
        self.count[keep] += self.count[gone]
        self.first[gone] = self.last[gone] = -1
        self.count[gone] = 0


@cython.cclass
class Front:
    """One of the two ends from which a way between two groups is looked for."""

    of: Neighbours  # where it goes
    sign: cython.longlong  # 1 where ranks fall along the way, -1 where they rise
    seen: cython.longlong[::1]  # the last search that came by
    waiting: cython.longlong[::1]  # what it has still to look at
    depth: cython.longlong
    work: cython.longlong  # neighbours that it looked at
    origin: cython.longlong
    goal: cython.longlong
    bound: cython.longlong  # the goal's rank, times `sign`

    def __init__(self, of: Neighbours, sign: int, count: int) -> None:
        self.of, self.sign = of, sign
        self.seen, self.waiting = _column(np.zeros(count + 1)), _column(np.zeros(count + 1))

    @cython.cfunc
    def begin(
        self, search: cython.longlong, origin: cython.longlong, goal: cython.longlong, rank: cython.longlong
    ) -> None:
        """Stand at `origin`; `rank` is that of the goal."""
        self.origin, self.goal, self.bound = origin, goal, self.sign * rank
        self.seen[origin] = search
        self.waiting[0] = origin
        self.depth, self.work = 1, 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def cost(self) -> cython.longlong:
        """What it will have looked at after the next step."""
        return self.work + self.of.count[self.waiting[self.depth - 1]]


@cython.cclass
class Contraction:
    """Nodes 0 … N - 1 of a DAG in topological order, and the groups that they are in."""

    size: cython.longlong
    parent: cython.longlong[::1]
    rank: cython.longlong[::1]
    seen: cython.longlong[::1]  # the last walk over groups that came by
    searches: cython.longlong
    visited: cython.longlong
    ahead: Neighbours  # what each group waits for
    behind: Neighbours  # what waits for it
    back: Front
    forth: Front

    def __init__(self, count: int, source: IntArray, target: IntArray) -> None:
        self.size = count
        self.ahead, self.behind = Neighbours(target, source, count), Neighbours(source, target, count)
        self.searches = self.visited = 0
        self.back, self.forth = Front(self.ahead, 1, count), Front(self.behind, -1, count)
        self.parent = _column(np.arange(count + 1))
        self.rank, self.seen = _column(np.zeros(count + 1)), _column(np.zeros(count + 1))
        node: cython.longlong
        entry: cython.longlong
        least: cython.longlong
        for node in range(count):
            least = 0
            entry = self.ahead.first[node]
            while entry >= 0:
                least = max(least, self.rank[self.ahead.node[entry]] + GAP)
                entry = self.ahead.following[entry]
            self.rank[node] = least

    def work(self) -> int:
        """Neighbours that all searches looked at, the same on every machine: how much there was to do."""
        return self.visited

    def group(self, node: int) -> int:
        """The group of a node, named by one of its nodes."""
        return self.root(node)

    def before(self, group: int) -> set[int]:
        """The groups that a group waits for."""
        found, entry = set[int](), self.ahead.first[group]
        while entry >= 0:
            found.add(self.root(self.ahead.node[entry]))
            entry = self.ahead.following[entry]
        return found - {group}

    def groups(self) -> IntArray:
        """(N,) the group of each node."""
        found = np.array(self.parent, np.int64)[: self.size]
        while True:
            further = found[found]
            if np.array_equal(further, found):
                return found
            found = further

    def can_merge(self, one: int, other: int) -> bool:
        """True where no way leads from one group to the other through a third.

        Looked for from both ends, each time from where less was done: one of them is soon at its end, or both meet.
        """
        early: cython.longlong = one
        late: cython.longlong = other
        way: cython.bint = False
        if self.rank[early] > self.rank[late]:
            early, late = late, early
        self.searches += 1
        self.back.begin(self.searches, late, early, self.rank[early])
        self.forth.begin(self.searches, early, late, self.rank[late])
        while self.back.depth and self.forth.depth and not way:
            if self.back.cost() <= self.forth.cost():
                way = self.step(self.back, self.forth)
            else:
                way = self.step(self.forth, self.back)
            way = way or self.back.work + self.forth.work > MOST_VISITED
        self.visited += self.back.work + self.forth.work
        return not way

    @cython.cfunc
    @cython.exceptval(check=False)
    def step(self, front: Front, facing: Front) -> cython.bint:
        """Look at the neighbours of one group; True where there is a way to what the other front has seen."""
        first: cython.longlong
        place: cython.longlong
        key: cython.longlong
        begin: cython.longlong = front.depth - 1
        depth: cython.longlong = begin
        own: cython.bint = front.waiting[begin] == front.origin
        of: Neighbours = front.of
        entry: cython.longlong = of.first[front.waiting[begin]]
        while entry >= 0:
            front.work += 1
            first = of.node[entry]
            if self.parent[first] != first:
                first = of.node[entry] = self.root(first)
            entry = of.following[entry]
            key = front.sign * self.rank[first]
            if first == front.goal:
                if not own:
                    return True
            elif key > front.bound and front.seen[first] != self.searches:
                if facing.seen[first] == self.searches:
                    return True
                front.seen[first] = self.searches
                place = depth  # the nearest to the goal on top: a way is found soon
                while (
                    place > begin and depth - begin < SORTED and front.sign * self.rank[front.waiting[place - 1]] < key
                ):
                    front.waiting[place] = front.waiting[place - 1]
                    place -= 1
                front.waiting[place] = first
                depth += 1
        front.depth = depth
        return False

    def merge(self, one: int, other: int) -> int:
        """The group of both; only after `can_merge`."""
        if self.rank[one] > self.rank[other]:
            one, other = other, one
        floor, rank = self.rank[one], self.rank_of_both(one, other)
        mine: cython.longlong = self.ahead.count[one] + self.behind.count[one]
        more = mine >= self.ahead.count[other] + self.behind.count[other]
        keep, gone = (one, other) if more else (other, one)
        self.parent[gone] = keep
        self.join(self.ahead, keep, gone)
        self.join(self.behind, keep, gone)
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
    def join(self, of: Neighbours, keep: cython.longlong, gone: cython.longlong) -> None:
        """The neighbours of both; each group once as soon as there are twice as many names as there were groups.

        Other groups go on naming either, so that a merger costs no more where many look at it.
        """
        of.append(keep, gone)
        if of.count[keep] <= of.most[keep]:
            return
        entry: cython.longlong = of.first[keep]
        last: cython.longlong = -1
        count: cython.longlong = 0
        node: cython.longlong
        self.searches += 1
        self.seen[keep] = self.searches
        while entry >= 0:
            node = self.root(of.node[entry])
            if self.seen[node] != self.searches:
                self.seen[node] = self.searches
                of.node[entry] = node
                if last < 0:
                    of.first[keep] = entry
                else:
                    of.following[last] = entry
                last = entry
                count += 1
            entry = of.following[entry]
        if last < 0:
            of.first[keep] = -1
        else:
            of.following[last] = -1
        of.last[keep] = last
        of.count[keep] = count
        of.most[keep] = 2 * count + FEW

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def rank_of_both(self, one: cython.longlong, other: cython.longlong) -> cython.longlong:
        """A rank above all that either group waits for; that of `one`, the lower, where no follower need be raised."""
        if self.behind.count[one] <= self.ahead.count[other]:
            return self.rank[other]
        first: cython.longlong
        found: cython.longlong = self.rank[one]
        entry: cython.longlong = self.ahead.first[other]
        while entry >= 0:
            first = self.root(self.ahead.node[entry])
            if first != one and first != other and self.rank[first] >= found:
                found = self.rank[first] + 1
            entry = self.ahead.following[entry]
        return found

    @cython.cfunc
    def lift(self, group: cython.longlong) -> None:
        """Raise the ranks of all that follow a group above its own, lowest first, so that each is raised about once."""
        node: cython.longlong
        entry: cython.longlong
        follower: cython.longlong
        least: cython.longlong
        count: int = self.size
        self.searches += 1
        self.seen[group] = self.searches
        waiting: list[int] = [self.rank[group] * count + group]
        while waiting:
            node = heappop(waiting) % count
            least = self.rank[node]
            entry = self.behind.first[node]
            while entry >= 0:
                follower = self.behind.node[entry]
                if self.parent[follower] != follower:
                    follower = self.behind.node[entry] = self.root(follower)
                entry = self.behind.following[entry]
                if self.rank[follower] <= least and follower != node:
                    if self.seen[follower] != self.searches:
                        self.seen[follower] = self.searches
                        heappush(waiting, self.rank[follower] * count + follower)
                    self.rank[follower] = least + 1


def _column(values: Column) -> Any:
    """A column: an array where compiled, a list where interpreted (lists are quicker there)."""
    return np.array(values, np.int64) if cython.compiled else values.astype(np.int64).tolist()
