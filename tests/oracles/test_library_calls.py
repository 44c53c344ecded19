"""What the host pays where a library picks the kernel, by closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hiersim as hs
from build import design_from, trace_of
from hiersim.model.kernels import Launch
from hiersim.model.trace import Trace

HOST = {"launch_eager": "7 us", "launch_compiled": "5 us", "library_call": "6 us", "queue": 4}
MICROSECOND = 10**6


def layer(folder: Path) -> Trace:
    """A product, the addition of a bias to its result, and a sum over that."""
    rows: list[dict[str, Any]] = [
        {"tensor": "x", "shape": [32, 32], "dtype": "fp32", "role": "input"},
        {"tensor": "w", "shape": [32, 32], "dtype": "fp32", "role": "weight"},
        {"tensor": "b", "shape": [32], "dtype": "fp32", "role": "weight"},
        {"tensor": "p", "shape": [32, 32], "dtype": "fp32", "role": "activation"},
        {"tensor": "y", "shape": [32, 32], "dtype": "fp32", "role": "activation", "output": True},
        {
            "operator": "aten.mm.default", "kind": "gemm", "dtype": "fp32", "reads": ["x", "w"], "writes": ["p"],
            "dims": {"batch": 1, "m": 32, "n": 32, "k": 32},
        },
        {"operator": "aten.add.Tensor", "kind": "pointwise", "reads": ["p", "b"], "writes": ["y"]},
    ]  # fmt: skip
    return trace_of(rows, folder)


@pytest.mark.parametrize(
    ("fusion", "wanted"),
    [("eager", [7 + 6, 7]), ("inductor-rules", [5 + 6, 5]), ("epilogue", [5])],
)  # fmt: skip
def test_a_product_alone_is_a_call_of_a_library_whoever_calls(fusion: str, wanted: list[int], tmp_path: Path) -> None:
    """With the addition fused into it, it is generated code."""
    result = hs.simulate(layer(tmp_path), design_from(host=HOST), fusion)
    assert result.program.host_ticks.tolist() == [count * MICROSECOND for count in wanted]
    assert result.makespan >= sum(wanted) * MICROSECOND


def test_a_graph_replay_picks_no_kernel(tmp_path: Path) -> None:
    design = design_from(host={**HOST, "launch_graph": "4 us", "graph_start": "1 us"})
    program = hs.simulate(layer(tmp_path), design, launch="graph").program
    assert program.host_ticks.tolist() == [4 * MICROSECOND, 0]


def test_a_design_without_the_time_pays_for_the_launch_alone(tmp_path: Path) -> None:
    design = design_from(host={key: value for key, value in HOST.items() if key != "library_call"})
    result = hs.simulate(layer(tmp_path), design)
    assert result.program.host_ticks.tolist() == [7 * MICROSECOND] * 2
    assert result.graph.launch.tolist() == [Launch.EAGER] * 2


def test_convolutions_and_attention_are_calls_of_libraries_too() -> None:
    design = hs.load_design("h100-sxm")
    free = design.replace({"host.library_call": "0 us"})
    for name, calls in (("resnet50-infer", 54), ("gpt2-large-prefill", 36 * 5 + 1)):
        trace = hs.load_trace(name)
        more = (hs.simulate(trace, item).program.host_ticks.sum() for item in (design, free))
        assert next(more) - next(more) == calls * design.host.library_call, name
