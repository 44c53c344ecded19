"""A bound of the bytes of a stretch, from the operators that all of its data passes through.

Such *bottlenecks* come before or after every other operator, and follow each other like the links of a chain. Kernels
are convex: one that runs two bottlenecks runs all that lies between them. So every partition cuts the chain into runs;
a run must fit a kernel, and what crosses a cut is written by a kernel before it and read by another behind it. Where
operators run beside each other between two bottlenecks, the fewest bytes that part them are a minimum cut.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hiersim.fusion.kernel_bytes import Costs
from hiersim.fusion.search_window import Seen, StorageBytes, Window

REACH: Final = 128
"""Bottlenecks of the longest run that is looked at; longer ones are taken to fit, and to move nothing."""
WIDE: Final = 256
"""Operators between two bottlenecks beyond which parting them is taken to cost nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Value:
    """What one operator writes whole, and others read; operators by place in the chain and in the window."""

    writer: int
    readers: tuple[int, ...]
    begin: int
    """Place of the writer."""
    ends: tuple[int, ...]
    """Places of the readers, in rising order."""
    written: int
    read: int
    """No kernel that must read it reads fewer bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    """B bottlenecks of a window: number k has place 2k, what lies between it and the next one 2k + 1."""

    count: int
    rows: list[int]
    """Operators in the order of their places."""
    first: list[int]
    """(B,) where the row of each bottleneck is."""
    between: list[list[int]]
    """(B - 1,) operators of the window between two bottlenecks."""
    producers: list[int]
    """Of each operator of the window, as bits."""
    values: list[_Value]


def bound(costs: Costs, window: Window) -> int:
    """No partition of a whole stretch whose kernels fit asks for fewer bytes.

    What has to pass through memory whoever shares a kernel, and what crosses the cuts of the chain; each access of a
    kernel to a storage is counted once.

    Parameters
    ----------
    costs : Costs
        Of the graph.
    window : Window
        All operators of a stretch: no kernel runs others with them.
    """
    return window.bound(0) + _least_cut(costs, _chain(window))


def _chain(window: Window) -> _Chain:
    producers = [0] * len(window.rows)
    for storage in window.all.values():
        for seen in storage.reads:
            producers[_place(seen.bit)] |= seen.others & ~seen.bit
    necks, chosen = _bottlenecks(producers)
    place, at = dict[int, int](), -1
    between = list[list[int]]([] for _ in necks[1:])
    for row in _bits(chosen):
        if at + 1 < len(necks) and row == necks[at + 1]:
            at += 1
            place[row] = 2 * at
        else:
            place[row] = 2 * at + 1
            between[at].append(row)
    rows = list(place)
    number = {row: count for count, row in enumerate(rows)}
    return _Chain(
        count=len(necks),
        rows=[window.rows[row] for row in rows],
        first=[number[neck] for neck in necks],
        between=between,
        producers=producers,
        values=[value for storage in window.all.values() for value in _values(storage, place)],
    )


def _bottlenecks(producers: list[int]) -> tuple[list[int], int]:
    """The bottlenecks in order, and the operators among which they are ones: all between two that see most others.

    Side ways, such as constants that are made on the way or results beside the last one, are left out of account.
    """
    count = len(producers)
    before, after = [0] * count, [0] * count
    for row, needs in enumerate(producers):
        for need in _bits(needs):
            before[row] |= before[need] | 1 << need
    end = max(range(count), key=lambda row: (before[row].bit_count(), row))
    inside = before[end] | 1 << end
    for row in reversed(list(_bits(inside))):
        for need in _bits(producers[row]):
            after[need] |= after[row] | 1 << row
    begin = max(_bits(inside), key=lambda row: (after[row].bit_count(), -row))
    chosen = after[begin] | 1 << begin
    others = chosen.bit_count() - 1
    ahead = (row for row in _bits(chosen) if (before[row] & chosen).bit_count() + after[row].bit_count() == others)
    return list(ahead), chosen


def _values(storage: StorageBytes, place: dict[int, int]) -> Iterator[_Value]:
    """What is written whole into a storage of which no access has to go through memory.

    Such values do not overlap in time, so that no cut has two of one storage.
    """
    if any(seen.forced for seen in (*storage.reads, *storage.writes)):
        return
    if any(seen.size < storage.size for seen in storage.writes):
        return
    reads: dict[tuple[int, int], list[Seen]] = defaultdict(list)  # by writer and reader
    for seen in storage.reads:
        if seen.others.bit_count() == 1 and seen.others != seen.bit:
            reads[_place(seen.others), _place(seen.bit)].append(seen)
    for seen in storage.writes:
        writer = _place(seen.bit)
        readers = [reader for source, reader in reads if source == writer and reader in place]
        if writer in place and readers:
            yield _Value(
                writer=writer,
                readers=tuple(readers),
                begin=place[writer],
                ends=tuple(sorted(place[reader] for reader in readers)),
                written=storage.size,
                read=min(storage.least(reads[writer, reader]) for reader in readers),
            )


def _least_cut(costs: Costs, chain: _Chain) -> int:
    """The fewest bytes that cross the cuts of a chain, over all ways to cut it into runs that may share a kernel."""
    crossing = _Crossing(chain)
    parted = [_parted(chain, crossing, neck) for neck in range(chain.count - 1)]
    best = [0]  # by the bottlenecks before: bytes of all kernels of these
    begun: list[int] = []  # by the first bottleneck of a run: the same, and what parts it from the one before
    least: list[int] = []  # the least of those up to here
    low = 0
    for last in range(chain.count):
        begun.append(best[last] + (parted[last - 1] if last else 0))
        least.append(min(begun[last], least[-1]) if least else begun[last])
        near = max(low, last - REACH)
        while near < last and not costs.may_share(chain.rows[chain.first[near] : chain.first[last] + 1]):
            low = near = near + 1
        found = min(begun[first] + moved for first, moved in crossing.runs(last, near))
        if low < near:
            found = min(found, least[near - 1])
        best.append(found)
    return best[-1]


class _Crossing:
    """What a kernel that runs the bottlenecks of a run, and not their neighbours, reads and writes for others."""

    def __init__(self, chain: _Chain) -> None:
        self.values = chain.values
        self.made: list[list[int]] = [[] for _ in range(2 * chain.count)]
        """By place, the values that are written there."""
        self.used: list[list[int]] = [[] for _ in range(2 * chain.count)]
        """By place, the values that are read there."""
        for number, value in enumerate(chain.values):
            self.made[value.begin].append(number)
            for end in set(value.ends):
                self.used[end].append(number)

    def runs(self, last: int, low: int) -> Iterator[tuple[int, int]]:
        """Of every run that ends with `last` and begins at `low` or later: its first bottleneck, and the bytes."""
        values, end = self.values, 2 * last
        read = set[int]()  # values of earlier operators that the run reads
        moved = 0
        for first in range(last, low - 1, -1):
            for place in (2 * first + 1, 2 * first) if first < last else (end,):
                for number in self.used[place]:
                    if number not in read and values[number].begin < place:
                        read.add(number)
                        moved += values[number].read
                for number in self.made[place]:
                    if number in read:  # it stays inside
                        read.discard(number)
                        moved -= values[number].read
                    if values[number].ends[-1] > end + 1:
                        moved += values[number].written
            near = sum(values[number].read for number in self.made[2 * first - 1] if number in read) if first else 0
            yield first, moved - near


def _parted(chain: _Chain, crossing: _Crossing, neck: int) -> int:
    """The fewest bytes that a bottleneck's kernel and later ones exchange over what lies between it and the next one.

    Only what is made and read between the two, the first one's result and what the second one reads included.
    """
    inner = chain.between[neck]
    if not inner or len(inner) > WIDE:
        return 0
    import networkx

    inside, low, high = set(inner), 2 * neck, 2 * neck + 2
    network = networkx.DiGraph()
    network.add_nodes_from(("begin", "end"))
    for number in (*crossing.made[low], *crossing.made[low + 1]):
        value, name = chain.values[number], ("value", number)
        if value.ends[-1] > high - (value.begin == low):
            continue
        network.add_edge("begin" if value.begin == low else value.writer, name, capacity=value.written + value.read)
        for reader in value.readers:
            network.add_edge(name, reader if reader in inside else "end")
    for row in inner:
        for need in _bits(chain.producers[row]):
            if need in inside:
                network.add_edge(row, need)
    return int(networkx.minimum_cut_value(network, "begin", "end"))


def _place(bit: int) -> int:
    return bit.bit_length() - 1


def _bits(mask: int) -> Iterator[int]:
    """The bits that are set, from the lowest."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
