"""Rows of results as columns: NumPy arrays, masked where a row has no value, in one order that no history changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hiersim.model.operators import IntArray
from hiersim.sweeps.grid import Axis, Grid
from hiersim.sweeps.rows import ERROR, ERROR_CLASS, POINT, Row, kind_of, ordered

Array = npt.NDArray[Any]
"""Numbers, masked where there are none; or Python texts and None."""
Columns = dict[str, Array]


def columns_of(rows: Sequence[Row]) -> Columns:
    """Columns of some rows, in the order in which the rows bring them."""
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return {name: array_of([row.get(name) for row in rows], kind_of(name)) for name in names}


def array_of(cells: Sequence[Any], kind: type) -> Array:
    """One column. Whole numbers that no 64 bits hold become floating-point ones."""
    if kind is str:
        return text_array(cells)
    if None not in cells:
        return _numbers(cells, kind)
    missing = np.array([cell is None for cell in cells])
    return np.ma.MaskedArray(_numbers([0 if cell is None else cell for cell in cells], kind), missing)


def _numbers(cells: Sequence[Any], kind: type) -> Array:
    try:
        return np.array(cells, np.int64 if kind is int else np.float64)
    except OverflowError:
        return np.array(cells, np.float64)


def text_array(cells: Sequence[str | None]) -> Array:
    """Texts, or None."""
    values = np.empty(len(cells), object)
    values[:] = cells
    return values


def joined(parts: Sequence[Columns]) -> Columns:
    """Columns of several parts, one under the other; what a part lacks is masked."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: _stacked([part.get(name) for part in parts], [len(part[POINT]) for part in parts]) for name in names}


def _stacked(pieces: Sequence[Array | None], lengths: Sequence[int]) -> Array:
    """One column of several parts; of whole and floating-point numbers, floating-point ones."""
    kinds = {piece.dtype for piece in pieces if piece is not None}
    blank = None if any(kind.hasobject for kind in kinds) else 0
    found = [
        (np.full(size, blank, next(iter(kinds))), np.ones(size, np.bool_))
        if piece is None
        else (np.ma.getdata(piece), np.ma.getmaskarray(piece))
        for piece, size in zip(pieces, lengths, strict=True)
    ]
    values, masks = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return values if blank is None else _plain(np.ma.MaskedArray(values, masks))


def _plain(values: Array) -> Array:
    """Without a mask that hides nothing; what is hidden is zero."""
    mask = np.ma.getmaskarray(values)
    if not mask.any():
        return np.ma.getdata(values)
    return np.ma.MaskedArray(np.where(mask, 0, np.ma.getdata(values)), mask)


def arranged(columns: Columns, grid: Grid) -> Columns:
    """The columns of a sweep: point, axes, results by the glossary, errors; rows by point, ledgers without holes."""
    order = np.argsort(columns[POINT], kind="stable")
    columns = {name: values[order] for name, values in columns.items()}
    points = columns[POINT]
    size = len(points)
    errors = columns.get(ERROR, np.full(size, None, object))
    failed = np.array([text is not None for text in errors], np.bool_)
    found: Columns = {POINT: points, **axis_columns(grid, points)}
    for name in ordered(name for name in columns if name != POINT and name not in found):
        values = columns[name]
        if name.startswith("ledger.") and np.ma.is_masked(values):
            values = _plain(np.ma.MaskedArray(np.ma.getdata(values), np.ma.getmaskarray(values) & failed))
        found[name] = values
    for name in (ERROR, ERROR_CLASS):
        found.setdefault(name, np.full(size, None, object))
    return found


def axis_columns(grid: Grid, points: IntArray) -> Columns:
    """One column per axis: the value of each point on it."""
    found: Columns = {}
    for axes, positions in zip(grid.dimensions, grid.positions(points), strict=True):
        found.update((axis.name, axis_array(axis)[positions]) for axis in axes)
    return found


def axis_array(axis: Axis) -> Array:
    """The values of one axis."""
    if axis.is_text:
        return text_array([str(value) for value in axis.values])
    return array_of(axis.values, float if any(isinstance(value, float) for value in axis.values) else int)


def cells(columns: Mapping[str, Array], row: int) -> dict[str, Any]:
    """One row as plain Python values, None where there is none."""
    return {name: cell(values, row) for name, values in columns.items()}


def cell(values: Array, row: int) -> Any:
    """One value as plain Python; None where there is none."""
    value = values[row]
    if value is np.ma.masked or value is None:
        return None
    return value.item() if hasattr(value, "item") else value


def sealed(columns: Columns) -> Columns:
    """The same arrays, read-only."""
    for values in columns.values():
        values.flags.writeable = False
    return columns


def taken(columns: Mapping[str, Array], rows: Iterable[int] | IntArray) -> Columns:
    """Some rows."""
    chosen = np.asarray(list(rows) if not isinstance(rows, np.ndarray) else rows, np.int64)
    return {name: _plain(values[chosen]) if np.ma.isMA(values) else values[chosen] for name, values in columns.items()}
