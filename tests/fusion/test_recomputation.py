"""What backward keeps of forward and what it computes again: as AOTAutograd's partitioner decides it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiersim import bundled
from hiersim.frontends.load import load_trace
from hiersim.frontends.published.sketch import Sheet, Sketch
from hiersim.fusion.build import kernel_graph
from hiersim.fusion.inductor.buffers import Stored
from hiersim.fusion.inductor.cut import Network, saved_by_cut
from hiersim.fusion.inductor.policy import inductor_rules, partition, schedule
from hiersim.fusion.inductor.rules import InductorRules
from hiersim.model.operators import DType, Phase
from hiersim.model.trace import Trace

CAPTURED = Path(__file__).parent / "captured"
SIDE = 64
SHAPE = (SIDE, SIDE)
BYTES = SIDE * SIDE * 4


class Step:
    """A training step, written down call by call."""

    def __init__(self) -> None:
        self.sketch = Sketch(DType.FP32)
        self.x = self.sketch.given("x", SHAPE)
        self.gradient = self.sketch.given("gradient", SHAPE)

    def weight(self, name: str) -> Sheet:
        return self.sketch.given(name, SHAPE, "weight")

    def product(self, one: Sheet, other: Sheet, phase: str = "forward") -> Sheet:
        return self.sketch.run("aten.mm.default", (one, other), SHAPE, phase=phase)

    def code(self, name: str, *reads: Sheet, phase: str = "forward") -> Sheet:
        return self.sketch.run(f"aten.{name}.Tensor", reads, SHAPE, phase=phase)

    def back(self, name: str, *reads: Sheet) -> Sheet:
        return self.code(name, *reads, phase="backward")

    def trace(self, *results: Sheet) -> Trace:
        return self.sketch.case(suite="s", name="n", params={}, results=results).trace()


def stored(trace: Trace, row: int, rules: InductorRules | None = None) -> int:
    """Why the result of an operator is stored; 0 where it is not."""
    return schedule(trace.graph, rules).buffers.stored[row]


def kernels_with(trace: Trace, row: int, rules: InductorRules | None = None) -> list[list[int]]:
    """The operators of all kernels that run an operator."""
    found = partition(trace.graph, rules)
    kernels = [found.operators[begin:end].tolist() for begin, end in pairwise(found.ptr.tolist())]
    return [kernel for kernel in kernels if row in kernel]


def activated(backward: str) -> Trace:
    """A product, its square root, a product of that; backward reads the root by `backward`."""
    step = Step()
    hidden = step.product(step.x, step.weight("w"))
    root = step.code("sqrt", hidden)
    out = step.product(step.code("neg", root), step.weight("v"))
    if backward == "mm":
        step.product(root, step.gradient, phase="backward")
    else:
        step.back("mul", root, step.gradient)
    return step.trace(out)


def test_code_per_element_is_computed_again_from_the_product_that_it_follows() -> None:
    """The product is stored anyway; its square root is neither written nor read, and its work counts twice."""
    trace = activated("mul")
    assert stored(trace, 1) == Stored.NO
    assert kernels_with(trace, 1) == [[1, 2], [1, 4]]
    made = inductor_rules(trace)
    again = made.recomputed == 1
    assert made.operators.strings[made.operators.name[again][0]] == "aten.sqrt.Tensor"
    assert int(made.operators.special_ops[again].sum()) == int(trace.graph.operators.special_ops[1]) > 0
    assert again.sum() == 1


def test_without_recomputation_it_is_kept() -> None:
    trace = activated("mul")
    rules = InductorRules(recompute=False)
    assert stored(trace, 1, rules) == Stored.BORDER
    assert kernels_with(trace, 1, rules) == [[1, 2]]
    writes = [
        kernel_graph(trace, partition(trace.graph, choice), "rules").writes.size.sum()
        for choice in (rules, InductorRules())
    ]
    assert writes[0] - writes[1] == BYTES


def test_what_a_product_reads_in_backward_is_kept() -> None:
    """It would have to be written again there."""
    trace = activated("mm")
    assert stored(trace, 1) == Stored.BORDER


def test_a_sum_of_two_products_is_kept_and_of_one_product_and_a_weight_computed_again() -> None:
    """Two products to keep cost 2 x 1.1^2 times their bytes, the sum twice 1.1: 2.42 against 2.2; one costs 1.21."""
    for two in (True, False):
        step = Step()
        one = step.product(step.x, step.weight("a"))
        other = step.product(step.x, step.weight("b")) if two else step.weight("c")
        total = step.code("add", one, other)
        out = step.product(step.code("neg", total), step.weight("v"))
        step.back("mul", total, step.gradient)
        trace = step.trace(out)
        assert stored(trace, 1 + two) == (Stored.BORDER if two else Stored.NO)


def test_what_uses_a_value_before_and_behind_a_product_is_kept() -> None:
    """A residual: x feeds a product and, behind it, the addition, which could share no kernel with what came before."""
    step = Step()
    entered = step.product(step.x, step.weight("w"))
    before = step.code("sqrt", entered)
    inner = step.product(step.code("neg", before), step.weight("a"))
    total = step.code("add", before, inner)
    out = step.product(step.code("neg", total), step.weight("v"))
    step.back("mul", total, step.product(before, step.gradient, phase="backward"))
    trace = step.trace(out)
    assert stored(trace, 4) == Stored.BORDER
    assert stored(trace, 4, InductorRules(ban_recompute_used_far_apart=False)) == Stored.NO


def test_a_weight_that_the_optimizer_overwrites_is_read_before() -> None:
    """Neither its readers nor what they hand on is stored for that."""
    step = Step()
    weight = step.weight("w")
    scaled = step.code("mul", step.x, weight)
    out = step.product(step.code("neg", scaled), step.weight("v"))
    step.sketch.run("aten.mm.default", (step.gradient, out), SHAPE, phase="backward", name="dw")
    assert stored(_updated(step, weight, out), 0) == Stored.NO


def _updated(step: Step, weight: Sheet, out: Sheet) -> Trace:
    """The step with an update of `weight` in place at its end."""
    case = step.sketch.case(suite="s", name="n", params={}, results=(out,))
    update = {
        "operator": "aten.add_.Tensor", "kind": "pointwise", "dtype": "fp32", "dims": {}, "reads": [weight.name, "dw"],
        "writes": [weight.name], "flops": {"vector": SIDE * SIDE}, "phase": "optimizer", "module": "",
    }  # fmt: skip
    return replace(case, rows=(*case.rows, update)).trace()


def test_of_a_norm_backward_reads_the_sums() -> None:
    """Its last step is computed again where backward needs the result."""
    step = Step()
    scale, shift = (step.sketch.given(name, (SIDE,), "weight") for name in ("scale", "shift"))
    entered = step.product(step.x, step.weight("w"))
    normed = step.sketch.run(
        "aten.native_layer_norm.default", (entered, scale, shift), SHAPE,
        arguments=(entered, (SIDE,), scale, shift, 1e-5), more=(((SIDE, 1), DType.FP32), ((SIDE, 1), DType.FP32)),
    )  # fmt: skip
    out = step.product(step.code("neg", normed), step.weight("v"))
    step.back("mul", normed, step.gradient)
    trace = step.trace(out)
    assert stored(trace, 1) == Stored.NO
    made = partition(trace.graph)
    phase = trace.graph.operators.phase
    mixed = [
        rows
        for begin, end in pairwise(made.ptr.tolist())
        if len(set(phase[rows := made.operators[begin:end]].tolist())) > 1
    ]
    assert [rows.tolist() for rows in mixed] == [[1, 4]]
    assert set(phase[mixed[0]].tolist()) == {Phase.FORWARD, Phase.BACKWARD}


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Up to 12 values; those that are computed from nothing else are fixed or free."""
    count = draw(st.integers(1, 12))
    sources = {row: sorted(draw(st.sets(st.integers(0, row - 1), max_size=3))) if row else [] for row in range(count)}
    fixed = draw(st.sets(st.integers(0, count - 1)))
    for row in fixed:
        sources[row] = []
    return Network(
        wanted=sorted(draw(st.sets(st.integers(0, count - 1), min_size=1)) - fixed),
        sources=sources,
        fixed=fixed,
        weight=draw(st.lists(st.integers(0, 20), min_size=count, max_size=count)),
    )


@given(networks())
def test_the_cut_costs_as_little_as_any(network: Network) -> None:
    """What networkx finds, and everything that is wanted is there or can be computed."""
    saved, again = saved_by_cut(network)
    there = set(saved)
    assert there.isdisjoint(again)
    assert network.fixed.isdisjoint(again)
    for row in again:
        assert all(source in there or source in again for source in network.sources[row])
    assert all(row in there or row in again for row in network.wanted)
    flow = networkx.DiGraph()
    flow.add_nodes_from(("source", "sink"))
    for row, sources in network.sources.items():
        flow.add_edge((row, 0), (row, 1), capacity=network.weight[row])
        flow.add_edges_from(((source, 1), (row, 0)) for source in sources)  # without a capacity: endless
        if row in network.fixed:
            flow.add_edge("source", (row, 0))
        if row in network.wanted:
            flow.add_edge((row, 1), "sink")
    assert networkx.maximum_flow_value(flow, "source", "sink") == sum(network.weight[row] for row in saved)


@pytest.mark.parametrize("name", ["gpt2-train", "bert_layer_train"])
def test_models_in_training_keep_less(name: str) -> None:
    trace = load_trace(name if name in bundled.traces() else str(CAPTURED / f"{name}.npz"))
    with_it, without = (
        kernel_graph(trace, partition(trace.graph, InductorRules(recompute=choice)), "rules")
        for choice in (True, False)
    )
    assert with_it.writes.size.sum() < without.writes.size.sum()
    assert np.count_nonzero(with_it.recomputed) > np.count_nonzero(without.recomputed)


@pytest.mark.parametrize(("same", "stored_"), [(True, Stored.NO), (False, Stored.BORDER)])
def test_a_tensor_joined_with_itself_is_repeated_by_plain_code(same: bool, stored_: Stored) -> None:
    """As angles of rotary embeddings are; backward repeats it again, while another `cat` is kept."""
    step = Step()
    hidden, other = (step.product(step.x, step.weight(name)) for name in "ab")
    twice = (2 * SIDE, SIDE)
    parts = (hidden, hidden if same else other)
    joined = step.sketch.run("aten.cat.default", parts, twice, arguments=(list(parts),))
    out = step.sketch.run("aten.mm.default", (step.sketch.run("aten.neg.default", (joined,), twice), other), twice)
    step.sketch.run("aten.mul.Tensor", (joined, out), twice, phase="backward")
    assert stored(step.trace(out), 2) == stored_
