"""From rows of a graph to a group that slides: who reads what of whom, which values stay inside, what is needed whole.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cython
import numpy as np

from hiersim.fusion.sliding import Axis, Sliding
from hiersim.fusion.sliding_group import column
from hiersim.model.operators import IntArray
from hiersim.model.trace import OperatorGraph

if cython.compiled:
    from cython.cimports.hiersim.fusion.sliding_group import Group
else:
    from hiersim.fusion.sliding_group import Group

FACTS = cython.declare(cython.longlong, 8)
"""Columns of `facts`."""


@cython.cclass
class GroupMaker:
    """The accesses of a graph, and the windows of its operators, in columns; and what was seen for the last group.

    `windows` is CSR, by class of operators: for each axis that the class slides along the axis's number (`along`),
    (FACTS,) `facts`, and in turn CSR (`place_ptr`, `place`) the places among its reads that slide.
    """

    axes: dict[Axis, int]
    groups: cython.longlong  # made so far
    kind: cython.longlong[::1]  # (N,) the class of each operator
    windows: cython.longlong[::1]
    along: cython.longlong[::1]
    facts: cython.longlong[::1]
    place_ptr: cython.longlong[::1]
    place: cython.longlong[::1]
    read_ptr: cython.longlong[::1]
    reads: cython.longlong[::1]
    first_write: cython.longlong[::1]  # (N,) the tensor that each operator hands on; -1 where it writes none
    source: cython.longlong[::1]  # (A,) the operator whose whole result a read takes; -1 where there is none
    maker_ptr: cython.longlong[::1]  # CSR by read: all operators whose writes it may see
    makers: cython.longlong[::1]
    user_ptr: cython.longlong[::1]  # CSR by operator: who reads its results
    users: cython.longlong[::1]
    outside: cython.longlong[::1]  # (N,) whether an operator writes what is needed after the run
    work: cython.double[::1]  # (N,) seconds of its arithmetic
    storage: cython.longlong[::1]
    bytes: cython.longlong[::1]
    inside: cython.longlong[::1]  # (N,) the last group that the operator was in
    made: cython.longlong[::1]  # (N,) the value that it made there
    loaded: cython.longlong[::1]  # by storage, the last group that loads it row by row
    load: cython.longlong[::1]  # the value that it was there
    whole: cython.longlong[::1]  # by storage, the last group that needs it whole

    def __init__(
        self, graph: OperatorGraph, sliding: Sliding, source: IntArray, makers: tuple[IntArray, IntArray],
        users: tuple[IntArray, IntArray], outside: IntArray, work: np.ndarray[tuple[int], np.dtype[np.float64]],
    ) -> None:  # fmt: skip
        table, reads, writes = graph.tensors, graph.reads, graph.writes
        self._take_windows(sliding)
        self.kind, self.read_ptr, self.reads = _column(sliding.classes), _column(reads.ptr), _column(reads.tensor)
        wrote, first = np.flatnonzero(np.diff(writes.ptr)), np.full(len(graph.operators), -1, np.int64)
        first[wrote] = writes.tensor[writes.ptr[wrote]]
        self.first_write, self.source = _column(first), _column(source)
        self.maker_ptr, self.makers, self.user_ptr, self.users = map(_column, (*makers, *users))
        self.outside, self.work = _column(outside), column(work)
        self.storage, self.bytes = _column(table.tensor_storage), _column(table.tensor_bytes)
        self.groups = 0
        self.inside, self.made = (_column(np.zeros(len(graph.operators))) for _ in range(2))
        self.loaded, self.load, self.whole = (_column(np.zeros(len(table.storage_bytes))) for _ in range(3))

    def _take_windows(self, sliding: Sliding) -> None:
        found = sliding.by_class()
        self.axes = {axis: number for number, axis in enumerate(dict.fromkeys(axis for of in found for axis in of))}
        windows = [(self.axes[axis], window) for of in found for axis, window in of.items()]
        self.windows = _column(np.cumsum([0, *map(len, found)]))
        self.along = _column(np.array([axis for axis, _ in windows]))
        facts = [
            (of.length, of.units, of.taps, of.stride, of.padding, of.before, of.width, of.width_before)
            for _, of in windows
        ]
        self.facts = _column(np.array(facts).reshape(-1))
        self.place_ptr = _column(np.cumsum([0, *(len(window.sliding) for _, window in windows)]))
        self.place = _column(np.array([place for _, window in windows for place in window.sliding]))

    def make(self, rows: Sequence[int], axis: Axis, group: Group) -> bool:
        """Make `group` some operators, in issue order, along an axis; False where one needs whole what another makes.

        Each slides along the axis. False as well where strides along two ways differ.
        """
        row: cython.longlong
        number: cython.longlong = self.axes[axis]
        sources: cython.longlong = 0
        self.groups += 1
        for row in rows:
            self.inside[row] = self.groups
            self.made[row] = -1
            sources += self.read_ptr[row + 1] - self.read_ptr[row]
        group.begin(axis, len(rows), sources)
        for row in rows:
            if not self.take(row, number, group):
                return False
        return group.connect()

    @cython.cfunc
    @cython.exceptval(check=False)
    def take(self, row: cython.longlong, axis: cython.longlong, group: Group) -> cython.bint:
        """Add an operator to the group; False where it needs whole what another one makes."""
        window: cython.longlong = self.windows[self.kind[row]]
        while self.along[window] != axis:
            window += 1
        facts: cython.longlong = window * FACTS
        length: cython.longlong = self.facts[facts]
        units: cython.longlong = self.facts[facts + 1]
        before: cython.longlong = self.facts[facts + 5]
        member: cython.longlong = group.members
        begin: cython.longlong = group.source_ptr[member]
        end: cython.longlong = begin
        held: cython.longlong = 0
        read: cython.longlong
        tensor: cython.longlong
        storage: cython.longlong
        maker: cython.longlong
        value: cython.longlong
        slides: cython.bint
        within: cython.bint
        for read in range(self.read_ptr[row], self.read_ptr[row + 1]):
            tensor, maker, slides = self.reads[read], self.source[read], self.slides(window, read - self.read_ptr[row])
            storage, within = self.storage[tensor], maker >= 0 and self.inside[maker] == self.groups
            if not (slides and within) and self.sees_inside(read):
                return False
            if slides:
                value = self.value_of(maker if within else -1, storage)
                if value < 0:
                    value = group.new_value(
                        _row_bytes(self.bytes[tensor], units * before), before, self.facts[facts + 7]
                    )
                    if within:
                        self.made[maker] = value
                    else:
                        self.loaded[storage], self.load[storage] = self.groups, value
                if _place(group.source, begin, end, value) < 0:
                    group.source[end] = value
                    end += 1
            elif self.whole[storage] != self.groups:
                self.whole[storage] = self.groups
                held += self.bytes[tensor]
        if self.made[row] < 0:
            tensor = self.first_write[row]
            self.made[row] = group.new_value(
                _row_bytes(self.bytes[tensor], units * length), length, self.facts[facts + 6]
            )
        if member == 0:
            group.units = units
        group.value[member], group.held[member], group.work[member] = self.made[row], held, self.work[row]
        group.leaves[member] = self.leaves(row)
        group.taps[member], group.stride[member] = self.facts[facts + 2], self.facts[facts + 3]
        group.padding[member], group.source_ptr[member + 1] = self.facts[facts + 4], end
        group.members = member + 1
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def slides(self, window: cython.longlong, place: cython.longlong) -> cython.bint:
        """Whether a place among the reads slides."""
        return _place(self.place, self.place_ptr[window], self.place_ptr[window + 1], place) >= 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def sees_inside(self, read: cython.longlong) -> cython.bint:
        """Whether a read may see what the group writes."""
        at: cython.longlong
        for at in range(self.maker_ptr[read], self.maker_ptr[read + 1]):
            if self.inside[self.makers[at]] == self.groups:
                return True
        return False

    @cython.cfunc
    @cython.exceptval(check=False)
    def value_of(self, maker: cython.longlong, storage: cython.longlong) -> cython.longlong:
        """The value that an operator of the group makes, or else that a storage is; -1 where there is none yet."""
        if maker >= 0:
            return self.made[maker]
        return self.load[storage] if self.loaded[storage] == self.groups else -1

    @cython.cfunc
    @cython.exceptval(check=False)
    def leaves(self, row: cython.longlong) -> cython.bint:
        """Whether somebody outside needs what an operator writes."""
        at: cython.longlong
        if self.outside[row] or self.user_ptr[row] == self.user_ptr[row + 1]:
            return True
        for at in range(self.user_ptr[row], self.user_ptr[row + 1]):
            if self.inside[self.users[at]] != self.groups:
                return True
        return False


@cython.cfunc
@cython.exceptval(check=False)
def _place(
    values: cython.longlong[::1], begin: cython.longlong, end: cython.longlong, wanted: cython.longlong
) -> cython.longlong:  # fmt: skip
    """Where a number is among some of a column; -1 where it is not."""
    at: cython.longlong
    for at in range(begin, end):
        if values[at] == wanted:
            return at
    return -1


@cython.cfunc
@cython.exceptval(check=False)
def _row_bytes(size: cython.longlong, rows: cython.longlong) -> cython.longlong:
    """Bytes of each of so many rows, rounded up; 0 of none."""
    return (size + rows - 1) // rows if rows > 0 else 0


def _column(values: Any) -> Any:
    """A column of whole numbers."""
    return column(np.asarray(values, np.int64))
