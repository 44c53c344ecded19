"""The compact trace form: a zip of NumPy columns and one JSON header (`.npz`). No pickle, no surprises.

Reading trusts nothing: sizes are summed before anything is unpacked, only the columns that the format
knows are read, only integers are accepted, and the trace is checked before it is returned. Writing is
deterministic: the same trace gives the same bytes.
"""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Hashable, Mapping
from dataclasses import Field, fields
from functools import cache
from pathlib import Path
from typing import Any, Final, cast, get_type_hints

import numpy as np

from hiersim.errors import TraceError, nearest
from hiersim.frontends.integrity import check_trace
from hiersim.model.kernels import Entries, KernelGraph
from hiersim.model.operators import Accesses, IntArray, OperatorTable, TensorTable
from hiersim.model.partition import Partition
from hiersim.model.profile import DeviceProfile
from hiersim.model.regions import Regions
from hiersim.model.trace import CompilerEstimate, OperatorGraph, Trace, TraceHeader

FORMAT: Final = "hiersim-trace"
VERSION: Final = 1
MAX_ELEMENTS: Final = 40 * 10**6
"""Numbers in one trace: about a million operators, 320 MB in memory."""
MAX_HEADER: Final = 8 * 2**20
MAX_LISTS: Final = 500_000
"""Opening brackets in the header: each takes some 100 bytes of memory."""
MAX_FILE: Final = 16 * 2**20
"""Bytes on disk: bounds the entries that a directory of an archive may list."""
_TABLES: Final = {"tensors": TensorTable, "operators": OperatorTable, "reads": Accesses, "writes": Accesses}
_OPTIONAL: Final[Mapping[str, type[Any]]] = {"regions": Regions, "entries": Entries}
"""Tables that a part may lack."""
_NPY_MAGIC: Final = b"\x93NUMPY"
_NPY_HEADER: Final = re.compile(
    rb"\x93NUMPY\x01\x00(?s:(..))"
    rb"\{'descr': '(\|i1|<i2|<i4|<i8)', 'fortran_order': False, 'shape': \((0|[1-9]\d{0,8}),\), \} *\n"
)
"""What `save_trace` writes before a column; any other header is left to NumPy."""
_UNREADABLE: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError, OverflowError,
    struct.error, MemoryError,
)  # fmt: skip
"""What zipfile and zlib raise at broken archives."""


def save_trace(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write `trace` to `path`, whole or not at all.

    Raises
    ------
    TraceError
        There is no such folder, or nothing can be written in it.
    """
    header: dict[str, Any] = {"format": FORMAT, "version": VERSION, "header": header_json(trace.header)}
    columns: dict[str, IntArray] = {}
    header["graph"] = _split("graph", trace.graph, columns)
    header["schedules"] = {
        name: _split(f"schedules/{name}", kernels, columns) for name, kernels in sorted(trace.schedules.items())
    }
    if trace.groupings:
        header["groupings"] = {
            name: _split(f"groupings/{name}", made, columns) for name, made in sorted(trace.groupings.items())
        }
    if trace.estimates:
        header["estimates"] = {
            name: _split(f"estimates/{name}", made, columns) for name, made in sorted(trace.estimates.items())
        }
    if trace.measured is not None:
        header["measured"] = _split("measured", trace.measured, columns)
    data = io.BytesIO()
    _write_zip(data, header, columns)
    write_whole(path, data.getvalue())


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that it appears complete or not at all.

    Raises
    ------
    TraceError
        There is no such folder, or nothing can be written in it.
    """
    import tempfile

    target = Path(path)
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".trace-", delete=False) as handle:
            try:
                handle.write(data)
                handle.close()
                os.chmod(handle.name, 0o644)
                os.replace(handle.name, target)
            except BaseException:
                handle.close()
                os.unlink(handle.name)
                raise
    except OSError as error:
        raise TraceError(
            f"cannot be written: {error.strerror}", file=str(path), expected="a folder to write in"
        ) from None


def header_json(header: TraceHeader) -> dict[str, Any]:
    """A header as JSON writes it."""
    return {item.name: getattr(header, item.name) for item in fields(header)}


def stored(value: Any) -> list[Field[Any]]:
    """Fields of a table or its type that a file holds."""
    return [item for item in fields(value) if item.metadata.get("stored", True)]


def _split(prefix: str, value: Any, columns: dict[str, IntArray]) -> dict[str, Any]:
    """Arrays go to `columns` under their path; text stays in the returned JSON."""
    text: dict[str, Any] = {}
    for item in stored(value):
        part = getattr(value, item.name)
        if isinstance(part, np.ndarray):
            columns[f"{prefix}/{item.name}"] = part
        elif item.name in _OPTIONAL:
            if part is not None:
                text[item.name] = _split(f"{prefix}/{item.name}", part, columns)
        elif item.name in _TABLES:
            inner = _split(f"{prefix}/{item.name}", part, columns)
            if inner:
                text[item.name] = inner
        else:
            text[item.name] = list(part) if isinstance(part, tuple) else part
    return text


def _narrow(column: IntArray) -> np.ndarray[Any, Any]:
    """The smallest integer type that holds every value."""
    low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
    for kind in (np.int8, np.int16, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return column.astype(kind)
    return column.astype(np.int64)


def _write_zip(handle: Any, header: Mapping[str, Any], columns: Mapping[str, IntArray]) -> None:
    with zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        entries = [("header.json", json.dumps(header, sort_keys=True, separators=(",", ":")).encode())]
        for name, column in columns.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, _narrow(column), version=(1, 0), allow_pickle=False)
            entries.append((f"{name}.npy", buffer.getvalue()))
        for name, data in entries:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)


class _Archive:
    """An open trace archive; every fault becomes a `TraceError` that names the file."""

    def __init__(self, archive: zipfile.ZipFile, file: str) -> None:
        self.archive = archive
        self.file = file
        self.entries: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            if info.filename in self.entries:
                raise TraceError(f"holds '{info.filename}' twice", file=file, expected="each column once")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise TraceError("is packed in an unknown way", file=file, key=info.filename, expected="deflate")
            self.entries[info.filename] = info
        self.left = MAX_ELEMENTS
        if sum(info.file_size for info in self.entries.values()) > 8 * MAX_ELEMENTS + MAX_HEADER:
            raise TraceError(
                "unpacks to more than a trace may hold", file=file, expected=f"at most {MAX_ELEMENTS} numbers"
            )

    def read(self, name: str, limit: int) -> bytes:
        info = self.entries.pop(name, None)
        if info is None:
            raise TraceError(f"lacks '{name}'", file=self.file, expected="an archive written by hiersim")
        if info.file_size > limit:
            raise TraceError(f"'{name}' is {info.file_size} bytes", file=self.file, expected=f"at most {limit}")
        with self.archive.open(info) as stream:
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise TraceError(f"'{name}' is larger than it says", file=self.file)
        return data

    def npy_header(self, name: str, data: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int]:
        """Shape, dtype and where the numbers begin."""
        plain = _NPY_HEADER.match(data)
        if plain and plain.end() == 10 + int.from_bytes(plain[1], "little"):
            return (int(plain[3]),), np.dtype(plain[2].decode()), plain.end()
        stream = io.BytesIO(data)
        try:
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError("version")
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=1024)
        except Exception:  # NumPy reads it as Python source, which may fail in many ways
            raise TraceError("has a broken NumPy header", file=self.file, key=name, expected="version 1.0") from None
        return shape, dtype, stream.tell()

    def column(self, name: str) -> IntArray:
        data = self.read(f"{name}.npy", 8 * self.left + 4096)
        if not data.startswith(_NPY_MAGIC):
            raise TraceError("is not a NumPy column", file=self.file, key=name)
        shape, dtype, start = self.npy_header(name, data)
        if dtype.kind not in "iu" or dtype.itemsize > 8 or dtype == np.uint64 or dtype.hasobject:
            raise TraceError(f"has dtype {dtype}", file=self.file, key=name, expected="a signed integer column")
        if len(shape) != 1 or shape[0] * dtype.itemsize != len(data) - start:
            raise TraceError(
                f"has shape {shape}, which its bytes do not fill", file=self.file, key=name, expected="one dimension"
            )
        self.left -= shape[0]
        if self.left < 0:
            raise TraceError("has too many numbers", file=self.file, expected=f"at most {MAX_ELEMENTS}")
        column: IntArray = np.frombuffer(data, dtype=dtype, offset=start).astype(np.int64)
        column.flags.writeable = False
        return column


def load_archive(path: str | os.PathLike[str]) -> Trace:
    """Read a `.npz` trace.

    Raises
    ------
    TraceError
        Not an archive, truncated, of another version, too large, or a trace that breaks a law.
    """
    file = str(path)
    try:
        if os.path.getsize(path) > MAX_FILE:
            raise TraceError("is larger than 16 MiB", file=file, expected="one model run")
        with zipfile.ZipFile(path) as archive:
            trace = _read(_Archive(archive, file), file)
    except _UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TraceError(f"cannot be read: {reason}", file=file, expected="a trace archive (.npz)") from None
    return check_trace(trace, file)


def _read(archive: _Archive, file: str) -> Trace:
    try:
        text = archive.read("header.json", MAX_HEADER)
        if text.count(b"[") + text.count(b"{") > MAX_LISTS:
            raise TraceError("has a header of too many parts", file=file, key="header.json", expected="lists of names")
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise TraceError("has a header that is not JSON", file=file, key="header.json") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise TraceError("is not a hiersim trace", file=file, expected=f'"format": "{FORMAT}"')
    if type(header.get("version")) is not int or header["version"] != VERSION:
        raise TraceError(f"has version {header.get('version')!r}", file=file, expected=f"version {VERSION}")
    schedules, groupings, expected = (_named(header, key, file) for key in ("schedules", "groupings", "estimates"))
    graph = _join(OperatorGraph, header.get("graph"), "graph", archive)
    kernels = {name: _join(KernelGraph, text, f"schedules/{name}", archive) for name, text in schedules.items()}
    made = {name: _join(Partition, text, f"groupings/{name}", archive) for name, text in groupings.items()}
    estimates = {name: _join(CompilerEstimate, text, f"estimates/{name}", archive) for name, text in expected.items()}
    measured = _join(DeviceProfile, header["measured"], "measured", archive) if "measured" in header else None
    trace = Trace(
        header=read_header(header.get("header"), file),
        graph=graph,
        schedules=kernels,
        groupings=made,
        measured=measured,
        estimates=estimates,
    )
    if archive.entries:
        raise TraceError(f"holds '{next(iter(archive.entries))}', which no trace has", file=file)
    return trace


def _named(header: Mapping[str, Any], key: str, file: str) -> Mapping[str, Any]:
    """A table of the header whose keys are names that a policy may have."""
    table = header.get(key, {})
    if not isinstance(table, dict) or not all(name.isidentifier() for name in table):
        raise TraceError(f"is not a table of {key}", file=file, key=key)
    return table


def _join(kind: type[Any], text: Any, prefix: str, archive: _Archive) -> Any:
    """The inverse of `_split`."""
    if not isinstance(text, dict):
        raise TraceError("is missing", file=archive.file, key=prefix)
    values: dict[str, Any] = {}
    hints = _hints(cast("Hashable", kind))
    for item in stored(kind):
        if item.name in _OPTIONAL:
            if item.name in text:
                values[item.name] = _join(_OPTIONAL[item.name], text[item.name], f"{prefix}/{item.name}", archive)
        elif hints[item.name] in _TABLES.values():
            values[item.name] = _join(_TABLES[item.name], text.get(item.name, {}), f"{prefix}/{item.name}", archive)
        elif hints[item.name] in (tuple[str, ...], str):
            values[item.name] = _text(text.get(item.name), hints[item.name], f"{prefix}.{item.name}", archive.file)
        else:
            values[item.name] = archive.column(f"{prefix}/{item.name}")
    return kind(**values)


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    """Types of the fields of a table, which Python evaluates anew each time that it is asked."""
    return get_type_hints(cast("type[Any]", kind))


def _text(value: Any, hint: Any, key: str, file: str) -> Any:
    if hint is str:
        if isinstance(value, str):
            return value
        raise TraceError(f"is {type(value).__name__}", file=file, key=key, expected="text")
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return tuple(value)
    raise TraceError("is not a list of names", file=file, key=key, expected="a list of strings")


def read_header(value: Any, file: str, line: int | None = None) -> TraceHeader:
    """The header of any trace form, from its JSON object."""
    known = {item.name for item in fields(TraceHeader)}
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"]:
        raise TraceError("has no name", file=file, line=line, key="header.name", expected="a text")
    for key, entry in value.items():
        if key not in known:
            raise TraceError(
                "is not a header key", file=file, line=line, key=f"header.{key}", expected=nearest(key, known)
            )
        if key == "notes":
            if not isinstance(entry, list) or not all(isinstance(note, str) for note in entry):
                raise TraceError("is not a list of texts", file=file, line=line, key="header.notes")
        elif not isinstance(entry, str):
            raise TraceError("is not a text", file=file, line=line, key=f"header.{key}")
    return TraceHeader(**{**value, "notes": tuple(value.get("notes", ()))})
