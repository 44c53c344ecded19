"""A small transformer to measure on any machine: four layers of width 512, attention written out, 2 x 256 tokens, FP32.

PYTHONPATH=docs/examples hiersim measure torch small_transformer:build --device cpu -o small.jsonl
PYTHONPATH=docs/examples hiersim capture torch small_transformer:build --mode inductor -o small.npz
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

LAYERS, WIDTH, HEADS, BATCH, LENGTH = 4, 512, 8, 2, 256


class Layer(nn.Module):
    """Attention and feed-forward block, each behind a norm and beside a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.project, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.rise, self.fall = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.out(self.attention(self.project(self.before(x))))
        result: Tensor = x + self.fall(functional.gelu(self.rise(self.between(x)), approximate="tanh"))
        return result

    def attention(self, projected: Tensor) -> Tensor:
        q, k, v = (
            part.view(BATCH, LENGTH, HEADS, WIDTH // HEADS).transpose(1, 2) for part in projected.split(WIDTH, dim=2)
        )
        weights = torch.softmax(torch.matmul(q, k.transpose(2, 3)) / math.sqrt(WIDTH // HEADS), -1)
        mixed: Tensor = torch.matmul(weights, v).transpose(1, 2).reshape(BATCH, LENGTH, WIDTH)
        return mixed


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The model and its input, on the device that is the default."""
    model = nn.Sequential(*(Layer() for _ in range(LAYERS))).eval()
    return model, (torch.randn(BATCH, LENGTH, WIDTH),)
