"""Reuse distances against a cache that is played byte chunk by byte chunk.

Every kernel streams all storages that it touches from start to end at proportional speed, in `STEPS` steps. The
oracle keeps a real LRU list of chunks. Cutting the streams into steps blurs reuse distances by at most two steps of all
storages, so the exact profile must lie between the oracle at a capacity that much larger and that much smaller.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hiersim.frontends.pytorch.aten_call import Cost
from hiersim.frontends.tables import OperatorBuilder, Row, Storage, TensorBuilder, TensorKey, accesses
from hiersim.fusion.eager import eager
from hiersim.lowering.residency import ReuseProfile, profile_reuse
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import DType, Flag, Kind, Phase, Role
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader
from hiersim.testing.strategies import traces

STEPS = 40
LARGEST = 2**40


@dataclass(frozen=True)
class Touches:
    """Which whole storages each kernel reads and writes."""

    sizes: tuple[int, ...]
    kernels: tuple[tuple[frozenset[int], frozenset[int]], ...]


@st.composite
def touches(draw: st.DrawFn) -> Touches:
    """Up to five storages and seven kernels."""
    sizes = draw(st.lists(st.integers(1, 30).map(lambda n: n * STEPS), min_size=1, max_size=5))
    some = st.frozensets(st.sampled_from(range(len(sizes))), max_size=3)
    kernels = draw(st.lists(st.tuples(some, some), min_size=1, max_size=7))
    return Touches(tuple(sizes), tuple(kernels))


def graph_of(case: Touches) -> KernelGraph:
    """One streaming kernel per entry."""
    tensors = TensorBuilder()
    keys = []
    for size in case.sizes:
        storage = tensors.storage(Storage(size=size, role=Role.OPTIMIZER_STATE, output=True))
        keys.append(TensorKey(storage=storage, dtype=DType.INT8, shape=(size,), size=size))
    row = Row(
        name="aten.foreach", module="", phase=Phase.FORWARD, flags=Flag.NONE, dtype=DType.INT8,
        cost=Cost(kind=Kind.POINTWISE),
    )  # fmt: skip
    reads = accesses([[(keys[s], case.sizes[s]) for s in sorted(read)] for read, _ in case.kernels], tensors)
    writes = accesses([[(keys[s], case.sizes[s]) for s in sorted(write)] for _, write in case.kernels], tensors)
    operators = OperatorBuilder([row] * len(case.kernels)).build()
    graph = OperatorGraph(tensors=tensors.build(), operators=operators, reads=reads, writes=writes)
    return eager(Trace(header=TraceHeader(name="touches"), graph=graph))


class ChunkCache:
    """LRU over (storage, chunk), by bytes; remembers which chunks are dirty."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held: OrderedDict[tuple[int, int], tuple[int, bool]] = OrderedDict()
        self.used = 0
        self.written_back = 0

    def touch(self, key: tuple[int, int], size: int, *, write: bool) -> bool:
        """True when the chunk was held; it is the most recent one afterwards."""
        before = self.held.pop(key, None)
        self.used += 0 if before else size
        self.held[key] = (size, write or bool(before and before[1]))
        while self.used > self.capacity:
            _, (gone, dirty) = self.held.popitem(last=False)
            self.used -= gone
            self.written_back += gone * dirty
        return before is not None

    def flush(self) -> None:
        """Write back what is dirty at the end."""
        self.written_back += sum(size for size, dirty in self.held.values() if dirty)


def played(case: Touches, capacity: int) -> tuple[int, int]:
    """Bytes missed by reads and bytes written back."""
    cache, missed = ChunkCache(capacity), 0
    for read, write in case.kernels:
        for step in range(STEPS):
            for storage in sorted(read | write):
                size = case.sizes[storage] // STEPS
                held = cache.touch((storage, step), size, write=storage in write)
                missed += size if storage in read and not held else 0
    cache.flush()
    return missed, cache.written_back


def blur(case: Touches) -> int:
    """Bytes by which cutting into steps may change a reuse distance."""
    return 2 * sum(case.sizes) // STEPS


def profiled(graph: KernelGraph, profile: ReuseProfile, capacity: int) -> tuple[int, int]:
    """Bytes missed by reads and bytes written back, by the formula."""
    missed = int(profile.read_misses(graph.reads.size, capacity).sum())
    return missed, int(profile.write_backs(len(graph), capacity).sum())


@given(touches(), st.integers(1, 4000))
def test_read_misses_equal_those_of_a_chunked_lru_within_its_step(case: Touches, capacity: int) -> None:
    graph = graph_of(case)
    profile = profile_reuse(graph)
    step = len(graph.reads.size) * (2 * max(case.sizes) // STEPS)  # a boundary chunk of every read may fall either way
    missed = profiled(graph, profile, capacity)[0]
    assert played(case, capacity + blur(case))[0] - step <= missed
    assert missed <= played(case, max(1, capacity - blur(case)))[0] + step


@given(touches())
def test_an_infinite_cache_leaves_cold_misses_and_flushed_outputs(case: Touches) -> None:
    graph = graph_of(case)
    profile = profile_reuse(graph)
    missed, written = profiled(graph, profile, LARGEST)
    assert (missed, written) == played(case, LARGEST)
    touched: set[int] = set()
    cold = 0
    for read, write in case.kernels:
        cold += sum(case.sizes[s] for s in read - touched)
        touched |= read | write
    assert missed == cold
    assert written == sum(case.sizes[s] for s in frozenset().union(*(write for _, write in case.kernels)))


@given(touches(), st.integers(1, 4000))
def test_write_back_lies_between_one_flush_and_every_write(case: Touches, capacity: int) -> None:
    graph = graph_of(case)
    written = profiled(graph, profile_reuse(graph), capacity)[1]
    assert profiled(graph, profile_reuse(graph), LARGEST)[1] <= written <= int(graph.writes.size.sum())


@given(touches())
def test_write_back_of_a_cache_too_small_for_anything_is_every_write(case: Touches) -> None:
    graph = graph_of(case)
    assert profiled(graph, profile_reuse(graph), 0)[1] == int(graph.writes.size.sum())


@given(traces(), st.lists(st.integers(0, 20_000), min_size=2, max_size=6))
def test_misses_and_write_back_never_grow_with_capacity(trace: Trace, capacities: list[int]) -> None:
    """The inclusion property of LRU, access by access."""
    graph = eager(trace)
    profile = profile_reuse(graph)
    ordered = sorted(capacities)
    misses = [profile.read_misses(graph.reads.size, capacity) for capacity in ordered]
    written = [profile.write_backs(len(graph), capacity) for capacity in ordered]
    for series in (misses, written):
        assert all(bool(np.all(after <= before)) for before, after in pairwise(series))
    assert all(bool(np.all((miss >= 0) & (miss <= graph.reads.size))) for miss in misses)
