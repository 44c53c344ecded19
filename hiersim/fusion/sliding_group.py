"""A group of operators along one axis, in columns: the rows, halos and bytes that a window of it takes.

`windows.py` says what these are. Ordinary Python with types for Cython: compiled where there is a C compiler,
interpreted elsewhere, with the same results. `sliding_group.pxd` declares the fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cython
import numpy as np

from hiersim.fusion.patterns import Column
from hiersim.fusion.sliding import Axis, Window

if cython.compiled:
    from cython.cimports.hiersim.exact import ceil_share
else:
    from hiersim.exact import ceil_share

FAR = cython.declare(cython.longlong, 2**40)
"""Rows that no operand has: how far ahead of the group's results a value is followed."""
NEVER = cython.declare(cython.longlong, 2**62)
"""Rows that nobody passes."""
MOST = cython.declare(cython.longlong, 2**61)
"""Bytes that no cores hold; more are counted as these."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """An operator of a group that is given member by member, in issue order; values are numbered within the group."""

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


@cython.cclass
class Group:
    """Members in issue order, and the values that they read row by row or make.

    (members,) `value`: what each makes; `held`: bytes that it needs whole; `leaves`: 1 where somebody outside needs its
    result; `work`: seconds of its arithmetic; `taps`, `stride` and `padding` of its window; (members + 1,) `source_ptr`
    and `source`: values that it reads row by row. (values,) `row_bytes`: bytes of a row; `length`: rows; `width`:
    columns, as far as tiles may cut them, else 1; `ratio`: rows to one of the coarsest value, by the strides between.
    `units`: images that the group goes over one after the other. All else is scratch.
    """

    def __init__(self) -> None:
        self.value, self.length = column(np.zeros(0, np.int64)), column(np.zeros(0, np.int64))
        self.units = 1
        self.begin(None, 1, 1)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def begin(self, axis: Any, members: cython.longlong, sources: cython.longlong) -> cython.int:
        """Become a group of no members yet, with room for so many and their sources."""
        if members >= len(self.value):
            self.value, self.held, self.leaves, self.taps, self.stride, self.padding, self.source_ptr = (
                column(np.zeros(2 * members + 1, np.int64)) for _ in range(7)
            )
            self.work = column(np.zeros(2 * members + 1))
        if members + sources > len(self.length):
            count = 2 * (members + sources)
            self.source, self.row_bytes, self.length, self.width, self.ratio = (
                column(np.zeros(count, np.int64)) for _ in range(5)
            )
            self.step, self.first, self.second, self.size, self.last, self.seen = (
                column(np.zeros(count, np.int64)) for _ in range(6)
            )
        self.axis = axis
        self.members = self.values = 0
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def new_value(
        self, row_bytes: cython.longlong, length: cython.longlong, width: cython.longlong
    ) -> cython.longlong:  # fmt: skip
        """The number of one more value."""
        number: cython.longlong = self.values
        self.row_bytes[number], self.length[number], self.width[number] = row_bytes, length, width
        self.values = number + 1
        return number

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def connect(self) -> cython.bint:
        """Find `ratio`; False where strides along two ways differ, or are no whole multiples of the coarsest."""
        member: cython.longlong
        for member in range(self.members):
            if self.stride[member] != 1:
                break
        else:
            return self._equal()
        found = self._strides()
        value: cython.longlong
        most: cython.longlong
        if not found:
            return False
        for value in range(self.values):
            most = max(2, self.length[value], self.width[value])  # beyond, no more rows are taken than there are
            self.ratio[value] = min(found[value], most)
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def _equal(self) -> cython.bint:
        """`connect` where every stride is 1: all ratios are, if all values hang together."""
        member: cython.longlong
        place: cython.longlong
        value: cython.longlong
        known: cython.longlong = 1
        before: cython.longlong = 0
        any_known: cython.bint
        for value in range(self.values):
            self.ratio[value] = 0
        self.ratio[self.value[self.members - 1]] = 1
        while before < known < self.values:
            before = known
            for member in range(self.members - 1, -1, -1):
                any_known = self.ratio[self.value[member]] == 1
                for place in range(self.source_ptr[member], self.source_ptr[member + 1]):
                    any_known = any_known or self.ratio[self.source[place]] == 1
                if any_known:
                    known += 1 - self.ratio[self.value[member]]
                    self.ratio[self.value[member]] = 1
                    for place in range(self.source_ptr[member], self.source_ptr[member + 1]):
                        known += 1 - self.ratio[self.source[place]]
                        self.ratio[self.source[place]] = 1
        return known == self.values

    def _strides(self) -> list[int]:
        """`connect` of any strides, in whole numbers and fractions without bounds; empty where there are none."""
        pairs: list[Any] = [
            (self.source[place], self.value[member], self.stride[member])
            for member in range(self.members - 1, -1, -1)
            for place in range(self.source_ptr[member], self.source_ptr[member + 1])
        ]
        found: dict[int, Any] = {self.value[self.members - 1]: 1}  # whole as long as no stride divides
        while len(found) < self.values:
            known = len(found)
            for source, value, stride in pairs:
                if value in found:
                    found.setdefault(source, found[value] * stride)
                elif source in found:
                    found[value] = found[source] if stride == 1 else Fraction(found[source]) / stride
            if len(found) == known:
                return []  # not connected
        for source, value, stride in pairs:
            if found[source] != found[value] * stride:
                return []
        least = min(found.values())
        scaled = [found[value] if least == 1 else Fraction(found[value]) / least for value in range(self.values)]
        return [int(ratio) for ratio in scaled] if all([ratio.denominator == 1 for ratio in scaled]) else []

    @cython.cfunc
    @cython.exceptval(check=False)
    def take_steps(self, windows: cython.longlong, of: cython.longlong[::1]) -> cython.void:
        """Find `step`: rows or columns of each value that a window makes or loads anew; values have `of` of them."""
        value: cython.longlong
        coarsest: cython.longlong = 0
        for value in range(self.values):
            if self.ratio[value] == 1:
                coarsest = max(coarsest, of[value])
        step: cython.longlong = (coarsest + windows - 1) // windows
        for value in range(self.values):
            self.step[value] = min(step * self.ratio[value], of[value])

    @cython.cfunc
    @cython.exceptval(check=False)
    def need(self, windows: cython.longlong, of: cython.longlong[::1], found: cython.longlong[::1]) -> cython.void:
        """Rows or columns of each value that one window needs when nothing is kept; values have `of` of them."""
        member: cython.longlong
        place: cython.longlong
        source: cython.longlong
        wanted: cython.longlong
        self.take_steps(windows, of)
        for place in range(self.values):
            found[place] = self.step[place]
        for member in range(self.members - 1, -1, -1):
            wanted = (found[self.value[member]] - 1) * self.stride[member] + self.taps[member]
            for place in range(self.source_ptr[member], self.source_ptr[member + 1]):
                source = self.source[place]
                found[source] = max(found[source], min(wanted, of[source]))

    @cython.cfunc
    @cython.exceptval(check=False)
    def keep(self, windows: cython.longlong) -> cython.void:
        """Find, as `first`, the rows of each value that stay from one window to the next when all halos are kept.

        A value leads the group's results by as many rows as the taps behind it need in advance; what its slowest user
        has not passed yet stays.
        """
        member: cython.longlong
        place: cython.longlong
        value: cython.longlong
        ahead: cython.longlong
        lead: cython.longlong[::1] = self.second
        passed: cython.longlong[::1] = self.first
        self.take_steps(windows, self.length)
        for value in range(self.values):
            lead[value], passed[value] = 0, NEVER
        for member in range(self.members - 1, -1, -1):
            ahead = (lead[self.value[member]] - 1) * self.stride[member] + self.taps[member] - self.padding[member]
            for place in range(self.source_ptr[member], self.source_ptr[member + 1]):
                lead[self.source[place]] = max(lead[self.source[place]], min(ahead, FAR))
        for member in range(self.members):
            ahead = lead[self.value[member]] * self.stride[member] - self.padding[member]
            for place in range(self.source_ptr[member], self.source_ptr[member + 1]):
                passed[self.source[place]] = min(passed[self.source[place]], ahead)
        for value in range(self.values):
            passed[value] = min(max(lead[value] - passed[value], 0), self.length[value] - self.step[value])

    @cython.cfunc
    @cython.exceptval(check=False)
    def alive(self) -> cython.longlong:
        """The most bytes at once, when each value takes its `size` from its making to its last use."""
        member: cython.longlong
        place: cython.longlong
        value: cython.longlong
        end: cython.longlong
        most: cython.longlong = 0
        now: cython.longlong = 0
        for member in range(self.members):
            for place in range(self.source_ptr[member], self.source_ptr[member + 1]):
                self.last[self.source[place]] = member
            self.last[self.value[member]] = member
        for value in range(self.values):
            self.seen[value] = 0
        for member in range(self.members):
            end = self.source_ptr[member + 1]
            for place in range(self.source_ptr[member], end + 1):
                value = self.source[place] if place < end else self.value[member]
                if not self.seen[value]:
                    self.seen[value] = 1
                    now = min(now + self.size[value], MOST)
            most = max(most, now)
            for place in range(self.source_ptr[member], end + 1):
                value = self.source[place] if place < end else self.value[member]
                if self.last[value] == member and self.seen[value] == 1:
                    self.seen[value] = 2
                    now -= self.size[value]
        return most

    @cython.cfunc
    @cython.exceptval(check=False)
    def compute(self, windows: cython.longlong, of: cython.longlong[::1], found: cython.longlong[::1]) -> cython.void:
        """Rows or columns of each value that all windows compute together when nothing is kept, cut at the edges."""
        window: cython.longlong
        member: cython.longlong
        place: cython.longlong
        value: cython.longlong
        begin: cython.longlong
        end: cython.longlong
        low: cython.longlong
        high: cython.longlong
        first: cython.longlong[::1] = self.size
        last: cython.longlong[::1] = self.last
        self.take_steps(windows, of)
        for value in range(self.values):
            found[value] = 0
        for window in range(windows):
            for value in range(self.values):
                first[value] = last[value] = 0  # nothing
            for member in range(self.members - 1, -1, -1):
                value = self.value[member]
                begin, end = min(window * self.step[value], of[value]), min((window + 1) * self.step[value], of[value])
                if begin >= end and first[value] < last[value]:
                    begin, end = first[value], last[value]
                elif first[value] < last[value]:
                    begin, end = min(begin, first[value]), max(end, last[value])
                found[value] += end - begin
                if end > begin:
                    low = max(begin * self.stride[member] - self.padding[member], 0)
                    end = (end - 1) * self.stride[member] + self.taps[member] - self.padding[member]
                    for place in range(self.source_ptr[member], self.source_ptr[member + 1]):
                        value = self.source[place]
                        high = min(end, of[value])
                        if first[value] >= last[value]:
                            first[value], last[value] = low, high
                        elif low < high:
                            first[value], last[value] = min(first[value], low), max(last[value], high)

    def needs(self, windows: int, again: bool) -> int:
        """Bytes in the cores; 2^61 where it would be more."""
        value: cython.longlong
        member: cython.longlong
        whole: cython.longlong
        found: cython.longlong = 0
        for member in range(self.members):
            found = min(found + self.held[member], MOST)
        if not again:
            self.keep(windows)
            for value in range(self.values):
                found = min(found + self.first[value] * self.row_bytes[value], MOST)
                self.size[value] = min(self.step[value] * self.row_bytes[value], MOST)
            return min(found + self.alive(), MOST)
        self.need(windows, self.width, self.second)
        self.need(windows, self.length, self.first)
        for value in range(self.values):
            self.seen[value] = 0
        for member in range(self.members):
            self.seen[self.value[member]] = 1
        for value in range(self.values):
            if self.seen[value]:
                whole = min(self.first[value] * self.row_bytes[value], MOST)
                self.size[value] = ceil_share(whole, self.second[value], self.width[value])
            else:
                found = min(found + (self.first[value] - self.step[value]) * self.row_bytes[value], MOST)
                self.size[value] = min(self.step[value] * self.row_bytes[value], MOST)
        return min(found + self.alive(), MOST)

    def lengths(self) -> list[int]:
        """Rows of each value."""
        return [self.length[value] for value in range(self.values)]

    def bytes_of_rows(self) -> list[int]:
        """Bytes of a row of each value."""
        return [self.row_bytes[value] for value in range(self.values)]

    def coarsest(self) -> int:
        """The most rows of a value of which all others have as many or a multiple."""
        return max([self.length[value] for value in range(self.values) if self.ratio[value] == 1])

    def steps(self, windows: int) -> list[int]:
        """Rows of each value that a window makes or loads anew."""
        self.take_steps(windows, self.length)
        return [self.step[value] for value in range(self.values)]

    def halos(self, windows: int) -> list[int]:
        """Rows of each value that stay from one window to the next when all halos are kept."""
        self.keep(windows)
        return [self.first[value] for value in range(self.values)]

    def computed(self, windows: int) -> list[int]:
        """Rows of each value that all windows compute together when nothing is kept; 0 of what comes from memory."""
        self.compute(windows, self.length, self.first)
        return [self.first[value] for value in range(self.values)]

    def extra(self, windows: int) -> tuple[int, ...]:
        """Points that each member computes more than once, of one image."""
        self.compute(windows, self.length, self.first)
        self.compute(windows, self.width, self.second)
        down: list[int] = [self.first[self.value[member]] for member in range(self.members)]
        along: list[int] = [self.second[self.value[member]] for member in range(self.members)]
        return tuple([one * other - points for one, other, points in zip(down, along, self.points(), strict=True)])

    def points(self) -> list[int]:
        """Points of each member's result, of one image."""
        down: list[int] = [self.length[self.value[member]] for member in range(self.members)]
        along: list[int] = [self.width[self.value[member]] for member in range(self.members)]
        return [one * other for one, other in zip(down, along, strict=True)]

    def seconds(self) -> list[float]:
        """Seconds of each member's arithmetic."""
        return [self.work[member] for member in range(self.members)]

    def stays(self) -> int:
        """Bytes that no longer pass through memory: written once and read once where each operator is alone."""
        member: cython.longlong
        place: cython.longlong
        for place in range(self.values):
            self.seen[place] = 0
        for place in range(self.source_ptr[self.members]):
            self.seen[self.source[place]] += 1
        found: Any = 0
        for member in range(self.members):
            place = self.value[member]
            rows: Any = self.length[place]
            times: Any = self.seen[place] + 1 - self.leaves[member]
            found += rows * self.row_bytes[place] * self.units * times
        return int(found)


def group_of(
    axis: Axis, members: Sequence[Member], row_bytes: Sequence[int], length: Sequence[int], width: Sequence[int]
) -> Group | None:
    """A group given member by member, value by value; None where strides along two ways differ.

    Parameters
    ----------
    row_bytes, length, width : (values,)
        Bytes of a row, rows, and columns as far as tiles may cut them, else 1.
    """
    made = Group()
    made.begin(axis, len(members), max(len(length), sum([len(member.sources) for member in members])))
    for size, rows, columns in zip(row_bytes, length, width, strict=True):
        made.new_value(size, rows, columns)
    for number, member in enumerate(members):
        window, begin = member.window, made.source_ptr[number]
        made.value[number], made.held[number], made.leaves[number] = member.value, member.held, int(member.leaves)
        made.taps[number], made.stride[number], made.padding[number] = window.taps, window.stride, window.padding
        made.work[number] = member.work
        for place, source in enumerate(member.sources):
            made.source[begin + place] = source
        made.source_ptr[number + 1] = begin + len(member.sources)
    made.members, made.units = len(members), members[0].window.units
    return made if made.connect() else None


def column(values: Column) -> Any:
    """A column: an array where compiled, a list where interpreted (lists are quicker there)."""
    return np.array(values) if cython.compiled else values.tolist()
