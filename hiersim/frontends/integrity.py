"""What every trace must satisfy, whoever made it: shapes, ids, order, sizes.

The readers call `check_trace` on all that they read. Each fault is one `TraceError` that names the file and
the place: an operator by its index and name, a storage by its name or index.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import IntEnum
from math import prod

import numpy as np

from hiersim.errors import TraceError
from hiersim.frontends.aliases import seen_through
from hiersim.model.kernels import Entries, KernelGraph, Launch
from hiersim.model.networks import find_cycle
from hiersim.model.operators import (
    BITS,
    DIMS,
    HOST_ONLY,
    PRODUCED,
    Accesses,
    DType,
    Flag,
    IntArray,
    Kind,
    OperatorTable,
    Phase,
    Role,
    TensorTable,
)
from hiersim.model.partition import Partition
from hiersim.model.profile import Activity, DeviceProfile
from hiersim.model.regions import Regions, Shapes
from hiersim.model.trace import OperatorGraph, Trace
from hiersim.units import LARGEST

CONTRACTIONS = (Kind.GEMM, Kind.CONV, Kind.ATTENTION, Kind.FLASH)
_NO_LOOPS = ("window", "stride", "kv_heads", "causal")
MAX_SEARCHED = 20_000
"""Accesses of a trace in which a cycle is looked for to be named."""


class Checker:
    """Raises `TraceError`s that carry the file and the part of the trace under check."""

    def __init__(self, file: str | None, part: str) -> None:
        self.file = file
        self.part = part

    def fail(self, key: str, problem: str, expected: str | None = None) -> None:
        raise TraceError(problem, file=self.file, key=f"{self.part}.{key}", expected=expected)

    def length(self, key: str, column: IntArray, wanted: int) -> None:
        if column.ndim != 1 or len(column) != wanted:
            self.fail(key, f"has shape {column.shape}", f"({wanted},)")

    def within(self, key: str, column: IntArray, low: int, high: int) -> None:
        """Every value of `column` in [low, high)."""
        bad = np.flatnonzero((column < low) | (column >= high))
        if len(bad):
            wanted = f"at least {low} and below {high}" if high < LARGEST else f"at least {low} and below 2^62"
            self.fail(f"{key}[{bad[0]}]", f"is {column[bad[0]]}", wanted)

    def enumerated(self, key: str, column: IntArray, values: type[IntEnum]) -> None:
        self.within(key, column, 0, len(values))

    def pointer(self, key: str, column: IntArray, rows: int, values: int) -> None:
        self.length(key, column, rows + 1)
        inside = bool(np.all((column >= 0) & (column <= values)))  # else the differences may overflow
        if not inside or column[0] != 0 or column[-1] != values or bool(np.any(np.diff(column) < 0)):
            self.fail(key, "is not a list of offsets", f"0 … {values}, never falling")


def check_trace(trace: Trace, file: str | None = None) -> Trace:
    """`trace`, when it is sound; itself, unless its views list reads and writes, which are taken as other names.

    Raises
    ------
    TraceError
        Naming the first place that is not.
    """
    check_operator_graph(trace.graph, Checker(file, "graph"))
    graph = seen_through(trace.graph)
    if graph is not trace.graph:
        trace = dataclasses.replace(trace, graph=graph)
    if trace.graph.regions is not None:
        check_regions(trace.graph.regions, len(trace.graph.operators), Checker(file, "graph.regions"))
    for name, schedule in trace.schedules.items():
        check_kernel_graph(schedule, Checker(file, f"schedules.{name}"))
    for name, grouping in trace.groupings.items():
        check_partition(grouping, trace.graph, Checker(file, f"groupings.{name}"))
    for name, estimate in trace.estimates.items():
        check = Checker(file, f"estimates.{name}")
        if name not in trace.schedules:
            check.fail("cycles", "belongs to no schedule", "the name of a schedule")
        check.length("cycles", estimate.cycles, len(trace.schedules[name]))
        check.within("cycles", estimate.cycles, -1, LARGEST // 2**20)
    if trace.measured is not None:
        check_profile(trace.measured, len(trace.graph.operators), Checker(file, "measured"))
    return trace


def check_partition(partition: Partition, graph: OperatorGraph, check: Checker) -> None:
    """The laws of a grouping that need no dependences: each operator that launches something has one own kernel."""
    rows, kernels = len(graph.operators), len(partition.ptr) - 1
    if kernels < 1:
        check.fail("ptr", "has no kernels", "at least one")
    check.pointer("ptr", partition.ptr, kernels, len(partition.operators))
    check.within("operators", partition.operators, 0, rows)
    check.length("copy", partition.copy, len(partition.operators))
    check.within("copy", partition.copy, 0, 2)
    for key in ("generated", "eager"):
        check.length(key, getattr(partition, key), kernels)
        check.within(key, getattr(partition, key), 0, 2)
    if bool(np.any(np.diff(partition.ptr) == 0)):
        check.fail("ptr", "has a kernel without operators", "at least one in each")
    inside = np.diff(partition.operators) <= 0
    inside[partition.ptr[1:-1] - 1] = False
    if bool(np.any(inside)):
        check.fail(f"operators[{int(np.argmax(inside))}]", "is not before the next one", "operators in issue order")
    own = np.bincount(partition.operators[partition.copy == 0], minlength=rows)
    wanted = ~np.isin(graph.operators.kind, [int(kind) for kind in HOST_ONLY])
    bad = np.flatnonzero(own != wanted)
    if len(bad):
        row = int(bad[0])
        what = f"operator {row} '{graph.operators.label(row)}'"
        check.fail("operators", f"{what} is in {own[row]} kernels", "1" if wanted[row] else "none: it launches nothing")


def check_regions(regions: Regions, operators: int, check: Checker) -> None:
    """The laws of regions: they stand one behind the other, and their guards are counted."""
    rows = len(regions)
    if rows == 0:
        check.fail("first", "has no regions", "at least one")
    for key in ("name", "last", "shapes", "recompiled", "reason", "line"):
        check.length(key, getattr(regions, key), rows)
    for key in ("first", "last"):
        check.within(key, getattr(regions, key), 0, operators)
    check.enumerated("shapes", regions.shapes, Shapes)
    check.within("recompiled", regions.recompiled, 0, 2)
    if not regions.strings or regions.strings[0]:
        check.fail("strings", "does not begin with an empty text")
    check.pointer("guard_ptr", regions.guard_ptr, rows, len(regions.guard_kind))
    check.length("guard_count", regions.guard_count, len(regions.guard_kind))
    for key in ("name", "reason", "line", "guard_kind"):
        check.within(key, getattr(regions, key), 0, len(regions.strings))
    check.within("guard_count", regions.guard_count, 1, 10**6 + 1)
    bad = np.flatnonzero(regions.last < regions.first)
    if len(bad):
        check.fail(f"last[{bad[0]}]", "is before its first operator")
    bad = np.flatnonzero(regions.first[1:] <= regions.last[:-1])
    if len(bad):
        check.fail(f"first[{bad[0] + 1}]", "is not behind the region before", f"{regions.last[bad[0]] + 1} or more")


def check_entries(entries: Entries, kernels: int, check: Checker) -> None:
    """The laws of what the host does to enter regions."""
    for key in ("calls", "guards", "recompiled", "traced"):
        check.length(f"entries.{key}", getattr(entries, key), kernels)
        check.within(f"entries.{key}", getattr(entries, key), 0, 2**40)


def check_profile(profile: DeviceProfile, operators: int, check: Checker) -> None:
    """The laws of measured times: kernels of known operators in order of their start."""
    rows = len(profile)
    if rows == 0:
        check.fail("name", "has no kernels", "at least one")
    for key in ("activity", "operator", "start", "duration", "stream"):
        check.length(key, getattr(profile, key), rows)
    check.length("name", profile.name, rows)
    check.within("name", profile.name, 0, len(profile.strings))
    check.enumerated("activity", profile.activity, Activity)
    check.within("operator", profile.operator, 0, operators)
    check.within("stream", profile.stream, -1, LARGEST)
    for key in ("start", "duration"):
        check.within(key, getattr(profile, key), 0, LARGEST // 2)
    if float(np.sum(profile.duration, dtype=np.float64)) >= LARGEST:
        check.fail("duration", "adds up to more than 2^62 ticks")
    if bool(np.any(np.diff(profile.start) < 0)):
        check.fail("start", "falls", "kernels in order of their start")


def check_operator_graph(graph: OperatorGraph, check: Checker) -> None:
    """The laws of an eager graph."""
    rows = len(graph.operators)
    if rows == 0:
        check.fail("operators", "has no operators", "at least one")
    _check_operators(graph.operators, check)
    _check_tensors(graph.tensors, rows, check)
    _check_accesses(graph.reads, "reads", rows, graph.tensors, check)
    _check_accesses(graph.writes, "writes", rows, graph.tensors, check)
    _check_order(graph.tensors, graph.reads, graph.writes, rows, graph.operators.label, check)


def check_kernel_graph(graph: KernelGraph, check: Checker) -> None:
    """The laws of a schedule: those of a graph, and that its kernels cover its operators."""
    rows = len(graph)
    if rows == 0:
        check.fail("names", "has no kernels", "at least one")
    _check_operators(graph.operators, check)
    check.pointer("operator_ptr", graph.operator_ptr, rows, len(graph.operators))
    check.length("recomputed", graph.recomputed, len(graph.operators))
    check.within("recomputed", graph.recomputed, 0, 2)
    for key in ("launch", "host_views", "host_syncs"):
        check.length(key, getattr(graph, key), rows)
    if graph.entries is not None:
        check_entries(graph.entries, rows, check)
    check.enumerated("launch", graph.launch, Launch)
    check.within("host_views", graph.host_views, 0, 10**6)
    check.within("host_syncs", graph.host_syncs, 0, 2)
    _check_tensors(graph.tensors, rows, check)
    _check_accesses(graph.reads, "reads", rows, graph.tensors, check)
    _check_accesses(graph.writes, "writes", rows, graph.tensors, check)
    _check_order(graph.tensors, graph.reads, graph.writes, rows, graph.names.__getitem__, check)


def _check_operators(table: OperatorTable, check: Checker) -> None:
    rows = len(table)
    for key in (
        "name",
        "module",
        "phase",
        "flags",
        "dtype",
        "matrix_flops",
        "masked_flops",
        "vector_flops",
        "special_ops",
    ):
        check.length(f"operators.{key}", getattr(table, key), rows)
    check.within("operators.name", table.name, 0, len(table.strings))
    check.within("operators.module", table.module, 0, len(table.strings))
    check.enumerated("operators.kind", table.kind, Kind)
    check.enumerated("operators.phase", table.phase, Phase)
    check.enumerated("operators.dtype", table.dtype, DType)
    check.within("operators.flags", table.flags, 0, 2 * max(Flag))
    for key in ("matrix_flops", "masked_flops", "vector_flops", "special_ops"):
        column = getattr(table, key)
        check.within(f"operators.{key}", column, 0, LARGEST)
        if float(np.sum(column, dtype=np.float64)) >= LARGEST:
            check.fail(f"operators.{key}", "adds up to more than 2^62")
    masked = np.flatnonzero(table.masked_flops > table.matrix_flops)
    if len(masked):
        check.fail(f"operators.masked_flops[{masked[0]}]", "is larger than matrix_flops")
    check.pointer("operators.dims_ptr", table.dims_ptr, rows, len(table.dims))
    check.within("operators.dims", table.dims, 0, LARGEST)
    wanted = np.array([len(DIMS.get(kind, ())) for kind in Kind])[table.kind]
    bad = np.flatnonzero(np.diff(table.dims_ptr) != wanted)
    if len(bad):
        kind = Kind(int(table.kind[bad[0]]))
        names = ", ".join(DIMS.get(kind, ())) or "none"
        check.fail(f"operators.dims[{bad[0]}]", f"does not suit a {kind.name.lower()} operator", f"dims {names}")
    _check_contractions(table, check)


def _check_contractions(table: OperatorTable, check: Checker) -> None:
    """Matrix FLOPs belong to contractions, and their loop nests are countable."""
    contraction = np.isin(table.kind, [int(kind) for kind in CONTRACTIONS])
    bad = np.flatnonzero((table.matrix_flops > 0) & ~contraction)
    if len(bad):
        kind = Kind(int(table.kind[bad[0]]))
        check.fail(f"operators.matrix_flops[{bad[0]}]", f"is not 0 for a {kind.name.lower()} operator")
    for row in _long_nests(table):
        dims = table.dims[table.dims_ptr[row] : table.dims_ptr[row + 1]].tolist()
        named = zip(DIMS[Kind(int(table.kind[row]))], dims, strict=True)
        if 2 * prod(max(1, side) for name, side in named if name not in _NO_LOOPS) >= LARGEST:
            check.fail(f"operators.dims[{row}]", "make a loop nest of more than 2^61 steps", "smaller sizes")


def _long_nests(table: OperatorTable) -> list[int]:
    """Rows of contractions whose loop nests may be too long, in order; the products here are approximate."""
    found: list[int] = []
    for kind in CONTRACTIONS:
        rows = np.flatnonzero(table.kind == kind)
        loops = [index for index, name in enumerate(DIMS[kind]) if name not in _NO_LOOPS]
        sides = table.dims[table.dims_ptr[rows][:, None] + np.array(loops)]
        steps = 2 * np.prod(np.maximum(sides, 1).astype(np.float64), axis=1)
        found += rows[steps >= 0.999 * LARGEST].tolist()
    return sorted(found)


def _check_tensors(table: TensorTable, rows: int, check: Checker) -> None:
    storages, tensors = len(table.storage_bytes), len(table.tensor_storage)
    if len(table.storage_names) != storages:
        check.fail("tensors.storage_names", f"has {len(table.storage_names)} entries", f"{storages}")
    for key in ("storage_role", "storage_free", "storage_output"):
        check.length(f"tensors.{key}", getattr(table, key), storages)
    for key in ("tensor_dtype", "tensor_bytes", "tensor_offset"):
        check.length(f"tensors.{key}", getattr(table, key), tensors)
    check.within("tensors.storage_bytes", table.storage_bytes, 0, LARGEST)
    if float(np.sum(table.storage_bytes, dtype=np.float64)) >= LARGEST:
        check.fail("tensors.storage_bytes", "adds up to more than 2^62 bytes")
    check.enumerated("tensors.storage_role", table.storage_role, Role)
    check.within("tensors.storage_free", table.storage_free, -1, rows)
    check.within("tensors.storage_output", table.storage_output, 0, 2)
    bad = np.flatnonzero((table.storage_output == 1) & (table.storage_free >= 0))
    if len(bad):
        name = table.storage_names[bad[0]] or f"storage {bad[0]}"
        check.fail(f"tensors.storage_free[{bad[0]}]", f"frees {name}, which is an output")
    check.within("tensors.tensor_storage", table.tensor_storage, 0, storages)
    check.enumerated("tensors.tensor_dtype", table.tensor_dtype, DType)
    check.within("tensors.tensor_bytes", table.tensor_bytes, 0, LARGEST)
    check.within("tensors.tensor_offset", table.tensor_offset, 0, LARGEST)
    check.pointer("tensors.shape_ptr", table.shape_ptr, tensors, len(table.shape))
    check.within("tensors.shape", table.shape, 0, LARGEST)
    _check_extents(table, check)


def _check_extents(table: TensorTable, check: Checker) -> None:
    end = table.tensor_offset + table.tensor_bytes
    bad = np.flatnonzero(end > table.storage_bytes[table.tensor_storage])
    if len(bad):
        size = table.storage_bytes[table.tensor_storage[bad[0]]]
        check.fail(f"tensors.tensor_bytes[{bad[0]}]", f"ends at byte {end[bad[0]]} of a storage of {size} bytes")
    bits = np.array([BITS[dtype] for dtype in DType], np.int64)[table.tensor_dtype]
    with np.errstate(over="ignore"):
        elements = np.ones(len(bits), np.float64)
        filled = np.diff(table.shape_ptr) > 0
        if len(table.shape):
            elements[filled] = np.multiply.reduceat(table.shape.astype(np.float64), table.shape_ptr[:-1][filled])
    bad = np.flatnonzero(table.tensor_bytes > np.ceil(elements * bits / 8 * (1 + 1e-12)))
    if len(bad):
        check.fail(f"tensors.tensor_bytes[{bad[0]}]", "is more than its shape and dtype hold")


def _check_accesses(access: Accesses, key: str, rows: int, tensors: TensorTable, check: Checker) -> None:
    check.pointer(f"{key}.ptr", access.ptr, rows, len(access.tensor))
    check.length(f"{key}.size", access.size, len(access.tensor))
    bad = np.flatnonzero((access.tensor < 0) | (access.tensor >= len(tensors.tensor_storage)))
    if len(bad):
        row = int(np.searchsorted(access.ptr, bad[0], side="right") - 1)
        check.fail(
            f"{key}[{row}]",
            f"names tensor {access.tensor[bad[0]]}, which does not exist",
            f"0 … {len(tensors.tensor_storage) - 1}",
        )
    check.within(f"{key}.size", access.size, 0, LARGEST)
    bad = np.flatnonzero(access.size > tensors.tensor_bytes[access.tensor])
    if len(bad):
        most = tensors.tensor_bytes[access.tensor[bad[0]]]
        check.fail(f"{key}.size[{bad[0]}]", f"moves {access.size[bad[0]]} bytes of a tensor of {most}")
    if float(np.sum(access.size, dtype=np.float64)) >= LARGEST:
        check.fail(f"{key}.size", "adds up to more than 2^62 bytes")


def _cycle(tensors: TensorTable, reads: Accesses, writes: Accesses, row: int) -> str:
    """Which cycle of operators `row` is in, in words, or that only the order is wrong."""
    if len(reads.tensor) + len(writes.tensor) > MAX_SEARCHED:
        return ": a cycle or a wrong order"
    cycle = find_cycle(tensors, reads, writes, row)
    return f": a cycle of rows {' -> '.join(map(str, cycle[:6]))}" if cycle else ": a wrong order"


def _rows(access: Accesses) -> IntArray:
    return np.repeat(np.arange(len(access.ptr) - 1), np.diff(access.ptr))


def _check_order(
    tensors: TensorTable, reads: Accesses, writes: Accesses, rows: int, label: Callable[[int], str], check: Checker
) -> None:
    """Producers come before consumers, and nobody uses what was freed."""
    storages = len(tensors.storage_bytes)
    read_storage, write_storage = tensors.tensor_storage[reads.tensor], tensors.tensor_storage[writes.tensor]
    read_row, write_row = _rows(reads), _rows(writes)
    first_write = np.full(storages, rows, np.int64)
    np.minimum.at(first_write, write_storage, write_row)
    produced = np.isin(tensors.storage_role, [int(role) for role in PRODUCED])
    early = np.flatnonzero(produced[read_storage] & (first_write[read_storage] >= read_row))
    if len(early):
        row, storage = int(read_row[early[0]]), int(read_storage[early[0]])
        name = tensors.storage_names[storage] or f"storage {storage}"
        writer = int(first_write[storage])
        if writer == rows:
            check.fail(f"reads[{row}]", f"'{label(row)}' reads {name}, which nothing writes (a dangling tensor)")
        problem = f"'{label(row)}' reads {name}, which '{label(writer)}' (row {writer}) writes later"
        check.fail(f"reads[{row}]", problem + _cycle(tensors, reads, writes, row), "producers before consumers")
    free = np.where(tensors.storage_free < 0, rows, tensors.storage_free)
    for key, row_of, storage_of in (("reads", read_row, read_storage), ("writes", write_row, write_storage)):
        late = np.flatnonzero(row_of > free[storage_of])
        if len(late):
            row, storage = int(row_of[late[0]]), int(storage_of[late[0]])
            name = tensors.storage_names[storage] or f"storage {storage}"
            check.fail(f"{key}[{row}]", f"'{label(row)}' uses {name} after row {free[storage]} freed it")
