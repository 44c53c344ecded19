"""Small traces and designs with round numbers, for closed forms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hiersim.config.document import Document
from hiersim.config.load import design_of
from hiersim.frontends.rows import load_rows
from hiersim.model.design import Design
from hiersim.model.trace import Trace

HEADER = {"format": "hiersim-trace", "version": 1, "name": "oracle"}


def trace_of(rows: Sequence[dict[str, Any]], folder: Path) -> Trace:
    """A trace through the readable form, as a user would write it."""
    path = folder / "trace.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [HEADER, *rows]) + "\n")
    return load_rows(path)


def matmul(m: int, n: int, k: int, folder: Path, copies: int = 1, dtype: str = "fp32") -> Trace:
    """`copies` independent products of matrices."""
    rows: list[dict[str, Any]] = []
    for copy in range(copies):
        rows += [
            {"tensor": f"a{copy}", "shape": [m, k], "dtype": dtype, "role": "input"},
            {"tensor": f"b{copy}", "shape": [k, n], "dtype": dtype, "role": "weight"},
            {"tensor": f"c{copy}", "shape": [m, n], "dtype": dtype, "role": "activation", "output": True},
            {
                "operator": "aten.mm.default", "kind": "gemm", "dims": {"batch": 1, "m": m, "n": n, "k": k},
                "reads": [f"a{copy}", f"b{copy}"], "writes": [f"c{copy}"],
            },
        ]  # fmt: skip
    return trace_of(rows, folder)


def pointwise(elements: int, folder: Path, chain: int = 1) -> Trace:
    """A chain of element-wise operators over fp32 vectors."""
    rows: list[dict[str, Any]] = [{"tensor": "x0", "shape": [elements], "dtype": "fp32", "role": "input"}]
    for step in range(1, chain + 1):
        rows.append(
            {"tensor": f"x{step}", "shape": [elements], "dtype": "fp32", "role": "activation", "output": step == chain}
        )
        rows.append(
            {"operator": "aten.relu.default", "kind": "pointwise", "reads": [f"x{step - 1}"], "writes": [f"x{step}"],
             "flops": {"vector": elements}}
        )  # fmt: skip
    return trace_of(rows, folder)


def design_from(**changes: Any) -> Design:
    """Four cores, a scratchpad each, one far tier; everything that a test does not set costs nothing."""
    data: dict[str, Any] = {
        "name": "oracle",
        "title": "closed forms",
        "compute": {
            "cores": 4,
            "clock": "1 GHz",
            "buffer_depth": 2,
            "matrix": {"tile": [8, 8, 8], "peak": {"fp32": "1 TFLOP/s"}},
            "vector": {"peak": {"fp32": "unlimited"}, "special": "unlimited"},
        },
        "memory": {
            "smem": {"scope": "core", "management": "scratchpad", "capacity": "256 KiB"},
            "dram": {"scope": "shared", "management": "scratchpad", "capacity": "64 GB", "bandwidth": "unlimited"},
        },
        "host": {},
    }
    for path, value in changes.items():
        place = data
        *steps, last = path.split("__")
        for step in steps:
            place = place.setdefault(step, {})
        place[last] = value
    return design_of(Document(file="oracle", data=data, lines={}))
