"""More models, captured after the rules were written: no rule was changed for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

BF16 = torch.bfloat16
Target = tuple[nn.Module, tuple[object, ...]]


class SwinBlock(nn.Module):
    """Windowed attention with a relative bias, shifted in every second block."""

    def __init__(self, w: int, h: int, shift: bool) -> None:
        super().__init__()
        self.h = h
        self.shift = shift
        self.n1, self.n2 = (nn.LayerNorm(w), nn.LayerNorm(w))
        self.qkv = nn.Linear(w, 3 * w)
        self.p = nn.Linear(w, w)
        self.f1, self.f2 = (nn.Linear(w, 4 * w), nn.Linear(4 * w, w))
        self.b = nn.Parameter(torch.zeros(h, 49, 49))

    def forward(self, x: Tensor) -> Tensor:
        batch, height, across, width = x.shape
        r = x
        x = self.n1(x)
        if self.shift:
            x = torch.roll(x, (-3, -3), (1, 2))
        x = x.view(batch, height // 7, 7, across // 7, 7, width).permute(0, 1, 3, 2, 4, 5).reshape(-1, 49, width)
        q, k, v = self.qkv(x).view(-1, 49, 3, self.h, width // self.h).permute(2, 0, 3, 1, 4).unbind(0)
        a = q * (width // self.h) ** (-0.5) @ k.transpose(-1, -2) + self.b
        x = (a.softmax(-1) @ v).transpose(1, 2).reshape(-1, 49, width)
        x = self.p(x)
        x = (
            x.view(batch, height // 7, across // 7, 7, 7, width)
            .permute(0, 1, 3, 2, 4, 5)
            .reshape(batch, height, across, width)
        )
        if self.shift:
            x = torch.roll(x, (3, 3), (1, 2))
        x = r + x
        return x + self.f2(functional.gelu(self.f1(self.n2(x))))


class Gqa(nn.Module):
    """A pre-norm layer with grouped-query attention, norms of queries and keys, half-split rotary embedding, SwiGLU."""

    def __init__(self, w: int = 1024) -> None:
        super().__init__()
        self.n = nn.RMSNorm(w)
        self.q, self.k, self.v, self.o = (
            nn.Linear(w, w, False),
            nn.Linear(w, w // 4, False),
            nn.Linear(w, w // 4, False),
            nn.Linear(w, w, False),
        )
        self.qn, self.kn = (nn.RMSNorm(64), nn.RMSNorm(64))
        self.n2 = nn.RMSNorm(w)
        self.g, self.u, self.d = (nn.Linear(w, 3 * w, False), nn.Linear(w, 3 * w, False), nn.Linear(3 * w, w, False))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, _ = x.shape
        h = self.n(x)
        q = self.qn(self.q(h).view(batch, length, -1, 64)).transpose(1, 2)
        k = self.kn(self.k(h).view(batch, length, -1, 64)).transpose(1, 2)
        v = self.v(h).view(batch, length, -1, 64).transpose(1, 2)

        def rot(t: Tensor) -> Tensor:
            a, b = t.chunk(2, -1)
            return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

        x = x + self.o(
            functional.scaled_dot_product_attention(rot(q), rot(k), v, is_causal=True, enable_gqa=True)
            .transpose(1, 2)
            .reshape(batch, length, -1)
        )
        h = self.n2(x)
        return x + self.d(functional.silu(self.g(h)) * self.u(h))


class Stack(nn.Module):
    """Layers that share their rotary tables."""

    def __init__(self, mods: list[nn.Module]) -> None:
        super().__init__()
        self.l = nn.ModuleList(mods)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        for m in self.l:
            x = m(x, cos, sin)
        return x


class Wav(nn.Module):
    """The convolutional front of a speech encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.ModuleList([nn.Conv1d(1, 256, 10, 5), nn.Conv1d(256, 256, 3, 2), nn.Conv1d(256, 256, 3, 2)])
        self.n = nn.ModuleList([nn.LayerNorm(256) for _ in range(3)])
        self.p = nn.Linear(256, 512)
        self.pn = nn.LayerNorm(512)

    def forward(self, x: Tensor) -> Tensor:
        for c, n in zip(self.c, self.n, strict=True):
            x = functional.gelu(n(c(x).transpose(1, 2))).transpose(1, 2)
        return self.pn(self.p(x.transpose(1, 2)))


class Gru(nn.Module):
    """Three steps of a GRU, written out."""

    def __init__(self, w: int = 512) -> None:
        super().__init__()
        self.i, self.h = (nn.Linear(w, 3 * w), nn.Linear(w, 3 * w))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        for t in range(3):
            r, z, n = self.i(x[:, t]).chunk(3, -1)
            hr, hz, hn = self.h(h).chunk(3, -1)
            r = torch.sigmoid(r + hr)
            z = torch.sigmoid(z + hz)
            n = torch.tanh(n + r * hn)
            h = (1 - z) * n + z * h
        return h


class Dit(nn.Module):
    """A diffusion transformer block with adaptive norms."""

    def __init__(self, w: int = 768, h: int = 12) -> None:
        super().__init__()
        self.h = h
        self.ada = nn.Linear(w, 6 * w)
        self.n1, self.n2 = (nn.LayerNorm(w, elementwise_affine=False), nn.LayerNorm(w, elementwise_affine=False))
        self.qkv, self.o, self.f1, self.f2 = (
            nn.Linear(w, 3 * w),
            nn.Linear(w, w),
            nn.Linear(w, 4 * w),
            nn.Linear(4 * w, w),
        )

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        a, b, g, d, e, f = self.ada(functional.silu(c)).chunk(6, -1)
        batch, length, width = x.shape
        h = self.n1(x) * (1 + b[:, None]) + a[:, None]
        q, k, v = self.qkv(h).view(batch, length, 3, self.h, -1).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + g[:, None] * self.o(
            functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width)
        )
        h = self.n2(x) * (1 + e[:, None]) + d[:, None]
        return x + f[:, None] * self.f2(functional.gelu(self.f1(h), approximate="tanh"))


class Dit2(nn.Module):
    """Two blocks under one condition."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (Dit(), Dit())

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.b(self.a(x, c), c)


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=BF16)


def swin() -> Target:
    """Two Swin blocks, 16 images of 56 x 56."""
    return (nn.Sequential(SwinBlock(96, 3, False), SwinBlock(96, 3, True)).to(BF16).eval(), (_zeros(16, 56, 56, 96),))


def gqa() -> Target:
    """Two layers, 4 x 512 tokens."""
    return (Stack([Gqa(), Gqa()]).to(BF16).eval(), (_zeros(4, 512, 1024), _zeros(512, 32), _zeros(512, 32)))


def gqa_train() -> Target:
    """A training step of one layer."""
    return (Stack([Gqa()]).to(BF16).train(), (_zeros(4, 512, 1024), _zeros(512, 32), _zeros(512, 32)))


def wav() -> Target:
    """Speech front, 4 clips of a second."""
    return (Wav().to(BF16).eval(), (_zeros(4, 1, 16000),))


def gru() -> Target:
    """Three GRU steps, 64 sequences."""
    return (Gru().to(BF16).eval(), (_zeros(64, 3, 512), _zeros(64, 512)))


def dit() -> Target:
    """Two DiT blocks, 8 x 256 tokens."""
    return (Dit2().to(BF16).eval(), (_zeros(8, 256, 768), _zeros(8, 768)))
