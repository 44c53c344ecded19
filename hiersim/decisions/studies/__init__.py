"""Studies: one question each that people argue about, answered by replays, with the claim beside what was found."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from hiersim.errors import HiersimError, nearest

if TYPE_CHECKING:
    from hiersim.decisions.studies.claims import Study

PLACES: Final = MappingProxyType(
    {
        "waiting": "Do GPUs wait while a transformer is trained eagerly, and what does fusion return?",
        "generations": "P100 to B200: did the bottleneck move from compute to memory?",
        "sram": "A model's weights in SRAM: what would it cost, and what would it return?",
        "hbm": "How large is HBM's share of what an accelerator costs?",
        "compilers": "From eager to compiled: which machine gains most, and why?",
        "serving": "Prefill against decode: what does each want more of?",
    }
)
"""Name → question; each is a module of this package with a function `study`."""


def names() -> tuple[str, ...]:
    """All studies."""
    return tuple(PLACES)


def study(name: str) -> Study:
    """Run the study of that name.

    Raises
    ------
    HiersimError
        With the nearest valid name.
    """
    if name not in PLACES:
        raise HiersimError(f"'{name}' is not a study", expected=nearest(name, PLACES))
    run: Callable[[], Study] = import_module(f"{__name__}.{name.replace('-', '_')}").study
    return run()
