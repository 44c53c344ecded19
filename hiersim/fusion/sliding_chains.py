"""What the operators of a graph hand each other, and the plan of any of them as one kernel that goes in windows."""

from __future__ import annotations

import numpy as np

from hiersim.fusion.dependences import Dependences, dependences
from hiersim.fusion.group_maker import GroupMaker
from hiersim.fusion.patterns import classes, distinct_pairs, sequences
from hiersim.fusion.regions import segments
from hiersim.fusion.room import room
from hiersim.fusion.sliding import Axis, Sliding
from hiersim.fusion.sliding_group import Group
from hiersim.fusion.traits import traits, whole_results
from hiersim.fusion.windows import Plan, plan
from hiersim.model.design import Design
from hiersim.model.networks import rows_of
from hiersim.model.operators import PRODUCED, DType, IntArray
from hiersim.model.trace import OperatorGraph
from hiersim.units import UNLIMITED


class Chains:
    """What is asked again and again while groups grow."""

    def __init__(self, graph: OperatorGraph, design: Design) -> None:
        self.graph, self.room = graph, room(design)
        self.links: Dependences = dependences(graph)
        self.sliding = Sliding(graph, traits(graph))
        home = design.home
        self.bandwidth = float(home.bandwidth or home.read_bandwidth or UNLIMITED) * home.efficiency
        self.segment: list[int] = segments(graph).tolist()
        seconds, outside, source = _seconds(graph, design), _outside(graph), _sources(graph, self.links)
        self.storage: list[int] = graph.tensors.tensor_storage.tolist()
        self.read_ptr, self.reads = graph.reads.ptr.tolist(), graph.reads.tensor.tolist()
        makers = np.searchsorted(self.links.access, np.arange(len(source) + 1))
        first, second = distinct_pairs(self.links.source, self.links.target, len(graph.operators))
        users = np.searchsorted(first, np.arange(len(graph.operators) + 1))
        self._user_ptr, self._users = users.tolist(), second
        self.kind: list[int] = self._kinds(source, makers, users, second, outside, seconds).tolist()
        self._maker = GroupMaker(
            graph, self.sliding, source, (makers, self.links.source), (users, second), outside, seconds
        )
        self._group = Group()
        self._plans: dict[tuple[object, ...], Plan | None] = {}

    def users(self, row: int) -> list[int]:
        """The readers of an operator's results."""
        found: list[int] = self._users[self._user_ptr[row] : self._user_ptr[row + 1]].tolist()
        return found

    def axes(self, rows: list[int]) -> tuple[Axis, ...]:
        """Along which all of some operators slide."""
        found = tuple(self.sliding.windows(rows[0]))
        for row in rows[1:]:
            found = common(found, tuple(self.sliding.windows(row)))
        return found

    def _kinds(
        self, source: IntArray, makers: IntArray, users: IntArray, user: IntArray, outside: IntArray,
        seconds: np.ndarray[tuple[int], np.dtype[np.float64]],
    ) -> IntArray:  # fmt: skip
        """(N,) a number that operators share of which a plan sees the same: what they are, how far their neighbours."""
        graph, table = self.graph, self.graph.tensors
        row = rows_of(graph.reads)
        storage = table.tensor_storage[graph.reads.tensor]
        first = np.full(len(table.storage_bytes), -1, np.int64)
        first[storage[::-1]] = np.arange(len(storage))[::-1]
        shared = first[storage]  # the first access of the storage that each read touches: which reads share one
        maker = sequences(makers, row[self.links.access] - self.links.source)
        read = classes(
            table.tensor_bytes[graph.reads.tensor], np.where(source >= 0, row - source, -1), maker, row - row[shared],
            shared - graph.reads.ptr[row[shared]],
        )  # fmt: skip
        wrote = np.diff(graph.writes.ptr) > 0
        made = np.full(len(wrote), -1, np.int64)
        made[wrote] = table.tensor_bytes[graph.writes.tensor[graph.writes.ptr[:-1][wrote]]]
        of = np.repeat(np.arange(len(wrote)), np.diff(users))
        return classes(
            self.sliding.classes, made, outside.astype(np.int64), seconds, sequences(users, user - of),
            sequences(graph.reads.ptr, read),
        )  # fmt: skip

    def group(self, rows: list[int], axis: Axis) -> Group | None:
        """Some operators, in issue order, along an axis; None where one needs whole what another makes."""
        group = Group()
        return group if self._maker.make(rows, axis, group) else None

    def plan(self, rows: list[int], axes: tuple[Axis, ...] | None = None) -> Plan | None:
        """The plan of some operators that takes fewest windows, of equal ones that needs fewest bytes."""
        begin, kind = rows[0], self.kind
        key = (self.axes(rows) if axes is None else axes, tuple([(row - begin, kind[row]) for row in rows]))
        if key not in self._plans:
            self._plans[key] = self.best(rows, key[0])
        return self._plans[key]

    def best(self, rows: list[int], axes: tuple[Axis, ...]) -> Plan | None:
        """`plan`, worked out: for those who ask about a group once."""
        best: Plan | None = None
        for axis in axes:
            if not self._maker.make(rows, axis, self._group):
                continue
            found = plan(self._group, self.room, self.bandwidth)
            if found is not None and (best is None or _order(found) < _order(best)):
                best = found
        return best


def common(one: tuple[Axis, ...], other: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Axes of both, in the order of the first."""
    return one if one == other else tuple([axis for axis in one if axis in other])


def _order(found: Plan) -> tuple[bool, int, int]:
    return found.again, found.windows, found.needs


def _sources(graph: OperatorGraph, links: Dependences) -> IntArray:
    """(A,) the operator whose whole result each read takes; -1 where there is none, or it sees another's as well."""
    source = np.full(len(graph.reads.tensor), -1, np.int64)
    whole = (whole_results(graph, links) == 1) & (np.bincount(links.access, minlength=len(source))[links.access] == 1)
    source[links.access[whole]] = links.source[whole]
    return source


def _outside(graph: OperatorGraph) -> IntArray:
    """(N,) whether an operator writes something that is an output, or was there before the run."""
    table = graph.tensors
    kept = ~np.isin(table.storage_role, [int(role) for role in PRODUCED]) | (table.storage_output == 1)
    found = np.zeros(len(graph.operators), np.bool_)
    found[rows_of(graph.writes)[kept[table.tensor_storage[graph.writes.tensor]]]] = True
    return found  # type: ignore[return-value]


def _seconds(graph: OperatorGraph, design: Design) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(N,) seconds of each operator's arithmetic at the peak of its unit; dtypes that a unit lacks run at its best."""
    table, compute = graph.operators, design.compute
    matrix = compute.matrix.peak if compute.matrix is not None else compute.vector.peak
    found = np.zeros(len(table))
    for peaks, work in ((matrix, table.matrix_flops), (compute.vector.peak, table.vector_flops + table.special_ops)):
        rate = np.array([float(peaks.get(dtype, max(peaks.values()))) for dtype in DType])
        found += work / rate[table.dtype]
    return found
