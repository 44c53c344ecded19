"""Kernels that aiconfigurator measured: BF16 products and attention on A100 and H100 (Parquet).

Each row is one call in a replayed CUDA graph: no launch of the host is in its time, but the device's gap between two
kernels is. `latency` is in milliseconds. Whether operands were found in L2 is not recorded: products go through several
weights in turn and are replayed cold, attention calls the same tensors again and is replayed warm.

A call of attention is what a serving engine runs: one kernel stores the new keys and values in pages of 64 tokens, the
next attends to the pages; with SGLang a kernel between them plans the blocks from the lengths, which vLLM does before
(`run` of collector/vllm/collect_attn.py and `run_iter` of collector/sglang/collect_attn.py). `step` are the tokens that
were there before.

References
----------
ai-dynamo/aiconfigurator, systems/data (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from hiersim.frontends.measured import Measured
from hiersim.frontends.published import operations
from hiersim.frontends.published.sketch import Sketch
from hiersim.frontends.published.table import Row, Sheaf, parquet_rows
from hiersim.model.operators import DType

ENDING: Final = ".parquet"
COMMAND: Final = "aiconfigurator, systems/data"
PUBLISHED: Final = "2026"
"""When each file was measured is not known."""
_PAGE: Final = 64
"""Tokens of a page, in both collectors."""
_PLANS_IN_CALL: Final = ("SGLang",)
"""Frameworks whose call plans the blocks; the others' metadata are made before."""
_DTYPES: Final = {"bfloat16": DType.BF16, "float16": DType.FP16}
_NEEDED: Final = ("device", "op_name", "latency")
_HEADS: Final = ("num_heads", "num_key_value_heads", "head_dim")
_OPERATIONS: Final = ("gemm", "context_attention", "generation_attention")


def load(path: Path) -> tuple[Measured, ...]:
    """Read one file: one operation on one device.

    Raises
    ------
    MeasurementError
        With file, row and column of the first fault.
    MissingExtraError
        Without pyarrow.
    """
    sheaf: Sheaf | None = None
    for row in parquet_rows(path, _NEEDED):
        if sheaf is None:
            sheaf = Sheaf(row.text("device"), COMMAND, PUBLISHED)
        _MAKERS[row.choice("op_name", _OPERATIONS)](sheaf, row)
    return () if sheaf is None else (sheaf.measured(),)


def _product(sheaf: Sheaf, row: Row) -> None:
    params = {name: row.size(name) for name in "mnk"}
    dtype = _DTYPES[row.choice("gemm_dtype", _DTYPES)]
    _take(sheaf, row, "gemm", operations.product(dtype, **params), params, "cold")


def _attention(sheaf: Sheaf, row: Row) -> None:
    decode = row.text("op_name") == "generation_attention"
    heads, kv_heads, head_dim = (row.size(name) for name in _HEADS)
    queries = row.size("isl")
    params = {
        "batch": row.size("batch_size"), "heads": heads, "kv_heads": kv_heads or heads, "queries": queries,
        "keys": queries + row.count("step") if decode else queries, "head_dim": head_dim,
    }  # fmt: skip
    dtype = _DTYPES[row.choice("attn_dtype", _DTYPES)]
    planned = row.values.get("framework") in _PLANS_IN_CALL
    store = "store_cache" if planned else "reshape_and_cache_flash"
    sketch = operations.paged_attention(dtype, **params, page=_PAGE, store=store, planned=planned)
    _take(sheaf, row, "decode" if decode else "prefill", sketch, params, "warm")


def _take(sheaf: Sheaf, row: Row, name: str, sketch: Sketch, params: dict[str, int], cache: str) -> None:
    case = sketch.case(suite=f"aiconfigurator {name}", name=name, params=params, line=row.line)
    if row.values.get("window_size"):
        sheaf.skip(case, "attention over a window")
        return
    sheaf.add(case, row.positive("latency") / 1e3, clock="events", cache=cache)


_MAKERS: Final[dict[str, Callable[[Sheaf, Row], None]]] = {
    "gemm": _product, "context_attention": _attention, "generation_attention": _attention,
}  # fmt: skip
