"""Small models of many architectures, to compare fusion rules with what TorchInductor really does.

Each function is a target of `hiersim capture torch tests.fusion.models:NAME`; `python -m tests.fusion.capture` makes
all captures again. Real widths, few layers: rules depend on sizes, and nothing is allocated.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

BF16 = torch.bfloat16
Target = tuple[nn.Module, tuple[object, ...]]


class ResidualBlock(nn.Module):
    """GroupNorm, SiLU and convolutions around a residual, with a time embedding, as in diffusion U-Nets."""

    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(32, inputs), nn.GroupNorm(32, outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.time = nn.Linear(time, outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(functional.silu(self.norm1(x)))
        h = h + self.time(functional.silu(time))[:, :, None, None]
        h = self.conv2(functional.silu(self.norm2(h)))
        return h + self.skip(x)


class Unet(nn.Module):
    """Two levels down and up, with concatenated skips."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(4, 64, 3, padding=1)
        self.down = nn.ModuleList([ResidualBlock(64, 64, 256), ResidualBlock(64, 128, 256)])
        self.shrink = nn.Conv2d(64, 64, 3, stride=2, padding=1)
        self.middle = ResidualBlock(128, 128, 256)
        self.up = nn.ModuleList([ResidualBlock(256, 128, 256), ResidualBlock(192, 64, 256)])
        self.norm, self.leave = nn.GroupNorm(32, 64), nn.Conv2d(64, 4, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        x = self.enter(x)
        first = self.down[0](x, time)
        second = self.down[1](self.shrink(first), time)
        x = self.up[0](torch.cat((self.middle(second, time), second), 1), time)
        x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.up[1](torch.cat((x, first), 1), time)
        return self.leave(functional.silu(self.norm(x)))


class Inverted(nn.Module):
    """MobileNetV3 block: expand, depthwise, squeeze and excite, project."""

    def __init__(self, width: int, wide: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.expand, self.norm1 = nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.depth = nn.Conv2d(wide, wide, 5, stride=stride, padding=2, groups=wide, bias=False)
        self.norm2 = nn.BatchNorm2d(wide)
        self.squeeze, self.excite = nn.Conv2d(wide, wide // 4, 1), nn.Conv2d(wide // 4, wide, 1)
        self.project, self.norm3 = nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and width == outputs

    def forward(self, x: Tensor) -> Tensor:
        h = functional.hardswish(self.norm1(self.expand(x)))
        h = functional.hardswish(self.norm2(self.depth(h)))
        gate = self.excite(functional.relu(self.squeeze(functional.adaptive_avg_pool2d(h, 1))))
        h = self.norm3(self.project(h * functional.hardsigmoid(gate)))
        return x + h if self.residual else h


class DenseLayer(nn.Module):
    """DenseNet layer: BatchNorm, ReLU, 1x1, BatchNorm, ReLU, 3x3; its result is appended to its input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(functional.relu(self.norm1(x)))
        return torch.cat((x, self.conv2(functional.relu(self.norm2(h)))), 1)


class DenseNet(nn.Module):
    """One block of four layers and a transition."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(64)
        self.layers = nn.Sequential(*(DenseLayer(64 + 32 * index, 32) for index in range(4)))
        self.last, self.transition = nn.BatchNorm2d(192), nn.Conv2d(192, 96, 1, bias=False)
        self.head = nn.Linear(96, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.norm(self.conv(x))), 3, stride=2, padding=1)
        x = self.transition(functional.relu(self.last(self.layers(x))))
        return self.head(functional.avg_pool2d(x, 2).mean((2, 3)))


class ConvNextBlock(nn.Module):
    """Depthwise 7x7, LayerNorm over channels, MLP with GELU, layer scale, residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depth, self.norm = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        h = self.depth(x).permute(0, 2, 3, 1)
        h = self.gamma * self.down(functional.gelu(self.up(self.norm(h))))
        return x + h.permute(0, 3, 1, 2)


class MixerBlock(nn.Module):
    """MLP-Mixer: one MLP over tokens, one over channels."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.token = nn.Sequential(nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens))
        self.channel = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.token(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel(self.norm2(x))


class RmsNorm(nn.Module):
    """Root mean square norm in FP32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class PlainAttention(nn.Module):
    """Attention written out: products, a bias, a softmax in FP32."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (layer(x).view(batch, length, self.heads, -1).transpose(1, 2) for layer in (self.q, self.k, self.v))
        scores = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(width // self.heads) + bias
        weights = torch.softmax(scores.float(), -1).to(x.dtype)
        return self.o(torch.matmul(weights, v).transpose(1, 2).reshape(batch, length, width))


class T5Layer(nn.Module):
    """T5 encoder layer: RMSNorm, attention with a position bias, gated GELU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attention = RmsNorm(width), RmsNorm(width), PlainAttention(width, heads)
        self.gate, self.up = nn.Linear(width, 4 * width, bias=False), nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), bias)
        h = self.norm2(x)
        return x + self.down(functional.gelu(self.gate(h), approximate="tanh") * self.up(h))


class T5(nn.Module):
    """Two layers over embedded tokens; the bias comes from buckets of relative positions."""

    def __init__(self, vocabulary: int, width: int, heads: int) -> None:
        super().__init__()
        self.embed, self.buckets = nn.Embedding(vocabulary, width), nn.Embedding(32, heads)
        self.layers = nn.ModuleList(T5Layer(width, heads) for _ in range(2))
        self.norm = RmsNorm(width)

    def forward(self, tokens: Tensor, relative: Tensor) -> Tensor:
        bias = self.buckets(relative).permute(2, 0, 1)[None]
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, bias)
        return self.norm(x)


class Dlrm(nn.Module):
    """Recommendation: dense and embedded features, pairwise products, a tower."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(100_000, 64) for _ in range(6))
        self.bottom = nn.Sequential(nn.Linear(13, 512), nn.ReLU(), nn.Linear(512, 64), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(64 + 49, 512), nn.ReLU(), nn.Linear(512, 1))

    def forward(self, dense: Tensor, sparse: Tensor) -> Tensor:
        x = self.bottom(dense)
        features = torch.stack([x, *(table(sparse[:, index]) for index, table in enumerate(self.tables))], 1)
        pairs = torch.bmm(features, features.transpose(1, 2)).flatten(1)
        return torch.sigmoid(self.top(torch.cat((x, pairs), 1)))


class Moe(nn.Module):
    """A router, the two best of four experts, all computed and weighted."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.router = RmsNorm(width), nn.Linear(width, 4, bias=False)
        self.up = nn.ModuleList(nn.Linear(width, 2 * width, bias=False) for _ in range(4))
        self.down = nn.ModuleList(nn.Linear(2 * width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        weights, chosen = torch.topk(torch.softmax(self.router(h).float(), -1), 2)
        weights = weights / weights.sum(-1, keepdim=True)
        out = torch.zeros_like(x)
        for index, (up, down) in enumerate(zip(self.up, self.down, strict=True)):
            share = torch.where(chosen == index, weights, 0.0).sum(-1, keepdim=True).to(x.dtype)
            out = out + share * down(functional.silu(up(h)))
        return x + out


class Lstm(nn.Module):
    """Four steps of an LSTM, written out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inputs, self.state = nn.Linear(width, 4 * width), nn.Linear(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros_like(x[:, 0])
        c = torch.zeros_like(h)
        for step in range(4):
            i, f, g, o = (self.inputs(x[:, step]) + self.state(h)).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return h


class Mamba(nn.Module):
    """A selective state space block with its scan written out over four steps."""

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.norm, self.enter = RmsNorm(width), nn.Linear(width, 4 * width, bias=False)
        self.conv = nn.Conv1d(2 * width, 2 * width, 4, padding=3, groups=2 * width)
        self.parameters_of = nn.Linear(2 * width, 2 * states + 2 * width, bias=False)
        self.log_a = nn.Parameter(torch.zeros(2 * width, states))
        self.skip, self.leave = nn.Parameter(torch.ones(2 * width)), nn.Linear(2 * width, width, bias=False)
        self.states = states

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        u, gate = self.enter(self.norm(x)).chunk(2, -1)
        u = functional.silu(self.conv(u.transpose(1, 2))[..., :length].transpose(1, 2))
        b, c, delta = self.parameters_of(u).split([self.states, self.states, u.shape[-1]], -1)
        delta = functional.softplus(delta)
        a = -torch.exp(self.log_a.float())
        state = torch.zeros(x.shape[0], u.shape[-1], self.states, dtype=torch.float32, device=x.device)
        outputs = []
        for step in range(4):
            decay = torch.exp(delta[:, step, :, None] * a)
            state = decay * state + (delta[:, step] * u[:, step])[:, :, None] * b[:, step, None, :]
            outputs.append((state * c[:, step, None, :]).sum(-1))
        y = torch.stack(outputs, 1).to(x.dtype) + self.skip * u[:, :4]
        return x[:, :4] + self.leave(y * functional.silu(gate[:, :4]))


class Generator(nn.Module):
    """DCGAN generator: transposed convolutions, BatchNorm, leaky ReLU, tanh."""

    def __init__(self) -> None:
        super().__init__()
        widths = (128, 256, 128, 64)
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 4, stride=2, padding=1, bias=False) for i, o in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.last = nn.ConvTranspose2d(64, 3, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = functional.leaky_relu(norm(conv(x)), 0.2)
        return torch.tanh(self.last(x))


class Encoder(nn.Module):
    """Post-norm encoder with a classification loss, for training."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.embed, self.heads = nn.Embedding(30_000, width), heads
        self.qkv, self.o = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down, self.head = nn.Linear(width, 4 * width), nn.Linear(4 * width, width), nn.Linear(width, 16)

    def forward(self, tokens: Tensor, labels: Tensor) -> dict[str, Tensor]:
        x = self.embed(tokens)
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(x).split(width, -1))
        h = functional.scaled_dot_product_attention(q, k, v)
        x = self.norm1(x + self.o(h.transpose(1, 2).reshape(batch, length, width)))
        x = self.norm2(x + self.down(functional.gelu(self.up(x))))
        return {"loss": functional.cross_entropy(self.head(x[:, 0]).float(), labels)}


def unet() -> Target:
    """Diffusion U-Net, 8 latents of 64 x 64."""
    return Unet().to(BF16).eval(), (torch.zeros(8, 4, 64, 64, dtype=BF16), torch.zeros(8, 256, dtype=BF16))


def mobilenet() -> Target:
    """Three MobileNetV3 blocks, 32 images of 56 x 56."""
    model = nn.Sequential(Inverted(40, 240, 40, 1), Inverted(40, 240, 80, 2), Inverted(80, 480, 80, 1))
    return model.to(BF16).eval(), (torch.zeros(32, 40, 56, 56, dtype=BF16),)


def densenet() -> Target:
    """A DenseNet block, 32 images of 224 x 224."""
    return DenseNet().to(BF16).eval(), (torch.zeros(32, 3, 224, 224, dtype=BF16),)


def convnext() -> Target:
    """Two ConvNeXt blocks, 32 images of 56 x 56."""
    return nn.Sequential(ConvNextBlock(96), ConvNextBlock(96)).to(BF16).eval(), (
        torch.zeros(32, 96, 56, 56, dtype=BF16),
    )


def mixer() -> Target:
    """Two MLP-Mixer blocks, 32 images of 196 tokens."""
    return nn.Sequential(MixerBlock(196, 512), MixerBlock(196, 512)).to(BF16).eval(), (
        torch.zeros(32, 196, 512, dtype=BF16),
    )


def t5() -> Target:
    """Two T5 encoder layers, 8 x 512 tokens."""
    return T5(32_128, 512, 8).to(BF16).eval(), (
        torch.zeros(8, 512, dtype=torch.long), torch.zeros(512, 512, dtype=torch.long),
    )  # fmt: skip


def dlrm() -> Target:
    """DLRM, 4096 samples."""
    return Dlrm().to(BF16).eval(), (torch.zeros(4096, 13, dtype=BF16), torch.zeros(4096, 6, dtype=torch.long))


def moe() -> Target:
    """A mixture of experts, 4 x 512 tokens."""
    return Moe(1024).to(BF16).eval(), (torch.zeros(4, 512, 1024, dtype=BF16),)


def lstm() -> Target:
    """Four LSTM steps, 64 sequences."""
    return Lstm(1024).to(BF16).eval(), (torch.zeros(64, 4, 1024, dtype=BF16),)


def mamba() -> Target:
    """A Mamba block, 4 sequences of 128."""
    return Mamba(512, 16).to(BF16).eval(), (torch.zeros(4, 128, 512, dtype=BF16),)


def generator() -> Target:
    """DCGAN generator, 64 images."""
    return Generator().to(BF16).eval(), (torch.zeros(64, 128, 4, 4, dtype=BF16),)


def encoder_train() -> Target:
    """A training step of one encoder layer, 16 x 256 tokens."""
    return Encoder(512, 8).to(BF16).train(), (
        torch.zeros(16, 256, dtype=torch.long), torch.zeros(16, dtype=torch.long),
    )  # fmt: skip


def mixer_train() -> Target:
    """A training step of one MLP-Mixer block; the loss is the mean square of its result."""
    return nn.Sequential(MixerBlock(196, 512)).to(BF16).train(), (torch.zeros(32, 196, 512, dtype=BF16),)
