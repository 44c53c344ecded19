"""What a capture starts from: a model on the meta device, its inputs, and the names and roles of its storages."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import keystr, tree_flatten_with_path

from hiersim.errors import TraceError, nearest, one_line
from hiersim.frontends.aten import Operand
from hiersim.frontends.pytorch.workload import PLAIN, Workload
from hiersim.model.operators import DType, Role
from hiersim.zoo import BUILDERS, Builder

_DTYPES = {
    torch.float64: DType.FP64, torch.float32: DType.FP32, torch.float16: DType.FP16, torch.bfloat16: DType.BF16,
    torch.float8_e4m3fn: DType.FP8, torch.float8_e5m2: DType.FP8, torch.int64: DType.INT64, torch.uint64: DType.INT64,
    torch.int32: DType.INT32, torch.uint32: DType.INT32, torch.int16: DType.INT16, torch.uint16: DType.INT16,
    torch.float8_e4m3fnuz: DType.FP8, torch.float8_e5m2fnuz: DType.FP8, torch.float8_e8m0fnu: DType.FP8,
    torch.int8: DType.INT8, torch.uint8: DType.INT8, torch.bool: DType.BOOL, torch.complex64: DType.COMPLEX64,
}  # fmt: skip
_LIBRARIES = {
    "hf": "hiersim.frontends.pytorch.huggingface",
    "timm": "hiersim.frontends.pytorch.timm_models",
}
_CACHE = re.compile(r"(^|[^a-z])(kv|past|cache|[kv]_cache|key_cache|value_cache|kv_cache|past_key_values)([^a-z]|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model and its call; all tensors on the meta device, unless it was loaded for another one."""

    name: str
    model: nn.Module
    kwargs: dict[str, Any]
    """Arguments of `model.forward` by name, in its own order."""
    train: bool
    builder: Builder | None = None
    workload: Workload = PLAIN


def dtype_of(dtype: torch.dtype) -> DType:
    """The trace's name of a torch element type."""
    if dtype not in _DTYPES:
        raise TraceError(f"a trace cannot hold {dtype}", expected=", ".join(kind.name for kind in DType))
    return _DTYPES[dtype]


def operand(tensor: Tensor) -> Operand:
    """Shape and type of a tensor."""
    return Operand(shape=tuple(int(size) for size in tensor.shape), dtype=dtype_of(tensor.dtype))


def load_target(target: str, train: bool, device: str | torch.device = "meta", workload: Workload = PLAIN) -> Target:
    """Build a model under the meta device or another one.

    A bundled model, one of transformers (`hf:`) or timm (`timm:`), or the user's `package.module:function`.
    """
    library = _LIBRARIES.get(target.partition(":")[0])
    if library is not None:
        build = importlib.import_module(library).build
        with torch.device(device):
            builder, model, kwargs = build(target, workload, train)
        named = _bind(model, (), kwargs, target)
        return Target(name=target, model=model, kwargs=named, train=train, builder=builder, workload=workload)
    if workload != PLAIN:
        wanted = "an hf: or timm: target; a function chooses its own inputs"
        raise TraceError(f"'{target}' takes no {workload.options().split()[0]}", expected=wanted)
    builder = BUILDERS.get(target)
    if builder is None and ":" not in target:
        wanted = f"{nearest(target, BUILDERS)}, package.module:function, hf:NAME or timm:NAME"
        raise TraceError(f"'{target}' is not a bundled model", expected=wanted)
    function = _resolve(builder.function if builder else target)
    train = builder.train if builder else train
    try:
        with torch.device(device):
            built = function()
    except Exception as error:
        text = f"{type(error).__name__}: {one_line(str(error))[:200]}"
        raise TraceError(f"'{target}' cannot be built: {text}", expected="a model on the meta device") from error
    if not isinstance(built, tuple) or len(built) not in (2, 3) or not isinstance(built[0], nn.Module):
        wanted = "(model, args) or (model, args, kwargs)"
        raise TraceError(f"'{target}' returned {type(built).__name__}", expected=wanted)
    model, args, kwargs = built[0], built[1], built[2] if len(built) == 3 else {}
    return Target(name=target, model=model, kwargs=_bind(model, args, kwargs, target), train=train, builder=builder)


def _resolve(path: str) -> Any:
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # a module may raise anything while it is imported
        file = module.removesuffix(".py").replace("/", ".").lstrip(".")
        expected = f"{file}:{name}" if module.endswith(".py") and name else "package.module:function"
        raise TraceError(f"'{path}' cannot be imported: {one_line(str(error))[:300]}", expected=expected) from None


def _bind(model: nn.Module, args: Any, kwargs: Any, target: str) -> dict[str, Any]:
    """All arguments by name, so that every capture sees them in one order."""
    try:
        bound = inspect.signature(model.forward).bind(*args, **kwargs)
    except TypeError as error:
        raise TraceError(f"the arguments of '{target}' do not suit its model: {error}") from None
    named: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = inspect.signature(model.forward).parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            raise TraceError(f"the model of '{target}' takes *{name}", expected="named arguments")
        named.update(value if kind is inspect.Parameter.VAR_KEYWORD else {name: value})
    return named


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A tensor that exists before the first operator."""

    name: str
    role: Role
    tensor: Tensor = field(repr=False)


def input_names(kwargs: dict[str, Any]) -> Iterator[Named]:
    """Inputs in the order in which torch flattens them; KV caches are known by their names."""
    leaves, _ = tree_flatten_with_path(kwargs)
    for path, leaf in leaves:
        if isinstance(leaf, Tensor):
            name = re.sub(r"[\[\]'\"]+", ".", keystr(path)).strip(".").replace("..", ".")
            yield Named(name=name, role=Role.KV_CACHE if _CACHE.search(name) else Role.INPUT, tensor=leaf)


def named_tensors(target: Target) -> Iterator[Named]:
    """Parameters, buffers and inputs, in that order."""
    for name, parameter in target.model.named_parameters():
        yield Named(name=name, role=Role.WEIGHT, tensor=parameter)
    for name, buffer in target.model.named_buffers():
        yield Named(name=name, role=Role.KV_CACHE if _CACHE.search(name) else Role.CONSTANT, tensor=buffer)
    yield from input_names(target.kwargs)


def loss_of(output: Any) -> Tensor:
    """The scalar to differentiate: the model's own loss, or the mean square of its first floating-point output."""
    loss = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
    if isinstance(loss, Tensor):
        return loss
    leaves = [leaf for leaf in tree_flatten_with_path(output)[0] if isinstance(leaf[1], Tensor)]
    floating = [leaf for _, leaf in leaves if leaf.is_floating_point()]
    if not floating:
        raise TraceError("the model returns nothing that can be differentiated", expected="a loss")
    first: Tensor = floating[0]
    return first if first.dim() == 0 else first.float().pow(2).mean()


_SDPA = (torch.nn.functional.scaled_dot_product_attention, torch._C._nn.scaled_dot_product_attention)


class GpuAttention(TorchFunctionMode):
    """Routes `scaled_dot_product_attention` to the kernel that a GPU picks.

    Torch chooses by device in C++; on meta tensors that would be the unfused form, which no GPU runs. Functions written
    in Python run without the mode; the one that calls attention (`nn.MultiheadAttention` runs it) gets ours by name.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _SDPA and args and args[0].dim() == 4:  # the fused kernels take nothing else
            return attention_of_a_gpu(*args, **(kwargs or {}))
        if func is torch.nn.functional.multi_head_attention_forward:
            with mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", attention_of_a_gpu):
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def attention_of_a_gpu(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Flash attention for unmasked half precision with one head width, memory-efficient attention otherwise."""
    aten, width = torch.ops.aten, query.shape[-1]
    half = query.dtype in (torch.float16, torch.bfloat16)
    if attn_mask is None and half and width <= 256 and width % 8 == 0 and value.shape[-1] == width:
        out: Tensor = aten._scaled_dot_product_flash_attention(
            query, key, value, dropout_p, is_causal, False, scale=scale
        )[0]
        return out
    if enable_gqa and key.shape[1] != query.shape[1]:
        key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], 1) for tensor in (key, value))
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            zero = torch.zeros((), dtype=query.dtype, device=query.device)
            attn_mask = torch.where(attn_mask, zero, torch.full_like(zero, float("-inf")))
        attn_mask = attn_mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    logsumexp = torch.is_grad_enabled() and query.requires_grad
    masked: Tensor = aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, logsumexp, dropout_p, is_causal, scale=scale
    )[0]
    return masked
