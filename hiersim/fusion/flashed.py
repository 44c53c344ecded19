"""A graph whose written-out attention is one operator a pass, so that a search may go on from there."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiersim.fusion.attention import attention
from hiersim.fusion.eager import take_operators
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Accesses, Flag, IntArray, Kind, OperatorTable
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph, Trace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flashed:
    """The kernels of `attention` as the operators of a graph."""

    trace: Trace
    kernels: KernelGraph
    kernel: IntArray
    """(N,) the kernel that each operator of `trace` stands for; -1 for host syncs."""

    def searched(self) -> OperatorGraph:
        """The graph as a search shall see it: nothing is fused into recognised attention."""
        table = self.trace.graph.operators
        kind = np.where(table.kind == Kind.FLASH, int(Kind.OPAQUE), table.kind)
        return dataclasses.replace(self.trace.graph, operators=dataclasses.replace(table, kind=kind))

    def unfolded(self, made: KernelGraph, partition: Partition) -> KernelGraph:
        """`made` of `trace` with what a backward pass computes again as an operator of its own, as `attention` has it.

        `partition` is that of `made`, which has one for `trace` alone: it is none of the operators as they are written.
        """
        ptr, first = self.kernels.operator_ptr, made.operator_ptr[:-1]
        of = self.kernel[partition.operators[partition.ptr[:-1]]]
        twice = np.flatnonzero((made.operators.kind[first] == Kind.FLASH) & (np.diff(ptr)[of] > 1))
        own, again = np.arange(len(made.operators)), ptr[of[twice]]
        index = np.insert(own, first[twice], len(own) + np.arange(len(twice)))
        counts = np.diff(made.operator_ptr)
        counts[twice] += 1
        table = _stacked(made.operators, take_operators(self.kernels.operators, again))
        return dataclasses.replace(
            made,
            operators=take_operators(table, index),
            recomputed=np.append(made.recomputed, np.ones(len(twice), np.int64))[index],
            operator_ptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        )


def flashed(trace: Trace, design: Design) -> Flashed | None:
    """`trace` with its written-out attention recognised; None where there is none, or regions cut the trace."""
    if trace.graph.regions is not None:
        return None
    kernels = attention(trace, design)
    if not bool(np.any(kernels.operators.kind[kernels.operator_ptr[1:] - 1] == Kind.FLASH)):
        return None
    syncs = np.flatnonzero(kernels.host_syncs)
    kernel = np.insert(np.arange(len(kernels)), syncs, -1)
    rows = kernels.operator_ptr[1:][np.maximum(kernel, 0)] - 1  # the last operator: of two, the pass itself
    table = take_operators(kernels.operators, rows)
    table = dataclasses.replace(
        table,
        kind=np.where(kernel < 0, int(Kind.SYNC), table.kind),
        flags=np.where(kernels.recomputed[rows] == 1, table.flags | int(Flag.RECOMPUTED), table.flags),
    )
    reads, writes = (_spread(access, kernel) for access in (kernels.reads, kernels.writes))
    free = kernels.tensors.storage_free
    place = np.flatnonzero(kernel >= 0)
    tensors = dataclasses.replace(kernels.tensors, storage_free=np.where(free < 0, -1, place[np.maximum(free, 0)]))
    graph = OperatorGraph(tensors=tensors, operators=table, reads=reads, writes=writes)
    return Flashed(trace=Trace(header=trace.header, graph=graph), kernels=kernels, kernel=kernel)


def _spread(access: Accesses, kernel: IntArray) -> Accesses:
    """Accesses by kernel as accesses by operator; a sync has none."""
    counts = np.where(kernel < 0, 0, np.diff(access.ptr)[np.maximum(kernel, 0)])
    return dataclasses.replace(access, ptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def _stacked(one: OperatorTable, other: OperatorTable) -> OperatorTable:
    """The rows of both tables, which share their texts."""
    columns: dict[str, Any] = {
        item.name: np.concatenate([getattr(one, item.name), getattr(other, item.name)])
        for item in dataclasses.fields(one)
        if item.name not in ("strings", "dims_ptr")
    }
    return dataclasses.replace(one, dims_ptr=np.append(one.dims_ptr, one.dims_ptr[-1] + other.dims_ptr[1:]), **columns)
