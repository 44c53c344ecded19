"""Random `KernelGraph`s of streaming kernels that touch whole storages: what a cache model can be played against."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from hiersim.frontends.aten.call import Cost
from hiersim.frontends.tables import OperatorBuilder, Row, Storage, TensorBuilder, TensorKey, accesses
from hiersim.fusion.eager import eager
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import DType, Flag, Kind, Phase, Role
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader

GRAIN = 40
"""Sizes of storages are multiples of this many bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """Which whole storages one kernel reads and writes."""

    reads: frozenset[int]
    writes: frozenset[int]


def streaming_graph(storages: Sequence[Storage], touches: Sequence[Touch]) -> KernelGraph:
    """One streaming kernel per touch; `Storage.free` counts kernels."""
    tensors = TensorBuilder()
    keys = []
    for item in storages:
        storage = tensors.storage(item)
        keys.append(TensorKey(storage=storage, dtype=DType.INT8, shape=(item.size,), size=item.size))
    row = Row(
        name="aten.stream", module="", phase=Phase.FORWARD, flags=Flag.NONE, dtype=DType.INT8,
        cost=Cost(kind=Kind.POINTWISE),
    )  # fmt: skip

    def listed(chosen: Collection[int]) -> list[tuple[TensorKey, int]]:
        return [(keys[storage], storages[storage].size) for storage in sorted(chosen)]

    reads = accesses([listed(touch.reads) for touch in touches], tensors)
    writes = accesses([listed(touch.writes) for touch in touches], tensors)
    operators = OperatorBuilder([row] * len(touches)).build()
    graph = OperatorGraph(tensors=tensors.build(), operators=operators, reads=reads, writes=writes)
    return eager(Trace(header=TraceHeader(name="streams"), graph=graph))


@st.composite
def streaming_graphs(draw: st.DrawFn, max_storages: int = 5, max_kernels: int = 7) -> KernelGraph:
    """Kernels over storages that are there from the start, some of them outputs."""
    size, output = st.integers(1, 30).map(lambda count: count * GRAIN), st.booleans()
    drawn = draw(st.lists(st.tuples(size, output), min_size=1, max_size=max_storages))
    storages = [Storage(size=size, role=Role.OPTIMIZER_STATE, output=output) for size, output in drawn]
    some = st.frozensets(st.sampled_from(range(len(storages))), max_size=3)
    touch = st.builds(Touch, reads=some, writes=some)
    return streaming_graph(storages, draw(st.lists(touch, min_size=1, max_size=max_kernels)))
