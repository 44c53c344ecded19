"""Variants on the command line: what `hiersim.variant` does, one option per argument."""

from __future__ import annotations

import json
from typing import Any

import pytest

import hiersim as hs

DECODE = ("llama3-8b-decode", "-d", "h100-sxm")


def test_options_are_the_arguments_of_variant(hiersim: Any) -> None:
    done = hiersim(
        "run", *DECODE, "-f", "inductor", "--json", "--weights", "mxfp4", "--batch", "8", "--context", "4096",
        "--tokens", "2:64",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trace = hs.variant(hs.load_trace("llama3-8b-decode"), weights="mxfp4", batch=8, context=4096, tokens=2, stride=64)
    assert json.loads(done.stdout) == hs.simulate(trace, hs.load_design("h100-sxm"), "inductor").to_dict()


def test_the_name_of_the_variant_stands_above_its_table(hiersim: Any) -> None:
    done = hiersim("compare", *DECODE, "--context", "512", "--weights", "fp8", "-f", "inductor")
    assert "llama3-8b-decode[weights=fp8,context=512] on" in done.stdout
    assert all(line.startswith("warning: extrapolated") for line in done.stderr.splitlines())


def test_llama_70b_in_fp8_fits_an_h200(hiersim: Any) -> None:
    plain = hiersim("run", "llama3-70b-decode", "--design", "h200")
    assert plain.returncode == 0
    assert "of weight live in 'dram'" in plain.stderr
    done = hiersim("run", "llama3-70b-decode", "--design", "h200", "--weights", "fp8", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["design"] == "h200-sxm"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--weights", "fp7"), ("weights", "'fp7' is not a format", "expected 'fp8'")),
        (("--tokens", "many"), ("--tokens", "'many' is not a number of tokens", "64:16")),
        (("--tokens", "1:2:3"), ("--tokens", "N:STRIDE")),
        (("--tokens", "0"), ("tokens", "is 0", "a whole number from 1")),
        (("--context", "-1"), ("context", "is -1")),
        (("--batch", "2.5"), ("2.5", "not a valid integer")),
    ],
)
def test_a_wrong_option_is_one_line(hiersim: Any, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = hiersim("run", *DECODE, *options)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert all(word in done.stderr for word in words), done.stderr


def test_what_has_no_context_is_refused_with_what_would_work(hiersim: Any) -> None:
    done = hiersim("run", "resnet50-infer", "-d", "h100-sxm", "--context", "64")
    assert done.returncode == 2
    assert "has no KV cache" in done.stderr
    assert "llama3-8b-decode" in done.stderr
