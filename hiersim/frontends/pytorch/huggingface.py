"""`hf:` targets: architectures of the transformers library from their configuration alone, on the meta device.

A target names a model type (`hf:llama`), a class (`hf:BertForMaskedLM`), a `config.json` or its folder, or a model
whose configuration the local cache holds. Nothing is fetched.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from hiersim.errors import HiersimError, MissingExtraError, TraceError, nearest
from hiersim.frontends.pytorch.hf_inputs import decode_inputs, model_inputs
from hiersim.frontends.pytorch.torchvision_names import declare_torchvision
from hiersim.frontends.pytorch.workload import Workload
from hiersim.zoo import Builder

PREFIX: Final = "hf:"
_HEADS: Final = (
    "SEQ_TO_SEQ_CAUSAL_LM", "SPEECH_SEQ_2_SEQ", "MASKED_LM", "CAUSAL_LM", "IMAGE_CLASSIFICATION", "OBJECT_DETECTION",
    "SEMANTIC_SEGMENTATION", "CTC", "AUDIO_CLASSIFICATION", "IMAGE_TEXT_TO_TEXT", "DEPTH_ESTIMATION",
    "TEXT_TO_WAVEFORM",
)  # fmt: skip
"""Tasks in the order in which a model type without a class is given its head."""


def build(target: str, workload: Workload, train: bool) -> tuple[Builder, nn.Module, dict[str, Any]]:
    """The model of an `hf:` target and its inputs; called under the device that they shall be on."""
    with _one_line(target, "cannot be built"):
        return _build(target, workload, train)


def _build(target: str, workload: Workload, train: bool) -> tuple[Builder, nn.Module, dict[str, Any]]:
    transformers = _library()
    kind, config = _resolve(transformers, target.removeprefix(PREFIX))
    _change(config, workload.values(), target)
    if getattr(kind, "config_class", None) is getattr(config, "sub_configs", {}).get("text_config", ()):
        config = config.get_text_config()  # a language model's own part, as AutoModel takes it
    _quiet(config, train)
    model = kind._from_config(config, dtype=getattr(torch, workload.torch_dtype))
    _settle(model, getattr(torch, workload.torch_dtype))
    model = model.train() if train else model.eval()
    if workload.phase == "decode":
        if train:
            raise TraceError("a training step has no decode phase", expected="--phase prefill, or no --train")
        with _one_line(target, "has no decode phase that a capture knows"):
            kwargs, words = decode_inputs(model, workload)
    else:
        with _one_line(target, "takes inputs that a capture does not make"):
            kwargs, words = model_inputs(model, workload, train)
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"hf-{_short(target)}").strip("-")
    suffix = "train" if train else workload.phase
    return _builder(name if suffix is None else f"{name}-{suffix}", kind, words, workload, train), model, kwargs


def _builder(name: str, kind: Any, words: str, workload: Workload, train: bool) -> Builder:
    from importlib.metadata import version

    step = "one training step with AdamW (foreach)" if train else "inference"
    notes = [f"transformers {version('transformers')}, class {kind.__name__}; dropout 0"]
    return Builder(
        name=name, function="", model=kind.__name__, workload=f"{words}, {workload.phase or step}",
        dtype=workload.dtype or "bf16", train=train, bundled=False, notes=tuple(notes),
    )  # fmt: skip


def _short(target: str) -> str:
    """The target's name without folders: of a configuration file, the folder that it lies in."""
    path = Path(target.removeprefix(PREFIX))
    if path.name == "config.json":
        return path.resolve().parent.name
    return path.stem if path.suffix == ".json" else path.name if path.is_dir() else target.removeprefix(PREFIX)


def _library() -> Any:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("capture hf:", "transformers", "hf") from None
    declare_torchvision()
    return transformers


def _resolve(transformers: Any, name: str) -> tuple[Any, Any]:
    """Class and configuration."""
    known = transformers.CONFIG_MAPPING
    path = Path(name)
    if path.suffix == ".json" or path.is_dir():
        return _from_file(transformers, path / "config.json" if path.is_dir() else path)
    if re.fullmatch(r"[A-Z]\w+", name):
        found: Any = getattr(transformers, name, None)
        if getattr(found, "config_class", None) is not None:
            return found, found.config_class()
    for spelling in (name, name.replace("-", "_"), name.replace("_", "-")):
        if spelling in known:
            config = known[spelling]()
            return _class_for(transformers, config, ()), config
    try:
        config = transformers.AutoConfig.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError, KeyError):
        if re.fullmatch(r"[\w.\-]+/[\w.\-]+", name):
            problem = f"the configuration of '{name}' is not in the local cache, and nothing is fetched"
            wanted = f"`hf download {name} config.json` once, or hf:PATH of its config.json"
            raise TraceError(problem, expected=wanted) from None
        wanted = f"{nearest(name, list(known))}, a class of transformers, a config.json, or a model in its local cache"
        raise TraceError(f"'{name}' is not known to transformers", expected=wanted) from None
    return _class_for(transformers, config, config.architectures or ()), config


def _from_file(transformers: Any, path: Path) -> tuple[Any, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=str(path)) from None
    except ValueError as error:
        raise TraceError(f"is not JSON: {error}", file=str(path)) from None
    kind = found.get("model_type") if isinstance(found, dict) else None
    if not isinstance(kind, str) or kind not in transformers.CONFIG_MAPPING:
        wanted = nearest(str(kind), list(transformers.CONFIG_MAPPING))
        raise TraceError(f"model_type is '{kind}'", file=str(path), key="model_type", expected=wanted)
    with _one_line(str(path), "is no configuration"):
        config = transformers.CONFIG_MAPPING[kind].from_dict(found)
    return _class_for(transformers, config, found.get("architectures") or ()), config


def _class_for(transformers: Any, config: Any, architectures: Iterable[str]) -> Any:
    """The class that the configuration names, or the first head that the model type has."""
    for name in architectures:
        if isinstance(name, str) and hasattr(transformers, name):
            return getattr(transformers, name)
    from transformers.models.auto import modeling_auto as auto

    names = [*(f"MODEL_FOR_{head}_MAPPING_NAMES" for head in _HEADS), "MODEL_MAPPING_NAMES"]
    others = [name for name in vars(auto) if re.fullmatch(r"MODEL_\w+_MAPPING_NAMES", name) and name not in names]
    for mapping in [*names, *others]:
        found = getattr(auto, mapping, {}).get(config.model_type)
        found = found[0] if isinstance(found, tuple | list) else found
        if found is not None:
            return getattr(transformers, found)
    raise TraceError(f"transformers has no model for '{config.model_type}'", expected="a class, as hf:BertModel")


def _change(config: Any, values: dict[str, Any], target: str) -> None:
    for key, value in values.items():
        owner: Any = config
        *path, last = key.split(".")
        for part in path:
            owner = getattr(owner, part, None)
        if owner is None or not hasattr(owner, last):
            known = nearest(last, [name for name in vars(config) if not name.startswith("_")])
            raise TraceError(f"the configuration of '{target}' has no '{key}'", key=key, expected=known)
        before = getattr(owner, last)
        with _one_line(target, f"refuses {key}={value}"):
            setattr(owner, last, value)
        if last.endswith(("layers", "layer", "depth")) and type(before) is type(value) is int and value < before:
            _shorten(owner, before, value)
    _derive(config, {key: value for key, value in values.items() if "." not in key})


def _derive(config: Any, given: dict[str, Any]) -> None:
    """Values that were none, and that the class derives from those that are given now."""
    missing = [name for name, value in vars(config).items() if value is None and name not in given]
    if not given or not missing:
        return
    try:
        derived = type(config)(**given)
    except Exception:  # whatever a class says of its other defaults beside these: nothing is derived
        return
    for name in missing:
        setattr(config, name, getattr(derived, name, None))


def _shorten(config: Any, before: int, after: int) -> None:
    """Lists with an entry for each layer lose those of the layers that are no more."""
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == before and name != "architectures":
            setattr(config, name, value[:after])


def _settle(model: nn.Module, dtype: torch.dtype) -> None:
    """Tensors of `torch.Tensor(…)` heed neither the device nor the element type that is asked for: move them."""
    device = torch.get_default_device()
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.device.type != device.type:
                kept = dtype if parameter.is_floating_point() else parameter.dtype
                moved = parameter.detach().to(device, kept)
                module._parameters[name] = nn.Parameter(moved, requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.device.type != device.type:
                module._buffers[name] = buffer.to(device)


def _configs(config: Any) -> Iterator[Any]:
    yield config
    for key in getattr(config, "sub_configs", {}):
        inner = getattr(config, key, None)
        if inner is not None:
            yield from _configs(inner)


def _quiet(config: Any, train: bool) -> None:
    """Dropout and layer drop 0, and no random masks: captures are deterministic."""
    for part in _configs(config):
        for key, value in list(vars(part).items()):
            if isinstance(value, float) and re.search(r"dropout|_pdrop$|layerdrop|drop_path", key):
                setattr(part, key, 0.0)
            if key == "use_cache":
                part.use_cache = False  # it is asked for where it is wanted
            if key in ("image_token_id", "image_token_index") and value is None:
                setattr(part, key, 0)  # any: tokens have no values here
            if key in ("apply_spec_augment", "mask_time_prob", "mask_feature_prob"):
                setattr(part, key, type(value)(0))


@contextmanager
def _one_line(target: str, what: str) -> Iterator[None]:
    try:
        yield
    except HiersimError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise TraceError(f"'{target}' {what}: {type(error).__name__}: {text}") from None


def as_on_a_device() -> None:
    """Lets masks be skipped under export as eager and compiled runs do; patches this process for good."""
    import transformers.masking_utils as masks

    patched: Any = masks
    patched.is_tracing = lambda tensor=None: False
    patched.is_torchdynamo_exporting = lambda: False
    patched.find_packed_sequence_indices = lambda position_ids: None  # asks for values; there are no packed sequences
