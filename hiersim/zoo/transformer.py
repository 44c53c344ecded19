"""Encoder and GPT-2 style transformers in plain torch, operator for operator as the common eager code.

Every builder returns `(model, args)` and is called under the meta device, so no memory is allocated.
Dropout is 0: it is the usual setting for inference and it keeps training captures deterministic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import checkpoint

DTYPE = torch.bfloat16


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    """Widths of a GPT-2 or BERT style model."""

    vocabulary: int
    positions: int
    layers: int
    width: int
    heads: int
    hidden: int


BERT_LARGE = TransformerConfig(vocabulary=30522, positions=512, layers=24, width=1024, heads=16, hidden=4096)
GPT2_SMALL = TransformerConfig(vocabulary=50257, positions=1024, layers=12, width=768, heads=12, hidden=3072)
GPT2_LARGE = TransformerConfig(vocabulary=50257, positions=1024, layers=36, width=1280, heads=20, hidden=5120)
TINY_GPT2 = TransformerConfig(vocabulary=512, positions=64, layers=2, width=64, heads=4, hidden=256)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(batch, sequence, width) -> (batch, heads, sequence, width / heads), a view."""
    return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """The inverse of `split_heads`; flash attention's output layout makes it a view."""
    x = x.transpose(1, 2)
    return x.reshape(x.shape[0], x.shape[1], -1)


class Conv1D(nn.Module):
    """GPT-2's linear layer, whose weight is stored (inputs, outputs)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], self.outputs)


class CausalSelfAttention(nn.Module):
    """GPT-2 attention: one fused projection to q, k, v."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.c_attn = Conv1D(config.width, 3 * config.width)
        self.c_proj = Conv1D(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(part, self.heads) for part in self.c_attn(x).split(x.shape[-1], dim=2))
        out: Tensor = self.c_proj(merge_heads(functional.scaled_dot_product_attention(q, k, v, is_causal=True)))
        return out


def gelu_new(x: Tensor) -> Tensor:
    """GELU in its tanh form, written out as GPT-2's reference code and its common port do: eight eager kernels.

    Radford et al., Language models are unsupervised multitask learners, 2019 (openai/gpt-2, model.py).
    """
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class Mlp(nn.Module):
    """GPT-2 feed-forward block."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.c_fc = Conv1D(config.width, config.hidden)
        self.c_proj = Conv1D(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c_proj(gelu_new(self.c_fc(x)))
        return out


class DecoderBlock(nn.Module):
    """Pre-norm GPT-2 block."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.width)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.width)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attn(self.ln_1(x)) + x
        out: Tensor = self.mlp(self.ln_2(x)) + x
        return out


class Gpt2(nn.Module):
    """GPT-2 with tied embeddings.

    Without labels it returns the logits of the last token, which is all that generation asks of a prefill;
    with labels (and gradients) it returns the mean next-token loss over all positions, in FP32. When checkpointed it
    keeps the input of each block only, and the backward pass runs the block again (Chen et al., Training deep nets with
    sublinear memory cost, 2016).
    """

    def __init__(self, config: TransformerConfig, checkpointed: bool = False) -> None:
        super().__init__()
        self.checkpointed = checkpointed
        self.wte = nn.Embedding(config.vocabulary, config.width)
        self.wpe = nn.Embedding(config.positions, config.width)
        self.h = nn.ModuleList(DecoderBlock(config) for _ in range(config.layers))
        self.ln_f = nn.LayerNorm(config.width)
        self.lm_head = nn.Linear(config.width, config.vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Tensor:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0)
        x = self.wte(input_ids) + self.wpe(positions)
        for block in self.h:
            x = self._again(block, x) if self.checkpointed else block(x)
        x = self.ln_f(x)
        if labels is None:
            logits: Tensor = self.lm_head(x[:, -1:, :])
            return logits
        logits = self.lm_head(x).float()
        shifted = functional.pad(labels, (0, 1), value=-100)[..., 1:].contiguous()
        return functional.cross_entropy(logits.view(-1, logits.shape[-1]), shifted.view(-1))

    @staticmethod
    def _again(block: nn.Module, x: Tensor) -> Tensor:
        """The block, run again in the backward pass; without dropout there is no random state to keep."""
        out: Tensor = checkpoint.checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
        return out


class EncoderAttention(nn.Module):
    """Bidirectional attention with separate q, k, v projections (BERT and ViT)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(layer(x), self.heads) for layer in (self.query, self.key, self.value))
        return merge_heads(functional.scaled_dot_product_attention(q, k, v))


class BertLayer(nn.Module):
    """Post-norm BERT layer with the erf form of GELU."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention = EncoderAttention(config.width, config.heads)
        self.attention_output = nn.Linear(config.width, config.width)
        self.attention_norm = nn.LayerNorm(config.width, eps=1e-12)
        self.intermediate = nn.Linear(config.width, config.hidden)
        self.output = nn.Linear(config.hidden, config.width)
        self.output_norm = nn.LayerNorm(config.width, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention_norm(self.attention_output(self.attention(x)) + x)
        out: Tensor = self.output_norm(self.output(functional.gelu(self.intermediate(x))) + x)
        return out


class Bert(nn.Module):
    """BERT encoder with its pooler; returns (hidden states, pooled)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocabulary, config.width)
        self.position_embeddings = nn.Embedding(config.positions, config.width)
        self.token_type_embeddings = nn.Embedding(2, config.width)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.layer = nn.ModuleList(BertLayer(config) for _ in range(config.layers))
        self.pooler = nn.Linear(config.width, config.width)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor) -> tuple[Tensor, Tensor]:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0)
        x = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        x = self.norm(x + self.position_embeddings(positions))
        for layer in self.layer:
            x = layer(x)
        return x, torch.tanh(self.pooler(x[:, 0]))


class TinyMlp(nn.Module):
    """Two linear layers and a GELU: the smallest model with something to fuse."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(functional.gelu(self.up(x)))
        return out + x


def _tokens(batch: int, sequence: int) -> Tensor:
    return torch.zeros(batch, sequence, dtype=torch.long)


def build_bert_large() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """BERT-large over 8 x 512 tokens."""
    return Bert(BERT_LARGE).to(DTYPE).eval(), (_tokens(8, 512), _tokens(8, 512))


def build_gpt2_large() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """GPT-2 large, prefill of 4 x 1024 tokens."""
    return Gpt2(GPT2_LARGE).to(DTYPE).eval(), (_tokens(4, 1024),)


def build_gpt2_train() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """GPT-2 small with labels, 8 x 1024 tokens."""
    return Gpt2(GPT2_SMALL).to(DTYPE).train(), (_tokens(8, 1024), _tokens(8, 1024))


def build_gpt2_train_checkpointed() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """GPT-2 small with labels, 8 x 1024 tokens, every block checkpointed."""
    return Gpt2(GPT2_SMALL, checkpointed=True).to(DTYPE).train(), (_tokens(8, 1024), _tokens(8, 1024))


def build_tiny_gpt2() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A two-layer GPT-2, prefill of 2 x 32 tokens."""
    return Gpt2(TINY_GPT2).to(DTYPE).eval(), (_tokens(2, 32),)


def build_tiny_gpt2_train() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A two-layer GPT-2 with labels, 2 x 32 tokens."""
    return Gpt2(TINY_GPT2).to(DTYPE).train(), (_tokens(2, 32), _tokens(2, 32))


def build_tiny_gpt2_train_checkpointed() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A two-layer GPT-2 with labels, 2 x 32 tokens, every block checkpointed."""
    return Gpt2(TINY_GPT2, checkpointed=True).to(DTYPE).train(), (_tokens(2, 32), _tokens(2, 32))


def build_tiny_mlp() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A two-layer perceptron over 32 rows of 64."""
    return TinyMlp(64).to(DTYPE).eval(), (torch.zeros(32, 64, dtype=DTYPE),)
