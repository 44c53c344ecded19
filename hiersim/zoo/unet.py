"""The UNet of Stable Diffusion 1, in plain torch: one denoising step of a latent image under a text.

Structure and widths are those of the model card's configuration (`unet/config.json` of
https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5; latent diffusion, https://arxiv.org/abs/2112.10752):
859 520 964 parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hiersim.zoo.diffusion import DTYPE, TimestepEmbedder
from hiersim.zoo.transformer import merge_heads, split_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class UnetConfig:
    """Widths of a UNet under a text; the deepest level has no attention."""

    widths: tuple[int, ...]
    """Channels of each level, from the full image to the smallest."""
    blocks: int
    """Residual blocks of each level on the way down; one more on the way up."""
    heads: int
    text: int
    """Elements of each token of the text."""
    groups: int
    """Of group normalisation."""
    channels: int = 4
    latent: int = 64
    """Pixels along each side of the latent image: an eighth of the image's."""
    tokens: int = 77


SD_1_5 = UnetConfig(widths=(320, 640, 1280, 1280), blocks=2, heads=8, text=768, groups=32)
TINY_UNET = UnetConfig(widths=(16, 32), blocks=1, heads=2, text=24, groups=4, latent=8, tokens=5)


class ResidualBlock(nn.Module):
    """Two convolutions behind norms, with the time step added between them."""

    def __init__(self, config: UnetConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(config.groups, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(4 * config.widths[0], outputs)
        self.norm2 = nn.GroupNorm(config.groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        hidden = self.conv1(functional.silu(self.norm1(x)))
        hidden = hidden + self.time_emb_proj(functional.silu(time))[:, :, None, None]
        out: Tensor = self.conv_shortcut(x) + self.conv2(functional.silu(self.norm2(hidden)))
        return out


class Attention(nn.Module):
    """Attention of the pixels to themselves or to the text."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (split_heads(part, self.heads) for part in (self.to_q(x), self.to_k(context), self.to_v(context)))
        out: Tensor = self.to_out(merge_heads(functional.scaled_dot_product_attention(q, k, v)))
        return out


class TransformerBlock(nn.Module):
    """Pixels attend to one another and to the text; then a gated feed-forward block (GEGLU)."""

    def __init__(self, config: UnetConfig, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, config.heads, width)
        self.norm2 = nn.LayerNorm(width)
        self.attn2 = Attention(width, config.heads, config.text)
        self.norm3 = nn.LayerNorm(width)
        self.proj = nn.Linear(width, 8 * width)
        self.out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        normed = self.norm1(x)
        x = x + self.attn1(normed, normed)
        x = x + self.attn2(self.norm2(x), text)
        hidden, gate = self.proj(self.norm3(x)).chunk(2, dim=-1)
        out: Tensor = x + self.out(hidden * functional.gelu(gate))
        return out


class SpatialTransformer(nn.Module):
    """A transformer block over the pixels of an image, between two 1 x 1 convolutions."""

    def __init__(self, config: UnetConfig, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.groups, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.block = TransformerBlock(config, width)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        images, channels, height, width = x.shape
        hidden = self.proj_in(self.norm(x)).permute(0, 2, 3, 1).reshape(images, height * width, channels)
        hidden = self.block(hidden, text).reshape(images, height, width, channels).permute(0, 3, 1, 2)
        out: Tensor = self.proj_out(hidden) + x
        return out


class Stage(nn.Module):
    """A residual block, and attention behind it where the level has some."""

    def __init__(self, config: UnetConfig, inputs: int, outputs: int, attends: bool) -> None:
        super().__init__()
        self.resnet = ResidualBlock(config, inputs, outputs)
        self.attention = SpatialTransformer(config, outputs) if attends else None

    def forward(self, x: Tensor, time: Tensor, text: Tensor) -> Tensor:
        x = self.resnet(x, time)
        return x if self.attention is None else self.attention(x, text)


class Upsample(nn.Module):
    """Twice as many pixels along each side, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Unet(nn.Module):
    """Down, middle and up, with a shortcut from every result on the way down to its place on the way up."""

    def __init__(self, config: UnetConfig) -> None:
        super().__init__()
        widths, last = config.widths, len(config.widths) - 1
        self.time_embedding = TimestepEmbedder(widths[0], 4 * widths[0])
        self.conv_in = nn.Conv2d(config.channels, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        kept, inputs = [widths[0]], widths[0]
        for level, width in enumerate(widths):
            for _ in range(config.blocks):
                self.down.append(Stage(config, inputs, width, attends=level < last))
                kept.append(width)
                inputs = width
            if level < last:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                kept.append(width)
        self.middle = nn.ModuleList(
            [Stage(config, inputs, inputs, attends=True), Stage(config, inputs, inputs, attends=False)]
        )
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(config.blocks + 1):
                self.up.append(Stage(config, inputs + kept.pop(), width, attends=level < last))
                inputs = width
            if level:
                self.up.append(Upsample(width))
        self.conv_norm_out = nn.GroupNorm(config.groups, widths[0])
        self.conv_out = nn.Conv2d(widths[0], config.channels, 3, padding=1)

    def forward(self, latents: Tensor, steps: Tensor, text: Tensor) -> Tensor:
        time = self.time_embedding(steps)
        x = self.conv_in(latents)
        kept = [x]
        for part in self.down:
            x = part(x, time, text) if isinstance(part, Stage) else part(x)
            kept.append(x)
        for part in self.middle:
            x = part(x, time, text)
        for part in self.up:
            x = part(torch.cat((x, kept.pop()), dim=1), time, text) if isinstance(part, Stage) else part(x)
        out: Tensor = self.conv_out(functional.silu(self.conv_norm_out(x)))
        return out


def _build(config: UnetConfig, images: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Weights and images lie channels last: compiled code wants them so, and would turn all weights round each time."""
    latents = torch.zeros(images, config.channels, config.latent, config.latent, dtype=DTYPE)
    latents = latents.to(memory_format=torch.channels_last)
    text = torch.zeros(images, config.tokens, config.text, dtype=DTYPE)
    model = Unet(config).to(DTYPE).to(memory_format=torch.channels_last)
    return model.eval(), (latents, torch.zeros(images, dtype=torch.long), text)


def build_sd15_unet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Stable Diffusion 1.5, one step for an image of 512 x 512 with guidance: 2 latents."""
    return _build(SD_1_5, 2)


def build_tiny_unet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A UNet of two levels over 2 latents of 8 x 8."""
    return _build(TINY_UNET, 2)
