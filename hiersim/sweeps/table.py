"""`Sweep`: all points of a sweep as one immutable table with labelled axes."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from hiersim.errors import HiersimError, MissingExtraError, nearest
from hiersim.model.metrics import LABELS, METRICS
from hiersim.model.operators import IntArray
from hiersim.results import SCHEMA
from hiersim.sweeps.axes import DESIGN, FUSION, LAUNCH, TRACE, WORDS, WORKLOAD
from hiersim.sweeps.columns import Array, Columns, arranged, cells, sealed, taken
from hiersim.sweeps.grid import Axis, Grid, grid_of
from hiersim.sweeps.pareto import pareto_front
from hiersim.sweeps.rows import ERROR, POINT, expanded, unit_of, word_of

WAYS: Final = ("lower", "higher")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Sweep:
    """Points of a grid with their results: all of them, or those that were selected."""

    grid: Grid
    """Every axis with all its values."""
    columns: Mapping[str, Array]
    """Name → one value per row: `point`, the axes, the figures of results, and `error`; masked where there is none."""
    about: Mapping[str, Any]
    """What was run: version, engine, launch, set, variant, traces and designs with their SHA-256."""

    def __len__(self) -> int:
        return len(self.points)

    @property
    def points(self) -> IntArray:
        """Number of each row's point in the grid."""
        return self.columns[POINT]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """What was varied, slowest first; trace, design and fusion are always among them."""
        return self.grid.axes

    @property
    def failed(self) -> Sweep:
        """Rows of points that could not be run; their `error` says why."""
        return self._taken(np.flatnonzero([text is not None for text in self.columns[ERROR]]))

    def name(self, word: str) -> str:
        """The column that a word stands for: its name, `time`, `memory_cost`, `energy`, or a group with one column.

        Raises
        ------
        HiersimError
            No column, or several; with the nearest name.
        """
        key = word.strip()
        label = LABELS.get(key.replace("_", " "), key)
        for found in (key, label, f"{label}.total", f"{label}.overall", f"{key}_usd.total", f"{key}_j.total"):
            if found in self.columns:
                return found
        inside = [name for name in self.columns if name.startswith(f"{label}.")]
        if len(inside) == 1:
            return inside[0]
        if inside:
            raise HiersimError(f"'{word}' is several columns", expected=f"one of {', '.join(inside[:8])}")
        raise HiersimError(f"'{word[:100]}' is not a column of this sweep", expected=nearest(key, self.columns))

    def values(self, word: str) -> Array:
        """One column: whole numbers where no row lacks one, else floating-point ones with NaN; texts as they are.

        `traffic_bytes.hbm` is the sum of what is read and written there.
        """
        both = [self.columns.get(f"{word}.{way}") for way in ("read", "write")]
        found = both[0] + both[1] if both[0] is not None and both[1] is not None else self.columns[self.name(word)]
        if not np.ma.isMA(found):
            return found
        return np.where(np.ma.getmaskarray(found), np.nan, np.ma.getdata(found).astype(np.float64))

    def unit(self, word: str) -> str:
        """Unit of a column; empty for text and plain numbers."""
        name = word if f"{word}.read" in self.columns else self.name(word)
        axis = self.grid.axis(name)
        return axis.unit if axis else unit_of(name)

    def better(self, word: str) -> str:
        """`lower` or `higher`: which way a column is better; empty where neither is."""
        name = word if f"{word}.read" in self.columns else self.name(word)
        metric = METRICS.get(word_of(name))
        return metric.better if metric and self.grid.axis(name) is None else ""

    def select(self, where: Mapping[str, Any] | None = None, **names: Any) -> Sweep:
        """Rows with these values on these axes: `select({"memory.l2.capacity": "2 MiB"}, fusion="eager")`.

        Parameters
        ----------
        where, names : axis → value
            A value as it was written or in base units, or several of them in a list, tuple or set.

        Raises
        ------
        HiersimError
            An axis or a value that this sweep does not have.
        """
        chosen = np.ones(len(self), np.bool_)
        at = self._positions()
        for name, wanted in {**(where or {}), **names}.items():
            if name not in at:
                raise HiersimError(f"'{name}' is not an axis of this sweep", expected=nearest(name, at))
            axis = self.grid.axis(name)
            assert axis is not None
            several = isinstance(wanted, Collection) and not isinstance(wanted, str)
            chosen &= np.isin(at[name], [_position(axis, value) for value in (wanted if several else [wanted])])
        return self._taken(np.flatnonzero(chosen))

    def pareto(self, *objectives: str) -> Sweep:
        """The rows that no other row beats in every objective.

        Parameters
        ----------
        objectives : str
            Columns whose better way is declared, or `NAME:lower`, `NAME:higher`.

        Examples
        --------
        ``sweep.pareto("time", "memory_cost")``
        """
        if not objectives:
            raise HiersimError("a Pareto front needs objectives", expected="columns, as in time, memory_cost")
        names, ways = zip(*(self._objective(text) for text in objectives), strict=True)
        values = np.stack([np.asarray(self.values(name), np.float64) for name in names], axis=1)
        return self._taken(np.flatnonzero(pareto_front(values, ways)))

    def _objective(self, text: str) -> tuple[str, str]:
        """Column and direction."""
        word, _, way = text.partition(":")
        name, way = word.strip(), way.strip() or self.better(word.strip())
        if way not in WAYS:
            problem = f"'{way}' is no direction of '{name}'" if way else f"'{name}' has no better way"
            raise HiersimError(problem, expected=f"{name}:lower or {name}:higher")
        if self.values(name).dtype == object:
            raise HiersimError(f"'{name}' is text", expected="a column of numbers")
        return name, way

    def _positions(self) -> dict[str, IntArray]:
        """Axis → where each row lies along it."""
        found: dict[str, IntArray] = {}
        for axes, positions in zip(self.grid.dimensions, self.grid.positions(self.points), strict=True):
            found.update((axis.name, positions) for axis in axes)
        return found

    def _taken(self, rows: IntArray) -> Sweep:
        return replace(self, columns=sealed(taken(self.columns, rows)))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every row in the JSON form of a result; a point that could not be run has its `error` instead of figures."""
        return [self.result(row) for row in range(len(self))]

    def result(self, row: int) -> dict[str, Any]:
        """One row in the JSON form of a result."""
        found = cells(self.columns, row)
        given = self.grid.given(found.pop(POINT))
        for axis in self.axes:
            found.pop(axis.name, None)
        design = given[DESIGN]
        figures = expanded(found, self.about["designs"][design]["places"])
        paths = {path: str(value) for path, value in given.items() if path not in (TRACE, DESIGN, *WORDS)}
        workload = {name: value for name, value in given.items() if name in WORKLOAD}
        return {
            "schema": SCHEMA,
            "trace": given[TRACE],
            "design": design,
            "fusion": given[FUSION],
            "launch": given.get(LAUNCH, self.about["launch"]),
            "set": {**self.about["set"], **paths},
            **({"workload": workload} if workload else {}),
            **figures,
        }

    def to_dict(self) -> dict[str, Any]:
        """`{"rows": [result, …]}`."""
        return {"rows": self.rows}

    def to_json(self) -> str:
        """The same as text; the same sweep gives the same bytes."""
        return json.dumps(self.to_dict(), sort_keys=True, indent=1, allow_nan=False)

    def to_pandas(self) -> Any:
        """A pandas DataFrame: one row per point, one column per axis and figure, empty where there is none."""
        try:
            import pandas
        except ImportError:
            raise MissingExtraError("Sweep.to_pandas", "pandas", "sweep") from None
        frame = pandas.DataFrame({name: _series(pandas, values) for name, values in self.columns.items()})
        frame.attrs = {"hiersim": dict(self.about)}
        return frame

    def to_xarray(self) -> Any:
        """An xarray Dataset: a dimension for each axis with several values, every figure with its unit and meaning."""
        from hiersim.sweeps.labelled import dataset

        return dataset(self)

    def to_parquet(self, path: str | Path) -> None:
        """One Parquet file, with units and meanings in the fields' metadata and what was run in the file's."""
        from hiersim.sweeps.folder import write_whole

        write_whole(Path(path), self.parquet())

    def parquet(self) -> bytes:
        """The bytes of that file."""
        from hiersim.sweeps.parquet import encoded

        return encoded(self.columns, self.about, {axis.name: axis.unit for axis in self.axes})

    def to_netcdf(self, path: str | Path) -> None:
        """One netCDF file of `to_xarray`."""
        from hiersim.sweeps.labelled import write_netcdf

        write_netcdf(self, Path(path))

    def to_csv(self, path: str | Path) -> None:
        """One CSV file; empty cells where there is no value."""
        import csv
        import io

        from hiersim.sweeps.folder import write_whole

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(cells(self.columns, row).values() for row in range(len(self)))
        write_whole(Path(path), text.getvalue().encode())

    def __repr__(self) -> str:
        shown = ", ".join(f"{axis.name} {len(axis)}" for axis in self.axes)
        lost = len(self.failed)
        return f"Sweep({len(self):,} points: {shown}{f'; {lost:,} could not be run' if lost else ''})"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(repr(self))}</p>"


def sweep_of(columns: Columns, grid: Grid, about: Mapping[str, Any]) -> Sweep:
    """The sweep of these columns, in whatever order their rows are."""
    return Sweep(grid=grid, columns=sealed(arranged(columns, grid)), about=about)


def load_sweep(path: str | Path) -> Sweep:
    """The sweep in a folder that `hiersim sweep` filled, or in a Parquet file of one.

    Raises
    ------
    HiersimError
        Nothing there, not finished, or damaged.
    """
    from hiersim.sweeps.folder import PARTS, RESULTS, read_manifest
    from hiersim.sweeps.parquet import decoded

    place = Path(path)
    file = place
    if not place.is_file():
        read_manifest(place)
        file = place / RESULTS
        if not file.exists() and (place / PARTS).exists():
            raise HiersimError("is not finished", file=str(path), expected=f"hiersim sweep --resume {path}")
    columns, about = decoded(file, str(file))
    if POINT not in columns or not {"grid", "designs", "launch", "set"} <= set(about):
        raise HiersimError("is no sweep", file=str(file), expected="a Parquet file that hiersim wrote")
    return Sweep(grid=grid_of(about["grid"]), columns=sealed(columns), about=about)


def _position(axis: Axis, value: Any) -> int:
    """Where a value lies on an axis, as it was written, in base units, or in another unit."""
    value = value.item() if hasattr(value, "item") else value
    for known in (axis.given, axis.values, axis.labels):
        if value in known:
            return list(known).index(value)
    if isinstance(value, str) and axis.unit:
        from hiersim.sweeps.ranges import base_units

        number = base_units(value)
        if number is not None and number in axis.values:
            return axis.values.index(number)
    raise HiersimError(f"{value!r} is no value of this axis", key=axis.name, expected=nearest(str(value), axis.labels))


def _series(pandas: Any, values: Array) -> Any:
    if not np.ma.isMA(values):
        return values
    data, mask = np.ma.getdata(values).copy(), np.ma.getmaskarray(values).copy()
    if data.dtype.kind == "f":
        data[mask] = np.nan
        return data
    return pandas.arrays.IntegerArray(data, mask)
