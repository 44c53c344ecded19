"""A sweep as an xarray Dataset with labelled axes, and as a netCDF file."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from hiersim.errors import MissingExtraError
from hiersim.model.metrics import METRICS
from hiersim.model.operators import IntArray
from hiersim.sweeps.columns import Array, axis_array
from hiersim.sweeps.folder import guarded
from hiersim.sweeps.grid import Axis
from hiersim.sweeps.rows import POINT, unit_of, word_of
from hiersim.sweeps.table import Sweep


def dataset(sweep: Sweep) -> Any:
    """The Dataset.

    An axis with several values is a dimension; one with a single value is a scalar coordinate. Of paired axes the first
    names the dimension. Points that were not selected, or could not be run, are NaN.
    """
    try:
        import xarray
    except ImportError:
        raise MissingExtraError("Sweep.to_xarray", "xarray", "sweep") from None
    names, shape, index, coordinates = _frame(sweep)
    figures = {}
    for name, values in sweep.columns.items():
        if name != POINT and name not in coordinates:
            figures[name] = (names, _spread(values, shape, index), _attributes(name))
    about = {"hiersim": json.dumps(dict(sweep.about), sort_keys=True)}
    return xarray.Dataset(figures, coords=coordinates, attrs=about)


def _frame(sweep: Sweep) -> tuple[list[str], list[int], tuple[IntArray, ...], dict[str, Any]]:
    """Names and lengths of the dimensions, where each row lies along them, and the coordinates."""
    names, shape, index, coordinates = [], [], [], {}
    for axes, positions in zip(sweep.grid.dimensions, sweep.grid.positions(sweep.points), strict=True):
        used, at = np.unique(positions, return_inverse=True)
        single = len(used) == 1
        for axis in axes:
            values = _portable(axis_array(axis)[used])
            coordinates[axis.name] = ((), values[0], _unit(axis)) if single else (axes[0].name, values, _unit(axis))
        if not single:
            names.append(axes[0].name)
            shape.append(len(used))
            index.append(at)
    return names, shape, tuple(index), coordinates


def _unit(axis: Axis) -> dict[str, str]:
    return {"units": axis.unit} if axis.unit else {}


def _attributes(name: str) -> dict[str, str]:
    """Unit and meaning of a figure, by the names that plots of xarray use."""
    word = METRICS.get(word_of(name))
    found = {"units": unit_of(name), "long_name": name, "description": word.meaning if word else ""}
    return {key: text for key, text in found.items() if text}


def _spread(values: Array, shape: list[int], index: tuple[IntArray, ...]) -> Array:
    """A column over the dimensions."""
    full = int(np.prod(shape)) == len(values)
    data = np.ma.getdata(values)
    if data.dtype == object:
        cube = np.full(shape, "", object)
        data = _portable(values)
    elif full and not np.ma.is_masked(values):
        cube = np.zeros(shape, data.dtype)
    else:
        cube = np.full(shape, np.nan)
        data = np.where(np.ma.getmaskarray(values), np.nan, data)
    cube[index] = data if shape else data[0]
    return cube


def _portable(values: Array) -> Array:
    """Texts without None, which no file form has."""
    if values.dtype != object:
        return np.ma.getdata(values)
    return np.array(["" if value is None else value for value in values], object)


def write_netcdf(sweep: Sweep, path: Path) -> None:
    """One netCDF-4 file, complete or not there."""
    made = dataset(sweep)
    try:
        import h5netcdf  # noqa: F401
    except ImportError:
        raise MissingExtraError("a netCDF file", "h5netcdf", "sweep") from None
    draft = path.with_name(f".{path.name}.{os.getpid()}")

    def write() -> None:
        made.to_netcdf(draft, engine="h5netcdf")
        os.replace(draft, path)

    try:
        guarded(path, write)
    finally:
        with suppress(OSError):
            draft.unlink()
