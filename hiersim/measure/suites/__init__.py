"""The suites of `hiersim measure kernels`, by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from hiersim.errors import MeasurementError, nearest

if TYPE_CHECKING:
    from hiersim.measure.recipe import Recipe
    from hiersim.measure.suites.host import Probe

SUITES: Final = {
    "launch": "host:launch",
    "stream": "pointwise:stream",
    "pointwise": "pointwise:pointwise",
    "reduction": "reductions:reduction",
    "gemm": "products:gemm",
    "attention": "attention:attention",
    "transfer": "host:transfer",
    "bmm": "products:bmm",
    "gather": "movement:gather",
    "copy": "movement:copy",
    "conv": "products:conv",
    "vision": "movement:vision",
    "fusion": "fusions:fusion",
}
"""Name -> module and function."""
GOLDEN: Final = (5**0.5 - 1) / 2


def cases_of(suites: Sequence[str]) -> list[Recipe | Probe]:
    """All cases of some suites (none: of all), each once, in the order in which they are worth measuring.

    Raises
    ------
    MeasurementError
        There is no such suite.
    """
    for suite in suites:
        if suite not in SUITES:
            raise MeasurementError(f"'{suite}' is not a suite", key="--suite", expected=nearest(suite, SUITES))
    found: dict[str, Any] = {}
    for suite in SUITES:
        if suite in suites or not suites:
            for case in sorted(_function(suite)(), key=lambda case: case.rank):
                found.setdefault(case.case, case)
    return _spread(list(found.values()))


def _spread(cases: list[Any]) -> list[Any]:
    """By rank; inside a rank so that a run that is cut anywhere has seen something of all suites and sizes.

    The place of the n-th case of a suite is the fractional part of n × golden ratio, which fills an interval evenly.
    """
    counts: Counter[tuple[str, int]] = Counter()
    places = []
    for order, case in enumerate(cases):
        counts[case.suite, case.rank] += 1
        places.append((case.rank, counts[case.suite, case.rank] * GOLDEN % 1.0, order))
    return [cases[order] for _, _, order in sorted(places)]


def _function(suite: str) -> Callable[[], Iterator[Any]]:
    module, _, name = SUITES[suite].partition(":")
    function: Callable[[], Iterator[Any]] = getattr(import_module(f"hiersim.measure.suites.{module}"), name)
    return function
