"""Operators and transformer layers that LLMCompass measured on A100-80GB: CSV files without a line of names.

`matmul`: m, n, k, time in ms. `softmax`, `layernorm`: rows, columns, 10^9 elements per second. `gelu`: elements and the
same rate. Times are the host's from a call to its end, launch included; all are FP16, with the same tensors again and
again. LayerNorm and GELU are functions under `torch.compile`, the others are called eagerly. `transformer` and
`transformerAR` are one GPT-3 layer, split over four devices, operator by operator in seconds:
prefill of 8 x 2048 tokens, and one token of each of 8 sequences after 3072.

References
----------
H. Zhang et al.: LLMCompass: Enabling efficient hardware design for large language model inference, ISCA 2024; data in
ae/figure5 of its artifact (BSD-3).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from hiersim.frontends.measured import Measured
from hiersim.frontends.published import operations
from hiersim.frontends.published.sketch import Sketch
from hiersim.frontends.published.table import Row, Sheaf, csv_rows
from hiersim.model.operators import DType

NAME: Final = re.compile(r"(matmul|softmax|layernorm|gelu|transformer|transformerAR)_A100\.csv")
DEVICE: Final = "NVIDIA A100-SXM4-80GB"
COMMAND: Final = "LLMCompass, ae/figure5"
PUBLISHED: Final = "2024"
TORCH: Final = "2.0.0"
"""What its instructions install."""
HEADS, HIDDEN, SPLIT, BATCH, PROMPT, CONTEXT = 96, 12288, 4, 8, 2048, 3072
"""GPT-3, tensor parallel; tokens of the prefill, and those that a decoded token sees."""
COMPILED: Final = ("layernorm", "gelu", "norm", "norm again")
"""Cases that the artifact calls through `torch.compile`."""
COMPILED_CALL_S: Final = 35e-6
"""The host's share of such a call but for its one launch, 5 us. From 16 to 256 million elements GELU and LayerNorm take
41 us more than their bytes at the rate between that size and the next; 1 us of that is the device's. To 4 million
elements both take 47 to 53 us, whatever the size. pytorch/pytorch#190390 reports 35 to 40 us for a call of a trivial
compiled function."""
_COLUMNS: Final = {
    "matmul": ("m", "n", "k", "time", "rate"), "softmax": ("rows", "columns", "rate"),
    "layernorm": ("rows", "columns", "rate"), "gelu": ("elements", "rate"), "transformer": ("seconds",),
    "transformerAR": ("seconds",),
}  # fmt: skip


def load(path: Path) -> tuple[Measured, ...]:
    """Read one file; which one it is, its name says.

    Raises
    ------
    MeasurementError
        With file, line and column of the first fault.
    """
    match = NAME.fullmatch(path.name)
    assert match, "recognised by its name"
    table = match.group(1)
    sheaf = Sheaf(DEVICE, COMMAND, PUBLISHED, settings={"compiled_call_s": COMPILED_CALL_S}, torch=TORCH)
    rows = list(csv_rows(path, names=_COLUMNS[table]))
    if table.startswith("transformer"):
        _layer(sheaf, rows, decode=table == "transformerAR")
    else:
        for row in rows:
            _kernel(sheaf, table, row)
    return (sheaf.measured(),)


def _kernel(sheaf: Sheaf, table: str, row: Row) -> None:
    params = {name: row.size(name) for name in _COLUMNS[table] if name not in ("time", "rate")}
    sketch = _sketch(table, params)
    if table == "matmul":
        text = row.text("time")
        if not text.endswith("ms"):
            row.fail(f"'{text[:40]}' is no time", "time", "milliseconds: 0.19ms")
        seconds = Row(row.file, row.line, {"time": text.removesuffix("ms")}).positive("time") / 1e3
    else:
        elements = params.get("elements") or params["rows"] * params["columns"]
        seconds = elements / (row.positive("rate") * 1e9)
    _take(sheaf, f"llmcompass {table}", table, sketch, params, seconds, row.line)


def _sketch(table: str, params: dict[str, int]) -> Sketch:
    if table == "matmul":
        return operations.product(DType.FP16, params["m"], params["n"], params["k"])
    if table == "gelu":
        return operations.pointwise(DType.FP16, "aten.gelu.default", (params["elements"],))
    maker = operations.softmax if table == "softmax" else operations.norm
    return maker(DType.FP16, params["rows"], params["columns"])


def _layer(sheaf: Sheaf, rows: list[Row], decode: bool) -> None:
    """The twelve lines of a layer; the last one, an exchange between devices, is no kernel of one."""
    tokens = BATCH if decode else BATCH * PROMPT
    queries, keys = (1, CONTEXT) if decode else (PROMPT, PROMPT)
    heads, width, head = BATCH * HEADS // SPLIT, HIDDEN // SPLIT, HIDDEN // HEADS
    products = (
        ("qkv", 1, tokens, 3 * width, HIDDEN), ("scores", heads, queries, keys, head),
        ("mix", heads, queries, head, keys), ("out", 1, tokens, HIDDEN, width),
        ("up", 1, tokens, 4 * width, HIDDEN), ("down", 1, tokens, HIDDEN, 4 * width),
    )  # fmt: skip
    others = (
        ("softmax", operations.softmax(DType.FP16, heads * queries, keys), (heads * queries, keys)),
        ("norm", operations.norm(DType.FP16, tokens, HIDDEN), (tokens, HIDDEN)),
        ("norm again", operations.norm(DType.FP16, tokens, HIDDEN), (tokens, HIDDEN)),
        ("gelu", operations.pointwise(DType.FP16, "aten.gelu.default", (tokens, 4 * width)), (tokens, 4 * width)),
    )  # fmt: skip
    if len(rows) != 12:
        rows[-1].fail(f"is one of {len(rows)} lines", expected="12: the operators of a layer")
    suite = f"llmcompass layer {'decode' if decode else 'prefill'}"
    for row, (name, batch, m, n, k) in zip(rows, products, strict=False):
        sketch = operations.product(DType.FP16, m, n, k, batch)
        params = {"batch": batch, "m": m, "n": n, "k": k}
        _take(sheaf, suite, name, sketch, params, row.positive("seconds"), row.line)
    for row, (name, sketch, (lead, columns)) in zip(rows[len(products) :], others, strict=False):
        params = {"rows": lead, "columns": columns}
        _take(sheaf, suite, name, sketch, params, row.positive("seconds"), row.line)


def _take(
    sheaf: Sheaf, suite: str, name: str, sketch: Sketch, params: dict[str, int], seconds: float, line: int
) -> None:
    case = sketch.case(suite=suite, name=name, params=params, line=line)
    mode = "compiled" if name in COMPILED else "eager"
    sheaf.time(sheaf.fresh(case), seconds, clock="wall", cache="warm", mode=mode)
