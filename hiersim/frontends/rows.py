"""The readable trace form: JSON lines (`.jsonl`, `.jsonl.gz`). One header, then a row per tensor, operator or kernel.

    {"format": "hiersim-trace", "version": 1, "name": "mlp"}
    {"tensor": "x", "shape": [64, 512], "dtype": "bf16", "role": "input"}
    {"tensor": "w", "shape": [512, 512], "dtype": "bf16", "role": "weight"}
    {"tensor": "y", "shape": [64, 512], "dtype": "bf16", "role": "activation", "output": true}
    {"operator": "aten.mm.default", "kind": "gemm", "dims": {"batch": 1, "m": 64, "n": 512, "k": 512},
     "reads": ["x", "w"], "writes": ["y"]}

(each row on one line). docs/trace-format.md lists every key. Every fault names file, line and remedy.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Mapping
from enum import IntEnum
from functools import cache
from pathlib import Path
from reprlib import repr as shown
from typing import Any, Final, NoReturn

import numpy as np

from hiersim.errors import TraceError, nearest
from hiersim.frontends.archive import FORMAT, VERSION, read_header
from hiersim.frontends.integrity import check_trace
from hiersim.frontends.kernel_rows import KEYS as KERNEL_KEYS
from hiersim.frontends.kernel_rows import KernelRows
from hiersim.frontends.lines import MAX_BLANK, lines, parse
from hiersim.frontends.region_rows import KEYS as REGION_KEYS
from hiersim.frontends.region_rows import RegionRows
from hiersim.model.operators import (
    BITS,
    DIMS,
    Accesses,
    DType,
    Flag,
    Kind,
    OperatorTable,
    Phase,
    Role,
    TensorTable,
    csr,
)
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader
from hiersim.units import LARGEST

MAX_SIDES: Final = 64
_TENSOR_KEYS: Final = ("tensor", "shape", "dtype", "role", "output", "storage", "offset", "bytes", "storage_bytes")
_OPERATOR_KEYS: Final = (
    "operator",
    "number",
    "kind",
    "dims",
    "dtype",
    "reads",
    "writes",
    "flops",
    "module",
    "phase",
    "flags",
    "frees",
)
_FLOP_KEYS: Final = ("matrix", "masked", "vector", "special")


def load_rows(path: str | os.PathLike[str]) -> Trace:
    """Read a `.jsonl` or `.jsonl.gz` trace.

    Raises
    ------
    TraceError
        With file and line of the first fault.
    """
    file = str(path)
    reader = _Reader(file)
    try:
        for number, text in enumerate(lines(Path(path), file), start=1):
            reader.line = number
            if text.strip():
                reader.take(parse(text, reader))
            else:
                reader.blank()
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TraceError(f"cannot be read: {reason}", file=file, expected="JSON lines, plain or gzip") from None
    try:
        return check_trace(reader.finish(), file)
    except TraceError as error:
        if error.line is None:
            error.line = reader.line_of(error.key or "")
        raise


def trace_of(header: TraceHeader, rows: Iterable[dict[str, Any]], file: str, line: int) -> Trace:
    """The trace whose tensor and operator rows stand in line `line` of some other file.

    Raises
    ------
    TraceError
        With that file and line.
    """
    reader = _Reader(file)
    reader.header, reader.line = header, line
    for row in rows:
        reader.take(row)
    try:
        return check_trace(reader.finish(), file)
    except TraceError as error:
        error.line = line
        raise


@cache
def _names(kinds: type[IntEnum]) -> dict[str, int]:
    """Names of an enumeration as files write them."""
    return {item.name.lower(): int(item) for item in kinds}


class _Reader:
    """Collects rows into columns."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.line = 0
        self.header: TraceHeader | None = None
        self.tensors: dict[str, int] = {}
        self.storages: dict[str, int] = {}
        self.storage: dict[str, list[int]] = {"bytes": [], "role": [], "output": []}
        self.tensor: dict[str, list[int]] = {"storage": [], "dtype": [], "bytes": [], "offset": []}
        self.shapes: list[list[int]] = []
        self.strings: dict[str, int] = {"": 0}
        self.operator: dict[str, list[int]] = {key: [] for key in _COLUMNS}
        self.dims: list[list[int]] = []
        self.access: dict[str, tuple[list[list[int]], list[list[int]]]] = {"reads": ([], []), "writes": ([], [])}
        self.frees: dict[int, int] = {}
        self.frees_given = False
        self.operator_lines: list[int] = []
        self.blanks = 0
        self.kernels = KernelRows(self.operator["kind"], self.fail)
        self.regions = RegionRows(self.operator["kind"], self.fail)

    def blank(self) -> None:
        """Take an empty line; many of them are no trace."""
        self.blanks += 1
        if self.blanks > MAX_BLANK:
            self.fail(f"has more than {MAX_BLANK} empty lines", expected="one row per line")

    def line_of(self, key: str) -> int | None:
        """Line of the operator that a fault of the whole graph names."""
        match = re.fullmatch(r"graph\.(?:reads|writes|operators\.\w+)\[(\d+)\]", key)
        return self.operator_lines[int(match.group(1))] if match else None

    def fail(self, problem: str, key: str | None = None, expected: str | None = None) -> NoReturn:
        raise TraceError(problem, file=self.file, line=self.line, key=key, expected=expected)

    def take(self, row: dict[str, Any]) -> None:
        if self.header is None:
            self._header(row)
        elif "tensor" in row:
            self._keys(row, _TENSOR_KEYS)
            self._tensor(row)
        elif "operator" in row:
            self._keys(row, _OPERATOR_KEYS)
            self._operator(row)
        elif "kernel" in row:
            self._keys(row, KERNEL_KEYS)
            self.kernels.take(row, self.line)
        elif "region" in row:
            self._keys(row, REGION_KEYS)
            self.regions.take(row)
        else:
            hint = nearest(next(iter(row), ""), ("tensor", "operator", "kernel", "region"))
            self.fail("is neither a tensor nor an operator", expected=f'a row with "tensor" or "operator", {hint}')

    def _header(self, row: dict[str, Any]) -> None:
        if row.get("format") != FORMAT:
            self.fail("is not a hiersim trace", key="format", expected=f'"format": "{FORMAT}" on the first line')
        if type(row.get("version")) is not int or row["version"] != VERSION:
            self.fail(f"has version {row.get('version')!r}", key="version", expected=f"version {VERSION}")
        rest = {key: value for key, value in row.items() if key not in ("format", "version")}
        self.header = read_header(rest, self.file, self.line)

    def _keys(self, row: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for key in row:
            if key not in known:
                self.fail("is not a key of this row", key=key, expected=nearest(key, known))

    def _text(self, row: Mapping[str, Any], key: str, default: str | None = None) -> str:
        value = row.get(key, default)
        if not isinstance(value, str) or (not value and default is None):
            self.fail("is missing" if value is None else f"{shown(value)} is not a text", key=key, expected="a text")
        return value

    def _whole(self, value: Any, key: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(f"{shown(value)} is not a whole number", key=key, expected="a whole number, 0 or more")
        if not 0 <= value < LARGEST:
            self.fail(f"{shown(value)} is {'negative' if value < 0 else 'too large'}", key=key, expected="0 … 2^62")
        return value

    def _flagged(self, row: Mapping[str, Any], key: str) -> bool:
        value = row.get(key, False)
        if not isinstance(value, bool):
            self.fail(f"{shown(value)} is not true or false", key=key, expected="true or false")
        return value

    def _named(self, value: Any, key: str, kinds: type[IntEnum]) -> int:
        names = _names(kinds)
        if not isinstance(value, str) or value not in names:
            problem = "is missing" if value is None else f"{shown(value)} is not a {key}"
            self.fail(problem, key=key, expected=nearest(str(value), names))
        return names[value]

    def _list(self, value: Any, key: str) -> list[Any]:
        if not isinstance(value, list):
            self.fail(f"{type(value).__name__} is not a list", key=key, expected="a list")
        return value

    def _intern(self, text: str) -> int:
        return self.strings.setdefault(text, len(self.strings))

    def _tensor(self, row: dict[str, Any]) -> None:
        name = self._text(row, "tensor")
        if name in self.tensors:
            self.fail(f"tensor '{name}' is there twice", key="tensor", expected="each tensor once")
        if "shape" not in row:
            self.fail("is missing", key="shape", expected="a list of whole numbers")
        shape = [self._whole(side, "shape") for side in self._list(row["shape"], "shape")]
        if len(shape) > MAX_SIDES:
            self.fail(f"has {len(shape)} sides", key="shape", expected=f"at most {MAX_SIDES}")
        dtype = self._named(row.get("dtype"), "dtype", DType)
        elements = 1
        for side in shape:
            elements *= side
        full = -(-elements * BITS[DType(dtype)] // 8)
        if full >= LARGEST:
            self.fail("is too large", key="shape", expected="fewer than 2^62 bytes")
        size = self._whole(row.get("bytes", full), "bytes")
        offset = self._whole(row.get("offset", 0), "offset")
        if size > full:
            self.fail(f"{size} is more than its shape and dtype hold", key="bytes", expected=f"at most {full}")
        self.tensors[name] = len(self.shapes)
        self.shapes.append(shape)
        storage = self._storage(row, name, offset + full)
        if offset + size > self.storage["bytes"][storage]:
            room = self.storage["bytes"][storage]
            self.fail(f"ends at byte {offset + size} of a storage of {room} bytes", key="offset")
        self.tensor["storage"].append(storage)
        for key, value in (("dtype", dtype), ("bytes", size), ("offset", offset)):
            self.tensor[key].append(value)

    def _storage(self, row: dict[str, Any], name: str, size: int) -> int:
        """The storage of a tensor row: its own, or that of the tensor it is a view of."""
        owner = self._text(row, "storage", name)
        if owner in self.storages:
            if "role" in row or "output" in row:
                self.fail("a view has the role of its storage", key="role", expected="no role on this row")
            return self.storages[owner]
        if owner != name:
            self.fail(f"there is no storage '{owner}' above", key="storage", expected=nearest(owner, self.storages))
        self.storages[name] = len(self.storage["bytes"])
        self.storage["bytes"].append(self._whole(row.get("storage_bytes", size), "storage_bytes"))
        self.storage["role"].append(self._named(row.get("role"), "role", Role))
        self.storage["output"].append(int(self._flagged(row, "output")))
        return self.storages[name]

    def _operator(self, row: dict[str, Any]) -> None:
        name = self._text(row, "operator")
        kind = Kind(self._named(row.get("kind"), "kind", Kind))
        index = len(self.dims)
        if row.get("number", index) != index:
            self.fail(f"{shown(row['number'])} is not its number", key="number", expected=f"{index}")
        if self.kernels.groupings or self.regions.calls:
            above = "kernel" if self.kernels.groupings else "region"
            self.fail(f"stands below a {above}", key="operator", expected=f"{above}s after all operators")
        for key in ("reads", "writes"):
            tensors, sizes = [], []
            for entry in self._list(row.get(key, []), key):
                tensor, size = self._access(entry, key)
                tensors.append(tensor)
                sizes.append(size)
            self.access[key][0].append(tensors)
            self.access[key][1].append(sizes)
        dims = self._dims(row, kind)
        self.dims.append(dims)
        self.operator_lines.append(self.line)
        flops = self._flops(row, kind, dims)
        flags = Flag.NONE
        for flag in self._list(row.get("flags", []), "flags"):
            names = {item.name.lower(): item for item in Flag if item.name}
            if not isinstance(flag, str) or flag not in names:
                self.fail(f"{shown(flag)} is not a flag", key="flags", expected=nearest(str(flag), names))
            flags |= names[flag]
        values = (
            self._intern(name), self._intern(self._text(row, "module", "")), int(kind),
            self._named(row.get("phase", "forward"), "phase", Phase), int(flags),
            self._named(row["dtype"], "dtype", DType) if "dtype" in row else self._first_dtype(index), *flops,
        )  # fmt: skip
        for key, value in zip(_COLUMNS, values, strict=True):
            self.operator[key].append(value)
        self.frees_given |= "frees" in row
        for entry in self._list(row.get("frees", []), "frees"):
            if not isinstance(entry, str) or entry not in self.storages:
                hint = nearest(str(entry), self.storages)
                self.fail(f"there is no storage {shown(entry)}", key="frees", expected=hint)
            if self.storages[entry] in self.frees:
                self.fail(f"'{entry}' is freed twice", key="frees", expected="each storage once")
            if self.storage["output"][self.storages[entry]]:
                self.fail(f"'{entry}' is an output", key="frees", expected="storages that nobody needs later")
            self.frees[self.storages[entry]] = index

    def _access(self, entry: Any, key: str) -> tuple[int, int]:
        name, size = entry, None
        if isinstance(entry, dict):
            self._keys(entry, ("tensor", "bytes"))
            name, size = entry.get("tensor"), entry.get("bytes")
        if not isinstance(name, str) or name not in self.tensors:
            hint = nearest(str(name), self.tensors) if self.tensors else "a tensor row above"
            self.fail(f"there is no tensor {shown(name)} above", key=key, expected=hint)
        tensor = self.tensors[name]
        most = self.tensor["bytes"][tensor]
        moved = most if size is None else self._whole(size, f"{key}.bytes")
        if moved > most:
            self.fail(f"{moved} is more than tensor '{name}' has", key=f"{key}.bytes", expected=f"at most {most}")
        return tensor, moved

    def _first_dtype(self, index: int) -> int:
        """dtype of the first tensor that the operator reads or writes."""
        for key in ("reads", "writes"):
            if self.access[key][0][index]:
                return self.tensor["dtype"][self.access[key][0][index][0]]
        return int(DType.FP32)

    def _dims(self, row: Mapping[str, Any], kind: Kind) -> list[int]:
        wanted = DIMS.get(kind, ())
        given = row.get("dims", {})
        if not isinstance(given, dict):
            self.fail("is not an object", key="dims", expected=f"{{{', '.join(wanted)}}}")
        for key in given:
            if key not in wanted:
                self.fail(f"a {kind.name.lower()} has no such size", key=f"dims.{key}", expected=nearest(key, wanted))
        for key in wanted:
            if key not in given:
                self.fail("is missing", key=f"dims.{key}", expected="a whole number")
        return [self._whole(given[key], f"dims.{key}") for key in wanted]

    def _flops(self, row: Mapping[str, Any], kind: Kind, dims: list[int]) -> tuple[int, ...]:
        """(matrix, masked, vector, special); a matrix product's FLOPs follow from its sizes."""
        given = row.get("flops", {})
        if not isinstance(given, dict):
            self.fail("is not an object", key="flops", expected='{"matrix": …, "vector": …}')
        self._keys(given, _FLOP_KEYS)
        flops = {key: self._whole(given.get(key, 0), f"flops.{key}") for key in _FLOP_KEYS}
        if "matrix" not in given and kind in (Kind.GEMM, Kind.CONV):
            flops["matrix"] = 2
            for side in dims[:4]:
                flops["matrix"] *= side
            self._whole(flops["matrix"], "dims")
        if flops["masked"] > flops["matrix"]:
            self.fail("is more than flops.matrix", key="flops.masked", expected=f"at most {flops['matrix']}")
        return tuple(flops[key] for key in _FLOP_KEYS)

    def finish(self) -> Trace:
        """The trace, when all rows are in."""
        if self.header is None:
            raise TraceError("is empty", file=self.file, expected="a header line and at least one operator")
        if not self.dims:
            raise TraceError("has no operators", file=self.file, expected="at least one operator row")
        accesses = {}
        for key, (tensors, sizes) in self.access.items():
            ptr, tensor = csr(tensors)
            accesses[key] = Accesses(ptr=ptr, tensor=tensor, size=csr(sizes)[1])
        tables = self._tensor_table(accesses), self._operator_table()
        graph = OperatorGraph(
            tensors=tables[0], operators=tables[1], reads=accesses["reads"], writes=accesses["writes"],
            regions=self.regions.finish(),
        )  # fmt: skip
        return Trace(header=self.header, graph=graph, groupings=self.kernels.finish(self._at))

    def _at(self, line: int) -> None:
        self.line = line

    def _tensor_table(self, accesses: Mapping[str, Accesses]) -> TensorTable:
        ptr, shape = csr(self.shapes)
        columns = {f"tensor_{key}": np.array(values, np.int64) for key, values in self.tensor.items()}
        columns.update({f"storage_{key}": np.array(values, np.int64) for key, values in self.storage.items()})
        return TensorTable(
            storage_names=tuple(self.storages), storage_free=self._storage_free(columns, accesses), shape_ptr=ptr,
            shape=shape, **columns,
        )  # fmt: skip

    def _storage_free(self, columns: Mapping[str, Any], accesses: Mapping[str, Accesses]) -> Any:
        """Given frees; where a file gives none, what is produced and is no output lives to its last use."""
        free = np.full(len(columns["storage_bytes"]), -1, np.int64)
        if self.frees_given:
            free[list(self.frees)] = list(self.frees.values())
            return free
        last = np.full(len(free), -1, np.int64)
        for access in accesses.values():
            row = np.repeat(np.arange(len(access.ptr) - 1), np.diff(access.ptr))
            np.maximum.at(last, columns["tensor_storage"][access.tensor], row)
        produced = np.isin(columns["storage_role"], [int(Role.ACTIVATION), int(Role.GRADIENT)])
        return np.where(produced & (columns["storage_output"] == 0), last, -1)

    def _operator_table(self) -> OperatorTable:
        ptr, dims = csr(self.dims)
        columns = {key: np.array(values, np.int64) for key, values in self.operator.items()}
        return OperatorTable(strings=tuple(self.strings), dims_ptr=ptr, dims=dims, **columns)


_COLUMNS: Final = (
    "name", "module", "kind", "phase", "flags", "dtype", "matrix_flops", "masked_flops", "vector_flops", "special_ops",
)  # fmt: skip
