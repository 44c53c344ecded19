"""Runs by two figures of which less is better, and the front of those that no other beats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hiersim.errors import HiersimError, nearest
from hiersim.results import Result
from hiersim.views.tables import headings

AXES: Final[Mapping[str, tuple[str, str, Callable[[Result], float | None]]]] = {
    "time": ("time", "s", lambda result: result.time),
    "memory_cost": ("memory cost in $", "", lambda result: result.memory_cost["total"]),
    "home_bytes": ("bytes at the last tier", "B", lambda result: int(result.home_bytes)),
    "kernels": ("kernels", "", lambda result: len(result.program)),
}
"""Name → label, unit that takes a prefix, and value; less is better of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run by its two figures."""

    label: str
    x: float
    y: float
    best: bool
    """Whether no other run beats it in both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pareto:
    """Runs, and their front from the least x on."""

    x_label: str
    y_label: str
    x_unit: str
    """What takes a prefix, `s` or `B`; empty for plain numbers."""
    y_unit: str
    runs: tuple[Run, ...]
    front: tuple[tuple[float, float], ...]


def pareto(results: Sequence[Result], x: str, y: str) -> Pareto:
    """Runs that have both figures.

    Raises
    ------
    HiersimError
        Unknown figure, or no run that has both.
    """
    for name in (x, y):
        if name not in AXES:
            raise HiersimError(f"'{name}' cannot be an axis", expected=nearest(name, AXES))
    points = [
        (of_x, of_y, index)
        for index, result in enumerate(results)
        if (of_x := AXES[x][2](result)) is not None and (of_y := AXES[y][2](result)) is not None
    ]
    if not points:
        raise HiersimError(f"no run has both {x} and {y}", expected="designs with prices")
    labels = [heading.replace("\n", ", ") for heading in headings(results)]
    front = pareto_front(points)
    return Pareto(
        x_label=AXES[x][0],
        y_label=AXES[y][0],
        x_unit=AXES[x][1],
        y_unit=AXES[y][1],
        runs=tuple(Run(label=labels[p[2]], x=p[0], y=p[1], best=p in front) for p in points),
        front=tuple((point[0], point[1]) for point in front),
    )


def pareto_front(points: Sequence[tuple[Any, Any, int]]) -> list[tuple[Any, Any, int]]:
    """Points that no other beats: from the least x, each with a smaller y than all before it."""
    front: list[tuple[Any, Any, int]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front
