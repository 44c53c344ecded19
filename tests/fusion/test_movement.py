"""Classes of operators: a layer of BERT-large in training, as in Ivanov et al., Data movement is all you need, 2021."""

from __future__ import annotations

from pathlib import Path

import pytest

import hiersim as hs
from hiersim.fusion.registry import policy
from hiersim.model.operators import Kind, Phase, Role
from hiersim.model.trace import Trace
from hiersim.movement import OperatorClass, by_class, without_optimizer
from hiersim.run import simulate
from hiersim.testing.attention import written_attention
from hiersim.testing.contracts import asked_bytes, check_policy

LAYER = Path(__file__).parent / "captured" / "bert_layer_train.npz"
V100 = hs.load_design("v100-pcie")
PAPER_FLOPS = {"contraction": 0.9980, "normalization": 0.0017, "elementwise": 0.0003}
"""Table 1 of the paper (arXiv:2007.00072): shares of FLOP."""
PAPER_SAVED = 0.2291
"""Abstract: data movement is reduced by up to 22.91 %."""


@pytest.fixture(scope="module")
def layer() -> Trace:
    return without_optimizer(hs.load_trace(str(LAYER)))


def moved(trace: Trace, fusion: str) -> int:
    """Bytes of forward and backward under a policy."""
    return sum(row.moved_bytes for row in by_class(simulate(trace, V100, fusion)))


def test_shares_of_flops_are_those_of_the_paper(layer: Trace) -> None:
    rows = by_class(simulate(layer, V100, "eager"))
    flops = sum(row.flops for row in rows)
    for row in rows:
        assert row.flops / flops == pytest.approx(PAPER_FLOPS[row.operator_class.value], abs=0.001)


def test_the_contractions_are_those_of_the_layer(layer: Trace) -> None:
    """18 products: 4 linear layers, each with two gradients, and 2 products of attention, each with two."""
    (row, *_) = by_class(simulate(layer, V100, "eager"))
    tokens, width, hidden, heads, length = 8 * 512, 1024, 4096, 16, 512
    forward = tokens * width * (3 * width + width + 2 * hidden) + 2 * 8 * heads * length * length * (width // heads)
    assert (row.operators, row.kernels) == (18, 18)
    biases = tokens * (3 * width + width + hidden + width)
    assert row.flops == 3 * 2 * forward + biases


def test_the_policies_save_what_the_paper_saves_or_more(layer: Trace) -> None:
    """The paper's fused operators are element-wise operators and normalization; the bound is what any fusion saves."""
    plain = moved(layer, "eager")
    saved = {name: 1 - moved(layer, name) / plain for name in ("pointwise", "inductor-rules", "optimal")}
    assert 0 <= saved["pointwise"] < PAPER_SAVED < saved["optimal"]
    assert saved["pointwise"] < saved["inductor-rules"] <= saved["optimal"]


def test_classes_add_up(layer: Trace) -> None:
    for name in ("eager", "inductor-rules", "attention"):
        result = simulate(layer, V100, name)
        rows = by_class(result)
        graph = result.graph
        assert sum(row.kernels for row in rows) == len(graph)
        assert sum(row.operators for row in rows) == len(graph.operators)
        assert sum(row.moved_bytes for row in rows) == asked_bytes(graph)
        assert sum(row.ticks for row in rows) == int((result.timeline.end - result.timeline.start).sum())


def test_a_fused_kernel_is_of_the_first_class_among_its_operators() -> None:
    trace = written_attention(batch=2, heads=2, length=128, head=32)
    rows = by_class(simulate(trace, V100, "attention"))
    assert [row.kernels for row in rows] == [2, 0, 0]
    assert {row.operator_class for row in rows} == set(OperatorClass)


def test_attention_of_a_captured_layer_is_fused_in_training(layer: Trace) -> None:
    graph = policy("attention")(layer, V100)
    check_policy(layer, graph)
    assert (
        graph.operators.kind.tolist().count(int(Kind.FLASH)) == 3
    )  # forward, and backward with what it computes again
    assert moved(layer, "attention") < 0.7 * moved(layer, "eager")


def test_the_optimizer_is_cut_off_and_what_it_reads_are_results(layer: Trace) -> None:
    whole = hs.load_trace(str(LAYER))
    phases = whole.graph.operators.phase
    assert len(layer.graph.operators) == int((phases != Phase.OPTIMIZER).sum()) < len(phases)
    tensors = layer.graph.tensors
    sizes = tensors.storage_bytes[(tensors.storage_output == 1) & (whole.graph.tensors.storage_output == 0)]
    weights = tensors.storage_bytes[tensors.storage_role == Role.WEIGHT]
    assert sorted(sizes.tolist()) == sorted(weights.tolist())
    assert without_optimizer(layer) is layer
    for name in ("eager", "pointwise", "epilogue", "inductor-rules", "attention", "optimal"):
        check_policy(layer, policy(name)(layer, V100))
