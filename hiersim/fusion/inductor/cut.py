"""A minimum cut between what is there and what is wanted: which values to save, at the least cost."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Values, what each is computed from, and what it costs to save it."""

    wanted: list[int]
    """Values that must be there: saved, or computed from saved ones."""
    sources: dict[int, list[int]]
    """Value → what it is computed from; all values are keys. One that is computed from nothing else is free."""
    fixed: set[int]
    """Values that cannot be computed again."""
    weight: list[int]
    """By value: what it costs to save it, at least 0."""


def saved_by_cut(network: Network) -> tuple[list[int], list[int]]:
    """The values to save and those to compute again, of the cheapest choice; of equal ones that nearest to what is
    wanted.

    Parts of the network that do not hang together are cut one by one.
    """
    wanted = set(network.wanted)
    saved, again = list[int](), list[int]()
    for members in _components(network):
        kept, repeated = _cut(network, members, [row for row in members if row in wanted])
        saved += kept
        again += repeated
    return sorted(saved), sorted(again)


def _components(network: Network) -> list[list[int]]:
    """Values that hang together, in rising order of the first of each."""
    beside: dict[int, list[int]] = defaultdict(list)
    for row, sources in network.sources.items():
        for source in sources:
            beside[row].append(source)
            beside[source].append(row)
    seen, found = set[int](), list[list[int]]()
    for first in sorted(network.sources):
        if first in seen:
            continue
        seen.add(first)
        members = [first]
        for row in members:  # which grows as it is gone through
            for near in beside[row]:
                if near not in seen:
                    seen.add(near)
                    members.append(near)
        found.append(sorted(members))
    return found


def _cut(network: Network, members: list[int], wanted: list[int]) -> tuple[list[int], list[int]]:
    """`saved_by_cut` of one component.

    The value at place p is an edge from node 2 p to node 2 p + 1, as wide as its weight; what it is computed from
    comes before it.
    """
    fixed = [row for row in members if row in network.fixed]
    if not fixed:
        return [], members
    place = {row: number for number, row in enumerate(members)}
    endless = sum(network.weight[row] for row in members) + 1
    flow = _Flow(2 * len(members) + 2)
    for row, number in place.items():
        flow.edge(2 * number, 2 * number + 1, network.weight[row])
        for source in network.sources[row]:
            flow.edge(2 * place[source] + 1, 2 * number, endless)
    for row in fixed:
        flow.edge(flow.source, 2 * place[row], endless)
    for row in wanted:
        flow.edge(2 * place[row] + 1, flow.sink, endless)
    short = flow.fill()
    return (
        [row for row, number in place.items() if not short[2 * number] and short[2 * number + 1]],
        [row for row, number in place.items() if short[2 * number]],
    )


class _Flow:
    """A network that is filled along shortest ways, all of one length at once (Dinic, 1970)."""

    def __init__(self, nodes: int) -> None:
        """The last two of `nodes` are source and sink."""
        self.source, self.sink = nodes - 2, nodes - 1
        self._edges: list[list[int]] = [[] for _ in range(nodes)]
        self._end: list[int] = []
        self._room: list[int] = []
        """Of each edge; edge e ^ 1 is edge e turned round."""

    def edge(self, one: int, other: int, room: int) -> None:
        """An edge with room for so much."""
        for begin, end, wide in ((one, other, room), (other, one, 0)):
            self._edges[begin].append(len(self._end))
            self._end.append(end)
            self._room.append(wide)

    def fill(self) -> list[bool]:
        """Send as much as fits; by node, whether more of it there would reach the sink."""
        while True:
            steps = self._steps()
            if steps[self.source] < 0:
                return [step >= 0 for step in steps]
            self._send(steps)

    def _steps(self) -> list[int]:
        """By node, edges with room on the shortest way to the sink; -1 where there is none."""
        steps = [-1] * len(self._edges)
        steps[self.sink] = 0
        waiting = [self.sink]
        for node in waiting:  # which grows as it is gone through
            for edge in self._edges[node]:
                near = self._end[edge]
                if steps[near] < 0 and self._room[edge ^ 1]:
                    steps[near] = steps[node] + 1
                    waiting.append(near)
        return steps

    def _send(self, steps: list[int]) -> None:
        """Fill all shortest ways; changes `steps`."""
        tried = [0] * len(self._edges)
        node, way = self.source, list[int]()
        while True:
            if node == self.sink:
                least = min(self._room[edge] for edge in way)
                for edge in way:
                    self._room[edge] -= least
                    self._room[edge ^ 1] += least
                node, way = self.source, []
                continue
            edges = self._edges[node]
            while tried[node] < len(edges):
                edge = edges[tried[node]]
                if self._room[edge] and steps[self._end[edge]] == steps[node] - 1:
                    break
                tried[node] += 1
            if tried[node] < len(edges):
                way.append(edges[tried[node]])
                node = self._end[way[-1]]
            elif way:
                node = self._end[way.pop() ^ 1]
                tried[node] += 1
            else:
                return
