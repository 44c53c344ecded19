"""The plan of a fused chain: windows that slide over its operators while all that they need stays in the cores.

A group is run window by window. A window makes some rows of each result, and its producers supply the rows that the
taps need, so that neighbouring windows share a *halo*. Halos are kept or computed again (the "cached" and "recompute"
modes of depth-first scheduling, Mei et al., HPCA 2023, arXiv:2212.05344):

- **kept**: windows are as wide as the image. Of each value its last rows stay until they are not needed any more:
  `k - s` for k taps and a stride of s, more where a skip connection waits for a longer way. Room: weights, these rows
  of all values, and the most rows of one window that are alive at once.
- **computed again**: windows are tiles, cut along both sides. A tile makes all that its results need, with overlaps,
  and nothing stays but rows of what comes from memory, which is read once. Room: weights, these rows, and the most of
  one tile that is alive at once.

Keeping costs room, computing again costs FLOPs. The plan is the one of fewest windows that keeps its halos and fits;
where none does, that of fewest tiles which fit, if the points computed again take less time than moving the bytes that
stay in the cores (each would be written once and read once per user).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from hiersim.fusion.sliding import Axis, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An operator of a group, in issue order; values are numbered within the group."""

    window: Window
    sources: tuple[int, ...]
    """Values that it reads row by row."""
    value: int
    """The value that it makes."""
    held: int
    """Bytes that it needs whole."""
    leaves: bool
    """Whether somebody outside needs its result."""
    work: float
    """Seconds of its arithmetic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a group slides."""

    axis: Axis
    windows: int
    """Per image, or over the whole matrix; of tiles along each side."""
    again: bool
    """True where halos are computed again, False where they are kept or there are none."""
    needs: int
    """Bytes in the cores."""
    extra: tuple[int, ...]
    """Points that each member computes again, of one image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group along one axis, ready to be planned."""

    axis: Axis
    members: Sequence[Member]
    row_bytes: Sequence[int]
    """Bytes of a row of each value."""
    length: Sequence[int]
    """Rows of each value."""
    width: Sequence[int]
    """Columns of each value, as far as tiles may cut them; else 1."""
    ratio: Sequence[int]
    """Rows of each value to one of the coarsest, by the strides between them."""

    def steps(self, windows: int, of: Sequence[int]) -> list[int]:
        """Rows or columns of each value that a window makes or loads anew; values have `of` of them."""
        coarsest = max(count for count, ratio in zip(of, self.ratio, strict=True) if ratio == 1)
        step = -(-coarsest // windows)
        return [min(step * ratio, count) for count, ratio in zip(of, self.ratio, strict=True)]

    def made(self) -> set[int]:
        """Values that the group makes itself."""
        return {member.value for member in self.members}

    def needed(self, windows: int, of: Sequence[int]) -> list[int]:
        """Rows or columns of each value that one window needs when nothing is kept; values have `of` of them."""
        found = self.steps(windows, of)
        for member in reversed(self.members):
            for source in member.sources:
                wanted = member.window.needs(found[member.value], of[source])
                found[source] = max(found[source], wanted)
        return found

    def halos(self, windows: int) -> list[int]:
        """Rows of each value that stay from one window to the next when all halos are kept.

        A value leads the group's results by as many rows as the taps behind it need in advance; what its slowest user
        has not passed yet stays.
        """
        step = self.steps(windows, self.length)
        lead = [0] * len(step)
        for member in reversed(self.members):
            how, ahead = member.window, lead[member.value]
            for source in member.sources:
                lead[source] = max(lead[source], ahead * how.stride + how.taps - how.stride - how.padding)
        oldest: dict[int, int] = {}
        for member in self.members:
            passed = lead[member.value] * member.window.stride - member.window.padding
            for source in member.sources:
                oldest[source] = min(oldest.get(source, passed), passed)
        found = [0] * len(step)
        for value, passed in oldest.items():
            found[value] = min(max(lead[value] - passed, 0), self.length[value] - step[value])
        return found

    def alive(self, sizes: Sequence[int]) -> int:
        """The most bytes at once, when each value takes so many from its making to its last use."""
        last: dict[int, int] = {}
        for place, member in enumerate(self.members):
            for value in (*member.sources, member.value):
                last[value] = place
        ends: list[list[int]] = [[] for _ in self.members]
        for value, place in last.items():
            ends[place].append(value)
        most = now = 0
        seen: set[int] = set()
        for place, member in enumerate(self.members):
            for value in (*member.sources, member.value):
                if value not in seen:
                    seen.add(value)
                    now += sizes[value]
            most = max(most, now)
            now -= sum(sizes[value] for value in ends[place])
        return most

    def needs(self, windows: int, again: bool) -> int:
        """Bytes in the cores."""
        held = sum(member.held for member in self.members)
        step = self.steps(windows, self.length)
        rows = [count * size for count, size in zip(step, self.row_bytes, strict=True)]
        if not again:
            halos = zip(self.halos(windows), self.row_bytes, strict=True)
            return held + sum(count * size for count, size in halos) + self.alive(rows)
        made, down, along = self.made(), self.needed(windows, self.length), self.needed(windows, self.width)
        tile = [
            -(-down[value] * along[value] * self.row_bytes[value] // self.width[value])
            if value in made
            else rows[value]
            for value in range(len(rows))
        ]
        kept = sum(
            (down[value] - step[value]) * self.row_bytes[value] for value in range(len(rows)) if value not in made
        )
        return held + kept + self.alive(tile)

    def computed(self, windows: int, of: Sequence[int]) -> list[int]:
        """Rows or columns of each value that all windows compute together when nothing is kept, cut at the edges."""
        total = [0] * len(of)
        step = self.steps(windows, of)
        for window in range(windows):
            spans: list[tuple[int, int] | None] = [None] * len(of)
            for member in reversed(self.members):
                value = member.value
                own = (min(window * step[value], of[value]), min((window + 1) * step[value], of[value]))
                begin, end = _joined(spans[value], own)
                total[value] += end - begin
                if end > begin:
                    for source in member.sources:
                        wanted = member.window.range_of(begin, end, of[source])
                        spans[source] = _joined(spans[source], wanted)
        return total

    def extra(self, windows: int) -> tuple[int, ...]:
        """Points that each member computes more than once, of one image."""
        down, along = self.computed(windows, self.length), self.computed(windows, self.width)
        return tuple(
            down[value] * along[value] - self.length[value] * self.width[value]
            for value in (member.value for member in self.members)
        )

    def points(self, member: Member) -> int:
        """Points of a member's result, of one image."""
        return self.length[member.value] * self.width[member.value]

    def stays(self) -> int:
        """Bytes that no longer pass through memory: written once and read once where each operator is alone."""
        units = self.members[0].window.units
        whole = [units * count * size for count, size in zip(self.length, self.row_bytes, strict=True)]
        reads = {member.value: 0 for member in self.members}
        for member in self.members:
            for source in member.sources:
                if source in reads:
                    reads[source] += 1
        return sum(whole[member.value] * (reads[member.value] + (not member.leaves)) for member in self.members)


def ratios(members: Sequence[Member], values: int) -> list[int] | None:
    """Rows of each value to one of the coarsest; None where strides along two ways differ."""
    found: dict[int, int | Fraction] = {members[-1].value: 1}  # whole as long as no stride divides
    while len(found) < values:
        known = len(found)
        for member in reversed(members):
            stride, pairs = member.window.stride, [(source, member.value) for source in member.sources]
            for source, value in pairs:
                if value in found:
                    found.setdefault(source, found[value] * stride)
                elif source in found:
                    found[value] = found[source] if stride == 1 else Fraction(found[source]) / stride
        if len(found) == known:
            return None  # not connected
    for member in members:
        if any(found[source] != found[member.value] * member.window.stride for source in member.sources):
            return None
    least = min(found.values())
    scaled = [found[value] if least == 1 else Fraction(found[value]) / least for value in range(values)]
    return [int(ratio) for ratio in scaled] if all(ratio.denominator == 1 for ratio in scaled) else None


def plan(group: Group, room: int, bandwidth: float) -> Plan | None:
    """The plan in `room` bytes, beside a memory of `bandwidth` bytes a second; None where none fits or pays."""
    for windows in counts(group):
        needs = group.needs(windows, again=False)
        if needs <= room:
            return Plan(axis=group.axis, windows=windows, again=False, needs=needs, extra=(0,) * len(group.members))
    for windows in counts(group):
        needs = group.needs(windows, again=True)
        if needs <= room:
            extra = group.extra(windows)
            if not pays(group, extra, bandwidth):
                return None
            return Plan(axis=group.axis, windows=windows, again=True, needs=needs, extra=extra)
    return None


def pays(group: Group, extra: Sequence[int], bandwidth: float) -> bool:
    """Whether computing points again takes less time than moving what stays in the cores instead."""
    seconds = sum(
        member.work * points / group.points(member) for member, points in zip(group.members, extra, strict=True)
    )
    return seconds * bandwidth < group.stays()


def counts(group: Group) -> Iterator[int]:
    """Numbers of windows to try: 1, 2, 4, … and one row of the coarsest value each."""
    most = max(length for length, ratio in zip(group.length, group.ratio, strict=True) if ratio == 1)
    count = 1
    while count < most:
        yield count
        count *= 2
    yield most


def _joined(one: tuple[int, int] | None, other: tuple[int, int]) -> tuple[int, int]:
    """The rows from the first to the last of two ranges."""
    if one is None or one[0] >= one[1]:
        return other
    return (min(one[0], other[0]), max(one[1], other[1])) if other[0] < other[1] else one
