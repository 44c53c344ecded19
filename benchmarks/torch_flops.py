"""What `torch.utils.flop_counter` counts of a capture's target: the oracle of captured matrix FLOPs."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from hiersim.frontends.pytorch.eager import backward
from hiersim.frontends.pytorch.meta_values import MetaValues
from hiersim.frontends.pytorch.target import GpuAttention, load_target, loss_of
from hiersim.frontends.pytorch.workload import PLAIN, Workload


def _grouped(a: Any, b: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Torch counts no FLOPs of a grouped product."""
    groups = int(a[0]) if len(a) == len(b) == 3 else 1
    return 2 * groups * int(a[-2]) * int(a[-1]) * int(b[-1])


def _convolution_backward(
    grad: Any, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int, mask: Any, out_shape: Any = None, **kwargs: Any,
) -> int:  # fmt: skip
    """Each gradient multiplies what the forward pass does; torch counts that of the weights as if not in groups."""
    return (int(mask[0]) + int(mask[1])) * int(conv_flop_count(x, weight, grad, transposed=transposed))


CORRECTED: Final = {
    torch.ops.aten._grouped_mm: _grouped,
    torch.ops.aten.convolution_backward: _convolution_backward,
}
"""Where PyTorch 2.13 counts wrongly."""


class _NoModules:
    """Instead of torch's record of modules, which raises where a model's own autograd functions return views."""

    parents: Final = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def flops_by_torch(target: str, train: bool = False, workload: Workload = PLAIN) -> int:
    """Matrix FLOPs of one run of `target`, on meta tensors and with the attention that a GPU picks."""
    loaded = load_target(target, train, workload=workload)
    train = loaded.train
    if not train:
        loaded.model.requires_grad_(False)
    counter = FlopCounterMode(display=False, custom_mapping=CORRECTED)
    counter.mod_tracker = _NoModules()
    with torch.device("meta"), GpuAttention(), MetaValues(), counter, torch.set_grad_enabled(train):
        out = loaded.model(**loaded.kwargs)
        if train:
            backward(loss_of(out))
    return int(counter.get_total_flops())
