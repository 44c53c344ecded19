"""Files of measured times: what is written reads back, every fault is one line, and a case rebuilds its trace."""

from __future__ import annotations

import gzip
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiersim.cli.main import status
from hiersim.errors import MeasurementError
from hiersim.frontends.load import load_trace
from hiersim.frontends.measured import (
    CACHES,
    CLOCKS,
    MODES,
    Case,
    Counted,
    End,
    Measured,
    MeasuredHeader,
    MeasuredKernel,
    MeasuredTime,
    Skipped,
    Summary,
    load_measured,
)
from hiersim.frontends.row_writer import rows_of
from hiersim.frontends.rows import trace_of
from hiersim.measure.constants import host_constants, shown
from hiersim.measure.profile import on_device, on_host
from hiersim.measure.writer import Writer
from hiersim.model.operators import Kind
from hiersim.model.trace import Trace
from hiersim.testing.strategies import traces

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "measured.jsonl"
HEADER = MeasuredHeader(
    date="2026-01-02T03:04:05Z", command="hiersim measure kernels", device={"kind": "cpu"}, host={}, software={}
)


# --- traces inside rows ----------------------------------------------------------------------------


@settings(max_examples=max(10, settings.default.max_examples // 2))
@given(traces())
def test_a_graph_survives_its_rows(trace: Trace) -> None:
    rows = rows_of(trace.graph)
    again = trace_of(trace.header, json.loads(json.dumps(rows)), "file", 1).graph
    for column in ("kind", "phase", "flags", "dtype", "matrix_flops", "masked_flops", "vector_flops", "special_ops"):
        assert np.array_equal(getattr(again.operators, column), getattr(trace.graph.operators, column)), column
    assert np.array_equal(again.operators.dims, trace.graph.operators.dims)
    for part in ("reads", "writes"):
        for item in fields(getattr(again, part)):
            assert np.array_equal(
                getattr(getattr(again, part), item.name), getattr(getattr(trace.graph, part), item.name)
            )
    for item in ("tensor_dtype", "tensor_bytes", "tensor_offset", "shape_ptr", "shape"):
        assert np.array_equal(getattr(again.tensors, item), getattr(trace.graph.tensors, item)), item
    freed = bool((trace.graph.tensors.storage_free >= 0).any())
    for column in ("storage_bytes", "storage_role", "storage_output", *(["storage_free"] if freed else [])):
        one, two = (
            getattr(graph.tensors, column)[graph.tensors.tensor_storage] for graph in (again, trace.graph)
        )  # fmt: skip
        assert np.array_equal(one, two), column
    if freed:  # else the lifetimes that were not told have been found
        assert rows_of(again) == rows


def test_a_bundled_trace_survives_its_rows() -> None:
    trace = load_trace("gpt2-train-checkpointed")
    rows = rows_of(trace.graph)
    assert rows_of(trace_of(trace.header, rows, "file", 1).graph) == rows


# --- writing and reading ---------------------------------------------------------------------------

seconds = st.floats(1e-9, 1e3).map(lambda value: float(f"{value:.6g}"))
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)


@st.composite
def times(draw: st.DrawFn) -> dict[str, Any]:
    values = sorted(draw(st.lists(seconds, min_size=6, max_size=6)))
    names = ("min_s", "p10_s", "p25_s", "median_s", "p75_s", "p90_s")
    return {"n": draw(st.integers(1, 99)), **dict(zip(names, values, strict=True))}


@st.composite
def rows(draw: st.DrawFn) -> list[Any]:
    """Rows of a whole file, in an order in which they may stand."""
    found: list[Any] = []
    for name in draw(st.lists(words, max_size=3, unique=True)):
        kind = draw(st.none() | st.sampled_from(Kind))
        flops = draw(st.dictionaries(st.sampled_from(["matrix", "vector"]), st.integers(1, 2**50)))
        found.append(Case(case=name, suite="gemm", name=draw(words), dtype="bf16", kind=kind, flops=flops))
        place: dict[str, Any] = {"case": name, "mode": draw(st.sampled_from(MODES))}
        cache = draw(st.sampled_from(CACHES))
        names = tuple(draw(st.lists(words, max_size=2)))
        found += [
            MeasuredTime(**place, cache=cache, clock=draw(st.sampled_from(CLOCKS)), kernels=names, **draw(times())),
            MeasuredKernel(**place, position=draw(st.integers(0, 9)), kernel=draw(words), grid=(1, 2), **draw(times())),
            Summary(**place, launches=3, kernel_s=draw(seconds), wall_s=draw(seconds), coverage=0.5, stable=False),
            Counted(**place, cache=cache, dram_read_bytes=draw(st.integers(0, 2**40)), dram_written_bytes=0),
            Skipped(case=name, why=draw(words)),
        ]
    return found + draw(st.sampled_from([[], [End(cases=1, left=0, seconds=1.5)]]))


@settings(max_examples=max(10, settings.default.max_examples // 5))
@given(rows())
def test_what_is_written_reads_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("measured") / "file.jsonl"
    with Writer(str(path), HEADER) as writer:
        for row in rows:
            writer.write(row)
    packed = path.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, packed):
        found = load_measured(file)
        assert found.header == HEADER
        listed = [*found.times, *found.kernels, *found.summaries, *found.counters, *found.skipped]
        assert listed == sorted((row for row in rows if not isinstance(row, Case | End)), key=lambda row: _order(row))
        assert [case.case for case in found.cases.values()] == [row.case for row in rows if isinstance(row, Case)]
        assert found.end == next((row for row in rows if isinstance(row, End)), None)


def _order(row: Any) -> int:
    return (MeasuredTime, MeasuredKernel, Summary, Counted, Skipped).index(type(row))


def test_the_example_of_the_documentation_is_whole_and_rebuilds_its_trace() -> None:
    found = load_measured(EXAMPLE)
    assert found.end is not None
    case = found.cases["gemm/mm/bf16/m=64,n=64,k=64"]
    trace = case.trace(str(EXAMPLE))
    assert trace.graph.operators.dims.tolist() == [1, 64, 64, 64]
    assert int(trace.graph.operators.matrix_flops.sum()) == case.flops["matrix"] == 2 * 64**3
    assert case.read_bytes == int(trace.graph.reads.size.sum())
    assert {time.cache for time in found.times_of(case.case)} == {"warm", "cold"}


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text("mine")
    with pytest.raises(MeasurementError, match="a new name"):
        Writer(str(path), HEADER)
    assert path.read_text() == "mine"


def test_a_run_that_fails_before_its_first_row_leaves_no_file_and_one_after_it_does(tmp_path: Path) -> None:
    for name, rows in (("none", []), ("one", [Case(case="a", suite="s", name="n", dtype="fp32")])):
        path = tmp_path / f"{name}.jsonl"
        with pytest.raises(ZeroDivisionError), Writer(str(path), HEADER) as writer:
            for row in rows:
                writer.write(row)
            raise ZeroDivisionError
        assert path.exists() == bool(rows)
    assert load_measured(path).end is None


# --- faults ----------------------------------------------------------------------------------------

_TIME = {
    "row": "time", "case": "a", "mode": "eager", "cache": "warm", "clock": "events", "n": 1, "min_s": 1, "p10_s": 1,
    "p25_s": 1, "median_s": 1, "p75_s": 1, "p90_s": 1,
}  # fmt: skip
_CASE = {"row": "case", "case": "a", "suite": "s", "name": "n", "dtype": "bf16"}
_HEAD = {
    "format": "hiersim-measured", "version": 1, "date": "", "command": "", "device": {}, "host": {}, "software": {},
}  # fmt: skip
FAULTS: dict[str, tuple[list[Any], str]] = {
    "empty": ([], "is empty"),
    "another file": ([{"format": "hiersim-trace"}], ":1: format: is not a file of measured times"),
    "later version": ([{**_HEAD, "version": 2}], ":1: version: has version 2"),
    "header lacks": ([{"format": "hiersim-measured", "version": 1}], ":1: date: is missing"),
    "no kind": ([_HEAD, {"case": "a"}], ":2: row: is missing"),
    "unknown kind": ([_HEAD, {"row": "tim"}], ":2: row: 'tim' is not a kind of row"),
    "unknown key": ([_HEAD, {**_CASE, "suit": 1}], ":2: suit: is not a key of this row (expected 'suite')"),
    "missing key": ([_HEAD, {"row": "case", "case": "a"}], ":2: suite: is missing"),
    "unknown dtype": ([_HEAD, {**_CASE, "dtype": "bf61"}], ":2: dtype: 'bf61' is not a dtype (expected 'bf16')"),
    "twice": ([_HEAD, _CASE, _CASE], ":3: case: 'a' is there twice"),
    "no case": ([_HEAD, _CASE, {**_TIME, "case": "b"}], ":3: case: there is no case 'b' above"),
    "falling": ([_HEAD, _CASE, {**_TIME, "p90_s": 0.5}], ":3: min_s … p90_s: falls"),
    "no sample": ([_HEAD, _CASE, {**_TIME, "n": 0}], ":3: n, median_s: holds no time"),
    "negative": ([_HEAD, _CASE, {**_TIME, "min_s": -1}], ":3: min_s: -1 is out of range"),
    "text for time": ([_HEAD, _CASE, {**_TIME, "min_s": "1"}], ":3: min_s: '1' is not a number"),
    "true for count": ([_HEAD, _CASE, {**_TIME, "n": True}], ":3: n: True is not a count"),
    "unknown clock": (
        [_HEAD, _CASE, {**_TIME, "clock": "event"}],
        ":3: clock: 'event' is not a clock (expected 'events')",
    ),
    "list for table": ([_HEAD, {**_CASE, "flops": []}], ":2: flops: list is not a table"),
    "table of texts": ([_HEAD, {**_CASE, "params": {"m": "8"}}], ":2: params.m: '8' is not a count"),
    "after the end": ([_HEAD, {"row": "end", "cases": 0, "left": 0, "seconds": 1}, _CASE], ":3: stands after the end"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_one_line_with_its_place(name: str, tmp_path: Path) -> None:
    rows, message = FAULTS[name]
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(MeasurementError) as caught:
        load_measured(path)
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(path)[-40:]) or str(path)[-40:] in text
    assert "\n" not in text
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"format": "hiersim-measured", "ver', ":1: is not JSON"),
        (b"\xff\xfe\n", ":1: is not UTF-8"),
        (b'{"a": NaN}\n', ":1: NaN is not a number"),
        (b'{"a": 1, "a": 2}\n', ":1: a: is there twice"),
        (gzip.compress(json.dumps(_HEAD).encode() + b"\n", mtime=0)[:-9], "cannot be read"),
    ],
)
def test_a_torn_or_foreign_file_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "torn.jsonl"
    path.write_bytes(data)
    with pytest.raises(MeasurementError) as caught:
        load_measured(path)
    assert message in str(caught.value)


def test_a_case_without_operators_says_so(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="holds no operators"):
        Case(case="a", suite="transfer", name="to_host", dtype="fp32").trace()


# --- profiles --------------------------------------------------------------------------------------


def event(cat: str, name: str, ts: float, dur: float, tid: int = 1, **args: Any) -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "tid": tid, "args": args}


def test_kernels_come_in_launch_order_with_who_launched_them() -> None:
    events = [
        event("user_annotation", "call", 0, 50),
        event("user_annotation", "call", 100, 50),
        event("cpu_op", "aten::linear", 1, 20),
        event("cpu_op", "aten::addmm", 5, 10),
        event("cuda_runtime", "cudaLaunchKernel", 8, 2, correlation=7),
        event("cpu_op", "AddBackward", 105, 20, tid=2),
        event("cuda_driver", "cuLaunchKernelEx", 110, 2, tid=2, correlation=8),
        event("cuda_runtime", "cudaMemsetAsync", 200, 2, correlation=9),
        event("gpu_memset", "Memset", 300, 3, tid=70, correlation=9),
        event("kernel", "late", 250, 5, tid=70, correlation=8, grid=[2, 1, 1], block=[128, 1, 1]),
        event("kernel", "gemm", 240, 4, tid=70, correlation=7),
    ]
    found = on_device(events, "call")
    assert [(kernel.name, kernel.operator, kernel.mark) for kernel in found] == [
        ("gemm", "aten::addmm", 0), ("late", "AddBackward", 1), ("Memset", "", -1),
    ]  # fmt: skip
    assert found[1].grid == (2, 1, 1)
    assert [kernel.launcher for kernel in found] == ["cudaLaunchKernel", "cuLaunchKernelEx", "cudaMemsetAsync"]
    assert [kernel.seconds for kernel in found] == pytest.approx([4e-6, 5e-6, 3e-6])


def test_kernels_of_one_replay_come_in_order_of_time() -> None:
    events = [event("kernel", name, ts, 1, correlation=5) for name, ts in (("b", 20), ("a", 10), ("c", 30))]
    assert [kernel.name for kernel in on_device(events)] == ["a", "b", "c"]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), max_size=12), st.integers(1, 80))
def test_own_times_add_up_to_the_time_of_the_outermost_calls(spans: list[tuple[int, int]], length: int) -> None:
    """Whatever the nesting: calls are cut so that they nest, as those of a thread do."""
    nested: list[tuple[int, int]] = []
    for start, duration in sorted(spans, key=lambda span: (span[0], -span[1])):
        around = [end for begin, end in nested if begin <= start < end]
        nested.append((start, min([start + duration, *around])))
    events = [event("cpu_op", f"op{index}", start, end - start) for index, (start, end) in enumerate(nested)]
    events.append(event("user_annotation", "call", 0, 1000))
    covered = {tick for start, end in nested for tick in range(start, end)}
    found = on_host(events, "call")
    assert sum(launched.seconds for launched in found) == pytest.approx(len(covered) * 1e-6)
    assert len(found) == len(nested)


# --- constants of the host, and tables -------------------------------------------------------------


def flat(seconds: float) -> dict[str, Any]:
    return {"n": 1, **dict.fromkeys(("min_s", "p10_s", "p25_s", "median_s", "p75_s", "p90_s"), seconds)}


def launches(path: Path) -> Measured:
    """A host that takes 7 us for an operator, 12 us for one that calls a library and 2 us for a view, 9 us + 4 us per
    kernel for a compiled call, 5 us for a replay; a device that takes 1.5 us per kernel of 1.1 us in a graph, and
    0.8 us between kernels of a stream."""
    rows: list[tuple[str, str, str, str, int | None, float]] = [
        ("launch/operator_add", "operator_add", "eager", "host", None, 7e-6),
        ("launch/operator_mm", "operator_mm", "eager", "host", None, 12e-6),
        ("launch/view_slice", "view_slice", "eager", "host", 0, 2e-6),
        ("pointwise/add", "add", "eager", "events", None, 3.8e-6),
        ("pointwise/add", "add", "eager", "profiler", 1, 3e-6),
        ("pointwise/gelu", "gelu", "eager", "events", None, 900e-6),
        ("pointwise/gelu", "gelu", "eager", "profiler", 1, 500e-6),
    ]
    for count in (1, 4, 16):
        rows.append((f"launch/compiled/{count}", "compiled", "compiled", "host", count, 9e-6 + count * 4e-6))
        rows.append((f"launch/graph/{count}", "graph", "graph", "host", count, 5e-6))
        rows.append((f"launch/graph/{count}", "graph", "graph", "events", count, 2e-6 + count * 1.5e-6))
        rows.append((f"launch/graph/{count}", "graph", "graph", "profiler", count, count * 1.1e-6))
    with Writer(str(path), HEADER) as writer:
        for name in dict.fromkeys(row[0] for row in rows):
            suite, operator = name.split("/")[0], next(row[1] for row in rows if row[0] == name)
            writer.write(Case(case=name, suite=suite, name=operator, dtype="fp32", read_bytes=3000))
        for name, _, mode, clock, count, seconds in rows:
            writer.write(
                MeasuredTime(case=name, mode=mode, cache="warm", clock=clock, launches=count, **flat(seconds))
            )  # fmt: skip
    return load_measured(path)


def test_constants_of_the_host_follow_from_launches(tmp_path: Path) -> None:
    found = shown(host_constants(launches(tmp_path / "file.jsonl")))
    assert found == pytest.approx(
        {
            "launch_eager": 7e-6, "library_call": 5e-6, "launch_view": 2e-6, "launch_compiled": 4e-6,
            "compiled_call": 9e-6, "launch_graph": 5e-6, "start": 0.8e-6, "graph_start": 0.4e-6,
        },
        rel=1e-4,
    )  # fmt: skip


def test_constants_that_were_not_measured_are_absent(tmp_path: Path) -> None:
    assert shown(host_constants(load_measured(EXAMPLE))) == {}


def test_a_file_of_measured_times_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.jsonl"
    launches(path)
    assert status(["measure", "show", str(path)]) == 0
    text = capsys.readouterr().out
    assert "launch_compiled" in text
    assert "4 us" in text
    line = next(line for line in text.splitlines() if line.strip().startswith("pointwise/add"))
    assert line.split() == ["pointwise/add", "eager", "profiler", "3", "us", "1"], (
        "the most direct clock, 3000 B / 3 us"
    )
    assert status(["measure", "show", str(tmp_path / "none.jsonl")]) == 2


def test_the_models_of_a_run_that_was_cut_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.jsonl"
    with Writer(str(path), HEADER) as writer:
        writer.write(Case(case="model/net/bf16", suite="model", name="net", dtype="bf16"))
        writer.write(
            Summary(case="model/net/bf16", mode="eager", launches=12, kernel_s=9e-3, wall_s=1e-2, coverage=0.9)
        )  # fmt: skip
    assert status(["measure", "show", str(path)]) == 0
    text = capsys.readouterr().out
    assert "the run was cut" in text
    assert next(line for line in text.splitlines() if "net/bf16" in line).split() == [
        "net/bf16", "eager", "10", "ms", "9", "ms", "12", "90.0%",
    ]  # fmt: skip
