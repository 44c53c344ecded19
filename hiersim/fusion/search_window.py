"""What kernels of a window of operators pay and need, as a search asks for it: operators are bits, sums are kept.

Dependences run through storages, so that what a kernel pays for one of them depends only on which of the few operators
that touch it are inside. Sums over storages, each with a memory of its own, are what makes a search fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from hiersim.fusion.kernel_bytes import Costs, Touch
from hiersim.fusion.sliding import MOST, Axis

Lanes = tuple[tuple[Axis, int], ...]
"""Along which a kernel may go window by window, and the storages that it then needs whole, as bits."""
Room = tuple[int, int, Lanes]
"""Bytes of values that a kernel must hold whole: of any kernel, and of one that has at most one product; its lanes."""
EMPTY: Final[Room] = (0, 0, ())


@dataclass(frozen=True, slots=True)
class Seen:
    """A touch of an operator of a window, others as bits of the window."""

    bit: int
    place: tuple[int, int, int]
    size: int
    others: int
    forced: bool
    """Goes through memory whichever operators of the window are in the kernel."""
    dies: bool
    """Of a write: nobody reads it, so that only the kernel of a single operator, a library call, makes it."""


class StorageBytes:
    """What kernels of a window pay for one storage; operators are bits, results are remembered."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.mask = 0
        self.reads: list[Seen] = []
        self.writes: list[Seen] = []
        self._prices: dict[tuple[int, bool], int] = {}
        self._bounds: dict[tuple[int, int, int], int] = {}

    def price(self, inside: int, single: bool) -> int:
        """Bytes of a kernel of the operators `inside`; the part of `Costs.bytes` that is this storage's."""
        key = (inside & self.mask, single)
        found = self._prices.get(key)
        if found is None:
            found = self._prices[key] = self._price(inside, single)
        return found

    def bound(self, done: int, inside: int, outside: int) -> int:
        """Bytes that a kernel which includes `inside` and not `outside`, and all later ones, pay at least.

        `done` ran before. Whatever is in none of the three may join the kernel or run later.
        """
        mask = self.mask
        key = (done & mask, inside & mask, outside & mask)
        found = self._bounds.get(key)
        if found is None:
            found = self._bounds[key] = self._bound(*key)
        return found

    def _price(self, inside: int, single: bool) -> int:
        reads = [seen for seen in self.reads if inside & seen.bit and (seen.forced or seen.others & ~inside)]
        writes: list[Seen] = []
        for seen in self.writes:
            if inside & seen.bit and (seen.forced or seen.others & ~inside or (seen.dies and single) or writes):
                writes.append(seen)
        return self._distinct(reads) + self._distinct(writes)

    def _bound(self, done: int, inside: int, outside: int) -> int:
        """Two bounds for reads and writes each: this kernel's and later ones' apart, and all that is left together.

        What is counted is monotone and subadditive (`least`), and each touch that is counted is paid by its kernel.
        """
        later = (done | outside, done | inside)
        own = [seen for seen in self.reads if inside & seen.bit and (seen.forced or seen.others & later[0])]
        rest = [seen for seen in self.reads if outside & seen.bit and (seen.forced or seen.others & later[1])]
        left = [seen for seen in self.reads if not done & seen.bit and (seen.forced or seen.others & done)]
        reads = max(self.least(own) + self.least(rest), self.least(left))
        own = [seen for seen in self.writes if inside & seen.bit and (seen.forced or seen.others & outside)]
        rest = [seen for seen in self.writes if outside & seen.bit and seen.forced]
        left = [seen for seen in self.writes if not done & seen.bit and seen.forced]
        return reads + max(self.least(own) + self.least(rest), self.least(left))

    def _distinct(self, touches: Iterable[Seen]) -> int:
        """Each region once, and the whole storage instead of its parts."""
        regions: dict[tuple[int, int, int], int] = {}
        for seen in touches:
            regions[seen.place] = max(regions.get(seen.place, 0), seen.size)
        if any(size >= self.size for size in regions.values()):
            return self.size
        return sum(regions.values())

    def least(self, touches: Iterable[Seen]) -> int:
        """No more than `_distinct` of these touches and any others."""
        regions: dict[tuple[int, int, int], int] = {}
        for seen in touches:
            regions[seen.place] = max(regions.get(seen.place, 0), seen.size)
        return min(self.size, sum(regions.values()))


class Window:
    """Operators among which a search decides; all others keep the kernels that they have, apart from these.

    Parameters
    ----------
    costs : Costs
        Of the graph.
    rows : sequence of int
        Operators in issue order, so that no path leaves the window and comes back.
    shared : frozenset, optional
        For a bound: others may share kernels with those of the window, and of what a kernel pays for a storage only
        that counts whose home, `(0 for reads or 1 for writes, segment, storage)`, is this window.
    """

    def __init__(
        self, costs: Costs, rows: Sequence[int], shared: frozenset[tuple[int, int, int]] | None = None
    ) -> None:
        self.rows = tuple(rows)
        self._costs, self._relaxed = costs, shared is not None
        self._lanes, self._held = _lanes(costs, rows)
        self._held_bytes: dict[int, int] = {}
        self._slides: dict[int, bool] = {}
        self.capacity = costs.capacity
        place = {row: 1 << at for at, row in enumerate(rows)}
        self.needs = [_mask(place, costs.before[row]) for row in rows]
        self.apart = _apart(costs, rows, place)
        self.storages: list[list[StorageBytes]] = []
        self.all: dict[int, StorageBytes] = {}
        self.products = _mask(place, (row for row in rows if costs.product[row]))
        self.held: list[list[tuple[int, int, int, int]]] = [[] for _ in rows]
        index = {row: at for at, row in enumerate(rows)}
        for row in rows:
            for size, users, whole in costs.held[row]:
                inside = sorted(index[user] for user in users if user in index)
                masks = _mask(place, users), _mask(place, whole)
                for at in inside:
                    self.held[at].append((place[row], size, *masks))
        for at, row in enumerate(rows):
            touched: dict[int, StorageBytes] = {}
            for side, touches in enumerate((costs.reads[row], costs.writes[row])):
                for touch in touches:
                    name = touch.place[0]
                    if shared is not None and (side, costs.segment[row], name) not in shared:
                        continue
                    storage = self.all.setdefault(name, StorageBytes(costs.size[name]))
                    touched[name] = storage
                    storage.mask |= 1 << at
                    (storage.writes if side else storage.reads).append(
                        _seen(costs, touch, row, place, self.apart[at], shared is not None, bool(side))
                    )
            self.storages.append(list(touched.values()))

    def price(self, members: int) -> int:
        """Bytes of one kernel."""
        single = members & (members - 1) == 0
        return sum(storage.price(members, single) for storage in self._touched(members))

    def bound(self, done: int) -> int:
        """Bytes that all kernels after `done` pay at least."""
        return sum(storage.bound(done, 0, 0) for storage in self.all.values())

    def room(self, at: int, members: int, room: Room) -> Room | None:
        """The room of `members`, which have `room`, and operator `at` after them; None where no kernel has them all."""
        if self.apart[at] & members:
            return None
        every, whole, lanes = room
        bit = 1 << at
        for row, size, users, needing in self.held[at]:
            if row & members:
                every += 0 if users & members else size
                whole += size if needing & bit and not needing & members else 0
        lanes = self._narrowed(at, lanes, members.bit_count()) if members else tuple(self._lanes[at].items())
        room = (every, whole, lanes)
        return room if lanes or self._whole(members | bit, room) else None

    def holds(self, members: int, room: Room) -> bool:
        """Whether `members`, which have `room`, may be a kernel as they are."""
        if self._whole(members, room):
            return True
        if self._relaxed:  # others may be with them
            return bool(room[2])
        found = self._slides.get(members)
        if found is None:
            rows = [row for at, row in enumerate(self.rows) if members >> at & 1]
            found = self._slides[members] = bool(room[2]) and self._costs.plan(rows) is not None
        return found

    def _whole(self, members: int, room: Room) -> bool:
        """Whether all that somebody needs whole fits."""
        products = members & self.products
        return (room[0] if products & (products - 1) else room[1]) <= self.capacity

    def _narrowed(self, at: int, lanes: Lanes, members: int) -> Lanes:
        """The lanes of so many operators that operator `at` can go along with them."""
        if not lanes or members >= MOST:
            return ()
        own, found = self._lanes[at], []
        for axis, held in lanes:
            more = own.get(axis)
            if more is not None and self._bytes(held | more) <= self.capacity:
                found.append((axis, held | more))
        return tuple(found)

    def _bytes(self, held: int) -> int:
        """What storages need at least."""
        found = self._held_bytes.get(held)
        if found is None:
            storages = [storage for at, storage in enumerate(self._held) if held >> at & 1]
            found = self._held_bytes[held] = self._costs.held_bytes(storages)
        return found

    def _touched(self, members: int) -> Iterable[StorageBytes]:
        if members == (1 << len(self.rows)) - 1:
            return self.all.values()
        found: dict[int, StorageBytes] = {}
        at, left = 0, members
        while left:
            skip = (left & -left).bit_length() - 1
            at += skip
            for storage in self.storages[at]:
                found[id(storage)] = storage
            left >>= skip + 1
            at += 1
        return found.values()


def _mask(place: dict[int, int], rows: Iterable[int]) -> int:
    """Bits of those rows that are in the window."""
    mask = 0
    for row in rows:
        mask |= place.get(row, 0)
    return mask


def _lanes(costs: Costs, rows: Sequence[int]) -> tuple[list[dict[Axis, int]], list[int]]:
    """Of each operator its axes with the storages that it needs whole, as bits; and the storages of these bits."""
    number: dict[int, int] = {}
    found: list[dict[Axis, int]] = []
    for row in rows:
        lanes: dict[Axis, int] = {}
        for axis, storages in costs.lanes(row).items():
            if costs.held_bytes(storages) <= costs.capacity:
                lanes[axis] = sum(1 << number.setdefault(storage, len(number)) for storage in sorted(storages))
        found.append(lanes)
    return found, list(number)


def _apart(costs: Costs, rows: Sequence[int], place: dict[int, int]) -> list[int]:
    """Operators that never share a kernel with each."""
    apart = [0] * len(rows)
    every = (1 << len(rows)) - 1

    def separate(at: int, mask: int) -> None:
        mask &= ~(1 << at)
        apart[at] |= mask
        while mask:
            apart[mask.bit_length() - 1] |= 1 << at
            mask ^= 1 << (mask.bit_length() - 1)

    for at, row in enumerate(rows):
        if costs.alone[row]:
            separate(at, every)
        for touch in costs.reads[row]:
            separate(at, _mask(place, (other for other in touch.others if not costs.together(row, other))))
    return apart


def _seen(costs: Costs, touch: Touch, row: int, place: dict[int, int], apart: int, shared: bool, write: bool) -> Seen:
    """A touch as the window sees it."""
    others = _mask(place, touch.others)
    away = [other for other in touch.others if other not in place]
    if shared:  # operators of another window of the same segment may be in the kernel
        away = [other for other in away if not costs.together(row, other)]
    unread = write and not touch.others
    return Seen(
        place[row], touch.place, touch.size, others,
        forced=touch.always or bool(away) or bool(others & apart) or (unread and not touch.first),
        dies=unread and touch.first and not shared,
    )  # fmt: skip
