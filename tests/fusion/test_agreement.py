"""The rules for TorchInductor agree with what TorchInductor did, model by model; docs/fusion.md shows the table."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hiersim import bundled
from hiersim.errors import FusionError
from hiersim.frontends.load import load_trace
from hiersim.fusion import pointwise
from hiersim.fusion.agreement import Agreement, agreement
from hiersim.fusion.correspondence import correspondence
from hiersim.fusion.inductor.policy import inductor, inductor_rules, partition
from hiersim.fusion.inductor.rules import InductorRules
from hiersim.model.operators import Flag, Kind
from hiersim.model.trace import Trace

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "fusion.md"
MODELS = {name: name for name in bundled.traces()} | {
    path.stem: str(path) for path in sorted((HERE / "captured").glob("*.npz"))
}
LATER = ("dit", "gqa", "gqa_train", "gru", "swin", "wav")
"""Models that were captured after the rules were written."""
LIBRARIES = ("deit_train", "efficientnet", "electra_train", "gemma2", "neox", "regnet", "resnet18_train")
"""Models of timm and transformers that were captured later still."""
BOTH = 0.9
"""Least precision and recall of kernel boundaries over all models together."""
EACH = 0.85
"""And for each model alone."""


@cache
def trace_of(model: str) -> Trace:
    return load_trace(MODELS[model])


@cache
def found(model: str) -> Agreement:
    trace = trace_of(model)
    return agreement(trace, partition(trace.graph), trace.schedules["inductor"])


def together(models: list[str]) -> Agreement:
    """All edges of several models."""
    parts = [found(model) for model in models]
    names = ("cut_by_both", "cut_by_policy", "cut_by_compiler", "fused_by_both", "unmatched")
    return Agreement(causes=(), **{name: sum(getattr(part, name) for part in parts) for name in names})


def table() -> str:
    """The table of docs/fusion.md."""
    lines = [
        "| model | edges | not matched | precision | recall | fused: precision | recall | kernels: rules | captured |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]

    def shares(part: Agreement) -> str:
        values = (part.precision, part.recall, part.fused_precision, part.fused_recall)
        return " | ".join(f"{value:.3f}" for value in values)

    for model in MODELS:
        part, trace = found(model), trace_of(model)
        counts = f"{len(partition(trace.graph))} | {len(trace.schedules['inductor'])}"
        lines.append(f"| `{model}` | {part.edges} | {part.unmatched} | {shares(part)} | {counts} |")
    whole = together(list(MODELS))
    lines.append(f"| all edges | {whole.edges} | {whole.unmatched} | {shares(whole)} | | |")
    return "\n".join(lines)


def test_there_are_enough_models_of_different_kinds() -> None:
    assert len(MODELS) >= 30
    assert set(LATER) | set(LIBRARIES) <= set(MODELS)
    kinds = {Kind(kind) for model in MODELS for kind in np.unique(trace_of(model).graph.operators.kind).tolist()}
    assert {Kind.GEMM, Kind.CONV, Kind.ATTENTION, Kind.REDUCTION, Kind.GATHER, Kind.SCATTER, Kind.SORT} <= kinds


@pytest.mark.parametrize("model", list(MODELS))
def test_rules_agree_with_the_captured_schedule(model: str) -> None:
    part = found(model)
    assert part.edges > 0
    assert part.precision >= EACH, part.causes[:5]
    assert part.recall >= EACH, part.causes[:5]


def test_rules_agree_over_all_models_and_over_those_that_are_not_bundled() -> None:
    """The bundled models alone have most edges, and the rules were first tried on them."""
    for models in (list(MODELS), [model for model in MODELS if model not in bundled.traces()]):
        whole = together(models)
        assert min(whole.precision, whole.recall) >= BOTH
        assert min(whole.fused_precision, whole.fused_recall) >= BOTH


def test_the_measure_tells_policies_apart() -> None:
    """Fusing element-wise chains alone cuts too much, and the same measure says so."""
    models = ["bert-large-prefill", "llama3-8b-prefill", "t5"]
    parts = [
        agreement(trace_of(model), pointwise.partition(trace_of(model).graph), trace_of(model).schedules["inductor"])
        for model in models
    ]
    assert all(part.precision < BOTH for part in parts)


def test_thresholds_matter() -> None:
    """Without recomputation in several users, the residual chains of a transformer are cut elsewhere."""
    trace = trace_of("gpt2-large-prefill")
    strict = agreement(
        trace, partition(trace.graph, InductorRules(realize_reads_threshold=1)), trace.schedules["inductor"]
    )
    assert strict.cut_by_policy + strict.cut_by_compiler > 0
    assert found("gpt2-large-prefill").cut_by_policy + found("gpt2-large-prefill").cut_by_compiler == 0


@pytest.mark.parametrize("model", ["bert-large-prefill", "resnet50-infer", "llama3-8b-decode"])
def test_what_is_matched_does_the_same_work(model: str) -> None:
    """Products are found exactly once each, so that no kernel is matched by chance."""
    trace = trace_of(model)
    schedule = trace.schedules["inductor"]
    kernels = correspondence(trace, schedule).kernels
    kernel_of = np.repeat(np.arange(len(schedule)), np.diff(schedule.operator_ptr))
    for row in np.flatnonzero(trace.graph.operators.matrix_flops).tolist():
        (kernel,) = kernels[row]
        inside = schedule.operators.matrix_flops[kernel_of == kernel].sum()
        assert inside == trace.graph.operators.matrix_flops[row]


def test_inductor_replays_what_was_captured_and_else_the_rules() -> None:
    trace = trace_of("t5")
    bare = Trace(header=trace.header, graph=trace.graph)
    assert inductor(trace) is trace.schedules["inductor"]
    assert inductor(bare).policy == inductor_rules(trace).policy == "inductor (rules)"
    assert inductor(bare).names == inductor_rules(trace).names


def test_the_rules_compute_again_what_is_cheap_to_read() -> None:
    graph = inductor_rules(trace_of("llama3-8b-decode"))
    again = graph.recomputed == 1
    assert int(again.sum()) > 0
    assert not np.any(graph.operators.flags[again] & Flag.RANDOM)
    assert int(graph.operators.matrix_flops[again].sum()) == 0


def test_the_page_shows_the_table(pytestconfig: pytest.Config) -> None:
    text = PAGE.read_text()
    begin, end = "<!-- agreement: made by tests/fusion/test_agreement.py --regenerate -->\n", "\n<!-- end -->"
    pattern = re.escape(begin) + r"(.*?)" + re.escape(end)
    if pytestconfig.getoption("--regenerate"):
        PAGE.write_text(re.sub(pattern, lambda _: begin + table() + end, text, flags=re.DOTALL))
        return
    shown = re.search(pattern, text, re.DOTALL)
    assert shown is not None
    assert shown.group(1) == table(), "run: pytest tests/fusion/test_agreement.py --regenerate"


def test_a_trace_that_launches_nothing_is_refused_by_name() -> None:
    trace = trace_of("t5")
    table_ = trace.graph.operators
    views = np.full(len(table_), int(Kind.VIEW), np.int64)
    empty = dataclasses.replace(trace.graph, operators=dataclasses.replace(table_, kind=views))
    with pytest.raises(FusionError, match="launches nothing"):
        inductor_rules(Trace(header=trace.header, graph=empty))


@pytest.mark.torch
def test_the_captures_are_what_torch_makes(monkeypatch: pytest.MonkeyPatch, process: Any) -> None:
    """One of them, again: the same operators and the same kernels."""
    from hiersim.frontends.pytorch.capture import capture_torch

    monkeypatch.syspath_prepend(str(HERE))
    again, kept = capture_torch("models:generator", "inductor", process=process), trace_of("generator")
    assert again.schedules["inductor"].names == kept.schedules["inductor"].names
    for one, other in ((again.graph, kept.graph), (again.schedules["inductor"], kept.schedules["inductor"])):
        assert one.operators.strings == other.operators.strings
        assert one.reads.size.tolist() == other.reads.size.tolist()
        assert one.writes.size.tolist() == other.writes.size.tolist()
