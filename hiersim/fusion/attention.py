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
from hiersim.fusion.dependences import Dependences, dependences
from hiersim.fusion.eager import take_operators
from hiersim.fusion.partition import of_groups, ordered
from hiersim.fusion.pointwise import contracted, labels
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import BITS, Accesses, DType, IntArray, Kind, OperatorTable, TensorTable, gather
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
    label = np.arange(len(graph.operators))
    for chain in kept:
        for rows in (chain.rows, chain.backward):
            label[list(rows)] = rows[0] if rows else 0
    if not _straight(links, label):
        label, kept = _one_by_one(graph, links, kept)
    inside = np.zeros(len(graph.operators), np.int64)
    for chain in kept:
        inside[[*chain.rows, *chain.backward]] = 1
    partition = of_groups(graph, label, inside)
    partition = dataclasses.replace(partition, eager=np.ones(len(partition), np.int64))
    return with_copies(partition, {chain.backward[0]: chain.again for chain in kept if chain.backward}), kept


def _straight(links: Dependences, label: IntArray) -> bool:
    """Whether groups can run in the order of their last operators, so that none waits for itself."""
    last = np.zeros(len(label), np.int64)
    np.maximum.at(last, label, np.arange(len(label)))
    first, second = np.concatenate([links.source, links.before]), np.concatenate([links.target, links.after])
    first, second = label[first], label[second]
    return bool(np.all((last[first] < last[second]) | (first == second)))


def _one_by_one(graph: OperatorGraph, links: Dependences, found: list[Chain]) -> tuple[IntArray, list[Chain]]:
    """(N,) the group of each operator, and the chains that are convex."""
    kept = list(found)
    while True:
        groups = contracted(graph, links)
        failed = next((chain for chain in kept if not _merge(groups, chain)), None)
        if failed is None:
            return labels(groups), kept
        kept.remove(failed)


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
    if not again:
        return partition
    kernel = np.zeros(int(partition.operators.max(initial=0)) + 1, np.int64)
    kernel[partition.operators] = partition.kernels()
    wanted = sorted((int(kernel[row]), row) for row in again)
    counts = np.array([len(again[row]) for _, row in wanted], np.int64)
    where = np.array([number for number, _ in wanted], np.int64)
    copies = np.array([copy for _, row in wanted for copy in sorted(again[row])], np.int64)
    at = np.repeat(partition.ptr[where], counts)
    sizes = np.diff(partition.ptr)
    sizes[where] += counts
    return dataclasses.replace(
        partition,
        ptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        operators=np.insert(partition.operators, at, copies),
        copy=np.insert(partition.copy, at, 1),
    )


def merged(
    graph: OperatorGraph, made: KernelGraph, partition: Partition, kept: list[Chain], library: bool = False
) -> KernelGraph:
    """`made` of `partition` in launch order, with each pass of a chain as one operator that does all its work.

    Backward has two: what it computes again, and its own. It also reads the results, whose products with their
    gradients stand for those of the weights. `library`: chains without backward become calls of a library's attention.
    """
    kernel = np.zeros(len(graph.operators), np.int64)
    own = partition.copy == 0
    kernel[partition.operators[own]] = partition.kernels()[own]
    trained = [chain for chain in kept if chain.backward]
    forward = kernel[[chain.weigh for chain in kept]]
    backward = kernel[np.array([chain.backward[0] for chain in trained], np.int64)]
    lows = made.operator_ptr[:-1]
    splits = lows[backward] + np.array([len(chain.again) for chain in trained], np.int64)
    first = np.sort(np.concatenate([lows, splits]))
    labelled = np.concatenate([lows[forward], lows[backward], splits])
    passes = ((0, kept), (1, trained), (1, trained))
    dims = np.array([_sides(chain, back, library) for back, some in passes for chain in some], np.int64)
    recomputed = made.recomputed[first]
    recomputed[np.searchsorted(first, lows[backward])] = 1
    names = np.array(made.names, np.object_)
    names[forward], names[backward] = CALLED if library else LABEL, BACKWARD
    counts = np.ones(len(made), np.int64)
    counts[backward] += 1
    tensors, reads = _with_results(graph, made, backward, [chain.weigh for chain in trained])
    return dataclasses.replace(
        made,
        tensors=tensors,
        reads=reads,
        operators=_summed(made.operators, first, np.searchsorted(first, labelled), dims, library),
        recomputed=recomputed,
        operator_ptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        names=tuple(names.tolist()),
    )


def _sides(chain: Chain, back: int, library: bool) -> list[int]:
    """Dims of the operator that stands for a pass: of `Kind.ATTENTION` for a library's, else of `Kind.FLASH`."""
    if not library:
        return [*chain.dims, back]
    heads, *sides = chain.dims
    return [heads, 1, 1, *sides, 0]


def _summed(
    table: OperatorTable, first: IntArray, labelled: IntArray, dims: IntArray, library: bool
) -> OperatorTable:  # fmt: skip
    """One operator for all from each of `first` to the next; `labelled` ones are attention, with these `dims`."""
    columns: dict[str, IntArray] = {name: getattr(table, name)[first] for name in ("kind", "name", "dtype")}
    for name in WORK:
        columns[name] = np.add.reduceat(getattr(table, name), first)
    products = np.flatnonzero(table.kind == Kind.GEMM)
    columns["kind"][labelled] = int(Kind.ATTENTION if library else Kind.FLASH)
    columns["name"][labelled] = len(table.strings) + dims[:, -1]
    columns["dtype"][labelled] = table.dtype[products[np.searchsorted(products, first[labelled])]]
    plain, counts = np.ones(len(first), np.bool_), np.diff(table.dims_ptr)[first]
    plain[labelled] = False
    counts[labelled] = dims.shape[1]
    ptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    values = np.zeros(int(ptr[-1]), np.int64)
    values[np.repeat(plain, counts)] = gather(table.dims_ptr, first[plain], table.dims)[1]
    values[ptr[labelled][:, None] + np.arange(dims.shape[1])] = dims
    strings = (*table.strings, CALLED if library else LABEL, BACKWARD)
    return dataclasses.replace(take_operators(table, first), strings=strings, dims_ptr=ptr, dims=values, **columns)


def _with_results(
    graph: OperatorGraph, made: KernelGraph, kernels: IntArray, results: list[int]
) -> tuple[TensorTable, Accesses]:
    """Each of `kernels` also reads what an operator of `graph` wrote, which lives until then."""
    order = np.argsort(kernels, kind="stable")
    kernels, write = kernels[order], graph.writes.ptr[np.array(results, np.int64)[order]]
    tensor = graph.writes.tensor[write]
    free, storage = made.tensors.storage_free.copy(), graph.tensors.tensor_storage[tensor]
    ends = free[storage] >= 0
    np.maximum.at(free, storage[ends], kernels[ends])
    at, counts = made.reads.ptr[kernels + 1], np.diff(made.reads.ptr)
    np.add.at(counts, kernels, 1)
    return (
        dataclasses.replace(made.tensors, storage_free=free),
        Accesses(
            ptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            tensor=np.insert(made.reads.tensor, at, tensor),
            size=np.insert(made.reads.size, at, graph.writes.size[write]),
        ),
    )
