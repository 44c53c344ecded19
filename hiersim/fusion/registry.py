"""Policies by name, found through the entry points `hiersim.policies`: built-ins and plug-ins alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Final

from hiersim.errors import FusionError, nearest
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.trace import Trace

Policy = Callable[[Trace, Design], KernelGraph]
GROUP = "hiersim.policies"
BUILT_IN: Final = {
    "attention": "hiersim.fusion.attention:attention",
    "depth-first": "hiersim.fusion.depth_first:depth_first",
    "eager": "hiersim.fusion.eager:eager",
    "epilogue": "hiersim.fusion.epilogue:epilogue",
    "inductor": "hiersim.fusion.inductor.policy:inductor",
    "inductor-rules": "hiersim.fusion.inductor.policy:inductor_rules",
    "optimal": "hiersim.fusion.optimal:optimal",
    "ort": "hiersim.fusion.captured:ort",
    "pointwise": "hiersim.fusion.pointwise:pointwise",
    "xla": "hiersim.fusion.captured:xla",
}
"""The entry points of this package, imported when they are asked for."""


@cache
def policies() -> dict[str, Policy]:
    """All policies by name. A broken plug-in is skipped with a warning."""
    from importlib.metadata import entry_points  # slow to import, and not needed for what is built in

    found: dict[str, Policy] = {name: _built_in(name) for name in BUILT_IN}
    for point in entry_points(group=GROUP):
        if point.name in found:
            continue
        try:
            found[point.name] = point.load()
        except Exception as error:  # a plug-in may fail in any way; the tool goes on without it
            warnings.warn(f"fusion policy '{point.name}' of {point.value} cannot be loaded: {error}", stacklevel=2)
    return dict(sorted(found.items()))


def policy(name: str) -> Policy:
    """The policy of that name.

    Raises
    ------
    FusionError
        With the nearest valid name.
    """
    if name in BUILT_IN:
        return _built_in(name)
    found = policies()
    if name not in found:
        raise FusionError(f"'{name}' is not a fusion policy", expected=nearest(name, found))
    return found[name]


@cache
def _built_in(name: str) -> Policy:
    module, _, function = BUILT_IN[name].partition(":")
    found: Policy = getattr(import_module(module), function)
    return found
