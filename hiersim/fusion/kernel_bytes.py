"""What a kernel of any operators reads and writes outside itself, and the room that it needs, without building it.

The definition, from lists of operators. `search_window` has the same sums as a search needs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hiersim.fusion.dependences import Dependences, dependences
from hiersim.fusion.epilogue import prologues
from hiersim.fusion.regions import segments
from hiersim.fusion.sliding import MOST, Axis
from hiersim.fusion.traits import Traits, traits, whole_results
from hiersim.model.operators import PRODUCED, Accesses, Kind, TensorTable
from hiersim.model.trace import OperatorGraph

if TYPE_CHECKING:
    from hiersim.fusion.sliding_chains import Chains
    from hiersim.fusion.windows import Plan

Rows = frozenset[int]
FAR: Final = 16_384
"""Operators of a graph up to which paths between any two are known: sets of them, as bits, for each."""
ALONE: Final = (Kind.COMM, Kind.OPAQUE, Kind.SORT)
"""Kinds of which too little is known to fuse them."""

PRODUCTS: Final = (Kind.GEMM, Kind.CONV)
"""Kinds that read their operands in tiles, again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
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


class Costs:
    """Bytes of kernels, and the room that they need: the definition, from lists of operators."""

    def __init__(self, graph: OperatorGraph, capacity: int, chains: Chains | None = None) -> None:
        """`chains`, with the same room: operators may also share a kernel that goes window by window."""
        links, facts = dependences(graph), traits(graph)
        self.capacity = capacity
        self.chains = chains
        self._lanes: dict[int, dict[Axis, frozenset[int]]] = {}
        self.size: list[int] = graph.tensors.storage_bytes.tolist()
        self.segment: list[int] = segments(graph).tolist()
        self.reads, self.writes = _touches(graph, links)
        self._least_of = _least_read(graph)
        self.before = _before(graph, links)
        self.held = held(graph, links, facts)
        self.product = is_product(graph)
        few = len(self.before) <= FAR
        self._after, self._ancestors = _closure(self.before) if few else ([], [])
        self._together: dict[tuple[int, int], bool] = {}
        self.alone: list[bool] = np.isin(graph.operators.kind, [int(kind) for kind in ALONE]).tolist()

    def fits(self, members: Sequence[int]) -> bool:
        """Whether operators may share a kernel: what they hand on is held whole, or goes window by window."""
        if len(members) == 1:
            return True
        return self._may(members) and (self.whole(members) or self.plan(members) is not None)

    def may_share(self, members: Sequence[int]) -> bool:
        """Whether some kernel may run all of these and perhaps more; never of more operators where not of fewer."""
        if len(members) == 1:
            return True
        return self._may(members) and (self.whole(members) or self._may_slide(members))

    def _may(self, members: Sequence[int]) -> bool:
        """What no room helps against."""
        if any(self.alone[row] for row in members):
            return False
        inside = frozenset(members)  # half of what one reads must not be the kernel's own, half from memory
        return not any(touch.always and touch.others & inside for row in members for touch in self.reads[row])

    def whole(self, members: Sequence[int]) -> bool:
        """Whether all that somebody needs whole fits; never of more operators where not of fewer."""
        inside = frozenset(members)
        one_product = sum(self.product[row] for row in members) < 2
        room = 0
        for row in members:
            for size, users, whole in self.held[row]:
                room += size if (whole if one_product else users) & inside else 0
            if room > self.capacity:
                return False
        return True

    def plan(self, members: Sequence[int]) -> Plan | None:
        """How operators go window by window in one kernel; None where they do not."""
        if self.chains is None or len(members) > MOST:
            return None
        rows = sorted(members)
        axes = self.chains.axes(rows)
        return self.chains.plan(rows, axes) if axes else None

    def lanes(self, row: int) -> dict[Axis, frozenset[int]]:
        """By axis along which an operator slides, the storages that it needs whole."""
        found = self._lanes.get(row)
        if found is None:
            chains = self.chains
            found = self._lanes[row] = {} if chains is None else {
                axis: frozenset(
                    chains.storage[chains.reads[place]]
                    for place in range(chains.read_ptr[row], chains.read_ptr[row + 1])
                    if place - chains.read_ptr[row] not in window.sliding
                )
                for axis, window in chains.sliding.windows(row).items()
            }  # fmt: skip
        return found

    def _may_slide(self, members: Sequence[int]) -> bool:
        """Whether operators slide along one axis, and what they need whole fits beside no window at all."""
        if len(members) > MOST:
            return False
        for axis in self.lanes(members[0]):
            ways = [self.lanes(row).get(axis) for row in members]
            storages = [way for way in ways if way is not None]
            if len(storages) == len(ways) and self.held_bytes(frozenset().union(*storages)) <= self.capacity:
                return True
        return False

    def held_bytes(self, storages: Iterable[int]) -> int:
        """No more than what storages take that a windowed kernel needs whole."""
        return sum(self._least_of[storage] for storage in storages)

    def together(self, first: int, later: int) -> bool:
        """Whether some kernel may run both: not where all that lies on paths between them does not fit with them."""
        key = (first, later) if first < later else (later, first)
        found = self._together.get(key)
        if found is None:
            between = self._after[key[0]] & self._ancestors[key[1]] if self._after else 0
            members = [key[0], *_bits(between), key[1]]
            found = self._together[key] = self.segment[first] == self.segment[later] and self.may_share(members)
        return found

    def bytes(self, members: Sequence[int]) -> int:
        """What a kernel of these operators, in issue order, reads and writes outside itself."""
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

    def _distinct(self, touches: list[Touch]) -> int:
        """Bytes of regions, each once, and of a whole storage instead of its parts."""
        regions: dict[tuple[int, int, int], int] = {}
        for touch in touches:
            regions[touch.place] = max(regions.get(touch.place, 0), touch.size)
        whole = {place[0] for place, size in regions.items() if size >= self.size[place[0]]}
        parts = sum(size for place, size in regions.items() if place[0] not in whole)
        return parts + sum(self.size[storage] for storage in whole)


def _least_read(graph: OperatorGraph) -> list[int]:
    """(S,) bytes of the smallest tensor of each storage that somebody reads."""
    table = graph.tensors
    found = table.storage_bytes.copy()
    np.minimum.at(found, table.tensor_storage[graph.reads.tensor], table.tensor_bytes[graph.reads.tensor])
    answer: list[int] = found.tolist()
    return answer


def _before(graph: OperatorGraph, links: Dependences) -> list[set[int]]:
    """(N,) operators that must have run before each, or with it."""
    found: list[set[int]] = [set() for _ in range(len(graph.operators))]
    pairs = ((links.source, links.target), (links.before, links.after))
    for first, second in (pair for sides in pairs for pair in zip(sides[0].tolist(), sides[1].tolist(), strict=True)):
        if first != second:
            found[second].add(first)
    return found


def is_product(graph: OperatorGraph) -> list[bool]:
    """(N,) whether an operator reads its operands in tiles, again and again."""
    found: list[bool] = np.isin(graph.operators.kind, [int(kind) for kind in PRODUCTS]).tolist()
    return found


def _closure(before: list[set[int]]) -> tuple[list[int], list[int]]:
    """(N,) operators after and before each along any path, as bits."""
    earlier, later = [0] * len(before), [0] * len(before)
    for row, needs in enumerate(before):
        for need in needs:
            earlier[row] |= earlier[need] | 1 << need
    for row in range(len(before) - 1, -1, -1):
        for need in before[row]:
            later[need] |= later[row] | 1 << row
    return later, earlier


def _bits(mask: int) -> list[int]:
    """The bits that are set, from the lowest."""
    text = bin(mask)[:1:-1]
    found, at = [], text.find("1")
    while at >= 0:
        found.append(at)
        at = text.find("1", at + 1)
    return found


def _touches(graph: OperatorGraph, links: Dependences) -> tuple[list[list[Touch]], list[list[Touch]]]:
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
) -> list[list[Touch]]:
    """The accesses of every operator."""
    storage, offset = table.tensor_storage[access.tensor].tolist(), table.tensor_offset[access.tensor].tolist()
    extent, size = table.tensor_bytes[access.tensor].tolist(), access.size.tolist()
    touches = [
        Touch(
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


def held(graph: OperatorGraph, links: Dependences, facts: Traits) -> list[list[tuple[int, Rows, Rows]]]:
    """(N,) bytes of each result, the users that need it whole, and those of them that do so in a kernel of one product.

    A kernel's only product may take the result of a norm as it loads it, as the policy `epilogue` has it.
    """
    streams = (whole_results(graph, links) == 1) & (
        (facts.elementwise[links.target] == 1) & (facts.results[links.source] == facts.results[links.target])
        | (facts.reduces[links.target] == 1) & (facts.outer[links.target] == 0)
    )
    loaded = set(prologues(graph, links, facts))
    users: dict[int, set[tuple[int, int]]] = {}
    pairs = zip(
        links.write[~streams].tolist(), links.source[~streams].tolist(), links.target[~streams].tolist(), strict=True
    )
    for write, source, target in pairs:
        if source != target:
            users.setdefault(write, set()).add((source, target))
    rows = np.repeat(np.arange(len(graph.operators)), np.diff(graph.writes.ptr)).tolist()
    found: list[list[tuple[int, Rows, Rows]]] = [[] for _ in range(len(graph.operators))]
    for write, edges in sorted(users.items()):
        every, whole = (frozenset(target for _, target in some) for some in (edges, edges - loaded))
        found[rows[write]].append((int(graph.writes.size[write]), every, whole))
    return found
