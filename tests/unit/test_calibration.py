"""Calibration: hidden values come back, what the data does not tell is refused, and the design written says why."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hiersim as hs
from hiersim.calibration.calibrate import Calibration, calibrate
from hiersim.calibration.fit import CalibrationError, confused, untold
from hiersim.calibration.observations import observe
from hiersim.calibration.parameters import chosen, defaults, fittable, kind_of, telling, value_of
from hiersim.calibration.write import save, text_of
from hiersim.cli.main import status
from hiersim.errors import DesignError, MeasurementError
from hiersim.frontends.measured import Case, Measured, MeasuredTime, Summary, load_measured
from hiersim.frontends.published import operations
from hiersim.frontends.published.sketch import Sketch
from hiersim.frontends.published.table import Sheaf
from hiersim.measure.writer import Writer
from hiersim.model.design import Design
from hiersim.model.metrics import METRICS
from hiersim.model.operators import DType
from hiersim.units import Share, Ticks
from hiersim.validation.model_traces import ModelTraces
from hiersim.validation.operators import replay_operators
from hiersim.validation.protocol import CLOCKS
from hiersim.validation.rows import Skips

pytest.importorskip("scipy")
TINY = hs.load_design("tiny")
HIDDEN = {"memory.hbm.efficiency": 0.81, "compute.matrix.efficiency": 0.64, "host.start": 2_500_000}
NOISE = 0.01


def cases() -> list[Case]:
    """Copies larger than the cache, products that the matrix unit bounds, and kernels of a few KiB."""
    sketches: list[tuple[str, Sketch, dict[str, int]]] = []
    for rows in (2048, 3072, 4096, 6144, 8192, 12288):
        sketches.append(("relu", operations.pointwise(DType.FP32, "aten.relu.default", (rows, 512)), {"rows": rows}))
    for side in (256, 320, 384, 448, 512, 576):
        sketches.append(("mm", operations.product(DType.BF16, side, side, side), {"side": side}))
    for rows in (1, 2, 4, 8, 16, 32):
        sketches.append(("relu", operations.pointwise(DType.FP32, "aten.relu.default", (rows, 64)), {"rows": rows}))
    return [sketch.case(suite="made up", name=name, params=params) for name, sketch, params in sketches]


def measured(design: Design, clock: str = "events", only: str = "", noise: float = NOISE) -> Measured:
    """What `design` would take, with noise that is the same in every run."""
    sheaf = Sheaf("Hidden One", "made up", "2026-01-02T03:04:05Z")
    for case in cases():
        if only in case.case:
            sheaf.add(case, 1.0, clock=clock, cache="cold")
    dice = random.Random(4)
    rows = list(replay_operators(sheaf.measured(), design, CLOCKS, "", Skips(), lambda *told: None))
    times = [
        timed(time, row.pair.predicted * (1 + noise * dice.gauss(0, 1)))
        for time, row in zip(sheaf.times, rows, strict=True)
    ]
    return replace(sheaf.measured(), times=tuple(times))


def timed(time: MeasuredTime, seconds: float) -> MeasuredTime:
    names = ("min_s", "p10_s", "p25_s", "median_s", "p75_s", "p90_s")
    return replace(time, **dict.fromkeys(names, seconds))


def written(found: Measured, path: Path) -> Path:
    """The same as a file of `hiersim measure`."""
    with Writer(str(path), found.header) as writer:
        for case in found.cases.values():
            writer.write(case)
        for time in found.times:
            writer.write(time)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(measured(TINY.replace(HIDDEN)), tmp_path_factory.mktemp("calibration") / "hidden.jsonl")


@pytest.fixture(scope="module")
def found(file: Path) -> Calibration:
    return calibrate("tiny", file, fit=tuple(HIDDEN), folds=3)


# --- the fit ---------------------------------------------------------------------------------------


def test_hidden_values_come_back(found: Calibration) -> None:
    for row in found.parameters:
        assert row.after == pytest.approx(HIDDEN[row.path], rel=0.015), row.path
        assert row.low < HIDDEN[row.path] < row.high
        assert row.high / row.low < 1.1
        assert not row.at_bound
    assert [row.before for row in found.parameters] == [1.0, 1.0, 1_000_000]


def test_errors_fall_to_the_noise_also_where_the_fit_did_not_look(found: Calibration) -> None:
    assert found.total.before.mape > 0.2
    assert found.total.after.mape < 1.5 * NOISE
    assert found.total.held_out is not None
    assert found.total.after.mape <= found.total.held_out.mape < 2 * NOISE
    assert [row.name for row in found.classes] == ["gemm, eager", "pointwise, eager", "all"]
    assert sum(row.after.n for row in found.classes[:-1]) == found.total.after.n == len(cases())


def test_the_fitted_design_is_the_one_that_was_scored(found: Calibration, file: Path) -> None:
    again = hs.validate(file, design=found.design)
    assert again.totals[-1].accuracy.mape == pytest.approx(found.total.after.mape, rel=1e-12)


def test_the_same_input_gives_the_same_fit(found: Calibration, file: Path) -> None:
    again = calibrate("tiny", str(file), fit=tuple(HIDDEN), folds=3)
    assert again.to_json() == found.to_json()
    assert text_of(again, "tiny") == text_of(found, "tiny")


def test_one_row_that_nothing_explains_does_not_decide(tmp_path: Path) -> None:
    data = measured(TINY.replace(HIDDEN))
    bad = replace(data, times=(timed(data.times[0], 20 * data.times[0].median_s), *data.times[1:]))
    fitted = calibrate("tiny", written(bad, tmp_path / "bad.jsonl"), fit=tuple(HIDDEN), folds=0)
    assert fitted.total.held_out is None
    for row in fitted.parameters:
        assert row.after == pytest.approx(HIDDEN[row.path], rel=0.12), "its square alone would be 50 % in each of six"


def test_without_names_a_usual_set_is_fitted_as_far_as_the_data_tells(tmp_path: Path) -> None:
    fitted = calibrate("tiny", written(measured(TINY.replace(HIDDEN)), tmp_path / "all.jsonl"), folds=0)
    by_path = {row.path: row for row in fitted.parameters}
    assert by_path["memory.hbm.efficiency"].low < 0.81 < by_path["memory.hbm.efficiency"].high
    assert by_path["compute.matrix.efficiency"].after == pytest.approx(0.64, rel=0.02)
    assert fitted.total.after.mape < 1.5 * NOISE
    hardly = {row.path for row in fitted.parameters if row.high > 1.5 * row.low and not row.at_bound}
    assert {text.partition(" is hardly told")[0] for text in fitted.warnings if "hardly" in text} == hardly
    assert fitted.left["host.launch_eager"] == "nothing in the data depends on it"
    assert set(by_path) | set(fitted.left) == {parameter.path for parameter in defaults(TINY)}


def test_a_profile_is_fitted_operator_by_operator() -> None:
    trace = profile_of(TINY.replace(HIDDEN))
    fitted = calibrate(TINY, trace, fit=("memory.hbm.efficiency",), folds=0)
    assert fitted.parameters[0].after == pytest.approx(0.81, rel=0.02)
    assert [row.name for row in fitted.classes] == ["end to end", "pointwise", "all"]
    assert fitted.files == (trace.name,)


def test_a_launch_that_hides_in_the_design_is_found_in_a_profile() -> None:
    """At 5 us nothing waits for the host, so that no derivative says how far off it is."""
    fit = ("memory.hbm.efficiency", "host.launch_eager")
    fitted = calibrate(TINY, profile_of(TINY.replace({"host.launch_eager": "140 us"})), fit=fit, folds=0)
    launch = fitted.parameters[1]
    assert launch.after == pytest.approx(140e6, rel=0.02)
    assert launch.told_by == pytest.approx(1, abs=0.2)
    assert any(text.startswith("host.launch_eager is told by 1.0 rows") for text in fitted.warnings)


def profile_of(design: Design) -> hs.Trace:
    """A trace with the times that `design` would take, as a profiler gives them."""
    from hiersim.fusion.eager import eager
    from hiersim.measured_times import operator_ticks
    from hiersim.model.profile import Activity, DeviceProfile
    from hiersim.run import replay

    sketch = Sketch(DType.FP32)
    x = sketch.given("x", (4096, 512))
    for _ in range(3):
        x = sketch.run("aten.relu.default", (x,), x.shape)
    small = sketch.given("s", (512, 2048))
    sketch.run("aten.add.Tensor", (small, small), small.shape)
    trace = sketch.case(suite="made up", name="net", params={}).trace()
    result = replay(trace, trace.derived(eager), design)
    ticks = operator_ticks(trace, result.program, result.timeline)
    count = len(ticks)
    profile = DeviceProfile(
        device="Hidden One", strings=("kernel",), name=np.zeros(count, np.int64),
        activity=np.full(count, int(Activity.KERNEL)), operator=np.arange(count), start=result.timeline.start,
        duration=ticks, stream=np.zeros(count, np.int64),
    )  # fmt: skip
    return replace(trace, measured=profile)


# --- what the data does not tell -------------------------------------------------------------------


def refused(data: Measured, fit: Sequence[str], path: Path) -> CalibrationError:
    with pytest.raises(CalibrationError) as caught:
        calibrate("tiny", written(data, path / "data.jsonl"), fit=fit, folds=0)
    assert caught.value.exit_code == 1
    return caught.value


def test_a_value_that_moves_nothing_is_refused_with_what_would_tell_it(tmp_path: Path) -> None:
    error = refused(measured(TINY, only="mm/"), ("compute.matrix.efficiency", "host.launch_eager"), tmp_path)
    assert (error.key, error.problem) == ("host.launch_eager", "nothing in the data depends on it")
    assert error.expected is not None
    assert "clock wall" in error.expected


def test_two_values_that_move_the_same_are_both_named(tmp_path: Path) -> None:
    data = measured(TINY, clock="wall", only="relu/fp32/rows=1")
    error = refused(data, ("host.launch_eager", "host.latency"), tmp_path)
    assert "cannot tell" in error.problem
    assert {error.key, *error.problem.split()} >= {"host.latency"}
    assert "host.launch_eager" in str(error)
    assert "small operators" in str(error)


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    data = measured(TINY, only="side=256")
    assert "too few" in refused(data, ("compute.matrix.efficiency",), tmp_path).problem


def test_a_value_at_its_bound_is_a_warning(tmp_path: Path) -> None:
    data = measured(TINY, only="rows=")
    fast = replace(data, times=tuple(timed(time, time.median_s / 2) for time in data.times))
    fitted = calibrate("tiny", written(fast, tmp_path / "fast.jsonl"), fit=("memory.hbm.efficiency",), folds=0)
    assert fitted.parameters[0].at_bound
    assert fitted.parameters[0].after == 1.0
    assert fitted.warnings == ("memory.hbm.efficiency is at its bound: something else than its value may be wrong",)


def test_columns_of_a_jacobian_say_what_is_told() -> None:
    matrix = np.array([[1.0, 0.0, 2.0], [0.5, 0.0, 1.0], [0.0, 0.0, 0.01]])
    assert untold(matrix) == [1]
    assert confused(matrix[:, [0, 2]]) == (0, 1)
    assert confused(np.eye(2)) is None


# --- parameters ------------------------------------------------------------------------------------


def test_what_can_be_fitted_has_bounds_around_the_value() -> None:
    found = {parameter.path: parameter for parameter in fittable(hs.load_design("h100-sxm"))}
    assert {"memory.hbm.bandwidth", "links.pcie.latency", "compute.matrix.peak.bf16", "host.queue"} - set(found) == {
        "host.queue"
    }, "a count is not continuous"
    for parameter in found.values():
        assert 0 < parameter.low <= parameter.start <= parameter.high
        assert parameter.kind is not Share or parameter.high == 1.0
    assert found["host.start"].kind is Ticks
    assert value_of(hs.load_design("h100-sxm"), "compute.matrix.peak.bf16") == 989_400_000_000_000
    assert kind_of(TINY, "memory.l2.latency") is Ticks


def test_a_table_stands_for_all_that_is_in_it() -> None:
    host = [parameter.path for parameter in chosen(TINY, ("host",))]
    assert {"host.launch_eager", "host.start", "host.graph_start"} <= set(host)
    assert all(telling(path) for path in host)
    with pytest.raises(DesignError, match=r"memory.hbm.eficiency: is no value.*memory.hbm.efficiency"):
        chosen(TINY, ("memory.hbm.eficiency",))
    with pytest.raises(DesignError, match="is no value that can be fitted"):
        chosen(TINY, ("compute.cores",))


# --- what is written -------------------------------------------------------------------------------


def test_the_written_design_extends_its_base_and_cites_the_data(found: Calibration, tmp_path: Path) -> None:
    target = tmp_path / "mine.yaml"
    save(found, "tiny", target)
    design = hs.load_design(target)
    assert replace(design, name="", title="", sources={}) == replace(found.design, name="", title="", sources={})
    source = design.sources["memory.hbm.efficiency"]
    for part in ("hidden.jsonl (sha256 ", "measured 2026-01-02", "on Hidden One", "18 rows", "95 % 0.", "held out"):
        assert part in source, source
    assert design.sources["memory"] == "chosen for teaching"
    own = tmp_path / "below" / "again.yaml"
    own.parent.mkdir()
    save(found, str(target), own)
    assert 'extends: "../mine.yaml"' in own.read_text()


def test_a_design_is_not_written_over_itself(found: Calibration, tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text("extends: tiny\n")
    for target in (base, tmp_path / "design.txt"):
        with pytest.raises(DesignError):
            save(found, str(base), target)
    assert base.read_text() == "extends: tiny\n"


def test_the_command_prints_writes_and_refuses(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mine.yaml"
    command = ["calibrate", "tiny", "--measured", str(file), "--folds", "0", "-o", str(target)]
    assert status([*command, "--fit", "memory.hbm.efficiency"]) == 0
    said = capsys.readouterr()
    assert "memory.hbm.efficiency" in said.out
    assert "errors before" in said.out
    assert f"{target}: 1 values fitted" in said.err
    target.unlink()
    assert status([*command, "--fit", "memory.hbm.efficiency", "--fit", "host.launch_graph"]) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith("hiersim: host.launch_graph: nothing in the data depends on it")
    assert not target.exists()


def test_a_target_that_cannot_be_written_is_refused_before_anything_is_fitted(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: Any, **more: Any) -> Any:
        raise AssertionError("fitted first")

    monkeypatch.setattr("hiersim.calibration.calibrate.calibrate", never)
    (tmp_path / "folder.yaml").mkdir()
    for target in ("design.txt", "nowhere/design.yaml", "folder.yaml"):
        assert status(["calibrate", "tiny", "--measured", str(file), "-o", str(tmp_path / target)]) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1
        assert target in said[0]


def test_a_design_that_cannot_be_read_again_is_not_left_behind(
    found: Calibration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "mine.yaml"
    target.write_text("extends: tiny\n")
    monkeypatch.setattr("hiersim.calibration.write.text_of", lambda calibration, extends: "name: [broken\n")
    with pytest.raises(DesignError):
        save(found, "tiny", target)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
    assert target.read_text() == "extends: tiny\n"


def test_many_files_with_any_names_and_a_long_base_still_make_a_design(found: Calibration, tmp_path: Path) -> None:
    names = tuple(f'run "{number}"\n\\ of a long series of measurements.jsonl' for number in range(30))
    base = replace(found.base, name=f"{'x' * 60}-calibrated", title="t" * 395)
    many = replace(
        found, files=names, digests=("0" * 64,) * 30, base=base, dates=tuple(f"{y}-01-01" for y in range(1990, 2090))
    )
    save(many, "tiny", tmp_path / "mine.yaml")
    design = hs.load_design(tmp_path / "mine.yaml")
    assert design.name == f"{'x' * 53}-calibrated"
    assert "30 files (sha256 of their sums " in design.sources["memory.hbm.efficiency"]
    again = replace(found, base=replace(found.base, name="tiny-calibrated", title="Tiny, calibrated"))
    assert "name: tiny-calibrated\n" in text_of(again, "tiny")
    assert text_of(again, "tiny").count(", calibrated") == 1


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda text: text.replace('"median_s":', '"median_s":NaN,"x":', 1), "NaN is not a number"),
        (lambda text: text.replace('"median_s":', '"median_s":0,"x":', 1), "is not a key|falls|holds no time"),
        (lambda text: text.replace('"n":1,', '"n":0,', 1), "holds no time"),
        (lambda text: text[: len(text) // 2], "is not JSON"),
        (lambda text: "", "is empty"),
        (lambda text: text.replace("\n", "x" * 2**21 + "\n", 1), "longer than 1 MiB"),
        (lambda text: text + (" " * (2**20 - 1) + "\n") * 33, "more than 32 MiB"),
    ],
    ids=["nan", "zero", "no samples", "cut", "empty", "long line", "huge"],
)
def test_broken_measurements_are_one_line_and_nothing_is_written(
    edit: Any, problem: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(edit(file.read_text()))
    assert status(["calibrate", "tiny", "--measured", str(bad), "-o", str(tmp_path / "mine.yaml")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert re.search(problem, said[0]), said
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]


def test_times_that_never_vary_leave_what_they_do_not_tell(tmp_path: Path) -> None:
    """Every case takes 50 us: no value explains that, and each that is moved to its bound says so."""
    data = measured(TINY)
    flat = replace(data, times=tuple(timed(time, 5e-5) for time in data.times))
    fitted = calibrate("tiny", written(flat, tmp_path / "flat.jsonl"), folds=0)
    assert fitted.total.after.mape <= fitted.total.before.mape
    assert all(row.low <= row.after <= row.high for row in fitted.parameters)
    assert fitted.warnings


def test_one_class_of_rows_and_two_rows(tmp_path: Path) -> None:
    only = written(measured(TINY, only="mm/"), tmp_path / "mm.jsonl")
    fitted = calibrate("tiny", only, fit=("compute.matrix.efficiency",), group="class")
    assert fitted.folds == 1 or fitted.total.held_out is None, "one class cannot be held out"
    two = measured(TINY, only="side=5")
    with pytest.raises(CalibrationError, match="2 rows are too few for 2 parameters"):
        calibrate("tiny", written(two, tmp_path / "two.jsonl"), fit=("compute.matrix.efficiency", "host.start"))


def test_data_of_other_devices_is_a_warning(tmp_path: Path) -> None:
    data = measured(TINY, only="rows=")
    other = replace(data, header=replace(data.header, device={"kind": "cuda", "name": "Tesla T4"}))
    files = [written(data, tmp_path / "a.jsonl"), written(other, tmp_path / "b.jsonl")]
    fitted = calibrate("tiny", files, fit=("memory.hbm.efficiency",), folds=0)
    assert any("several devices" in text and "Hidden One, Tesla T4" in text for text in fitted.warnings)
    assert any("Tesla T4, which the bundled design t4 stands for, not tiny" in text for text in fitted.warnings)


def test_data_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="no rows that can be replayed"):
        calibrate("tiny", written(measured(TINY, only="nothing"), tmp_path / "empty.jsonl"))


def test_every_key_has_an_entry_in_the_glossary(found: Calibration) -> None:
    def keys(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*(keys(entry) for entry in value.values()))
        return set().union(*(keys(entry) for entry in value)) if isinstance(value, list) else set()

    assert keys(found.to_dict()) <= set(METRICS)


def test_a_measured_model_stands_beside_the_trace_of_its_target() -> None:
    trace = profile_of(TINY)
    named = replace(trace, header=replace(trace.header, name="mine.build"))
    case = Case(case="model/mine:build/fp32", suite="model", name="mine:build", dtype="fp32")
    summary = Summary(
        case=case.case, mode="eager", launches=4, kernel_s=1e-3, wall_s=2e-3, coverage=0.5
    )  # fmt: skip
    sheaf = Sheaf("Hidden One", "made up", "2026-01-02")
    data = replace(sheaf.measured(), cases={case.case: case}, summaries=(summary,))
    found = observe(data, ModelTraces([named]))
    assert [(row.group, row.measured) for row in found.rows] == [("model, eager", 1e-3), ("end to end", 2e-3)]
    kernels, whole = found.predict(TINY)
    assert 0 < kernels < whole
    assert observe(data, ModelTraces()).skips.counts == {
        "model: its trace is neither bundled nor given with --trace": 1
    }


def test_a_quantile_and_a_state_of_the_cache_can_be_chosen(file: Path) -> None:
    data = load_measured(file)
    times = tuple(replace(time, min_s=time.min_s / 2, cache="warm") for time in data.times[:3]) + data.times[3:]
    found = observe(replace(data, times=times), ModelTraces(), take="min", cache="warm")
    assert [row.measured for row in found.rows] == [time.min_s for time in times[:3]]
