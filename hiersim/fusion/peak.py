"""A policy's kernels under a guard: as few of them are taken apart as keep the peak memory of eager mode.

Fusion lengthens lives: a kernel holds all that it reads and writes at once, and what is computed again later needs its
operands until then. The guard looks where memory is fullest, and takes apart the fused kernels that are the last to use
something which lives there, until no kernel holds more than eager mode does at its fullest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

import numpy as np

from hiersim.errors import FusionError
from hiersim.fusion.build import kernel_graph, partition_of
from hiersim.fusion.halos import windows_of
from hiersim.fusion.windows import Plan
from hiersim.model.kernels import KernelGraph
from hiersim.model.networks import rows_of
from hiersim.model.operators import BoolArray, IntArray
from hiersim.model.partition import Partition
from hiersim.model.trace import Trace

KEPT: Final = ", peak kept"
Occupancy = Callable[[KernelGraph], IntArray]
"""(K,) bytes that are held while each kernel runs."""


def keep_peak(trace: Trace, kernels: KernelGraph, plain: KernelGraph, occupancy: Occupancy) -> KernelGraph:
    """`kernels`, taken apart as far as they would hold more than `plain` at their fullest.

    Parameters
    ----------
    trace : Trace
        Whose operators are grouped.
    kernels : KernelGraph
        What a policy made of it.
    plain : KernelGraph
        The same in eager mode.
    occupancy : callable
        Bytes that are held while each kernel of a graph runs.

    Raises
    ------
    FusionError
        When they hold more and cannot be taken apart: captured schedules and recognised attention.
    """
    most, asked = int(occupancy(plain).max(initial=0)), _asked(plain)
    policy, partition = f"{kernels.policy}{KEPT}", kernels.derived(partition_of)
    found = kernels
    while int(occupancy(found).max(initial=0)) > most or (partition is not None and _asked(found) > asked):
        if partition is None:
            raise FusionError(
                f"'{kernels.policy}' of trace '{trace.name}' holds {int(occupancy(found).max()) - most} bytes more "
                "than eager mode at its fullest, and its kernels cannot be taken apart",
                expected="a policy that groups the trace's own operators, such as inductor-rules",
            )
        chosen = _to_blame(found, partition, occupancy(found))
        partition = _taken_apart(partition, chosen)
        found, partition = _built(trace, partition, policy)
    marked = dataclasses.replace(found, policy=policy)
    marked.derived(windows_of, _windows_left(kernels, partition))
    if partition is not None:
        marked.derived(partition_of, partition)
    return marked


def _windows_left(kernels: KernelGraph, partition: Partition | None) -> tuple[Plan | None, ...]:
    """How the kernels of `partition` go window by window: as before, where they were not taken apart."""
    plans, before = kernels.derived(windows_of), kernels.derived(partition_of)
    if not plans or partition is None or before is None:
        return plans
    kept = {_rows(before, number): plan for number, plan in enumerate(plans) if plan is not None}
    return tuple(kept.get(_rows(partition, number)) for number in range(len(partition)))


def _rows(partition: Partition, kernel: int) -> tuple[int, ...]:
    return tuple(partition.operators[partition.ptr[kernel] : partition.ptr[kernel + 1]].tolist())


def _asked(graph: KernelGraph) -> int:
    return int(graph.reads.size.sum() + graph.writes.size.sum())


def _built(trace: Trace, partition: Partition, policy: str) -> tuple[KernelGraph, Partition]:
    """The kernels of a partition in launch order; all alone where those that are left would wait for each other."""
    try:
        made = kernel_graph(trace, partition, policy)
    except FusionError:
        made = kernel_graph(trace, _taken_apart(partition, np.ones(len(partition), np.bool_)), policy)
    ordered = made.derived(partition_of)
    assert ordered is not None
    return made, ordered


def _to_blame(graph: KernelGraph, partition: Partition, held: IntArray) -> BoolArray:
    """(K,) true for fused kernels to take apart: the fullest one, and the last users of what lives there.

    Where there are none, all that touch what lives there; and where there are none of these either, all.
    """
    full, fused = int(held.argmax()), np.diff(partition.ptr) > 1
    kernels = np.arange(len(graph))
    first, last = np.full(len(graph.tensors.storage_bytes), len(graph)), graph.tensors.storage_free.copy()
    last[last < 0] = -1  # to the end, whoever uses it
    touched = [(graph.tensors.tensor_storage[access.tensor], rows_of(access)) for access in (graph.reads, graph.writes)]
    for storage, row in touched:
        np.minimum.at(first, storage, row)
    alive = (first <= full) & (last >= full)
    ends, touches = np.zeros(len(graph), np.bool_), np.zeros(len(graph), np.bool_)
    ends[last[alive]] = True
    for storage, row in touched:
        touches[row[alive[storage]]] = True
    for chosen in ((kernels == full) | ends, touches, np.ones(len(graph), np.bool_)):
        if bool(np.any(chosen & fused)):
            return chosen & fused
    return fused


def _taken_apart(partition: Partition, chosen: BoolArray) -> Partition:
    """The partition with each operator of the chosen kernels alone, and nothing in them computed again.

    What those computed again is then made by its own kernel alone, which is taken apart as well, so that none waits.
    """
    kernel = partition.kernels()
    again = partition.operators[chosen[kernel] & (partition.copy == 1)]
    chosen = chosen.copy()
    chosen[kernel[np.isin(partition.operators, again) & (partition.copy == 0)]] = True
    chosen &= np.diff(partition.ptr) > 1
    kept = ~(chosen[kernel] & (partition.copy == 1))
    alone = chosen[kernel][kept]
    rows, of = partition.operators[kept], kernel[kept]
    begins = np.ones(len(rows), np.bool_)
    begins[1:] = (of[1:] != of[:-1]) | alone[1:]
    starts = np.flatnonzero(begins)
    return Partition(
        ptr=np.append(starts, len(rows)).astype(np.int64),
        operators=rows,
        copy=partition.copy[kept],
        generated=np.where(alone[starts], 0, partition.generated[of[starts]]).astype(np.int64),
        eager=partition.eager[of[starts]],
    )
