"""Epilogue: a product takes what follows it element by element into its own kernel, and the norm before it."""

from __future__ import annotations

import numpy as np

from hiersim.fusion.build import kernel_graph
from hiersim.fusion.contraction import Contraction
from hiersim.fusion.dependences import Dependences, dependences
from hiersim.fusion.marks import of_trace_alone
from hiersim.fusion.partition import of_groups
from hiersim.fusion.patterns import distinct
from hiersim.fusion.pointwise import chain_edges, contracted, labels
from hiersim.fusion.regions import segments
from hiersim.fusion.traits import Traits, traits, whole_results
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray, Kind
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph, Trace

NAME = "epilogue"


@of_trace_alone
def epilogue(trace: Trace, design: Design | None = None) -> KernelGraph:
    """Products with their epilogues and prologues; what is left is fused as `pointwise` does.

    The epilogue is every element-wise operator that follows on the product's results: bias, activation, residual,
    cast (CUTLASS epilogue visitors, cuDNN runtime fusion). A kernel has one product. The prologue is a norm of whole
    rows whose only reader is the product, row for row and column for inner dimension.

    Raises
    ------
    FusionError
        When nothing is launched.
    """
    return kernel_graph(trace, partition(trace.graph), NAME)


def partition(graph: OperatorGraph) -> Partition:
    """The groups of `epilogue`."""
    links, facts = dependences(graph), traits(graph)
    groups = contracted(graph, links)
    product = np.isin(graph.operators.kind, [int(Kind.GEMM), int(Kind.CONV)]).astype(np.int64)
    anchors = product.tolist()  # products in a group, by the group's name
    for producer, consumer in chain_edges(graph, links, facts, product | facts.elementwise):
        _join(groups, anchors, producer, consumer)
    for norm, consumer in prologues(graph, links, facts):
        if anchors[groups.group(norm)] == 0:
            _join(groups, anchors, norm, consumer)
    return of_groups(graph, labels(groups))


def _join(groups: Contraction, anchors: list[int], producer: int, consumer: int) -> None:
    """Merge the groups of two operators unless that makes a cycle or a kernel of two products."""
    one, other = groups.group(producer), groups.group(consumer)
    if one == other or anchors[one] + anchors[other] > 1 or not groups.can_merge(one, other):
        return
    count = anchors[one] + anchors[other]
    anchors[groups.merge(one, other)] = count


def prologues(graph: OperatorGraph, links: Dependences, facts: Traits) -> list[tuple[int, int]]:
    """(norm, product): the product is the only reader of the norm's results, as its left operand."""
    readers = distinct(links.source * len(graph.operators) + links.target) // max(len(graph.operators), 1)
    alone = np.bincount(readers, minlength=len(graph.operators)) == 1
    segment = segments(graph)
    first, second = links.source, links.target
    chosen = (
        (facts.normalises[first] == 1)
        & alone[first]
        & (graph.operators.kind[second] == Kind.GEMM)
        & (whole_results(graph, links) == 1)
        & (segment[first] == segment[second])
    )
    found = []
    for norm, product in sorted(set(zip(first[chosen].tolist(), second[chosen].tolist(), strict=True))):
        batch, m, _, k = _dims(graph, product)
        if int(facts.rows[norm]) == batch * m and int(facts.points[norm]) == batch * m * k:
            found.append((norm, product))
    return found


def _dims(graph: OperatorGraph, row: int) -> list[int]:
    """Sizes of a product."""
    operators = graph.operators
    sizes: IntArray = operators.dims[operators.dims_ptr[row] : operators.dims_ptr[row + 1]]
    return [int(size) for size in sizes]
