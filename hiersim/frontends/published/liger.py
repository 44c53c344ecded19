"""Fused Triton kernels beside what they replace, from the benchmarks of Liger-Kernel on A100-80GB (CSV, ms, medians).

Forward runs of RMSNorm, LayerNorm, SwiGLU, GeGLU and cross entropy are rebuilt, operator by operator as the reference
code of Hugging Face runs them (`eager`); Liger's kernels stand as `compiled`, replayed with TorchInductor's rules,
which fuse the same operators. Everything else is left out. Triton's `do_bench` empties L2 before each call: cold.

References
----------
linkedin/Liger-Kernel, benchmark/data/all_benchmark_data.csv (BSD-2).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from hiersim.frontends.aten.call import Cost
from hiersim.frontends.measured import Case, Measured
from hiersim.frontends.published.sketch import Sheet, Sketch
from hiersim.frontends.published.table import Row, Sheaf, csv_rows
from hiersim.model.operators import DType, Kind

NEEDED: Final = (
    "kernel_name", "kernel_provider", "kernel_operation_mode", "metric_name", "x_name", "x_value", "y_value_50",
    "extra_benchmark_config_str", "gpu_name",
)  # fmt: skip
COMMAND: Final = "Liger-Kernel, benchmark/data"
_MODES: Final = {"liger": "compiled", "huggingface": "eager"}
_DTYPES: Final = {"torch.bfloat16": DType.BF16, "torch.float32": DType.FP32}


def load(path: Path) -> tuple[Measured, ...]:
    """Read the table; rows of memory are left out.

    Raises
    ------
    MeasurementError
        With file, line and column of the first fault.
    """
    sheaves: dict[str, Sheaf] = {}
    cases: dict[str, Case] = {}
    for row in csv_rows(path, NEEDED):
        if row.text("metric_name") != "speed":
            continue
        device, name = row.text("gpu_name"), row.text("kernel_name")
        sheaf = sheaves.setdefault(device, Sheaf(device, COMMAND, row.text("timestamp")[:10]))
        mode = _MODES.get(row.text("kernel_provider"))
        sizes = _sizes(row)
        if name not in _MAKERS or mode is None or row.text("kernel_operation_mode") != "forward":
            left = Case(case=f"liger {name}/line {row.line}", suite=f"liger {name}", name=name, dtype="bf16")
            sheaf.skip(left, "a kernel, or a pass, that is not rebuilt")
            continue
        case = _MAKERS[name](row, sizes)
        if f"{device} {case.case}" not in cases:
            cases[f"{device} {case.case}"] = sheaf.fresh(case)
        known = cases[f"{device} {case.case}"]
        sheaf.time(known, row.positive("y_value_50") / 1e3, clock="events", cache="cold", mode=mode)
    return tuple(sheaf.measured() for sheaf in sheaves.values())


def _sizes(row: Row) -> Mapping[str, Any]:
    """What stays the same in a benchmark, and what it goes over."""
    text = row.text("extra_benchmark_config_str")
    try:
        sizes = json.loads(text) if len(text) < 10_000 else None
    except (json.JSONDecodeError, RecursionError):
        sizes = None
    if not isinstance(sizes, dict):
        row.fail(f"'{text[:40]}' is no table", "extra_benchmark_config_str", "a JSON object")
    return {**sizes, row.text("x_name"): row.size("x_value")}


def _whole(row: Row, sizes: Mapping[str, Any], *names: str) -> tuple[int, ...]:
    for name in names:
        if type(sizes.get(name)) is not int or not 0 < sizes[name] < 2**31:
            row.fail(f"holds no size '{name}'", "extra_benchmark_config_str", "a whole number above 0")
    return tuple(sizes[name] for name in names)


def _dtype(row: Row, sizes: Mapping[str, Any], default: DType) -> DType:
    name = str(sizes.get("dtype", ""))
    return _DTYPES.get(name, default) if name in ("", *_DTYPES) else row.fail(f"'{name[:40]}' is not known", "dtype")


def _rms_norm(row: Row, sizes: Mapping[str, Any]) -> Case:
    rows, columns = _whole(row, sizes, "M", "H")
    sketch = Sketch(_dtype(row, sizes, DType.BF16))
    x, weight = sketch.given("x", (rows, columns)), sketch.given("weight", (columns,), "weight")
    wide, line = DType.FP32, (rows, 1)
    full = sketch.run("aten._to_copy.default", (x,), x.shape, name="full", dtype=wide)
    square = sketch.run("aten.pow.Tensor_Scalar", (full,), x.shape, name="square", dtype=wide)
    cost = Cost(kind=Kind.REDUCTION, dims=(rows, columns), vector_flops=rows * (columns + 1))
    mean = sketch.run("aten.mean.dim", (square,), line, name="mean", dtype=wide, cost=cost)
    sure = sketch.run("aten.add.Tensor", (mean,), line, name="sure", dtype=wide)
    root = sketch.run("aten.rsqrt.default", (sure,), line, name="root", dtype=wide)
    scaled = sketch.run("aten.mul.Tensor", (full, root), x.shape, name="scaled", dtype=wide)
    short = sketch.run("aten._to_copy.default", (scaled,), x.shape, name="short")
    sketch.run("aten.mul.Tensor", (weight, short), x.shape, name="y")
    return _named(sketch, row, {"rows": rows, "columns": columns})


def _layer_norm(row: Row, sizes: Mapping[str, Any]) -> Case:
    rows, columns = _whole(row, sizes, "M", "N")
    sketch = Sketch(_dtype(row, sizes, DType.FP32))
    x = sketch.given("x", (rows, columns))
    weight, bias = (sketch.given(name, (columns,), "weight") for name in ("weight", "bias"))
    arguments = (x, (columns,), weight, bias)
    sketch.run("aten.native_layer_norm.default", (x, weight, bias), x.shape, arguments=arguments, name="y")
    return _named(sketch, row, {"rows": rows, "columns": columns})


def _gated(activation: str, batch: str) -> Callable[[Row, Mapping[str, Any]], Case]:
    """Two products, an activation of one times the other, and a third product."""

    def make(row: Row, sizes: Mapping[str, Any]) -> Case:
        first, tokens, hidden, wide = _whole(row, sizes, batch, "T", "hidden_size", "intermediate_size")
        sketch = Sketch(_dtype(row, sizes, DType.BF16))
        x = sketch.given("x", (first * tokens, hidden))
        shape = (first * tokens, wide)
        up_weight, gate_weight = (sketch.given(name, (hidden, wide), "weight") for name in ("up", "gate"))
        gate = sketch.run("aten.mm.default", (x, gate_weight), shape, name="gated")
        active = sketch.run(activation, (gate,), shape, name="active")
        up = sketch.run("aten.mm.default", (x, up_weight), shape, name="upper")
        both = sketch.run("aten.mul.Tensor", (active, up), shape, name="both")
        down: Sheet = sketch.given("down", (wide, hidden), "weight")
        sketch.run("aten.mm.default", (both, down), x.shape, name="y")
        return _named(sketch, row, {"tokens": first * tokens, "hidden": hidden, "wide": wide})

    return make


def _cross_entropy(row: Row, sizes: Mapping[str, Any]) -> Case:
    batch, tokens, words = _whole(row, sizes, "B", "T", "V")
    sketch = Sketch(_dtype(row, sizes, DType.FP32))
    rows = batch * tokens
    x, target = sketch.given("x", (rows, words)), sketch.given("target", (rows,), dtype=DType.INT64)
    logs = sketch.run("aten._log_softmax.default", (x,), x.shape, arguments=(x, -1, False), name="logs")
    cost = Cost(kind=Kind.REDUCTION, dims=(1, rows), vector_flops=2 * rows)
    picked = {"logs": rows * logs.bytes // (rows * words)}
    sketch.run("aten.nll_loss_forward.default", (logs, target), (1,), name="y", cost=cost, moved=picked)
    return _named(sketch, row, {"rows": rows, "columns": words})


def _named(sketch: Sketch, row: Row, params: Mapping[str, int]) -> Case:
    name = row.text("kernel_name")
    return sketch.case(suite=f"liger {name}", name=name, params=params, line=row.line)


_MAKERS: Final[Mapping[str, Callable[[Row, Mapping[str, Any]], Case]]] = {
    "rms_norm": _rms_norm, "layer_norm": _layer_norm, "swiglu": _gated("aten.silu.default", "B"),
    "geglu": _gated("aten.gelu.default", "bsz"), "cross_entropy": _cross_entropy,
}  # fmt: skip
