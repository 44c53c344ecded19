"""Operators and kernels as a networkx graph."""

from __future__ import annotations

import networkx
import pytest

import hiersim as hs
from hiersim import bundled
from hiersim.fusion.registry import policy


@pytest.mark.parametrize("name", ["resnet50-infer", "gpt2-train"])
@pytest.mark.parametrize("fusion", ["eager", "inductor"])
def test_kernel_graphs_are_acyclic_and_run_forward(name: str, fusion: str) -> None:
    graph = policy(fusion)(hs.load_trace(name), hs.load_design("h100-sxm"))
    network = hs.to_networkx(graph)
    assert len(network) == len(graph)
    assert networkx.is_directed_acyclic_graph(network)
    assert all(writer < reader and data["bytes"] > 0 for writer, reader, data in network.edges(data=True))


def test_a_residual_network_has_forks_and_joins() -> None:
    network = hs.to_networkx(hs.load_trace("resnet50-infer").graph)
    sums = [
        row
        for row, data in network.nodes(data=True)
        if data["name"].startswith("aten.add") and network.in_degree(row) == 2
    ]
    assert len(sums) == 16, "one residual sum for each block"
    kinds = networkx.get_node_attributes(network, "kind")
    assert sum(kind == "conv" for kind in kinds.values()) == 53


def test_all_bundled_traces_become_graphs() -> None:
    for name in bundled.traces():
        graph = hs.load_trace(name).graph
        assert len(hs.to_networkx(graph)) == len(graph.operators)
