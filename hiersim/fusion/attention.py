"""Attention: product, scale, mask, softmax, dropout, product in one kernel that never stores the scores.

Models that write attention out (T5, Swin, old code) keep queries x keys scores in memory, several times over, and read
them again for the backward pass. FlashAttention (Dao et al., 2022, arXiv:2205.14135v1) needs none of it: algorithm 1
goes over blocks of keys and queries that fit a core's memory, algorithm 4 computes the scores again for the backward
pass. Lowering chooses the blocks, so that they follow the cores' memory. Nothing else is fused: what differs from
`eager` is attention.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from hiersim.fusion.attention_chains import Chain, chains
from hiersim.fusion.build import kernel_graph
from hiersim.fusion.contraction import Contraction
from hiersim.fusion.dependences import dependences
from hiersim.fusion.eager import take_operators
from hiersim.fusion.partition import of_groups, ordered
from hiersim.fusion.pointwise import contracted, labels
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import BITS, Accesses, DType, IntArray, Kind, OperatorTable, TensorTable, csr
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph, Trace

NAME: Final = "attention"
LEAST_BLOCK: Final = 16
"""Queries and keys of the smallest block: a tensor core's tile."""
LABEL: Final = "fused.attention"
CALLED: Final = "aten.scaled_dot_product_attention"
"""A library's kernel instead of one whose blocks follow the cores' memory."""
BACKWARD: Final = "fused.attention_backward"
SUM_BYTES: Final = 4
"""Partial results are FP32."""
WORK: Final = ("matrix_flops", "masked_flops", "vector_flops", "special_ops")


def attention(trace: Trace, design: Design) -> KernelGraph:
    """Written-out attention as one operator each, forward and backward; all else as `eager`.

    Parameters
    ----------
    trace : Trace
        Whose attention is recognised.
    design : Design
        Whose cores hold the blocks. Where their memory is so small that going over queries once for each block of keys
        moves more than the scores, attention stays as it is.

    Raises
    ------
    FusionError
        When nothing is launched.
    """
    moved = operator_bytes(trace.graph)
    found = [chain for chain in chains(trace.graph) if fits(trace.graph, chain, design, moved)]
    partition, kept = grouped(trace.graph, found)
    graph = kernel_graph(trace, partition, NAME)
    if not kept:
        return graph
    return merged(trace.graph, graph, ordered(trace.graph, partition, dependences(trace.graph), trace.name), kept)


def block(design: Design, head: int, element: int) -> int:
    """Keys per block: a quarter of what a core's memory holds, in rows of `head` elements of `element` bytes."""
    return int(design.core_tiers[-1].capacity) // (4 * head * element) if design.core_tiers else 0


def passes_bytes(chain: Chain, element: int, keys: int) -> int:
    """Bytes that kernels move for blocks of `keys` keys: first and further passes, forward and backward."""
    heads, queries, length, head = chain.dims
    passes = -(-length // keys)
    row, sums = head * element, head * SUM_BYTES
    moved = 2 * length * row + 2 * queries * row + (passes - 1) * queries * (row + 2 * sums + 16)
    if chain.backward:
        moved += 4 * length * row + 4 * queries * row + (passes - 1) * queries * (2 * row + 2 * sums + 24)
    return heads * moved


def operator_bytes(graph: OperatorGraph) -> list[int]:
    """(N,) bytes that each operator reads and writes."""
    sums = [np.concatenate(([0], np.cumsum(access.size)))[access.ptr] for access in (graph.reads, graph.writes)]
    found: list[int] = np.diff(sums[0] + sums[1]).tolist()
    return found


def fits(graph: OperatorGraph, chain: Chain, design: Design, moved: list[int]) -> bool:
    """Whether blocks fit the cores' memory, and all passes over them move less than the operators do one by one."""
    element = -(-BITS[DType(int(graph.operators.dtype[chain.scores]))] // 8)
    keys = block(design, max(1, chain.dims[3]), element)
    if keys < LEAST_BLOCK:
        return False
    plain = sum(moved[row] for row in (*chain.rows, *chain.backward))
    return passes_bytes(chain, element, keys) <= plain


def grouped(graph: OperatorGraph, found: list[Chain]) -> tuple[Partition, list[Chain]]:
    """Each chain that is convex in a kernel, its backward in another, all else alone; launched as before.

    The kernel of backward computes the scores again, so that it reads queries and keys instead of weights.
    """
    links, kept = dependences(graph), list(found)
    while True:
        groups = contracted(graph, links)
        failed = next((chain for chain in kept if not _merge(groups, chain)), None)
        if failed is None:
            break
        kept.remove(failed)
    inside = np.zeros(len(graph.operators), np.int64)
    for chain in kept:
        inside[[*chain.rows, *chain.backward]] = 1
    partition = of_groups(graph, labels(groups), inside)
    partition = dataclasses.replace(partition, eager=np.ones(len(partition), np.int64))
    return with_copies(partition, {chain.backward[0]: chain.again for chain in kept if chain.backward}), kept


def _merge(groups: Contraction, chain: Chain) -> bool:
    """Merge forward and backward, producers first, unless an operator outside would wait for itself."""
    return all(_join(groups, rows) for rows in (chain.rows, chain.backward) if rows)


def _join(groups: Contraction, rows: tuple[int, ...]) -> bool:
    group = groups.group(rows[0])
    for row in rows[1:]:
        if not groups.can_merge(group, groups.group(row)):
            return False
        group = groups.merge(group, groups.group(row))
    return True


def with_copies(partition: Partition, again: dict[int, tuple[int, ...]]) -> Partition:
    """`partition` with copies of operators in the kernels of those that need them, in front."""
    ptr, rows, copy = [0], list[int](), list[int]()
    bounds, operators = partition.ptr.tolist(), partition.operators.tolist()
    for kernel in range(len(partition)):
        members = operators[bounds[kernel] : bounds[kernel + 1]]
        copies = sorted(row for member in members for row in again.get(member, ()))
        rows += [*copies, *members]
        copy += [1] * len(copies) + [0] * len(members)
        ptr.append(len(rows))
    return dataclasses.replace(
        partition,
        ptr=np.array(ptr, np.int64),
        operators=np.array(rows, np.int64),
        copy=np.array(copy, np.int64),
    )


def merged(
    graph: OperatorGraph, made: KernelGraph, partition: Partition, kept: list[Chain], library: bool = False
) -> KernelGraph:
    """`made` of `partition` in launch order, with each pass of a chain as one operator that does all its work.

    Backward has two: what it computes again, and its own. It also reads the results, whose products with their
    gradients stand for those of the weights. `library`: forward is a call of a library's attention.
    """
    forward = {chain.weigh: chain for chain in kept}
    backward = {chain.backward[0]: chain for chain in kept if chain.backward}
    starts, recomputed, kernels = list[int](), list[int](), [0]
    dims, labelled = list[list[int]](), dict[int, str]()
    results = dict[int, int]()
    names = list(made.names)
    bounds, operators = made.operator_ptr.tolist(), partition.operators.tolist()
    for kernel in range(len(made)):
        low, high = bounds[kernel], bounds[kernel + 1]
        members = operators[low:high]
        chain = next((forward[row] for row in members if row in forward), None)
        split = low
        label = CALLED if library else LABEL
        if chain is None:
            chain = next((backward[row] for row in members if row in backward), None)
            if chain is not None:
                split, label = low + len(chain.again), BACKWARD
                results[kernel] = chain.weigh
        for start in sorted({low, split}):
            starts.append(start)
            recomputed.append(1 if start < split else int(made.recomputed[start]))
            dims.append(_dims(made.operators, start) if chain is None else _sides(chain, label))
            if chain is not None:
                labelled[len(starts) - 1] = label
        if chain is not None:
            names[kernel] = label
        kernels.append(len(starts))
    first = np.array(starts, np.int64)
    tensors, reads = _with_results(graph, made, results)
    return dataclasses.replace(
        made,
        tensors=tensors,
        reads=reads,
        operators=_summed(made.operators, first, dims, labelled, library),
        recomputed=np.array(recomputed, np.int64),
        operator_ptr=np.array(kernels, np.int64),
        names=tuple(names),
    )


def _sides(chain: Chain, label: str) -> list[int]:
    """Dims of the operator that stands for a pass: of `Kind.ATTENTION` for a library's, else of `Kind.FLASH`."""
    if label != CALLED:
        return [*chain.dims, int(label == BACKWARD)]
    heads, *sides = chain.dims
    return [heads, 1, 1, *sides, 0]


def _dims(table: OperatorTable, row: int) -> list[int]:
    found: list[int] = table.dims[table.dims_ptr[row] : table.dims_ptr[row + 1]].tolist()
    return found


def _summed(
    table: OperatorTable, first: IntArray, dims: list[list[int]], labelled: dict[int, str], library: bool
) -> OperatorTable:
    """One operator for all from each of `first` to the next; those of attention by their labels."""
    columns: dict[str, IntArray] = {name: getattr(table, name)[first] for name in ("kind", "name", "dtype")}
    for name in WORK:
        columns[name] = np.add.reduceat(getattr(table, name), first)
    ends = [*first.tolist()[1:], len(table)]
    for place, label in labelled.items():
        products = np.flatnonzero(table.kind[first[place] : ends[place]] == Kind.GEMM)
        columns["kind"][place] = int(Kind.ATTENTION if library else Kind.FLASH)
        columns["name"][place] = len(table.strings) + (label == BACKWARD)
        columns["dtype"][place] = table.dtype[first[place] + products[0]]
    ptr, values = csr(dims)
    strings = (*table.strings, CALLED if library else LABEL, BACKWARD)
    return dataclasses.replace(take_operators(table, first), strings=strings, dims_ptr=ptr, dims=values, **columns)


def _with_results(graph: OperatorGraph, made: KernelGraph, results: dict[int, int]) -> tuple[TensorTable, Accesses]:
    """Kernels of `results` also read what an operator of `graph` wrote, which lives until then."""
    if not results:
        return made.tensors, made.reads
    free = made.tensors.storage_free.copy()
    ptr, tensor, size = [0], list[int](), list[int]()
    bounds, tensors, sizes = made.reads.ptr.tolist(), made.reads.tensor.tolist(), made.reads.size.tolist()
    for kernel in range(len(made)):
        tensor += tensors[bounds[kernel] : bounds[kernel + 1]]
        size += sizes[bounds[kernel] : bounds[kernel + 1]]
        if kernel in results:
            write = int(graph.writes.ptr[results[kernel]])
            tensor.append(int(graph.writes.tensor[write]))
            size.append(int(graph.writes.size[write]))
            storage = graph.tensors.tensor_storage[tensor[-1]]
            free[storage] = max(free[storage], kernel) if free[storage] >= 0 else -1
        ptr.append(len(tensor))
    return (
        dataclasses.replace(made.tensors, storage_free=free),
        Accesses(ptr=np.array(ptr, np.int64), tensor=np.array(tensor, np.int64), size=np.array(size, np.int64)),
    )
