"""Groups of a DAG may be merged exactly where that makes no cycle, whatever was merged before."""

from __future__ import annotations

import networkx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hiersim.fusion.contraction import Contraction

NODES = 9
PAIR = st.tuples(st.integers(0, NODES - 1), st.integers(0, NODES - 1))


def acyclic(edges: set[tuple[int, int]], group: list[int]) -> bool:
    """Whether the graph of groups has no cycle, by networkx."""
    graph = networkx.DiGraph([(group[one], group[other]) for one, other in edges if group[one] != group[other]])
    return bool(networkx.is_directed_acyclic_graph(graph))


@given(st.frozensets(PAIR, max_size=16), st.lists(PAIR, max_size=8))
def test_groups_merge_exactly_where_no_cycle_arises(
    pairs: frozenset[tuple[int, int]], merges: list[tuple[int, int]]
) -> None:
    edges = {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}
    source, target = (np.array([edge[side] for edge in sorted(edges)], np.int64) for side in (0, 1))
    groups = Contraction(NODES, source, target)
    for one, other in merges:
        first, second = groups.group(one), groups.group(other)
        if first == second:
            continue
        now = [groups.group(node) for node in range(NODES)]
        together = [first if group == second else group for group in now]
        assert groups.can_merge(first, second) == groups.can_merge(second, first) == acyclic(edges, together)
        if groups.can_merge(first, second):
            name = groups.merge(first, second)
            assert groups.group(one) == groups.group(other) == name
            named = [groups.group(node) for node in range(NODES)]
            wanted = {(named[one], named[other]) for one, other in edges if named[one] != named[other]}
            assert {(before, group) for group in set(named) for before in groups.before(group)} == wanted
