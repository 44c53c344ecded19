"""Search for the partition of a window's operators into kernels that asks for the fewest bytes.

Best first over the sets of operators that can have run (a chain has as many as operators, a wide graph many more), with
branch and bound over the kernels that can run next. Work is counted in kernels looked at, never in seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from hiersim.fusion.search_window import EMPTY, Room, StorageBytes, Window

MISSES: Final = 8
"""Kernels one longer than the other that do not fit, after which a still longer one is not tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search found."""

    kernels: tuple[int, ...]
    """Operators of each kernel as bits of the window, in an order in which they can run."""
    bytes: int
    least: int
    """No partition asks for fewer; equal to `bytes` where the search came to its end."""
    nodes: int
    """Kernels, whole or in the making, that were looked at."""


def intervals(window: Window, most: int) -> Found:
    """The best partition into kernels of operators that follow each other in issue order.

    Dynamic programming; exact where every operator needs the one before it (a chain), if `most` allows. A kernel has at
    most `most` operators; `least` is 0 unless the window is a chain and no kernel was cut short.
    """
    count = len(window.rows)
    best = [(0, 0, 0)] + [(-1, 0, 0)] * count  # up to here: bytes, kernels, where the last one begins
    chain = all(window.needs[at] >> (at - 1) & 1 for at in range(1, count))
    nodes = 0
    for start in range(count):
        members = price = 0
        room, missed = EMPTY, 0
        for at in range(start, count):
            more = window.room(at, members, room)
            if more is None:
                break
            room = more
            if at - start == most:
                chain = False
                break
            touched = window.storages[at]
            bit = 1 << at
            if members & (members - 1):
                price += sum(one.price(members | bit, False) - one.price(members, False) for one in touched)
            else:  # a kernel of one operator writes what nobody reads: no difference to build on
                price = window.price(members | bit)
            members |= bit
            nodes += 1
            offer = (best[start][0] + price, best[start][1] + 1, start)
            if best[at + 1][0] < 0 or offer < best[at + 1]:
                if window.holds(members, room):
                    best[at + 1], missed = offer, 0
                    continue
                missed += 1
                if missed > MISSES:
                    chain = False  # windows of still more operators are not tried
                    break
    kernels, end = [], count
    while end:
        start = best[end][2]
        kernels.append((1 << end) - (1 << start))
        end = start
    total = best[count][0]
    return Found(kernels=tuple(reversed(kernels)), bytes=total, least=total if chain else 0, nodes=nodes)


def search(window: Window, start: Sequence[int], nodes: int) -> Found:
    """The best partition of a window.

    Parameters
    ----------
    window : Window
        Of at most some 30 operators: sets of them are numbers, and there may be many.
    start : sequence of int
        A partition to begin with, kernels in an order in which they can run; what is found is no worse.
    nodes : int
        Kernels to look at before the search gives up and says how far it got.
    """
    return _Search(window, tuple(start), nodes).run()


@dataclass(slots=True)
class _Search:
    """One search; what changes lives here."""

    window: Window
    kernels: tuple[int, ...]
    limit: int
    bytes: int = 0
    nodes: int = 0
    heap: list[tuple[int, int, int]] = field(default_factory=list)
    """Bound, operators left, operators done."""
    reached: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Operators done → bytes so far, done before the last kernel, the last kernel."""
    done: int = 0
    spent: int = 0

    def run(self) -> Found:
        """Until nothing is left that could be better, or the nodes are used up."""
        window = self.window
        full = (1 << len(window.rows)) - 1
        self.bytes = sum(map(window.price, self.kernels))
        self.reached[0] = (0, 0, 0)
        self.heap.append((window.bound(0), len(window.rows), 0))
        least = None
        while self.heap and least is None:
            bound, _, done = heapq.heappop(self.heap)
            self.done, self.spent = done, self.reached[done][0]
            if bound >= self.bytes:
                break
            if bound > self.spent + window.bound(done):
                continue  # reached at less cost since, and looked at then
            self._extend(0, 0, 0, EMPTY, bound)
            if self.nodes >= self.limit:  # all that is not looked at goes through one of these
                least = min([bound, *(entry[0] for entry in self.heap)])
        kernels = self._path(full) if full in self.reached else self.kernels
        total = sum(map(window.price, kernels))
        return Found(
            kernels=kernels, bytes=total, least=total if least is None else min(least, total), nodes=self.nodes
        )

    def _extend(self, at: int, inside: int, outside: int, room: Room, bound: int) -> None:
        """All kernels that can run after `done`, larger ones first, as far as they can lead to something better."""
        window = self.window
        count = len(window.rows)
        while at < count and self.done >> at & 1:
            at += 1
        if bound >= self.bytes or self.nodes >= self.limit:
            return
        if at == count:
            if inside:
                self._offer(inside, room)
            return
        self.nodes += 1
        bit = 1 << at
        touched = window.storages[at]
        before = self._bounds(touched, inside, outside)
        if not window.needs[at] & ~(self.done | inside):
            more = window.room(at, inside, room)
            if more is not None:
                after = self._bounds(touched, inside | bit, outside)
                self._extend(at + 1, inside | bit, outside, more, bound + after - before)
        after = self._bounds(touched, inside, outside | bit)
        self._extend(at + 1, inside, outside | bit, room, bound + after - before)

    def _bounds(self, touched: list[StorageBytes], inside: int, outside: int) -> int:
        done = self.done
        return sum(storage.bound(done, inside, outside) for storage in touched)

    def _offer(self, kernel: int, room: Room) -> None:
        """A kernel after `done`: the end of a better partition, or a set to go on from."""
        window = self.window
        after = self.done | kernel
        spent = self.spent + window.price(kernel)
        left = len(window.rows) - after.bit_count()
        known = self.reached.get(after)
        if known is not None and known[0] <= spent:
            return
        bound = spent + (window.bound(after) if left else 0)
        if bound >= self.bytes or not window.holds(kernel, room):
            return
        self.reached[after] = (spent, self.done, kernel)
        if left:
            heapq.heappush(self.heap, (bound, left, after))
        else:
            self.bytes = spent

    def _path(self, done: int) -> tuple[int, ...]:
        kernels = []
        while done:
            _, done, kernel = self.reached[done]
            kernels.append(kernel)
        return tuple(reversed(kernels))
