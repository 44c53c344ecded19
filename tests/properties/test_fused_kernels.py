"""Kernels of several operators, as compilers make them, keep the laws of lowering."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hiersim.frontends.integrity import check_trace
from hiersim.fusion.eager import eager
from hiersim.lowering.lower import lower
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph, Launch
from hiersim.model.operators import Accesses
from hiersim.model.trace import Trace
from hiersim.run import replay
from hiersim.testing.strategies import designs, traces


def fused(graph: KernelGraph, cuts: list[bool]) -> KernelGraph:
    """Neighbouring kernels of `graph` in one, except where there is a cut."""
    starts = [kernel for kernel in range(len(graph)) if kernel == 0 or cuts[kernel % len(cuts)]]
    edges = np.array([*starts, len(graph)], np.int64)
    kernel_of = np.searchsorted(edges, np.arange(len(graph)), side="right") - 1
    free = graph.tensors.storage_free
    return dataclasses.replace(
        graph,
        policy="fused (test)",
        tensors=dataclasses.replace(graph.tensors, storage_free=np.where(free < 0, -1, kernel_of[np.maximum(free, 0)])),
        operator_ptr=graph.operator_ptr[edges],
        names=tuple(graph.names[start] for start in starts),
        launch=np.full(len(starts), Launch.COMPILED, np.int64),
        host_views=np.add.reduceat(graph.host_views, starts),
        host_syncs=graph.host_syncs[starts],
        reads=outside_reads(graph, edges),
        writes=Accesses(ptr=graph.writes.ptr[edges], tensor=graph.writes.tensor, size=graph.writes.size),
    )


def outside_reads(graph: KernelGraph, edges: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Accesses:
    """Reads of storages that the same fused kernel has not written before."""
    storage = graph.tensors.tensor_storage
    ptr, kept = [0], []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        written: set[int] = set()
        for kernel in range(low, high):
            reads = range(int(graph.reads.ptr[kernel]), int(graph.reads.ptr[kernel + 1]))
            kept += [index for index in reads if int(storage[graph.reads.tensor[index]]) not in written]
            writes = graph.writes.tensor[graph.writes.ptr[kernel] : graph.writes.ptr[kernel + 1]]
            written |= {int(storage[tensor]) for tensor in writes}
        ptr.append(len(kept))
    index = np.array(kept, np.int64)
    return Accesses(ptr=np.array(ptr, np.int64), tensor=graph.reads.tensor[index], size=graph.reads.size[index])


CUTS = st.lists(st.booleans(), min_size=1, max_size=6)


@given(traces(max_operators=8), designs(), CUTS)
def test_fused_kernels_pass_the_audit_and_beat_no_bound(trace: Trace, design: Design, cuts: list[bool]) -> None:
    graph = fused(eager(trace), cuts)
    check_trace(Trace(header=trace.header, graph=trace.graph, schedules={"test": graph}))
    result = replay(trace, graph, design, keep_log=True)  # the audit of every stage is part of it
    assert result.makespan >= result.bounds.ticks


@given(traces(max_operators=8), designs(), CUTS)
def test_fusion_keeps_the_flops_and_asks_for_no_more_bytes(trace: Trace, design: Design, cuts: list[bool]) -> None:
    plain = eager(trace)
    graph = fused(plain, cuts)
    assert lower(graph, design).flops == lower(plain, design).flops
    assert graph.reads.size.sum() <= plain.reads.size.sum()
