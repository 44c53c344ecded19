"""Composite operators in primitive ones: work and compulsory bytes stay, and what has odd operands stays whole."""

from __future__ import annotations

import dataclasses
import json
from functools import cache

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import event, given, settings
from hypothesis import strategies as st

import hiersim as hs
from hiersim.cli.main import main
from hiersim.frontends.integrity import check_trace
from hiersim.frontends.variants.primitives import WORK, distinct_operators
from hiersim.frontends.variants.recipes import RECIPES
from hiersim.fusion.eager import eager
from hiersim.lowering.lower import compulsory_bytes
from hiersim.model.operators import Kind
from hiersim.model.regions import calls_of
from hiersim.model.trace import Trace
from hiersim.run import kernels_of
from hiersim.testing.strategies import cut_traces, dags

NAMES = ("bert-large-prefill", "resnet50-infer", "gpt2-train", "mixtral-8x7b-decode")
LABELS = [f"aten.{name}.default" for name in (*RECIPES, "relu_", "add", "unknown")]


@cache
def both(name: str) -> tuple[Trace, Trace]:
    trace = hs.load_trace(name)
    return trace, hs.primitives(trace)


def check_kept(trace: Trace, small: Trace) -> None:
    """FLOPs of each kind, compulsory bytes, and all that is there before and after the run."""
    check_trace(small)
    for column in WORK:
        assert getattr(small.graph.operators, column).sum() == getattr(trace.graph.operators, column).sum(), column
    assert compulsory_bytes(eager(small)) == compulsory_bytes(eager(trace))
    count = len(trace.graph.tensors.storage_bytes)
    for column in ("storage_bytes", "storage_role", "storage_output"):
        assert np.array_equal(getattr(small.graph.tensors, column)[:count], getattr(trace.graph.tensors, column))


@pytest.mark.parametrize("name", NAMES)
def test_work_and_compulsory_bytes_of_a_real_trace_stay(name: str) -> None:
    check_kept(*both(name))


@settings(max_examples=30)
@given(st.one_of(dags(), cut_traces()), st.data())
def test_work_and_compulsory_bytes_stay_whatever_operators_are_called(trace: Trace, data: st.DataObject) -> None:
    """Names of composite operators on random operands: what does not suit its recipe stays whole."""
    count = len(trace.graph.operators)
    chosen = data.draw(st.lists(st.sampled_from(range(len(LABELS))), min_size=count, max_size=count))
    table = trace.graph.operators
    named = dataclasses.replace(
        table, strings=(*table.strings, *LABELS), name=np.array(chosen, np.int64) + len(table.strings)
    )
    trace = dataclasses.replace(trace, graph=dataclasses.replace(trace.graph, operators=named))
    try:
        eager(trace)
    except hs.TraceError:
        return  # nothing is launched
    small = hs.primitives(trace)
    check_kept(trace, small)
    event("written out" if len(small.graph.operators) > count else "kept whole")
    if trace.graph.regions is not None and small.graph.regions is not None:
        before, after = calls_of(trace.graph.regions), calls_of(small.graph.regions)
        assert [call.guards for call in before] == [call.guards for call in after]


def test_texts_may_stand_twice_in_a_table() -> None:
    trace = hs.load_trace("gpt2-train")
    table = trace.graph.operators
    twice = dataclasses.replace(table, strings=table.strings * 2, name=table.name + len(table.strings))
    again = hs.primitives(dataclasses.replace(trace, graph=dataclasses.replace(trace.graph, operators=twice)))
    check_trace(again)
    assert distinct_operators(again) == distinct_operators(hs.primitives(trace))


def test_a_softmax_becomes_its_five_parts() -> None:
    trace, small = both("gpt2-train")
    before, after = distinct_operators(trace), distinct_operators(small)
    assert before["aten._log_softmax.default"] == 1
    assert "aten._log_softmax.default" not in after
    assert after["prims.amax"] == 1
    rows = [row for row in range(len(small.graph.operators)) if small.graph.operators.label(row) == "prims.amax"]
    names = [small.graph.operators.label(row) for row in range(rows[0], rows[0] + 6)]
    assert names == ["prims.amax", "prims.sub", "prims.exp", "prims.sum", "prims.log", "prims.sub"]
    special = small.graph.operators.special_ops[rows[0] : rows[0] + 6].tolist()
    assert special == [0, 0, 8192 * 50257, 0, 8192, 0]


def test_fewer_names_over_all_models() -> None:
    before, after = set[str](), set[str]()
    for name in NAMES:
        trace, small = both(name)
        before |= set(distinct_operators(trace))
        after |= set(distinct_operators(small))
    assert (len(before), len(after)) == (54, 42)


def test_in_place_operators_still_write_in_place() -> None:
    _, small = both("resnet50-infer")
    table = small.graph
    row = next(row for row in range(len(table.operators)) if table.operators.label(row) == "prims.maximum")
    read, written = (access.tensor[access.ptr[row]] for access in (table.reads, table.writes))
    assert table.tensors.tensor_storage[read] == table.tensors.tensor_storage[written]


def test_fusion_puts_the_parts_together_again() -> None:
    """Written out, a model asks for far more bytes; sharing kernels brings nearly all of them back."""
    trace, small = both("bert-large-prefill")
    design = hs.load_design("h100-sxm")
    plain, whole, parts = eager(small), eager(trace), kernels_of(small, design, "inductor-rules")
    asked = [int(graph.reads.size.sum() + graph.writes.size.sum()) for graph in (plain, whole, parts)]
    assert asked[1] < 0.45 * asked[0]
    assert asked[2] < 1.05 * asked[1]
    assert int((small.graph.operators.kind == Kind.REDUCTION).sum()) == 2 * 49


def test_the_command_counts_them() -> None:
    told = CliRunner().invoke(main, ["traces", "show", "vit-large-infer", "--primitives", "--json"])
    facts = json.loads(told.output)
    assert (facts["operators"]["distinct"], facts["primitives"]["distinct"]) == (7, 12)
    assert facts["primitives"]["names"]["prims.matmul"] == 145
    shown = CliRunner().invoke(main, ["traces", "show", "vit-large-infer", "--primitives"]).output
    assert "12 distinct primitives, 1,171 in all" in shown
