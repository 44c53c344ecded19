"""Working sets: the capacities at which a cache begins to serve, and fully serves, bytes that are used again.

Three kinds of traffic leave a cache that is too small: *reads* of what an earlier kernel touched, *write-backs* of what
is overwritten or dead before it is needed elsewhere, and panels that a contraction reads *again* from one wave to the
next. None of them depends on a capacity: each begins to be served at one size of the cache and is served whole at
another. Those that end close together are one working set, and the traffic behind the cache has a knee there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

import numpy as np

from hiersim.lowering.machine import Machine
from hiersim.lowering.residency import FloatArray
from hiersim.lowering.tiling import Loom
from hiersim.lowering.workload import Workload
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray, Role

CLOSE: Final = 1.0625
"""Ends within a sixteenth of the first of them are one working set."""


class Reuse(Enum):
    """What a cache saves when it holds a working set."""

    READ = "read"
    """A later kernel finds it in the cache."""
    WRITE_BACK = "write-back"
    """It is dead or overwritten before the cache has to give it up."""
    REREAD = "re-read"
    """A contraction finds a panel that an earlier wave has read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some of a working set: the same reuse of the same kind of tensor by kernels of one name."""

    reuse: Reuse
    kernel: str
    """Name of the kernels that read (or wrote) the bytes, without the number that a compiler gives each."""
    kernels: tuple[int, ...]
    """Their indices."""
    role: str
    """What the tensors are for: weight, activation, …"""
    tensors: tuple[str, ...]
    """Their names, where they have one."""
    saved_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingSet:
    """One knee of the traffic behind a shared cache."""

    begin_bytes: int
    """A cache of this size begins to serve it."""
    held_bytes: int
    """… serves all of it."""
    saved_bytes: int
    """Traffic at the next tier that a cache of `held_bytes` saves and one of `begin_bytes` does not."""
    parts: tuple[Part, ...]
    """Largest first."""
    rows: tuple[int, ...]
    """Which reuses these are, of the table that the set was made from."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reuses:
    """Every reuse of a run, (N,) columns, as if one cache stood alone between the cores and the home tier."""

    low: IntArray
    """Capacity up to which nothing of it is saved."""
    high: IntArray
    """Capacity from which all of it is saved."""
    size: IntArray
    """Bytes that it is about."""
    kind: IntArray
    """Index into `Reuse`."""
    kernel: IntArray
    storage: IntArray
    """-1: the operands of a contraction, or the rows of a reduction."""

    def saved(self, capacity: int) -> FloatArray:
        """(N,) bytes that a cache of `capacity` saves; exact for reads and re-reads, linear for write-backs."""
        ramp = np.where(self.high > self.low, self.high - self.low, 1).astype(np.float64)
        share = np.clip((capacity - self.low) / ramp, 0.0, 1.0)
        return np.where(self.high > self.low, share, self.high <= capacity) * self.size


def reuses(workload: Workload, design: Design) -> Reuses:
    """Every reuse of `workload`; of `design`, only what shapes the tiles matters."""
    columns = [_reads(workload), _write_backs(workload), _rereads(workload, design)]
    low, high, size, kind, kernel, storage = (
        np.concatenate(rows).astype(np.int64) for rows in zip(*columns, strict=True)
    )
    kept = size > 0
    return Reuses(
        low=low[kept], high=high[kept], size=size[kept], kind=kind[kept], kernel=kernel[kept], storage=storage[kept]
    )


def working_sets(graph: KernelGraph, rows: Reuses) -> tuple[WorkingSet, ...]:
    """The reuses `rows` of `graph` as knees, the one that saves most first."""
    order = np.argsort(rows.high, kind="stable")
    sets = []
    first = 0
    while first < len(order):
        limit = float(rows.high[order[first]]) * CLOSE
        last = int(np.searchsorted(rows.high[order], limit, side="right"))
        sets.append(_working_set(graph, rows, order[first:last]))
        first = last
    return tuple(sorted(sets, key=lambda item: (-item.saved_bytes, item.held_bytes)))


def _working_set(graph: KernelGraph, rows: Reuses, chosen: IntArray) -> WorkingSet:
    groups: dict[tuple[int, str, str], list[int]] = {}
    for row in chosen.tolist():
        key = (int(rows.kind[row]), family(graph.names[int(rows.kernel[row])]), _role(graph, int(rows.storage[row])))
        groups.setdefault(key, []).append(row)
    parts = [
        Part(
            reuse=tuple(Reuse)[kind], kernel=name, role=role, saved_bytes=int(rows.size[members].sum()),
            kernels=tuple(sorted(set(rows.kernel[members].tolist()))),
            tensors=tuple(dict.fromkeys(filter(None, (_name(graph, row) for row in rows.storage[members].tolist())))),
        )
        for (kind, name, role), members in groups.items()
    ]  # fmt: skip
    return WorkingSet(
        begin_bytes=int(rows.low[chosen].min()),
        held_bytes=int(rows.high[chosen].max()),
        saved_bytes=int(rows.size[chosen].sum()),
        rows=tuple(chosen.tolist()),
        parts=tuple(sorted(parts, key=lambda part: (-part.saved_bytes, part.reuse.value, part.kernel, part.role))),
    )


def family(name: str) -> str:
    """A kernel's name without its running number."""
    stem, _, number = name.rpartition("_")
    return stem if stem and number.isdigit() else name


def _role(graph: KernelGraph, storage: int) -> str:
    return Role(int(graph.tensors.storage_role[storage])).name.lower() if storage >= 0 else "operand"


def _name(graph: KernelGraph, storage: int) -> str:
    return graph.tensors.storage_names[storage] if storage >= 0 else ""


Columns = tuple[IntArray, IntArray, IntArray, IntArray, IntArray, IntArray]


def _ends(workload: Workload) -> tuple[IntArray, IntArray]:
    """(V,) least and largest reuse distance of each interval."""
    profile = workload.profile
    begin, end = profile.distance_begin, profile.distance_end
    return np.minimum(begin, end), np.maximum(begin, end)


def _reads(workload: Workload) -> Columns:
    """Reads of bytes that an earlier kernel touched."""
    graph, profile = workload.graph, workload.profile
    low, high = _ends(workload)
    read = np.repeat(np.arange(len(graph.reads.tensor)), np.diff(profile.read_ptr))
    kernel = np.repeat(np.arange(len(graph)), np.diff(graph.reads.ptr))[read]
    storage = graph.tensors.tensor_storage[graph.reads.tensor[read]]
    interval = profile.piece_interval
    return low[interval], high[interval], profile.piece_bytes, np.zeros(len(read), np.int64), kernel, storage


def _write_backs(workload: Workload) -> Columns:
    """Dirty chunks that need not reach the next tier: the cache must hold them through all of their intervals."""
    profile = workload.profile
    low, high = _ends(workload)
    rows = np.flatnonzero((profile.chunk_flush == 0) & (np.diff(profile.chunk_ptr) > 0))
    begin, end = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    for place, chunk in enumerate(rows.tolist()):
        intervals = profile.chunk_intervals[profile.chunk_ptr[chunk] : profile.chunk_ptr[chunk + 1]]
        begin[place], end[place] = low[intervals].max(), high[intervals].max()
    table, writes = workload.graph.tensors, workload.graph.writes
    storage = table.tensor_storage[writes.tensor[profile.chunk_write[rows]]]
    return begin, end, profile.chunk_bytes[rows], np.ones(len(rows), np.int64), profile.chunk_kernel[rows], storage


def _rereads(workload: Workload, design: Design) -> Columns:
    """What contractions read again, step by step of the capacity that saves it, and reductions in further passes."""
    loom = woven(workload, design)
    found: list[tuple[int, int, int, int]] = []
    kernels = [np.flatnonzero(workload.kernel_class == label).tolist() for label in range(workload.classes.classes)]
    for label, members in enumerate(kernels):
        steps = loom.rereads(label)
        for (_, before), (capacity, after) in pairwise(steps):
            found += [(capacity, capacity, before - after, kernel) for kernel in members]
        found += [(*loom.row_rereads(label), kernel) for kernel in members]
    table = np.array(found, np.int64).reshape(-1, 4)
    kind, storage = np.full(len(table), 2, np.int64), np.full(len(table), -1, np.int64)
    return table[:, 0], table[:, 1], table[:, 2], kind, table[:, 3], storage


def woven(workload: Workload, design: Design) -> Loom:
    """The loom of `design` after its work, for what it can tell of each class."""
    figures = Machine(design).figures(workload.matrix_dtypes, workload.vector_dtypes, workload.runs)
    loom = Loom(workload.classes, figures)
    loom.weave()
    return loom
