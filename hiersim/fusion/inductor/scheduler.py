"""Which stored results TorchInductor puts into one kernel (`Scheduler.fuse_nodes` and the Triton backend's checks).

Pairs of buffers that share data are merged greedily, those first that save most memory traffic, over several rounds,
as long as their loop nests suit each other and nothing would wait for itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from hiersim.fusion.contraction import Contraction
from hiersim.fusion.inductor.buffers import Buffers
from hiersim.fusion.inductor.rules import InductorRules
from hiersim.fusion.inductor.singles import Singles, suited, users
from hiersim.fusion.reasons import Reason
from hiersim.model.operators import IntArray


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
    astray: bool
    """Whether it reads results at other places than those where they are made."""
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
        self._groups: dict[int, Group] = {}
        self._astray = {key for key in buffers.loads.made if not buffers.loads.whole[key]}
        """Results that are read at other places than those where they are made."""
        self._users: tuple[list[int], list[int]] | None = None

    def of(self, name: int) -> Group:
        """The group of a name; made when it is asked for, as most never are."""
        found = self._groups.get(name)
        if found is None:
            found = self._groups[name] = self._single(name)
        return found

    def _single(self, number: int) -> Group:
        """A buffer as a group."""
        alone = self.alone
        head, known = int(alone.head[number]), self.buffers.loads
        loads, made = set(self.buffers.reads[head]), set(known.made[known.made_ptr[head] : known.made_ptr[head + 1]])
        return Group(
            buffers=1,
            library=bool(alone.library[number]),
            place=(int(alone.stretch[number]), int(alone.phase[number])),
            points=int(alone.points[number]),
            inner=int(alone.inner[number]),
            split=bool(alone.split[number]),
            loads=loads,
            made=made,
            touched=loads | made,
            astray=not loads.isdisjoint(self._astray),
            first=number,
            last=number,
        )

    def run(self) -> IntArray:
        """(B,) the group of each buffer, after all rounds."""
        pairs = suited(self.alone, self.rules)
        merged = bytearray(len(self.alone))  # 1 for buffers that are no longer alone
        group, can_merge = self.contraction.group, self.contraction.can_merge
        for _ in range(self.rules.fusion_rounds):
            changed = set[int]()
            for one, other in pairs:
                first, second = group(one), group(other)
                if first == second:
                    continue
                grown = merged[first] or merged[second]  # pairs suit each other: what is still alone still does
                if (grown and not self._still_suit(self.of(first), self.of(second))) or not can_merge(first, second):
                    continue
                merged[first] = merged[second] = 1
                changed.add(self._merge(first, second))
            changed = {group(number) for number in changed}
            if not changed:
                break
            pairs = self._pairs(changed)
        return self.contraction.groups()

    def _pairs(self, changed: set[int]) -> list[tuple[int, int]]:
        """Pairs of groups that may be fused, those first that save most; one of each pair is in `changed`."""
        found: dict[tuple[int, int], tuple[int, int, int]] = {}  # pair → its place in the order
        seen: set[tuple[int, int]] = set()
        most = self.rules.max_fusion_buffer_group_pairwise_attempts
        keys = set[int]().union(*[self.of(name).touched for name in changed])
        made = set(self.alone.key[self.alone.makes].tolist()) & keys
        for key in sorted(keys):
            names = self._touching(key)
            for at, one in enumerate(names[:-1]):
                last = self._ends(one)[1] + self.rules.max_distance
                for other in names[at + 1 : at + 1 + most]:
                    if self._ends(other)[0] > last and key not in made:
                        break  # they only read the same, and so do all behind: too far apart
                    pair = (one, other)
                    if pair in seen or (one not in changed and other not in changed):
                        continue
                    seen.add(pair)
                    first, second = self.of(one), self.of(other)
                    if self._mismatch(first, second) is None:
                        found[pair] = _score(first, second, self.shared_bytes(first, second))
        return sorted(found, key=lambda pair: (found[pair], pair))

    def _touching(self, key: int) -> list[int]:
        """The groups of generated code that touch a key, in launch order of their first buffers."""
        if self._users is None:
            ptr, number = users(self.alone)
            self._users = ptr.tolist(), number.tolist()
        ptr_, numbers = self._users
        names = set(map(self.contraction.group, numbers[ptr_[key] : ptr_[key + 1]]))
        return sorted(names, key=self._ends) if len(names) > 1 else []

    def _ends(self, name: int) -> tuple[int, int]:
        """The least and the largest number of a buffer in a group."""
        found = self._groups.get(name)
        return (name, name) if found is None else (found.first, found.last)

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

    def _still_suit(self, first: Group, second: Group) -> bool:
        """Whether two groups suit each other that have grown from two that did.

        They share what those shared, and hand on what those did, so that little is left to be asked.
        """
        if first.buffers + second.buffers > self.rules.max_fusion_size or not _loops_suit(first, second):
            return False
        if first.astray or second.astray or first.split or second.split:
            return self._mismatch(first, second) is None
        if _distance(first, second) <= self.rules.max_distance:
            return True
        return not (first.made.isdisjoint(second.loads) and second.made.isdisjoint(first.loads))

    def _mismatch(self, first: Group, second: Group) -> Reason | None:
        """Why two groups do not suit each other."""
        if first.library or second.library:
            return Reason.LIBRARY_CALL
        if first.place != second.place:
            return Reason.HOST_SYNC if first.place[0] != second.place[0] else Reason.PHASE
        if not _loops_suit(first, second) or _waits_for_parts(first, second):
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
        first, second = self.of(one), self.of(other)
        del self._groups[one], self._groups[other]
        reduces = first if first.inner > 1 else second
        name = self.contraction.merge(one, other)
        self._groups[name] = Group(
            buffers=first.buffers + second.buffers,
            library=False,
            place=first.place,
            points=reduces.points,
            inner=reduces.inner,
            split=reduces.split,
            loads=first.loads | second.loads,
            made=first.made | second.made,
            touched=first.touched | second.touched,
            astray=first.astray or second.astray,
            first=min(first.first, second.first),
            last=max(first.last, second.last),
        )
        return name


def _score(one: Group, other: Group, saved: int) -> tuple[int, int, int]:
    """Order of fusions: kinds alike, bytes saved, nearness; the least comes first."""
    alike = int((one.inner > 1) == (other.inner > 1) and saved > 0)
    return -alike, -saved, _distance(one, other)


def _distance(one: Group, other: Group) -> int:
    """Buffers between the far ends of two groups."""
    return max(abs(one.first - other.last), abs(other.first - one.last))


def _loops_suit(one: Group, other: Group) -> bool:
    """The Triton backend's check of numel and rnumel (`SIMDScheduling.can_fuse`)."""
    if one.inner > 1 and other.inner > 1:
        return (one.points, one.inner) == (other.points, other.inner)
    if one.inner == 1 and other.inner == 1:
        return one.points == other.points
    reduces, plain = (one, other) if one.inner > 1 else (other, one)
    return plain.points in (reduces.points, reduces.points * reduces.inner)


def _waits_for_parts(one: Group, other: Group) -> bool:
    """Whether one goes over the elements of a reduction that is split over blocks, after its result is there."""
    reduces, plain = (one, other) if one.inner > 1 else (other, one)
    if not reduces.split:
        return False
    if plain.inner > 1:
        return not (one.made | other.made).isdisjoint(one.loads | other.loads)
    return plain.points > reduces.points and not reduces.made.isdisjoint(plain.loads)
