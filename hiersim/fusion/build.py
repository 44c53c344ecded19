"""From a partition to a `KernelGraph`: what each kernel reads and writes outside itself, and how long storages live.

A read is from outside unless everything that it may see was written by the kernel itself. A write leaves the kernel
when another one reads it, when the storage is an output, or when it was there before the first operator. All else
stays in the core.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np

from hiersim.errors import FusionError
from hiersim.fusion.dependences import dependences
from hiersim.fusion.eager import take_operators
from hiersim.fusion.partition import Flow, check_launches, flow, launching, of_groups, ordered
from hiersim.fusion.regions import entries, run_outside
from hiersim.model.kernels import KernelGraph, Launch
from hiersim.model.networks import rows_of
from hiersim.model.operators import PRODUCED, Accesses, Flag, IntArray, Kind, Role, TensorTable
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph, Trace

MOST_NAME = 80
"""Characters of a generated kernel's name."""
KINDS: Final = ("poi", "red")
"""In the name of generated code: whether it reduces."""


def group(trace: Trace, labels: Sequence[int] | IntArray, policy: str) -> KernelGraph:
    """Kernels in which operators with the same label run together: the way to write a fusion policy.

    Parameters
    ----------
    trace : Trace
        Whose operators are grouped.
    labels : (N,) whole numbers
        One per operator of `trace.graph.operators`; those of views and syncs, which launch nothing, do not count.
    policy : str
        Name that results show.

    Raises
    ------
    FusionError
        Not one label per operator; or kernels that span a host sync, or that would wait for each other.

    Examples
    --------
    >>> import hiersim as hs
    >>> trace = hs.load_trace("bert-large-prefill")
    >>> alone = hs.group(trace, range(len(trace.graph.operators)), "alone")
    >>> len(alone) == len(hs.simulate(trace, hs.load_design("tiny")).program)
    True
    """
    given, wanted = np.asarray(labels), len(trace.graph.operators)
    if given.shape != (wanted,) or given.dtype.kind not in "iub":
        found = f"{given.shape[0]}" if given.ndim == 1 and given.dtype.kind in "iub" else f"{given.dtype} {given.shape}"
        raise FusionError(f"'{policy}' has {found} labels for '{trace.name}'", expected=f"{wanted} whole numbers")
    return kernel_graph(trace, of_groups(trace.graph, given.astype(np.int64)), policy)


def kernel_graph(trace: Trace, partition: Partition, policy: str) -> KernelGraph:
    """The kernels of `partition` in launch order.

    Parameters
    ----------
    trace : Trace
        Whose operators are grouped.
    partition : Partition
        Every launching operator in one kernel, copies apart; kernels in any order.
    policy : str
        What `KernelGraph.policy` says.

    Raises
    ------
    FusionError
        When the partition does not cover the trace, spans a host sync or is not convex.
    """
    graph = trace.graph
    links = dependences(graph)
    check_launches(trace)
    partition = run_outside(graph, ordered(graph, partition, links, trace.name))
    through = flow(graph, partition, links, trace.name)
    writes = _writes(graph, partition, through)
    reads = _reads(graph, partition, through, writes)
    operators = take_operators(graph.operators, partition.operators)
    flagged = (operators.flags & Flag.RECOMPUTED) > 0
    kernels = KernelGraph(
        policy=policy,
        tensors=_lifetimes(graph.tensors, reads, writes),
        operators=operators,
        recomputed=(_again(partition) | flagged).astype(np.int64),
        operator_ptr=partition.ptr,
        names=_names(graph, partition),
        launch=np.where(partition.eager == 1, Launch.EAGER, Launch.COMPILED).astype(np.int64),
        host_views=_views(graph, partition, through.owner),
        host_syncs=_syncs(graph, partition),
        reads=reads,
        writes=writes,
        entries=entries(graph, partition),
        release=graph.release,
    )
    kernels.derived(partition_of, partition)
    return kernels


def partition_of(kernels: KernelGraph, made: Partition | None = None) -> Partition | None:
    """The partition that `kernels` were built from: `kernels.derived(partition_of)`; None where there is none."""
    return made


def _again(partition: Partition) -> IntArray:
    """(N,) True where an earlier kernel runs the operator too."""
    _, first = np.unique(partition.operators, return_index=True)
    again = np.ones(len(partition.operators), np.bool_)
    again[first] = False
    return again  # type: ignore[return-value]


def _writes(graph: OperatorGraph, partition: Partition, through: Flow) -> Accesses:
    """What leaves each kernel: of its own operators, not of those that it only computes again."""
    chosen = np.flatnonzero(through.leaves)
    kernel = through.owner[rows_of(graph.writes)[chosen]]
    return _merged(kernel, chosen, graph.writes, graph.tensors, len(partition))


def _reads(graph: OperatorGraph, partition: Partition, through: Flow, writes: Accesses) -> Accesses:
    """What each kernel reads from outside, which a kernel before it wrote or which was there before."""
    table, access = graph.tensors, through.access
    kernel = np.repeat(partition.kernels(), np.diff(through.ptr))
    first = np.full(len(table.storage_bytes), len(partition), np.int64)
    np.minimum.at(first, table.tensor_storage[writes.tensor], rows_of(writes))
    storage = table.tensor_storage[graph.reads.tensor[access]]
    produced = np.isin(table.storage_role[storage], [int(role) for role in PRODUCED])
    chosen = np.flatnonzero(through.outside & (~produced | (first[storage] < kernel)))
    return _merged(kernel[chosen], access[chosen], graph.reads, table, len(partition))


def _merged(kernel: IntArray, access: IntArray, of: Accesses, table: TensorTable, kernels: int) -> Accesses:
    """Accesses as CSR by kernel: each region of a storage once, a whole storage instead of its parts."""
    tensor, size = of.tensor[access], of.size[access]
    storage, offset = table.tensor_storage[tensor], table.tensor_offset[tensor]
    extent = table.tensor_bytes[tensor]
    order = np.lexsort((access, -size, extent, offset, storage, kernel))
    columns = [column[order] for column in (kernel, storage, offset, extent)]
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0) if len(order) > 1 else fresh[1:]
    order = order[fresh]
    whole = size[order] >= table.storage_bytes[storage[order]]
    label = np.unique(kernel[order] * (len(table.storage_bytes) + 1) + storage[order], return_inverse=True)[1]
    covered = np.zeros(len(order) + 1, np.int64)
    covered[label[whole]] = 1
    order = order[(covered[label] == 0) | whole]
    order = order[np.lexsort((access[order], kernel[order]))]
    order = order[_first_of_whole(kernel[order], storage[order], size[order] >= table.storage_bytes[storage[order]])]
    ptr = np.searchsorted(kernel[order], np.arange(kernels + 1)).astype(np.int64)
    return Accesses(ptr=ptr, tensor=tensor[order], size=size[order])


def _first_of_whole(kernel: IntArray, storage: IntArray, whole: IntArray) -> IntArray:
    """True for all but the second and later accesses that cover the same whole storage (seen in other shapes)."""
    keep = np.ones(len(kernel), np.bool_)
    rows = np.flatnonzero(whole)
    key = kernel[rows] * (int(storage.max(initial=0)) + 1) + storage[rows]
    keep[rows] = False
    keep[rows[np.unique(key, return_index=True)[1]]] = True
    return keep  # type: ignore[return-value]


def _lifetimes(table: TensorTable, reads: Accesses, writes: Accesses) -> TensorTable:
    """Activations live until their last kernel; other storages as the trace says."""
    last = np.zeros(len(table.storage_bytes), np.int64)
    for access in (reads, writes):
        rows = np.repeat(np.arange(len(access.ptr) - 1), np.diff(access.ptr))
        np.maximum.at(last, table.tensor_storage[access.tensor], rows)
    transient = (table.storage_role == Role.ACTIVATION) & (table.storage_output == 0)
    free = np.where(transient | (table.storage_free >= 0), last, -1)
    return dataclasses.replace(table, storage_free=free)


def _names(graph: OperatorGraph, partition: Partition) -> tuple[str, ...]:
    """A library call or single operator by its own name; generated code by what it fuses, numbered."""
    labels = graph.operators.strings
    short = [text.partition(".")[2].partition(".")[0] or text for text in labels]
    name, reduces = graph.operators.name[partition.operators], graph.operators.kind == Kind.REDUCTION
    names = [labels[at] for at in name[partition.ptr[:-1]].tolist()]
    kind = np.maximum.reduceat(reduces[partition.operators].astype(np.int64), partition.ptr[:-1]).tolist()
    ptr, words = partition.ptr.tolist(), name.tolist()
    known: dict[tuple[int, ...], str] = {}
    for number, kernel in enumerate(np.flatnonzero(partition.generated).tolist()):
        inside = (kind[kernel], *words[ptr[kernel] : ptr[kernel + 1]])
        if inside not in known:
            text = "_".join(sorted({short[at] for at in inside[1:]}))
            known[inside] = f"{f'fused_{KINDS[inside[0]]}_{text}':.{MOST_NAME}}".rstrip("_")
        names[kernel] = f"{known[inside]}_{number}"
    return tuple(names)


def _views(graph: OperatorGraph, partition: Partition, owner: IntArray) -> IntArray:
    """(K,) views that the host dispatches before an eager kernel; compiled code has none."""
    views = np.zeros(len(partition), np.int64)
    rows = launching(graph)
    seen = np.flatnonzero(graph.operators.kind == Kind.VIEW)
    following = np.searchsorted(rows, seen)
    kernel = owner[rows[following[following < len(rows)]]]
    np.add.at(views, kernel, 1)
    return np.where(partition.eager == 1, views, 0)


def _syncs(graph: OperatorGraph, partition: Partition) -> IntArray:
    """(K,) 1 for the first kernel after each host sync."""
    stretch = np.cumsum(graph.operators.kind == Kind.SYNC)[partition.operators[partition.ptr[:-1]]]
    before = np.concatenate([[0], stretch[:-1]])
    return (stretch > before).astype(np.int64)
