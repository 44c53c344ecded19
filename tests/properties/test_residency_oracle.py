"""Reuse distances against a cache that is played byte chunk by byte chunk.

The oracle cuts streams into `STEPS` steps, which blurs reuse distances by at most two steps of all storages: the exact
profile must lie between the oracle at a capacity that much larger and that much smaller. The same with memory that is
freed and given out again, and with write-back at every capacity, is test_residency_machine.py.
"""

from __future__ import annotations

from chunk_cache import LARGEST, STEPS, played
from hypothesis import given
from hypothesis import strategies as st

from hiersim.frontends.tables import Storage
from hiersim.lowering.residency import profile_reuse
from hiersim.model.operators import Role
from hiersim.testing.graph_strategies import GRAIN, Touch, streaming_graph

Case = tuple[list[Storage], list[Touch]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Up to five outputs and seven kernels."""
    sizes = draw(st.lists(st.integers(1, 30).map(lambda n: n * GRAIN), min_size=1, max_size=5))
    storages = [Storage(size=size, role=Role.OPTIMIZER_STATE, output=True) for size in sizes]
    some = st.frozensets(st.sampled_from(range(len(sizes))), max_size=3)
    return storages, draw(st.lists(st.builds(Touch, reads=some, writes=some), min_size=1, max_size=7))


def profiled(case: Case, capacity: int) -> tuple[int, int]:
    """Bytes missed by reads and bytes written back, by the formula."""
    graph = streaming_graph(*case)
    profile = profile_reuse(graph)
    missed = int(profile.read_misses(graph.reads.size, capacity).sum())
    return missed, int(profile.write_backs(len(graph), capacity).sum())


@given(cases(), st.integers(1, 4000))
def test_read_misses_equal_those_of_a_chunked_lru_within_its_step(case: Case, capacity: int) -> None:
    storages, touches = case
    blur = 2 * sum(item.size for item in storages) // STEPS
    reads = sum(len(touch.reads) for touch in touches)
    step = reads * (
        2 * max(item.size for item in storages) // STEPS
    )  # a boundary chunk of every read may fall either way
    missed = profiled(case, capacity)[0]
    assert played(*case, capacity + blur).missed - step <= missed
    assert missed <= played(*case, max(1, capacity - blur)).missed + step


@given(cases())
def test_an_infinite_cache_leaves_cold_misses_and_flushed_outputs(case: Case) -> None:
    storages, touches = case
    touched: set[int] = set()
    cold = 0
    for touch in touches:
        cold += sum(storages[s].size for s in touch.reads - touched)
        touched |= touch.reads | touch.writes
    written = sum(storages[s].size for s in frozenset().union(*(touch.writes for touch in touches)))
    assert profiled(case, LARGEST) == (cold, written)
    cache = played(*case, LARGEST)
    assert (cache.missed, cache.written.total()) == (cold, written)


@given(cases(), st.integers(1, 4000))
def test_write_back_lies_between_one_flush_and_every_write(case: Case, capacity: int) -> None:
    storages, touches = case
    every = sum(storages[s].size for touch in touches for s in touch.writes)
    assert profiled(case, LARGEST)[1] <= profiled(case, capacity)[1] <= every
    assert profiled(case, 0)[1] == every
