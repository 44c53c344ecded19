"""Options of a run that change how it is done and not what comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest

RELU = ("docs/examples/relu.jsonl", "-d", "tiny")


def test_check_audits_every_stage_and_says_so(hiersim: Any) -> None:
    plain, checked = hiersim("run", *RELU, "--json"), hiersim("run", *RELU, "--json", "--check")
    assert checked.returncode == 0, checked.stderr
    assert "checked: every law holds for each of 15 stages" in checked.stderr
    assert plain.stderr == ""
    assert checked.stdout == plain.stdout
    assert hiersim("run", *RELU, "--json", "--check", "--quiet").stderr == ""


@pytest.mark.parametrize("option", [("--no-fast-forward",), ("--engine", "reference")])
def test_how_a_run_is_done_does_not_change_it(hiersim: Any, option: tuple[str, ...]) -> None:
    plain, other = (hiersim("compare", *RELU, "--json", *extra) for extra in ((), option))
    assert other.returncode == 0, other.stderr
    rows = [json.loads(done.stdout)["rows"] for done in (plain, other)]
    for row in (row for part in rows for row in part):
        row.pop("engine")
    assert rows[0] == rows[1]


def test_a_graph_is_replayed_on_request_and_the_result_says_so(hiersim: Any) -> None:
    rows = {}
    for launch in ("stream", "graph"):
        done = hiersim("compare", *RELU, "--json", "--launch", launch)
        assert done.returncode == 0, done.stderr
        rows[launch] = json.loads(done.stdout)["rows"][0]
        assert rows[launch]["launch"] == launch
    assert rows["stream"] == json.loads(hiersim("run", *RELU, "--json").stdout)
    faster = rows["stream"]["makespan_ticks"] - rows["graph"]["makespan_ticks"]
    assert faster == 10**6  # tiny: 5 us a call, 4 us a replay
    assert "graph replay" in hiersim("run", *RELU, "--launch", "graph").stdout


def test_a_change_that_makes_a_model_fit_is_shown_without_the_column_before(hiersim: Any) -> None:
    done = hiersim("run", *RELU, "--set", "memory.hbm.capacity=2x")
    assert "as it is" in done.stdout
    assert "note" not in done.stderr
    done = hiersim("run", "llama3-8b-decode", "-d", "tiny", "-f", "inductor", "--set", "memory.hbm.capacity=32GB")
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert "no column for tiny as it is" in notes[0]
    assert "do not fit tier 'hbm'" in notes[0]
    assert "with memory.hbm.capacity=32GB" in done.stdout
    assert "as it is" not in done.stdout
