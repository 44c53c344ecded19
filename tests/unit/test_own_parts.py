"""What one writes oneself: a policy that is a function, and what a newcomer's own tools need of a result."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

import hiersim as hs
from hiersim.cost import work_of
from hiersim.model.kernels import KernelGraph

TINY = hs.load_design("tiny")
TRACE = hs.load_trace("resnet50-infer")
PROFILE = Path(__file__).parents[2] / "notebooks/data/encoder-b1.json.gz"


def alone(trace: hs.Trace, design: hs.Design) -> KernelGraph:
    return hs.group(trace, range(len(trace.graph.operators)), "alone")


def test_a_policy_may_be_a_function() -> None:
    """One kernel per operator is eager but for what the host does; it stands in comparisons under its own name."""
    eager, mine = hs.compare(TRACE, [TINY], ["eager", alone])
    assert mine.fusion == "alone" and len(mine.program) == len(eager.program)
    assert mine.traffic == eager.traffic
    assert mine.inputs_sha256 != eager.inputs_sha256


def test_a_function_that_is_no_policy_is_told_so() -> None:
    with pytest.raises(hs.FusionError, match=r"<lambda> returned int \(expected kernels, as hs.group makes them\)"):
        hs.simulate(TRACE, TINY, lambda trace, design: 3)  # type: ignore[arg-type, return-value]
    with pytest.raises(hs.FusionError, match=r"3 is not a fusion policy \(expected a name, or a function"):
        hs.simulate(TRACE, TINY, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([1, 2], "has 2 labels"),
        (np.zeros((2, 2), int), r"has int64 \(2, 2\) labels"),
        ([0.5], r"has float64 \(1,\) labels"),
    ],
)
def test_labels_are_one_whole_number_per_operator(labels: object, words: str) -> None:
    with pytest.raises(hs.FusionError, match=f"'mine' {words} .*expected {len(TRACE.graph.operators)} whole numbers"):
        hs.group(TRACE, labels, "mine")  # type: ignore[arg-type]


def test_measured_times_are_those_of_the_json_form() -> None:
    assert hs.simulate(TRACE, TINY).measured is None
    result = hs.simulate(hs.import_kineto(PROFILE), hs.load_design("h200-sxm"))
    assert result.measured == result.to_dict()["measured"]
    assert result.measured is not None and result.measured["device"] == "NVIDIA H200"


def test_the_ridge_point_is_peak_over_bandwidth() -> None:
    h100 = hs.load_design("h100-sxm")
    assert h100.ridge_point == pytest.approx(989.4e12 / 3.35e12, rel=1e-3)
    assert h100.replace({"memory.hbm.bandwidth": "unlimited"}).ridge_point is None


def test_variants_of_a_decode_step_say_how_many_tokens_they_make() -> None:
    """Their dollars per token would be those of the step that they were made from."""
    step = hs.load_trace("llama3-8b-decode")
    assert work_of(step) == (1, "tokens")
    many = hs.variant(step, batch=8, tokens=3, stride=16)
    assert work_of(many) == (24, "tokens")
    assert many.header.workload == "8 x 3 tokens, decode over a static KV cache of 2048"
    assert hs.variant(step, context=4096).header.workload == "1 x 1 token, decode over a static KV cache of 4096"
    assert hs.variant(step, weights="fp8").header.workload == step.header.workload
    assert work_of(hs.variant(step, batch=32)) == work_of(hs.load_trace("llama3-8b-decode-b32"))


def test_a_curve_draws_its_points_and_knees() -> None:
    mpl.use("Agg")
    from matplotlib import pyplot

    curve = hs.knees(TRACE, TINY, tier="l2")
    fig, ax = curve.plot()
    lines = {line.get_label(): line for line in ax.lines}
    points = next(line for line in ax.lines if len(line.get_xdata()) == len(curve.points))
    assert list(points.get_xdata()) == [point.capacity for point in curve.points]
    assert list(points.get_ydata()) == [point.ticks for point in curve.points]
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for label, line in lines.items() if label[0].isdigit()]
    assert marks == [(knee.point.capacity, knee.point.ticks) for knee in curve.knees]
    assert repr(curve).startswith("Curve(resnet50-infer · tiny · eager: l2 at ") and len(repr(curve)) < 200
    pyplot.close(fig)
