"""Llama 3 in plain torch: grouped-query attention, rotary embedding, RMSNorm, SwiGLU.

Decode keeps its KV cache in tensors of fixed size, written in place at a position, as serving stacks and
`StaticCache` do; the attention then reads the whole cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

DTYPE = torch.bfloat16
Cache = list[tuple[Tensor, Tensor]]
"""Per layer the keys and the values, each (batch, kv_heads, length, head_dim)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaConfig:
    """Widths of a Llama model."""

    vocabulary: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    theta: float = 500_000.0

    @property
    def head_dim(self) -> int:
        """Elements per attention head."""
        return self.width // self.heads


LLAMA3_8B = LlamaConfig(vocabulary=128_256, layers=32, width=4096, heads=32, kv_heads=8, hidden=14_336)
LLAMA3_70B = LlamaConfig(vocabulary=128_256, layers=80, width=8192, heads=64, kv_heads=8, hidden=28_672)
"""Widths from config.json of the model card, https://huggingface.co/meta-llama/Meta-Llama-3-70B (April 2024):
70.6 billion parameters, 141 GB in BF16."""
TINY_LLAMA = LlamaConfig(vocabulary=512, layers=2, width=128, heads=4, kv_heads=2, hidden=256)


class RmsNorm(nn.Module):
    """x / rms(x) * weight, computed in FP32 as the reference implementation does."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)
        return self.weight * wide.to(x.dtype)


class Rotary(nn.Module):
    """Cosines and sines of the positions, once per forward pass."""

    inverse_frequency: Tensor

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        exponent = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        self.register_buffer("inverse_frequency", 1.0 / config.theta**exponent, persistent=False)

    def forward(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        angle = positions[:, :, None].float() * self.inverse_frequency[None, None, :]
        angle = torch.cat((angle, angle), dim=-1)
        return angle.cos().to(x.dtype), angle.sin().to(x.dtype)


def rotate_half(x: Tensor) -> Tensor:
    """(x1, x2) -> (-x2, x1) over the last dimension."""
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate (batch, heads, sequence, head_dim) by its positions."""
    return (x * cos.unsqueeze(1)) + (rotate_half(x) * sin.unsqueeze(1))


class LlamaAttention(nn.Module):
    """Grouped-query attention with an optional static KV cache."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(config.width, config.heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.width, config.kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.width, config.kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.heads * config.head_dim, config.width, bias=False)

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], position: Tensor, cache: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            layer(x).view(batch, length, -1, self.head_dim).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = apply_rotary(q, *rotary), apply_rotary(k, *rotary)
        if cache is not None:
            k = cache[0].index_copy_(2, position, k)
            v = cache[1].index_copy_(2, position, v)
        # One query attends to all that the cache holds: a causal mask would remove nothing.
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=cache is None, enable_gqa=True)
        projected: Tensor = self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))
        return projected


class LlamaMlp(nn.Module):
    """SwiGLU feed-forward block."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.hidden, bias=False)
        self.up_proj = nn.Linear(config.width, config.hidden, bias=False)
        self.down_proj = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class DecoderLayer(nn.Module):
    """Pre-norm layer of grouped-query attention and a feed-forward block, which a subclass brings."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(config.width)
        self.self_attn = LlamaAttention(config)
        self.post_attention_layernorm = RmsNorm(config.width)

    def feed_forward(self, x: Tensor) -> Tensor:
        """The block behind the second norm."""
        raise NotImplementedError

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], position: Tensor, cache: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotary, position, cache)
        out: Tensor = x + self.feed_forward(self.post_attention_layernorm(x))
        return out


class LlamaLayer(DecoderLayer):
    """Layer of a Llama."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.mlp = LlamaMlp(config)

    def feed_forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.mlp(x)
        return out


class Decoder(nn.Module):
    """Embedding, layers that `layer` makes, norm and head; returns the logits of the last token."""

    def __init__(self, config: LlamaConfig, layer: Callable[[], DecoderLayer]) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocabulary, config.width)
        self.rotary = Rotary(config)
        self.layers = nn.ModuleList(layer() for _ in range(config.layers))
        self.norm = RmsNorm(config.width)
        self.lm_head = nn.Linear(config.width, config.vocabulary, bias=False)

    def forward(self, input_ids: Tensor, position: Tensor, kv_cache: Cache | None = None) -> Tensor:
        x = self.embed_tokens(input_ids)
        rotary = self.rotary(x, position.unsqueeze(0))
        for index, layer in enumerate(self.layers):
            x = layer(x, rotary, position, None if kv_cache is None else kv_cache[index])
        logits: Tensor = self.lm_head(self.norm(x)[:, -1:, :])
        return logits


def half_precision(model: nn.Module) -> nn.Module:
    """The weights in BF16; the inverse frequencies stay in FP32, as in the reference implementation."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(DTYPE)
    return model.eval()


def prefill_inputs(length: int) -> tuple[object, ...]:
    """Tokens and positions of 1 x `length` tokens."""
    return torch.zeros(1, length, dtype=torch.long), torch.arange(length)


def decode_inputs(config: LlamaConfig, batch: int, length: int) -> tuple[object, ...]:
    """One token per sequence, the last position, and a static KV cache of `length`."""
    shape = (batch, config.kv_heads, length, config.head_dim)
    cache = [(torch.zeros(shape, dtype=DTYPE), torch.zeros(shape, dtype=DTYPE)) for _ in range(config.layers)]
    return torch.zeros(batch, 1, dtype=torch.long), torch.full((1,), length - 1), cache


def _model(config: LlamaConfig) -> nn.Module:
    return half_precision(Decoder(config, lambda: LlamaLayer(config)))


def _prefill(config: LlamaConfig, length: int) -> tuple[nn.Module, tuple[object, ...]]:
    return _model(config), prefill_inputs(length)


def _decode(config: LlamaConfig, batch: int, length: int) -> tuple[nn.Module, tuple[object, ...]]:
    return _model(config), decode_inputs(config, batch, length)


def build_llama3_8b_prefill() -> tuple[nn.Module, tuple[object, ...]]:
    """Llama-3-8B, prefill of 1 x 2048 tokens."""
    return _prefill(LLAMA3_8B, 2048)


def build_llama3_8b_decode() -> tuple[nn.Module, tuple[object, ...]]:
    """Llama-3-8B, one token of batch 1 over a KV cache of 2048."""
    return _decode(LLAMA3_8B, 1, 2048)


def build_llama3_8b_decode_b32() -> tuple[nn.Module, tuple[object, ...]]:
    """Llama-3-8B, one token of batch 32 over a KV cache of 2048."""
    return _decode(LLAMA3_8B, 32, 2048)


def build_llama3_70b_prefill() -> tuple[nn.Module, tuple[object, ...]]:
    """Llama-3-70B, prefill of 1 x 2048 tokens."""
    return _prefill(LLAMA3_70B, 2048)


def build_llama3_70b_decode() -> tuple[nn.Module, tuple[object, ...]]:
    """Llama-3-70B, one token of batch 1 over a KV cache of 2048."""
    return _decode(LLAMA3_70B, 1, 2048)


def build_tiny_llama() -> tuple[nn.Module, tuple[object, ...]]:
    """A two-layer Llama, prefill of 1 x 32 tokens."""
    return _prefill(TINY_LLAMA, 32)


def build_tiny_llama_decode() -> tuple[nn.Module, tuple[object, ...]]:
    """A two-layer Llama, one token of batch 2 over a KV cache of 64."""
    return _decode(TINY_LLAMA, 2, 64)
