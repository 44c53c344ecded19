"""Depth-first: chains of convolutions and of products run window by window, as long as a window fits the cores.

Layer by layer, each result goes to memory and comes back. Depth first, a few rows pass through many layers before the
next ones do (fused-layer CNN accelerators, Alwani et al., MICRO 2016; DeFiNES, Mei et al., HPCA 2023), at the price of
halos between neighbouring windows. Groups grow along data, operator by operator, while `windows.plan` finds a plan.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hiersim.fusion.build import kernel_graph, partition_of
from hiersim.fusion.contraction import Contraction
from hiersim.fusion.dependences import Dependences, dependences
from hiersim.fusion.eager import take_operators
from hiersim.fusion.partition import of_groups, ordered
from hiersim.fusion.pointwise import contracted, labels
from hiersim.fusion.regions import segments
from hiersim.fusion.room import room
from hiersim.fusion.sliding import IMAGE, Axis, Sliding
from hiersim.fusion.traits import traits, whole_results
from hiersim.fusion.windows import Group, Member, Plan, plan, ratios
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED, DType, IntArray, Kind
from hiersim.model.trace import OperatorGraph, Trace
from hiersim.units import UNLIMITED

NAME: Final = "depth-first"
MOST: Final = 48
"""Operators in one group."""


def depth_first(trace: Trace, design: Design) -> KernelGraph:
    """Chains that slide in windows which fit the cores' memory; all else alone.

    What tiles compute again are operators of their own, marked `recomputed`.

    Parameters
    ----------
    trace : Trace
        Whose operators are grouped.
    design : Design
        Whose cores hold the windows.

    Raises
    ------
    FusionError
        When nothing is launched.
    """
    found = grow(trace.graph, design)
    made = kernel_graph(trace, of_groups(trace.graph, labels(trace.graph, found.groups)), NAME)
    return with_halos(trace.graph, made, found)


def windows_of(trace: Trace, design: Design) -> list[Plan | None]:
    """(K,) how each kernel of the policy slides, in launch order; None for operators that run alone."""
    grown = grow(trace.graph, design)
    groups = of_groups(trace.graph, labels(trace.graph, grown.groups))
    partition = ordered(trace.graph, groups, dependences(trace.graph), trace.name)
    first = partition.operators[partition.ptr[:-1]].tolist()
    return [grown.plans.get(grown.groups.group(row)) for row in first]


@dataclass(slots=True, kw_only=True)
class Grown:
    """Groups, and how each slides."""

    groups: Contraction
    members: dict[int, list[int]]
    """Operators of each group, by the group's name."""
    plans: dict[int, Plan]
    """Of groups of several operators."""
    axes: dict[int, tuple[Axis, ...]]
    """Along which groups of several operators slide."""

    def axes_of(self, chains: Chains, name: int) -> tuple[Axis, ...]:
        """Along which a group or an operator slides."""
        return self.axes[name] if name in self.axes else tuple(chains.sliding.windows(name))


class Chains:
    """What is asked again and again while groups grow."""

    def __init__(self, graph: OperatorGraph, design: Design) -> None:
        self.graph, self.room = graph, room(design)
        self.links: Dependences = dependences(graph)
        self.facts = traits(graph)
        self.sliding = Sliding(graph, self.facts)
        home = design.home
        self.bandwidth = float(home.bandwidth or home.read_bandwidth or UNLIMITED) * home.efficiency
        self.segment: list[int] = segments(graph).tolist()
        self.work = _seconds(graph, design).tolist()
        self.storage = graph.tensors.tensor_storage.tolist()
        self.bytes = graph.tensors.tensor_bytes.tolist()
        self.read_ptr, self.reads = graph.reads.ptr.tolist(), graph.reads.tensor.tolist()
        self.write_ptr, self.writes = graph.writes.ptr.tolist(), graph.writes.tensor.tolist()
        self.source, self.makers, self.users = _flows(graph, self.links)
        self.outside = _outside(graph)
        self._plans: dict[tuple[object, ...], Plan | None] = {}
        self._kinds: dict[tuple[object, ...], int] = {}
        self._kind: list[int] = [-1] * len(graph.operators)
        storage = graph.tensors.tensor_storage[graph.reads.tensor]
        first = np.full(len(graph.tensors.storage_bytes), -1, np.int64)
        first[storage[::-1]] = np.arange(len(storage))[::-1]
        row = np.repeat(np.arange(len(graph.operators)), np.diff(graph.reads.ptr))
        self._first = first[storage].tolist()
        """(A,) the first access of the storage that each read touches: which reads share one."""
        self._row = row.tolist()

    def result(self, row: int) -> int:
        """The tensor that an operator hands on: the first that it writes."""
        return int(self.writes[self.write_ptr[row]])

    def axes(self, rows: list[int]) -> tuple[Axis, ...]:
        """Along which all of some operators slide."""
        found = tuple(self.sliding.windows(rows[0]))
        for row in rows[1:]:
            found = common(found, tuple(self.sliding.windows(row)))
        return found

    def kind(self, row: int) -> int:
        """A number that operators share of which a plan sees the same: what they are, and how far their neighbours."""
        found = self._kind[row]
        if found < 0:
            reads = []
            for place in range(self.read_ptr[row], self.read_ptr[row + 1]):
                first = self._first[place]
                shared = (row - self._row[first], first - self.read_ptr[self._row[first]])
                makers = tuple(sorted(row - maker for maker in self.makers[place]))
                maker = row - self.source[place] if self.source[place] >= 0 else None
                reads.append((self.bytes[self.reads[place]], maker, makers, shared))
            users = tuple(user - row for user in self.users[row])
            own = (id(self.sliding.windows(row)), self.bytes[self.result(row)], self.outside[row], self.work[row])
            found = self._kind[row] = self._kinds.setdefault((own, users, *reads), len(self._kinds))
        return found

    def group(self, rows: list[int], axis: Axis) -> Group | None:
        """Some operators, in issue order, along an axis; None where one needs whole what another makes."""
        number: dict[tuple[str, int], int] = {}
        length, width, row_bytes, members = list[int](), list[int](), list[int](), list[Member]()
        inside, whole = set(rows), set[int]()

        def value(key: tuple[str, int], sides: tuple[int, int], tensor: int, units: int) -> int:
            if key not in number:
                number[key] = len(length)
                length.append(sides[0])
                width.append(sides[1])
                row_bytes.append(-(-self.bytes[tensor] // (units * sides[0])))
            return number[key]

        for row in rows:
            window = self.sliding.windows(row)[axis]
            sources, held = [], 0
            for place in range(self.read_ptr[row], self.read_ptr[row + 1]):
                tensor, maker = self.reads[place], self.source[place]
                slides = place - self.read_ptr[row] in window.sliding
                if not self.makers[place].isdisjoint(inside) and not (slides and maker in inside):
                    return None
                if slides:
                    key = ("made", maker) if maker in inside else ("read", self.storage[tensor])
                    sources.append(value(key, (window.before, window.width_before), tensor, window.units))
                elif self.storage[tensor] not in whole:
                    whole.add(self.storage[tensor])
                    held += self.bytes[tensor]
            made = value(("made", row), (window.length, window.width), self.result(row), window.units)
            leaves = self.outside[row] or not self.users[row] or any(user not in inside for user in self.users[row])
            members.append(
                Member(
                    window=window,
                    sources=tuple(dict.fromkeys(sources)),
                    value=made,
                    held=held,
                    leaves=leaves,
                    work=self.work[row],
                )
            )
        ratio = ratios(members, len(length))
        if ratio is None:
            return None
        return Group(axis=axis, members=members, row_bytes=row_bytes, length=length, width=width, ratio=ratio)

    def plan(self, rows: list[int], axes: tuple[Axis, ...] | None = None) -> Plan | None:
        """The plan of some operators that takes fewest windows, of equal ones that needs fewest bytes."""
        begin, kinds = rows[0], self._kind
        for row in rows:
            if kinds[row] < 0:
                self.kind(row)
        key = (self.axes(rows) if axes is None else axes, tuple([(row - begin, kinds[row]) for row in rows]))
        if key not in self._plans:
            self._plans[key] = self._best(rows, key[0])
        return self._plans[key]

    def _best(self, rows: list[int], axes: tuple[Axis, ...]) -> Plan | None:
        """`plan`, worked out."""
        best: Plan | None = None
        for axis in axes:
            group = self.group(rows, axis)
            if group is None:
                continue
            found = plan(group, self.room, self.bandwidth)
            if found is not None and (best is None or _order(found) < _order(best)):
                best = found
        return best


def common(one: tuple[Axis, ...], other: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Axes of both, in the order of the first."""
    return one if one == other else tuple([axis for axis in one if axis in other])


def _order(found: Plan) -> tuple[bool, int, int]:
    return found.again, found.windows, found.needs


def grow(graph: OperatorGraph, design: Design) -> Grown:
    """Groups that grow along data, consumers in issue order and their nearest producers first."""
    chains = Chains(graph, design)
    groups = contracted(graph, chains.links)
    grown = Grown(groups=groups, members={}, plans={}, axes={})
    for producer, consumer in candidates(graph, chains):
        one, other = groups.group(producer), groups.group(consumer)
        if one == other or refusal(chains, grown, one, other) is not None:
            continue
        rows = sorted({*grown.members.get(one, [one]), *grown.members.get(other, [other])})
        axes = common(grown.axes_of(chains, one), grown.axes_of(chains, other))
        found = chains.plan(rows, axes)
        if found is None:
            continue
        name = groups.merge(one, other)
        for known in (grown.members, grown.plans, grown.axes):
            known.pop(one, None)
            known.pop(other, None)
        grown.members[name], grown.plans[name], grown.axes[name] = rows, found, axes
    return grown


def refusal(chains: Chains, grown: Grown, one: int, other: int) -> str | None:
    """Why two groups cannot be one, whatever room there is: `size`, `held`, `axis` or `cycle`."""
    rows = [*grown.members.get(one, [one]), *grown.members.get(other, [other])]
    if len(rows) > MOST:
        return "size"
    if not common(grown.axes_of(chains, one), grown.axes_of(chains, other)):
        return "axis"
    return None if grown.groups.can_merge(one, other) else "cycle"


def candidates(graph: OperatorGraph, chains: Chains) -> list[tuple[int, int]]:
    """(producer, consumer): both slide, and the consumer reads row by row just what the producer wrote."""
    links, whole = chains.links, whole_results(graph, chains.links)
    first, second, access = links.source.tolist(), links.target.tolist(), links.access.tolist()
    found: set[tuple[int, int]] = set()
    for edge in np.flatnonzero((whole == 1) & (links.source != links.target)).tolist():
        source, target = first[edge], second[edge]
        if chains.segment[source] != chains.segment[target]:
            continue
        if not chains.sliding.windows(source) or graph.writes.ptr[source] == graph.writes.ptr[source + 1]:
            continue
        place = access[edge] - chains.read_ptr[target]
        if any(place in window.sliding for window in chains.sliding.windows(target).values()):
            found.add((target, -source))
    return [(-source, target) for target, source in sorted(found)]


def _flows(graph: OperatorGraph, links: Dependences) -> tuple[list[int], list[set[int]], list[list[int]]]:
    """What operators hand each other.

    Returns
    -------
    source : (A,)
        The operator whose whole result each read takes; -1 where there is none, or where it sees another one's as well.
    makers : (A,)
        All operators whose writes each read may see.
    users : (N,)
        The readers of each operator.
    """
    source = np.full(len(graph.reads.tensor), -1, np.int64)
    whole = (whole_results(graph, links) == 1) & (np.bincount(links.access, minlength=len(source))[links.access] == 1)
    source[links.access[whole]] = links.source[whole]
    makers: list[set[int]] = [set() for _ in range(len(source))]
    for access, maker in zip(links.access.tolist(), links.source.tolist(), strict=True):
        makers[access].add(maker)
    users: list[list[int]] = [[] for _ in range(len(graph.operators))]
    for first, second in np.unique(np.stack([links.source, links.target], axis=1), axis=0).tolist():
        users[first].append(second)
    return source.tolist(), makers, users


def _outside(graph: OperatorGraph) -> list[bool]:
    """(N,) whether an operator writes something that is an output, or was there before the run."""
    table = graph.tensors
    kept = ~np.isin(table.storage_role, [int(role) for role in PRODUCED]) | (table.storage_output == 1)
    found = np.zeros(len(graph.operators), np.bool_)
    rows = np.repeat(np.arange(len(graph.operators)), np.diff(graph.writes.ptr))
    found[rows[kept[table.tensor_storage[graph.writes.tensor]]]] = True
    answer: list[bool] = found.tolist()
    return answer


def _seconds(graph: OperatorGraph, design: Design) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(N,) seconds of each operator's arithmetic at the peak of its unit; dtypes that a unit lacks run at its best."""
    table, compute = graph.operators, design.compute
    matrix = compute.matrix.peak if compute.matrix is not None else compute.vector.peak
    found = np.zeros(len(table))
    for peaks, work in ((matrix, table.matrix_flops), (compute.vector.peak, table.vector_flops + table.special_ops)):
        rate = np.array([float(peaks.get(dtype, max(peaks.values()))) for dtype in DType])
        found += work / rate[table.dtype]
    return found


def with_halos(graph: OperatorGraph, made: KernelGraph, grown: Grown) -> KernelGraph:
    """`made` with the points that tiles compute again, as further operators of their kernels."""
    extra: dict[int, tuple[int, int]] = {}
    for name, found in grown.plans.items():
        if found.again:
            for row, again in zip(grown.members[name], found.extra, strict=True):
                if again:
                    extra[row] = again, points_of(graph, row, found)
    partition = made.derived(partition_of)
    if not extra or partition is None:
        return made
    place, share, counts = list[int](), list[tuple[int, int]](), np.diff(made.operator_ptr)
    kernels = partition.kernels().tolist()
    for at, row in enumerate(partition.operators.tolist()):
        place.append(at)
        share.append((1, 1))
        if row in extra:
            place.append(at)
            share.append(extra[row])
            counts[kernels[at]] += 1
    index, parts = np.array(place, np.int64), np.array(share, np.int64)
    repeats = np.concatenate([[False], index[1:] == index[:-1]])
    table = take_operators(made.operators, index)
    scaled: dict[str, Any] = {
        column: np.where(repeats, _part(getattr(table, column), parts), getattr(table, column))
        for column in ("matrix_flops", "masked_flops", "vector_flops", "special_ops")
    }
    dims = table.dims.copy()
    for at in np.flatnonzero(repeats & np.isin(table.kind, [int(Kind.CONV), int(Kind.REDUCTION)])).tolist():
        side = int(table.dims_ptr[at]) + (table.kind[at] == Kind.CONV)
        dims[side] = max(1, dims[side] * parts[at, 0] // parts[at, 1])
    return dataclasses.replace(
        made,
        operators=dataclasses.replace(table, dims=dims, **scaled),
        recomputed=np.where(repeats, 1, made.recomputed[index]).astype(np.int64),
        operator_ptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def _part(work: IntArray, parts: IntArray) -> IntArray:
    """`work` · rows ÷ of rows, rounded down, without overflow."""
    rows, whole = parts[:, 0], parts[:, 1]
    return work // whole * rows + work % whole * rows // whole


def points_of(graph: OperatorGraph, row: int, found: Plan) -> int:
    """Points of an operator's result of one image, as the plan counts them."""
    tensor = int(graph.writes.tensor[graph.writes.ptr[row]])
    shape: IntArray = graph.tensors.shape[graph.tensors.shape_ptr[tensor] : graph.tensors.shape_ptr[tensor + 1]]
    return int(shape[2] * shape[3]) if found.axis[0] == IMAGE else found.axis[1]
