"""`hiersim import` and `export chakra` as a user types them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from profiles import mlp_profile


def test_a_table_becomes_a_trace_that_runs(hiersim: Any, tmp_path: Path) -> None:
    table, trace = tmp_path / "t.csv", str(tmp_path / "t.npz")
    table.write_text("name,kind,dims,inputs\nfc,gemm,m=64 n=512 k=256,x:input w:weight\n")
    done = hiersim("import", "csv", str(table), "-o", trace)
    assert done.returncode == 0 and done.stdout == "" and "1 operators, 16.78 MFLOP" in done.stderr
    checked = hiersim("traces", "check", trace)
    assert "sound (1 operators, 16.78 MFLOP)" in checked.stdout and "1 kinds: 1 gemm" in checked.stdout
    assert hiersim("run", trace, "-d", "tiny", "--quiet").returncode == 0


def test_a_profile_is_printed_beside_the_prediction(hiersim: Any, tmp_path: Path) -> None:
    profile, trace = tmp_path / "p.json", str(tmp_path / "p.npz")
    profile.write_text(json.dumps(mlp_profile().whole()))
    done = hiersim("import", "kineto", str(profile), "-o", trace)
    assert "3 kernels, 0 copies and fills; kernel time 80.5 us" in done.stderr
    assert "measured: 3 device events, idle 30.0%" in hiersim("traces", "check", trace).stdout
    shown = hiersim("run", trace, "-d", "a100-80gb-sxm").stdout
    assert "predicted (a100-80gb-sxm) against measured (Test GPU)" in shown
    assert "aten::addmm" in shown and "60.5 us" in shown
    row = json.loads(hiersim("run", trace, "-d", "a100-80gb-sxm", "--json").stdout)
    assert row["measured"]["idle_share"] == pytest.approx(0.3)


def test_a_bundled_trace_goes_out_to_chakra_and_back(hiersim: Any, tmp_path: Path) -> None:
    target, trace = str(tmp_path / "r.et"), str(tmp_path / "r.npz")
    assert hiersim("export", "chakra", "resnet50-infer", "-o", target).returncode == 0
    assert hiersim("import", "chakra", target, "-o", trace).returncode == 0
    rows = [json.loads(hiersim("run", name, "-d", "tiny", "--json").stdout) for name in ("resnet50-infer", trace)]
    assert rows[0]["makespan_ticks"] == rows[1]["makespan_ticks"]


WRONG = [
    (("import", "csv", "none.csv", "-o", "x.npz"), "none.csv: cannot be read", "a table of operators"),
    (("import", "csv", "none.csv", "-o", "x.json"), "x.json: has an unknown form", ".npz"),
    (("import", "kineto", "README.md", "-o", "x.npz"), "README.md:1: begins with '#'", "PyTorch profiler"),
    (("import", "chakra", "README.md", "-o", "x.npz"), "README.md", "a Chakra execution trace"),
    (("import", "onnx", "none.onnx", "--side", "batch", "-o", "x.npz"), "--side: 'batch' is no side", "batch=8"),
    (("import", "hml", "none"), "No such command", ""),
    (("export", "chakra", "resnet50-infer", "-o", "x.json"), "has an unknown form", ".et"),
    (("export", "chakra", "resnet50-infer", "-o", "no/folder/x.et"), "cannot be written", "a folder to write in"),
]


@pytest.mark.parametrize(("command", "problem", "remedy"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_a_wrong_input_is_one_line_and_exit_2(
    hiersim: Any, command: tuple[str, ...], problem: str, remedy: str
) -> None:
    done = hiersim(*command)
    assert done.returncode == 2, done.stderr
    assert done.stdout == "" and len(done.stderr.strip().splitlines()) == 1
    assert problem in done.stderr and remedy in done.stderr
    assert not Path(command[-1]).exists()


@pytest.mark.parametrize("command", ["", "csv", "kineto", "chakra", "onnx"])
def test_every_import_has_help(hiersim: Any, command: str) -> None:
    assert "Usage:" in hiersim("import", *command.split(), "--help").stdout
