"""Kernels of one transformer layer that Vidur profiled on A100-80GB: medians in milliseconds, by tokens and split.

Each row is a number of tokens and a tensor-parallel split of one model in FP16; each column `time_stats.NAME.median` is
one operator. Lookups of embeddings contain an exchange between devices and are left out.

References
----------
A. Agrawal et al.: Vidur: A large-scale simulation framework for LLM inference, MLSys 2024; data in
data/profiling/compute (MIT).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hiersim.frontends.measured import Measured
from hiersim.frontends.published import operations
from hiersim.frontends.published.sketch import Sketch
from hiersim.frontends.published.table import Row, Sheaf, csv_rows
from hiersim.model.operators import DType

DEVICE: Final = "NVIDIA A100-SXM4-80GB"
COMMAND: Final = "Vidur, data/profiling/compute"
PUBLISHED: Final = "2024"
NEEDED: Final = (
    "time_stats.mlp_up_proj.median", "n_head", "n_kv_head", "n_embd", "n_expanded_embd", "use_gated_mlp", "num_tokens",
    "num_tensor_parallel_workers",
)  # fmt: skip
_OPERATORS: Final = (
    "attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj", "input_layernorm", "mlp_act", "add", "attn_rope",
)  # fmt: skip


def load(path: Path) -> tuple[Measured, ...]:
    """Read one file; the model is in its name.

    Raises
    ------
    MeasurementError
        With file, line and column of the first fault.
    """
    sheaf = Sheaf(DEVICE, COMMAND, PUBLISHED)
    model = path.name.split("__")[-2] if path.name.count("__") > 1 else path.name.partition(".")[0]
    for row in csv_rows(path, NEEDED):
        split = row.size("num_tensor_parallel_workers")
        for name in _OPERATORS:
            column = f"time_stats.{name}.median"
            if not row.values.get(column):
                continue
            sketch, sizes = _operator(name, row, split)
            case = sketch.case(suite=f"vidur {name}", name=model, params=sizes, line=row.line)
            sheaf.add(case, row.positive(column) / 1e3, clock="profiler", cache="warm")
    return (sheaf.measured(),)


def _operator(name: str, row: Row, split: int) -> tuple[Sketch, dict[str, int]]:
    tokens, hidden, wide = row.size("num_tokens"), row.size("n_embd"), row.size("n_expanded_embd") // split
    heads, kv_heads = row.size("n_head"), row.size("n_kv_head")
    head, gated = hidden // heads, row.text("use_gated_mlp") == "True"
    queries, rest = heads * head // split, max(1, kv_heads // split) * head
    products = {
        "attn_pre_proj": (queries + 2 * rest, hidden), "attn_post_proj": (hidden, queries),
        "mlp_up_proj": ((2 if gated else 1) * wide, hidden), "mlp_down_proj": (hidden, wide),
    }  # fmt: skip
    if name in products:
        n, k = products[name]
        return operations.product(DType.FP16, tokens, n, k), {"m": tokens, "n": n, "k": k}
    if name == "input_layernorm":
        return operations.norm(DType.FP16, tokens, hidden, gated), {"rows": tokens, "columns": hidden}
    if name == "add":
        sketch = operations.pointwise(DType.FP16, "aten.add.Tensor", (tokens, hidden), 2)
        return sketch, {"rows": tokens, "columns": hidden}
    if name == "attn_rope":
        return operations.rotary(DType.FP16, tokens, queries + rest), {"rows": tokens, "columns": queries + rest}
    if gated:
        return operations.gated(DType.FP16, tokens, wide), {"rows": tokens, "columns": wide}
    sketch = operations.pointwise(DType.FP16, "aten.gelu.default", (tokens, wide))
    return sketch, {"rows": tokens, "columns": wide}
