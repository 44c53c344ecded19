"""Stays: when tensors whose home is behind the device are on the device, and what is copied for it.

A *stay* begins with the first kernel that touches the tensor and goes on while the next one comes soon. Bytes that
kernels read and that are not there yet are copied in before it; bytes that they wrote are copied out after it, unless
nobody wants them again. Copies may begin, and may still run, `ahead` kernels before and after; the room is taken as
long, and until the kernel after that begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED, BoolArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Touches:
    """Which kernel touches which storage, sorted by storage, then kernel; one row for each pair, columns (N,)."""

    storage: IntArray
    kernel: IntArray
    read: IntArray
    """Bytes read, at most the size of the storage."""
    write: IntArray


class Stay(NamedTuple):
    """One storage on the device: kernels `first` to `last` touch it, and it is there from `begin` to `end`."""

    storage: int
    first: int
    last: int
    begin: int
    end: int
    held: int
    """Bytes that it takes."""
    copied_in: int
    copied_out: int


def touches(graph: KernelGraph) -> Touches:
    """Who touches what; once per graph."""
    kernels = len(graph)
    table = graph.tensors
    parts = []
    for access in (graph.reads, graph.writes):
        row = np.repeat(np.arange(kernels), np.diff(access.ptr))
        parts.append((table.tensor_storage[access.tensor] * max(kernels, 1) + row, access.size))
    key = np.concatenate([pair for pair, _ in parts])
    order = np.argsort(key, kind="stable")
    first = np.append(True, np.diff(key[order]) != 0)[: len(order)]
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(first) - 1
    pairs = key[order][first]
    moved = np.zeros((2, len(pairs)), np.int64)
    reads = len(parts[0][1])
    np.add.at(moved[0], number[:reads], parts[0][1])
    np.add.at(moved[1], number[reads:], parts[1][1])
    storage = pairs // max(kernels, 1)
    read, write = np.minimum(moved, table.storage_bytes[storage])
    return Touches(storage=storage, kernel=pairs % max(kernels, 1), read=read, write=write)


def stays(graph: KernelGraph, chosen: BoolArray, ahead: int) -> list[Stay]:
    """The stays of the `chosen` storages, in order of storage and time.

    Parameters
    ----------
    graph : KernelGraph
        Kernels in launch order.
    chosen : (S,) array of bool
        Storages whose home is behind the device.
    ahead : int
        Kernels that copies may run ahead of, or after, the ones that they serve.
    """
    table = graph.tensors
    touched = graph.derived(touches)
    rows = np.flatnonzero(chosen[touched.storage])
    produced = np.isin(table.storage_role, [int(role) for role in PRODUCED])
    wanted = ~produced | (table.storage_output == 1)
    size = table.storage_bytes
    found: list[Stay] = []
    traveller: _Traveller | None = None
    columns = (touched.storage, touched.kernel, touched.read, touched.write)
    for storage, kernel, read, write in zip(*(column[rows].tolist() for column in columns), strict=True):
        if traveller is None or traveller.storage != storage:
            if traveller is not None:
                found.extend(traveller.finish(bool(wanted[traveller.storage])))
            traveller = _Traveller(storage, int(size[storage]), bool(produced[storage]), ahead)
        traveller.touch(kernel, read, write)
    if traveller is not None:
        found.extend(traveller.finish(bool(wanted[traveller.storage])))
    last = len(graph) - 1
    return [stay._replace(begin=max(stay.begin, 0), end=min(stay.end, last)) for stay in found]


class _Traveller:
    """One storage on its way through the run."""

    def __init__(self, storage: int, size: int, produced: bool, ahead: int) -> None:
        self.storage, self.size, self.ahead = storage, size, ahead
        self.content = 0 if produced else size  # bytes that exist at home
        self.stays: list[Stay] = []
        self.first = self.last = -1
        self.held = self.copied_in = self.dirty = 0

    def touch(self, kernel: int, read: int, write: int) -> None:
        """A kernel reads, then writes."""
        if self.first >= 0 and kernel - self.ahead > self.last + self.ahead + 1:
            self.leave(wanted=True)
        if self.first < 0:
            self.first = kernel
        self.last = kernel
        missing = max(0, min(read, self.content) - self.held)
        self.copied_in += missing
        self.held = max(self.held + missing, read)
        self.held = min(self.size, self.held + write) if write else self.held
        self.dirty = min(self.size, self.dirty + write)

    def leave(self, wanted: bool) -> None:
        """The stay is over; what was written goes home if anybody wants it."""
        copied_out = self.dirty if wanted else 0
        self.content = min(self.size, self.content + copied_out)
        begin = self.first - self.ahead if self.copied_in else self.first
        end = self.last + self.ahead + 1 if copied_out else self.last  # until the next kernel may begin
        self.stays.append(Stay(self.storage, self.first, self.last, begin, end, self.held, self.copied_in, copied_out))
        self.first, self.held, self.copied_in, self.dirty = -1, 0, 0, 0

    def finish(self, wanted: bool) -> list[Stay]:
        """All stays; `wanted`: the content must be at home at the end."""
        if self.first >= 0:
            self.leave(wanted)
        return self.stays


def room(found: list[Stay], kernels: int) -> IntArray:
    """(K,) bytes on the device that the stays take while each kernel runs."""
    change = np.zeros(kernels + 1, np.int64)
    if found:
        held = np.array([stay.held for stay in found], np.int64)
        np.add.at(change, np.array([stay.begin for stay in found]), held)
        np.subtract.at(change, np.array([stay.end for stay in found]) + 1, held)
    return np.cumsum(change[:-1])


def first_touch(graph: KernelGraph) -> IntArray:
    """(S,) the first kernel that touches each storage; K where none does."""
    touched = graph.derived(touches)
    first = np.full(len(graph.tensors.storage_bytes), len(graph), np.int64)
    np.minimum.at(first, touched.storage, touched.kernel)
    return first


def moved_bytes(graph: KernelGraph) -> IntArray:
    """(S,) bytes that all kernels read and write of each storage."""
    touched = graph.derived(touches)
    total = np.zeros(len(graph.tensors.storage_bytes), np.int64)
    np.add.at(total, touched.storage, touched.read + touched.write)
    return total
