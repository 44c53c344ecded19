"""DiT, the diffusion transformer of https://arxiv.org/abs/2212.09748, in plain torch: one denoising step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hiersim.zoo.transformer import merge_heads, split_heads

DTYPE = torch.bfloat16


@dataclass(frozen=True, slots=True, kw_only=True)
class DitConfig:
    """Widths of a DiT."""

    layers: int
    width: int
    heads: int
    patch: int
    latent: int
    """Pixels along each side of the latent image: an eighth of the image's."""
    channels: int = 4
    classes: int = 1000
    frequencies: int = 256


DIT_XL_2 = DitConfig(layers=28, width=1152, heads=16, patch=2, latent=32)
"""Table 1 of the paper; 675 million parameters and 118.64 billion multiply-adds per latent image (table 4)."""
TINY_DIT = DitConfig(layers=2, width=64, heads=4, patch=2, latent=8, classes=10, frequencies=32)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x * (1 + scale) + shift, one shift and scale per image."""
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


class TimestepEmbedder(nn.Module):
    """Sinusoids of the time step, then a two-layer perceptron."""

    def __init__(self, frequencies: int, width: int) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, steps: Tensor) -> Tensor:
        half = self.frequencies // 2
        exponent = torch.arange(half, dtype=torch.float32, device=steps.device) * (-math.log(10_000.0) / half)
        angle = steps[:, None].float() * torch.exp(exponent)[None]
        out: Tensor = self.mlp(torch.cat((angle.cos(), angle.sin()), dim=-1).to(DTYPE))
        return out


class DitBlock(nn.Module):
    """Transformer block whose norms are shifted, scaled and gated by the condition (adaLN-Zero)."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6, elementwise_affine=False)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6, elementwise_affine=False)
        self.fc1 = nn.Linear(config.width, 4 * config.width)
        self.fc2 = nn.Linear(4 * config.width, config.width)
        self.modulation = nn.Linear(config.width, 6 * config.width)

    def attention(self, x: Tensor) -> Tensor:
        """Self-attention over the patches."""
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        out: Tensor = self.proj(merge_heads(functional.scaled_dot_product_attention(q, k, v)))
        return out

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(functional.silu(condition)).chunk(6, dim=-1)
        x = x + gate1.unsqueeze(1) * self.attention(modulate(self.norm1(x), shift1, scale1))
        hidden = functional.gelu(self.fc1(modulate(self.norm2(x), shift2, scale2)), approximate="tanh")
        out: Tensor = x + gate2.unsqueeze(1) * self.fc2(hidden)
        return out


class Dit(nn.Module):
    """DiT; returns the noise and its variance for every latent pixel."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.config = config
        patches = (config.latent // config.patch) ** 2
        self.x_embedder = nn.Conv2d(config.channels, config.width, config.patch, stride=config.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, patches, config.width), requires_grad=False)
        self.t_embedder = TimestepEmbedder(config.frequencies, config.width)
        self.y_embedder = nn.Embedding(config.classes + 1, config.width)
        self.blocks = nn.ModuleList(DitBlock(config) for _ in range(config.layers))
        self.norm_final = nn.LayerNorm(config.width, eps=1e-6, elementwise_affine=False)
        self.modulation = nn.Linear(config.width, 2 * config.width)
        self.linear = nn.Linear(config.width, config.patch**2 * 2 * config.channels)

    def forward(self, latents: Tensor, steps: Tensor, labels: Tensor) -> Tensor:
        x = self.x_embedder(latents).flatten(2).transpose(1, 2) + self.pos_embed
        condition = self.t_embedder(steps) + self.y_embedder(labels)
        for block in self.blocks:
            x = block(x, condition)
        shift, scale = self.modulation(functional.silu(condition)).chunk(2, dim=-1)
        return self.unpatchify(self.linear(modulate(self.norm_final(x), shift, scale)))

    def unpatchify(self, x: Tensor) -> Tensor:
        """(batch, patches, patch * patch * channels) -> images."""
        patch, side = self.config.patch, self.config.latent // self.config.patch
        x = x.reshape(x.shape[0], side, side, patch, patch, -1)
        out = torch.einsum("nhwpqc->nchpwq", x)
        return out.reshape(x.shape[0], -1, side * patch, side * patch)


def _build(config: DitConfig, batch: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    latents = torch.zeros(batch, config.channels, config.latent, config.latent, dtype=DTYPE)
    steps, labels = torch.zeros(batch, dtype=torch.long), torch.zeros(batch, dtype=torch.long)
    return Dit(config).to(DTYPE).eval(), (latents, steps, labels)


def build_dit_xl() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """DiT-XL/2, one step for 8 images of 256 x 256 with guidance: 16 latents."""
    return _build(DIT_XL_2, 16)


def build_tiny_dit() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A two-layer DiT over 2 latents of 8 x 8."""
    return _build(TINY_DIT, 2)
