"""Optimal: the partition that asks for the fewest bytes when values may stay in the cores' memory, block by block.

A bound to hold other policies against, not a compiler: any operators may share a kernel as long as what they hand on
to each other fits. Element-wise users and reductions along rows take a value as it is made, which needs no room; every
other user needs the whole value in the cores' memory, all cores together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from hiersim.fusion.build import kernel_graph
from hiersim.fusion.dependences import Dependences, dependences
from hiersim.fusion.partition import launching, of_groups, segments
from hiersim.fusion.traits import Traits, traits, whole_results
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED, Accesses, Kind, TensorTable
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph, Trace

NAME: Final = "optimal"
BLOCK: Final = 9
"""Operators that are searched together; the time of a search grows like 3 to that power."""
ALONE: Final = (Kind.COMM, Kind.OPAQUE, Kind.SORT)
"""Kinds of which too little is known to fuse them."""


def optimal(trace: Trace, design: Design) -> KernelGraph:
    """The fewest bytes that kernels can ask for, in blocks of at most `BLOCK` operators in issue order.

    Within a block the search is exact: dynamic programming over all sets of operators that can have run. Across blocks
    nothing is fused, so that the whole is a bound only for traces of one block.

    Raises
    ------
    FusionError
        When nothing is launched.
    """
    return kernel_graph(trace, partition(trace.graph, room(design)), NAME)


def room(design: Design) -> int:
    """Bytes that the cores hold together in the largest of their own tiers."""
    return int(design.compute.cores) * max((int(tier.capacity) for tier in design.core_tiers), default=0)


def partition(graph: OperatorGraph, capacity: int) -> Partition:
    """The groups of `optimal`; `capacity` in bytes."""
    group = np.arange(len(graph.operators))
    costs = _Costs(graph, capacity)
    for block in blocks(graph):
        for members in _search(costs, block):
            group[members] = members[0]
    return of_groups(graph, group)


def blocks(graph: OperatorGraph) -> Iterator[list[int]]:
    """Launching operators in issue order, at most `BLOCK` at a time and never across a host sync."""
    segment = segments(graph)
    found: list[int] = []
    for row in launching(graph).tolist():
        if found and (len(found) == BLOCK or segment[row] != segment[found[0]]):
            yield found
            found = []
        found.append(row)
    if found:
        yield found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Touch:
    """A read or write of an operator, for counting bytes."""

    place: tuple[int, int, int]
    """Storage, offset, bytes of the region."""
    size: int
    others: frozenset[int]
    """Of a read: the operators whose writes it may see. Of a write: those that may see it."""
    always: bool
    """Whether it goes through memory whoever is in the kernel."""
    first: bool = True
    """Of a write: whether it is the first of its storage."""


class _Costs:
    """Bytes of kernels, and the room that they need."""

    def __init__(self, graph: OperatorGraph, capacity: int) -> None:
        links, facts = dependences(graph), traits(graph)
        self.capacity = capacity
        self.graph = graph
        self.size: list[int] = graph.tensors.storage_bytes.tolist()
        self.reads, self.writes = _touches(graph, links)
        self.before = _before(graph, links)
        self.held = _held(graph, links, facts)
        self.alone = np.isin(graph.operators.kind, [int(kind) for kind in ALONE]).tolist()

    def fits(self, members: list[int]) -> bool:
        """Whether operators may share a kernel; a larger kernel never fits where a smaller one does not."""
        if len(members) == 1:
            return True
        if any(self.alone[row] for row in members):
            return False
        inside = frozenset(members)
        if any(touch.always and touch.others & inside for row in members for touch in self.reads[row]):
            return False  # half of what it reads would be the kernel's own, half from memory
        room = sum(size for row in members for size, users in self.held[row] if users & inside)
        return room <= self.capacity

    def bytes(self, members: list[int]) -> int:
        """What a kernel of these operators reads and writes outside itself."""
        inside = frozenset(members)
        reads = [touch for row in members for touch in self.reads[row] if touch.always or touch.others - inside]
        writes, out = [], set[int]()
        for row in members:
            for touch in self.writes[row]:
                unread = not touch.others and (len(members) == 1 or not touch.first)
                if touch.always or touch.others - inside or unread or touch.place[0] in out:
                    out.add(touch.place[0])
                    writes.append(touch)
        return self._distinct(reads) + self._distinct(writes)

    def _distinct(self, touches: list[_Touch]) -> int:
        """Bytes of regions, each once, and of a whole storage instead of its parts."""
        regions: dict[tuple[int, int, int], int] = {}
        for touch in touches:
            regions[touch.place] = max(regions.get(touch.place, 0), touch.size)
        whole = {place[0] for place, size in regions.items() if size >= self.size[place[0]]}
        parts = sum(size for place, size in regions.items() if place[0] not in whole)
        return parts + sum(self.size[storage] for storage in whole)


def _search(costs: _Costs, block: list[int]) -> list[list[int]]:
    """The cheapest kernels of a block, by dynamic programming over the sets of operators that can have run."""
    place = {row: bit for bit, row in enumerate(block)}
    needs = [sum(1 << place[first] for first in costs.before[row] if first in place) for row in block]
    best: dict[int, tuple[int, int, tuple[int, ...]]] = {0: (0, 0, ())}  # done → bytes, kernels, the last kernel
    for done in range(1 << len(block)):
        if done not in best:
            continue
        spent, kernels, _ = best[done]
        for chosen in _kernels(costs, block, needs, done):
            after = done | sum(1 << bit for bit in chosen)
            price = spent + costs.bytes([block[bit] for bit in chosen])
            if after not in best or (price, kernels + 1, chosen) < best[after]:
                best[after] = (price, kernels + 1, chosen)
    found, done = [], (1 << len(block)) - 1
    while done:
        chosen = best[done][2]
        found.append([block[bit] for bit in chosen])
        done &= ~sum(1 << bit for bit in chosen)
    return found


def _kernels(costs: _Costs, block: list[int], needs: list[int], done: int) -> Iterator[tuple[int, ...]]:
    """All kernels that can run when `done` has, as bits in issue order."""
    waiting: list[tuple[int, tuple[int, ...], int]] = [(0, (), done)]
    while waiting:
        bit, chosen, seen = waiting.pop()
        if bit == len(block):
            if chosen:
                yield chosen
            continue
        waiting.append((bit + 1, chosen, seen))
        if not seen >> bit & 1 and not needs[bit] & ~seen and costs.fits([block[other] for other in (*chosen, bit)]):
            waiting.append((bit + 1, (*chosen, bit), seen | 1 << bit))


def _before(graph: OperatorGraph, links: Dependences) -> list[set[int]]:
    """(N,) operators that must have run before each, or with it."""
    found: list[set[int]] = [set() for _ in range(len(graph.operators))]
    pairs = ((links.source, links.target), (links.before, links.after))
    for first, second in (pair for sides in pairs for pair in zip(sides[0].tolist(), sides[1].tolist(), strict=True)):
        if first != second:
            found[second].add(first)
    return found


def _touches(graph: OperatorGraph, links: Dependences) -> tuple[list[list[_Touch]], list[list[_Touch]]]:
    """Reads and writes of every operator."""
    table = graph.tensors
    produced = np.isin(table.storage_role, [int(role) for role in PRODUCED])
    writers: list[set[int]] = [set() for _ in range(len(graph.reads.tensor))]
    readers: list[set[int]] = [set() for _ in range(len(graph.writes.tensor))]
    for access, write, source, target in zip(
        links.access.tolist(), links.write.tolist(), links.source.tolist(), links.target.tolist(), strict=True
    ):
        writers[access].add(source)
        readers[write].add(target)
    storage = table.tensor_storage[graph.writes.tensor]
    first = np.zeros(len(storage), np.bool_)
    first[np.unique(storage, return_index=True)[1]] = True
    kept = (links.kept == 1) | ~produced[storage] | (table.storage_output[storage] == 1)

    reads, writes = graph.reads, graph.writes
    from_memory = [bool(flag) or not found for flag, found in zip(links.initial.tolist(), writers, strict=True)]
    every = [True] * len(reads.tensor)
    return (
        _listed(table, reads, writers, from_memory, every),
        _listed(table, writes, readers, kept.tolist(), first.tolist()),
    )


def _listed(
    table: TensorTable, access: Accesses, others: list[set[int]], always: list[bool], first: list[bool]
) -> list[list[_Touch]]:
    """The accesses of every operator."""
    storage, offset = table.tensor_storage[access.tensor].tolist(), table.tensor_offset[access.tensor].tolist()
    extent, size = table.tensor_bytes[access.tensor].tolist(), access.size.tolist()
    touches = [
        _Touch(
            place=(storage[at], offset[at], extent[at]),
            size=size[at],
            others=frozenset(others[at]),
            always=always[at],
            first=first[at],
        )
        for at in range(len(size))
    ]
    ptr = access.ptr.tolist()
    return [touches[ptr[row] : ptr[row + 1]] for row in range(len(ptr) - 1)]


def _held(graph: OperatorGraph, links: Dependences, facts: Traits) -> list[list[tuple[int, frozenset[int]]]]:
    """(N,) bytes of each result, and the users that need it whole."""
    streams = (whole_results(graph, links) == 1) & (
        (facts.elementwise[links.target] == 1) & (facts.results[links.source] == facts.results[links.target])
        | (facts.reduces[links.target] == 1) & (facts.outer[links.target] == 0)
    )
    users: dict[int, set[int]] = {}
    for write, target in zip(links.write[~streams].tolist(), links.target[~streams].tolist(), strict=True):
        users.setdefault(write, set()).add(target)
    rows = np.repeat(np.arange(len(graph.operators)), np.diff(graph.writes.ptr)).tolist()
    found: list[list[tuple[int, frozenset[int]]]] = [[] for _ in range(len(graph.operators))]
    for write, targets in sorted(users.items()):
        found[rows[write]].append((int(graph.writes.size[write]), frozenset(targets - {rows[write]})))
    return found
