"""Every fusion policy keeps its promise, on every bundled trace."""

from __future__ import annotations

import numpy as np
import pytest

from hiersim import bundled
from hiersim.config.load import load_design
from hiersim.errors import FusionError
from hiersim.frontends.integrity import Checker, check_kernel_graph
from hiersim.frontends.load import load_trace
from hiersim.fusion.eager import HOST_ONLY
from hiersim.fusion.registry import policies
from hiersim.lowering.lower import compulsory_bytes
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Role
from hiersim.model.trace import Trace

TRACES = list(bundled.traces())


@pytest.fixture(scope="module", params=TRACES)
def trace(request: pytest.FixtureRequest) -> Trace:
    return load_trace(request.param)


def graphs(trace: Trace) -> dict[str, KernelGraph]:
    """The kernel graph of every policy that this trace allows."""
    found = {}
    for name, policy in policies().items():
        try:
            found[name] = policy(trace, load_design("h100-sxm"))
        except FusionError:
            continue
    assert {"eager", "inductor"} <= set(found)
    return found


def test_kernel_graphs_keep_the_laws_of_graphs(trace: Trace) -> None:
    for name, graph in graphs(trace).items():
        check_kernel_graph(graph, Checker(trace.name, name))


def test_eager_runs_every_launching_operator_once(trace: Trace) -> None:
    graph = graphs(trace)["eager"]
    launching = ~np.isin(trace.graph.operators.kind, [int(kind) for kind in HOST_ONLY])
    assert len(graph) == int(launching.sum())
    for column in ("matrix_flops", "masked_flops", "vector_flops", "special_ops"):
        assert getattr(graph.operators, column).sum() == getattr(trace.graph.operators, column).sum()
    assert int(graph.reads.size.sum()) == int(trace.graph.reads.size.sum())
    assert int(graph.writes.size.sum()) == int(trace.graph.writes.size.sum())


def test_matrix_flops_do_not_depend_on_the_policy(trace: Trace) -> None:
    eager = int(trace.graph.operators.matrix_flops.sum())
    for graph in graphs(trace).values():
        first = graph.recomputed == 0
        thin = eager - int(graph.operators.matrix_flops[first].sum())
        assert 0 <= thin <= 1e-4 * eager, "thin products may be lowered to element-wise work"


def test_weights_do_not_depend_on_the_policy(trace: Trace) -> None:
    sizes = set()
    for graph in graphs(trace).values():
        read = np.unique(graph.tensors.tensor_storage[graph.reads.tensor])
        weights = read[graph.tensors.storage_role[read] == Role.WEIGHT]
        sizes.add(int(graph.tensors.storage_bytes[weights].sum()))
    assert len(sizes) == 1


def test_compulsory_traffic_does_not_depend_on_the_policy(trace: Trace) -> None:
    found = [compulsory_bytes(graph) for graph in graphs(trace).values()]
    assert max(found) <= 1.01 * min(found)


def test_fused_kernels_ask_for_fewer_bytes(trace: Trace) -> None:
    """Law 10, on the bytes that kernels ask for."""
    found = graphs(trace)
    asked = {name: int(graph.reads.size.sum() + graph.writes.size.sum()) for name, graph in found.items()}
    assert asked["inductor"] < asked["eager"]
