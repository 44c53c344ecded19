"""A partition of operators into kernels, in the order in which they can be launched.

Policies decide what belongs together; everything else follows from the partition and is made here and in `build`.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from hiersim.errors import FusionError
from hiersim.fusion.dependences import Dependences
from hiersim.fusion.patterns import distinct
from hiersim.fusion.regions import segments
from hiersim.model.networks import rows_of
from hiersim.model.operators import HOST_ONLY, PRODUCED, BoolArray, IntArray, gather
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph, Trace


def launching(graph: OperatorGraph) -> IntArray:
    """(M,) the operators that launch something, in issue order."""
    return np.flatnonzero(~np.isin(graph.operators.kind, [int(kind) for kind in HOST_ONLY]))


def check_launches(trace: Trace) -> None:
    """Raise a `FusionError` where nothing is launched."""
    if not len(launching(trace.graph)):
        raise FusionError(f"trace '{trace.name}' launches nothing", expected="at least one operator that does")


def of_groups(graph: OperatorGraph, group: IntArray, generated: IntArray | None = None) -> Partition:
    """The partition in which operators of equal `group` share a kernel.

    Parameters
    ----------
    graph : OperatorGraph
        The N eager operators.
    group : IntArray
        (N,) any numbers; those of views and syncs do not count.
    generated : IntArray, optional
        (N,) 1 where the kernel of the operator is generated code; by default all kernels of two operators or more.
    """
    rows = launching(graph)
    _, first, label = np.unique(group[rows], return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))  # groups by first operator
    label = rank[label]
    order = np.argsort(label, kind="stable")
    sizes = np.bincount(label, minlength=len(first))
    ptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    operators = rows[order]
    several = (sizes > 1).astype(np.int64)
    made = several if generated is None or not len(ptr) else np.maximum.reduceat(generated[operators], ptr[:-1])
    return Partition(
        ptr=ptr,
        operators=operators,
        copy=np.zeros(len(operators), np.int64),
        generated=made,
        eager=np.zeros(len(sizes), np.int64),
    )


def joined(partition: Partition, group: IntArray) -> Partition:
    """The kernels of equal `group` as one; an operator that several of them compute is computed once."""
    count = int(partition.operators.max(initial=0)) + 1
    _, label = np.unique(group, return_inverse=True)
    row = label[partition.kernels()] * count + partition.operators
    rows = distinct(row)
    copy = np.ones(len(rows), np.int64)
    np.minimum.at(copy, np.searchsorted(rows, row), partition.copy)
    kernels = int(label.max(initial=-1)) + 1
    alone = np.unique(label, return_index=True)[1]
    return Partition(
        ptr=np.searchsorted(rows // count, np.arange(kernels + 1)).astype(np.int64),
        operators=rows % count,
        copy=copy,
        generated=partition.generated[alone],
        eager=partition.eager[alone],
    )


def owners(graph: OperatorGraph, partition: Partition, name: str) -> IntArray:
    """(N,) the kernel that computes each operator for others; -1 for those that launch nothing.

    Raises
    ------
    FusionError
        When an operator has no kernel or more than one, or a view or sync has one.
    """
    count = len(graph.operators)
    own = partition.copy == 0
    times = np.bincount(partition.operators[own], minlength=count)
    wanted = np.zeros(count, np.int64)
    wanted[launching(graph)] = 1
    bad = np.flatnonzero(times != wanted)
    if len(bad):
        row = int(bad[0])
        raise FusionError(
            f"operator {row} '{graph.operators.label(row)}' of trace '{name}' is in {times[row]} kernels",
            expected=f"{wanted[row]}",
        )
    found = np.full(count, -1, np.int64)
    found[partition.operators[own]] = partition.kernels()[own]
    return found


def contains(partition: Partition, kernel: IntArray, operator: IntArray, count: int) -> BoolArray:
    """True where `operator` has a row in `kernel`; arrays of equal length, `count` operators in the trace."""
    known = distinct(partition.kernels() * count + partition.operators)
    asked = kernel * count + operator
    at = np.minimum(np.searchsorted(known, asked), max(len(known) - 1, 0))
    return known[at] == asked if len(known) else np.zeros(len(asked), np.bool_)


def instances(partition: Partition, operator: IntArray, count: int) -> tuple[IntArray, IntArray]:
    """For each entry of `operator` all its rows in the partition: (index into `operator`, row)."""
    order = np.argsort(partition.operators, kind="stable")
    ptr = np.searchsorted(partition.operators[order], np.arange(count + 1)).astype(np.int64)
    new, place = gather(ptr, operator, order)
    return np.repeat(np.arange(len(operator)), np.diff(new)), place


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flow:
    """What passes through memory between the kernels of a partition."""

    owner: IntArray
    """(N,) the kernel that computes each operator for others; -1 for those that launch nothing."""
    leaves: BoolArray
    """(W,) whether a write of the graph reaches memory."""
    ptr: IntArray
    """CSR (N + 1,): reads of each row of the partition."""
    access: IntArray
    """Index of each of them in `graph.reads`."""
    outside: BoolArray
    """Whether each of them is from memory."""


def flow(graph: OperatorGraph, partition: Partition, links: Dependences, name: str) -> Flow:
    """Which reads and writes of a partition go through memory.

    A read is from outside unless the kernel itself made all that it may see. A write leaves its kernel when another
    one reads it, when it is an output, when the storage was there before the first operator, or when a library call
    makes it.
    """
    count, table = len(graph.operators), graph.tensors
    owner = owners(graph, partition, name)
    kernels = partition.kernels()
    which, row = instances(partition, links.target, count)
    beyond = ~contains(partition, kernels[row], links.source[which], count)
    leaves = links.kept == 1
    leaves[links.write[which[beyond]]] = True
    storage = table.tensor_storage[graph.writes.tensor]
    leaves |= _unread_overwrites(links, storage)
    produced = np.isin(table.storage_role[storage], [int(role) for role in PRODUCED])
    leaves |= ~produced | (table.storage_output[storage] == 1)
    writer = owner[rows_of(graph.writes)]
    leaves |= partition.generated[writer] == 0
    leaves &= writer >= 0
    _let_later_writes_out(leaves, writer * (len(table.storage_bytes) + 1) + storage)
    ptr, access = gather(graph.reads.ptr, partition.operators, np.arange(len(graph.reads.tensor)))
    edge_ptr = np.searchsorted(links.access, np.arange(len(graph.reads.tensor) + 1)).astype(np.int64)
    of_read, edge = gather(edge_ptr, access, np.arange(len(links.access)))
    place = np.repeat(np.arange(len(access)), np.diff(of_read))
    outside = links.initial[access] == 1
    made_here = contains(partition, np.repeat(kernels, np.diff(ptr))[place], links.source[edge], count)
    outside[place[~made_here]] = True
    return Flow(owner=owner, leaves=leaves, ptr=ptr, access=access, outside=outside)


def _unread_overwrites(links: Dependences, storage: IntArray) -> BoolArray:
    """(W,) True for writes that nobody reads into a storage that was written before: dropping one would show that."""
    read = np.zeros(len(storage), np.bool_)
    read[links.write] = True
    later = np.ones(len(storage), np.bool_)
    later[np.unique(storage, return_index=True)[1]] = False
    return later & ~read


def _let_later_writes_out(leaves: BoolArray, place: IntArray) -> None:
    """Where a kernel writes a storage to memory, what it writes there afterwards reaches memory too; in place.

    `place` names the kernel and storage of each write; writes are in issue order.
    """
    _, label = np.unique(place, return_inverse=True)
    first = np.full(int(label.max(initial=-1)) + 1, len(leaves), np.int64)
    chosen = np.flatnonzero(leaves)
    np.minimum.at(first, label[chosen], chosen)
    leaves |= np.arange(len(leaves)) > first[label]


def edges(graph: OperatorGraph, partition: Partition, links: Dependences, through: Flow) -> tuple[IntArray, IntArray]:
    """Pairs of kernels, the first of which must be launched before the second; each once.

    Producers before consumers; and what is read from memory, or written to it, before it is overwritten there.
    """
    count, kernels = len(graph.operators), max(len(partition), 1)
    kernel_of = partition.kernels()
    which, row = instances(partition, links.target, count)
    reader = kernel_of[row]
    beyond = ~contains(partition, reader, links.source[which], count)
    source, target = through.owner[links.source[which[beyond]]], reader[beyond]

    which, row = instances(partition, links.before, count)
    access, writes = links.before_access[which], links.before_writes[which] == 1
    at_read = through.ptr[row] + access - graph.reads.ptr[links.before[which]]
    from_memory = np.zeros(len(which), np.bool_)
    from_memory[~writes] = through.outside[at_read[~writes]]
    to_memory = np.zeros(len(which), np.bool_)
    to_memory[writes] = through.leaves[access[writes]] & (partition.copy[row[writes]] == 0)
    matters = from_memory | to_memory
    before, after = kernel_of[row[matters]], through.owner[links.after[which[matters]]]
    pairs = distinct(np.concatenate([source * kernels + target, before * kernels + after]))
    first, second = pairs // kernels, pairs % kernels
    return first[first != second], second[first != second]


def ordered(graph: OperatorGraph, partition: Partition, links: Dependences, name: str) -> Partition:
    """`partition` with its kernels in launch order; raises as `launch_order` does."""
    return partition.take(launch_order(graph, partition, links, name))


def launch_order(graph: OperatorGraph, partition: Partition, links: Dependences, name: str) -> IntArray:
    """(K,) the kernels in launch order: producers first, else by the last operator of each.

    Raises
    ------
    FusionError
        When an operator is not in exactly one kernel, a kernel spans a host sync, or kernels wait for each other.
    """
    through = flow(graph, partition, links, name)
    segment = segments(graph)
    stretch = segment[partition.operators]
    low, high = np.minimum.reduceat(stretch, partition.ptr[:-1]), np.maximum.reduceat(stretch, partition.ptr[:-1])
    if bool(np.any(low != high)):
        raise FusionError(
            f"kernel {int(np.argmax(low != high))} of trace '{name}' spans a host sync"
            + (" or a graph break" if graph.regions is not None else ""),
            expected="kernels between syncs" + (", within one region" if graph.regions is not None else ""),
        )
    last = np.maximum.reduceat(np.where(partition.copy == 1, -1, partition.operators), partition.ptr[:-1])
    source, target = edges(graph, partition, links, through)
    order = _topological(len(partition), source, target, low * (len(segment) + 1) + last)
    if len(order) < len(partition):
        raise FusionError(_cycle(graph, partition, source, target, name), expected="convex kernels")
    return np.array(order, np.int64)


def _topological(kernels: int, source: IntArray, target: IntArray, key: IntArray) -> list[int]:
    """Kernels in topological order, ties by `key`; shorter than all where there is a cycle."""
    by_key = np.lexsort((np.arange(kernels), key))
    place = np.empty(kernels, np.int64)
    place[by_key] = np.arange(kernels)
    if bool(np.all(place[source] < place[target])):
        straight: list[int] = by_key.tolist()  # no kernel has to wait for a later one
        return straight
    waiting = np.bincount(target, minlength=kernels).tolist()
    by_source = np.argsort(source, kind="stable")
    ptr = np.searchsorted(source[by_source], np.arange(kernels + 1)).tolist()
    after, keys = target[by_source].tolist(), key.tolist()
    ready = [(keys[kernel], kernel) for kernel in range(kernels) if not waiting[kernel]]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        _, kernel = heapq.heappop(ready)
        order.append(kernel)
        for successor in after[ptr[kernel] : ptr[kernel + 1]]:
            waiting[successor] -= 1
            if not waiting[successor]:
                heapq.heappush(ready, (keys[successor], successor))
    return order


def _cycle(graph: OperatorGraph, partition: Partition, source: IntArray, target: IntArray, name: str) -> str:
    """A cycle of kernels in words, by the first operator of each."""
    import networkx

    network = networkx.DiGraph(list(zip(source.tolist(), target.tolist(), strict=True)))
    found = [first for first, _ in networkx.find_cycle(network)]
    rows = [int(partition.operators[partition.ptr[kernel]]) for kernel in found[:4]]
    words = " -> ".join(f"'{graph.operators.label(row)}' ({row})" for row in rows)
    return f"kernels of trace '{name}' wait for each other: {words}"
