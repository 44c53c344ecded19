"""Predicted beside measured: the arithmetic of the error table, the protocol of a replay, and what is left out."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hiersim as hs
from hiersim import bundled, zoo
from hiersim.cli.main import status
from hiersim.config.load import load_design
from hiersim.errors import HiersimError, MeasurementError
from hiersim.frontends.load import load_trace
from hiersim.frontends.measured import Case, Counted, Measured, MeasuredHeader, MeasuredTime, Skipped, Summary
from hiersim.frontends.row_writer import rows_of
from hiersim.measure.constants import HostConstants
from hiersim.measure.writer import Writer
from hiersim.model.design import Design, Start
from hiersim.model.metrics import METRICS
from hiersim.model.operators import DType, Kind
from hiersim.model.trace import Trace
from hiersim.run import simulate
from hiersim.validation.accuracy import Pair, accuracy
from hiersim.validation.crew import replay_all
from hiersim.validation.devices import DEVICES
from hiersim.validation.model_traces import CapturedTarget, ModelTraces, captured_target
from hiersim.validation.models import replay_models
from hiersim.validation.operators import Batch, batch_of, chosen_times, replay_counters, replay_operators, roofline_s
from hiersim.validation.protocol import CLOCKS, MEASURED_AS, free_of_host, with_cache, with_host
from hiersim.validation.rows import ModelRow, Skips
from hiersim.validation.validate import measured_files, measured_host, validate

H100 = "NVIDIA H100 80GB HBM3"
RELU = Path(__file__).parents[2] / "docs" / "examples" / "relu.jsonl"
HEADER = MeasuredHeader(
    date="2026-01-02T03:04:05Z", command="hiersim measure kernels", device={"kind": "cuda", "name": H100}, host={},
    software={},
)  # fmt: skip


def silent(name: str, done: int, count: int) -> None:
    """No progress."""


def case(name: str = "pointwise/relu", **values: Any) -> Case:
    """The bundled example of one ReLU as a measured case."""
    rows = tuple(rows_of(hs.load_trace(str(RELU)).graph))
    given = {"suite": "pointwise", "name": "relu", "dtype": "fp32", "kind": Kind.POINTWISE, "rows": rows, **values}
    return Case(case=name, **given)


def time(name: str = "pointwise/relu", median: float = 1e-5, **values: Any) -> MeasuredTime:
    given = {"mode": "eager", "cache": "cold", "clock": "profiler", "launches": 1, **values}
    names = ("min_s", "p10_s", "p25_s", "median_s", "p75_s", "p90_s")
    return MeasuredTime(case=name, n=3, **dict.fromkeys(names, median), **given)


def measured(cases: list[Case], **rows: Any) -> Measured:
    return Measured(header=HEADER, cases={item.case: item for item in cases}, **rows)


@pytest.fixture(scope="module")
def h100() -> Design:
    return load_design("h100-sxm")


# --- arithmetic ------------------------------------------------------------------------------------


def test_the_error_table_equals_what_one_computes_by_hand() -> None:
    pairs = [
        Pair(predicted=1.1, measured=1.0, roofline=0.5),
        Pair(predicted=2.0, measured=4.0, roofline=1.0),
        Pair(predicted=6.0, measured=3.0, roofline=3.0),
    ]
    found = accuracy(pairs)  # ratios 1.1, 0.5, 2; errors 0.1, 0.5, 1; of the roofline 0.5, 0.75, 0
    assert found.n == 3
    assert found.mape == pytest.approx(1.6 / 3)
    assert found.median == pytest.approx(1.1)
    assert found.geo == pytest.approx(1.1 ** (1 / 3))
    assert found.p90 == pytest.approx(0.9)  # rank 1.8 of 0.1, 0.5, 1
    assert found.median_error == pytest.approx(0.5)
    assert found.roofline_mape == pytest.approx(1.25 / 3)
    assert [pair.factor for pair in pairs] == pytest.approx([1.1, 2, 2])


def test_a_roofline_that_is_not_known_everywhere_is_not_scored() -> None:
    assert accuracy([Pair(predicted=1, measured=1, roofline=1), Pair(predicted=1, measured=1)]).roofline_mape is None


@pytest.mark.parametrize("pairs", [[], [Pair(predicted=0, measured=1)], [Pair(predicted=1, measured=0)]])
def test_nothing_to_describe_is_refused(pairs: list[Pair]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        accuracy(pairs)


positive = st.floats(1e-9, 1e9)


@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=20), st.floats(0.01, 100))
def test_laws_of_the_error_table(values: list[tuple[float, float]], scale: float) -> None:
    found = accuracy([Pair(predicted=a, measured=b) for a, b in values])
    scaled = accuracy([Pair(predicted=a * scale, measured=b) for a, b in values])
    swapped = accuracy([Pair(predicted=b, measured=a) for a, b in values])
    assert accuracy([Pair(predicted=a, measured=b) for a, b in reversed(values)]) == found
    assert scaled.geo == pytest.approx(found.geo * scale)
    assert scaled.median == pytest.approx(found.median * scale)
    assert swapped.geo == pytest.approx(1 / found.geo)
    assert found.mape >= abs(math.fsum(a / b - 1 for a, b in values) / len(values)) * (1 - 1e-9)  # no sign cancels
    exact = accuracy([Pair(predicted=b, measured=b, roofline=b) for _, b in values])
    assert (exact.mape, exact.median, exact.geo, exact.p90, exact.roofline_mape) == (0, 1, pytest.approx(1), 0, 0)


# --- protocol --------------------------------------------------------------------------------------


def test_events_contain_the_gap_before_a_kernel_and_the_profiler_does_not(h100: Design) -> None:
    start = int(h100.host.start)
    for trace, kernels in ((case().trace(), 1), (hs.load_trace("bert-large-prefill"), 297)):
        results = {clock: simulate(trace, free_of_host(h100, clock)) for clock in CLOCKS}
        gaps = results["events"].makespan - results["profiler"].makespan
        assert len(results["events"].program) == kernels
        assert 0 < start <= gaps <= kernels * start  # gaps hide some of the write-back that ends a kernel
        assert kernels > 1 or gaps == start
        waits = [row for row in results["profiler"].ledger if (row.engine, row.entry) == ("cores", "dispatch")]
        own = h100.compute.start_up + max(
            h100.compute.window_set_up, int(float(h100.constants.prologue) * 1e12 // h100.compute.clock)
        )
        assert 0 < sum(row.ticks for row in waits) <= kernels * own  # a kernel's own, which it contains


def test_a_warm_cache_reads_nothing_and_a_cold_one_everything(h100: Design) -> None:
    trace = case().trace()
    reads = {cache: simulate(trace, with_cache(h100, cache)).traffic["hbm"]["read"] for cache in ("warm", "cold")}
    assert reads["warm"] == 0
    assert reads["cold"] == int(trace.graph.tensors.storage_bytes[0]) > 0


def test_only_the_last_cache_is_warm(h100: Design) -> None:
    warm = with_cache(h100, "warm")
    assert [tier.name for tier in warm.memory if tier.start is Start.WARM] == ["l2"]
    without = load_design("tpu-v4")
    assert not any(tier.is_shared_cache for tier in without.memory)
    assert with_cache(without, "warm") == without


def test_a_measured_host_replaces_what_was_measured_and_nothing_else(h100: Design) -> None:
    found = with_host(h100, HostConstants(launch_eager=17e-6, start=-1e-9, compiled_call=66e-6))
    assert found.host == replace(h100.host, launch_eager=17_000_000, start=0, region_entry=66_000_000)
    assert with_host(h100, HostConstants()) is h100
    known = {MEASURED_AS.get(item.name, item.name) for item in fields(HostConstants)}
    assert known <= {item.name for item in fields(h100.host)}


def test_the_profiler_is_preferred_and_events_stand_in() -> None:
    data = measured(
        [case(), case("other"), case("host only"), case("model/x", suite="model")],
        times=(
            time(clock="events", median=2e-5), time(), time(cache="warm", clock="events"),
            time("other", clock="wall"), time("host only", clock="host"), time("model/x"),
            time("other", cache="warm", clock="wall"), time("other", cache="warm", clock="processor"),
        ),
    )  # fmt: skip
    found = chosen_times(data)
    assert {key: value and value.clock for key, value in found.items()} == {
        ("pointwise/relu", "eager", "cold"): "profiler",
        ("pointwise/relu", "eager", "warm"): "events",
        ("other", "eager", "cold"): "wall",
        ("other", "eager", "warm"): "processor",
        ("host only", "eager", "cold"): None,
    }
    assert chosen_times(data, ("profiler",))["pointwise/relu", "eager", "warm"] is None
    assert list(chosen_times(data, match="oth")) == [("other", "eager", "cold"), ("other", "eager", "warm")]


def test_the_roofline_is_bytes_over_bandwidth_or_flops_over_peak(h100: Design) -> None:
    result = simulate(case().trace(), h100)
    assert roofline_s(case(read_bytes=3_350_000, written_bytes=3_350_000), 0, h100) == pytest.approx(2e-6)
    peak = h100.compute.vector.peak[DType.FP32]
    flops = result.program.flops[1]
    assert flops > 0
    assert roofline_s(case(), result.bounds.compute_ticks, h100) == pytest.approx(flops / peak, abs=1e-12)


def test_named_devices_have_bundled_designs() -> None:
    assert set(DEVICES.values()) <= set(bundled.designs())


# --- what is left out ------------------------------------------------------------------------------


def test_what_cannot_be_replayed_is_counted_by_reason(h100: Design) -> None:
    broken = case("broken")
    broken = replace(broken, rows=broken.rows[:1])
    empty = replace(broken, case="empty", rows=({"op": "view", "kind": "view"},))
    data = measured(
        [case(), case("launch/x", suite="launch", rows=()), case("wall"), case("host"), broken, empty],
        times=(
            time(), time(cache="warm", median=5e-324), time(cache="as-is"), time(mode="compiled"),
            time(mode="graph", cache="warm"), time("launch/x"), time("wall", clock="wall"), time("host", clock="host"),
            time("broken"), time("empty"),
        ),
    )  # fmt: skip
    skips = Skips()
    rows = list(replay_operators(data, h100, CLOCKS, "", skips, silent))
    assert [(row.case, row.mode) for row in rows] == [
        ("pointwise/relu", "eager"), ("pointwise/relu", "compiled"), ("wall", "eager")
    ]  # fmt: skip
    expected = {
        "the measured time is below 1 ps": 1,
        "cache as-is: nothing is known of its state": 1,
        "graph: the case carries no captured schedule": 1,
        "suite launch: no operators of the device": 1,
        "not timed by profiler or events or processor or wall": 1,
    }
    assert {reason: skips.counts.get(reason) for reason in expected} == expected
    others = {reason: count for reason, count in skips.counts.items() if reason not in expected}
    assert sum(others.values()) == 2, others
    assert all(reason.startswith(("cannot be replayed: ", "launches no kernel")) for reason in others), others


def test_what_does_not_fit_is_one_reason_whatever_its_size(h100: Design) -> None:
    small = h100.replace({"memory.hbm.capacity": "8 KiB"})
    skips = Skips()
    data = measured([case()], times=(time(), time(cache="warm")))
    assert list(replay_operators(data, small, CLOCKS, "", skips, silent)) == []
    assert skips.counts == {"cannot be replayed: does not fit the design's memory": 2}


def test_a_replay_is_the_simulation_of_the_case(h100: Design) -> None:
    data = measured([case()], times=(time(median=2e-5), time(cache="warm", clock="events", median=60e-6)))
    cold, warm = replay_operators(data, h100, CLOCKS, "", Skips(), silent)
    assert (cold.pair.measured, warm.pair.measured) == (2e-5, 60e-6)
    assert cold.pair.predicted == simulate(case().trace(), with_cache(free_of_host(h100, "profiler"), "cold")).time
    assert warm.pair.predicted == simulate(case().trace(), with_cache(free_of_host(h100, "events"), "warm")).time
    (compiled,) = replay_operators(
        measured([case()], times=(time(mode="compiled"),)), h100, CLOCKS, "", Skips(), silent
    )
    (wall,) = replay_operators(measured([case()], times=(time(clock="wall"),)), h100, CLOCKS, "", Skips(), silent)
    assert compiled.group == "pointwise, below 50 us, cold, compiled"
    assert wall.pair.predicted == simulate(case().trace(), with_cache(h100, "cold")).time > cold.pair.predicted
    assert (cold.group, warm.group) == ("pointwise, below 50 us, cold", "pointwise, above 50 us, warm")


def test_bytes_are_compared_where_one_kernel_began_cold(h100: Design) -> None:
    def counted(**values: Any) -> Counted:
        given = {"mode": "eager", "cache": "cold", "kernels": ("k",), "dram_read_bytes": 5, "dram_written_bytes": 0}
        return Counted(case="pointwise/relu", **{**given, **values})

    rows = (counted(), counted(kernels=("a", "b")), counted(kernels=()), counted(mode="compiled"))
    skips = Skips()
    (row,) = replay_counters(measured([case()], counters=rows), h100, "", skips, silent)
    assert (row.counted_read, row.predicted_read) == (5, int(case().trace().graph.tensors.storage_bytes[0]))
    assert skips.counts == {
        "counters: caches were emptied between the kernels of a case": 1,
        "counters: the copy engine moved the bytes, no kernel was counted": 1,
        "counters: compiled: the case carries no captured schedule": 1,
    }


def summary(name: str, mode: str = "eager") -> Summary:
    return Summary(case=f"model/{name}", mode=mode, launches=300, kernel_s=5e-3, wall_s=1e-2, coverage=0.5)


def models(
    name: str, mode: str, design: Design, skips: Skips, host: HostConstants | None, **values: Any
) -> list[ModelRow]:
    model = Case(case=f"model/{name}", suite="model", name=name, **{"dtype": "bf16", **values})
    data = measured([model], summaries=(summary(name, mode),))
    return list(replay_models(data, design, host, "", skips, silent))


@pytest.mark.parametrize(("mode", "fusion"), [("eager", "eager"), ("compiled", "inductor (captured)")])
def test_a_model_is_replayed_alone_and_with_the_measured_host(mode: str, fusion: str, h100: Design) -> None:
    (row,) = models("bert-large-prefill", mode, h100, Skips(), HostConstants(launch_eager=1e-4, launch_compiled=1e-4))
    assert row.fusion == fusion
    assert row.wall.predicted >= row.kernels * 1e-4 > row.device_time.predicted
    (own,) = models("bert-large-prefill", mode, h100, Skips(), None)
    assert own.device_time == row.device_time
    assert (own.measured_host, row.measured_host) == (False, True)
    assert own.wall.predicted < row.wall.predicted


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("my_package.my_module:build", {}, "model: its trace is neither bundled nor given with --trace"),
        ("bert-large-prefill", {"dtype": "fp16"}, "measured in fp16, which"),
        ("bert-large-prefill", {"train": True}, "measured in bf16, training, which"),
        ("gpt2-train", {"train": False}, "measured in bf16, which"),
    ],
)  # fmt: skip
def test_a_model_that_is_not_the_bundled_one_is_left_out(
    name: str, values: Mapping[str, Any], reason: str, h100: Design
) -> None:
    skips = Skips()
    assert models(name, "eager", h100, skips, None, **values) == []
    ((found, count),) = skips.counts.items()
    assert reason in found
    assert count == 1


def captured(command: str, schedules: bool = True) -> Trace:
    trace = load_trace("bert-large-prefill")
    kept = trace.schedules if schedules else {}
    return replace(trace, header=replace(trace.header, name="t", model="m", command=command), schedules=kept)


@pytest.mark.parametrize(
    ("command", "target", "train"),
    [
        ("hiersim capture torch mine:build --mode inductor -o traces/mine.build.npz", "mine:build", False),
        ("hiersim capture torch hf:opt --mode dynamo --shapes static --train --batch 2 --config a='b c' -o t.npz",
         "hf:opt --batch 2 --config 'a=b c'", True),
    ],
)  # fmt: skip
def test_a_trace_says_what_it_was_captured_from(command: str, target: str, train: bool) -> None:
    assert captured_target(captured(command)) == CapturedTarget(name=target, train=train)


@pytest.mark.parametrize("command", ["", "hiersim capture jax mine:build -o t.npz", "hiersim capture torch", "it's"])
def test_a_trace_of_other_origin_says_nothing(command: str) -> None:
    assert captured_target(captured(command)) is None


def test_a_model_of_ones_own_is_replayed_with_the_trace_of_its_target(h100: Design) -> None:
    plain, scheduled = (captured("hiersim capture torch hf:x --batch 2 -o t.npz", full) for full in (False, True))
    model = Case(case="model/m", suite="model", name="hf:x --batch 2", dtype="bf16")
    data = measured([model], summaries=(summary("m", "compiled"),))
    (row,) = replay_models(data, h100, None, "", Skips(), silent, ModelTraces([plain, scheduled]))
    assert row.fusion == "inductor (captured)", "the trace with a schedule counts, whatever the order"
    (ruled,) = replay_models(data, h100, None, "", Skips(), silent, ModelTraces([plain]))
    assert ruled.fusion.startswith("inductor") and ruled.fusion != row.fusion


@pytest.mark.parametrize("values", [{"dtype": "fp16"}, {"train": True}])
def test_a_trace_of_another_run_of_the_target_is_not_taken(values: Mapping[str, Any], h100: Design) -> None:
    case = Case(case="model/m", suite="model", name="hf:x", **{"dtype": "bf16", **values})
    trace, why = ModelTraces([captured("hiersim capture torch hf:x -o t.npz")]).of(case)
    assert trace is None
    assert "which the given trace is not" in why


@pytest.mark.parametrize("times", [{"kernel_s": 0.0}, {"wall_s": 0.0}])
def test_a_model_without_a_time_is_left_out(times: Mapping[str, float], h100: Design) -> None:
    model = Case(case="model/m", suite="model", name="bert-large-prefill", dtype="bf16")
    data, skips = measured([model], summaries=(replace(summary("m"), **times),)), Skips()
    assert list(replay_models(data, h100, None, "", skips, silent)) == []
    assert skips.counts == {"model: the measured time is below 1 ps": 1}


@pytest.mark.parametrize("seconds", [1e5, 1e18])
def test_a_host_that_takes_for_ever_is_counted_and_no_traceback(seconds: float, h100: Design) -> None:
    skips = Skips()
    assert models("bert-large-prefill", "eager", h100, skips, HostConstants(launch_eager=seconds)) == []
    ((reason, count),) = skips.counts.items()
    assert reason.startswith("model: cannot be replayed: ")
    assert count == 1


def test_the_bundled_training_step_is_known_as_one() -> None:
    assert zoo.BUILDERS["gpt2-train"].train


# --- files -----------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "a.jsonl", device: str = H100, rows: tuple[Any, ...] = ()) -> Path:
        path = tmp_path / name
        with Writer(str(path), replace(HEADER, device={"kind": "cuda", "name": device})) as writer:
            for row in rows or (case(), time(), time(cache="warm")):
                writer.write(row)
        return path

    return write


def test_folders_hold_files_and_each_counts_once(file: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    first, second = file("a.jsonl"), file("below/b.jsonl")
    (tmp_path / "README.md").write_text("no measured times\n")
    assert measured_files(tmp_path) == (first, second)
    assert measured_files([second, tmp_path, str(first)]) == (second, first)
    found = validate(tmp_path)
    assert found.files == ("a.jsonl", "b.jsonl")
    assert len(found.operators) == 4
    assert found.machines == ((H100, "h100-sxm"),)


def test_the_host_is_that_of_the_first_file_with_launches(h100: Design) -> None:
    launch = Case(case="launch/a", suite="launch", name="operator_add", dtype="fp32")
    timed = measured([launch], times=(time("launch/a", clock="host", cache="warm", median=9e-6),))
    found = measured_host([measured([case()], times=(time(),)), timed])
    assert found is not None
    assert found.launch_eager == 9e-6
    assert measured_host([measured([case()], times=(time(),))]) is None


def test_what_the_file_could_not_measure_is_counted(file: Callable[..., Path]) -> None:
    found = validate(file(rows=(case(), Skipped(case="pointwise/relu", why="out of memory"))))
    assert found.skipped == {"not measured: out of memory": 1}
    assert found.to_dict()["skipped"] == [{"reason": "not measured: out of memory", "n": 1}]


def test_the_same_data_gives_the_same_bytes_without_any_folder(file: Callable[..., Path], tmp_path: Path) -> None:
    text = validate(file()).to_json()
    assert text == validate([file("b.jsonl")]).to_json().replace("b.jsonl", "a.jsonl")
    assert str(tmp_path) not in text


def words(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(words, value.values()))
    return set().union(*map(words, value)) if isinstance(value, list) else set()


def test_other_processes_give_the_same_bytes(h100: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part is sent, in order, with the cases that it needs and no more; two processes replay them alike."""
    names = [f"pointwise/relu/{number}" for number in range(7)]
    cases = [*(case(name) for name in names), case("none", rows=(), suite="launch")]
    times = [*(time(name, 1e-6 * (3 + place)) for place, name in enumerate(names)), time("none")]
    batch = batch_of(measured(cases, times=tuple(times)), h100, CLOCKS, "")
    parts = list(batch.parts(3))
    assert [len(part.times) for part in parts] == [3, 3, 2]
    assert [sorted(part.cases) for part in parts] == [names[:3], names[3:6], ["none", names[6]]]
    monkeypatch.setattr("hiersim.validation.crew.PART", 3)
    alone, together = Skips(), Skips()
    said: list[int] = []
    rows = list(replay_all([batch], 1, alone, lambda *told: None))
    assert rows == list(replay_all([batch], 2, together, lambda name, done, count: said.append(done)))
    assert (alone.counts, len(rows), said) == (together.counts, 7, list(range(8)))
    assert alone.counts == {"suite launch: no operators of the device": 1}


def killed(part: Batch) -> None:
    os._exit(9)


def test_a_process_that_is_killed_is_one_line(h100: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of(measured([case()], times=(time(),)), h100, CLOCKS, "")
    monkeypatch.setattr("hiersim.validation.crew._replayed", killed)
    with pytest.raises(HiersimError, match="was lost"):
        list(replay_all([batch], 2, Skips(), lambda *told: None))


def test_every_key_has_an_entry_in_the_glossary(file: Callable[..., Path]) -> None:
    model = Case(case="model/m", suite="model", name="bert-large-prefill", dtype="bf16")
    counted = Counted(
        case="pointwise/relu", mode="eager", cache="cold", kernels=("k",), dram_read_bytes=1, dram_written_bytes=1
    )
    path = file(rows=(case(), time(), time(cache="as-is"), counted, model, replace(summary("m"), case="model/m")))
    found = validate(path).to_dict()
    assert all(found[key] for key in ("rows", "totals", "worst", "models", "counters", "skipped"))
    assert words(found) - set(METRICS) == set()


def test_several_devices_are_told_apart(file: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    paths = (file(), file("t4.jsonl", device="Tesla T4"))
    found = validate(paths)
    assert {(group.device, group.accuracy.n) for group in found.totals} == {(H100, 2), ("Tesla T4", 2)}
    assert status(["validate", "-q", "--data", str(paths[0]), "--data", str(paths[1])]) == 0
    assert "Tesla T4" in capsys.readouterr().out


def test_names_that_look_like_markup_are_shown_as_they_are(
    file: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # a narrow screen folds a name
    name = "[/bold]\x1b[31m\n[red]x"
    model = Case(case="model/[/i]", suite="model", name="[/i]", dtype="bf16")
    rows = (case(name, suite="[/a]"), time(name), Skipped(case=name, why="[/c]"), model, summary("[/i]"))
    path = file(rows=rows)
    assert status(["validate", "-q", "--data", str(path)]) == 0
    found = capsys.readouterr().out
    assert "[/bold] [31m [red]x" in found
    assert all(word in found for word in ("[/a]", "[/c]"))
    assert "\x1b" not in found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "no/such/file.jsonl"), ("no/such/file.jsonl", "expected a file of measured times")),
        (("--data", "{empty}"), ("holds no measured times", "*.jsonl")),
        (("--data", "{relu}"), ("relu.jsonl:1", "is not a file of measured times")),
        (("--data", "{unknown}"), ("device.name", "'GTX 480'", "--design")),
        (("--data", "{good}", "--design", "h10-sxm"), ("'h10-sxm'", "'h100-sxm'")),
        (("--data", "{good}", "--clock", "event"), ("'event'", "'events'")),
        (("--data", "{good}", "--match", "gemm"), ("match", "'gemm'")),
    ],
)
def test_bad_words_get_one_line(
    arguments: tuple[str, ...], words: tuple[str, ...], file: Callable[..., Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "empty").mkdir()
    places = {
        "empty": tmp_path / "empty", "relu": RELU, "good": file("good.jsonl"),
        "unknown": file("unknown.jsonl", device="GTX 480"),
    }  # fmt: skip
    assert status(["validate", *(argument.format(**places) for argument in arguments)]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert len(found.err.splitlines()) == 1
    assert all(word in found.err for word in words), found.err


def test_a_design_that_is_given_stands_for_any_device(file: Callable[..., Path]) -> None:
    path = file(device="GTX 480")
    with pytest.raises(MeasurementError, match="GTX 480"):
        validate(path)
    assert validate(path, design="t4").machines == (("GTX 480", "t4"),)
    assert validate(path, design=load_design("t4")).to_json() == validate(path, design="t4").to_json()
    with pytest.raises(HiersimError):
        validate([])


def test_the_json_of_the_command_is_that_of_python(
    file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = file()
    assert status(["validate", "--data", str(path), "--json", "--worst", "1"]) == 0
    found = capsys.readouterr()
    assert json.loads(found.out) == hs.validate(path).to_dict(worst=1)
    assert len(json.loads(found.out)["worst"]) == 1
