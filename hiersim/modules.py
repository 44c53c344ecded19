"""Kernel rows grouped by the module that issued them: by layer, by part of a layer, or by part of all layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def layer_of(path: str, below: int = 0, merge: bool = False) -> str:
    """The layer that a module belongs to.

    Parameters
    ----------
    path : str
        A module path as `named_modules` gives it; layers are its first numbered part.
    below : int
        Parts kept below the layer: 1 tells attention and feed-forward apart.
    merge : bool
        Write `*` for numbers, so that equal parts of all layers share a name.

    Examples
    --------
    >>> layer_of("model.layers.7.self_attn.q_proj")
    'model.layers.7'
    >>> layer_of("model.layers.7.self_attn.q_proj", below=1, merge=True)
    'model.layers.*.self_attn'
    """
    parts = path.split(".")
    numbered = next((at for at, part in enumerate(parts) if part.isdigit()), None)
    kept = parts if numbered is None else parts[: numbered + 1 + below]
    return ".".join("*" if merge and part.isdigit() else part for part in kept)


def grouped(kernels: Iterable[Mapping[str, Any]], below: int = 0, merge: bool = False) -> list[dict[str, Any]]:
    """Sums of kernel rows by layer, in the order in which the layers first run.

    A fused kernel counts for the module of its first operator. The ticks of all rows add up to those of the kernels.
    """
    found: dict[str, dict[str, Any]] = {}
    for kernel in kernels:
        name = layer_of(kernel["module"], below, merge)
        row = found.setdefault(name, {"module": name, "kernels": 0, "operators": 0})
        row["kernels"] += 1
        row["operators"] += kernel["operators"]
        for key, value in kernel.items():
            if key.endswith("_ticks") and key not in ("start_ticks", "end_ticks"):
                row[key] = row.get(key, 0) + value
    return list(found.values())
