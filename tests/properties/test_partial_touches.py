"""Kernels that touch a part of a storage: it is as good as cut into as many storages as there are parts.

A kernel that touches less than all of a view touches its first bytes. So a storage that is touched up to a few places
behaves like one storage for each range between two of them, all touched whole, and for whole touches the closed form is
held to a played cache (test_residency_oracle.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiersim.frontends.aten.call import Cost
from hiersim.frontends.tables import OperatorBuilder, Row, Storage, TensorBuilder, TensorKey, accesses
from hiersim.fusion.eager import eager
from hiersim.lowering.lower import compulsory_bytes
from hiersim.lowering.pieces import View, layout
from hiersim.lowering.residency import ReuseProfile, profile_reuse, profile_second_run
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import DType, Flag, IntArray, Kind, Phase, Role
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader

INFINITE = 2**62
Access = tuple[int, int]
"""A storage, and how many of its ranges a kernel touches."""


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes of the ranges of each storage, whether it is an output, and what kernels read and write."""

    ranges: list[list[int]]
    output: list[bool]
    kernels: list[tuple[list[Access], list[Access]]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Up to three storages of up to four ranges, and eight kernels."""
    ranges = draw(st.lists(st.lists(st.integers(1, 500), min_size=1, max_size=4), min_size=1, max_size=3))
    output = [draw(st.booleans()) for _ in ranges]
    access = st.integers(0, len(ranges) - 1).flatmap(
        lambda storage: st.tuples(st.just(storage), st.integers(1, len(ranges[storage])))
    )
    some = st.lists(access, max_size=3, unique_by=lambda pair: pair[0])
    return Case(ranges, output, draw(st.lists(st.tuples(some, some), min_size=1, max_size=8)))


def graph_of(
    sizes: Sequence[int], output: Sequence[bool], kernels: Sequence[Sequence[Sequence[Access]]]
) -> KernelGraph:
    """Kernels that read and write so many first bytes of storages that are there from the start."""
    tensors = TensorBuilder()
    keys = []
    for size, flag in zip(sizes, output, strict=True):
        storage = tensors.storage(Storage(size=size, role=Role.OPTIMIZER_STATE, output=flag))
        keys.append(TensorKey(storage=storage, dtype=DType.INT8, shape=(size,), size=size))
    return graph_of_accesses(
        tensors,
        *([[(keys[storage], size) for storage, size in kernel[side]] for kernel in kernels] for side in range(2)),
    )


Rows = Sequence[Sequence[tuple[TensorKey, int]]]


def graph_of_accesses(tensors: TensorBuilder, reads: Rows, writes: Rows) -> KernelGraph:
    """A kernel for each row of reads and writes."""
    row = Row(name="x", module="", phase=Phase.FORWARD, flags=Flag.NONE, dtype=DType.INT8, cost=Cost(kind=Kind.COPY))
    operators = OperatorBuilder([row] * len(reads)).build()
    read, write = accesses(reads, tensors), accesses(writes, tensors)
    graph = OperatorGraph(tensors=tensors.build(), operators=operators, reads=read, writes=write)
    return eager(Trace(header=TraceHeader(name="parts"), graph=graph))


def whole(case: Case) -> KernelGraph:
    """One storage for each of the case."""
    sizes = [sum(ranges) for ranges in case.ranges]
    cut = [[[(s, sum(case.ranges[s][:count])) for s, count in side] for side in kernel] for kernel in case.kernels]
    return graph_of(sizes, case.output, cut)


def in_ranges(case: Case) -> KernelGraph:
    """One storage for each range."""
    first = np.cumsum([0, *(len(ranges) for ranges in case.ranges)]).tolist()
    sizes = [size for ranges in case.ranges for size in ranges]
    output = [flag for ranges, flag in zip(case.ranges, case.output, strict=True) for _ in ranges]
    cut = [
        [[(first[s] + i, case.ranges[s][i]) for s, count in side for i in range(count)] for side in kernel]
        for kernel in case.kernels
    ]
    return graph_of(sizes, output, cut)


def missed(graph: KernelGraph, profile: ReuseProfile, capacity: int) -> IntArray:
    """(K,) bytes that the reads of each kernel miss."""
    total = np.append(0, np.cumsum(profile.read_misses(graph.reads.size, capacity)))
    return np.diff(total[graph.reads.ptr])


@settings(max_examples=max(20, settings.default.max_examples // 2))  # type: ignore[union-attr]
@given(cases(), st.lists(st.integers(0, 4000), max_size=4))
def test_a_part_is_like_a_storage_of_its_own(case: Case, capacities: list[int]) -> None:
    """Kernel by kernel, to a byte per range of what is rounded, after a cold and after a warm start.

    Without a limit only the compulsory bytes of the ranges move.
    """
    one, many = whole(case), in_ranges(case)
    for cold in (True, False):
        profiles = [profile_reuse(graph) if cold else profile_second_run(graph)[1] for graph in (one, many)]
        for capacity in (0, *capacities, INFINITE):
            rounded = 16 * (0 < capacity < INFINITE)
            missing = missed(one, profiles[0], capacity) - missed(many, profiles[1], capacity)
            assert int(np.abs(missing).max()) <= rounded
            written = [profile.write_backs(len(one), capacity) for profile in profiles]
            assert int(np.abs(written[0] - written[1]).max()) <= rounded // 16
            if cold and capacity == INFINITE:
                assert int(missed(one, profiles[0], capacity).sum() + written[0].sum()) == compulsory_bytes(many)


def test_a_gather_hides_nothing_of_what_was_written_before() -> None:
    """Write 1000 B, gather 10 B of them, read all: 10 B wait for one kernel, 990 B for two with 40 B of another."""
    graph = graph_of([1000, 40], [False, False], [([], [(0, 1000)]), ([(0, 10), (1, 40)], []), ([(0, 1000)], [])])
    profile = profile_reuse(graph)
    begin, end = profile.distance_begin, profile.distance_end
    pieces = profile.piece_interval[profile.read_ptr[2] : profile.read_ptr[3]].tolist()
    assert profile.piece_bytes[profile.read_ptr[2] : profile.read_ptr[3]].tolist() == [10, 990]
    # the gathered bytes: 40 B of the other storage, which leave as the scan goes on, and 990 B that it touches instead
    assert [(int(begin[piece]), int(end[piece])) for piece in pieces] == [(50, 10 + 990), (50 + 990, 50 + 990)]
    assert profile.read_misses(graph.reads.size, 1040).tolist() == [0, 40, 0]
    assert profile.read_misses(graph.reads.size, 1039).tolist() == [0, 40, 990]


def test_a_storage_touched_up_to_many_places_costs_no_more_than_thirty_two_pieces_a_read() -> None:
    """Every read of a trace may see each layer of a storage, so that their number is bounded."""
    places = 400
    shrinking = [([(0, places - kernel)], []) for kernel in range(places)]
    graph = graph_of([places], [True], [([], [(0, places)]), *shrinking, *[([(0, places)], [])] * 3])
    profile = profile_reuse(graph)
    assert int(np.diff(profile.read_ptr).max()) == 32
    assert len(profile.chunk_bytes) <= 32
    assert int(profile.chunk_bytes.sum()) == places
    sizes = [0, *range(1, 2 * places, 37), INFINITE]
    reads = [profile.read_misses(graph.reads.size, size) for size in sizes]
    assert all(bool(np.all(larger <= smaller)) for smaller, larger in pairwise(reads))
    assert int(reads[-1].sum() + profile.write_backs(len(graph), INFINITE).sum()) == compulsory_bytes(graph)


@st.composite
def spans(draw: st.DrawFn) -> tuple[KernelGraph, KernelGraph]:
    """Kernels that touch one range of a storage, or all up to one: as views of it, and as storages of their own."""
    ranges = draw(st.lists(st.lists(st.integers(1, 500), min_size=1, max_size=4), min_size=1, max_size=3))
    output = [draw(st.booleans()) for _ in ranges]
    place = st.integers(0, len(ranges) - 1).flatmap(
        lambda storage: st.tuples(st.just(storage), st.booleans(), st.integers(0, len(ranges[storage]) - 1))
    )
    some = st.lists(place, max_size=3, unique_by=lambda item: item[0])
    kernels = draw(st.lists(st.tuples(some, some), min_size=1, max_size=8))
    ends = [np.cumsum([0, *sizes]).tolist() for sizes in ranges]
    first = np.cumsum([0, *map(len, ranges)]).tolist()
    tensors = TensorBuilder()
    for flag, end in zip(output, ends, strict=True):
        tensors.storage(Storage(size=end[-1], role=Role.OPTIMIZER_STATE, output=flag))

    def view(storage: int, low: int, high: int) -> tuple[TensorKey, int]:
        begin, size = ends[storage][low], ends[storage][high + 1] - ends[storage][low]
        return TensorKey(storage=storage, dtype=DType.INT8, shape=(size,), offset=begin, size=size), size

    touched = [[[(s, 0 if many else i, i) for s, many, i in kernel[side]] for kernel in kernels] for side in range(2)]
    one = graph_of_accesses(tensors, *([[view(*span) for span in row] for row in side] for side in touched))
    own = [
        [[(first[s] + i, ranges[s][i]) for s, low, high in side for i in range(low, high + 1)] for side in sides]
        for sides in zip(*touched, strict=True)
    ]
    sizes = [size for row in ranges for size in row]
    return one, graph_of(sizes, [flag for row, flag in zip(ranges, output, strict=True) for _ in row], own)


@settings(max_examples=max(20, settings.default.max_examples // 2))  # type: ignore[union-attr]
@given(spans(), st.lists(st.integers(0, 4000), max_size=4))
def test_a_view_within_a_storage_is_like_a_storage_of_its_own(
    graphs: tuple[KernelGraph, KernelGraph], capacities: list[int]
) -> None:
    """The same misses and write-backs, after a cold and after a warm start; without a limit the compulsory bytes."""
    one, many = graphs
    assert compulsory_bytes(one) == compulsory_bytes(many)
    for cold in (True, False):
        profiles = [profile_reuse(graph) if cold else profile_second_run(graph)[1] for graph in graphs]
        for capacity in (0, *capacities, INFINITE):
            rounded = 4 * (0 < capacity < INFINITE)
            missing = missed(one, profiles[0], capacity) - missed(many, profiles[1], capacity)
            assert int(np.abs(missing).max()) <= rounded
            written = [profile.write_backs(len(one), capacity) for profile in profiles]
            assert int(np.abs(written[0] - written[1]).max()) <= min(rounded, 1)
            if cold and capacity == INFINITE:
                assert int(missed(one, profiles[0], capacity).sum() + written[0].sum()) == compulsory_bytes(many)


def test_one_half_of_a_storage_is_not_the_other() -> None:
    tensors = TensorBuilder()
    storage = tensors.storage(Storage(size=200, role=Role.WEIGHT))
    halves = [
        TensorKey(storage=storage, dtype=DType.INT8, shape=(100,), size=100, offset=offset) for offset in (0, 100)
    ]
    graph = graph_of_accesses(tensors, [[(half, 100)] for half in halves], [[], []])
    assert profile_reuse(graph).read_misses(graph.reads.size, INFINITE).tolist() == [100, 100]
    assert compulsory_bytes(graph) == 200


def halves_of_activations() -> KernelGraph:
    """x is written whole and freed; y, of its size, is written half by half, with z freed in between; y is read."""
    tensors = TensorBuilder()
    x, z, y = (tensors.storage(Storage(size=200, free=free)) for free in (1, 2, -1))
    whole = {storage: TensorKey(storage=storage, dtype=DType.INT8, shape=(200,), size=200) for storage in (x, z, y)}
    low, high = (TensorKey(storage=y, dtype=DType.INT8, shape=(100,), size=100, offset=offset) for offset in (0, 100))
    writes = [[(whole[x], 200)], [(whole[z], 200)], [(low, 100)], [(high, 100)], []]
    return graph_of_accesses(tensors, [[], [], [], [], [(whole[y], 200)]], writes)


def test_the_halves_of_a_new_storage_lie_where_one_freed_storage_lay() -> None:
    """Both halves of y overwrite x, although z is free when the second is written; z stays dirty."""
    profile = profile_reuse(halves_of_activations())
    assert profile.chunk_bytes.tolist() == [100, 100, 100, 100, 100, 100]
    ends = profile.chunk_ptr.tolist()
    overwritten = [
        [int(profile.interval_last[item]) for item in profile.chunk_intervals[ends[chunk] : ends[chunk + 1]]]
        for chunk in range(4)
    ]
    assert overwritten == [[2], [3], [5], [5]]


LAYOUTS = [
    ([(0, 100), (100, 100)], [0, 100]),  # halves
    ([(0, 100), (10, 100), (20, 100)], [0, 100, 200]),  # columns of rows: queries, keys and values
    ([(0, 300), (10, 100), (20, 100)], [0, 10, 110]),  # within all of it
    ([(0, 290), (10, 290)], [0, 10]),  # windows that overlap
    ([(0, 100), (100, 100), (100, 50), (150, 50), (0, 10)], [0, 100, 100, 150, 0]),  # halves of a half
    ([(20, 100), (20, 50), (25, 50), (150, 150)], [20, 20, 70, 150]),
    ([(290, 100)], [200]),  # ends behind its storage: no frontend lets that through
]


@pytest.mark.parametrize(("views", "begins"), LAYOUTS)
def test_views_lie_beside_each_other_where_they_fit(views: list[tuple[int, int]], begins: list[int]) -> None:
    found = layout([View(*view) for view in views], 300)
    assert [found[View(*view)] for view in views] == begins


@given(st.sets(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=80))
def test_every_view_lies_within_its_storage(views: set[tuple[int, int]]) -> None:
    found = layout([View(*view) for view in views], 300)
    assert found.keys() == views
    assert all(begin >= 0 and begin + view.size <= 300 for view, begin in found.items())
