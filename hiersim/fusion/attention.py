"""Attention: product, scale, mask, softmax, product in one kernel that never stores the scores.

Models that write attention out (T5, Swin, old code) keep queries x keys scores in memory, several times over. One
kernel over blocks of queries and keys needs none of it (Dao et al., FlashAttention-2, 2023, arXiv:2307.08691): lowering
chooses the blocks, so that they follow the cores' memory. Nothing else is fused: what differs from `eager` is
attention.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np

from hiersim.fusion.build import kernel_graph
from hiersim.fusion.contraction import Contraction
from hiersim.fusion.dependences import Dependences, dependences
from hiersim.fusion.eager import take_operators
from hiersim.fusion.partition import of_groups, ordered, segments
from hiersim.fusion.pointwise import contracted, labels
from hiersim.fusion.traits import Traits, traits, whole_results
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import BITS, DType, IntArray, Kind, OperatorTable, csr
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph, Trace

NAME: Final = "attention"
LEAST_BLOCK: Final = 16
"""Queries and keys of the smallest block: a tensor core's tile."""
LABEL: Final = "fused.attention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Attention, written out."""

    scores: int
    """The product of queries and keys."""
    weigh: int
    """The product of weights and values."""
    rows: tuple[int, ...]
    """All its operators in issue order."""
    dims: tuple[int, ...]
    """As `DIMS[Kind.ATTENTION]`; every pair of batch and head is a head."""


def attention(trace: Trace, design: Design) -> KernelGraph:
    """Written-out attention as one operator each, where a block of it fits the cores' memory; all else as `eager`.

    Parameters
    ----------
    trace : Trace
        Whose forward attention is recognised; backward is not.
    design : Design
        Its per-core tiers say whether the smallest block of queries, keys and values fits.

    Raises
    ------
    FusionError
        When nothing is launched.
    """
    found = [chain for chain in chains(trace.graph) if fits(trace.graph, chain, design)]
    partition, kept = grouped(trace.graph, found)
    graph = kernel_graph(trace, partition, NAME)
    if not kept:
        return graph
    return merged(graph, ordered(trace.graph, partition, dependences(trace.graph), trace.name), kept)


def fits(graph: OperatorGraph, chain: Chain, design: Design) -> bool:
    """Whether a block of queries with its results, keys, values and scores fits some tier of a core."""
    head = chain.dims[5]
    element = -(-BITS[DType(int(graph.operators.dtype[chain.scores]))] // 8)
    needed = (2 * LEAST_BLOCK + 2 * LEAST_BLOCK) * head * element + 4 * LEAST_BLOCK * LEAST_BLOCK
    return any(needed <= tier.capacity for tier in design.core_tiers)


def chains(graph: OperatorGraph) -> list[Chain]:
    """Every softmax between two products that fit it, with element-wise operators on the way, in issue order."""
    links, facts = dependences(graph), traits(graph)
    before, after = _only_ways(graph, links, facts)
    softmax = np.array(["softmax" in text and "backward" not in text and "log" not in text
                        for text in graph.operators.strings], np.bool_)  # fmt: skip
    rows = np.flatnonzero(softmax[graph.operators.name] & (facts.normalises == 1)).tolist()
    found = []
    for row in rows:
        back, ahead = _walk(graph, facts, row, before), _walk(graph, facts, row, after)
        dims = _sizes(graph, facts, row, back[-1], ahead[-1])
        if dims is not None:
            chain = tuple(sorted({*back, *ahead}))
            found.append(Chain(scores=back[-1], weigh=ahead[-1], rows=chain, dims=dims))
    return found


def _only_ways(graph: OperatorGraph, links: Dependences, facts: Traits) -> tuple[dict[int, int], dict[int, int]]:
    """consumer → producer and producer → consumer, where the consumer is the only one and takes the whole result."""
    count = len(graph.operators)
    pairs = np.unique(links.source * count + links.target)
    readers = np.bincount(pairs // max(count, 1), minlength=count)
    stays = np.ones(count, np.bool_)
    rows = np.repeat(np.arange(count), np.diff(graph.writes.ptr))
    stays[rows[graph.tensors.storage_output[graph.tensors.tensor_storage[graph.writes.tensor]] == 1]] = False
    chosen = (readers[links.source] == 1) & stays[links.source] & (whole_results(graph, links) == 1)
    chosen &= segments(graph)[links.source] == segments(graph)[links.target]
    first, second = links.source[chosen].tolist(), links.target[chosen].tolist()
    large = facts.results.tolist()
    before: dict[int, int] = {}
    for producer, consumer in zip(first, second, strict=True):
        if consumer not in before or large[producer] > large[before[consumer]]:
            before[consumer] = producer  # of several operands the largest: the scores, not the mask
    return before, dict(zip(first, second, strict=True))


def _walk(graph: OperatorGraph, facts: Traits, row: int, way: dict[int, int]) -> list[int]:
    """From a softmax along element-wise operators to the first that is none."""
    found = [row]
    while found[-1] in way:
        found.append(way[found[-1]])
        if not facts.elementwise[found[-1]]:
            break
    return found


def _sizes(graph: OperatorGraph, facts: Traits, softmax: int, scores: int, weigh: int) -> tuple[int, ...] | None:
    """The dims of the attention, where both ends are products that fit the softmax."""
    if graph.operators.kind[scores] != Kind.GEMM or graph.operators.kind[weigh] != Kind.GEMM:
        return None
    batch, queries, keys, head = _dims(graph.operators, scores)
    other, rows, width, inner = _dims(graph.operators, weigh)
    same = (other, rows, inner, width) == (batch, queries, keys, head)
    whole = int(facts.rows[softmax]) == batch * queries and int(facts.points[softmax]) == batch * queries * keys
    return (1, batch, batch, queries, keys, head, 0) if same and whole else None


def _dims(table: OperatorTable, row: int) -> tuple[int, ...]:
    return tuple(table.dims[table.dims_ptr[row] : table.dims_ptr[row + 1]].tolist())


def grouped(graph: OperatorGraph, found: list[Chain]) -> tuple[Partition, list[Chain]]:
    """Each chain that is convex in a kernel, all else alone; launched by the framework as before."""
    groups = contracted(graph, dependences(graph))
    kept = [chain for chain in found if _merge(groups, chain)]
    inside = np.zeros(len(graph.operators), np.int64)
    for chain in kept:
        inside[list(chain.rows)] = 1
    partition = of_groups(graph, labels(graph, groups), inside)
    return dataclasses.replace(partition, eager=np.ones(len(partition), np.int64)), kept


def _merge(groups: Contraction, chain: Chain) -> bool:
    """Merge a chain, producers first, unless an operator outside needs its beginning and is needed by its end."""
    group = groups.group(chain.rows[0])
    for row in chain.rows[1:]:
        if not groups.can_merge(group, groups.group(row)):
            return False
        group = groups.merge(group, groups.group(row))
    return True


def merged(graph: KernelGraph, partition: Partition, kept: list[Chain]) -> KernelGraph:
    """`graph`, made of `partition` in launch order, with each chain as one operator that does all its work."""
    by_scores = {chain.scores: chain for chain in kept}
    table = graph.operators
    first = graph.operator_ptr[:-1]  # every other kernel has one operator
    columns: dict[str, IntArray] = {name: getattr(table, name)[first] for name in ("kind", "name", "dtype")}
    for name in ("matrix_flops", "masked_flops", "vector_flops", "special_ops"):
        columns[name] = np.add.reduceat(getattr(table, name), first)
    plain = take_operators(table, first)
    dims = [list(_dims(plain, row)) for row in range(len(graph))]
    names = list(graph.names)
    for kernel in np.flatnonzero(np.diff(graph.operator_ptr) > 1).tolist():
        members = partition.operators[partition.ptr[kernel] : partition.ptr[kernel + 1]].tolist()
        chain = next(by_scores[row] for row in members if row in by_scores)
        place = int(first[kernel]) + members.index(chain.scores)
        dims[kernel], names[kernel] = list(chain.dims), LABEL
        columns["kind"][kernel], columns["name"][kernel] = int(Kind.ATTENTION), len(table.strings)
        columns["dtype"][kernel] = table.dtype[place]
    ptr, values = csr(dims)
    return dataclasses.replace(
        graph,
        operators=dataclasses.replace(plain, strings=(*table.strings, LABEL), dims_ptr=ptr, dims=values, **columns),
        recomputed=graph.recomputed[first],
        operator_ptr=np.arange(len(graph) + 1, dtype=np.int64),
        names=tuple(names),
    )
