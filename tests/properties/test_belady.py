"""Belady's rule: its reads are the optimum of a flow, it never moves more than LRU, and it runs in designs.

The flow is another way to the same optimum: a cache of C bytes is C units that flow from the first kernel to the last,
each along free boundaries or along intervals that it keeps.
"""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from interpreted import interpreted
from test_reuse_walk import streams

from hiersim import bundled
from hiersim.frontends.load import load_trace
from hiersim.frontends.tables import Storage
from hiersim.fusion.eager import eager
from hiersim.fusion.registry import policy
from hiersim.lowering import furthest
from hiersim.lowering.belady import BeladyProfile, belady
from hiersim.lowering.lower import compulsory_bytes, lower
from hiersim.lowering.residency import profile_reuse
from hiersim.model.design import Design, Replacement, Start
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Kind, Role
from hiersim.model.trace import Trace
from hiersim.run import simulate
from hiersim.testing.contracts import moved_by
from hiersim.testing.graph_strategies import GRAIN, Touch, streaming_graph
from hiersim.testing.strategies import bytewise, designs, streaming_graphs, traces
from hiersim.testing.synthetic import layered_trace

INTERPRETED = interpreted(furthest)
CAPACITIES = st.integers(0, 4000)
INFINITE = 2**62


@st.composite
def programs_of_tensors(draw: st.DrawFn) -> KernelGraph:
    """Kernels that touch whole storages, some of which are freed so that others take their place."""
    kernels = draw(st.integers(1, 12))
    storages, living = [], []
    for _ in range(draw(st.integers(1, 6))):
        item = Storage(size=draw(st.sampled_from((1, 2, 5, 5, 5, 30))) * GRAIN, output=draw(st.booleans()))
        if draw(st.booleans()):
            item.role = Role.OPTIMIZER_STATE
        elif not item.output:
            item.free = draw(st.integers(-1, kernels - 1))
        storages.append(item)
        living.append(item.free if item.free >= 0 else kernels)
    touches = []
    for kernel in range(kernels):
        alive = [storage for storage, end in enumerate(living) if end >= kernel]
        some = st.frozensets(st.sampled_from(alive), max_size=3) if alive else st.just(frozenset[int]())
        touches.append(Touch(reads=draw(some), writes=draw(some)))
    return streaming_graph(storages, touches)


GRAPHS = st.one_of(programs_of_tensors(), streaming_graphs(), traces(max_operators=10).map(eager))


def bound(graph: KernelGraph) -> BeladyProfile:
    return belady(profile_reuse(graph))


def missed_by_min(profile: BeladyProfile, graph: KernelGraph, capacity: int) -> int:
    """Bytes that reads miss under MIN alone."""
    return int(profile._moved_by(profile.nearest_read, graph.reads.size, len(graph), capacity)[0].sum())


# What is optimal


def most_hits(graph: KernelGraph, capacity: int) -> int:
    """The most bytes of reads that any cache can hold, where every kernel touches whole storages once."""
    profile = profile_reuse(graph)
    network: nx.MultiDiGraph = nx.MultiDiGraph()
    nx.add_path(network, range(len(graph) + 1), capacity=capacity, weight=0)
    for interval, prior in zip(profile.piece_interval.tolist(), profile.piece_bytes.tolist(), strict=True):
        first, last = int(profile.interval_first[interval]), int(profile.interval_last[interval])
        network.add_edge(first, last, capacity=prior, weight=-1)
    network.nodes[0]["demand"], network.nodes[len(graph)]["demand"] = -capacity, capacity
    return -int(nx.min_cost_flow_cost(network))


@given(st.one_of(programs_of_tensors(), streaming_graphs()), CAPACITIES)
def test_reads_of_min_are_the_optimum_of_a_flow(graph: KernelGraph, capacity: int) -> None:
    hits = int(graph.reads.size.sum()) - missed_by_min(bound(graph), graph, capacity)
    assert hits == most_hits(graph, capacity)


@given(st.one_of(programs_of_tensors(), streaming_graphs()), CAPACITIES)
def test_reads_of_min_miss_no_more_than_those_of_lru(graph: KernelGraph, capacity: int) -> None:
    """To a byte per read, which LRU rounds in its own way."""
    lru = int(profile_reuse(graph).read_misses(graph.reads.size, capacity).sum())
    assert missed_by_min(bound(graph), graph, capacity) <= lru


def cyclic(storages: int, rounds: int) -> KernelGraph:
    """Each kernel reads the next of equal storages, round and round: the case that LRU is worst at."""
    items = [Storage(size=GRAIN, role=Role.WEIGHT) for _ in range(storages)]
    return streaming_graph(
        items, [Touch(reads=frozenset([index % storages]), writes=frozenset()) for index in range(storages * rounds)]
    )


@pytest.mark.parametrize("room", [0, 1, 2, 3, 4])
def test_a_cycle_of_n_blocks_hits_in_all_but_a_share(room: int) -> None:
    """LRU misses everything until all blocks fit; Belady hits (C ÷ N) of all reads but the first ones."""
    graph, lru = cyclic(5, 40), profile_reuse(cyclic(5, 40))
    assert int(lru.read_misses(graph.reads.size, room * GRAIN).sum()) == int(graph.reads.size.sum())
    hits = (int(graph.reads.size.sum()) - missed_by_min(bound(graph), graph, room * GRAIN)) // GRAIN
    assert hits == room * 39


def test_a_write_back_may_be_worth_a_miss() -> None:
    """One block is overwritten again and again, one is read at the end: MIN keeps it and moves more bytes for that."""
    items = [Storage(size=GRAIN, role=Role.OPTIMIZER_STATE) for _ in range(2)]
    first, second, none = frozenset([0]), frozenset([1]), frozenset[int]()
    graph = streaming_graph(items, [
        Touch(reads=second, writes=none), Touch(reads=none, writes=first), Touch(reads=none, writes=first),
        Touch(reads=second, writes=none), Touch(reads=none, writes=first),
    ])  # fmt: skip
    profile = bound(graph)
    of_min = profile._moved_by(profile.nearest_read, graph.reads.size, 5, GRAIN)
    of_use = profile._moved_by(profile.nearest_use, graph.reads.size, 5, GRAIN)
    assert (of_min[0].sum(), of_min[1].sum()) == (GRAIN, 2 * GRAIN)
    assert (of_use[0].sum(), of_use[1].sum()) == (2 * GRAIN, 0)
    assert moved_by(profile, graph, GRAIN) == 2 * GRAIN


# What always holds


@given(st.one_of(GRAPHS, streams()), st.lists(st.integers(0, 20_000), min_size=1, max_size=4))
def test_belady_never_moves_more_than_lru_and_a_larger_cache_never_more_than_a_smaller(
    graph: KernelGraph, capacities: list[int]
) -> None:
    lru, profile = profile_reuse(graph), bound(graph)
    sizes = sorted([0, *capacities, INFINITE])
    moved = [moved_by(profile, graph, size) for size in sizes]
    assert all(mine <= moved_by(lru, graph, size) for mine, size in zip(moved, sizes, strict=True))
    assert all(after <= before for before, after in pairwise(moved))
    assert moved[0] == moved_by(lru, graph, 0)
    assert moved[-1] == moved_by(lru, graph, INFINITE)


@pytest.mark.parametrize("fusion", ["eager", "inductor"])
@pytest.mark.parametrize("name", sorted(bundled.traces()))
def test_belady_never_moves_more_than_lru_on_bundled_traces(name: str, fusion: str) -> None:
    graph = policy(fusion)(load_trace(name), None)  # type: ignore[arg-type]
    lru, profile = profile_reuse(graph), bound(graph)
    sizes = [0, *(2**power for power in range(16, 36)), INFINITE]
    moved = [moved_by(profile, graph, size) for size in sizes]
    assert all(mine <= moved_by(lru, graph, size) for mine, size in zip(moved, sizes, strict=True))
    assert all(after <= before for before, after in pairwise(moved))
    assert moved[0] == moved_by(lru, graph, 0)
    assert moved[-1] == moved_by(lru, graph, INFINITE) >= compulsory_bytes(graph)
    for size in sizes:
        missed = int(lru.read_misses(graph.reads.size, size).sum())
        assert missed_by_min(profile, graph, size) <= missed + len(graph.reads.size)


# The sweep


def plain_sweep(first: list[int], last: list[int], weight: list[int], order: list[int], room: int) -> list[int]:
    """Kernel by kernel, with a list of all that is held."""
    kept = [0] * len(first)
    held: list[int] = []
    for now in range(max(first, default=-1) + 1):
        held = [item for item in held if last[item] > now]
        for item in range(len(first)):
            if first[item] == now:
                held.append(item)
                kept[item] = weight[item]
        for item in sorted(held, key=order.index, reverse=True):
            kept[item] -= max(0, min(kept[item], sum(kept[other] for other in held) - room))
    return kept


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(0, 9)), max_size=14),
    st.randoms(use_true_random=False),
    st.integers(0, 40),
)
def test_the_sweep_keeps_what_a_plain_one_keeps(rows: list[tuple[int, int, int]], random, room: int) -> None:  # type: ignore[no-untyped-def]
    first, last, weight = [row[0] for row in rows], [row[0] + row[1] for row in rows], [row[2] for row in rows]
    order = random.sample(range(len(rows)), len(rows))
    columns = [np.array(column, np.int64) for column in (first, last, weight, order)]
    for module in (furthest, INTERPRETED):
        assert module.Sweep(*columns).run(room).tolist() == plain_sweep(first, last, weight, order, room)


def test_work_grows_little_faster_than_the_graph() -> None:
    """For 10^5 kernels a sweep that looks at all that is held at each of them would take hours."""
    graph = eager(layered_trace(6_250))
    profile = bound(graph)
    assert moved_by(profile, graph, 2**20) <= moved_by(profile_reuse(graph), graph, 2**20)


# In designs


few = settings(max_examples=max(20, settings.default.max_examples // 2))


@few
@given(traces(), designs(replacement=True).map(bytewise))
def test_any_replacement_and_start_passes_the_audit(trace: Trace, design: Design) -> None:
    result = simulate(trace, design)
    read, write = result.program.traffic()
    near = len(design.core_tiers)
    operands = np.repeat(trace.graph.operators.kind, np.diff(trace.graph.reads.ptr)) <= Kind.ATTENTION
    again = int(trace.graph.reads.size[operands].sum())  # deviation D54: operands larger than their sizes say
    assert bool(np.all(np.diff(read[near:]) <= again))
    assert bool(np.all(np.diff(write[near:]) <= 0))


@few
@given(st.one_of(streaming_graphs(), traces().map(eager)), designs().map(bytewise))
def test_belady_in_the_nearest_cache_moves_no_more_bytes_beyond_it(graph: KernelGraph, design: Design) -> None:
    assume(len(design.shared_tiers) > 1)
    near = len(design.core_tiers)
    cache = dataclasses.replace(design.memory[near], replacement=Replacement.BELADY)
    better = dataclasses.replace(design, memory=(*design.memory[:near], cache, *design.memory[near + 1 :]))
    before, after = lower(graph, design).traffic(), lower(graph, better).traffic()
    assert after[0][near + 1] + after[1][near + 1] <= before[0][near + 1] + before[1][near + 1]
    for direction in range(2):
        assert after[direction][near] == before[direction][near]
        assert bool(np.all(after[direction][near + 2 :] <= before[direction][near + 2 :]))


@few
@given(traces(), designs(replacement=True).map(bytewise))
def test_a_cache_no_larger_than_a_nearer_one_changes_nothing(trace: Trace, design: Design) -> None:
    caches = design.shared_tiers[:-1]
    assume(caches)
    small = dataclasses.replace(caches[-1], name="small", replacement=Replacement.BELADY, start=Start.WARM)
    longer = dataclasses.replace(design, memory=(*design.memory[:-1], small, design.home))
    graph = eager(trace)
    before, after = lower(graph, design).traffic(), lower(graph, longer).traffic()
    for direction in range(2):
        assert after[direction][-1] == after[direction][-2] == before[direction][-1]
