"""What a compiler fuses: the same function eager and compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from hiersim.measure.recipe import Built, Make, Recipe
from hiersim.zoo.llama import apply_rotary
from hiersim.zoo.transformer import gelu_new

BOTH = ("eager", "compiled")


def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """GELU of a sum: the middle of an encoder's feed-forward block."""
    return functional.gelu(x + bias)


def residual_layer_norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The end of a post-norm block."""
    return functional.layer_norm(x + residual, (x.shape[-1],), weight, bias)


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """RMSNorm in FP32, written out as Llama's reference code does."""
    wide = x.to(torch.float32)
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)
    return weight * wide.to(x.dtype)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """The middle of Llama's feed-forward block."""
    return functional.silu(gate) * up


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax of scaled and masked scores."""
    return functional.softmax(scores * 0.125 + mask, dim=-1)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer and its activation."""
    return functional.gelu(functional.linear(x, weight, bias))


def adam_like(parameter: Tensor, gradient: Tensor, mean: Tensor, square: Tensor) -> Tensor:
    """The arithmetic of an Adam step, without its in-place writes."""
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * gradient * gradient
    return parameter - 1e-3 * mean / (square.abs().sqrt() + 1e-8)


_SQUARE: Final[dict[str, tuple[Callable[..., Any], int, int]]] = {
    "gelu_chain": (gelu_new, 1, 0),
    "bias_gelu": (bias_gelu, 1, 1),
    "residual_layer_norm": (residual_layer_norm, 2, 2),
    "rms_norm": (rms_norm, 1, 1),
    "swiglu": (swiglu, 2, 0),
    "adam_like": (adam_like, 4, 0),
}
"""Name -> function, operands of (rows, columns), operands of (columns,)."""


def fusion() -> Iterator[Recipe]:
    """Chains, norms, softmax, rotary embedding, and an epilogue of a product."""
    for rows, columns, rank in ((8192, 4096, 0), (4096, 5120, 1), (1, 4096, 1), (512, 1024, 2)):
        for name in _SQUARE:
            yield _square(name, rows, columns, rank)
    for batch, heads, length, rank in ((8, 16, 512, 0), (1, 32, 2048, 1)):
        yield _softmax(batch, heads, length, rank)
    for batch, length, rank in ((1, 2048, 0), (32, 1, 1)):
        yield _rotary(batch, length, rank)
    for m, n, k, rank in ((4096, 4096, 1024, 1), (2048, 14336, 4096, 2)):
        yield _linear(m, n, k, rank)


def _square(name: str, rows: int, columns: int, rank: int) -> Recipe:
    function, wide, narrow = _SQUARE[name]

    def build(make: Make) -> Built:
        tensors = [make.normal(rows, columns, dtype="bf16") for _ in range(wide)]
        return function, (*tensors, *(make.normal(columns, dtype="bf16") for _ in range(narrow)))

    return Recipe(
        suite="fusion", name=name, dtype="bf16", params={"rows": rows, "columns": columns}, build=build, rank=rank,
        modes=BOTH, footprint=2 * rows * columns * (wide + 6),
    )  # fmt: skip


def _softmax(batch: int, heads: int, length: int, rank: int) -> Recipe:
    def build(make: Make) -> Built:
        scores = make.normal(batch, heads, length, length, dtype="bf16")
        return masked_softmax, (scores, make.normal(length, length, dtype="bf16"))

    return Recipe(
        suite="fusion", name="masked_softmax", dtype="bf16", params={"batch": batch, "heads": heads, "length": length},
        build=build, rank=rank, modes=BOTH, footprint=8 * batch * heads * length * length,
    )  # fmt: skip


def _rotary(batch: int, length: int, rank: int) -> Recipe:
    def build(make: Make) -> Built:
        x = make.normal(batch, 32, length, 128, dtype="bf16")
        cos, sin = (make.normal(batch, length, 128, dtype="bf16") for _ in range(2))
        return apply_rotary, (x, cos, sin)

    return Recipe(
        suite="fusion", name="rotary", dtype="bf16", params={"batch": batch, "heads": 32, "length": length},
        build=build, rank=rank, modes=BOTH, footprint=12 * batch * 32 * length * 128,
    )  # fmt: skip


def _linear(m: int, n: int, k: int, rank: int) -> Recipe:
    def build(make: Make) -> Built:
        x, weight = make.normal(m, k, dtype="bf16"), make.normal(n, k, dtype="bf16")
        return linear_gelu, (x, weight, make.normal(n, dtype="bf16"))

    return Recipe(
        suite="fusion", name="linear_gelu", dtype="bf16", params={"m": m, "n": n, "k": k}, build=build, rank=rank,
        modes=BOTH, footprint=2 * (m * k + n * k + 2 * m * n),
    )  # fmt: skip
