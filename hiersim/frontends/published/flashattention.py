"""Attention written out and fused on A100, from the paper of FlashAttention: times, and bytes of the device memory.

`flashattention_tables18_20.csv`: tables 18 to 20, FP16 without mask and dropout, forward and backward, ms.
`flashattention_fig2_v1.csv`: figure 2, left, of version 1: GPT-2 medium with a padding mask, forward and backward, GB
read and written and ms. Fused attention is replayed by the policy `attention`, which takes the paper's algorithm.
Fused backward alone, and Megatron's partly fused kernels, are not rebuilt. Times are the host's, launches included,
with the same tensors again and again.

References
----------
T. Dao et al.: FlashAttention: Fast and memory-efficient exact attention with IO-awareness, 2022, arXiv:2205.14135.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from hiersim.frontends.measured import Case, Measured
from hiersim.frontends.published.attention_calls import added, drawn, reference_call
from hiersim.frontends.published.sketch import Sketch, turned
from hiersim.frontends.published.table import Row, Sheaf, csv_rows
from hiersim.model.operators import DType, Kind

NEEDED_TIMES: Final = ("paper_table", "dtype", "batch", "heads", "head_dim", "seq", "dropout", "mask", "pass", "value")
NEEDED_BYTES: Final = ("source", "dtype", "batch", "heads", "seq", "head_dim", "mask", "impl", "hbm_gb", "runtime_ms")
DEVICE: Final = "A100-40GB"
"""As the paper prints it; which of the two products it was is not said."""
COMMAND: Final = "FlashAttention, arXiv:2205.14135"
PUBLISHED: Final = "2022"
TORCH: Final = "1.12"
"""The release of that year; the paper names none."""
FUSED: Final = "attention"
_PASSES: Final = ("fwd", "bwd", "fwd+bwd")
_KINDS: Final = {"pytorch_unfused": "", "standard": "", "flashattention_fused": FUSED, "flashattention": FUSED}


def load_times(path: Path) -> tuple[Measured, ...]:
    """Read tables 18 to 20.

    Raises
    ------
    MeasurementError
        With file, line and column of the first fault.
    """
    sheaf = Sheaf(DEVICE, COMMAND, PUBLISHED, torch=TORCH)
    for row in csv_rows(path, NEEDED_TIMES):
        case = _case(row, "flashattention table", row.text("pass"), mask=False)
        if row.text("mask") != "0" or row.text("dropout") != "0":
            sheaf.skip(case, "attention with mask or dropout")
        elif row.text("impl") not in _KINDS:
            sheaf.skip(case, "kernels that fuse a part of attention")
        elif row.text("pass") == "bwd" and _KINDS[row.text("impl")]:
            sheaf.skip(case, "fused backward alone")
        else:
            sheaf.add(case, row.positive("value") / 1e3, clock="wall", cache="warm")
    return (sheaf.measured(),)


def load_bytes(path: Path) -> tuple[Measured, ...]:
    """Read figure 2.

    Raises
    ------
    MeasurementError
        With file, line and column of the first fault.
    """
    sheaf = Sheaf(DEVICE, COMMAND, PUBLISHED, torch=TORCH)
    for row in csv_rows(path, NEEDED_BYTES):
        row.choice("impl", _KINDS)
        case = sheaf.fresh(_case(row, "flashattention figure", "fwd+bwd", mask=True))
        sheaf.time(case, row.positive("runtime_ms") / 1e3, clock="wall", cache="warm")
        sheaf.count(case, round(row.positive("hbm_gb") * 1e9), "warm")
    return (sheaf.measured(),)


def _case(row: Row, suite: str, passes: str, mask: bool) -> Case:
    row.choice("dtype", ("fp16",))
    params = {name: row.size(name) for name in ("batch", "heads", "seq", "head_dim")}
    if passes not in _PASSES:
        row.choice("pass", _PASSES)
    fusion = _KINDS.get(row.text("impl"), "")
    if mask:
        sketch = written_out(DType.FP16, *params.values(), passes=passes, mask=True)
    elif fusion:
        sketch = written_out(DType.FP16, *params.values(), passes=passes, mask=False, repeated=True)
    else:
        sketch = reference_call(DType.FP16, *params.values(), passes=passes)
    name = f"{row.text('impl')} {passes}"
    case = sketch.case(suite=suite, name=name, params=params, line=row.line)
    return replace(case, fusion=fusion, kind=Kind.ATTENTION if fusion else case.kind)


def written_out(
    dtype: DType, batch: int, heads: int, length: int, head: int, *, passes: str, mask: bool, repeated: bool = False
) -> Sketch:
    """Attention as PyTorch runs it operator by operator: forward (`fwd`), backward (`bwd`) or both (`fwd+bwd`).

    A padding mask is added to the scores, as in GPT-2. The backward of softmax multiplies in a kernel of its own first.
    `repeated`: a call of both passes draws the gradient of its results, and adds what it finds to what calls before
    it left.
    """
    sketch = Sketch(dtype)
    pairs = batch * heads
    line, square = (pairs, length, head), (pairs, length, length)
    q, k, v = (sketch.given(name, line) for name in "qkv")
    if passes == "bwd":
        weights = sketch.given("p", square)
    else:
        scores = sketch.run("aten.baddbmm.default", (q, k), square, arguments=(q, q, turned(k)), name="s")
        if mask:
            padding = sketch.given("padding", (batch, 1, 1, length), "constant")
            scores = sketch.run("aten.add.Tensor", (scores, padding), square, name="m")
        weights = sketch.run("aten._softmax.default", (scores,), square, arguments=(scores, -1, False), name="p")
        sketch.run("aten.bmm.default", (weights, v), line, name="o")
    if passes == "fwd":
        return sketch
    back = "backward"
    do = drawn(sketch, line) if repeated else sketch.given("do", line)
    dv = sketch.run("aten.bmm.default", (weights, do), line, name="dv", phase=back)
    dw = sketch.run("aten.bmm.default", (do, v), square, arguments=(do, turned(v)), name="dw", phase=back)
    dm = sketch.run("aten.mul.Tensor", (dw, weights), square, name="dm", phase=back)
    ds = sketch.run(
        "aten._softmax_backward_data.default", (dm, weights), square, arguments=(dm, weights, -1, dtype), name="ds",
        phase=back,
    )  # fmt: skip
    gq = sketch.run("aten.bmm.default", (ds, k), line, name="gq", phase=back)
    dq = sketch.run("aten.mul.Tensor", (gq,), line, name="dq", phase=back)
    gk = sketch.run("aten.bmm.default", (q, ds), line, arguments=(turned(q), ds), name="gk", phase=back)
    dk = sketch.run("aten.mul.Tensor", (gk,), line, name="dk", phase=back)
    if repeated:
        added(sketch, (dq, dk, dv))
    return sketch
