"""The search is exact within a block, and no other policy that keeps its rules asks for fewer bytes there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import hiersim as hs
from hiersim.errors import FusionError
from hiersim.fusion.build import kernel_graph
from hiersim.fusion.eager import eager
from hiersim.fusion.optimal import BLOCK, _Costs, blocks, optimal, partition
from hiersim.fusion.partition import launching, of_groups
from hiersim.model.trace import Trace
from hiersim.testing.contracts import asked_bytes, check_policy
from hiersim.testing.strategies import dags

few = settings(max_examples=max(10, settings.default.max_examples // 16))  # type: ignore[union-attr]


def set_partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """All ways to put items into groups."""
    if not items:
        yield []
        return
    for rest in set_partitions(items[1:]):
        yield [[items[0]], *rest]
        for place, group in enumerate(rest):
            yield [*rest[:place], [items[0], *group], *rest[place + 1 :]]


def least_by_brute_force(trace: Trace, capacity: int) -> int:
    """The fewest bytes of all legal partitions whose kernels fit; built and counted as any other policy's."""
    costs, least = _Costs(trace.graph, capacity), asked_bytes(eager(trace))
    for groups in set_partitions(launching(trace.graph).tolist()):
        if not all(costs.fits(members) for members in groups):
            continue
        group = np.zeros(len(trace.graph.operators), np.int64)
        for members in groups:
            group[members] = members[0]
        try:
            least = min(least, asked_bytes(kernel_graph(trace, of_groups(trace.graph, group), "any")))
        except FusionError:
            continue
    return least


@few
@given(dags(5), st.sampled_from((0, 1536, 4000, 10**6)))
def test_no_partition_asks_for_fewer_bytes(trace: Trace, capacity: int) -> None:
    if len(list(blocks(trace.graph))) > 1:
        return
    found = kernel_graph(trace, partition(trace.graph, capacity), "optimal")
    assert asked_bytes(found) == least_by_brute_force(trace, capacity)


@settings(max_examples=max(2, settings.default.max_examples // 60))  # type: ignore[union-attr]
@given(dags(8), st.sampled_from((1536, 4000, 10**6)))
def test_nor_among_all_partitions_of_nine_operators(trace: Trace, capacity: int) -> None:
    """All 21 147 of them, by their cost; the first that is legal is the best."""
    assume(len(list(blocks(trace.graph))) == 1 and len(launching(trace.graph)) >= 8)
    costs = _Costs(trace.graph, capacity)
    fitting = [groups for groups in set_partitions(launching(trace.graph).tolist()) if all(map(costs.fits, groups))]
    priced = sorted(fitting, key=lambda groups: sum(map(costs.bytes, groups)))
    found = asked_bytes(kernel_graph(trace, partition(trace.graph, capacity), "optimal"))
    for groups in priced:
        group = np.zeros(len(trace.graph.operators), np.int64)
        for members in groups:
            group[members] = members[0]
        try:
            best = kernel_graph(trace, of_groups(trace.graph, group), "any")
        except FusionError:
            continue
        assert asked_bytes(best) == sum(map(costs.bytes, groups)) == found
        return


@few
@given(dags(12))
def test_more_room_never_costs_bytes_and_the_laws_hold(trace: Trace) -> None:
    asked = [asked_bytes(eager(trace))]
    for capacity in (0, 1536, 4000, 10**6):
        graph = kernel_graph(trace, partition(trace.graph, capacity), "optimal")
        check_policy(trace, graph)
        asked.append(asked_bytes(graph))
    assert asked == sorted(asked, reverse=True)


@pytest.mark.parametrize("design", ["h100-sxm", "tiny"])
def test_room_for_values_saves_bytes_on_a_real_model(design: str) -> None:
    trace, machine = hs.load_trace("resnet50-infer"), hs.load_design(design)
    graph = optimal(trace, machine)
    check_policy(trace, graph)
    assert asked_bytes(graph) < asked_bytes(eager(trace))
    assert max(len(block) for block in blocks(trace.graph)) == BLOCK
