"""A warm start: what the run before left in a cache. Played as two runs, one after the other, on a cache of chunks."""

from __future__ import annotations

import numpy as np
import pytest
from chunk_cache import LARGEST, STEPS, ChunkCache, Player
from hypothesis import given
from hypothesis import strategies as st
from test_belady import GRAPHS, bound, missed_by_min
from test_residency_oracle import Case, cases
from test_reuse_walk import streams

from hiersim import bundled
from hiersim.config.load import load_design
from hiersim.frontends.load import load_trace
from hiersim.frontends.tables import Storage
from hiersim.fusion.registry import policy
from hiersim.lowering.belady import BeladyProfile, belady
from hiersim.lowering.residency import ReuseProfile, one_run, profile_reuse, profile_second_run, walked
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Role
from hiersim.run import simulate
from hiersim.testing.contracts import moved_by
from hiersim.testing.graph_strategies import GRAIN, Touch, streaming_graph

INFINITE = 2**62
CAPACITIES = st.lists(st.integers(0, 4000), min_size=1, max_size=4)


def warm_bound(graph: KernelGraph) -> BeladyProfile:
    both, second = profile_second_run(graph)
    return belady(both, second)


def played_twice(case: Case, capacity: int) -> int:
    """Bytes that reads miss in the second of two runs on one cache."""
    player, missed = Player(capacity), [0]
    for _ in range(2):
        for kernel, touch in enumerate(case[1]):
            player.run(case[0], touch)
            player.free(case[0], {storage for storage, item in enumerate(case[0]) if item.free == kernel})
        missed.append(player.cache.missed)
    return missed[2] - missed[1]


@given(cases(), st.integers(1, 4000))
def test_read_misses_equal_those_of_the_second_of_two_played_runs_within_a_step(case: Case, capacity: int) -> None:
    graph = streaming_graph(*case)
    missed = int(profile_second_run(graph)[1].read_misses(graph.reads.size, capacity).sum())
    blur = 2 * sum(item.size for item in case[0]) // STEPS
    step = len(graph.reads.size) * (2 * max(item.size for item in case[0]) // STEPS)
    assert played_twice(case, capacity + blur) - step <= missed <= played_twice(case, max(1, capacity - blur)) + step


@given(cases())
def test_without_a_limit_everything_is_there_and_only_outputs_leave(case: Case) -> None:
    graph = streaming_graph(*case)
    second = profile_second_run(graph)[1]
    assert int(second.read_misses(graph.reads.size, LARGEST).sum()) == played_twice(case, LARGEST) == 0
    written = sum(case[0][s].size for s in frozenset().union(*(touch.writes for touch in case[1])))
    assert int(second.write_backs(len(graph), LARGEST).sum()) == written


def flushed(case: Case, capacity: int) -> ChunkCache:
    """Two played runs with the outputs written back after each; only the second run's write-backs are kept."""
    player = Player(capacity)
    for _ in range(2):
        player.kernel = 0
        player.cache.written.clear()
        for touch in case[1]:
            player.run(case[0], touch)
        player.end(case[0])
    return player.cache


@given(cases())
def test_without_a_cache_every_write_leaves(case: Case) -> None:
    graph = streaming_graph(*case)
    written = profile_second_run(graph)[1].write_backs(len(graph), 0).tolist()
    assert written == [flushed(case, 0).written[kernel] for kernel in range(len(graph))]


@given(st.one_of(GRAPHS, streams()), CAPACITIES)
def test_a_warm_start_never_misses_more_of_any_read(graph: KernelGraph, capacities: list[int]) -> None:
    cold, warm = profile_reuse(graph), profile_second_run(graph)[1]
    for capacity in (*capacities, INFINITE):
        before, after = (side.read_misses(graph.reads.size, capacity) for side in (cold, warm))
        assert bool(np.all(after <= before))


@given(GRAPHS, CAPACITIES)
def test_reads_of_min_miss_no_more_in_all_after_a_warm_start(graph: KernelGraph, capacities: list[int]) -> None:
    """MIN over both runs is the least of both, and the first is no less than a cold run alone.

    To a byte per read: what of each piece is kept is rounded down.
    """
    cold, warm = bound(graph), warm_bound(graph)
    for capacity in capacities:
        least = missed_by_min(cold, graph, capacity)
        assert missed_by_min(warm, graph, capacity) <= least + len(graph.reads.size)


@given(st.one_of(GRAPHS, streams()), st.lists(st.integers(0, 20_000), min_size=1, max_size=4))
def test_belady_never_moves_more_than_lru_after_a_warm_start(graph: KernelGraph, capacities: list[int]) -> None:
    lru, profile = profile_second_run(graph)[1], warm_bound(graph)
    sizes = sorted([0, *capacities, INFINITE])
    moved = [moved_by(profile, graph, size) for size in sizes]
    assert all(mine <= moved_by(lru, graph, size) for mine, size in zip(moved, sizes, strict=True))
    assert moved == sorted(moved, reverse=True)


@given(st.one_of(GRAPHS, streams()))
def test_the_third_run_is_like_the_second(graph: KernelGraph) -> None:
    """What a run leaves does not depend on what it found: the second one is the steady state."""
    second = profile_second_run(graph)[1]
    three = walked(graph, 3)
    third = one_run(three, 2, graph)
    columns = ("read_ptr", "piece_bytes", "chunk_write", "chunk_kernel", "chunk_bytes", "chunk_flush", "chunk_ptr")
    assert all(getattr(third, name).tolist() == getattr(second, name).tolist() for name in columns)
    for name in ("piece_interval", "chunk_intervals"):
        assert distances(third, getattr(third, name)) == distances(second, getattr(second, name))


def distances(profile: ReuseProfile, intervals: np.ndarray) -> list[tuple[int, int]]:  # type: ignore[type-arg]
    return list(zip(profile.distance_begin[intervals].tolist(), profile.distance_end[intervals].tolist(), strict=True))


def test_weights_that_fit_are_not_loaded_again() -> None:
    """Two weights, one kernel each: half as much cache as they need holds nothing for LRU and half for Belady."""
    items = [Storage(size=GRAIN, role=Role.WEIGHT) for _ in range(2)]
    graph = streaming_graph(items, [Touch(reads=frozenset([place]), writes=frozenset()) for place in range(2)])
    lru, best = profile_second_run(graph)[1], warm_bound(graph)
    assert [moved_by(lru, graph, room * GRAIN) for room in range(3)] == [2 * GRAIN, 2 * GRAIN, 0]
    assert [moved_by(best, graph, room * GRAIN) for room in range(3)] == [2 * GRAIN, GRAIN, 0]


@pytest.mark.parametrize("fusion", ["eager", "inductor"])
@pytest.mark.parametrize("name", sorted(bundled.traces()))
def test_a_warm_start_on_bundled_traces(name: str, fusion: str) -> None:
    graph = policy(fusion)(load_trace(name), None)  # type: ignore[arg-type]
    cold, warm, best = profile_reuse(graph), profile_second_run(graph)[1], warm_bound(graph)
    for size in (0, *(2**power for power in range(18, 38, 3)), INFINITE):
        before, after = (side.read_misses(graph.reads.size, size) for side in (cold, warm))
        assert bool(np.all(after <= before))
        assert moved_by(best, graph, size) <= moved_by(warm, graph, size)


def test_a_warm_cache_that_holds_the_model_leaves_only_results_to_far_memory() -> None:
    """Decoding reads 15 GB of weights and 0.3 GB of KV cache: with 20 GiB of cache the second token finds them there.

    That a kernel has just written one token of the KV cache hides nothing of the rest.
    """
    trace, cold = load_trace("llama3-8b-decode"), load_design("h100-sxm").replace({"memory.l2.capacity": "20 GiB"})
    warm = cold.replace({"memory.l2.start": "warm"})
    one, two = simulate(trace, cold), simulate(trace, warm)
    assert one.traffic["hbm"]["read"] > 15 * 10**9
    assert two.traffic["hbm"]["read"] == 0
    assert two.traffic["hbm"]["write"] == one.traffic["hbm"]["write"] < 10**6
    assert two.bounds.compulsory_bytes == 0
    assert two.makespan < one.makespan
