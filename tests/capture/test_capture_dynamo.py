"""Captures of TorchDynamo: where it breaks, what it guards, and that its graphs hold the operators of eager mode."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("torch")

from hiersim.errors import TraceError
from hiersim.frontends.pytorch.capture import capture_torch
from hiersim.model.operators import Kind
from hiersim.model.regions import calls_of
from hiersim.model.trace import Trace

pytestmark = pytest.mark.torch

MODEL = """
import torch
from torch import nn

class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        y = torch.relu(self.first(x))
        if y.sum() > 0:
            y = y + 1
        scale = (y * 2).sum().item()
        y = y + scale
        return torch.softmax(self.second(y), -1)

def broken():
    return Broken(), (torch.empty(4, 8),)
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    folder = tmp_path_factory.mktemp("models")
    (folder / "breaks.py").write_text(MODEL)
    sys.path.insert(0, str(folder))
    try:
        return capture_torch("breaks:broken", "dynamo")
    finally:
        sys.path.remove(str(folder))


def names(trace: Trace) -> list[str]:
    return [trace.graph.operators.label(row) for row in range(len(trace.graph.operators))]


def test_regions_end_where_the_model_asks_for_a_value(broken: Trace) -> None:
    calls = calls_of(broken.graph.regions)
    assert [call.name for call in calls] == [
        "forward@breaks.py:10",
        "torch_dynamo_resume_in_forward_at_12@breaks.py:12",
        "torch_dynamo_resume_in_forward_at_14@breaks.py:14",
    ]
    assert [call.line for call in calls] == [
        "breaks.py:12 in forward",
        "breaks.py:14 in forward",
        "",
    ]
    assert "generic_jump" in calls[0].reason
    assert "Tensor.item()" in calls[1].reason
    assert calls[2].reason == ""
    outside = np.flatnonzero(broken.graph.regions.of_operators(len(names(broken))) < 0)
    assert broken.graph.operators.kind[outside].tolist() == [Kind.SYNC, Kind.SYNC]
    assert not any(call.recompiled for call in calls)


def test_guards_are_those_of_the_tree_that_is_walked(broken: Trace) -> None:
    calls = calls_of(broken.graph.regions)
    assert calls[0].guards["TENSOR_MATCH"] == 3  # x, the first layer's weight and its bias
    assert calls[2].guards["TENSOR_MATCH"] == 3
    assert all(call.guards["GLOBAL_STATE"] == 1 for call in calls)


@pytest.mark.parametrize("name", ["tiny-mlp", "tiny-resnet"])
def test_graphs_hold_the_operators_of_eager_mode(name: str) -> None:
    cut, plain = capture_torch(name, "dynamo"), capture_torch(name)
    assert names(cut) == names(plain)
    for column in ("matrix_flops", "vector_flops", "special_ops", "kind"):
        assert np.array_equal(getattr(cut.graph.operators, column), getattr(plain.graph.operators, column))
    for access in ("reads", "writes"):
        assert getattr(cut.graph, access).size.tolist() == getattr(plain.graph, access).size.tolist()
    assert len(calls_of(cut.graph.regions)) == 1
    products = np.flatnonzero(plain.graph.operators.matrix_flops)
    modules = [
        [trace.graph.operators.strings[trace.graph.operators.module[row]] for row in products] for trace in (cut, plain)
    ]
    assert modules[0] == modules[1]


def test_a_training_step_is_refused() -> None:
    with pytest.raises(TraceError, match="mode dynamo records inference"):
        capture_torch("tiny-gpt2-train", "dynamo")


def test_sizes_are_treated_by_the_mode_that_compiles() -> None:
    with pytest.raises(TraceError, match=r"--shapes: only a mode that compiles regions treats sizes"):
        capture_torch("tiny-mlp", shapes="static")
    static = capture_torch("tiny-mlp", "dynamo", shapes="static")
    assert calls_of(static.graph.regions)[0].shapes.name == "STATIC"
    assert "--mode dynamo --shapes static" in static.header.command
