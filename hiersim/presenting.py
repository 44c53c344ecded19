"""How values draw themselves without knowing the views: by the name of a function that is imported when it is called.

The core stays free of presentation, as the layers want it; `help(Result.plot_roofline)` still tells what there is.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def drawn_by(place: str, meaning: str) -> Callable[..., Any]:
    """A method that hands its instance and arguments to the function at `place`.

    Parameters
    ----------
    place : str
        `package.module:function`, as entry points write it.
    meaning : str
        The method's docstring.
    """
    module, _, name = place.partition(":")

    def draw(self: Any, *args: Any, **options: Any) -> Any:
        return getattr(import_module(module), name)(self, *args, **options)

    draw.__doc__ = f"{meaning}\n\nSee `{module}.{name}`."
    draw.__name__ = name
    return draw
