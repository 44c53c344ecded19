"""`timm:` targets: image models of the timm library, without weights, on the meta device."""

from __future__ import annotations

import re
from typing import Any, Final

import torch
from torch import nn

from hiersim.errors import MissingExtraError, TraceError, nearest
from hiersim.frontends.pytorch.torchvision_names import declare_torchvision
from hiersim.frontends.pytorch.workload import Workload
from hiersim.zoo import Builder

PREFIX: Final = "timm:"


def build(target: str, workload: Workload, train: bool) -> tuple[Builder, nn.Module, dict[str, Any]]:
    """The model of a `timm:` target and its images; called under the device that they shall be on."""
    declare_torchvision()
    try:
        import timm
    except ImportError:
        raise MissingExtraError("capture timm:", "timm", "timm") from None
    name = target.removeprefix(PREFIX)
    if not timm.is_model(name.partition(".")[0]):
        raise TraceError(f"'{name}' is not known to timm", expected=nearest(name, timm.list_models()))
    if workload.phase is not None or workload.sequence is not None:
        raise TraceError("image models have no --phase and no --sequence", expected="--batch and --image")
    values = workload.values()
    dtype = getattr(torch, workload.torch_dtype)
    try:
        model, image = _create(timm, name, workload, values)
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise TraceError(f"'{target}' cannot be built: {type(error).__name__}: {text}") from None
    model = model.to(dtype)
    model = model.train() if train else model.eval()
    batch = workload.batch or 8
    channels = int(model.default_cfg.get("input_size", (3,))[0])
    images = torch.zeros(batch, channels, image, image, dtype=dtype)
    builder = Builder(
        name="timm-" + re.sub(r"[^A-Za-z0-9.]+", "-", name) + ("-train" if train else ""),
        function="",
        model=f"timm {name}",
        workload=f"{batch} images of {image} x {image}, " + ("one training step" if train else "inference"),
        dtype=workload.dtype or "bf16",
        train=train,
        bundled=False,
        notes=(f"timm {timm.__version__}; drop path and dropout 0",),
    )
    return builder, model, {next(iter(_parameters(model))): images}


def _create(timm: Any, name: str, workload: Workload, values: dict[str, Any]) -> tuple[Any, int]:
    """The model, built for another image size only where it is asked for: not every model takes one."""
    if workload.image is None:
        model = timm.create_model(name, pretrained=False, **values)
        size = model.default_cfg.get("fixed_input_size") and model.default_cfg["input_size"]
        return model, int((size or model.default_cfg.get("input_size", (3, 224, 224)))[-1])
    try:
        return timm.create_model(name, pretrained=False, img_size=workload.image, **values), workload.image
    except TypeError:  # convolutions take any size
        return timm.create_model(name, pretrained=False, **values), workload.image


def _parameters(model: nn.Module) -> list[str]:
    import inspect

    return list(inspect.signature(model.forward).parameters)
