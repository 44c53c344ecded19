"""Policies by name, found through the entry points `hiersim.policies`: built-ins and plug-ins alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

from hiersim.errors import FusionError, nearest
from hiersim.fusion.captured import inductor, xla
from hiersim.fusion.eager import eager
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.trace import Trace

Policy = Callable[[Trace, Design], KernelGraph]
GROUP = "hiersim.policies"
_BUILT_IN: dict[str, Policy] = {"eager": eager, "inductor": inductor, "xla": xla}


@cache
def policies() -> dict[str, Policy]:
    """All policies by name. A broken plug-in is skipped with a warning."""
    from importlib.metadata import entry_points  # slow to import, and not needed for what is built in

    found: dict[str, Policy] = dict(_BUILT_IN)
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
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    found = policies()
    if name not in found:
        raise FusionError(f"'{name}' is not a fusion policy", expected=nearest(name, found))
    return found[name]
