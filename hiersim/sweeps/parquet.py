"""Columns as Parquet, and back: the same columns give the same bytes; every page carries its checksum."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from hiersim.errors import HiersimError, MissingExtraError
from hiersim.model.metrics import METRICS
from hiersim.sweeps.columns import Array, Columns, text_array
from hiersim.sweeps.rows import unit_of, word_of

KEY: Final = "hiersim"
"""Of the file's metadata: what was run, as JSON."""
ROW_GROUP: Final = 65_536
_WHOLE: Final[dict[str, bool]] = {"write_page_checksum": True}
_BRIEF: Final[dict[str, bool]] = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
"""A part is read once, and named by the checksum of all its bytes."""


def arrow() -> Any:
    """The module `pyarrow`."""
    try:
        import pyarrow
    except ImportError:
        raise MissingExtraError("keeping a sweep in files", "pyarrow", "sweep") from None
    return pyarrow


def encoded(
    columns: Mapping[str, Array], about: Mapping[str, Any] | None = None, units: Mapping[str, str] | None = None
) -> bytes:
    """A Parquet file.

    Parameters
    ----------
    columns : mapping of name to array
        All of one length.
    about : mapping, optional
        What was run, for the file's metadata; with it every field says its unit and meaning.
    units : mapping, optional
        Units of columns that are axes.
    """
    pa = arrow()
    from pyarrow import parquet

    fields, arrays = [], []
    for name, values in columns.items():
        array = _array(pa, values)
        fields.append(pa.field(name, array.type, metadata=_meaning(name, units) if about is not None else None))
        arrays.append(array)
    metadata = {KEY: json.dumps(about, sort_keys=True)} if about is not None else None
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))
    sink = io.BytesIO()
    form = _BRIEF if about is None else _WHOLE
    parquet.write_table(table, sink, row_group_size=ROW_GROUP, compression="zstd", **form)
    return sink.getvalue()


def _array(pa: Any, values: Array) -> Any:
    if values.dtype == object:
        return pa.array(values.tolist(), pa.string())
    mask = np.ma.getmaskarray(values) if np.ma.isMA(values) else None
    return pa.array(np.ma.getdata(values), mask=mask)


def _meaning(name: str, units: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata of one field: unit, meaning, and which way is better, where these are known."""
    if units is not None and name in units:
        return {"unit": units[name], "axis": "true"}
    word = METRICS.get(word_of(name))
    found = {"unit": unit_of(name), "meaning": word.meaning if word else "", "better": word.better if word else ""}
    return {key: text for key, text in found.items() if text}


def decoded(source: Any, name: str) -> tuple[Columns, dict[str, Any]]:
    """Columns and metadata of a Parquet file.

    Parameters
    ----------
    source : path or bytes
        What to read.
    name : str
        How to call it in messages.

    Raises
    ------
    HiersimError
        When it is no Parquet file, or a page's checksum is wrong.
    """
    pa = arrow()
    from pyarrow import parquet

    file = pa.BufferReader(source) if isinstance(source, bytes) else str(source)
    try:
        table = parquet.ParquetFile(file, page_checksum_verification=True).read(use_threads=False)
        about = json.loads((table.schema.metadata or {}).get(KEY.encode(), b"null"))
        columns = {field.name: _values(pa, table.column(field.name)) for field in table.schema}
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise HiersimError(f"cannot be read: {reason}", file=name, expected="a Parquet file of a sweep") from None
    return columns, about if isinstance(about, dict) else {}


def _values(pa: Any, column: Any) -> Array:
    if pa.types.is_string(column.type):
        return text_array(column.to_pylist())
    if not column.null_count:
        return np.array(column.to_numpy())
    array = pa.concat_arrays(column.chunks)
    mask = np.asarray(array.is_null().to_numpy(zero_copy_only=False), np.bool_)
    values = np.asarray(array.fill_null(0).to_numpy(zero_copy_only=False)).copy()
    return np.ma.MaskedArray(values, mask)
