"""Values that a model asks of tensors which have none: the assumptions of a capture, in one place.

On the meta device there are shapes and no numbers. A model that reads a number is told True or 1, which lets masks be
skipped and keeps optimizers finite. A boolean mask is taken to select everything. What else depends on data (which
expert a token goes to, which boxes survive) has no answer and is refused.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hiersim.errors import TraceError

SELECTS_ALL: Final = "boolean masks are taken to select everything"
_SCALAR: Final = torch.ops.aten._local_scalar_dense.default
_INDEXED: Final = frozenset(
    {
        torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default,
        torch.ops.aten._unsafe_index.Tensor, torch.ops.aten._index_put_impl_.default,
    }
)  # fmt: skip


def scalar_of(tensor: Tensor) -> Any:
    """The value of `.item()`."""
    if tensor.dtype == torch.bool:
        return True
    return 1.0 if tensor.is_floating_point() else 1


def selected(tensor: Tensor) -> Tensor:
    """The result of `nonzero` on a mask."""
    return torch.empty(tensor.dim(), tensor.numel(), dtype=torch.int64, device="meta").t()


def call(func: Any, args: Any, kwargs: Any, notes: set[str]) -> Any:
    """Run an operator on meta tensors; `notes` is told of assumptions.

    Raises
    ------
    TraceError
        The operator needs real data.
    """
    masked = func in _INDEXED and any(_is_mask(index) for index in args[1])
    if masked:
        notes.add(SELECTS_ALL)
        args = (args[0], _without_masks(args[1]), *args[2:])
    if func is torch.ops.aten.nonzero.default and _is_mask(args[0]):
        notes.add(SELECTS_ALL)
        return selected(args[0])
    if func is torch.ops.aten.equal.default and args[0].device.type == "meta":
        return bool(args[0].shape == args[1].shape)
    try:
        return func(*args, **kwargs)
    except (NotImplementedError, RuntimeError) as error:
        if isinstance(error, NotImplementedError) or "meta tensors" in str(error).lower():
            problem = f"{func} needs real data; there is none on meta"
            raise TraceError(problem, expected="a model of fixed shapes") from None
        raise


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.device.type == "meta" and index.dtype in (torch.bool, torch.uint8)


def _without_masks(indices: Any) -> list[Any]:
    """Each mask as the index tensors that it stands for."""
    found: list[Any] = []
    for index in indices:
        found += list(selected(index).unbind(1)) if _is_mask(index) else [index]
    return found


class MetaValues(TorchDispatchMode):
    """Answers what a model asks of meta tensors, and records nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _SCALAR and args[0].device.type == "meta":
            return scalar_of(args[0])
        return call(func, args, kwargs or {}, set())
