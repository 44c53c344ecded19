"""Chains of kernels that take no time themselves: what launching alone costs, kernel by kernel and as a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build import design_from, pointwise, trace_of
from hiersim.errors import DesignError
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.run import simulate

MICROSECOND = 10**6
HOST = {
    "launch_eager": "7 us",
    "launch_compiled": "5 us",
    "launch_view": "2 us",
    "latency": "3 us",
    "start": "1 us",
    "queue": 4,
}


def machine(**host: Any) -> Design:
    """Unlimited arithmetic and memory behind a host that costs time."""
    return design_from(host={**HOST, "launch_graph": "6 us", "graph_start": "0.5 us", **host})


def synchronized(kernels: int, every: int, folder: Path) -> Trace:
    """A chain in which the host waits for a value before every `every`-th kernel."""
    rows: list[dict[str, Any]] = [{"tensor": "x0", "shape": [64], "dtype": "fp32", "role": "input"}]
    for step in range(1, kernels + 1):
        if step > 1 and (step - 1) % every == 0:
            rows.append({"operator": "aten.item", "kind": "sync", "reads": [f"x{step - 1}"], "writes": []})
        rows.append({"tensor": f"x{step}", "shape": [64], "dtype": "fp32", "role": "activation"})
        reads, writes = [f"x{step - 1}"], [f"x{step}"]
        rows.append({"operator": "aten.relu.default", "kind": "pointwise", "reads": reads, "writes": writes})
    return trace_of(rows, folder)


@pytest.mark.parametrize("engine", ["compiled", "reference"])
@pytest.mark.parametrize("kernels", [1, 2, 10, 100])
def test_a_chain_of_empty_kernels_is_bound_by_the_host_in_a_stream_and_by_the_device_in_a_graph(
    kernels: int, engine: str, tmp_path: Path
) -> None:
    trace = pointwise(64, tmp_path, chain=kernels)
    stream = simulate(trace, machine(), engine_name=engine)
    assert stream.makespan == (kernels * 7 + 3 + 1) * MICROSECOND
    graph = simulate(trace, machine(), engine_name=engine, launch="graph")
    assert graph.makespan == (6 + 3 + 1) * MICROSECOND + (kernels - 1) * MICROSECOND // 2
    assert (stream.launch, graph.launch) == ("stream", "graph")
    assert stream.inputs_sha256 != graph.inputs_sha256


@pytest.mark.parametrize(("kernels", "every"), [(6, 1), (6, 2), (6, 3), (7, 3), (6, 6)])
def test_a_value_on_the_host_breaks_the_graph_into_replays(kernels: int, every: int, tmp_path: Path) -> None:
    """A replay is called when all kernels of the one before have ended: call, latency, start, and the rest inside."""
    result = simulate(synchronized(kernels, every, tmp_path), machine(), launch="graph")
    replays = -(-kernels // every)
    assert result.makespan == replays * (6 + 3 + 1) * MICROSECOND + (kernels - replays) * MICROSECOND // 2
    assert np.count_nonzero(result.program.host_ticks) == replays


def test_views_cost_the_host_nothing_in_a_graph(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"tensor": "x", "shape": [8, 8], "dtype": "fp32", "role": "input"},
        {"tensor": "v", "shape": [64], "dtype": "fp32", "storage": "x"},
        {"tensor": "y", "shape": [64], "dtype": "fp32", "role": "activation"},
        {"operator": "aten.view.default", "kind": "view", "reads": ["x"], "writes": ["v"]},
        {"operator": "aten.relu.default", "kind": "pointwise", "reads": ["v"], "writes": ["y"]},
    ]
    trace = trace_of(rows, tmp_path)
    assert simulate(trace, machine()).makespan == (2 + 7 + 3 + 1) * MICROSECOND
    assert simulate(trace, machine(), launch="graph").makespan == (6 + 3 + 1) * MICROSECOND


@pytest.mark.parametrize("unknown", ["launch_graph", "graph_start"])
def test_a_design_without_the_times_cannot_replay(unknown: str, tmp_path: Path) -> None:
    design, trace = machine(**{unknown: None}), pointwise(64, tmp_path)
    assert simulate(trace, design).makespan
    with pytest.raises(DesignError) as caught:
        simulate(trace, design, launch="graph")
    assert caught.value.key == f"host.{unknown}"
    assert "\n" not in str(caught.value)
