"""Attention written out and fused on A100, from the paper of FlashAttention: times, and bytes of the device memory.

`flashattention_tables18_20.csv`: tables 18 to 20, FP16 without mask and dropout, forward and backward, ms.
`flashattention_fig2_v1.csv`: figure 2, left, of version 1: GPT-2 medium with a padding mask, forward and backward, GB
read and written and ms. Fused attention is replayed by the policy `attention`, which takes the paper's algorithm.
Backward alone, and Megatron's partly fused kernels, are not rebuilt. Times are the host's, launches included, with the
same tensors again and again.

References
----------
T. Dao et al.: FlashAttention: Fast and memory-efficient exact attention with IO-awareness, 2022, arXiv:2205.14135.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from hiersim.frontends.measured import Case, Measured
from hiersim.frontends.published.sketch import Sheet, Sketch
from hiersim.frontends.published.table import Row, Sheaf, csv_rows
from hiersim.model.operators import DType, Kind

NEEDED_TIMES: Final = ("paper_table", "dtype", "batch", "heads", "head_dim", "seq", "dropout", "mask", "pass", "value")
NEEDED_BYTES: Final = ("source", "dtype", "batch", "heads", "seq", "head_dim", "mask", "impl", "hbm_gb", "runtime_ms")
DEVICE: Final = "A100-40GB"
"""As the paper prints it; which of the two products it was is not said."""
COMMAND: Final = "FlashAttention, arXiv:2205.14135"
PUBLISHED: Final = "2022"
FUSED: Final = "attention"
_PASSES: Final = {"fwd": False, "fwd+bwd": True}
_KINDS: Final = {"pytorch_unfused": "", "standard": "", "flashattention_fused": FUSED, "flashattention": FUSED}


def load_times(path: Path) -> tuple[Measured, ...]:
    """Read tables 18 to 20.

    Raises
    ------
    MeasurementError
        With file, line and column of the first fault.
    """
    sheaf = Sheaf(DEVICE, COMMAND, PUBLISHED)
    for row in csv_rows(path, NEEDED_TIMES):
        case = _case(row, "flashattention table", row.text("pass"), mask=False)
        if row.text("mask") != "0" or row.text("dropout") != "0":
            sheaf.skip(case, "attention with mask or dropout")
        elif row.text("pass") not in _PASSES or row.text("impl") not in _KINDS:
            sheaf.skip(case, "backward alone, or kernels that fuse a part of attention")
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
    sheaf = Sheaf(DEVICE, COMMAND, PUBLISHED)
    for row in csv_rows(path, NEEDED_BYTES):
        row.choice("impl", _KINDS)
        case = sheaf.fresh(_case(row, "flashattention figure", "fwd+bwd", mask=True))
        sheaf.time(case, row.positive("runtime_ms") / 1e3, clock="wall", cache="warm")
        sheaf.count(case, round(row.positive("hbm_gb") * 1e9), "warm")
    return (sheaf.measured(),)


def _case(row: Row, suite: str, passes: str, mask: bool) -> Case:
    row.choice("dtype", ("fp16",))
    params = {name: row.size(name) for name in ("batch", "heads", "seq", "head_dim")}
    sketch = written_out(DType.FP16, *params.values(), train=passes != "fwd", mask=mask)
    name = f"{row.text('impl')} {passes}"
    case = sketch.case(suite=suite, name=name, params=params, line=row.line)
    fusion = _KINDS.get(row.text("impl"), "")
    return replace(case, fusion=fusion, kind=Kind.ATTENTION if fusion else case.kind)


def written_out(dtype: DType, batch: int, heads: int, length: int, head: int, *, train: bool, mask: bool) -> Sketch:
    """Attention as PyTorch runs it operator by operator; `train` adds its backward."""
    sketch = Sketch(dtype)
    pairs = batch * heads
    line, square = (pairs, length, head), (pairs, length, length)
    q, k, v = (sketch.given(name, line) for name in "qkv")
    padding = sketch.given("padding", (batch, 1, 1, length), "constant", DType.BOOL) if mask else None

    def masked(scores: Sheet, name: str, phase: str) -> Sheet:
        if padding is None:
            return scores
        return sketch.run("aten.masked_fill.Scalar", (scores, padding), square, name=name, phase=phase)

    scores = sketch.run("aten.baddbmm.default", (q, k), square, arguments=(q, q, _turned(k)), name="s")
    seen = masked(scores, "m", "forward")
    weights = sketch.run("aten._softmax.default", (seen,), square, arguments=(seen, -1, False), name="p")
    sketch.run("aten.bmm.default", (weights, v), line, name="o")
    if not train:
        return sketch
    do, back = sketch.given("do", line), "backward"
    sketch.run("aten.bmm.default", (weights, do), line, name="dv", phase=back)
    dw = sketch.run("aten.bmm.default", (do, v), square, arguments=(do, _turned(v)), name="dw", phase=back)
    dm = sketch.run(
        "aten._softmax_backward_data.default", (dw, weights), square, arguments=(dw, weights, -1, dtype), name="dm",
        phase=back,
    )  # fmt: skip
    ds = masked(dm, "ds", back)
    gq = sketch.run("aten.bmm.default", (ds, k), line, name="gq", phase=back)
    sketch.run("aten.mul.Tensor", (gq,), line, name="dq", phase=back)
    gk = sketch.run("aten.bmm.default", (q, ds), line, arguments=(_turned(q), ds), name="gk", phase=back)
    sketch.run("aten.mul.Tensor", (gk,), line, name="dk", phase=back)
    return sketch


def _turned(sheet: Sheet) -> Sheet:
    """The tensor with its last two sides exchanged, for the cost of a product."""
    return replace(sheet, shape=(*sheet.shape[:-2], sheet.shape[-1], sheet.shape[-2]))
