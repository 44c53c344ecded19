"""Compiled regions of a trace in fusion: nothing is fused across a graph break, and entering a region costs the host.

What lies between two regions runs eagerly, operator by operator. A region is entered once per call, before its first
kernel; policies whose kernels are all launched by the framework enter none.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from hiersim.model.kernels import Entries
from hiersim.model.operators import IntArray, Kind
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph


def segments(graph: OperatorGraph) -> IntArray:
    """(N,) the stretch that each operator is in, from 0: operators of two stretches never share a kernel.

    A stretch ends at a host sync and where a compiled region begins or ends; each operator outside of all is alone.
    """
    begins = graph.operators.kind == Kind.SYNC
    if graph.regions is not None:
        begins |= outside(graph)
        begins[graph.regions.first] = True
    return np.cumsum(begins)


def outside(graph: OperatorGraph) -> IntArray:
    """(N,) 1 for operators that run eagerly between compiled regions; 0 everywhere where a trace has no regions."""
    count = len(graph.operators)
    found = np.zeros(count, np.bool_)
    if graph.regions is not None:
        found = graph.regions.of_operators(count) < 0
    return found  # type: ignore[return-value]


def run_outside(graph: OperatorGraph, partition: Partition) -> Partition:
    """`partition` with the kernels outside of regions launched by the framework."""
    if graph.regions is None or not len(partition):
        return partition
    chosen = outside(graph)[partition.operators[partition.ptr[:-1]]]
    return dataclasses.replace(
        partition,
        eager=np.where(chosen, 1, partition.eager).astype(np.int64),
        generated=np.where(chosen, 0, partition.generated).astype(np.int64),
    )


def entries(graph: OperatorGraph, partition: Partition) -> Entries | None:
    """What the host does before each kernel of a partition in launch order; None where no region is entered."""
    regions = graph.regions
    if regions is None:
        return None
    compiled = np.flatnonzero(partition.eager == 0)
    call = regions.of_operators(len(graph.operators))[partition.operators[partition.ptr[:-1]]][compiled]
    entered, first = np.unique(call[call >= 0], return_index=True)
    if not len(entered):
        return None
    kernel = compiled[np.flatnonzero(call >= 0)[first]]
    columns = {
        "calls": np.ones(len(regions), np.int64),
        "guards": regions.guards,
        "recompiled": regions.recompiled,
        "traced": regions.recompiled * (regions.last - regions.first + 1),
    }
    found = {name: np.zeros(len(partition), np.int64) for name in columns}
    for name, column in columns.items():
        found[name][kernel] = column[entered]
    return Entries(**found)
