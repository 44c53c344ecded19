"""What was once derived from an immutable value is kept with it, and forgotten with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import numpy as np

P = ParamSpec("P")
T = TypeVar("T")


class Memo:
    """Base of frozen dataclasses whose derived values are dear: `value.derived(make)` makes once and keeps.

    A copy (`dataclasses.replace`, `copy`, `pickle`) starts without them.
    """

    __slots__ = ("__weakref__", "_derived")
    _derived: dict[Any, Any]

    def derived(self, make: Callable[Concatenate[Self, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`make(self, …)`, from the first time that this `make` was asked for; the other arguments must not decide it.

        From then on the columns of this value are read-only: a change in place would leave what was derived
        behind, so that it is refused by NumPy.
        """
        try:
            known = self._derived
        except AttributeError:
            known = {}
            object.__setattr__(self, "_derived", known)
            _seal(self)
        if make not in known:
            known[make] = make(self, *args, **kwargs)
        found: T = known[make]
        return found


def _seal(value: Any) -> None:
    """Make the columns of nested dataclasses read-only."""
    for item in fields(value):
        part = getattr(value, item.name)
        for inner in part.values() if isinstance(part, Mapping) else (part,):
            if isinstance(inner, np.ndarray):
                inner.flags.writeable = False
            elif is_dataclass(inner):
                _seal(inner)
