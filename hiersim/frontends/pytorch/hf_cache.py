"""One decode step of a transformers model: its cache as plain tensors that go in and, where they are new, come out."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from hiersim.errors import TraceError
from hiersim.frontends.pytorch.meta_values import MetaValues

_NAMES = ("past_key_values", "cache_params", "state")
"""Results that hold a cache."""


def _fixed_layer() -> Any:
    from transformers.cache_utils import DynamicLayer

    class FixedLayer(DynamicLayer):
        """Keys and values of fixed length: a step writes its token in place and attends to all of it."""

        position: Tensor
        context: int

        def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Any:
            self.keys.index_copy_(2, self.position, key_states)
            self.values.index_copy_(2, self.position, value_states)
            return self.keys, self.values

        def get_seq_length(self) -> int:
            return self.context - 1

        def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
            length = int(self.keys.shape[-2])
            return length, self.context - length

    return FixedLayer


def _fix(layer: Any, context: int, make: Any) -> Any:
    """The layer with room for the whole context, or for the window of it that the layer keeps."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) or not layer.is_initialized:
        return layer
    window = getattr(layer, "sliding_window", None) or context
    fixed = make()
    length = min(window, context)
    for name in ("keys", "values"):
        old = getattr(layer, name)
        setattr(fixed, name, torch.zeros(*old.shape[:-2], length, old.shape[-1], dtype=old.dtype))
    fixed.is_initialized, fixed.context = True, context
    fixed.dtype, fixed.device = layer.keys.dtype, layer.keys.device
    fixed.slots, fixed.is_sliding = length, layer.is_sliding
    return fixed


@dataclass(slots=True, kw_only=True)
class CacheStep:
    """The cache of a model after its context, and a forward pass that takes it as tensors."""

    original: Any
    name: str
    """Argument of the model that takes the cache."""
    cache: Any
    tensors: list[Tensor]
    position: Tensor
    encoder_states: Tensor | None
    fixed: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def prepare(cls, model: nn.Module, kwargs: dict[str, Any], ids: str, context: int) -> CacheStep:
        """Run the model over the context and keep its cache."""
        before = dict(kwargs)
        before[ids] = torch.zeros(kwargs[ids].shape[0], context - 1, dtype=torch.long)
        before["use_cache"] = True
        with torch.no_grad(), MetaValues():
            out = model(**before)
        name = next((name for name in _NAMES if getattr(out, name, None) is not None), None)
        if name is None:
            raise TraceError(f"{type(model).__name__} returns no cache", expected="a model that generates")
        encoder = getattr(out, "encoder_last_hidden_state", None)
        cache = _fixed(getattr(out, name), context)
        if name == "past_key_values" and "cache" in inspect.signature(model.forward).parameters:
            name = "cache"
        tensors = _tensors(cache)
        position = torch.full((1,), context - 1)
        return cls(
            original=model.forward, name=name, cache=cache, tensors=tensors, position=position, encoder_states=encoder
        )

    def forward(
        self,
        input_ids: Tensor | None = None,
        kv_cache: list[Tensor] | None = None,
        position: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_states: Tensor | None = None,
    ) -> list[Tensor]:
        """Logits, and the parts of the cache that the step replaced rather than wrote."""
        given = list(kv_cache or ())
        cache = _filled(self.cache, given, position)
        arguments: dict[str, Any] = {self.name: cache, "use_cache": True, **self.fixed}
        if decoder_input_ids is not None:
            arguments["decoder_input_ids"] = decoder_input_ids
            arguments["encoder_outputs"] = (encoder_states,)
        else:
            arguments["input_ids"] = input_ids
        out = self.original(**arguments)
        after = _tensors(next((getattr(out, name) for name in _NAMES if hasattr(out, name)), cache))
        known = {id(tensor) for tensor in given}
        return [out[0] if not hasattr(out, "logits") else out.logits, *(t for t in after if id(t) not in known)]


def _is_cache(value: Any) -> bool:
    return type(value).__module__.startswith(("transformers.", __name__)) and hasattr(value, "__dict__")


def _fixed(cache: Any, context: int) -> Any:
    """The cache, its plain layers of keys and values replaced by ones of fixed length."""
    from transformers.cache_utils import EncoderDecoderCache

    if isinstance(cache, EncoderDecoderCache):
        cache.self_attention_cache = _fixed(cache.self_attention_cache, context)
        return cache
    if hasattr(cache, "layers"):
        make = _fixed_layer()
        cache.layers = [_fix(layer, context, make) for layer in cache.layers]
    return cache


def _parts(value: Any) -> tuple[list[Any], Any]:
    """Leaves of a container, or of the attributes of a part of a cache."""
    return tree_flatten(dict(vars(value)) if _is_cache(value) else value)


def _tensors(value: Any) -> list[Tensor]:
    """All tensors of a cache, in a fixed order."""
    found: list[Tensor] = []
    for leaf in _parts(value)[0]:
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif _is_cache(leaf):
            found += _tensors(leaf)
    return found


def _filled(value: Any, tensors: list[Tensor], position: Any) -> Any:
    """A copy of `value` that holds `tensors` instead of its own."""
    left = iter(tensors)

    def fill(item: Any) -> Any:
        leaves, spec = _parts(item)
        new = [next(left) if isinstance(leaf, Tensor) else fill(leaf) if _is_cache(leaf) else leaf for leaf in leaves]
        if not _is_cache(item):
            return tree_unflatten(new, spec)
        fresh = copy.copy(item)
        vars(fresh).update(tree_unflatten(new, spec))
        if hasattr(fresh, "slots"):
            slots = fresh.slots
            fresh.position = position if slots == fresh.context else position % slots
        return fresh

    return fill(value)
