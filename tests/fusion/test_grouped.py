"""What `hiersim fuse` writes is what the policy made, and a grouping that is none is refused with its line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import hiersim as hs
from hiersim.cli.main import main
from hiersim.errors import FusionError, HiersimError, TraceError
from hiersim.frontends.integrity import Checker, check_partition
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.results import Result
from hiersim.testing.strategies import designs, traces

POLICIES = ("eager", "pointwise", "epilogue", "inductor-rules", "optimal", "attention")

ROWS = """{"format": "hiersim-trace", "version": 1, "name": "chain"}
{"tensor": "x", "shape": [64, 64], "dtype": "fp32", "role": "input"}
{"tensor": "a", "shape": [64, 64], "dtype": "fp32", "role": "activation"}
{"tensor": "b", "shape": [64, 64], "dtype": "fp32", "role": "activation"}
{"tensor": "c", "shape": [64, 64], "dtype": "fp32", "role": "activation"}
{"tensor": "y", "shape": [64, 64], "dtype": "fp32", "role": "activation", "output": true}
{"operator": "aten.relu.default", "kind": "pointwise", "reads": ["x"], "writes": ["a"]}
{"operator": "aten.view.default", "kind": "view", "reads": ["a"]}
{"operator": "aten.exp.default", "kind": "pointwise", "reads": ["a"], "writes": ["b"]}
{"operator": "aten.tanh.default", "kind": "pointwise", "reads": ["b"], "writes": ["c"]}
{"operator": "aten.add.Tensor", "kind": "pointwise", "reads": ["a", "c"], "writes": ["y"]}
"""
KERNELS = """{"kernel": [0, 2], "grouping": "mine"}
{"kernel": [3, 4], "grouping": "mine"}
"""


def same(one: Result, other: Result) -> bool:
    """All but the names of what grouped the operators, and those that nameless tensors get in the readable form."""
    first, second = (json.loads(json.dumps(result.to_dict())) for result in (one, other))
    for data in (first, second):
        for key in ("fusion", "inputs_sha256", "warnings"):
            data.pop(key)
        for place in data["placement"]:
            place["first"] = place["last"] = ""
    return bool(first == second)


@given(traces(max_operators=10), designs(), st.sampled_from(POLICIES), st.sampled_from((".npz", ".jsonl", ".jsonl.gz")))
def test_replaying_what_was_written_gives_the_result_of_the_policy(
    tmp_path_factory: pytest.TempPathFactory, trace: Trace, design: Design, policy: str, ending: str
) -> None:
    try:
        expected = hs.simulate(trace, design, fusion=policy)
        made = hs.fuse(trace, policy, design, name="mine")
    except HiersimError:
        return  # too large for the design, or nothing that launches
    path = tmp_path_factory.mktemp("fused") / f"made{ending}"
    if made.schedules and ending != ".npz":
        with pytest.raises(TraceError, match="holds no schedules"):
            hs.write_trace(made, path)
        assert not path.exists()
        return
    hs.write_trace(made, path)
    assert same(hs.simulate(hs.load_trace(path), design, fusion="mine"), expected)


@pytest.mark.parametrize("policy", ["pointwise", "inductor-rules", "inductor", "attention"])
def test_bundled_traces_keep_their_result(tmp_path: Path, policy: str) -> None:
    trace, design = hs.load_trace("bert-large-prefill"), hs.load_design("h100-sxm")
    path = tmp_path / "made.npz"
    hs.write_trace(hs.fuse(trace, policy, design, name="mine"), path)
    assert same(hs.simulate(hs.load_trace(path), design, fusion="mine"), hs.simulate(trace, design, fusion=policy))


def test_an_edited_grouping_is_replayed_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "chain.jsonl"
    path.write_text(ROWS + KERNELS)
    design = hs.load_design("h100-sxm")
    two = hs.simulate(hs.load_trace(path), design, fusion="mine")
    path.write_text(ROWS + '{"kernel": [4, 3, 2, 0], "grouping": "mine"}\n')
    one = hs.simulate(hs.load_trace(path), design, fusion="mine")
    assert (two.to_dict()["kernels"], one.to_dict()["kernels"]) == (2, 1)
    assert one.time < two.time


@pytest.mark.parametrize("length", [0, 1])
def test_an_archive_whose_grouping_has_no_kernels_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "chain.jsonl"
    path.write_text(ROWS + KERNELS)
    trace = hs.load_trace(path)
    partition = trace.groupings["mine"]
    broken = dataclasses.replace(partition, ptr=partition.ptr[:length])
    with pytest.raises(TraceError, match=r"groupings\.mine\.ptr: has no kernels"):
        check_partition(broken, trace.graph, Checker("chain.npz", "groupings.mine"))


def test_recomputing_an_operator_is_a_choice_of_the_row(tmp_path: Path) -> None:
    path = tmp_path / "chain.jsonl"
    path.write_text(ROWS + '{"kernel": [0, 2], "grouping": "mine"}\n'
                    '{"kernel": [0, 3, 4], "grouping": "mine", "recomputed": [0]}\n')  # fmt: skip
    kernels = hs.load_trace(path).groupings["mine"]
    assert kernels.copy.tolist() == [0, 0, 1, 0, 0]
    assert hs.simulate(hs.load_trace(path), hs.load_design("tiny"), fusion="mine").to_dict()["kernels"] == 2


@pytest.mark.parametrize(
    ("kernels", "problem", "line"),
    [
        ('{"kernel": [0, 2], "grouping": "mine"}', "operator 3 is in no kernel of 'mine'", 12),
        ('{"kernel": [0, 2, 3], "grouping": "mine"}\n{"kernel": [3], "grouping": "mine"}', "kernel of line 12 too", 13),
        ('{"kernel": [0, 1], "grouping": "mine"}', "operator 1 is a view", 12),
        ('{"kernel": [0, 9], "grouping": "mine"}', "there is no operator 9", 12),
        ('{"kernel": [0, 0], "grouping": "mine"}', "names an operator twice", 12),
        ('{"kernel": [], "grouping": "mine"}', "has no operators", 12),
        ('{"kernel": "0", "grouping": "mine"}', "is not a list of numbers", 12),
        ('{"kernel": [0], "grouping": "my own"}', "is not a name", 12),
        ('{"kernel": [0]}', "is not a name", 12),
        ('{"kernel": [0], "grouping": "mine", "recomputed": [2]}', "operator 2 is not in the kernel", 12),
        ('{"kernel": [0], "grouping": "mine", "launch": "late"}', "is not a launch", 12),
        ('{"kernel": [0], "grouping": "mine", "generated": 1}', "is not true or false", 12),
        ('{"kernel": [0], "grouping": "mine", "name": "k"}', "is not a key of this row", 12),
        (f'{KERNELS}{{"operator": "aten.relu.default", "kind": "pointwise"}}', "stands below a kernel", 14),
    ],
)  # fmt: skip
def test_what_is_no_grouping_is_refused_with_its_line(tmp_path: Path, kernels: str, problem: str, line: int) -> None:
    path = tmp_path / "chain.jsonl"
    path.write_text(f"{ROWS}{kernels}\n")
    with pytest.raises(TraceError) as caught:
        hs.load_trace(path)
    assert problem in str(caught.value)
    assert caught.value.line == line


def test_kernels_that_wait_for_each_other_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "chain.jsonl"
    path.write_text(ROWS + '{"kernel": [0, 4], "grouping": "mine"}\n{"kernel": [2, 3], "grouping": "mine"}\n')
    with pytest.raises(FusionError, match=r"wait for each other: 'aten.relu.default' \(0\)"):
        hs.simulate(hs.load_trace(path), hs.load_design("tiny"), fusion="mine")


def test_a_wrong_number_on_an_operator_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chain.jsonl"
    path.write_text(ROWS.replace('{"operator": "aten.exp', '{"number": 7, "operator": "aten.exp'))
    with pytest.raises(TraceError, match=r"chain.jsonl:9: number: 7 is not its number \(expected 2\)"):
        hs.load_trace(path)


def test_the_command_writes_numbers_that_can_be_edited(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    done = CliRunner().invoke(main, ["fuse", "bert-large-prefill", "-p", "pointwise", "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert "replayed by --fusion fused" in done.output
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    numbers = [row["number"] for row in rows if "operator" in row]
    assert numbers == list(range(len(numbers)))
    assert any(len(row["kernel"]) > 1 for row in rows if "kernel" in row)
    run = CliRunner().invoke(main, ["run", str(path), "-d", "h100-sxm", "-f", "fused"])
    assert run.exit_code == 0, run.output
    assert "fused (grouped)" in run.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-p", "optimal", "-o", "x.npz"], "policy 'optimal' looks at the design (expected --design D)"),
        (["-p", "nothing", "-o", "x.npz"], "'nothing' is not a fusion policy"),
        (["-p", "pointwise", "-o", "x.txt"], "has an unknown form"),
        (["-p", "pointwise", "-o", "x.npz", "--name", "eager"], "'eager' is the name of a policy"),
        (["-p", "pointwise", "-o", "x.npz", "--name", "a b"], "'a b' is no name"),
        (["-p", "inductor", "-o", "x.jsonl"], "the readable form holds no schedules"),
    ],
)
def test_faults_of_the_command_are_one_line_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["fuse", "bert-large-prefill", *arguments])
    assert isinstance(done.exception, HiersimError) or done.exit_code == 2
    assert problem in (str(done.exception) if isinstance(done.exception, HiersimError) else done.output)
    assert not list(tmp_path.iterdir())
