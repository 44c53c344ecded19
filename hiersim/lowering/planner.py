"""Every storage gets a home tier for its whole life; what does not fit the device goes behind it, never silently.

Pinned storages come first, the others in the order that the design states (`Placement.order`); each goes to the nearest
tier that has room as long as it lives. What lives behind the device is brought there in *stays* (see `staging.py`),
whose room is kept free, kernel by kernel: it is raised where the device is over-full until every moment fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count
from typing import Final

import numpy as np
import numpy.typing as npt

from hiersim.errors import CapacityError
from hiersim.lowering.placement import largest_occupancy, lifetimes
from hiersim.lowering.skyline import NOWHERE, settle
from hiersim.lowering.staging import Stay, first_touch, moved_bytes, room, stays
from hiersim.model.design import Design, Order, Tier
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import BoolArray, IntArray, Role
from hiersim.units import show_bytes, show_least_bytes

BOUNCE_CHUNKS: Final = 8
"""Chunks of a copy for which a tier on its way keeps room."""
STEP_SHARE: Final = 256
"""The room kept for stays is raised by at least this part of the device, so that it is found soon."""
ATTEMPTS: Final = 64
"""So often room is raised where it is short; after that for the whole run."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Where storages live on one design. S storages, K kernels, H homes: `Design.homes`."""

    tiers: tuple[Tier, ...]
    """(H,) nearest first."""
    device: int
    """Index of the last tier that kernels address."""
    home: IntArray
    """(S,) index into `tiers`; -1 for storages that never take memory."""
    stays: tuple[Stay, ...]
    """Of storages behind the device, by storage and time."""
    occupied: IntArray
    """(H, K) bytes in use while each kernel runs."""
    warnings: tuple[str, ...]


def plan(graph: KernelGraph, design: Design) -> Plan | None:
    """The homes of all storages; None where all live in the last tier that kernels address and there is no choice.

    Pins that match nothing are no choice, but they are told.

    Raises
    ------
    CapacityError
        When the last tier is full, or one kernel needs more of the device than there is: names the tensor, the tier
        and the missing bytes.
    """
    fits = graph.derived(largest_occupancy)[0] <= design.home.capacity
    if not design.placement.pins and not design.pools and (fits or not design.host_tiers):
        return None  # what nearly all designs of a sweep come to
    pins, unused = _pinned(graph, design)
    behind = bool(design.host_tiers) and (not fits or bool((pins > len(design.pools)).any()))
    if not design.pools and not behind and not (unused and fits):
        return None
    return _Planner(graph, design, pins, unused).run()


class _Planner:
    """The search for the least room that the stays need."""

    def __init__(self, graph: KernelGraph, design: Design, pins: IntArray, warnings: tuple[str, ...]) -> None:
        self.graph, self.design, self.pins, self.warnings = graph, design, pins, warnings
        self.tiers, self.device = design.homes, len(design.pools)
        self.ahead = int(design.placement.prefetch) - 1
        self.life = lifetimes(graph)
        order = placement_order(graph, design)
        self.order = order[np.argsort(pins[order] < 0, kind="stable")]  # pinned ones first
        self.size = graph.tensors.storage_bytes

    def run(self) -> Plan:
        """Raise the room for stays, moment by moment, until every moment fits."""
        device, farthest = int(self.tiers[self.device].capacity), self.device
        kept = np.zeros(len(self.graph), np.int64)
        for attempt in count():
            home = self._settled(kept, farthest)
            deepest = int(home.max(initial=0))
            found = stays(self.graph, home > self.device, self.ahead)
            needed = room(found, len(self.graph))
            use = self._use(home == self.device) + needed
            over = use > device
            if not over.any() and deepest <= farthest:
                return self._plan(home, found, use)
            if over.any() and int(kept[over].max()) >= device:
                break
            kept = _raised(kept, needed, over, device, together=attempt >= ATTEMPTS)
            farthest = max(farthest, deepest)
        raise self._too_much_at_once(needed)

    def _settled(self, kept: IntArray, farthest: int) -> IntArray:
        """(S,) homes when `kept` (K,) bytes of the device are left to stays and copies go as far as tier `farthest`.

        What is kept comes first, as if it were storages of its own: one for each run of kernels of equal `kept`.
        """
        ceilings = [int(tier.capacity) for tier in self.tiers]
        for index in range(self.device + 1, farthest):
            ceilings[index] -= self._bounce(index)
        storages = len(self.size)
        first = np.flatnonzero(np.append(True, np.diff(kept) != 0)[: len(kept)])
        last = np.append(first[1:], len(kept))[: len(first)] - 1
        home = settle(
            np.concatenate((storages + np.arange(len(first)), self.order)),
            np.concatenate((self.life.first, first)),
            np.concatenate((self.life.last, last)),
            np.concatenate((self.size, kept[first])),
            np.concatenate((self.pins, np.full(len(first), self.device))),
            ceilings,
        )[:storages]
        lost = self.order[home[self.order] == NOWHERE]
        if len(lost):
            raise self._full(int(lost[0]), home, kept, ceilings)
        return home

    def _bounce(self, index: int) -> int:
        """Bytes that a tier keeps free for chunks on their way from and to farther ones."""
        return min(int(self.tiers[index].capacity), BOUNCE_CHUNKS * int(self.design.placement.chunk))

    def _use(self, chosen: IntArray) -> IntArray:
        """(K,) bytes that the chosen storages take."""
        rows = np.flatnonzero(chosen & (self.life.used == 1))
        change = np.zeros(len(self.graph) + 1, np.int64)
        np.add.at(change, self.life.first[rows], self.size[rows])
        np.subtract.at(change, self.life.last[rows] + 1, self.size[rows])
        return np.cumsum(change[:-1])

    def _plan(self, home: IntArray, found: list[Stay], device: IntArray) -> Plan:
        occupied = [self._use(home == index) for index in range(len(self.tiers))]
        occupied[self.device] = device
        for index in range(self.device + 1, int(home.max(initial=0))):
            occupied[index] = occupied[index] + self._bounce(index)
        return Plan(
            tiers=self.tiers, device=self.device, home=home, stays=tuple(found), occupied=np.array(occupied, np.int64),
            warnings=self.warnings + _spilled(self.graph, self.tiers, self.device, home),
        )  # fmt: skip

    def _full(self, storage: int, home: IntArray, kept: IntArray, ceilings: list[int]) -> CapacityError:
        """No tier has room for `storage`."""
        pin = int(self.pins[storage])
        index = pin if pin >= 0 else len(self.tiers) - 1
        tier = self.tiers[index]
        first, last = int(self.life.first[storage]), int(self.life.last[storage])
        live, free = self._use(home == index), np.full(len(kept), int(tier.capacity) - ceilings[index])
        if index == self.device:
            free = free + kept
        moment = first + int((live + free)[first : last + 1].argmax()) if first <= last else 0
        use, room_kept = int(live[moment]), int(free[moment])
        missing = int(self.size[storage]) - (int(tier.capacity) - use - room_kept)
        for_copies = f" and {show_bytes(room_kept)} kept free for copies" if room_kept else ""
        why = "it is pinned there" if pin >= 0 else "no other tier has room either"
        return CapacityError(
            f"tensor '{_name(self.graph, storage)}' ({show_bytes(int(self.size[storage]))}) does not fit tier "
            f"'{tier.name}' of {self.design.name} ({show_bytes(tier.capacity)}), of which "
            f"{show_bytes(use)} are taken{for_copies}: {missing} bytes ({show_bytes(missing)}) are missing, and {why}",
            key=f"memory.{tier.name}.capacity",
            expected=f"at least {show_least_bytes(int(tier.capacity) + missing)}",
        )

    def _too_much_at_once(self, needed: IntArray) -> CapacityError:
        """The stays alone are more than the device."""
        moment = int(needed.argmax())
        tier, most = self.tiers[self.device], int(needed[moment])
        missing = most - int(tier.capacity)
        return CapacityError(
            f"kernel {moment} '{self.graph.names[moment]}' needs {show_bytes(most)} of tensors at once in tier "
            f"'{tier.name}' of {self.design.name} ({show_bytes(tier.capacity)}): {missing} bytes "
            f"({show_bytes(missing)}) are missing",
            key=f"memory.{tier.name}.capacity",
            expected=f"at least {show_least_bytes(most)}, or a smaller placement.prefetch",
        )


def _raised(kept: IntArray, needed: IntArray, over: BoolArray, device: int, *, together: bool) -> IntArray:
    """(K,) more room where the device was over-full; everywhere alike when that has been tried often."""
    step = max(1, device // STEP_SHARE)
    if together:
        return np.full(len(kept), min(device, int(kept.max(initial=0)) + step))
    more = np.minimum(device, np.maximum(needed, kept + step))
    return np.where(over, np.maximum(kept, more), kept)


def placement_order(graph: KernelGraph, design: Design) -> IntArray:
    """Storages that take memory, as they are to be placed."""
    life = lifetimes(graph)
    first = first_touch(graph)
    if design.placement.order is Order.FIRST_TOUCH:
        order = np.argsort(first, kind="stable")
    else:
        density = moved_bytes(graph) / np.maximum(graph.tensors.storage_bytes, 1)
        order = np.lexsort((first, -density))
        if design.placement.order is Order.SPREAD:
            order = order[np.lexsort((spread_keys(density[order]), -density[order]))]
    return np.asarray(order[life.used[order] == 1], np.int64)


def spread_keys(value: npt.NDArray[np.float64]) -> IntArray:
    """(N,) keys by which each run of equal values is taken so that what is left at any time lies evenly in it.

    The places in a run with their bits in reverse order: van der Corput, Verteilungsfunktionen, Proc. Kon. Ned. Akad.
    v. Wetensch. 38, 1935.
    """
    first = np.flatnonzero(np.append(True, np.diff(value) != 0)[: len(value)])
    place = np.arange(len(value)) - np.repeat(first, np.diff(np.append(first, len(value))))
    key = np.zeros(len(value), np.int64)
    for _ in range(len(value).bit_length()):
        key, place = 2 * key + (place & 1), place >> 1
    return key


def _pinned(graph: KernelGraph, design: Design) -> tuple[IntArray, tuple[str, ...]]:
    """(S,) index of the tier that each storage is pinned to, -1 where it is free; and a warning of idle pins."""
    table = graph.tensors
    names = [tier.name for tier in design.homes]
    pins = np.full(len(table.storage_bytes), -1, np.int64)
    if not design.placement.pins:
        return pins, ()
    roles = {role.name.lower(): int(role) for role in Role}
    idle = []
    for pattern, tier in design.placement.pins.items():
        if pattern in roles:
            rows = table.storage_role == roles[pattern]
        else:
            rows = np.array([fnmatchcase(name, pattern) for name in table.storage_names], bool)
        if not rows.any():
            idle.append(f"pin '{pattern}' matches no tensor of this trace")
        pins[rows & (pins < 0)] = names.index(tier)
    return pins, tuple(idle)


def _spilled(graph: KernelGraph, tiers: tuple[Tier, ...], device: int, home: IntArray) -> tuple[str, ...]:
    """One warning for each tier behind the device and role of tensors there."""
    table = graph.tensors
    lines = []
    for index, tier in enumerate(tiers[device + 1 :], device + 1):
        for role in Role:
            rows = np.flatnonzero((home == index) & (table.storage_role == role))
            if len(rows):
                size = show_bytes(int(table.storage_bytes[rows].sum()))
                first, last = _name(graph, int(rows[0])), _name(graph, int(rows[-1]))
                named = f"'{first}'" if len(rows) == 1 else f"'{first}' … '{last}'"
                kind = role.name.lower().replace("_", " ")
                lines.append(f"{size} of {kind} live in '{tier.name}': {len(rows)} tensors, {named}")
    return tuple(lines)


def _name(graph: KernelGraph, storage: int) -> str:
    """What to call a storage: its name, or what it is and where it is first touched."""
    name = graph.tensors.storage_names[storage]
    if name:
        return name
    role = Role(int(graph.tensors.storage_role[storage])).name.lower().replace("_", " ")
    first = int(first_touch(graph)[storage])
    return f"{role} of kernel {first} {graph.names[first]}" if first < len(graph) else role
