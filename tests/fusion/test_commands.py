"""Policies as a user meets them: by name, in results, in errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hiersim.cli.main import main
from hiersim.fusion.registry import BUILT_IN

RELU = str(Path(__file__).parents[2] / "docs" / "examples" / "relu.jsonl")


def run(*arguments: str) -> dict[str, object]:
    done = CliRunner().invoke(main, ["run", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(
    ("fusion", "word"),
    [
        ("inductor", "inductor (rules)"), ("inductor-rules", "inductor (rules)"), ("pointwise", "pointwise"),
        ("epilogue", "epilogue"), ("attention", "attention"), ("optimal", "optimal"),
    ],
)  # fmt: skip
def test_a_trace_without_a_captured_schedule_runs_under_every_policy(fusion: str, word: str) -> None:
    assert run(RELU, "-d", "tiny", "-f", fusion)["fusion"] == word


def test_the_rules_can_be_forced_where_a_schedule_is_there() -> None:
    captured, rules = (
        run("bert-large-prefill", "-d", "h100-sxm", "-f", name) for name in ("inductor", "inductor-rules")
    )
    assert (captured["fusion"], rules["fusion"]) == ("inductor (captured)", "inductor (rules)")
    assert captured["kernels"] == rules["kernels"]
    assert captured["time_s"] == pytest.approx(rules["time_s"], rel=1e-3)


def test_the_help_names_all_policies() -> None:
    text = "".join(CliRunner().invoke(main, ["run", "--help"]).output.split())  # names break at hyphens
    assert all(name in text for name in BUILT_IN)
