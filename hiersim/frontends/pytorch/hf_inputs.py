"""Inputs of a transformers model, from its signature and configuration: tokens, images, sound, and a KV cache.

A decode step first runs the model over the context, outside the recording, for the cache that the model itself
makes. Layers of keys and values are then given a fixed length and written in place, as serving stacks do; recurrent
and convolutional states are kept as the model keeps them.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any, Final

import torch
from torch import nn

from hiersim.errors import TraceError
from hiersim.frontends.pytorch.hf_cache import CacheStep
from hiersim.frontends.pytorch.hf_required import RULES, TOGETHER, Sizes
from hiersim.frontends.pytorch.workload import Workload

SEQUENCE: Final = 512
"""Tokens where none are asked for and the model takes as many."""
_LENGTHS: Final = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_WIDTHS: Final = ("feature_projection_input_dim", "input_dim", "num_mel_bins", "input_feat_size", "feature_size")
"""What configurations call the width of a spectrogram."""
_REST: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def model_inputs(model: nn.Module, workload: Workload, train: bool) -> tuple[dict[str, Any], str]:
    """Keyword arguments of a forward pass over all tokens, and what they are in words."""
    config: Any = model.config
    names = inspect.signature(model.forward).parameters
    required = [name for name, known in names.items() if known.default is known.empty and known.kind not in _REST]
    batch, main = workload.batch or 1, str(getattr(model, "main_input_name", "input_ids"))
    if main not in names and (required or "input_ids" in names):
        main = required[0] if required else "input_ids"
    dtype = getattr(torch, workload.torch_dtype)
    kwargs: dict[str, Any] = {}
    words: list[str] = []
    bytewise = main == "inputs" and hasattr(config, "vocab_size")  # Perceiver: tokens by another name
    beside = _contrastive(config)
    if main == "input_ids" or bytewise or "input_ids" in required or ("input_ids" in names and beside):
        tokens = _tokens(config, workload)
        kwargs["inputs" if bytewise else "input_ids"] = torch.zeros(batch, tokens, dtype=torch.long)
        words.append(f"{batch} x {tokens} tokens")
        if "bbox" in names:  # where each token stands on the page
            kwargs["bbox"] = torch.zeros(batch, tokens, 4, dtype=torch.long)
    if "pixel_values" in names and (main == "pixel_values" or beside):
        shape = _image(config, workload)
        pair = (2,) if _matches(model) else ()
        kwargs["pixel_values"] = torch.zeros(batch, *pair, *shape, dtype=dtype)
        words.append(f"{batch} {'pairs of ' if pair else ''}images of {shape[-2]} x {shape[-1]}")
    if main in ("input_features", "input_values"):
        shape = _sound(model, main, workload)
        kwargs[main] = torch.zeros(batch, *shape, dtype=dtype)
        words.append(f"{batch} sounds of {' x '.join(map(str, shape))}")
        if main == "input_features" and "input_features_mask" in names:
            kwargs["input_features_mask"] = torch.ones(batch, max(shape), dtype=torch.bool)
    _required(model, [main, *required], kwargs, words, workload)
    _more(model, config, names, kwargs, words, workload, train)
    return {name: value for name, value in kwargs.items() if name in names}, ", ".join(words)


def _required(
    model: nn.Module, wanted: list[str], kwargs: dict[str, Any], words: list[str], workload: Workload
) -> None:
    """Arguments without which the model does not run, beside tokens, images and sound."""
    config: Any = model.config
    names = inspect.signature(model.forward).parameters
    together = [name for first in (*wanted, *kwargs) for name in TOGETHER.get(first, ())]
    missing = [name for name in dict.fromkeys([*wanted, *together]) if name in names and name not in kwargs]
    unknown = [name for name in missing if name not in RULES] if missing or kwargs else wanted
    if unknown:
        given = "tokens, images, sound, series or video"
        raise TraceError(f"{type(model).__name__} takes '{unknown[0]}'", expected=given)
    if not missing:
        return
    dtype, tokens, image = getattr(torch, workload.torch_dtype), _tokens(config, workload), _image(config, workload)
    sizes = Sizes(config=config, batch=workload.batch or 1, tokens=tokens, image=image, dtype=dtype)
    for name in missing:
        kwargs[name] = RULES[name](sizes)
        words.append(f"{name} of {' x '.join(map(str, kwargs[name].shape))}")


def _more(
    model: nn.Module, config: Any, names: Any, kwargs: dict[str, Any], words: list[str], workload: Workload, train: bool
) -> None:
    """Decoder tokens, labels of a loss, and the last token alone where a model generates."""
    batch = workload.batch or 1
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in names:
        length = kwargs["input_ids"].shape[1] if "input_ids" in kwargs else min(128, _tokens(config, workload))
        streams = getattr(getattr(config, "decoder_config", None), "num_channels", None)  # of codes of sound
        shape = (batch, length) if streams is None else (batch, length, int(streams))
        kwargs["decoder_input_ids"] = torch.zeros(shape, dtype=torch.long)
        words.append(f"{length} tokens decoded")
    if "use_cache" in names:
        kwargs["use_cache"] = False
    if train and "labels" in names:
        ids = kwargs.get("decoder_input_ids", kwargs.get("input_ids"))
        kind = type(model).__name__
        if ids is not None and kind.endswith(("CausalLM", "MaskedLM", "LMHeadModel", "ConditionalGeneration")):
            kwargs["labels"] = torch.zeros_like(ids)
        elif kind.endswith(("ImageClassification", "SequenceClassification")):
            kwargs["labels"] = torch.zeros(batch, dtype=torch.long)
    elif not train and "logits_to_keep" in names and workload.phase == "prefill":
        kwargs["logits_to_keep"] = 1


def decode_inputs(model: nn.Module, workload: Workload) -> tuple[dict[str, Any], str]:
    """Arguments of one decode step; the model's forward is replaced by one that takes the cache as tensors."""
    config: Any = model.config
    names = inspect.signature(model.forward).parameters
    kwargs, _ = model_inputs(model, workload, False)
    ids = "decoder_input_ids" if "decoder_input_ids" in kwargs else "input_ids"
    if ids not in kwargs:
        raise TraceError(f"{type(model).__name__} takes no tokens", expected="a model that generates")
    context = _tokens(config, workload)
    if context < 2:
        raise TraceError(f"a decode step over {context} tokens", expected="--sequence 2 or more")
    step = CacheStep.prepare(model, kwargs, ids, context)
    batch = kwargs[ids].shape[0]
    words = f"{batch} x 1 token over a KV cache of {context}"
    arguments = {ids: torch.zeros(batch, 1, dtype=torch.long), "kv_cache": step.tensors, "position": step.position}
    if "logits_to_keep" in names:
        step.fixed["logits_to_keep"] = 1
    model.forward = step.forward
    if ids == "decoder_input_ids":
        arguments["encoder_states"] = step.encoder_states
    return arguments, words


def _contrastive(config: Any) -> bool:
    """Text and images beside each other, as CLIP; not images as tokens."""
    both = getattr(config, "vision_config", None) is not None and getattr(config, "text_config", None) is not None
    return both and not any("image_tok" in name for name in vars(config))


def _matches(model: nn.Module) -> bool:
    """Whether a model takes pairs of images: it, or the head of its module, matches their key points."""
    return any(name.endswith("KeypointMatching") for name in vars(sys.modules[type(model).__module__]))


def _tokens(config: Any, workload: Workload) -> int:
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    lengths = [getattr(part, name, None) for part in (text, config) for name in _LENGTHS]
    limits = [length for length in lengths if isinstance(length, int) and length > 0]
    limit = limits[0] if limits else SEQUENCE
    if getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        limit -= 2  # their positions start behind the padding index
    return workload.sequence or min(limit, SEQUENCE)


def _image(config: Any, workload: Workload) -> tuple[int, ...]:
    vision = getattr(config, "vision_config", None) or config
    parts = [vision, config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))]
    sizes = [size for part in parts if (size := getattr(part, "image_size", None))]
    size = workload.image or (sizes[0] if sizes else 224)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    channels = getattr(vision, "num_channels", 3)
    frames = getattr(vision, "num_frames", None)
    shape = (int(channels), int(height), int(width))
    return shape if frames is None else (int(frames), *shape)


def _sound(model: nn.Module, main: str, workload: Workload) -> tuple[int, ...]:
    """Samples at 16 kHz (with channels where a codec wants them), or a spectrogram."""
    config: Any = model.config
    if main == "input_values":
        mel, length = getattr(config, "num_mel_bins", None), getattr(config, "max_length", None)
        if isinstance(mel, int) and isinstance(length, int) and length > 1:  # spectrogram transformers
            return (workload.sequence or length, mel)
        if getattr(config, "codebook_size", None):  # codecs
            return (int(getattr(config, "audio_channels", 1)), workload.sequence or 10 * 16_000)
        return (workload.sequence or 10 * 16_000,)
    frames = getattr(config, "max_source_positions", None)
    if getattr(config, "num_mel_bins", None) and frames:
        return (int(config.num_mel_bins), 2 * int(frames))
    parts = [config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))]
    found = (getattr(part, name, None) for name in _WIDTHS for part in parts)
    width = next((int(value) for value in found if isinstance(value, int)), 80)
    length = workload.sequence or 1000
    first = next((layer for layer in model.modules() if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear)), None)
    across = isinstance(first, nn.Conv1d) and first.in_channels == width  # a convolution along time wants it last
    return (width, length) if across else (length, width)
