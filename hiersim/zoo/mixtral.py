"""Mixtral in plain torch: Llama's attention, and in each layer a mixture of experts with a static KV cache.

Tokens are sorted by expert and each expert's rows go through one grouped product, as serving stacks do. How many rows
an expert gets is data; a capture assumes that they are spread evenly (deviation D51).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hiersim.zoo.llama import Decoder, DecoderLayer, LlamaConfig, decode_inputs, half_precision, prefill_inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtralConfig:
    """Widths of a Mixtral model: those of its attention, and its experts."""

    attention: LlamaConfig
    experts: int
    chosen: int
    """Experts per token."""


# config.json of https://huggingface.co/mistralai/Mixtral-8x7B-v0.1: 46.7 billion parameters, 12.9 of them per token.
MIXTRAL_8X7B = MixtralConfig(
    attention=LlamaConfig(
        vocabulary=32_000, layers=32, width=4096, heads=32, kv_heads=8, hidden=14_336, theta=1_000_000.0
    ),
    experts=8,
    chosen=2,
)
TINY_MIXTRAL = MixtralConfig(
    attention=LlamaConfig(vocabulary=512, layers=2, width=128, heads=4, kv_heads=2, hidden=256), experts=4, chosen=2
)


class Experts(nn.Module):
    """SwiGLU experts; all weights of one kind in one tensor."""

    def __init__(self, config: MixtralConfig) -> None:
        super().__init__()
        width, hidden = config.attention.width, config.attention.hidden
        self.gate_up_proj = nn.Parameter(torch.empty(config.experts, 2 * hidden, width))
        self.down_proj = nn.Parameter(torch.empty(config.experts, width, hidden))

    def forward(self, rows: Tensor, ends: Tensor) -> Tensor:
        """Rows sorted by expert; the rows of expert e end at `ends[e]`."""
        both = torch._grouped_mm(rows, self.gate_up_proj.transpose(1, 2), offs=ends)
        gate, up = both.chunk(2, dim=-1)
        out: Tensor = torch._grouped_mm(functional.silu(gate) * up, self.down_proj.transpose(1, 2), offs=ends)
        return out


class MixtralMoe(nn.Module):
    """Router, experts, and the weighted sum of their results."""

    def __init__(self, config: MixtralConfig) -> None:
        super().__init__()
        self.chosen, self.count = config.chosen, config.experts
        self.gate = nn.Linear(config.attention.width, config.experts, bias=False)
        self.experts = Experts(config)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.view(-1, x.shape[-1])
        shares = functional.softmax(self.gate(flat), dim=-1, dtype=torch.float32)
        weights, experts = shares.topk(self.chosen, dim=-1)
        weights = (weights / weights.sum(dim=-1, keepdim=True)).to(x.dtype)
        expert_of = experts.view(-1)
        order = expert_of.argsort()
        place = order.argsort()  # the inverse permutation
        rows = flat[order // self.chosen]
        numbers = torch.arange(self.count, device=x.device)
        ends = (expert_of[:, None] == numbers).sum(dim=0).cumsum(dim=0).to(torch.int32)
        out = self.experts(rows, ends)[place] * weights.view(-1, 1)
        summed: Tensor = out.view(-1, self.chosen, x.shape[-1]).sum(dim=1)
        return summed.view_as(x)


class MixtralLayer(DecoderLayer):
    """Layer of a Mixtral."""

    def __init__(self, config: MixtralConfig) -> None:
        super().__init__(config.attention)
        self.block_sparse_moe = MixtralMoe(config)

    def feed_forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block_sparse_moe(x)
        return out


def _model(config: MixtralConfig) -> nn.Module:
    return half_precision(Decoder(config.attention, lambda: MixtralLayer(config)))


def _prefill(config: MixtralConfig, length: int) -> tuple[nn.Module, tuple[object, ...]]:
    return _model(config), prefill_inputs(length)


def _decode(config: MixtralConfig, batch: int, length: int) -> tuple[nn.Module, tuple[object, ...]]:
    return _model(config), decode_inputs(config.attention, batch, length)


def build_mixtral_8x7b_prefill() -> tuple[nn.Module, tuple[object, ...]]:
    """Mixtral-8x7B, prefill of 1 x 2048 tokens."""
    return _prefill(MIXTRAL_8X7B, 2048)


def build_mixtral_8x7b_decode() -> tuple[nn.Module, tuple[object, ...]]:
    """Mixtral-8x7B, one token of batch 1 over a KV cache of 2048."""
    return _decode(MIXTRAL_8X7B, 1, 2048)


def build_tiny_mixtral() -> tuple[nn.Module, tuple[object, ...]]:
    """A two-layer Mixtral of 4 experts, prefill of 1 x 32 tokens."""
    return _prefill(TINY_MIXTRAL, 32)


def build_tiny_mixtral_decode() -> tuple[nn.Module, tuple[object, ...]]:
    """A two-layer Mixtral of 4 experts, one token of batch 1 over a KV cache of 64."""
    return _decode(TINY_MIXTRAL, 1, 64)
