"""`hiersim advise`, `tornado`, `knees`: in words, as JSON, and their errors."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest

import hiersim as hs
from hiersim.cli.main import status
from hiersim.decisions.studies import names
from hiersim.model.metrics import METRICS

DECODE = ("llama3-8b-decode", "--design", "h100-sxm", "--fusion", "inductor")
RESNET = ("resnet50-infer", "-d", "h100-sxm")
CACHES = ("--vary", "memory.l2.capacity=50MiB,100MiB,200MiB")
WRONG = [
    (("advise", "resnet50-infer"), "--design", ""),
    (("advise", *RESNET, "--resource", "memory.l2.bandwith"), "is not a resource of h100-sxm", "'memory.l2.bandwidth'"),
    (("advise", *RESNET, "-f", "egaer"), "not a fusion policy", "'eager'"),
    (("advise", *RESNET, "--launch", "grahp"), "is not a launch mode", "'graph'"),
    (("advise", "resnet50-inferr", "-d", "tiny"), "neither a bundled trace nor a file", "resnet50-infer"),
    (("tornado", *RESNET, "--range", "memory.l2.capacity"), "is not a range", "PATH=LOW,HIGH"),
    (("tornado", *RESNET, "--range", "memory.l2.capacity=1MiB"), "is not a range", "PATH=LOW,HIGH"),
    (("tornado", *RESNET, "--range", "memory.l2.capacity=1,2"), "has no unit", "50 MiB"),
    (("tornado", *RESNET, "--range", "memory.l2.capacity=0B,2x"), "is nothing", "above zero"),
    (("tornado", *RESNET, *("--range", "compute.cores=0.5x,2x") * 2), "has two ranges", "each path once"),
    (("knees", *RESNET, "--tier", "l3"), "has no tier 'l3'", "l2"),
    (("knees", *RESNET, "--sizes", "1MiB,2MiB"), "too few sizes", "at least three"),
    (("knees", *RESNET, "--sizes", "1MiB,2Mb,3MiB"), "write B for bytes", "50 MiB"),
    (("knees", "resnet50-infer", "-d", "dojo-d1"), "no shared cache", "one of"),
    (("target", *RESNET, "--time", "1ms"), "--vary", ""),
    (("target", *RESNET, "--time", "1", *CACHES), "has no unit", "a time"),
    (("target", *RESNET, "--time", "0ms", *CACHES), "is no time", "above zero"),
    (("target", *RESNET, "--time", "1ms", "--vary", "memory.l2.capacity"), "is no axis", "PATH=VALUES"),
    (("target", *RESNET, "--time", "1ms", "--vary", "memory.l2.capasity=1MB"), "memory.l2.capasity", "capacity"),
    (("target", *RESNET, "--time", "1ms", *CACHES, "--price", "memory.l2.capacity=9"), "is not a price", "USD/AMOUNT"),
    (("target", *RESNET, "--time", "1ms", *CACHES, "--price", "host.queue=9/1"), "is not varied", "memory.l2.capacity"),
    (("rank", "resnet50-infer", "-d", "h1000"), "neither a bundled design nor a file", "h100"),
    (("rank", "resnet50-infer", "-d", "tiny", "-f", "egaer"), "not a fusion policy", "'eager'"),
    (("study", "wating"), "is not a study", "'waiting'"),
]


@pytest.mark.parametrize(("command", "problem", "remedy"), WRONG, ids=[" ".join(row[0])[-60:] for row in WRONG])
def test_a_wrong_input_is_one_line_and_exit_2(
    command: tuple[str, ...], problem: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(list(command)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert problem in err
    assert remedy in err


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | set().union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def printed(*command: str) -> str:
    """What a command writes on standard output, run in this process."""
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        assert status(list(command)) == 0
    return written.getvalue()


def test_advice_says_what_to_buy_and_is_what_python_gives(hiersim: Any) -> None:
    done = hiersim("advise", *DECODE, "--json")
    assert done.returncode == 0, done.stderr
    advice = json.loads(done.stdout)
    assert keys(advice) - set(METRICS) == set()
    found = hs.advise(hs.load_trace("llama3-8b-decode"), hs.load_design("h100-sxm"), "inductor")
    assert advice == found.to_dict() | {"verdict": advice["verdict"]}
    assert found.to_dict()["resources"][0]["resource"] == "memory.hbm.bandwidth"
    returned = f"10 % more returns {100 * found.rows[0].gain:.1f} %"
    assert "buy hbm bandwidth, not FLOPS of the matrix unit" in advice["verdict"]
    assert returned in advice["verdict"]


def test_every_key_has_an_entry_in_the_glossary() -> None:
    bars = json.loads(printed("tornado", *RESNET, "--range", "memory.l2.capacity=0.5x,2x", "--json"))
    curve = json.loads(printed("knees", *RESNET, "--sizes", "10MiB,50MiB,250MiB,1GiB", "--json"))
    assert keys(bars) - set(METRICS) == set()
    assert keys(curve) - set(METRICS) == set()
    assert len(curve["points"]) == 4


def test_tables_are_printed_with_their_conclusion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    run = ("llama3-8b-decode", "-d", "h100-sxm")
    assert "shorten eager launches, not FLOPS of the matrix unit" in printed("advise", *run)
    assert "eager launches moves this run most" in printed("tornado", *run)
    changed = printed("advise", *run, "-r", "memory.hbm.bandwidth", "--set", "memory.hbm.bandwidth=2x")
    assert "with memory.hbm.bandwidth=2x" in changed
    assert "6.7 TB/s" in changed
    shown = printed("knees", "gpt2-large-prefill", "-d", "h100-sxm")
    assert "give 95 % of what its size can save" in shown
    assert "read of activation" in shown


def test_a_model_that_does_not_fit_is_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["advise", "llama3-8b-decode", "-d", "tiny"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "memory.hbm.capacity" in err


def test_a_target_that_is_met_is_told_and_one_that_is_not_is_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    run = ("target", "gpt2-large-prefill", "-d", "h100-sxm", *CACHES)
    assert status([*run, "--time", "15ms", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert keys(found) - set(METRICS) - {"memory.l2.capacity"} == set()
    assert found["best"]["set"] == {"memory.l2.capacity": "200MiB"}
    assert found["best"]["price_usd"] > found["price_usd"]
    assert status([*run, "--time", "15ms"]) == 0
    assert "cheapest: memory.l2.capacity=200MiB" in capsys.readouterr().out
    assert status([*run, "--time", "1ms"]) == 1
    out, err = capsys.readouterr()
    assert "200MiB" in out
    assert "none takes 1 ms or less (0 of 3 points are fast enough)" in err
    assert len(err.strip().splitlines()) == 1


def test_a_ranking_shows_unknown_prices_as_unknown() -> None:
    devices = ("h100-sxm", "v100-pcie", "a100-80gb-sxm")
    run = ("rank", "resnet50-infer", *(word for name in devices for word in ("-d", name)))
    found = json.loads(printed(*run, "--json"))
    assert keys(found) - set(METRICS) == set()
    assert {row["design"]: row["price_usd"] is None for row in found["rows"]} == {
        "h100-sxm": False, "a100-80gb-sxm": False, "v100-pcie": True,
    }  # fmt: skip
    assert found["rows"][-1]["design"] == "v100-pcie"
    assert "unknown" in printed(*run)


def test_studies_are_listed_and_told() -> None:
    listed = json.loads(printed("study", "list", "--json"))["rows"]
    assert {row["study"] for row in listed} == set(names())
    assert "Claim:" in printed("study", "hbm")
    assert keys(json.loads(printed("study", "hbm", "--json"))) - set(METRICS) == set()
