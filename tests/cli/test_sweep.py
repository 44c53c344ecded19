"""`sweep` and `results` from the command line: forms, going on, and every wrong input in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hiersim.cli.main import status

pytest.importorskip("pyarrow")

RELU = "docs/examples/relu.jsonl"
L2 = "memory.l2.capacity"


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The command in this process: exit status, output, messages."""
    code = status(list(arguments))
    found = capsys.readouterr()
    return code, found.out, found.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep: 2 policies, 3 sizes."""
    path = tmp_path_factory.mktemp("sweeps") / "l2"
    options = ("-f", "eager", "-f", "pointwise", "--vary", f"{L2}=1MiB..4MiB*2", "-o", str(path), "-q")
    assert status(["sweep", RELU, "-d", "tiny", *options]) == 0
    return path


def test_a_sweep_is_a_table_a_folder_and_one_file(hiersim: Any, tmp_path: Path) -> None:
    """In a process of its own, with workers, as a user calls it."""
    out = tmp_path / "out"
    done = hiersim("sweep", RELU, "-d", "tiny", "--vary", f"{L2}=1MiB..4MiB*2", "--workers", "2", "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert [text in done.stdout for text in ("1 MiB", "2 MiB", "4 MiB", "time", "hbm traffic")] == [True] * 5
    assert done.stderr.strip() == f"results: {out}/results.parquet (hiersim results {out})"
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "results.parquet", "sweep.yaml"]


def test_the_same_command_goes_on_and_a_spec_says_the_same(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = (folder / "results.parquet").read_bytes()
    code, _, messages = call(capsys, "sweep", "--resume", str(folder))
    assert code == 0
    assert "all 6 points are there" in messages
    code, *_ = call(capsys, "sweep", str(folder / "sweep.yaml"), "-o", str(tmp_path / "again"), "-q")
    assert code == 0
    assert (tmp_path / "again" / "results.parquet").read_bytes() == expected


def test_a_spec_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "relu.jsonl").write_text(Path(RELU).read_text())
    spec = tmp_path / "mine.yaml"
    spec.write_text(
        "traces: relu.jsonl\ndesigns: [tiny]\nfusion: eager\nset: {memory.hbm.capacity: 2 GB}\n"
        f"vary:\n  {L2}: 1MiB..4MiB*2\n  memory.hbm.bandwidth: [1x, 2x, 4x]\n  launch: [stream, graph]\n"
        f"zip:\n  - [{L2}, memory.hbm.bandwidth]\n"
    )
    code, out, _ = call(capsys, "sweep", str(spec), "-o", str(tmp_path / "out"), "--json", "-q")
    assert code == 0
    rows = json.loads(out)["rows"]
    assert len(rows) == 6
    assert {row["launch"] for row in rows} == {"stream", "graph"}
    assert rows[-1]["set"] == {"memory.hbm.capacity": "2 GB", L2: "4 MiB", "memory.hbm.bandwidth": "4x"}
    assert call(capsys, "sweep", "--resume", str(tmp_path / "out"), "-q")[0] == 0


def test_results_in_every_form(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "results", str(folder), "--pareto", "time,memory_cost", "--where", "fusion=eager")
    assert code == 0
    assert "1 MiB" in out
    assert "4 MiB" not in out  # costs more and is no faster
    code, out, _ = call(capsys, "results", str(folder), "--columns", "cycles,traffic_bytes.l2", "--where", f"{L2}=2MiB")
    assert code == 0
    assert "cycles" in out
    assert "stalled" not in out
    rows = json.loads(call(capsys, "results", str(folder), "--json")[1])["rows"]
    assert len(rows) == 6
    files = {form: tmp_path / f"l2.{form}" for form in ("csv", "parquet")}
    options = [word for form, file in files.items() for word in (f"--{form}", str(file))]
    assert call(capsys, "results", str(folder), *options)[0] == 0
    assert files["parquet"].read_bytes() == (folder / "results.parquet").read_bytes()
    assert len(files["csv"].read_text().splitlines()) == 7
    assert call(capsys, "results", str(files["parquet"]))[0] == 0


def test_a_point_that_does_not_fit_is_told_and_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--vary", "memory.hbm.capacity=1KiB,1GB", "-o", str(tmp_path / "out"))
    code, out, _ = call(capsys, "sweep", RELU, "-d", "tiny", *options)
    assert code == 0
    assert "1 of 2 points could not be run; the first: memory.hbm.capacity" in out


def test_a_sweep_of_which_no_point_fits_is_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--vary", "memory.hbm.capacity=1KiB,2KiB", "-o", str(tmp_path / "out"), "-q")
    code, _, messages = call(capsys, "sweep", RELU, "-d", "tiny", *options)
    assert code == 1
    assert len(messages.strip().splitlines()) == 1
    assert "no point could be run" in messages


SWEEP = ("sweep", RELU, "-d", "tiny", "-o", "OUT")
WRONG = [
    (("sweep", RELU, "-d", "tiny"), "--out", "a folder"),
    (("sweep", "-d", "tiny", "-o", "OUT"), "TRACE", "a bundled trace"),
    (("sweep", RELU, "-o", "OUT"), "--design", "a bundled design"),
    (("sweep", "gpt2-large", "-d", "tiny", "-o", "OUT"), "neither a bundled trace nor a file", "gpt2-large-prefill"),
    (("sweep", RELU, "-d", "tine", "-o", "OUT"), "neither a bundled design nor a file", "'tiny'"),
    ((*SWEEP, "-d", "tiny"), "'tiny' is there twice", "each design once"),
    ((*SWEEP, "-f", "eagre"), "not a fusion policy", "'eager'"),
    ((*SWEEP, "-f", "xla"), "carries no captured 'xla' schedule", ""),
    ((*SWEEP, "--vary", L2), "is no axis", "PATH=VALUES"),
    ((*SWEEP, "--vary", f"{L2}="), "is no axis", "PATH=VALUES"),
    ((*SWEEP, "--vary", "memory.l2.capasity=1MiB"), "not a value of a design", "capacity"),
    ((*SWEEP, "--vary", "memory.l3.capacity=1MiB"), "names no value of a tier", "l2"),
    ((*SWEEP, "--vary", "bacth=1,2"), "nothing that can be varied", "'batch'"),
    ((*SWEEP, "--vary", "name=a,b"), "nothing that can be varied", ""),
    ((*SWEEP, "--vary", f"{L2}=1,2"), "has no unit", "50 MiB"),
    ((*SWEEP, "--vary", f"{L2}=1Mib"), "bits", "B for bytes"),
    ((*SWEEP, "--vary", f"{L2}=1TB/s..2TB/s*2"), "not a unit of a size", "50 MiB"),
    ((*SWEEP, "--vary", f"{L2}=1MiB..2TB/s*2"), "mixes 'MiB' and 'TB/s'", "one dimension"),
    ((*SWEEP, "--vary", f"{L2}=1MiB..4"), "no step", "A..B*FACTOR"),
    ((*SWEEP, "--vary", f"{L2}=4MiB..1MiB*2"), "is empty", "rises"),
    ((*SWEEP, "--vary", f"{L2}=1MiB..4MiB*1"), "does not grow", "above 1"),
    ((*SWEEP, "--vary", f"{L2}=1qB..4qB*2"), "not a unit", ""),
    ((*SWEEP, "--vary", f"{L2}=1MiB,,2MiB"), "empty value", "between commas"),
    ((*SWEEP, "--vary", f"{L2}=1MiB,1024KiB"), "'1MiB' and '1024KiB' are the same", "different values"),
    ((*SWEEP, "--vary", f"{L2}=1MiB,2x"), "mixes multiples and values", "either"),
    ((*SWEEP, "--vary", f"{L2}=1MiB", "--vary", f"{L2}=2MiB"), "varied twice", "each path once"),
    ((*SWEEP, "--vary", f"{L2}=1MiB", "--set", f"{L2}=2MiB"), "set and varied", "one of the two"),
    ((*SWEEP, "--set", "memory.l2.capacity=2"), "set on tiny: memory.l2.capacity", "has no unit"),
    ((*SWEEP, "--vary", f"{L2}=1MiB,2MiB", "--vary", "launch=stream", "--zip"), "has 1 values", "paired"),
    ((*SWEEP, "--vary", "launch=graf"), "not a launch mode", "'graph'"),
    ((*SWEEP, "--vary", "batch=0,1"), "'0' is not valid", "at least 1"),
    ((*SWEEP, "--vary", "batch=1,2"), "batch", "decode"),
    ((*SWEEP, "--vary", "weights=fp9"), "not a format of weights", "fp8"),
    ((*SWEEP, "--vary", "compute.cores=1.5,2"), "not a whole number", ""),
    ((*SWEEP, "--vary", "memory.l2.efficiency=0,1"), "not above zero", ""),
    ((*SWEEP, "--vary", "fusion=eager,egaer"), "not a fusion policy", "'eager'"),
    ((*SWEEP, "--vary", "memory.l2.read_bandwidth=1TB/s"), "memory.l2", ""),
    ((*SWEEP, "--workers", "0"), "no number of workers", "1 to 4096"),
    ((*SWEEP, "--workers", "2", "--dask", "localhost:1"), "several say who computes", "one of"),
    ((*SWEEP, "--resume", "OUT"), "--out, --resume", "one of them"),
    (("sweep", "--resume", "OUT", "-d", "tiny"), "--resume", "no traces, designs or --vary"),
    (("sweep", "--resume", "docs"), "holds no sweep", "manifest.json"),
    (("sweep", RELU, "-d", "tiny", "-o", "docs"), "holds other things", "an empty folder"),
    (("sweep", RELU, "-d", "tiny", "-o", "README.md"), "is a file", "a folder"),
    (("sweep", "configs/tiny.yaml", "-o", "OUT"), "not a key of a sweep", "configs/tiny.yaml:3"),
    (("sweep", "no-such.yaml", "-o", "OUT"), "cannot be read", "a YAML file"),
    (("results", "docs"), "holds no sweep", "manifest.json"),
    (("results", "nowhere"), "holds no sweep", ""),
    (("results", "README.md"), "cannot be read", "Parquet"),
]


@pytest.mark.parametrize(("command", "problem", "remedy"), WRONG, ids=[" ".join(row[0])[-60:] for row in WRONG])
def test_a_wrong_input_is_one_line_exit_2_and_writes_nothing(
    command: tuple[str, ...], problem: str, remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, output, messages = call(capsys, *(str(out) if word == "OUT" else word for word in command))
    assert code == 2, messages
    assert output == ""
    assert len(messages.strip().splitlines()) == 1, messages
    assert problem in messages
    assert remedy in messages
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--pareto", "time,prize"), "not a column"),
        (("--pareto", L2), "no better way"),
        (("--pareto", "time,,"), "empty name"),
        (("--pareto", "fusion:lower"), "is text"),
        (("--columns", "ledger"), "several columns"),
        (("--where", "fusion"), "names no values"),
        (("--where", "fusion=xla"), "no value of this axis"),
        (("--where", "memory.l3.capacity=1MiB"), "not an axis"),
        (("--csv", "README.md/x.csv"), "cannot be written"),
        (("--netcdf", "README.md/x.nc"), "cannot be written"),
    ],
)
def test_a_wrong_question_is_one_line_and_exit_2(
    folder: Path, options: tuple[str, str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output, messages = call(capsys, "results", str(folder), *options)
    assert code == 2
    assert output == ""
    assert len(messages.strip().splitlines()) == 1
    assert problem in messages


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("traces: relu\n", "designs: is missing"),
        ("traces: resnet50-infer\ndesigns: [1]\n", "2: designs: is no list of names"),
        ("traces: resnet50-infer\ndesigns: tiny\nvary: [1]\n", "3: vary: is not a table"),
        ("traces: resnet50-infer\ndesigns: tiny\nvary:\n  launch: 2..1*2\n", "4: launch: '2..1*2' is empty"),
        ("traces: resnet50-infer\ndesigns: tiny\nzip: [a]\n", "3: zip: is neither true nor lists"),
        ("traces: resnet50-infer\ndesigns: tiny\nzip: [[a]]\n", "3: zip: 'a' is not varied"),
        ("traces: !!python/object:os.system x\n", "uses the YAML tag"),
        ("[1", "is not valid YAML"),
    ],
)
def test_a_wrong_spec_is_told_with_its_line(
    text: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.yaml").write_text(text)
    code, _, messages = call(capsys, "sweep", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "out"))
    assert code == 2
    assert len(messages.strip().splitlines()) == 1
    assert problem in messages
    assert not (tmp_path / "out").exists()


def test_another_sweep_in_the_same_folder_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "results.parquet").read_bytes()
    code, _, messages = call(capsys, "sweep", RELU, "-d", "tiny", "--launch", "graph", "-o", str(folder))
    assert code == 2
    assert "holds another sweep: its launch is stream, not graph" in messages
    assert (folder / "results.parquet").read_bytes() == before


def test_inputs_that_changed_are_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    design = tmp_path / "mine.yaml"
    design.write_text("extends: tiny\nmemory: {l2: {capacity: 2 MiB}}\n")
    out = str(tmp_path / "out")
    assert call(capsys, "sweep", RELU, "-d", str(design), "-o", out, "-q")[0] == 0
    design.write_text("extends: tiny\nmemory: {l2: {capacity: 3 MiB}}\n")
    code, _, messages = call(capsys, "sweep", "--resume", out)
    assert code == 2
    assert "was begun otherwise: its 'designs' differs" in messages


@pytest.mark.parametrize("command", ["sweep", "results"])
def test_help(hiersim: Any, command: str) -> None:
    done = hiersim(command, "--help")
    assert done.returncode == 0
    assert "hiersim sweep --resume l2" in done.stdout or "hiersim results l2 --pareto" in done.stdout
