"""Networks that no choice in hiersim looked at before they were measured, by libraries that others wrote.

`hiersim measure torch benchmarks.networks:NAME` runs one on a device, `hiersim capture torch benchmarks.networks:NAME
--mode inductor` writes the trace that `hiersim validate` replays beside it. Weights and inputs are random.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hiersim.frontends.pytorch.torchvision_names import declare_torchvision

Call = tuple[nn.Module, tuple[()], dict[str, Any]]
"""A model, no positional arguments, and those by name."""


def _tokens(batch: int, length: int, vocabulary: int) -> Tensor:
    return torch.randint(0, vocabulary, (batch, length))


def _transformer(kind: str, dtype: torch.dtype, attention: str = "sdpa", **values: Any) -> Any:
    """A class of transformers with these values of its configuration; attention as the library calls it."""
    declare_torchvision()
    import transformers

    found: Any = getattr(transformers, kind)
    config = found.config_class(**values)
    config.use_cache = False
    return found._from_config(config, dtype=dtype, attn_implementation=attention).eval()


def _image(name: str, images: int, side: int, train: bool = False) -> Call:
    """A model of timm in BF16."""
    declare_torchvision()
    import timm

    model = timm.create_model(name, pretrained=False).to(torch.bfloat16)
    return model.train(train), (), {"x": torch.randn(images, 3, side, side, dtype=torch.bfloat16)}


def bert_large_fp32() -> Call:
    """BERT-large, 8 x 512 tokens, attention written out."""
    model = _transformer(
        "BertForMaskedLM", torch.float32, "eager", hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
        intermediate_size=4096,
    )  # fmt: skip
    return model, (), {"input_ids": _tokens(8, 512, 30522)}


def gpt2_large_fp32() -> Call:
    """GPT-2 large, 4 x 1 024 tokens, attention written out."""
    model = _transformer("GPT2LMHeadModel", torch.float32, "eager", n_embd=1280, n_layer=36, n_head=20)
    return model, (), {"input_ids": _tokens(4, 1024, 50257)}


def opt_1b3_fp32() -> Call:
    """OPT-1.3B, 2 x 2 048 tokens, attention written out."""
    model = _transformer(
        "OPTForCausalLM", torch.float32, "eager", hidden_size=2048, num_hidden_layers=24, num_attention_heads=32,
        ffn_dim=8192, word_embed_proj_dim=2048,
    )  # fmt: skip
    return model, (), {"input_ids": _tokens(2, 2048, 50272)}


def roberta_large() -> Call:
    """RoBERTa-large, 16 x 512 tokens."""
    model = _transformer(
        "RobertaForMaskedLM", torch.bfloat16, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
        intermediate_size=4096, max_position_embeddings=514, vocab_size=50265,
    )  # fmt: skip
    return model, (), {"input_ids": _tokens(16, 512, 50265)}


def t5_large() -> Call:
    """T5-large, 8 x 512 tokens encoded, 8 x 128 decoded at once."""
    model = _transformer(
        "T5ForConditionalGeneration", torch.bfloat16, "eager", d_model=1024, d_ff=4096, num_layers=24, num_heads=16,
        d_kv=64,
    )  # fmt: skip
    ids = {"input_ids": _tokens(8, 512, 32128), "decoder_input_ids": _tokens(8, 128, 32128)}
    return model, (), ids


def qwen3_1b7() -> Call:
    """Qwen3-1.7B, 2 x 2 048 tokens."""
    model = _transformer(
        "Qwen3ForCausalLM", torch.bfloat16, hidden_size=2048, num_hidden_layers=28, num_attention_heads=16,
        num_key_value_heads=8, intermediate_size=6144, head_dim=128, vocab_size=151936,
    )  # fmt: skip
    return model, (), {"input_ids": _tokens(2, 2048, 151936), "logits_to_keep": 1}


def whisper_large_encoder() -> Call:
    """The encoder of Whisper large, 8 spectrograms of 30 s."""
    model = _transformer(
        "WhisperForAudioClassification", torch.bfloat16, d_model=1280, encoder_layers=32, encoder_attention_heads=20,
        encoder_ffn_dim=5120, num_mel_bins=128,
    )  # fmt: skip
    return model, (), {"input_features": torch.randn(8, 128, 3000, dtype=torch.bfloat16)}


def convnext_base() -> Call:
    """ConvNeXt-B, 64 images."""
    return _image("convnext_base", 64, 224)


def swin_base() -> Call:
    """Swin-B, 64 images."""
    return _image("swin_base_patch4_window7_224", 64, 224)


def efficientnet_b3() -> Call:
    """EfficientNet-B3, 64 images of 288 x 288."""
    return _image("efficientnet_b3", 64, 288)


def regnety_032() -> Call:
    """RegNetY-3.2G, 64 images."""
    return _image("regnety_032", 64, 224)


def mixer_b16() -> Call:
    """MLP-Mixer-B/16, 128 images."""
    return _image("mixer_b16_224", 128, 224)


def bert_base_step() -> Call:
    """BERT-base for a training step, 32 x 128 tokens."""
    model = _transformer("BertForMaskedLM", torch.bfloat16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    ids = _tokens(32, 128, 30522)
    return model.train(), (), {"input_ids": ids, "labels": ids.clone()}


def resnet50_step() -> Call:
    """ResNet-50 of timm for a training step, 64 images."""
    return _image("resnet50", 64, 224, train=True)


def vit_small_step() -> Call:
    """ViT-S/16 for a training step, 64 images."""
    return _image("vit_small_patch16_224", 64, 224, train=True)
