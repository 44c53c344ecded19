"""A target on a real device: weights and inputs of random numbers, so that no download is needed to measure it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from hiersim.errors import MeasurementError
from hiersim.frontends.pytorch.target import Target, load_target
from hiersim.frontends.pytorch.workload import PLAIN, Workload
from hiersim.measure.recipe import DTYPES

SCALE: Final = 0.02
"""Standard deviation of random weights, as transformers are commonly initialised."""


def load_real(
    target: str, train: bool, device: torch.device, dtype: str | None, workload: Workload = PLAIN
) -> Target:  # fmt: skip
    """The model and its call with all tensors on `device`.

    The function is called there instead of on meta. A user's model keeps what its function gave it; the bundled ones,
    whose weights mean nothing, and those of model libraries get normal weights, random tokens and random inputs.
    `dtype` replaces the element type of most parameters, wherever that occurs.

    Raises
    ------
    TraceError
        The target cannot be imported.
    MeasurementError
        Some tensor has no data; the device has too little memory.
    """
    try:
        torch.manual_seed(0)
        loaded = load_target(target, train, device, workload)
        if loaded.builder is not None:
            loaded = _with_random_data(loaded, device)
        loaded.model.to(device)
        moved = tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, loaded.kwargs)
        return _converted(_replaced(loaded, moved), dtype)
    except torch.OutOfMemoryError as error:
        raise MeasurementError(
            f"'{target}' does not fit into the device's memory", expected=str(error).partition(". ")[0]
        ) from None
    except NotImplementedError as error:
        raise MeasurementError(f"'{target}' cannot be made on {device.type}: {error}") from None


def _replaced(target: Target, kwargs: dict[str, Any]) -> Target:
    return Target(name=target.name, model=target.model, kwargs=kwargs, train=target.train, builder=target.builder)


def _with_random_data(target: Target, device: torch.device) -> Target:
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, parameter in target.model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, SCALE, generator=generator)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    tokens = target.kwargs.get("input_ids")
    most = _vocabulary(target.model)

    def filled(name: str, value: Any) -> Any:
        if isinstance(value, Tensor):
            if name == "input_ids" or (name == "labels" and tokens is not None and value.shape == tokens.shape):
                return torch.randint(most, value.shape, device=device, generator=generator)
            return value.normal_(generator=generator) if value.is_floating_point() else value
        if isinstance(value, list | tuple):
            return type(value)(filled(name, item) for item in value)
        return value

    return _replaced(target, {name: filled(name, value) for name, value in target.kwargs.items()})


def _vocabulary(model: nn.Module) -> int:
    """How many tokens there are: rows of the embedding that takes them, or of the largest; 1 without any."""
    embedding = getattr(model, "get_input_embeddings", lambda: None)()
    if isinstance(embedding, nn.Embedding):
        return embedding.num_embeddings
    return max((module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)), default=1)


def _converted(target: Target, dtype: str | None) -> Target:
    """`target` with the main element type replaced."""
    if dtype is None:
        return target
    present, wanted = main_dtype(target.model), DTYPES[dtype]

    def convert(value: Any) -> Any:
        return value.to(wanted) if isinstance(value, Tensor) and value.dtype == present else value

    for tensor in (*target.model.parameters(), *target.model.buffers()):
        tensor.data = convert(tensor.data)
    return _replaced(target, tree_map(convert, target.kwargs))


def main_dtype(model: nn.Module) -> torch.dtype:
    """Element type of most parameters."""
    sizes: dict[torch.dtype, int] = {}
    for parameter in model.parameters():
        sizes[parameter.dtype] = sizes.get(parameter.dtype, 0) + parameter.numel()
    return max(sizes, key=lambda found: sizes[found]) if sizes else torch.float32


def dtype_name(model: nn.Module, asked: str | None) -> str:
    """The name of the main element type, as files write it."""
    names: Mapping[torch.dtype, str] = {dtype: name for name, dtype in DTYPES.items() if name != "tf32"}
    return asked or names.get(main_dtype(model), "fp32")


def weight_bytes(model: nn.Module) -> int:
    """Bytes of parameters and buffers, shared ones once."""
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in (*model.parameters(), *model.buffers())
    }
    return sum(storages.values())
