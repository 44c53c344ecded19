"""The main job from the command line: what `compare` and `run` promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hiersim.model.metrics import METRICS
from hiersim.model.timeline import ENGINES

RESULT_KEYS = {
    "schema", "trace", "design", "fusion", "engine", "version", "inputs_sha256", "makespan_ticks", "time_s", "cycles",
    "operators", "kernels", "tiles", "flops", "utilization", "stall_fraction", "ledger", "home_tier", "traffic_bytes",
    "peak_bytes", "bounds", "memory_cost_usd", "energy_j", "warnings",
}  # fmt: skip
BOUND_KEYS = {"compute_ticks", "link_ticks", "critical_path_ticks", "compulsory_bytes"}


@pytest.fixture(scope="module")
def rows(hiersim: Any) -> list[dict[str, Any]]:
    done = hiersim(
        "compare", "gpt2-large-prefill", "--design", "h100-sxm", "--fusion", "eager", "--fusion", "inductor", "--json"
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return found


def test_every_key_of_the_interface_is_there(rows: list[dict[str, Any]]) -> None:
    assert [row["fusion"] for row in rows] == ["eager", "inductor (captured)"]
    for row in rows:
        assert set(row) >= RESULT_KEYS
        assert set(row["bounds"]) == BOUND_KEYS
        assert set(row["utilization"]) == {"matrix", "vector", "overall"}
        assert set(row["peak_bytes"]) == {"registers", "smem", "l2", "hbm", "dram", "nvme"}
        assert set(row["traffic_bytes"]) == {*row["peak_bytes"], "pcie"}
        assert all(set(entry) == {"engine", "entry", "tier", "phase", "ticks"} for entry in row["ledger"])


def test_the_ledger_adds_up_for_each_engine(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        for engine in ENGINES:
            ticks = [entry["ticks"] for entry in row["ledger"] if entry["engine"] == engine]
            assert all(isinstance(value, int) and value > 0 for value in ticks)
            assert sum(ticks) == row["makespan_ticks"]


def test_flops_agree_but_for_what_is_recomputed(rows: list[dict[str, Any]]) -> None:
    eager, compiled = rows
    for unit in ("matrix", "vector"):
        assert compiled["flops"][unit] - compiled["recomputed_flops"][unit] == pytest.approx(
            eager["flops"][unit], rel=1e-3
        )
    assert compiled["flops"]["matrix"] - compiled["recomputed_flops"]["matrix"] == eager["flops"]["matrix"]


def test_fusion_moves_fewer_bytes(rows: list[dict[str, Any]]) -> None:
    moved = [row["traffic_bytes"]["hbm"]["read"] + row["traffic_bytes"]["hbm"]["write"] for row in rows]
    assert moved[1] < moved[0]
    assert all(total >= row["bounds"]["compulsory_bytes"] for total, row in zip(moved, rows, strict=True))


def test_no_bound_is_beaten(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        bounds = row["bounds"]
        for least in (bounds["compute_ticks"], bounds["critical_path_ticks"], *bounds["link_ticks"].values()):
            assert row["makespan_ticks"] >= least


def words(value: Any) -> set[str]:
    """Every key of nested JSON, and the names that ledger entries use as values."""
    found: set[str] = set()
    if isinstance(value, dict):
        for key, entry in value.items():
            found |= {key} | words(entry)
            if "ticks" in value and key in ("engine", "entry", "phase") and isinstance(entry, str):
                found.add(entry)
    elif isinstance(value, list):
        for entry in value:
            found |= words(entry)
    return found


def test_every_key_has_an_entry_in_the_glossary(rows: list[dict[str, Any]]) -> None:
    tiers = set(rows[0]["traffic_bytes"])
    assert words({"rows": rows}) - tiers - set(METRICS) == set()


def test_the_same_inputs_give_the_same_bytes(hiersim: Any) -> None:
    command = ("run", "resnet50-infer", "--design", "a100-80gb-sxm", "--fusion", "inductor", "--json")
    first = hiersim(*command, PYTHONHASHSEED="1")
    second = hiersim(*command, PYTHONHASHSEED="4242")
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout


@pytest.mark.parametrize("fusion", ["eager", "inductor"])
def test_more_sram_never_moves_more_and_never_takes_longer(hiersim: Any, fusion: str) -> None:
    found = []
    for size in ("1MiB", "24MiB", "96MiB", "1GiB"):
        done = hiersim(
            "run", "gpt2-large-prefill", "-d", "h100-sxm", "-f", fusion, "--json", "--set", f"memory.l2.capacity={size}"
        )
        assert done.returncode == 0, done.stderr
        row = json.loads(done.stdout)
        moved = row["traffic_bytes"]["hbm"]
        found.append((moved["read"] + moved["write"], row["makespan_ticks"]))
    assert found == sorted(found, reverse=True)
    assert len({moved for moved, _ in found}) == len(found), "every step moves the traffic"
    assert [ticks for _, ticks in found] == sorted((ticks for _, ticks in found), reverse=True)


def test_twice_the_bandwidth_speeds_up_decode_and_moves_the_same(hiersim: Any) -> None:
    command = ("run", "llama3-8b-decode", "-d", "h100-sxm", "-f", "inductor", "--json")
    base, fast = (json.loads(hiersim(*command, *extra).stdout) for extra in ((), ("--set", "memory.hbm.bandwidth=2x")))
    assert fast["traffic_bytes"] == base["traffic_bytes"]
    assert fast["bounds"]["link_ticks"]["hbm"] == pytest.approx(base["bounds"]["link_ticks"]["hbm"] / 2, rel=1e-6)
    assert 0.4 * base["makespan_ticks"] < fast["makespan_ticks"] < 0.8 * base["makespan_ticks"]
    assert fast["set"] == {"memory.hbm.bandwidth": "2x"}


def test_tables_print_the_ledger_as_a_sum(hiersim: Any) -> None:
    done = hiersim("run", "docs/examples/relu.jsonl", "-d", "tiny")
    assert done.returncode == 0, done.stderr
    flat = " ".join(done.stdout.split())
    assert "15,360 working + 9,000,000 launch and set-up + 340,960 l2 + 1,256,320 hbm = 10,612,640 ps" in flat
    whole = hiersim("run", "docs/examples/relu.jsonl", "-d", "tiny", "-v").stdout
    assert "15,360 useful + 9,000,000 launch and set-up" in " ".join(whole.split())


def test_a_change_is_shown_beside_the_design_as_it_is(hiersim: Any) -> None:
    done = hiersim("run", "docs/examples/relu.jsonl", "-d", "tiny", "--set", "memory.hbm.bandwidth=2x")
    assert done.returncode == 0, done.stderr
    for text in ("with memory.hbm.bandwidth=2x", "as it is", "changed", "10.61 us", "has no price here"):
        assert text in done.stdout


def test_compare_runs_what_the_trace_has(hiersim: Any) -> None:
    done = hiersim("compare", "docs/examples/relu.jsonl", "-d", "tiny", "--json")
    assert [row["fusion"] for row in json.loads(done.stdout)["rows"]] == ["eager"]


def test_the_demo_prints_tables_and_writes_report_and_timelines(hiersim: Any, tmp_path: Path) -> None:
    done = hiersim("demo", "--out", str(tmp_path / "demo"))
    assert done.returncode == 0, done.stderr
    for text in (
        "gpt2-large-prefill on NVIDIA A100",
        "llama3-8b-decode on NVIDIA H100",
        "launch and set-up",
        "hbm traffic",
    ):
        assert text in done.stdout
    rows = json.loads((tmp_path / "demo" / "results.json").read_text())["rows"]
    assert len(rows) == 8
    assert len(list((tmp_path / "demo").glob("*.pftrace"))) == 8
    assert "| time |" in (tmp_path / "demo" / "report.md").read_text()
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert all(trace in page for trace in ("gpt2-large-prefill", "llama3-8b-decode"))


def test_an_engine_without_its_libraries_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hiersim.cli.main import status
    from hiersim.engines import compiled

    for built in (True, False):
        monkeypatch.setattr(compiled, "compiled", lambda built=built: built)
        assert status(["run", "resnet50-infer", "-d", "h100-sxm", "--json"]) == 0
        assert ("ran interpreted" in capsys.readouterr().err) is not built
