"""The walk over model libraries tells apart what works, what is refused and what is wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from benchmarks import libraries, torch_flops  # noqa: E402
from benchmarks.libraries import Finding, apart, families, walk  # noqa: E402
from hiersim.frontends.pytorch.torchvision_names import declare_torchvision  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture
def timm() -> None:
    declare_torchvision()
    pytest.importorskip("timm")


def test_a_model_that_works_has_the_flops_that_torch_counts(timm: None) -> None:
    found = apart("timm:test_resnet", "eager", 60.0)
    assert (found.verdict, found.said) == ("works", "")
    assert found.flops == found.by_torch > 0


def test_other_flops_are_told(timm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_flops, "flops_by_torch", lambda target, workload: 1)
    assert apart("timm:test_resnet", "eager", 60.0).verdict == "differs"


def test_a_refusal_is_the_line_that_a_user_sees(timm: None) -> None:
    found = apart("timm:no_such_model", "eager", 60.0)
    assert found.verdict == "refused"
    assert "'no_such_model' is not known to timm" in found.said


@pytest.mark.parametrize(
    ("does", "verdict", "said"),
    [
        (lambda target, mode: 1 / 0, "broken", "ZeroDivisionError"),
        (lambda target, mode: time.sleep(60), "too long", "status -9"),
    ],
)
def test_what_goes_wrong_is_told(does: object, verdict: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "capture", does)
    found = apart("timm:x", "eager", 0.5)
    assert found.verdict == verdict
    assert said in found.said


def test_a_walk_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def found(target: str, mode: str, seconds: float) -> Finding:
        tried.append(target)
        return Finding(target=target, verdict="works")

    monkeypatch.setattr(libraries, "apart", found)
    out = tmp_path / "found.jsonl"
    for names in (["a"], ["a", "b"]):
        assert [item.target for item in walk(names, "eager", 1.0, out)] == names
    assert tried == ["a", "b"]
    assert [json.loads(line)["target"] for line in out.read_text().splitlines()] == ["a", "b"]


def test_each_family_is_there_once_and_by_a_small_model(timm: None) -> None:
    names = families()
    assert len(set(names)) == len(names) > 70
    assert "timm:resnet10t" in names or "timm:resnet18" in names
