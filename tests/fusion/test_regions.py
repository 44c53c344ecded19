"""Compiled regions: read and written as they are, refused where wrong, and paid for by the host."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given

import hiersim as hs
from hiersim.cli.main import main
from hiersim.errors import DesignError, FusionError, TraceError
from hiersim.frontends.archive import load_archive, save_trace
from hiersim.frontends.rows import load_rows
from hiersim.frontends.save import write_trace
from hiersim.frontends.variants.calls import RECOMPILE_LIMIT, in_turn
from hiersim.fusion.reasons import Reason
from hiersim.fusion.why import why_not
from hiersim.model.regions import Call, Shapes, calls_of, regions_of
from hiersim.model.trace import Trace
from hiersim.run import kernels_of
from hiersim.testing.strategies import cut_traces

CHAIN = 4
ROOT = Path(__file__).parents[2]


def chain(folder: Path, *regions: dict[str, Any], operators: int = CHAIN) -> Trace:
    """A chain of small element-wise operators, cut into regions."""
    rows: list[dict[str, Any]] = [{"format": "hiersim-trace", "version": 1, "name": "chain"}]
    rows.append({"tensor": "x0", "shape": [64], "dtype": "fp32", "role": "input"})
    for step in range(1, operators + 1):
        last = {"output": True} if step == operators else {}
        rows.append({"tensor": f"x{step}", "shape": [64], "dtype": "fp32", "role": "activation", **last})
        rows.append(
            {"operator": "aten.relu.default", "kind": "pointwise", "reads": [f"x{step - 1}"], "writes": [f"x{step}"]}
        )
    path = folder / "chain.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *regions]))
    return load_rows(path)


def region(first: int, last: int, **more: Any) -> dict[str, Any]:
    return {"region": "forward", "first": first, "last": last, **more}


def dispatch_ticks(result: hs.Result) -> int:
    """Ticks that the cores wait for the host."""
    return sum(row.ticks for row in result.ledger if row.engine == "cores" and row.entry == "dispatch")


@given(cut_traces())
def test_regions_survive_both_forms(tmp_path_factory: pytest.TempPathFactory, trace: Trace) -> None:
    folder = tmp_path_factory.mktemp("cut")
    wanted = calls_of(trace.graph.regions)
    for name in ("cut.npz", "cut.jsonl", "cut.jsonl.gz"):
        write_trace(trace, folder / name)
        assert calls_of(hs.load_trace(folder / name).graph.regions) == wanted


def test_a_trace_without_regions_is_the_same_bytes_as_before_there_were_any(tmp_path: Path) -> None:
    """The bundled traces were written before."""
    source = ROOT / "traces" / "resnet50-infer.npz"
    save_trace(load_archive(source), tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == source.read_bytes()
    write_trace(chain(tmp_path), tmp_path / "again.jsonl")
    assert '"number"' not in (tmp_path / "again.jsonl").read_text()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (region(0, 9), "last: there is no operator 9 above (expected 0 … 3)"),
        (region(2, 1), "last: operator 1 is before the first (expected 2 or more)"),
        ({"region": "f", "last": 1}, "first: is missing"),
        ({"region": "", "first": 0, "last": 1}, "region: '' is not a text"),
        (region(0, 1, guards=[1]), "guards: [1] is not an object"),
        (region(0, 1, guards={"ID_MATCH": 0}), "guards.ID_MATCH: 0 is not a count"),
        (region(0, 1, guard={}), "guard: is not a key of this row (expected 'guards'"),
        (region(0, 1, shapes="statik"), "shapes: 'statik' is no way to treat sizes (expected 'static'"),
        (region(0, 1, recompiled=1), "recompiled: 1 is not true or false"),
        (region(0, 1, **{"break": 3}), "break: 3 is not a text"),
    ],
)
def test_a_wrong_region_is_refused_with_its_line(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    with pytest.raises(TraceError) as caught:
        chain(tmp_path, row)
    assert ":11: " in str(caught.value)
    assert words in str(caught.value)


def test_regions_stand_one_behind_the_other(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"chain.jsonl:12: first: operator 1 is not behind the region above"):
        chain(tmp_path, region(0, 1), region(1, 2))


def test_guards_and_entries_cost_host_time_by_closed_form(tmp_path: Path) -> None:
    """Two regions of one kernel each, and an operator between them that runs eagerly."""
    trace = chain(tmp_path, region(0, 1, guards={"TENSOR_MATCH": 7, "ID_MATCH": 3}), region(3, 3, recompiled=True))
    design = hs.load_design("tiny")
    result = hs.simulate(trace, design, "pointwise")
    host = design.host
    assert result.graph.launch.tolist() == [1, 0, 1]
    wanted = [
        host.launch_compiled + host.region_entry + 10 * host.guard,
        host.launch_eager,
        host.launch_compiled + host.region_entry + host.recompile + host.recompile_operator,
    ]
    assert result.program.host_ticks.tolist() == wanted
    assert result.to_dict()["regions"] == {
        "calls": 2,
        "guards": 10,
        "recompiled": 1,
        "host_ticks": {
            "region_entry": 2 * host.region_entry,
            "guard": 10 * host.guard,
            "recompile": host.recompile,
            "recompile_operator": host.recompile_operator,
        },
    }
    assert dispatch_ticks(result) >= sum(wanted)
    assert result.graph.entries is not None
    assert "regions" not in hs.simulate(trace, design, "eager").to_dict()


def test_each_region_is_a_graph_replay_of_its_own(tmp_path: Path) -> None:
    trace = chain(tmp_path, region(0, 1), region(2, 3))
    design = hs.load_design("tiny")
    host = design.host
    program = hs.simulate(trace, design, "pointwise", launch="graph").program
    assert program.host_ticks.tolist() == [host.launch_graph + host.region_entry] * 2


def test_compiled_code_without_regions_is_one_region_with_guards_on_its_weights(tmp_path: Path) -> None:
    """Of a product with one weight, and of what follows a wait of the host; a design without the time charges none."""
    rows: list[dict[str, Any]] = [
        {"format": "hiersim-trace", "version": 1, "name": "waits"},
        {"tensor": "x", "shape": [64, 64], "dtype": "fp32", "role": "input"},
        {"tensor": "w", "shape": [64, 64], "dtype": "fp32", "role": "weight"},
        {"tensor": "y", "shape": [64, 64], "dtype": "fp32", "role": "activation"},
        {"operator": "aten.mul.Tensor", "kind": "pointwise", "reads": ["x", "w"], "writes": ["y"]},
        {"operator": "aten.item", "kind": "sync", "reads": ["y"], "writes": []},
        {"tensor": "z", "shape": [64, 64], "dtype": "fp32", "role": "activation", "output": True},
        {"operator": "aten.relu.default", "kind": "pointwise", "reads": ["y"], "writes": ["z"]},
    ]
    path = tmp_path / "waits.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    trace, design = load_rows(path), hs.load_design("tiny")
    host = design.host
    result = hs.simulate(trace, design, "pointwise")
    assert host.region_entry and host.guard
    assert result.program.host_ticks.tolist() == [
        host.launch_compiled + host.region_entry + 4 * host.guard, host.launch_compiled + host.region_entry
    ]  # fmt: skip
    assert result.graph.entries is None, "it is assumed, and no record says so"
    unknown = dataclasses.replace(design, host=dataclasses.replace(host, region_entry=None, guard=None))
    assert hs.simulate(trace, unknown, "pointwise").program.host_ticks.tolist() == [host.launch_compiled] * 2
    assert hs.simulate(trace, design, "eager").program.host_ticks.tolist() == [host.launch_eager] * 2
    replayed = hs.simulate(trace, design, "pointwise", launch="graph").program.host_ticks.tolist()
    assert replayed == [host.launch_graph + host.region_entry + 4 * host.guard, host.launch_graph + host.region_entry]


def test_compiling_one_small_operator_with_many_guards_is_slower_than_eager_mode(tmp_path: Path) -> None:
    """The documented case: a call of 64 elements behind 200 guards."""
    trace = chain(tmp_path, region(0, 0, guards={"TENSOR_MATCH": 200}), operators=1)
    plain, compiled = (hs.simulate(trace, hs.load_design("h100-sxm"), name) for name in ("eager", "inductor-rules"))
    host = plain.design.host
    more = host.launch_compiled + host.region_entry + 200 * host.guard - host.launch_eager
    assert compiled.makespan - plain.makespan == more == 28_000_000
    assert dispatch_ticks(compiled) - dispatch_ticks(plain) == more


def test_a_design_that_does_not_know_the_times_refuses(tmp_path: Path) -> None:
    trace, design = chain(tmp_path, region(0, 3, guards={"ID_MATCH": 1})), hs.load_design("dojo-d1")
    hs.simulate(trace, design, "eager")
    with pytest.raises(DesignError, match=r"host.region_entry: is not known.* on dojo-d1"):
        hs.simulate(trace, design, "pointwise")


def test_the_reason_is_the_break_with_the_line_of_the_users_code(tmp_path: Path) -> None:
    trace = chain(
        tmp_path, region(0, 0, **{"break": "Unsupported builtin", "line": "model.py:9 in forward"}), region(2, 3)
    )
    for policy in ("pointwise", "epilogue", "inductor", "inductor-rules"):
        verdict = why_not(trace, policy, 0, 3)
        assert (verdict.reason, verdict.detail) == (Reason.GRAPH_BREAK, "Unsupported builtin at model.py:9 in forward")
        outside = why_not(trace, policy, 1, 0)
        assert outside.reason is Reason.GRAPH_BREAK
        assert outside.detail.startswith("operator 1 'aten.relu.default' runs outside of compiled regions")
        assert why_not(trace, policy, 2, 3).together
    assert why_not(trace, "eager", 0, 3).reason is Reason.ONE_KERNEL_EACH


def test_a_kernel_by_hand_across_a_break_is_refused(tmp_path: Path) -> None:
    kernels = [{"kernel": [0, 1], "grouping": "mine"}, {"kernel": [2, 3], "grouping": "mine"}]
    trace = chain(tmp_path, region(0, 0), region(1, 3), *kernels)
    with pytest.raises(FusionError, match="spans a host sync or a graph break"):
        kernels_of(trace, hs.load_design("tiny"), "mine")


@pytest.mark.parametrize(
    ("shapes", "recompiled", "eager"),
    [(Shapes.STATIC, RECOMPILE_LIMIT - 1, 12 - RECOMPILE_LIMIT), (Shapes.AUTOMATIC, 1, 0), (Shapes.DYNAMIC, 0, 0)],
)
def test_a_length_that_changes_recompiles_until_the_limit(shapes: Shapes, recompiled: int, eager: int) -> None:
    """Decode steps over a growing cache: law of Dynamo's three ways to treat sizes."""
    trace = hs.load_trace("llama3-8b-decode")
    whole = {"name": "forward", "first": 0, "last": len(trace.graph.operators) - 1, "guards": {"TENSOR_MATCH": 300}}
    regions = regions_of([Call(shapes=shapes, **whole)])
    decode = Trace(header=trace.header, graph=dataclasses.replace(trace.graph, regions=regions))
    graph = hs.variant(decode, tokens=12).graph
    assert graph.regions is not None
    assert len(graph.regions) == 12 - eager
    assert int(graph.regions.recompiled.sum()) == recompiled
    inside = graph.regions.of_operators(len(graph.operators)) >= 0
    assert int((~inside).sum()) == eager * len(trace.graph.operators)


def test_equal_sizes_never_recompile(tmp_path: Path) -> None:
    graph = chain(tmp_path, region(0, 3, shapes="static")).graph
    regions = in_turn([graph] * 20)
    assert regions is not None
    assert len(regions) == 20
    assert not np.any(regions.recompiled)


def test_the_report_the_kernel_and_the_timeline_name_what_the_host_did(tmp_path: Path) -> None:
    chain(tmp_path, region(0, 1, guards={"TENSOR_MATCH": 10}, **{"break": "print"}), region(2, 3))
    path, run = str(tmp_path / "chain.jsonl"), CliRunner()
    words = ["-d", "tiny", "-f", "pointwise", "-q"]
    told = run.invoke(main, ["run", path, *words, "--timeline", str(tmp_path / "t.json")])
    assert told.exit_code == 0, told.output
    assert "compiled regions take 21 us of the host: 2 entries 20 us, 10 guards 1 us" in told.output
    assert (tmp_path / "t.json").read_text().count("enter compiled region") == 2
    told = run.invoke(main, ["explain", path, *words, "--kernel", "0"])
    assert "the host enters a compiled region before it: 10 guards" in told.output
    assert run.invoke(main, ["traces", "check", path]).output.count("2 calls of compiled regions, 1 graph break") == 1
