"""`hiersim explain`: working sets and one kernel, in words and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

import hiersim as hs
from hiersim.model.metrics import METRICS
from hiersim.model.operators import DIMS
from hiersim.model.timeline import Entry

RUN = ("explain", "gpt2-large-prefill", "--design", "h100-sxm", "--fusion", "inductor")


@pytest.fixture(scope="module")
def answer(hiersim: Any) -> dict[str, Any]:
    done = hiersim(*RUN, "--kernel", "7", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | set().union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def test_every_key_has_an_entry_in_the_glossary(answer: dict[str, Any]) -> None:
    sizes = {name for names in DIMS.values() for name in names}
    tiers = {"l2", "hbm"}
    assert keys(answer) - sizes - tiers - set(METRICS) == set()


def test_working_sets_come_with_the_largest_savings_first(answer: dict[str, Any]) -> None:
    sets = answer["working_sets"]
    saved = [item["saved_bytes"] for item in sets]
    assert saved == sorted(saved, reverse=True)
    for item in sets:
        assert 0 <= item["begin_bytes"] <= item["held_bytes"]
        assert sum(part["saved_bytes"] for part in item["parts"]) == item["saved_bytes"]
        assert all(part["kernels"] for part in item["parts"])
    assert answer["compulsory_bytes"] <= answer["home_bytes"] <= answer["compulsory_bytes"] + sum(saved)


def test_a_kernel_adds_up(answer: dict[str, Any]) -> None:
    kernel = answer["kernel"]
    assert kernel["kernel"] == 7
    assert kernel["ticks"] == kernel["end_ticks"] - kernel["start_ticks"]
    assert 0 < kernel["bound_share"] <= 1
    assert max(kernel["busy_ticks"].values()) == kernel["busy_ticks"][kernel["bound"]]
    tile = kernel["tile"]
    assert tile["waves"] == -(-tile["blocks"] // 132)
    (operator,) = kernel["operators"]
    dims = operator["dims"]
    assert operator["flops"]["matrix"] == 2 * dims["batch"] * dims["m"] * dims["n"] * dims["k"]
    assert tile["blocks"] == -(-dims["m"] // tile["tile_m"]) * -(-dims["n"] // tile["tile_n"]) * tile["split"]
    assert {row["entry"] for row in kernel["ledger"]} <= {entry.name.lower() for entry in Entry}


def test_kernels_move_what_the_run_moves() -> None:
    """Bytes and ledger of all kernels, added up, are those of the run."""
    from hiersim.explanation import kernel_facts

    result = hs.simulate(hs.load_trace("llama3-8b-decode"), hs.load_design("h100-sxm"), "inductor")
    facts = [kernel_facts(result, kernel) for kernel in range(0, len(result.graph))]
    for tier in ("l2", "hbm"):
        for way in ("read", "write"):
            assert sum(fact["traffic_bytes"][tier][way] for fact in facts) == result.traffic[tier][way]
    assert sum(row["ticks"] for fact in facts for row in fact["ledger"]) == result.makespan
    assert sum(fact["flops"]["matrix"] for fact in facts) == result.program.flops[0]


def test_the_tables_name_the_sizes_and_the_kernel(hiersim: Any) -> None:
    done = hiersim(*RUN, "--kernel", "7")
    assert done.returncode == 0, done.stderr
    for text in ("held from", "MiB", "held", "hbm traffic:", "(compulsory)", "kernel 7: extern_kernels.addmm", "waves"):
        assert text in done.stdout


def test_python_does_what_the_command_does(answer: dict[str, Any]) -> None:
    result = hs.simulate(hs.load_trace("gpt2-large-prefill"), hs.load_design("h100-sxm"), "inductor")
    assert json.loads(json.dumps(hs.explain(result, "7").to_dict())) == answer
    assert hs.explain(result, "extern_kernels.addmm").kernel is not None
    assert hs.explain(result).to_dict()["kernel"] is None


@pytest.mark.parametrize(
    ("word", "problem", "remedy"),
    [
        ("9999", "there is no kernel 9999", "an index from 0 to"),
        ("extern_kernels.adm", "'extern_kernels.adm' is not a kernel of this run", "extern_kernels.addmm"),
    ],
)
def test_a_kernel_that_is_not_there_is_one_line_and_exit_2(hiersim: Any, word: str, problem: str, remedy: str) -> None:
    done = hiersim(*RUN, "--kernel", word)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert problem in done.stderr
    assert remedy in done.stderr


def test_by_class_splits_a_run_into_contractions_and_the_rest(hiersim: Any) -> None:
    run = ("explain", "gpt2-train", "--design", "h100-sxm", "--by-class")
    done = hiersim(*run)
    assert done.returncode == 0, done.stderr
    for name in ("contraction", "normalization", "elementwise", "all"):
        assert name in done.stdout
    answer = json.loads(hiersim(*run, "--json").stdout)
    assert keys(answer) <= set(METRICS)
    assert [row["operator_class"] for row in answer["classes"]] == ["contraction", "normalization", "elementwise"]
    assert answer["classes"][0]["flops"] > 0.9 * sum(row["flops"] for row in answer["classes"])


def test_a_port_that_writes_behind_the_end_of_a_kernel_is_busy_all_the_time() -> None:
    """On the M1 Max the last tier serves an element-wise kernel for longer than the kernel takes: it writes back."""
    from hiersim.explanation import kernel_facts
    from hiersim.views.explanation import kernel_lines

    result = hs.simulate(hs.load_trace("resnet50-infer"), hs.load_design("m1-max"))
    facts = [kernel_facts(result, kernel) for kernel in range(len(result.program))]
    behind = [fact for fact in facts if fact["behind_ticks"]]
    assert behind and all(0 <= fact["bound_share"] <= 1 for fact in facts)
    for fact in facts:
        served = fact["busy_ticks"][fact["bound"]]
        assert fact["behind_ticks"] == max(served - fact["ticks"], 0)
        assert fact["bound_share"] == pytest.approx(min(served / fact["ticks"], 1))
    assert all(fact["traffic_bytes"][fact["bound"]]["write"] for fact in behind), "what is left over are writes"
    told = next(line for line in kernel_lines(behind[0]) if line.startswith("busiest"))
    assert told.startswith(f"busiest: {behind[0]['bound']}, 100.0 % of the time, and ") and "behind its end" in told
