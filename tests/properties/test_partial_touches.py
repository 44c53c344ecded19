"""Kernels that touch a part of a storage: it is as good as cut into as many storages as there are parts.

A kernel that touches less than all touches the first bytes. So a storage that is touched up to a few places behaves
like one storage for each range between two of them, all touched whole, and for whole touches the closed form is held
to a played cache (test_residency_oracle.py).
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
    reads, writes = (
        accesses([[(keys[storage], size) for storage, size in kernel[side]] for kernel in kernels], tensors)
        for side in range(2)
    )
    row = Row(name="x", module="", phase=Phase.FORWARD, flags=Flag.NONE, dtype=DType.INT8, cost=Cost(kind=Kind.COPY))
    operators = OperatorBuilder([row] * len(kernels)).build()
    graph = OperatorGraph(tensors=tensors.build(), operators=operators, reads=reads, writes=writes)
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


@pytest.mark.xfail(reason="deviation D33: a part is the beginning of its storage, whatever its offset", strict=True)
def test_one_half_of_a_storage_is_not_the_other() -> None:
    tensors = TensorBuilder()
    storage = tensors.storage(Storage(size=200, role=Role.WEIGHT))
    halves = [
        TensorKey(storage=storage, dtype=DType.INT8, shape=(100,), size=100, offset=offset) for offset in (0, 100)
    ]
    row = Row(name="x", module="", phase=Phase.FORWARD, flags=Flag.NONE, dtype=DType.INT8, cost=Cost(kind=Kind.COPY))
    reads, writes = accesses([[(half, 100)] for half in halves], tensors), accesses([[], []], tensors)
    operators = OperatorBuilder([row] * 2).build()
    graph = eager(
        Trace(
            header=TraceHeader(name="halves"),
            graph=OperatorGraph(tensors=tensors.build(), operators=operators, reads=reads, writes=writes),
        )
    )
    assert profile_reuse(graph).read_misses(graph.reads.size, INFINITE).tolist() == [100, 100]
