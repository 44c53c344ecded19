"""Peak memory: a case in which fusion raises it, the guard against that, and kernels that would not fit the cores."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import hiersim as hs
from hiersim.cli.main import main
from hiersim.errors import FusionError
from hiersim.frontends.rows import load_rows
from hiersim.model.trace import Trace
from hiersim.testing.contracts import asked_bytes

SIDE = 256
MATRIX = SIDE * SIDE * 4
HEADER = {"format": "hiersim-trace", "version": 1, "name": "mask"}
H100 = hs.load_design("h100-sxm")


def tensor(name: str, dtype: str = "fp32", **more: Any) -> dict[str, Any]:
    return {"tensor": name, "shape": [SIDE, SIDE], "dtype": dtype, **({"role": "activation"} | more)}


def product(left: str, right: str, into: str) -> dict[str, Any]:
    dims = {"batch": 1, "m": SIDE, "n": SIDE, "k": SIDE}
    return {"operator": "aten.mm.default", "kind": "gemm", "dims": dims, "reads": [left, right], "writes": [into]}


def pointwise(name: str, reads: list[str], into: str) -> dict[str, Any]:
    return {"operator": f"aten.{name}", "kind": "pointwise", "reads": reads, "writes": [into]}


def masked(folder: Path) -> Trace:
    """A mask of one byte an element, made of a product and used after two others."""
    rows = [
        tensor("a", role="input"), tensor("w", role="weight"), tensor("x"), tensor("mask", dtype="bool"), tensor("u"),
        tensor("v"), tensor("y", output=True), product("a", "w", "x"), pointwise("gt.Scalar", ["x"], "mask"),
        product("a", "w", "u"), product("u", "w", "v"), pointwise("mul.Tensor", ["v", "mask"], "y"),
    ]  # fmt: skip
    path = folder / "mask.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [HEADER, *rows]))
    return load_rows(path)


def test_what_is_computed_again_later_keeps_its_operands_until_then(tmp_path: Path) -> None:
    """Eager mode keeps the mask, a byte an element; compiled code computes it in its user, and keeps the 4-byte `x`."""
    trace = masked(tmp_path)
    plain, fused, kept = (
        hs.simulate(trace, H100, name, keep_peak=keep)
        for name, keep in (("eager", False), ("inductor-rules", False), ("inductor-rules", True))
    )
    inputs = 2 * MATRIX
    assert plain.peak["hbm"] == inputs + MATRIX // 4 + 2 * MATRIX
    assert fused.peak["hbm"] == inputs + MATRIX + 2 * MATRIX
    assert kept.peak["hbm"] == plain.peak["hbm"]
    assert kept.fusion == "inductor (rules), peak kept"
    assert kept.inputs_sha256 != fused.inputs_sha256
    assert asked_bytes(fused.graph) < asked_bytes(kept.graph) <= asked_bytes(plain.graph)


def test_the_report_says_so_and_the_option_forbids_it(tmp_path: Path) -> None:
    masked(tmp_path)
    words = ["compare", str(tmp_path / "mask.jsonl"), "-d", "h100-sxm", "-f", "eager", "-f", "inductor-rules", "-q"]
    told = CliRunner().invoke(main, words)
    assert "it needs 196.6 kB more of hbm than the first column (1.311 MB)" in told.output
    kept = CliRunner().invoke(main, [*words, "--keep-peak"])
    assert kept.exit_code == 0
    assert "it needs" not in kept.output


def test_a_schedule_that_cannot_be_taken_apart_is_refused(tmp_path: Path) -> None:
    trace = masked(tmp_path)
    captured = hs.simulate(trace, H100, "inductor-rules").graph
    carried = Trace(header=trace.header, graph=trace.graph, schedules={"inductor": dataclasses.replace(captured)})
    hs.simulate(carried, H100, "inductor")
    with pytest.raises(FusionError, match=r"196608 bytes more than eager mode .* cannot be taken apart"):
        hs.simulate(carried, H100, "inductor", keep_peak=True)


def test_a_grouping_by_hand_that_the_cores_cannot_hold_is_told(tmp_path: Path) -> None:
    """Two products in one kernel: the first one's result is needed whole."""
    masked(tmp_path)
    path = tmp_path / "mask.jsonl"
    kernels = [{"kernel": [0, 1], "grouping": "mine"}, {"kernel": [2, 3], "grouping": "mine"}]
    kernels.append({"kernel": [4], "grouping": "mine"})
    path.write_text(path.read_text() + "".join(json.dumps(row) + "\n" for row in kernels))
    trace = load_rows(path)
    tiny = hs.load_design("tiny")
    (warning,) = (text for text in hs.simulate(trace, tiny, "mine").warnings if "fused kernels" in text)
    assert "1 fused kernels need values whole" in warning
    assert "262.1 kB in kernel 1" in warning
    assert not any("fused kernels" in text for text in hs.simulate(trace, H100, "mine").warnings)
