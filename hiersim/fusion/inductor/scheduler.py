"""Which stored results TorchInductor puts into one kernel (`Scheduler.fuse_nodes` and the Triton backend's checks).

Pairs of buffers that share data are merged greedily, those first that save most memory traffic, over several rounds,
as long as their loop nests suit each other and nothing would wait for itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiersim.fusion.contraction import Contraction
from hiersim.fusion.inductor.buffers import Buffers
from hiersim.fusion.inductor.rules import InductorRules
from hiersim.fusion.inductor.singles import Pairs, Singles, grouped, handed_on, suited
from hiersim.fusion.reasons import Reason
from hiersim.model.operators import BoolArray, IntArray


@dataclass(slots=True, kw_only=True)
class Group:
    """Buffers that share a kernel."""

    buffers: int
    library: bool
    place: tuple[int, int]
    """Stretch between host syncs, and phase."""
    points: int
    """Points of the parallel loops (`numel`)."""
    inner: int
    """Points of the reduction loops (`rnumel`); 1 where nothing is reduced."""
    split: bool
    """Whether its reductions are split over blocks."""
    loads: set[int]
    """Keys that it reads, its own results among them."""
    made: set[int]
    """Keys of its own results, as others read them."""
    touched: set[int]
    """Both."""
    first: int
    last: int
    """Least and largest number of a buffer in it, in launch order."""


class Scheduler:
    """Buffers in launch order, and the groups that they are in."""

    def __init__(self, buffers: Buffers, alone: Singles, contraction: Contraction, rules: InductorRules) -> None:
        self.rules = rules
        self.buffers = buffers
        self.alone = alone
        self.contraction = contraction
        self.number = {head: number for number, head in enumerate(alone.head.tolist())}
        """Operator → buffer that stores its result."""
        count = len(alone)
        self._members: dict[int, list[int]] = {}
        """Buffers of each group that has several, by its name; in no order."""
        self._buffers, self._first, self._last = [1] * count, list(range(count)), list(range(count))
        self._points, self._inner = alone.points.tolist(), alone.inner.tolist()
        self._split: list[bool] = alone.split.tolist()
        self._odd: list[bool] = (alone.split | _read_elsewhere(alone)).tolist()
        """Whether a group is split, or reads results at other places than those where they are made."""
        self._sources = handed_on(alone)
        self._groups: dict[int, Group] = {}

    def of(self, name: int) -> Group:
        """The group of a name; made when it is asked for, as most never are."""
        found = self._groups.get(name)
        if found is None:
            found = self._groups[name] = self._group(name)
        return found

    def _group(self, name: int) -> Group:
        alone, known = self.alone, self.buffers.loads
        loads, made = set[int](), set[int]()
        for head in alone.head[self._members.get(name, [name])].tolist():
            loads |= self.buffers.reads[head]
            made.update(known.made[known.made_ptr[head] : known.made_ptr[head + 1]])
        return Group(
            buffers=self._buffers[name],
            library=bool(alone.library[name]),
            place=(int(alone.stretch[name]), int(alone.phase[name])),
            points=self._points[name],
            inner=self._inner[name],
            split=self._split[name],
            loads=loads,
            made=made,
            touched=loads | made,
            first=self._first[name],
            last=self._last[name],
        )

    def run(self) -> IntArray:
        """(B,) the group of each buffer, after all rounds."""
        pairs = suited(self.alone, self.rules)
        for _ in range(self.rules.fusion_rounds):
            changed = self._round(pairs)
            if not changed:
                break
            now = grouped(self.alone, self.contraction.groups(), self._shape)
            pairs = suited(now, self.rules, np.isin(now.name, list(changed)))
        return self.contraction.groups()

    def _round(self, pairs: Pairs) -> set[int]:
        """Merge what can be merged of some pairs, in their order; the groups that have grown."""
        changed, grown = set[int](), bytearray(len(self.alone))
        group, can_merge = self.contraction.group, self.contraction.can_merge
        for one, other, passed in zip(pairs.one.tolist(), pairs.other.tolist(), pairs.passed.tolist(), strict=True):
            first, second = group(one), group(other)
            if first == second:
                continue
            if (grown[first] or grown[second]) and not self._still_suit(first, second, passed):
                continue  # only what has grown since the pairs were found may no longer suit
            if can_merge(first, second):
                name = self._merge(first, second)
                grown[name] = 1
                changed.add(name)
        return {name for name in changed if group(name) == name}

    def _shape(self, name: int) -> tuple[int, int, bool]:
        """Points, inner points and split of a group."""
        return self._points[name], self._inner[name], self._split[name]

    def shared_bytes(self, one: Group, other: Group) -> int:
        """Bytes that both touch."""
        size = self.buffers.loads.size
        return sum([size[key] for key in one.touched & other.touched])

    def refusal(self, one: int, other: int) -> Reason | None:
        """Why two groups may not share a kernel; None where they may."""
        reason = self.mismatch(one, other)
        if reason is None and not self.contraction.can_merge(one, other):
            return Reason.CYCLE
        return reason

    def mismatch(self, one: int, other: int) -> Reason | None:
        """`refusal`, but for cycles."""
        return self._mismatch(self.of(one), self.of(other))

    def _still_suit(self, first: int, second: int, passed: bool) -> bool:
        """Whether two groups suit each other that have grown from two that did.

        They share what those shared, and hand on what those did, so that little is left to be asked.
        """
        if self._buffers[first] + self._buffers[second] > self.rules.max_fusion_size:
            return False
        if self._odd[first] or self._odd[second]:
            return self.mismatch(first, second) is None
        alike = self._points[first] == self._points[second] and self._inner[first] == self._inner[second]
        if not alike and not _loops_suit(self._shape(first), self._shape(second)):
            return False
        if passed:
            return True
        far = max(self._last[first] - self._first[second], self._last[second] - self._first[first])
        return far <= self.rules.max_distance or self._reads(first, second) or self._reads(second, first)

    def _reads(self, name: int, other: int) -> bool:
        """Whether a group reads what a buffer of another makes."""
        (ptr, source), group = self._sources, self.contraction.group
        for number in self._members.get(name, (name,)):
            for made in source[ptr[number] : ptr[number + 1]]:
                if group(made) == other:
                    return True
        return False

    def _mismatch(self, first: Group, second: Group) -> Reason | None:
        """Why two groups do not suit each other."""
        if first.library or second.library:
            return Reason.LIBRARY_CALL
        if first.place != second.place:
            return Reason.HOST_SYNC if first.place[0] != second.place[0] else Reason.PHASE
        shapes = [(group.points, group.inner, group.split) for group in (first, second)]
        if not _loops_suit(*shapes) or _waits_for_parts(first, second):
            return Reason.LOOP_NEST
        passed = (first.made & second.loads) | (second.made & first.loads)
        whole = self.buffers.loads.whole
        for key in passed:
            if not whole[key]:
                return Reason.INDEXING
        if first.buffers + second.buffers > self.rules.max_fusion_size:
            return Reason.KERNEL_SIZE
        return None if passed else self._too_little(first, second)

    def _too_little(self, first: Group, second: Group) -> Reason | None:
        """Why two groups of which neither hands the other anything do not save enough; None where they do."""
        shared = self.shared_bytes(first, second)
        if shared == 0:
            return Reason.NO_SHARED_DATA
        if shared < self.rules.score_fusion_memory_threshold:
            return Reason.LITTLE_SHARED_DATA
        return Reason.DISTANCE if _distance(first, second) > self.rules.max_distance else None

    def _merge(self, one: int, other: int) -> int:
        members, fewer = self._members.pop(one, None) or [one], self._members.pop(other, None) or [other]
        if len(members) < len(fewer):
            members, fewer = fewer, members
        members += fewer
        if self._groups:
            self._groups.pop(one, None)
            self._groups.pop(other, None)
        reduces = one if self._inner[one] > 1 else other
        name = self.contraction.merge(one, other)
        self._members[name] = members
        self._buffers[name] = self._buffers[one] + self._buffers[other]
        self._points[name], self._inner[name], self._split[name] = self._shape(reduces)
        self._odd[name] = self._odd[one] or self._odd[other]
        self._first[name] = min(self._first[one], self._first[other])
        self._last[name] = max(self._last[one], self._last[other])
        return name


def _read_elsewhere(alone: Singles) -> BoolArray:
    """(B,) whether each reads results at other places than those where they are made."""
    astray = np.zeros(len(alone.size), np.bool_)
    astray[alone.key[alone.makes]] = True
    astray &= ~alone.whole
    found = np.zeros(len(alone), np.bool_)
    found[np.repeat(np.arange(len(alone)), np.diff(alone.ptr))[alone.loads & astray[alone.key]]] = True
    return found


def _distance(one: Group, other: Group) -> int:
    """Buffers between the far ends of two groups."""
    return max(abs(one.first - other.last), abs(other.first - one.last))


def _loops_suit(one: tuple[int, int, bool], other: tuple[int, int, bool]) -> bool:
    """The Triton backend's check of numel and rnumel (`SIMDScheduling.can_fuse`)."""
    (points, inner, _), (others, others_inner, _) = one, other
    if inner > 1 and others_inner > 1:
        return points == others and inner == others_inner
    if inner == 1 and others_inner == 1:
        return points == others
    return (others in (points, points * inner)) if inner > 1 else (points in (others, others * others_inner))


def _waits_for_parts(one: Group, other: Group) -> bool:
    """Whether one goes over the elements of a reduction that is split over blocks, after its result is there."""
    reduces, plain = (one, other) if one.inner > 1 else (other, one)
    if not reduces.split:
        return False
    if plain.inner > 1:
        return not (one.made | other.made).isdisjoint(one.loads | other.loads)
    return plain.points > reduces.points and not reduces.made.isdisjoint(plain.loads)
