"""A minimum cut between what is there and what is wanted: which values to save, at the least cost."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Final

SOURCE: Final = -1
SINK: Final = -2


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

    Value v is an edge from 2 v to 2 v + 1 as wide as its weight; what it is computed from comes before it.
    """
    fixed = [row for row in members if row in network.fixed]
    if not fixed:
        return [], members
    room: dict[int, dict[int, int]] = defaultdict(dict)
    endless = sum(network.weight[row] for row in members) + 1

    def edge(one: int, other: int, wide: int) -> None:
        room[one][other] = wide
        room[other].setdefault(one, 0)

    for row in members:
        edge(2 * row, 2 * row + 1, network.weight[row])
        for source in network.sources[row]:
            edge(2 * source + 1, 2 * row, endless)
    for row in fixed:
        edge(SOURCE, 2 * row, endless)
    for row in wanted:
        edge(2 * row + 1, SINK, endless)
    before = _filled(room)
    return (
        [row for row in members if 2 * row not in before and 2 * row + 1 in before],
        [row for row in members if 2 * row in before],
    )


def _filled(room: dict[int, dict[int, int]]) -> set[int]:
    """Send as much as fits, along shortest ways; in place. The nodes from which more would reach the sink."""
    while True:
        towards: dict[int, int] = {SINK: SINK}
        waiting = deque([SINK])
        while waiting and SOURCE not in towards:
            node = waiting.popleft()
            for near in room[node]:
                if near not in towards and room[near][node] > 0:
                    towards[near] = node
                    waiting.append(near)
        if SOURCE not in towards:
            return set(towards)
        node, way = SOURCE, list[tuple[int, int]]()
        while node != SINK:
            way.append((node, towards[node]))
            node = towards[node]
        least = min(room[one][other] for one, other in way)
        for one, other in way:
            room[one][other] -= least
            room[other][one] += least
