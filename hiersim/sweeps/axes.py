"""What may be varied, read and checked: any value of a design, the workload's options, policy and launch mode."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from typing import Any, Final

from hiersim.errors import DesignError, HiersimError, UnitError, nearest
from hiersim.fusion.registry import policy
from hiersim.lowering.host import check_launch
from hiersim.model.design import Design
from hiersim.model.design_changes import leaf
from hiersim.model.trace import Trace
from hiersim.sweeps.grid import Axis, Grid, Scalar
from hiersim.sweeps.ranges import MAX_VALUES, listed
from hiersim.units import QUANTITIES, factor_of

TRACE, DESIGN, FUSION, LAUNCH = "trace", "design", "fusion", "launch"
WORKLOAD: Final = ("weights", "batch", "context", "tokens")
"""Options of `hiersim.variant`."""
WORDS: Final = (*WORKLOAD, FUSION, LAUNCH)
"""What is varied by one word; everything else is a path of the design."""
ORDER: Final = (TRACE, WORKLOAD, DESIGN, FUSION, LAUNCH)
"""Slowest first, then paths of the design as they were given: what is dear to change changes seldom."""
MAX_POINTS: Final = 100_000_000
Dimensions = Sequence[Mapping[str, Sequence[Any]]]
"""Per dimension of a grid: axis → values; several axes are paired."""
Vary = Mapping[str | tuple[str, ...], Any]
"""Axis → its values: a text as on the command line, or a sequence. Several axes → tuples of as many values."""

_TOKENS: Final = re.compile(r"([0-9]{1,10})(?::([0-9]{1,10}))?", re.ASCII)


def normalized(vary: Vary, zipped: bool = False) -> list[dict[str, list[Any]]]:
    """Dimensions as lists of values; `zipped` pairs all axes of `vary`.

    Raises
    ------
    HiersimError
        An empty axis, one that is there twice, or paired axes of different lengths.
    """
    dimensions: list[dict[str, list[Any]]] = []
    for key, values in vary.items():
        if isinstance(key, str):
            dimensions.append({key.strip(): _listed(key, values)})
        else:
            dimensions.append(_unpaired(key, values))
    if zipped and dimensions:
        dimensions = [{name: values for dimension in dimensions for name, values in dimension.items()}]
    names = [name for dimension in dimensions for name in dimension]
    for name in names:
        if names.count(name) > 1:
            raise HiersimError("is varied twice", key=name, expected="each axis once")
    for dimension in dimensions:
        _check_pairs(dimension)
    return dimensions


def _listed(key: str, values: Any) -> list[Any]:
    """The values of one axis as plain Python values."""
    if isinstance(values, str):
        try:
            found: list[Any] = list(listed(values))
        except UnitError as error:
            raise DesignError(error.problem, key=key, expected=error.expected) from None
    elif isinstance(values, Iterable) and not isinstance(values, Mapping | bytes):
        found = [value.item() if hasattr(value, "item") else value for value in values]
    else:
        found = [values]
    if not found:
        raise HiersimError("has no values", key=key, expected="at least one")
    if len(found) > MAX_VALUES:
        raise HiersimError(f"has {len(found):,} values", key=key, expected=f"at most {MAX_VALUES:,}")
    return found


def _unpaired(names: Sequence[str], rows: Any) -> dict[str, list[Any]]:
    """`{("a", "b"): [(1, 2), (3, 4)]}` as one list per axis."""
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for row in rows:
        if isinstance(row, str) or not isinstance(row, Sequence) or len(row) != len(names):
            raise HiersimError(f"{row!r} is no pair", key=", ".join(names), expected=f"{len(names)} values together")
        for name, value in zip(names, row, strict=True):
            columns[name].append(value)
    return {name: _listed(name, values) for name, values in columns.items()}


def _check_pairs(dimension: Mapping[str, list[Any]]) -> None:
    """Paired axes have equally many values."""
    (first, values), *others = dimension.items()
    for name, more in others:
        if len(more) != len(values):
            problem = f"has {len(more)} values, '{first}' has {len(values)}"
            raise HiersimError(problem, key=name, expected="as many, since they are paired")


def grid_of_sweep(
    traces: Sequence[Trace], designs: Sequence[Design], fusion: Sequence[str], dimensions: Dimensions
) -> Grid:
    """The grid of a sweep: traces and designs, policies, and what is varied; every value checked by itself.

    Raises
    ------
    HiersimError
        A path that no design has, a value of the wrong unit, a value or a name that is there twice, or no points.
    """
    found: list[tuple[Axis, ...]] = [
        (_named(TRACE, [trace.name for trace in traces]),),
        (_named(DESIGN, [design.name for design in designs]),),
    ]
    varied = {name for dimension in dimensions for name in dimension}
    if FUSION not in varied:
        found.append((_fusions(list(fusion), traces),))
    for dimension in dimensions:
        found.append(tuple(_axis(name, values, traces, designs) for name, values in dimension.items()))
    for axes in found:
        if len(axes) == 1:
            _check_distinct(axes[0])
        else:
            _check_distinct_pairs(axes)
    grid = Grid(dimensions=tuple(sorted(found, key=lambda axes: min(_rank(axis.name) for axis in axes))))
    if len(grid) > MAX_POINTS:
        raise HiersimError(f"the sweep has {len(grid):,} points", expected=f"at most {MAX_POINTS:,}")
    return grid


def _rank(name: str) -> int:
    for rank, names in enumerate(ORDER):
        if name == names or (isinstance(names, tuple) and name in names):
            return rank
    return len(ORDER)


def _named(what: str, names: Sequence[str]) -> Axis:
    if not names:
        raise HiersimError(f"there is no {what}", expected=f"at least one {what}")
    for name in names:
        if names.count(name) > 1:
            raise HiersimError(
                f"two are named '{name}'", key=what, expected="different names, by which rows are told apart"
            )
    return Axis(name=what, given=tuple(names), values=tuple(names))


def _axis(name: str, values: Sequence[Any], traces: Sequence[Trace], designs: Sequence[Design]) -> Axis:
    if name == FUSION:
        return _fusions(values, traces)
    if name == LAUNCH:
        return Axis(name=name, given=tuple(values), values=tuple(check_launch(str(value)) for value in values))
    if name in WORKLOAD:
        return _workload(name, values)
    if name in ("name", "title") or ("." not in name and name not in {item.name for item in fields(Design)}):
        paths = [*WORDS, "compute", "memory", "links", "host", "placement"]
        raise DesignError("is nothing that can be varied", key=name, expected=nearest(name, paths))
    return _path(name, values, designs)


def _fusions(values: Sequence[Any], traces: Sequence[Trace]) -> Axis:
    """Policies, or names of schedules and groupings that every trace carries."""
    for value in values:
        missing = [trace for trace in traces if value not in trace.groupings and value not in trace.schedules]
        if missing:
            policy(str(value))
    names = tuple(str(value) for value in values)
    return Axis(name=FUSION, given=names, values=names)


def _workload(name: str, values: Sequence[Any]) -> Axis:
    """Numbers of sequences and positions; formats of weights; tokens with their stride."""
    if name == "weights":
        words = tuple(str(value) for value in values)
        return Axis(name=name, given=words, values=words)
    counts: list[int] = []
    for value in values:
        match = _TOKENS.fullmatch(str(value)) if not isinstance(value, bool) else None
        if match is None or (match.group(2) and name != "tokens") or int(match.group(1)) < 1:
            form = "N or N:STRIDE, as in 64:16" if name == "tokens" else "a whole number of at least 1"
            raise HiersimError(f"{value!r} is not valid", key=name, expected=form)
        counts.append(int(match.group(1)))
    if name == "tokens" and any(":" in str(value) for value in values):
        return Axis(name=name, given=tuple(values), values=tuple(str(value) for value in values))
    return Axis(name=name, given=tuple(counts), values=tuple(counts), unit="")


def variant_arguments(name: str, value: Any) -> dict[str, Any]:
    """One value of a workload axis as arguments of `hiersim.variant`."""
    if name != "tokens":
        return {name: value}
    match = _TOKENS.fullmatch(str(value))
    assert match is not None
    return {"tokens": int(match.group(1)), **({"stride": int(match.group(2))} if match.group(2) else {})}


def _path(name: str, values: Sequence[Any], designs: Sequence[Design]) -> Axis:
    """A path of the design: all values are of its type, and every design has it."""
    factors = [factor_of(value) for value in values]
    relative = any(factor is not None for factor in factors)
    if relative and None in factors:
        raise DesignError("mixes multiples and values", key=name, expected="either 2x, 4x or 2 MiB, 4 MiB")
    for design in designs:
        try:
            leaves = [leaf(design, name, value) for value in values]
        except HiersimError as error:
            file = f"design {design.name}" if len(designs) > 1 else None
            raise DesignError(error.problem, file=file, key=error.key or name, expected=error.expected) from None
    if relative:
        return Axis(name=name, given=tuple(values), values=tuple(float(factor or 0) for factor in factors), unit="x")
    quantity = QUANTITIES.get(leaves[0].kind)
    return Axis(
        name=name, given=tuple(values), values=tuple(_scalar(found.value) for found in leaves),
        unit=quantity.base if quantity else "",
    )  # fmt: skip


def _scalar(value: Any) -> Scalar:
    """A value of a design as a number or text."""
    if isinstance(value, Enum):
        return str(value.value) if isinstance(value.value, str) else value.name.lower()
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, int | float | str) else str(list(value))


def _check_distinct(axis: Axis) -> None:
    seen: dict[Scalar, str] = {}
    for value, label in zip(axis.values, axis.labels, strict=True):
        if value in seen:
            both = (
                f"'{seen[value]}' and '{label}' are the same" if seen[value] != label else f"'{label}' is there twice"
            )
            raise HiersimError(both, key=axis.name, expected="different values")
        seen[value] = label


def _check_distinct_pairs(axes: Sequence[Axis]) -> None:
    """Of paired axes, no two pairs are equal."""
    rows = list(zip(*(axis.values for axis in axes), strict=True))
    if len(set(rows)) < len(rows):
        again = next(row for row in rows if rows.count(row) > 1)
        raise HiersimError(f"{again} is there twice", key=", ".join(a.name for a in axes), expected="different pairs")
