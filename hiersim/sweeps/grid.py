"""The points of a sweep: axes with their values, some of them paired, and their product in one fixed order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from hiersim.model.operators import IntArray

Scalar = str | int | float
"""What labels a point on an axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One thing that is varied."""

    name: str
    """`trace`, `design`, `fusion`, `launch`, an option of the workload (`batch`), or a path of the design."""
    given: tuple[Any, ...]
    """Values as they were written: what is set."""
    values: tuple[Scalar, ...]
    """The same in base units, or as text: what labels tables and arrays."""
    unit: str = ""
    """Base unit of the values; empty for counts, shares and text; `x` for multiples of what a design has."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def labels(self) -> tuple[str, ...]:
        """The values as text, as they were written."""
        return tuple(str(value) for value in self.given)

    @property
    def is_text(self) -> bool:
        """True where the values are no numbers."""
        return any(isinstance(value, str) for value in self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The product of some dimensions, the last one running fastest; a dimension is one axis, or several in pairs."""

    dimensions: tuple[tuple[Axis, ...], ...]

    def __len__(self) -> int:
        return prod(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Values along each dimension."""
        return tuple(len(axes[0]) for axes in self.dimensions)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """All axes, slowest first."""
        return tuple(axis for axes in self.dimensions for axis in axes)

    def axis(self, name: str) -> Axis | None:
        """The axis of that name, where there is one."""
        return next((axis for axis in self.axes if axis.name == name), None)

    def positions(self, points: IntArray) -> tuple[IntArray, ...]:
        """Where each of the points lies along each dimension."""
        return tuple(np.asarray(at, np.int64) for at in np.unravel_index(points, self.shape))

    def at(self, point: int) -> dict[str, int]:
        """Axis → position of one point along it."""
        found: dict[str, int] = {}
        for size, axes in zip(reversed(self.shape), reversed(self.dimensions), strict=True):
            point, position = divmod(point, size)
            found.update((axis.name, position) for axis in axes)
        return found

    def given(self, point: int) -> dict[str, Any]:
        """Axis → value as it was written."""
        return self.values_at(self.at(point))

    def values_at(self, at: Mapping[str, int]) -> dict[str, Any]:
        """Axis → value as it was written, of positions as `at` gives them."""
        return {axis.name: axis.given[at[axis.name]] for axis in self.axes}

    def ends(self) -> Iterator[int]:
        """Points at the ends of each axis, the others at their start: what a check of the values looks at."""
        strides = [prod(self.shape[index + 1 :]) for index in range(len(self.shape))]
        yield 0
        for size, stride in zip(self.shape, strides, strict=True):
            if size > 1:
                yield (size - 1) * stride


def plain_grid(grid: Grid) -> list[dict[str, dict[str, Any]]]:
    """The grid in plain values, for JSON: per dimension, axis → what it has."""
    return [
        {axis.name: {"given": list(axis.given), "values": list(axis.values), "unit": axis.unit} for axis in axes}
        for axes in grid.dimensions
    ]


def grid_of(plain: list[Mapping[str, Mapping[str, Any]]]) -> Grid:
    """The inverse of `plain_grid`."""
    return Grid(
        dimensions=tuple(
            tuple(
                Axis(name=name, given=tuple(item["given"]), values=tuple(item["values"]), unit=item["unit"])
                for name, item in axes.items()
            )
            for axes in plain
        )
    )
