"""Attention: the fused operator for prefill and decode, and the same written out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from torch import Tensor
from torch.nn import functional

from hiersim.measure.recipe import SIZES, Built, Make, Recipe

BOTH = ("eager", "compiled")
_OTHERS = (
    (16, 12, 256, 256, 64),
    (2, 12, 3072, 3072, 64),
    (6, 24, 1536, 1536, 64),
    (2, 24, 1536, 1536, 128),
    (1, 40, 6144, 6144, 128),
    (4, 8, 768, 6144, 64),
    (1, 32, 512, 8192, 128),
    (8, 6, 4096, 77, 64),
)
"""(batch, heads, queries, keys, head dimension): prompts of other lengths, chunks of a prompt, and cross attention."""


def attention() -> Iterator[Recipe]:
    """Prefill, causal or not, grouped or not; decode over a cache; attention of three operators."""
    for length, (heads, kv_heads, width), causal in product(
        (128, 512, 1024, 2048, 4096, 8192), ((32, 32, 128), (32, 8, 128), (16, 16, 64)), (1, 0)
    ):
        batch = max(1, 4096 // length)
        rank = 0 if heads == kv_heads and length in (512, 2048, 8192) else 1
        yield _fused("prefill", "bf16", batch, heads, kv_heads, length, length, width, causal, rank)
        yield _fused("prefill", "fp16", batch, heads, kv_heads, length, length, width, causal, 3)
    for (batch, heads, length, width), dtype in product(
        ((8, 16, 512, 64), (4, 20, 1024, 64), (16, 16, 197, 64), (1, 32, 2048, 128)), ("bf16", "fp32")
    ):
        causal = int(heads in (20, 32))
        yield _fused("prefill", dtype, batch, heads, heads, length, length, width, causal, int(dtype == "fp32"))
    for batch, keys, kv_heads in product((1, 8, 32), (512, 2048, 8192, 32768), (8, 32)):
        yield _fused("decode", "bf16", batch, 32, kv_heads, 1, keys, 128, 0, 0 if keys in (2048, 8192) else 1)
    for batch, heads, queries, keys, width in _OTHERS:
        for causal in (0, 1) if queries == keys else (0,):
            yield _fused("prefill", "bf16", batch, heads, heads, queries, keys, width, causal, 3)
    for batch, keys in product((4, 64), (1024, 4096, 16384)):
        yield _fused("decode", "bf16", batch, 64, 8, 1, keys, 128, 0, 3)
    for batch, heads, length, width in ((8, 16, 512, 64), (4, 20, 1024, 64), (1, 32, 2048, 128), (1, 32, 512, 128)):
        yield _written_out(batch, heads, length, width)


def _fused(
    name: str, dtype: str, batch: int, heads: int, kv_heads: int, queries: int, keys: int, width: int, causal: int,
    rank: int,
) -> Recipe:  # fmt: skip
    """`scaled_dot_product_attention`, whatever kernel PyTorch picks."""

    def build(make: Make) -> Built:
        q = make.normal(batch, heads, queries, width, dtype=dtype)
        k, v = (make.normal(batch, kv_heads, keys, width, dtype=dtype) for _ in range(2))

        def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return functional.scaled_dot_product_attention(
                q, k, v, is_causal=bool(causal), enable_gqa=heads != kv_heads
            )

        return call, (q, k, v)

    params = {
        "batch": batch, "heads": heads, "kv_heads": kv_heads, "queries": queries, "keys": keys, "head_dim": width,
        "causal": causal,
    }  # fmt: skip
    return Recipe(
        suite="attention", name=name, dtype=dtype, params=params, build=build, rank=rank,
        footprint=SIZES[dtype] * batch * width * (2 * heads * queries + 4 * heads * keys),
    )  # fmt: skip


def _written_out(batch: int, heads: int, length: int, width: int) -> Recipe:
    """softmax(q kᵀ / sqrt(d)) v as four operators."""

    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = (q @ k.transpose(-1, -2)) * width**-0.5
        return functional.softmax(scores, dim=-1) @ v

    def build(make: Make) -> Built:
        q, k, v = (make.normal(batch, heads, length, width, dtype="bf16") for _ in range(3))
        return call, (q, k, v)

    return Recipe(
        suite="attention", name="written_out", dtype="bf16", modes=BOTH, rank=1, build=build,
        params={"batch": batch, "heads": heads, "queries": length, "keys": length, "head_dim": width},
        footprint=8 * batch * heads * length * (length + width),
    )  # fmt: skip
