"""Eager: one kernel per operator. Views and host syncs launch nothing but cost the host."""

from __future__ import annotations

import dataclasses

import numpy as np

from hiersim.errors import TraceError
from hiersim.fusion.marks import of_trace_alone
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph, Launch
from hiersim.model.operators import HOST_ONLY, Accesses, Flag, IntArray, Kind, OperatorTable, gather
from hiersim.model.trace import OperatorGraph, Trace


@of_trace_alone
def eager(trace: Trace, design: Design | None = None) -> KernelGraph:
    """One kernel per operator that launches something.

    Raises
    ------
    TraceError
        When nothing does.
    """
    if not bool(np.any(~np.isin(trace.graph.operators.kind, HOST_ONLY))):
        raise TraceError(
            f"trace '{trace.name}' launches nothing: all operators are views or syncs",
            expected="at least one operator of another kind",
        )
    return kernels_of(trace.graph, "eager")


def kernels_of(graph: OperatorGraph, policy: str) -> KernelGraph:
    """`graph` with one kernel per launching operator."""
    kind = graph.operators.kind
    launches = ~np.isin(kind, [int(k) for k in HOST_ONLY])
    rows = np.flatnonzero(launches)
    kernel_of = np.cumsum(launches) - 1  # the kernel of a launching row; else the one before
    kernels = len(rows)
    views, syncs = np.zeros(kernels, np.int64), np.zeros(kernels, np.int64)
    before = kernel_of + 1  # the kernel that the host work precedes
    for column, wanted in ((views, Kind.VIEW), (syncs, Kind.SYNC)):
        chosen = (kind == wanted) & (before < kernels)
        np.add.at(column, before[chosen], 1)
    free = graph.tensors.storage_free
    last_kernel = np.maximum(kernel_of[np.maximum(free, 0)], 0)
    tensors = dataclasses.replace(graph.tensors, storage_free=np.where(free < 0, -1, last_kernel))
    operators = take_operators(graph.operators, rows)
    return KernelGraph(
        policy=policy,
        tensors=tensors,
        operators=operators,
        recomputed=((operators.flags & Flag.RECOMPUTED) > 0).astype(np.int64),
        operator_ptr=np.arange(kernels + 1, dtype=np.int64),
        names=tuple(map(operators.strings.__getitem__, operators.name.tolist())),
        launch=np.full(kernels, Launch.EAGER, np.int64),
        host_views=views,
        host_syncs=np.minimum(syncs, 1),
        reads=take_rows(graph.reads, rows),
        writes=take_rows(graph.writes, rows),
        release=graph.release,
    )


def take_operators(table: OperatorTable, rows: IntArray) -> OperatorTable:
    """The table's `rows`, in that order."""
    ptr, values = gather(table.dims_ptr, rows, table.dims)
    plain = (
        "name", "module", "kind", "phase", "flags", "dtype",
        "matrix_flops", "masked_flops", "vector_flops", "special_ops",
    )  # fmt: skip
    columns = {name: getattr(table, name)[rows] for name in plain}
    return OperatorTable(strings=table.strings, dims_ptr=ptr, dims=values, **columns)


def take_rows(access: Accesses, rows: IntArray) -> Accesses:
    """The access lists of `rows`, in that order."""
    ptr, tensor = gather(access.ptr, rows, access.tensor)
    return Accesses(ptr=ptr, tensor=tensor, size=gather(access.ptr, rows, access.size)[1])
