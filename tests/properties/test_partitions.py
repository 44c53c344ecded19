"""Partitions become kernel graphs that compute what the eager operators compute, or are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from hiersim import bundled
from hiersim.errors import FusionError
from hiersim.frontends.integrity import Checker, check_kernel_graph
from hiersim.frontends.load import load_trace
from hiersim.fusion.build import kernel_graph
from hiersim.fusion.dependences import dependences
from hiersim.fusion.eager import eager
from hiersim.fusion.partition import launching, of_groups, ordered, segments
from hiersim.model.operators import Accesses, Role
from hiersim.model.partition import Partition
from hiersim.model.trace import Trace
from hiersim.testing.contracts import asked_bytes
from hiersim.testing.legality import check_legal
from hiersim.testing.strategies import dags, traces

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=12)


half = settings(max_examples=max(20, settings.default.max_examples // 2))  # type: ignore[union-attr]


@half
@given(st.one_of(dags(10), dags(10), traces(max_operators=6)), LABELS)
def test_any_partition_is_legal_or_refused(trace: Trace, labels: list[int]) -> None:
    """Law 10: covered once, convex, aliases respected, no more bytes asked for; neighbours are always allowed."""
    operators = np.arange(len(trace.graph.operators))
    mixed = np.array([labels[row % len(labels)] for row in operators.tolist()], np.int64)
    neighbours = np.cumsum(mixed > 1) + 8 * segments(trace.graph)
    for group in (mixed, neighbours, operators):
        partition = of_groups(trace.graph, group)
        try:
            graph = kernel_graph(trace, partition, "labels (test)")
        except FusionError as error:
            event("refused")
            assert group is mixed
            assert trace.name in str(error)
            continue
        event("legal")
        check_kernel_graph(graph, Checker(trace.name, "labels"))
        rows = ordered(trace.graph, partition, dependences(trace.graph), trace.name).operators.tolist()
        check_legal(trace, graph, rows)
        assert asked_bytes(graph) <= asked_bytes(eager(trace))
    assert graph.host_syncs.tolist() == eager(trace).host_syncs.tolist()


@pytest.mark.parametrize("name", [name for name in bundled.traces() if "70b" not in name])
def test_pairs_of_a_bundled_trace_are_legal(name: str) -> None:
    trace = load_trace(name)
    rows = launching(trace.graph)
    group = np.zeros(len(trace.graph.operators), np.int64)
    group[rows] = np.arange(len(rows)) // 2
    partition = of_groups(trace.graph, group)
    graph = kernel_graph(trace, partition, "pairs (test)")
    check_legal(trace, graph, ordered(trace.graph, partition, dependences(trace.graph), name).operators.tolist())


def test_a_partition_that_forgets_an_operator_is_refused() -> None:
    trace = load_trace("resnet50-infer")
    whole = of_groups(trace.graph, np.arange(len(trace.graph.operators)))
    short = Partition(
        ptr=whole.ptr[:-1], operators=whole.operators[:-1], copy=whole.copy[:-1], generated=whole.generated[:-1],
        eager=whole.eager[:-1],
    )  # fmt: skip
    with pytest.raises(FusionError, match="is in 0 kernels"):
        kernel_graph(trace, short, "short (test)")


@pytest.mark.parametrize("part", ["reads", "writes"])
def test_the_oracle_misses_what_a_kernel_graph_forgets(part: str) -> None:
    """Every read or write that is taken from a sound kernel graph is noticed."""
    trace = load_trace("resnet50-infer")
    rows = launching(trace.graph)
    graph = kernel_graph(trace, of_groups(trace.graph, np.arange(len(trace.graph.operators)) // 2), "pairs (test)")
    partition = of_groups(trace.graph, np.arange(len(trace.graph.operators)) // 2)
    order = ordered(trace.graph, partition, dependences(trace.graph), trace.name).operators.tolist()
    assert len(order) == len(rows)
    access: Accesses = getattr(graph, part)
    storage = graph.tensors.tensor_storage[access.tensor]
    role = graph.tensors.storage_role[storage]
    for place in np.flatnonzero(role == Role.ACTIVATION)[::17].tolist():
        kept = np.arange(len(access.tensor)) != place
        ptr = access.ptr - (access.ptr > place)
        short = Accesses(ptr=ptr, tensor=access.tensor[kept], size=access.size[kept])
        with pytest.raises(AssertionError):
            check_legal(trace, dataclasses.replace(graph, **{part: short}), order)
