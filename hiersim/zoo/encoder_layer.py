"""One BERT encoder layer with its attention written out, as a training step runs it before flash attention.

The setting of Ivanov et al., Data movement is all you need (MLSys 2021, arXiv:2007.00072): BERT-large, 8 x 512 tokens,
16 heads, width 1024, feed-forward 4096, FP16, dropout everywhere. Called under the meta device: nothing is allocated.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hiersim.zoo.transformer import BERT_LARGE, TransformerConfig, split_heads

BATCH, LENGTH = 8, 512
DROPOUT = 0.1


def dropout(x: Tensor) -> Tensor:
    """Dropout as a GPU runs it: one kernel. (On the meta device `functional.dropout` takes the three of a CPU.)"""
    kept: Tensor = torch.native_dropout(x, DROPOUT, True)[0]
    return kept


class WrittenAttention(nn.Module):
    """Attention in single steps, with one projection to queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(part, self.heads) for part in self.project(x).split(x.shape[-1], dim=2))
        scores = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(q.shape[-1])
        weights = dropout(torch.softmax(scores, -1))
        out: Tensor = self.output(torch.matmul(weights, v).transpose(1, 2).reshape(x.shape))
        return out


class EncoderLayer(nn.Module):
    """Attention and feed-forward block, each with dropout, residual and normalisation; ReLU as in the paper.

    The input is a parameter, so that its gradient is computed as inside a stack of layers; the loss is the product with
    a given gradient, which costs as little as a loss can.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.empty(BATCH, LENGTH, config.width))
        self.attention = WrittenAttention(config.width, config.heads)
        self.attention_norm = nn.LayerNorm(config.width)
        self.rise, self.fall = nn.Linear(config.width, config.hidden), nn.Linear(config.hidden, config.width)
        self.output_norm = nn.LayerNorm(config.width)

    def forward(self, grad: Tensor) -> dict[str, Tensor]:
        x = self.attention_norm(self.x + dropout(self.attention(self.x)))
        hidden = dropout(functional.relu(self.rise(x)))
        out = self.output_norm(x + dropout(self.fall(hidden)))
        return {"loss": (out * grad).sum()}


def build_bert_large_layer() -> tuple[nn.Module, tuple[object, ...]]:
    """A layer of BERT-large in FP16, and the gradient of its result."""
    layer = EncoderLayer(BERT_LARGE).to(torch.float16).train()
    return layer, (torch.empty(BATCH, LENGTH, BERT_LARGE.width, dtype=torch.float16),)
