"""Pointwise: chains and DAGs of element-wise operators over the same elements share a kernel; nothing else does."""

from __future__ import annotations

import numpy as np

from hiersim.fusion.build import kernel_graph
from hiersim.fusion.contraction import Contraction
from hiersim.fusion.dependences import Dependences, dependences
from hiersim.fusion.marks import of_trace_alone
from hiersim.fusion.partition import of_groups
from hiersim.fusion.patterns import distinct_pairs
from hiersim.fusion.regions import segments
from hiersim.fusion.traits import Traits, traits, whole_results
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph, Trace

NAME = "pointwise"


@of_trace_alone
def pointwise(trace: Trace, design: Design | None = None) -> KernelGraph:
    """Element-wise operators that hand whole results to each other, in one kernel.

    A fuser in the manner of the first JIT compilers (PyTorch NNC, XLA's loop fusion): no reduction, no contraction
    and no gather takes part, and nothing is computed twice.

    Raises
    ------
    FusionError
        When nothing is launched.
    """
    return kernel_graph(trace, partition(trace.graph), NAME)


def partition(graph: OperatorGraph) -> Partition:
    """The groups of `pointwise`."""
    links, facts = dependences(graph), traits(graph)
    groups = contracted(graph, links)
    join_elementwise(graph, groups, links, facts)
    return of_groups(graph, labels(groups))


def contracted(graph: OperatorGraph, links: Dependences) -> Contraction:
    """Every operator a group of its own, in the order of all dependences."""
    source, target = np.concatenate([links.source, links.before]), np.concatenate([links.target, links.after])
    apart = source != target
    return Contraction(len(graph.operators), source[apart], target[apart])


def labels(groups: Contraction) -> IntArray:
    """(N,) the group of each operator."""
    return groups.groups()


def chain_edges(graph: OperatorGraph, links: Dependences, facts: Traits, source: IntArray) -> list[tuple[int, int]]:
    """(producer, consumer) pairs by consumer, nearest producer first: an element-wise consumer takes the whole result.

    `source` (N,) is 1 for operators that may be producers.
    """
    segment = segments(graph)
    first, second = links.source, links.target
    chosen = (
        (source[first] == 1)
        & (facts.elementwise[second] == 1)
        & (facts.results[first] == facts.results[second])
        & (segment[first] == segment[second])
        & (whole_results(graph, links) == 1)
        & (first != second)
    )
    count = len(graph.operators)
    consumer, nearest = distinct_pairs(second[chosen], count - 1 - first[chosen], count)
    return list(zip((count - 1 - nearest).tolist(), consumer.tolist(), strict=True))


def join_elementwise(graph: OperatorGraph, groups: Contraction, links: Dependences, facts: Traits) -> None:
    """Merge element-wise operators with the producers of what they read, where that makes no cycle."""
    for producer, consumer in chain_edges(graph, links, facts, facts.elementwise):
        one, other = groups.group(producer), groups.group(consumer)
        if one != other and groups.can_merge(one, other):
            groups.merge(one, other)
