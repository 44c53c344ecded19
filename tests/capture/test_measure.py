"""Measuring on a CPU for real, and on a GPU that is played by a device whose every duration is known."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from hiersim.cli.main import status  # noqa: E402
from hiersim.errors import MeasurementError  # noqa: E402
from hiersim.frontends.load import load_trace  # noqa: E402
from hiersim.frontends.measured import Measured, load_measured  # noqa: E402
from hiersim.frontends.pytorch.workload import Workload  # noqa: E402
from hiersim.measure.clock import CpuClock, CudaClock, quantiles  # noqa: E402
from hiersim.measure.counted import main as counted_process  # noqa: E402
from hiersim.measure.counters import count_kernels, counted, read_report  # noqa: E402
from hiersim.measure.kernels import Request, measure_kernels  # noqa: E402
from hiersim.measure.materialize import load_real, weight_bytes  # noqa: E402
from hiersim.measure.model import ModelRequest, alike, measure_models  # noqa: E402
from hiersim.measure.profile import Launched  # noqa: E402
from hiersim.measure.recipe import Make, Recipe  # noqa: E402
from hiersim.measure.suites import SUITES, cases_of  # noqa: E402
from hiersim.measure.suites.host import Probe  # noqa: E402
from hiersim.model.operators import DType, Kind  # noqa: E402

pytestmark = pytest.mark.torch


# --- quantiles -------------------------------------------------------------------------------------


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=30))
def test_quantiles_never_fall_and_stay_among_the_samples(samples: list[float]) -> None:
    found = quantiles(samples)
    values = [found[key] for key in ("min_s", "p10_s", "p25_s", "median_s", "p75_s", "p90_s")]
    assert values == sorted(values)
    assert found["n"] == len(samples)
    assert values[0] == min(samples)
    assert values[-1] <= max(samples)


def test_quantiles_are_those_of_numpy() -> None:
    import numpy as np

    samples = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6]
    found = quantiles(samples)
    for key, share in (("p10_s", 10), ("p25_s", 25), ("median_s", 50), ("p75_s", 75), ("p90_s", 90)):
        assert found[key] == pytest.approx(float(np.percentile(samples, share)))


# --- a GPU whose durations are known ---------------------------------------------------------------


class Gpu:
    """Runs launches one after the other; whatever is launched right after a flush takes twice its time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cold = False
        self.host = 0.0
        self.call = "cudaLaunchKernel"
        self.log: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        """Launch calls and annotations, in the host's time."""
        self.lose: set[int] = set()
        """Launches, counted from the start of a profile, that the profile does not show."""

    def launch(self, name: str, microseconds: float) -> None:
        microseconds *= 2 if self.cold and name not in ("flush", "spin_kernel(long)") else 1
        args = {"correlation": len(self.log) + 1}
        self.calls.append(self._event("cuda_runtime", self.call, self.host, 1, args))
        self.log.append(self._event("kernel", name, self.now, microseconds, args))
        self.host += 2
        self.now += microseconds

    @staticmethod
    def _event(cat: str, name: str, ts: float, dur: float, args: dict[str, int]) -> dict[str, Any]:
        return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "tid": 1, "args": args}

    @contextmanager
    def mark(self, name: str) -> Iterator[None]:
        start = self.host
        yield
        self.calls.append(self._event("user_annotation", name, start, self.host - start, {}))
        self.host += 1

    def profile(self, **_: Any) -> Any:
        gpu = self

        class Session:
            def __enter__(self) -> Any:
                self.first = len(gpu.log)
                gpu.calls.clear()
                return self

            def __exit__(self, *_: object) -> None:
                seen = gpu.log[self.first :]
                self.events = [event for index, event in enumerate(seen) if index not in gpu.lose]

            def export_chrome_trace(self, path: str) -> None:
                Path(path).write_text(json.dumps({"traceEvents": [*gpu.calls, *self.events]}))

        return Session()

    def event(self, **_: Any) -> Any:
        gpu = self

        class Event:
            def record(self) -> None:
                self.at = gpu.now

            def synchronize(self) -> None:
                pass

            def elapsed_time(self, other: Any) -> float:
                return (other.at - self.at) * 1e-3

        return Event()


class Flush:
    """Stands for the buffer that is read to empty the cache."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def sum(self) -> None:
        self.gpu.cold = True
        self.gpu.launch("flush", 100)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    played = Gpu()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: played.launch("spin_kernel(long)", cycles / 2e3))
    monkeypatch.setattr(torch.cuda, "Event", played.event)
    monkeypatch.setattr(torch.profiler, "profile", played.profile)
    monkeypatch.setattr(torch.profiler, "record_function", played.mark)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 12345)
    yield played


def clock_on(gpu: Gpu) -> CudaClock:
    clock = CudaClock(torch.device("cpu"), 0.001)
    clock._flush = Flush(gpu)
    return clock


def call_on(gpu: Gpu) -> Any:
    def call() -> None:
        gpu.launch("a", 3)
        gpu.launch("b", 5)
        gpu.cold = False

    return call


def test_the_device_s_own_time_is_found_warm_and_cold(gpu: Gpu) -> None:
    rows = list(clock_on(gpu).times("case", "eager", call_on(gpu)))
    found = {(row.clock, row.cache): row for row in rows}
    assert len(found) == len(rows) == 4
    for clock in ("events", "profiler"):
        for cache, seconds in (("warm", 8e-6), ("cold", 16e-6)):
            row = found[clock, cache]
            assert row.min_s == pytest.approx(seconds)
            assert row.p90_s == pytest.approx(seconds)
    assert found["profiler", "cold"].kernels == ("a", "b")
    assert found["events", "warm"].batch > 1


def test_a_profile_that_misses_its_first_launches_is_good_and_one_with_a_gap_is_not(gpu: Gpu) -> None:
    clock, call = clock_on(gpu), call_on(gpu)
    gpu.lose = {0, 1}
    assert [kernel.name for kernel in clock.kernels_of(call)] == ["a", "b"]
    gpu.lose = {4, 5}  # both kernels of the first call
    with pytest.raises(MeasurementError, match="saw 1 of 2 calls"):
        clock.kernels_of(call)


def test_the_host_never_makes_the_device_wait(gpu: Gpu) -> None:
    """What is queued before a batch lasts longer than its launches take."""
    clock_on(gpu).batch_events(lambda: gpu.launch("a", 1), batch=10, host=2e-5)
    spin = next(event for event in gpu.log if "spin" in event["name"])
    assert spin["dur"] >= 10 * 20


class Launching(TorchDispatchMode):
    """Every operator that runs inside is one launch of 4 us."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.gpu.launch(str(func), 4)
        self.gpu.cold = False
        return out


def test_suites_run_whole_on_a_gpu(gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clock_on(gpu)
    monkeypatch.setattr("hiersim.measure.kernels.clock_of", lambda device, spend: clock)
    monkeypatch.setattr(clock, "settle", lambda: None)
    path = tmp_path / "measured.jsonl"
    request = Request(suites=("pointwise", "launch"), device=torch.device("cpu"), limit_s=60.0, match="a")
    names = ("add", "addcmul", "cast", "operator_add", "view_slice", "round_trip")
    few = [case for case in cases_of(request.suites) if case.footprint <= 2**18 and case.name in names]
    monkeypatch.setattr("hiersim.measure.kernels.cases_of", lambda suites: few)
    with Launching(gpu):
        measure_kernels(request, str(path), lambda text: None)
    found = load_measured(path)
    assert not found.skipped
    (add,) = [name for name in found.cases if name == "pointwise/add/bf16/elements=32768"]
    rows = {(row.clock, row.cache): row for row in found.times_of(add)}
    assert {key: row.median_s for key, row in rows.items()} == pytest.approx(
        {("events", "warm"): 4e-6, ("events", "cold"): 8e-6, ("profiler", "warm"): 4e-6, ("profiler", "cold"): 8e-6}
    )
    assert rows["profiler", "warm"].kernels == ("aten.add.Tensor",)
    eager = [time.clock for time in found.times if time.case == "launch/operator_add/fp32"]
    assert eager == ["host", "events"]


@pytest.mark.parametrize(("mode", "call", "good"), [
    ("eager", "cudaLaunchKernel", True), ("graph", "cudaLaunchKernel", False), ("graph", "cudaGraphLaunch", True),
])  # fmt: skip
def test_a_model_on_a_gpu_is_measured_kernel_by_kernel(
    gpu: Gpu, mode: str, call: str, good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = clock_on(gpu)
    gpu.call = call
    monkeypatch.setattr("hiersim.measure.model.clock_of", lambda device, spend: clock)
    monkeypatch.setattr("hiersim.measure.model._callable", lambda target, mode: target.model)
    monkeypatch.setattr(clock, "settle", lambda: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    path = tmp_path / "measured.jsonl"
    request = ModelRequest(targets=("tiny-mlp",), modes=(mode,), device=torch.device("cpu"), repeats=4, warm_up=5)
    with Launching(gpu):
        if not good:
            with pytest.raises(MeasurementError, match="in any mode"):
                measure_models(request, str(path), lambda text: None)
        else:
            measure_models(request, str(path), lambda text: None)
    found = load_measured(path)
    assert [row.why for row in found.skipped] == ([] if good else [
        "graph: MeasurementError: PyTorch replayed no graph (expected a model that writes none of its inputs)"
    ])  # fmt: skip
    if good:
        (summary,) = found.summaries
        assert summary.peak_bytes == 12345
        assert summary.kernel_s == pytest.approx(summary.launches * 4e-6)
        wall = next(time for time in found.times if time.clock == "wall")
        assert summary.coverage == pytest.approx(summary.kernel_s / wall.median_s, rel=1e-4)
        assert [kernel.kernel for kernel in found.kernels].count("aten.addmm.default") == 2
        clocks = {time.clock: time.median_s for time in found.times}
        assert clocks["events"] == pytest.approx(summary.kernel_s)
        assert set(clocks) == {"wall", "host", "events", "profiler"}
    else:
        assert not found.times


def test_sequences_that_differ_are_not_mixed() -> None:
    one, two = (
        [Launched(name=name, seconds=1.0, start_s=0.0) for name in names] for names in ("ab", "abc")
    )  # fmt: skip
    assert alike([two, one, two]) == [two, two]
    with pytest.raises(MeasurementError, match="saw no kernel"):
        alike([])


# --- counters --------------------------------------------------------------------------------------

REPORT = """==PROF== Connected to process 1
==PROF== Disconnected
"ID","Kernel Name","dram__bytes_read.sum","dram__bytes_write.sum","gpu__time_duration.sum","lts__t_bytes.sum"
"","","byte","Kbyte","nsecond","byte"
"0","at::cuda::spin_kernel(long)","32","0","1000","64"
"1","gemm","1,000","2.5","2000","9000"
"2","epilogue","500","1","1000","1000"
"3","at::cuda::spin_kernel(long)","0","0","1000","0"
"4","softmax","7","0","500","20"
"""


def test_counters_are_added_up_per_call() -> None:
    calls = [{"case": "one", "mode": "eager"}, {"case": "two", "mode": "compiled"}]
    one, two = counted(read_report(REPORT), calls, "cold")
    assert (one.case, one.kernels) == ("one", ("gemm", "epilogue"))
    assert (one.dram_read_bytes, one.dram_written_bytes, one.l2_bytes) == (1500, 3500, 10000)
    assert one.duration_s == pytest.approx(3e-6)
    assert (two.mode, two.dram_read_bytes) == ("compiled", 7)
    with pytest.raises(MeasurementError, match="reports 2 of 3 calls"):
        counted(read_report(REPORT), [*calls, calls[0]], "cold")


def test_a_report_without_a_table_or_in_unknown_units_is_refused() -> None:
    with pytest.raises(MeasurementError, match="has no table"):
        read_report("==ERROR== no permission")
    with pytest.raises(MeasurementError, match="'sector'"):
        read_report(REPORT.replace('"Kbyte"', '"sector"'))


FAKE_NCU = """#!{python}
import csv, json, sys
options = sys.argv[1:]
report = options[options.index("--log-file") + 1]
cache = options[options.index("--cache-control") + 1]
metrics = options[options.index("--metrics") + 1].split(",")
asked, done, seconds = options[-3:]
assert options[-5:-3] == ["-m", "hiersim.measure.counted"] and float(seconds) == 5.0
with open(report, "w") as log, open(done, "w") as calls:
    log.write("==PROF== Connected\\n")
    table = csv.writer(log, quoting=csv.QUOTE_ALL)
    table.writerow(["ID", "Kernel Name", *metrics])
    table.writerow(["", "", *("nsecond" if "duration" in metric else "byte" for metric in metrics)])
    for name in json.load(open(asked)):
        calls.write(json.dumps({{"case": name, "mode": "eager"}}) + "\\n")
        table.writerow([0, "spin_kernel(long)", *(1 for _ in metrics)])
        table.writerow([1, "softmax", *(2000 if cache == "all" else 30 for _ in metrics)])
"""


def test_counters_are_asked_for_case_by_case_cold_and_warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ncu"
    program.write_text(FAKE_NCU.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("hiersim.measure.environment.describe", lambda device: {"kind": "cuda"})
    path = tmp_path / "measured.jsonl"
    request = Request(suites=("reduction",), device=torch.device("cuda"), limit_s=10.0, match="softmax/bf16/rows=4096")
    end = count_kernels(request, str(path), lambda text: None)
    found = load_measured(path)
    assert end.cases == len(found.cases) > 2
    for name in found.cases:
        rows = {row.cache: row for row in found.counters if row.case == name}
        assert {cache: row.dram_read_bytes for cache, row in rows.items()} == {"cold": 2000, "warm": 30}
        assert rows["cold"].duration_s == pytest.approx(2e-6)
        assert rows["cold"].kernels == ("softmax",)


def test_the_watched_process_calls_each_case_once(gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[int] = []
    monkeypatch.setattr("hiersim.measure.counted.CudaClock", lambda device, spend: clock_on(gpu))
    monkeypatch.setattr(torch.cuda.profiler, "start", lambda: watched.append(len(gpu.log)))
    monkeypatch.setattr(torch.cuda.profiler, "stop", lambda: watched.append(len(gpu.log)))
    names = [f"pointwise/{name}/bf16/elements=32768" for name in ("add", "gelu")]
    asked, done = tmp_path / "asked.json", tmp_path / "done.jsonl"
    asked.write_text(json.dumps(names))
    with Launching(gpu):
        assert counted_process(str(asked), str(done), "60") == 0
    assert [json.loads(line)["case"] for line in done.read_text().splitlines()] == names
    seen = [[kernel["name"] for kernel in gpu.log[a:b]] for a, b in zip(watched[::2], watched[1::2], strict=True)]
    assert seen == [["spin_kernel(long)", "aten.add.Tensor"], ["spin_kernel(long)", "aten.gelu.default"]]


# --- cases -----------------------------------------------------------------------------------------


def test_every_case_has_a_name_of_its_own_and_every_suite_has_valuable_ones() -> None:
    cases = cases_of([])
    assert len({case.case for case in cases}) == len(cases) > 1000
    assert [case.rank for case in cases] == sorted(case.rank for case in cases)
    assert {case.suite for case in cases} == set(SUITES)
    first = cases[: len(cases) // 10]
    assert {case.suite for case in first} >= set(SUITES) - {"vision"}, "a run that is cut has seen every suite"


@pytest.mark.parametrize("suite", [name for name in SUITES if name not in ("launch", "transfer")])
def test_a_case_says_what_it_computes(suite: str) -> None:
    cases = [case for case in cases_of([suite]) if isinstance(case, Recipe)]
    for case in {case.name: case for case in cases}.values():
        row = case.describe()
        trace = row.trace("file")
        kinds = {Kind(int(kind)) for kind in trace.graph.operators.kind}
        assert Kind.OPAQUE not in kinds, row.case
        assert row.kind in kinds
        assert row.flops.get("matrix", 0) == int(trace.graph.operators.matrix_flops.sum())
        assert row.written_bytes > 0
        assert 0 < row.read_bytes + row.written_bytes <= 2 * case.footprint, row.case


def test_the_work_of_a_product_is_that_of_its_sizes() -> None:
    case = next(case for case in cases_of(["gemm"]) if case.params == {"m": 33, "n": 4096, "k": 4096})
    row = case.describe()
    assert row.kind is Kind.GEMM
    assert row.flops == {"matrix": 2 * 33 * 4096 * 4096}
    assert row.read_bytes == 2 * (33 * 4096 + 4096 * 4096)
    assert row.written_bytes == 2 * 33 * 4096
    (operator,) = [entry for entry in row.rows if "operator" in entry]
    assert operator["operator"] == "aten.mm.default"


def test_products_in_tf32_are_told_from_those_in_fp32() -> None:
    cases = {case.dtype: case for case in cases_of(["gemm"]) if case.params == {"m": 64, "n": 64, "k": 64}}
    for name in ("tf32", "fp32", "bf16"):
        trace = cases[name].describe().trace()
        assert DType(int(trace.graph.operators.dtype[0])).name.lower() == name
        assert int(trace.graph.tensors.tensor_bytes[0]) == 64 * 64 * (2 if name == "bf16" else 4)


def test_cases_run_on_a_processor() -> None:
    """One small case of every operator really runs."""
    make = Make(torch.device("cpu"))
    recipes = [case for case in cases_of([]) if isinstance(case, Recipe)]
    small = {(case.suite, case.name): case for case in sorted(recipes, key=lambda case: -case.footprint)}
    for case in small.values():
        if case.footprint <= 2**26:
            function, tensors = case.build(make)
            with torch.no_grad():
                assert isinstance(function(*tensors), torch.Tensor), case.case


# --- whole runs ------------------------------------------------------------------------------------


def run(tmp_path: Path, *arguments: str) -> Measured:
    path = tmp_path / "measured.jsonl"
    assert status(["measure", *arguments, "--device", "cpu", "-q", "-o", str(path)]) == 0
    return load_measured(path)


def test_kernels_are_measured_within_their_time(tmp_path: Path) -> None:
    found = run(tmp_path, "kernels", "--match", "elements=32768", "--limit-seconds", "30", "--spend-seconds", "1e-4")
    assert found.end is not None
    assert found.end.left == 0
    assert not found.skipped
    assert {case.name for case in found.cases.values()} >= {"add", "gelu", "copy", "addcmul"}
    for case in found.cases.values():
        assert {time.cache for time in found.times_of(case.case)} == {"warm", "cold"}
        assert int(case.trace().graph.operators.matrix_flops.sum()) == 0


def test_no_place_of_this_machine_enters_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "measured.jsonl"
    monkeypatch.setattr("sys.argv", ["/here/hiersim", "measure", "kernels", "--match", "a/b", "-o", str(path)])
    measure_kernels(Request(suites=(), device=torch.device("cpu"), limit_s=0.0), str(path), lambda text: None)
    assert load_measured(path).header.command == "hiersim measure kernels --match a/b -o measured.jsonl"
    assert str(tmp_path) not in path.read_text()


def test_a_run_without_time_says_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "measured.jsonl"
    request = Request(suites=("launch",), device=torch.device("cpu"), limit_s=0.0)
    told: list[str] = []
    end = measure_kernels(request, str(path), told.append)
    assert end.left + end.cases == sum(not case.cuda_only for case in cases_of(["launch"]))
    assert load_measured(path).end is not None
    assert len(told) == end.cases


def test_a_case_that_fails_is_named_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: str, clock: Any, make: Any) -> Iterator[Any]:
        raise RuntimeError("no such kernel\nsecond line")
        yield

    probes = [Probe(suite="launch", name=name, params={}, run=run) for name, run in (("bad", broken), ("good", good))]
    monkeypatch.setattr("hiersim.measure.kernels.cases_of", lambda suites: probes)
    path = tmp_path / "measured.jsonl"
    request = Request(suites=(), device=torch.device("cpu"), limit_s=9.0)
    measure_kernels(request, str(path), lambda text: None)
    found = load_measured(path)
    assert [(row.case, row.why) for row in found.skipped] == [
        ("launch/bad/fp32", "RuntimeError: no such kernel second line")
    ]
    assert {time.case for time in found.times} == {"launch/good/fp32"}


def good(case: str, clock: Any, make: Any) -> Iterator[Any]:
    yield from clock.times(case, "eager", lambda: None)


@pytest.mark.parametrize("threads", [1, 2])
def test_processor_time_is_that_of_one_thread_alone(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = list(CpuClock(torch.device("cpu"), 0.001).times("case", "eager", lambda: time.sleep(0.01)))
    finally:
        torch.set_num_threads(before)
    found = {(row.clock, row.cache): row.min_s for row in rows}
    clocks = ("wall", "processor") if threads == 1 else ("wall",)
    assert set(found) == {(clock, cache) for clock in clocks for cache in ("warm", "cold")}
    assert found["wall", "warm"] >= 0.01
    assert found.get(("processor", "cold"), 0.0) <= found["wall", "cold"]
    assert found.get(("processor", "warm"), 0.0) < 0.005, "who sleeps takes no processor"


def test_a_model_is_measured_eager_and_compiled(tmp_path: Path) -> None:
    found = run(tmp_path, "torch", "tiny-mlp", "--repeats", "3", "--warmup", "3")
    assert not found.skipped
    assert [summary.mode for summary in found.summaries] == ["eager", "compiled"]
    eager = [kernel.kernel for kernel in found.kernels if kernel.mode == "eager"]
    compiled = [kernel.kernel for kernel in found.kernels if kernel.mode == "compiled"]
    assert eager.count("aten::addmm") == 2
    assert "aten::gelu" in eager
    assert "aten::gelu" not in compiled
    assert any("fused" in name for name in compiled), "Inductor's own loops show in the profile"
    for summary in found.summaries:
        rows = [kernel for kernel in found.kernels if kernel.mode == summary.mode]
        assert [row.position for row in rows] == list(range(summary.launches))
        range_of = {time.clock: (time.min_s, time.p90_s) for time in found.times if time.mode == summary.mode}
        assert summary.coverage > 0
        assert summary.launches > 0 and range_of["profiler"][0] <= summary.kernel_s <= range_of["profiler"][1]
        assert (summary.compile_s is None) == (summary.mode == "eager")


def test_a_training_step_changes_the_weights(tmp_path: Path) -> None:
    found = run(tmp_path, "torch", "tiny-gpt2-train", "--mode", "eager", "--repeats", "1", "--warmup", "1")
    (case,) = found.cases.values()
    assert case.train
    names = {kernel.kernel for kernel in found.kernels}
    assert {"aten::embedding_dense_backward", "aten::native_layer_norm_backward"} <= names
    assert any(name.startswith("aten::_foreach") or "adam" in name for name in names)


def test_bundled_models_get_weights_and_inputs_that_mean_work() -> None:
    target = load_real("tiny-llama-decode", False, torch.device("cpu"), None)
    for name, parameter in target.model.named_parameters():
        assert torch.isfinite(parameter).all(), name
        assert parameter.float().abs().sum() > 0, name
    assert len(target.kwargs["input_ids"].unique()) > 1
    assert target.kwargs["kv_cache"][0][0].float().std() == pytest.approx(1.0, abs=0.1)
    assert target.kwargs["position"].tolist() == [63], "positions are no data"
    frequencies = target.model.rotary.inverse_frequency
    assert frequencies[0] == 1.0
    assert frequencies.dtype == torch.float32
    with torch.no_grad():
        assert torch.isfinite(target.model(**target.kwargs)).all()


def test_the_element_type_changes_where_most_weights_have_it() -> None:
    target = load_real("tiny-llama-decode", False, torch.device("cpu"), "fp32")
    assert {parameter.dtype for parameter in target.model.parameters()} == {torch.float32}
    assert target.kwargs["kv_cache"][0][0].dtype == torch.float32
    assert target.kwargs["input_ids"].dtype == torch.int64
    halved = load_real("tiny-llama-decode", False, torch.device("cpu"), None)
    parameters = sum(parameter.numel() for parameter in target.model.parameters())
    assert weight_bytes(target.model) - weight_bytes(halved.model) == 2 * parameters


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("kernels", "--suite", "gemn"), "--suite: 'gemn' is not a suite (expected 'gemm')"),
        (("kernels", "--match", "nothing"), "--suite: no case of these suites suits cpu"),
        (("kernels", "--suite", "transfer"), "no case of these suites suits cpu"),
        (("kernels", "--largest", "10"), "--largest:"),
        (("kernels", "--counters", "ncu"), "--counters ncu:"),
        (("torch", "tiny-mpl"), "'tiny-mpl' is not a bundled model (expected 'tiny-mlp'"),
        (("torch", "no.such.module:build"), "cannot be imported"),
        (("torch", "tiny-mlp", "--mode", "graph"), "--mode graph: a CUDA graph needs a CUDA device"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_no_file(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "measured.jsonl"
    assert status(["measure", *arguments, "--device", "cpu", "-o", str(path)]) == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.count("\n") == 1
    assert not path.exists()


@pytest.mark.parametrize("name", ["measured.jsonl.gz", "no/such/folder.jsonl"])
def test_a_file_that_cannot_be_written_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["kernels", "--suite", "stream", "--limit-seconds", "1", "--device", "cpu"]
    assert status(["measure", *arguments, "-o", str(tmp_path / name)]) == 2
    assert name in capsys.readouterr().err


def test_a_model_of_a_library_is_measured_and_stands_beside_its_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    small = ("--batch", "2", "--sequence", "8", "--config", "num_hidden_layers=1", "--config", "vocab_size=99")
    found = run(
        tmp_path, "torch", "hf:opt", *small, "--dtype", "fp32", "--mode", "eager", "--repeats", "1", "--warmup", "1"
    )  # fmt: skip
    (case,) = found.cases.values()
    assert (case.name, case.dtype) == (f"hf:opt {' '.join((*small[:4], '--dtype', 'fp32', *small[4:]))}", "fp32")
    trace, file = tmp_path / "opt.npz", next(tmp_path.glob("*.jsonl"))
    assert status(["capture", "torch", "hf:opt", *small, "--dtype", "fp32", "-o", str(trace)]) == 0
    shown = ("validate", "-q", "--data", str(file), "--design", "h100-sxm", "--json")
    capsys.readouterr()
    assert status([*shown]) == 0
    assert not json.loads(capsys.readouterr().out)["models"]
    assert status([*shown, "--trace", str(trace)]) == 0
    (row,) = json.loads(capsys.readouterr().out)["models"]
    assert row["model"] == case.name
    assert 10 < row["kernels"] < len(load_trace(str(trace)).graph.operators), "all but the views"


def test_tokens_of_a_model_of_a_library_are_among_those_it_knows() -> None:
    pytest.importorskip("transformers")
    work = Workload(batch=2, sequence=16, settings=(("num_hidden_layers", "1"), ("vocab_size", "20")))
    target = load_real("hf:opt", False, torch.device("cpu"), "fp32", work)
    tokens = target.kwargs["input_ids"]
    assert 2 < len(tokens.unique()) <= 20, "and not of the larger embedding of positions"
    with torch.no_grad():
        target.model(**target.kwargs)
