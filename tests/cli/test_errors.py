"""Errors from the command line: one line, exit status 2 or 1, no traceback, nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

WRONG = [
    (("runn",), "'runn' is not a command", "'run'"),
    (("run", "gpt2-large", "-d", "tiny"), "neither a bundled trace nor a file", "gpt2-large-prefill"),
    (("run", "resnet50-infer", "-d", "h100"), "neither a bundled design nor a file", "h100-sxm"),
    (("run", "resnet50-infer", "-d", "tiny", "-f", "egaer"), "not a fusion policy", "'eager'"),
    (("run", "resnet50-infer", "-d", "tiny", "-f", "xla"), "carries no captured 'xla' schedule", "--fusion eager"),
    (("run", "resnet50-infer", "-d", "tiny", "--engine", "referense"), "is not an engine", "'reference'"),
    (("run", "resnet50-infer", "-d", "tiny", "--launch", "grahp"), "is not a launch mode", "'graph'"),
    (("compare", "resnet50-infer", "-d", "m1-max", "--launch", "graph"), "host.launch_graph", "launch 'stream'"),
    (("run", "resnet50-infer"), "--design", ""),
    (("run", "resnet50-infer", "-d", "tiny", "--set", "memory.l2.capacity"), "is not a change", "PATH=VALUE"),
    (("run", "resnet50-infer", "-d", "tiny", "--set", "memory.l2.capasity=1MB"), "memory.l2.capasity", "capacity"),
    (("run", "resnet50-infer", "-d", "tiny", "--set", "memory.l3.capacity=1MB"), "names no value of a tier", "l2"),
    (("run", "resnet50-infer", "-d", "tiny", "--set", "memory.l2.capacity=5"), "has no unit", "50 MiB"),
    (("run", "resnet50-infer", "-d", "tiny", "--set", "memory.l2.capacity=-1MB"), "negative", ""),
    (("run", "resnet50-infer", "-d", "tiny", "--set", "memory.hbm.bandwidth=1Gb/s"), "bits", "B for bytes"),
    (("define", "bandwith"), "not in the glossary", "'bandwidth'"),
    (("designs", "show", "h100"), "neither a bundled design nor a file", "h100-sxm"),
    (("traces", "check", "no/such/file.npz"), "cannot be read", "archive"),
    (("export", "perfetto", "docs/examples/relu.jsonl", "-d", "tiny", "-o", "x.txt"), "unknown form", ".pftrace"),
]


@pytest.mark.parametrize(("command", "problem", "remedy"), WRONG, ids=[" ".join(row[0])[-60:] for row in WRONG])
def test_a_wrong_input_is_one_line_and_exit_2(
    hiersim: Any, command: tuple[str, ...], problem: str, remedy: str
) -> None:
    done = hiersim(*command)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert problem in done.stderr
    assert remedy in done.stderr


def test_a_model_that_does_not_fit_is_exit_1_and_names_tier_class_and_bytes(hiersim: Any) -> None:
    done = hiersim("run", "llama3-8b-decode", "-d", "tpu-v4", "--set", "memory.hbm.capacity=8GB")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    for text in ("memory.hbm.capacity", "weight tensors", "tier 'hbm'", "bytes", "missing"):
        assert text in done.stderr


def test_a_model_larger_than_the_last_tier_behind_the_device_is_exit_1_and_names_the_tensor(hiersim: Any) -> None:
    sizes = ("memory.hbm.capacity=8GB", "memory.dram.capacity=4GB", "memory.nvme.capacity=1GB")
    done = hiersim("run", "llama3-8b-decode", "-d", "h100-sxm", *(word for size in sizes for word in ("--set", size)))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    for text in ("memory.nvme.capacity", "tensor 'layers.", "tier 'nvme'", "bytes", "missing", "no other tier"):
        assert text in done.stderr


def test_a_kernel_that_needs_more_than_the_device_is_exit_1_and_named(hiersim: Any) -> None:
    done = hiersim("run", "llama3-8b-decode", "-d", "h100-sxm", "--set", "memory.hbm.capacity=900MB")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    for text in ("memory.hbm.capacity", "kernel ", "needs", "at once in tier 'hbm'", "missing"):
        assert text in done.stderr


def test_a_model_that_spills_runs_and_says_what_lives_where(hiersim: Any) -> None:
    done = hiersim("run", "llama3-8b-decode", "-d", "h100-sxm", "--set", "memory.hbm.capacity=8GB", "--json")
    assert done.returncode == 0
    row = json.loads(done.stdout)
    assert {(placed["tier"], placed["role"]) for placed in row["placement"]} >= {("dram", "weight"), ("hbm", "weight")}
    assert row["traffic_bytes"]["pcie"]["read"] > 5e9
    assert any("of weight live in 'dram'" in warning for warning in row["warnings"])


def test_nothing_is_left_of_a_timeline_that_cannot_be_written(hiersim: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    target = tmp_path / "file" / "x.pftrace"
    done = hiersim("run", "docs/examples/relu.jsonl", "-d", "tiny", "--timeline", str(target))
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_all_faults_of_a_design_are_told_at_once(hiersim: Any, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "configs" / "tiny.yaml").read_text()
    broken = tmp_path / "broken.yaml"
    broken.write_text(
        text.replace("cores: 2", "cores: two").replace("64 KiB", "64").replace("clock: 1 GHz", "clok: 1 GHz")
    )
    done = hiersim("designs", "check", str(broken))
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 4
    assert all(f"{broken}:" in line for line in lines)


@pytest.mark.parametrize(
    "command",
    ["", "demo", "run", "compare", "explain", "export", "export perfetto", "capture", "designs", "traces", "define"],
)
def test_every_command_has_help(hiersim: Any, command: str) -> None:
    done = hiersim(*command.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
