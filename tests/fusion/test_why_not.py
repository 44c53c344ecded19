"""`explain --why-not`: the reason is the policy's own, from a closed list that is documented."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings

import hiersim as hs
from hiersim.cli.main import main
from hiersim.errors import FusionError
from hiersim.explanation import explain_pair
from hiersim.frontends.published.sketch import Sketch, turned
from hiersim.fusion import epilogue, pointwise
from hiersim.fusion.inductor import policy as rules
from hiersim.fusion.partition import launching
from hiersim.fusion.reasons import MEANING, Reason
from hiersim.fusion.registry import BUILT_IN
from hiersim.fusion.why import find_operator, share_a_kernel, why_not
from hiersim.model.metrics import METRICS
from hiersim.model.operators import DType
from hiersim.model.trace import Trace
from hiersim.testing.strategies import dags

PAGE = (Path(__file__).parents[2] / "docs" / "fusion.md").read_text()
PARTITIONS = {"pointwise": pointwise.partition, "epilogue": epilogue.partition, "inductor-rules": rules.partition}
few = settings(max_examples=max(15, settings.default.max_examples // 4))  # type: ignore[union-attr]


def test_every_reason_is_explained_and_documented() -> None:
    assert set(MEANING) == set(Reason)
    for reason, (meaning, remedy) in MEANING.items():
        assert f"| `{reason.value}` | {meaning}. To change it: {remedy} |" in PAGE


@few
@given(dags(8))
def test_two_operators_are_apart_exactly_where_the_policy_keeps_them_apart(trace: Trace) -> None:
    rows = launching(trace.graph).tolist()
    for name, partition in PARTITIONS.items():
        groups = partition(trace.graph)
        for one, other in zip(rows, rows[1:] + rows[:1], strict=True):
            verdict = why_not(trace, name, one, other)
            assert verdict.together == share_a_kernel(groups, one, other)
            assert verdict == why_not(trace, name, other, one)


@pytest.mark.parametrize(
    ("trace", "policy", "pair", "reason"),
    [
        ("gpt2-large-prefill", "eager", ("4", "5"), Reason.ONE_KERNEL_EACH),
        ("gpt2-large-prefill", "eager", ("1", "5"), Reason.LAUNCHES_NOTHING),
        ("gpt2-large-prefill", "pointwise", ("22", "23"), Reason.NOT_ELEMENTWISE),
        ("gpt2-large-prefill", "pointwise", ("22", "56"), Reason.NOT_ADJACENT),
        ("gpt2-large-prefill", "pointwise", ("22", "38"), Reason.CYCLE),
        ("llama3-8b-prefill", "pointwise", ("17", "15"), Reason.NOT_ADJACENT),
        ("gpt2-large-prefill", "epilogue", ("20", "25"), Reason.TWO_PRODUCTS),
        ("gpt2-large-prefill", "epilogue", ("16", "22"), Reason.NOT_ADJACENT),
        ("gpt2-large-prefill", "epilogue", ("20", "22"), None),
        ("gpt2-large-prefill", "epilogue", ("23", "25"), None),
        ("gpt2-large-prefill", "inductor-rules", ("20", "22"), Reason.LIBRARY_CALL),
        ("gpt2-large-prefill", "inductor-rules", ("22", "23"), None),
        ("gpt2-large-prefill", "inductor", ("4", "38"), None),
        ("gpt2-large-prefill", "inductor", ("23", "34"), Reason.LOOP_NEST),
        ("gpt2-train", "inductor-rules", ("22", "1123"), Reason.PHASE),
        ("gpt2-train", "inductor-rules", ("4", "1130"), Reason.NOT_COMPILED),
        ("resnet50-infer", "inductor-rules", ("2", "3"), Reason.LOOP_NEST),
    ],
)
def test_reasons_on_real_models(trace: str, policy: str, pair: tuple[str, str], reason: Reason | None) -> None:
    model = hs.load_trace(trace)
    one, other = (find_operator(model, word) for word in pair)
    assert why_not(model, policy, one, other).reason is reason


def test_most_reasons_are_found_among_all_pairs_of_real_models() -> None:
    """No reason of the list is dead: those that bundled models never meet are named here."""
    seen: set[Reason | None] = set()
    for name, policy in (("gpt2-train", "inductor-rules"), ("llama3-8b-decode", "inductor-rules")):
        trace = hs.load_trace(name)
        rows = launching(trace.graph).tolist()
        pairs = [
            (rows[0], rows[5]),
            *zip(rows[::23], rows[1::23], strict=False),
            *zip(rows[::37], rows[9::37], strict=False),
        ]
        seen |= {why_not(trace, policy, one, other).reason for one, other in pairs[:40]}
    assert {None, Reason.LIBRARY_CALL, Reason.LOOP_NEST, Reason.NO_SHARED_DATA} <= seen


def attention_and_more() -> Trace:
    """Attention written out, and its result added to something."""
    sketch, line, square = Sketch(DType.BF16), (8, 256, 64), (8, 256, 256)
    q, k, v, x = (sketch.given(name, line) for name in "qkvx")
    scores = sketch.run("aten.bmm.default", (q, k), square, arguments=(q, turned(k)))
    scaled = sketch.run("aten.mul.Tensor", (scores,), square)
    weights = sketch.run("aten._softmax.default", (scaled,), square, arguments=(scaled, -1, False))
    sketch.run("aten.add.Tensor", (sketch.run("aten.bmm.default", (weights, v), line), x), line)
    return sketch.case(suite="s", name="n", params={}).trace()


@pytest.mark.parametrize("policy", ["inductor", "inductor-rules"])
def test_operators_of_attention_that_a_library_replaces_share_its_call(policy: str, tmp_path: Path) -> None:
    """The grouping before the replacement would say that products share no kernel."""
    trace = attention_and_more()
    *inside, after = launching(trace.graph).tolist()
    assert [len(inside), len(rules.inductor_rules(trace))] == [4, 2]
    for one, other in combinations(inside, 2):
        verdict = why_not(trace, policy, one, other)
        assert verdict.together
        assert "one call of scaled_dot_product_attention" in verdict.detail
    verdict = why_not(trace, policy, inside[1], after)
    assert verdict.reason is Reason.LIBRARY_CALL
    assert "is part of written-out attention" in verdict.detail
    assert verdict == why_not(trace, policy, after, inside[1])
    path = tmp_path / "written.jsonl"
    hs.write_trace(trace, path)
    words = ["explain", str(path), "-d", "h100-sxm", "-f", policy, "--why-not", str(inside[0]), str(inside[1])]
    told = CliRunner().invoke(main, words)
    assert "share a kernel under inductor (rules) (both are part of written-out attention" in told.output


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["explain", "gpt2-large-prefill", "-d", "h100-sxm", *arguments])
    return done.exit_code, done.output + (str(done.exception) if done.exception else "")


def test_the_command_says_why_and_what_would_change_it() -> None:
    code, text = run("-f", "inductor", "--why-not", "h.0.attn.c_proj/aten.addmm.default", "22")
    assert code == 0
    assert "20 aten.addmm.default of h.0.attn.c_proj and 22 aten.add.Tensor of h.0 are in different kernels" in text
    assert "- library-call: " in text
    assert "- to change it: " in text
    code, text = run("-f", "inductor", "--why-not", "22", "23")
    assert "share a kernel under inductor (captured)" in text


def test_json_has_the_keys_of_the_glossary_and_python_says_the_same() -> None:
    code, text = run("-f", "epilogue", "--why-not", "20", "25", "--json")
    answer = json.loads(text)
    assert (code, answer["reason"], answer["together"]) == (0, "two-products", False)
    assert set(answer) | set(answer["pair"][0]) <= set(METRICS)
    design = hs.load_design("h100-sxm")
    assert explain_pair(hs.load_trace("gpt2-large-prefill"), design, "epilogue", "20", "25") == answer


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("-f", "eager", "--why-not", "0", "9999"), "there is no operator 9999"),
        (("-f", "eager", "--why-not", "0", "aten.tanhh.default"), "'aten.tanhh.default' is not an operator"),
        (("-f", "eager", "--why-not", "0", "aten.tanh.default"), "36 operators are 'aten.tanh.default'"),
        (("-f", "xla", "--why-not", "0", "2"), "policy 'xla' gives no reasons"),
        (("-f", "eger", "--why-not", "0", "2"), "policy 'eger' gives no reasons (expected 'eager')"),
    ],
)
def test_what_cannot_be_asked_is_one_line(arguments: tuple[str, ...], problem: str) -> None:
    with pytest.raises(FusionError, match=r"operator|reasons") as raised:
        CliRunner().invoke(
            main, ["explain", "gpt2-large-prefill", "-d", "h100-sxm", *arguments], catch_exceptions=False,
            standalone_mode=False,
        )  # fmt: skip
    assert problem in str(raised.value)
    assert raised.value.exit_code == 2


def test_policies_that_give_reasons_are_built_in() -> None:
    trace = hs.load_trace("resnet50-infer")
    for name in BUILT_IN:
        if name not in ("optimal", "ort", "xla"):
            assert why_not(trace, name, 0, 1, hs.load_design("tpu-v4")).together in (True, False)
