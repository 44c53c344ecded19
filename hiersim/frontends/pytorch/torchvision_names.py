"""Makes a torchvision that was built for another torch importable: its operators are declared, not defined.

PyPI's torchvision is built for CUDA; beside a CPU build of torch its library does not load, and with it neither timm
nor the vision models of transformers can be imported. A capture needs none of its operators.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any, Final

import torch

_NAMES: Final = (
    "nms qnms roi_align _roi_align_backward roi_pool _roi_pool_backward ps_roi_align _ps_roi_align_backward "
    "ps_roi_pool _ps_roi_pool_backward deform_conv2d _deform_conv2d_backward"
)
_keep: list[Any] = []
"""The registration must outlive this call."""


def declare_torchvision() -> None:
    """Import torchvision where it is installed, with its operators declared if its own library does not load."""
    if _keep or find_spec("torchvision") is None or "torchvision" in sys.modules:
        return
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        make_library: Any = torch.library.Library
        library = make_library("torchvision", "FRAGMENT")
        for name in _NAMES.split():
            library.define(f"{name}(Tensor input) -> Tensor")
        _keep.append(library)
        import torchvision  # noqa: F401
