"""Optimal: the partition that asks for the fewest bytes when values may stay in the cores' memory, or a bound of it.

A bound to hold other policies against, not a compiler: any operators may share a kernel as long as what they hand on
to each other fits. Element-wise users and reductions along rows take a value as it is made, which needs no room; every
other user needs the whole value in the cores' memory, all cores together. Or else the kernel goes window by window, as
those of `depth-first`, and needs room for its weights and one window.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np

from hiersim.errors import FusionError
from hiersim.fusion import epilogue, pointwise
from hiersim.fusion.bottlenecks import bound
from hiersim.fusion.build import kernel_graph, partition_of
from hiersim.fusion.dependences import dependences
from hiersim.fusion.depth_first import grow
from hiersim.fusion.flashed import flashed
from hiersim.fusion.halos import windows_of, with_halos
from hiersim.fusion.inductor import policy as inductor
from hiersim.fusion.kernel_bytes import Costs
from hiersim.fusion.partition import launching, of_groups, ordered
from hiersim.fusion.regions import segments
from hiersim.fusion.room import room
from hiersim.fusion.search import Found, intervals, search
from hiersim.fusion.search_window import Window
from hiersim.fusion.sliding_chains import Chains
from hiersim.fusion.windows import Plan
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph, Trace

NAME: Final = "optimal"
BLOCK: Final = 32
"""Operators that are searched together."""
REACH: Final = 96
"""Operators of the largest kernel of consecutive operators in a stretch that is longer than a block."""
PART: Final = 8192
"""Operators of a stretch beyond which nothing is fused: sets of operators are numbers of so many bits."""
NODES: Final = 20_000
"""Kernels that one search looks at before it says how far it got."""
STARTS: Final = (pointwise.partition, epilogue.partition, inductor.partition)
"""Policies whose kernels, as far as they fit, are something to begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A partition, and a bound of all others."""

    partition: Partition
    bytes: int
    """What its kernels ask for."""
    least: int
    """No convex partition whose kernels fit, without computing anything twice, asks for fewer bytes."""
    nodes: int
    """Kernels that were looked at; the same on every machine."""
    sliding: tuple[tuple[list[int], Plan], ...] = ()
    """Operators and plan of each kernel that goes window by window."""

    @property
    def gap(self) -> float:
        """Bytes above the bound, as a share of the bound; 0 where the partition is the best."""
        return (self.bytes - self.least) / max(self.least, 1)


def optimal(trace: Trace, design: Design) -> KernelGraph:
    """The fewest bytes that kernels can ask for; where that is not certain, the policy's name states the gap.

    Where TorchInductor's rules ask for fewer, as they compute values again instead of reading them, theirs are taken.
    Written-out attention is searched as it is written, and with each pass as the one operator that `attention` makes.

    Raises
    ------
    FusionError
        When nothing is launched.
    """
    found, again = _searched(trace, design), inductor.inductor_rules(trace)
    if _asked(again) >= _asked(found):
        return found
    partition = again.derived(partition_of)
    named = dataclasses.replace(again, policy=f"{NAME} (recomputing)")
    named.derived(partition_of, partition)
    return named


def _asked(kernels: KernelGraph) -> int:
    return int(kernels.reads.size.sum() + kernels.writes.size.sum())


def _searched(trace: Trace, design: Design) -> KernelGraph:
    """The best that is found without computing anything twice but halos and recognised attention."""
    capacity = room(design)
    found = solve(trace.graph, capacity, Chains(trace.graph, design))
    other = flashed(trace, design)
    if other is not None:
        searched = other.searched()
        fused = solve(searched, capacity, Chains(searched, design))
        least = min(found.least, fused.least)
        if fused.bytes < found.bytes:
            named = title(dataclasses.replace(fused, least=least))
            made = kernel_graph(other.trace, fused.partition, named)
            kept = made.derived(partition_of)
            assert kept is not None
            slid = with_halos(searched, made, fused.sliding)
            unfolded = other.unfolded(slid, kept)
            unfolded.derived(windows_of, slid.derived(windows_of))
            return unfolded
        found = dataclasses.replace(found, least=least)
    return with_halos(trace.graph, kernel_graph(trace, found.partition, title(found)), found.sliding)


def title(found: Solution) -> str:
    """`optimal`, or `optimal (gap 3.2 %)`, rounded up, where fewer bytes may be possible."""
    if found.bytes == found.least:
        return NAME
    return f"{NAME} (gap {ceil(1000 * found.gap) / 10:.1f} %)"


def partition(graph: OperatorGraph, capacity: int) -> Partition:
    """The groups of `optimal` where no kernel goes window by window; `capacity` in bytes."""
    return solve(graph, capacity).partition


def solve(
    graph: OperatorGraph, capacity: int, chains: Chains | None = None, *, block: int = BLOCK, nodes: int = NODES
) -> Solution:
    """The best partition found, and a bound.

    Stretches between two host syncs are solved apart, as no kernel spans a sync. One of at most `block` operators is
    searched as a whole; a longer one begins with the best of kernels of consecutive operators (by dynamic programming,
    exact for chains) and of other policies' kernels, is improved window by window, and is held against the sum of the
    bounds of its blocks.

    Parameters
    ----------
    graph : OperatorGraph
        The N eager operators.
    capacity : int
        Bytes that the values of one kernel may take in the cores' memory.
    chains : Chains, optional
        How the operators slide; without it, no kernel goes window by window.
    block, nodes : int
        Operators that are searched together, and kernels that one search looks at.
    """
    costs = Costs(graph, capacity, chains)
    group = np.arange(len(graph.operators))
    starts = _starts(graph, chains)
    sliding: list[tuple[list[int], Plan]] = []
    total = least = looked = 0
    for stretch in stretches(graph):
        if len(stretch) <= block:
            window = Window(costs, stretch)
            offers = (intervals(window, block).kernels, *(_fitting(costs, window, labels) for labels in starts))
            found = search(window, _cheapest(window, offers), nodes)
            if found.least < found.bytes:
                found = dataclasses.replace(found, least=min(max(found.least, bound(costs, window)), found.bytes))
        else:
            found = _long(costs, stretch, starts, block, nodes)
        for kernel in found.kernels:
            members = _rows(stretch, kernel)
            group[members] = members[0]
            plan = None if costs.whole(members) else costs.plan(members)
            if plan is not None and len(members) > 1:
                sliding.append((members, plan))
        total, least, looked = total + found.bytes, least + found.least, looked + found.nodes
    made = of_groups(graph, group)
    return Solution(partition=made, bytes=total, least=least, nodes=looked, sliding=tuple(sliding))


def stretches(graph: OperatorGraph) -> Iterator[list[int]]:
    """Launching operators in issue order, from one host sync to the next."""
    segment, rows = segments(graph), launching(graph)
    for part in np.split(rows, np.flatnonzero(np.diff(segment[rows])) + 1):
        if len(part):
            yield part.tolist()


def _long(costs: Costs, rows: list[int], starts: Sequence[IntArray], block: int, nodes: int) -> Found:
    """A stretch that is too long to be searched as a whole; of more than `PART` operators, part by part."""
    kernels: list[int] = []
    price = looked = 0
    windows = [Window(costs, rows[at : at + PART]) for at in range(0, len(rows), PART)]
    for number, window in enumerate(windows):
        best = intervals(window, REACH)
        if len(windows) == 1 and best.bytes == best.least:
            return best
        found = _cheapest(window, [best.kernels, *(_fitting(costs, window, labels) for labels in starts)])
        found, more = _improved(costs, window, found, block, nodes)
        price, looked = price + sum(map(window.price, found)), looked + best.nodes + more
        kernels += [kernel << number * PART for kernel in found]
    least, more = _least(costs, rows, block, nodes)
    if len(windows) == 1:
        least = max(least, bound(costs, windows[0]))
    return Found(kernels=tuple(kernels), bytes=price, least=min(least, price), nodes=looked + more)


def _cheapest(window: Window, offers: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The first of those partitions that ask for the fewest bytes."""
    return min(offers, key=lambda kernels: sum(map(window.price, kernels)))


def _improved(
    costs: Costs, window: Window, kernels: tuple[int, ...], block: int, nodes: int
) -> tuple[tuple[int, ...], int]:
    """Kernels that follow each other are searched together, each window half a block after the one before."""
    done, looked = list(kernels), 0
    place = 0
    while place < len(done):
        end, size = place, 0
        while end < len(done) and size + done[end].bit_count() <= block:
            size += done[end].bit_count()
            end += 1
        if end - place > 1:
            chosen = sorted(row for kernel in done[place:end] for row in _rows(window.rows, kernel))
            small = Window(costs, chosen)
            index = {row: 1 << at for at, row in enumerate(chosen)}
            now = [sum(index[row] for row in _rows(window.rows, kernel)) for kernel in done[place:end]]
            found = search(small, now, nodes)
            looked += found.nodes
            back = {row: 1 << at for at, row in enumerate(window.rows)}
            done[place:end] = [sum(back[row] for row in _rows(chosen, kernel)) for kernel in found.kernels]
            end = place + len(found.kernels)
        place = max(place + 1, (place + end) // 2)
    return tuple(done), looked


def _least(costs: Costs, rows: Sequence[int], block: int, nodes: int) -> tuple[int, int]:
    """A bound of a long stretch, and the kernels looked at: the sum of the best of each of its blocks.

    A kernel's operators in one block are a legal kernel there (a part of what fits fits, and no path leaves a block and
    comes back). What it pays for a storage is counted in one block only, where it may first be paid, and only as far as
    operators of that block decide it.
    """
    parts = [rows[at : at + block] for at in range(0, len(rows), block)]
    homes: list[set[tuple[int, int, int]]] = [set() for _ in parts]
    taken: set[tuple[int, int, int]] = set()
    for part, home in zip(parts, homes, strict=True):
        inside = frozenset(part)
        for row in part:
            for side, touches in enumerate((costs.reads[row], costs.writes[row])):
                for touch in touches:
                    key = (side, costs.segment[row], touch.place[0])
                    if key in taken:
                        continue
                    apart = any(not costs.together(row, other) for other in touch.others - inside)
                    if touch.always or apart or touch.others & inside:
                        taken.add(key)
                        home.add(key)
    least = looked = 0
    for part, home in zip(parts, homes, strict=True):
        relaxed = Window(costs, part, frozenset(home))
        found = search(relaxed, intervals(relaxed, block).kernels, nodes)
        least, looked = least + found.least, looked + found.nodes
    return least, looked


def _fitting(costs: Costs, window: Window, labels: IntArray) -> tuple[int, ...]:
    """Another policy's kernels of a stretch, as bits; those that do not fit as single operators."""
    place = {row: at for at, row in enumerate(window.rows)}
    groups: dict[int, list[int]] = {}
    for row in window.rows:
        groups.setdefault(int(labels[row]), []).append(row)
    kernels: list[int] = []
    for members in sorted(groups.values(), key=lambda members: min(labels[members])):
        if costs.fits(members):
            kernels.append(sum(1 << place[row] for row in members))
        else:
            kernels.extend(1 << place[row] for row in members)
    return tuple(kernels)


def _starts(graph: OperatorGraph, chains: Chains | None) -> list[IntArray]:
    """The kernels of other policies, as labels of operators."""
    found = [] if chains is None else [_labels(graph, of_groups(graph, grow(chains).groups.groups()))]
    for make in STARTS:
        with suppress(FusionError):  # legal only with operators that are computed twice
            found.append(_labels(graph, make(graph)))
    return found


def _labels(graph: OperatorGraph, found: Partition) -> IntArray:
    """(N,) the kernel of each operator, in launch order and nothing computed twice; -1 for those without one.

    Raises
    ------
    FusionError
        When kernels would wait for each other without the copies.
    """
    label = np.full(len(graph.operators), -1, np.int64)
    own = found.copy == 0
    label[found.operators[own]] = found.kernels()[own]
    plain = ordered(graph, of_groups(graph, label), dependences(graph), "")
    label[plain.operators] = plain.kernels()
    return label


def _rows(rows: Sequence[int], kernel: int) -> list[int]:
    """The operators that a kernel's bits stand for."""
    found, at = [], 0
    while kernel:
        skip = (kernel & -kernel).bit_length() - 1
        at += skip
        found.append(rows[at])
        kernel >>= skip + 1
        at += 1
    return found
