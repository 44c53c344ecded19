"""What a policy says about itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
_MARK = "of_trace_alone"


def of_trace_alone(policy: Function) -> Function:
    """Mark a policy that does not look at the design: its kernels are made once per trace and kept with it.

    A policy without the mark is called for every design.
    """
    setattr(policy, _MARK, True)
    return policy


def is_of_trace_alone(policy: Callable[..., Any]) -> bool:
    """True when the policy carries the mark."""
    return getattr(policy, _MARK, False) is True
