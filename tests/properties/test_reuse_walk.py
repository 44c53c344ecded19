"""The flat, compiled walk gives the profile of its plain definition, in every field; interpreted as well."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interpreted import interpreted_together
from plain_residency import PlainProfiler

from hiersim import bundled
from hiersim.errors import FusionError
from hiersim.frontends.aten.call import Cost
from hiersim.frontends.load import load_trace
from hiersim.frontends.tables import OperatorBuilder, Row, Storage, TensorBuilder, TensorKey, accesses
from hiersim.fusion.eager import eager
from hiersim.fusion.registry import policy
from hiersim.lowering.pieces import cut, numbered
from hiersim.lowering.residency import ReuseProfile, profile_reuse
from hiersim.lowering.reuse import Walk
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import DType, Flag, Kind, Phase, Role
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader
from hiersim.testing.strategies import traces

INTERPRETED = interpreted_together("hiersim.lowering.dirty", "hiersim.lowering.reuse")


def assert_equal(graph: KernelGraph) -> None:
    """Of the pieces that views make of storages, or of whole storages where they make none."""
    pieces = cut(graph)
    walked, kind = (pieces.graph, pieces.kind) if pieces else (graph, numbered(graph.tensors.storage_bytes))
    plain, flush = PlainProfiler(walked, kind).run(), walked.tensors.storage_output == 1
    profiles = [ReuseProfile(**walk(walked, kind).run(flush)) for walk in (Walk, INTERPRETED.Walk)]
    for profile in [*profiles, *([] if pieces else [profile_reuse(graph)])]:
        for item in dataclasses.fields(ReuseProfile):
            found, wanted = getattr(profile, item.name), getattr(plain, item.name)
            assert found.dtype == wanted.dtype == np.int64
            assert np.array_equal(found, wanted), item.name


@pytest.mark.parametrize("fusion", ["eager", "inductor"])
@pytest.mark.parametrize("name", sorted(bundled.traces()))
def test_bundled_traces_have_the_plain_profile(name: str, fusion: str) -> None:
    trace = load_trace(name)
    assert_equal(policy(fusion)(trace, None))  # type: ignore[arg-type]


@given(traces(max_operators=14))
def test_random_traces_have_the_plain_profile(trace: Trace) -> None:
    assert_equal(eager(trace))


@st.composite
def streams(draw: st.DrawFn) -> KernelGraph:
    """Kernels that read and write parts of a few storages over and over, some of them freed; sizes up to 2^55."""
    unit = draw(st.sampled_from((1, 64, 2**30, 2**50)))
    tensors = TensorBuilder()
    storages = [
        tensors.storage(Storage(size=unit * draw(st.sampled_from((4, 4, 8))), role=role, output=draw(st.booleans())))
        for role in draw(
            st.lists(st.sampled_from((Role.ACTIVATION, Role.WEIGHT, Role.KV_CACHE)), min_size=1, max_size=6)
        )
    ]
    keys = [
        TensorKey(storage=storage, dtype=DType.INT8, shape=(size * unit,), size=size * unit)
        for storage in storages
        for size in (1, 2, 4)
    ]
    some = st.lists(st.tuples(st.sampled_from(keys), st.integers(0, 2**62)), max_size=5)
    rows = draw(st.lists(st.tuples(some, some), min_size=1, max_size=12))
    for storage in tensors.storages:
        if not storage.output:
            storage.free = draw(st.integers(-1, len(rows) - 1))
    row = Row(name="x", module="", phase=Phase.FORWARD, flags=Flag.NONE, dtype=DType.INT8, cost=Cost(kind=Kind.COPY))
    lists = [accesses([[(key, size % (key.size + 1)) for key, size in part[side]] for part in rows], tensors)
             for side in (0, 1)]  # fmt: skip
    table = OperatorBuilder([row] * len(rows)).build()
    graph = OperatorGraph(tensors=tensors.build(), operators=table, reads=lists[0], writes=lists[1])
    return eager(Trace(header=TraceHeader(name="streams"), graph=graph))


@given(streams())
def test_streams_over_shared_and_freed_storages_have_the_plain_profile(graph: KernelGraph) -> None:
    assert_equal(graph)


def chain(kernels: int) -> KernelGraph:
    """Each kernel reads the weight of its own and the result of the one before, which is then freed."""
    tensors = TensorBuilder()
    row = Row(name="x", module="", phase=Phase.FORWARD, flags=Flag.NONE, dtype=DType.INT8, cost=Cost(kind=Kind.COPY))
    reads, writes, before = [], [], None
    for kernel in range(kernels):
        weight = tensors.storage(Storage(size=4096, role=Role.WEIGHT))
        made = tensors.storage(Storage(size=1024, free=kernel + 1 if kernel + 1 < kernels else -1))
        key = TensorKey(storage=weight, dtype=DType.INT8, shape=(4096,), size=4096)
        result = TensorKey(storage=made, dtype=DType.INT8, shape=(1024,), size=1024)
        reads.append([(key, 4096), *([(before, 1024)] if before else [])])
        writes.append([(result, 1024)])
        before = result
    read, write = accesses(reads, tensors), accesses(writes, tensors)
    table = OperatorBuilder([row] * kernels).build()
    graph = OperatorGraph(tensors=tensors.build(), operators=table, reads=read, writes=write)
    return eager(Trace(header=TraceHeader(name="chain"), graph=graph))


def test_memory_grows_with_the_trace_and_no_faster() -> None:
    peaks = []
    for kernels in (1000, 4000):
        graph = chain(kernels)
        tracemalloc.start()
        profile_reuse(graph)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 4.4 * peaks[0]


BROKEN = {
    "tensors.tensor_storage": lambda graph: {"tensors": dataclasses.replace(
        graph.tensors, tensor_storage=graph.tensors.tensor_storage + 10**6)},
    "tensors.storage_free": lambda graph: {"tensors": dataclasses.replace(
        graph.tensors, storage_free=graph.tensors.storage_free + 10**6)},
    "reads.tensor": lambda graph: {"reads": dataclasses.replace(graph.reads, tensor=-1 - graph.reads.tensor)},
    "writes are not a list": lambda graph: {"writes": dataclasses.replace(graph.writes, ptr=graph.writes.ptr[::-1])},
    "reads.size": lambda graph: {"reads": dataclasses.replace(graph.reads, size=graph.reads.size - 2**40)},
    "2^62": lambda graph: {"reads": dataclasses.replace(graph.reads, size=graph.reads.size + 2**61)},
}  # fmt: skip


@pytest.mark.parametrize("place", list(BROKEN))
def test_a_broken_graph_of_a_plug_in_is_refused_before_it_is_walked(place: str) -> None:
    graph = chain(5)
    with pytest.raises(FusionError, match=place.replace("^", r"\^")):
        profile_reuse(dataclasses.replace(graph, **BROKEN[place](graph)))
