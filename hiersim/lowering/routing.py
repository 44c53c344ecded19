"""What passes from each shared tier to the next: caches let through what they miss, planned scratchpads what they do
not hold, and pools what does not live in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiersim.lowering.pieces import cut
from hiersim.lowering.planner import Plan
from hiersim.lowering.replacement import cache_bytes, moved_beyond
from hiersim.lowering.scratchpad import Residents
from hiersim.lowering.staging import touches
from hiersim.lowering.supply import FarBytes
from hiersim.lowering.workload import Workload
from hiersim.model.design import Design, Management
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED, BoolArray, IntArray


def far_bytes(workload: Workload, design: Design, placed: Plan | None, pads: tuple[Residents, ...]) -> FarBytes | None:
    """Bytes beyond each shared tier of `design`; None where all follow from LRU and a cold start."""
    if not design.pools and not pads:
        return cache_bytes(workload, design)
    return _Route(workload, design, placed, pads).far()


@dataclass(slots=True)
class _Stream:
    """What goes beyond a tier: reads (R,), writes by kernel (K,)."""

    missed: IntArray
    written: IntArray


class _Route:
    """The way outward from the nearest shared tier."""

    def __init__(self, workload: Workload, design: Design, placed: Plan | None, pads: tuple[Residents, ...]) -> None:
        self.workload, self.design, self.graph = workload, design, workload.graph
        self.pads = {pad.tier.name: pad.resident for pad in pads}
        self.storage = self.graph.tensors.tensor_storage[self.graph.reads.tensor]
        self.home = _levels(self.graph, design, placed)
        self.held = np.zeros(len(self.home), bool)
        """(S,) storages that a nearer scratchpad holds."""
        self.largest = 0

    def far(self) -> FarBytes:
        """Bytes at every tier beyond the nearest."""
        reads, shared = self.graph.reads, self.design.shared_tiers
        stream = _Stream(reads.size, _by_kernel(self.graph, np.ones(len(self.home), bool)))
        supplied, taken, again = [], [], []
        for level, tier in enumerate(shared[:-1]):
            if tier.management is Management.CACHE:
                stream = self._cache(level, stream)
            elif tier.management is Management.SCRATCHPAD:
                stream = self._scratchpad(self.pads[tier.name], stream)
            else:
                stream = self._passing(level, stream)
            here = self._answers(level + 1)
            supplied.append(np.where(here[self.storage], stream.missed, 0))
            passed = self._passing(level + 1, stream).written if self._shares(level + 1) else 0
            taken.append(stream.written - passed)
            further = here & ~self.held & (self.home > level)
            again.append(np.where(further[self.storage], reads.size, 0))
        return FarBytes(read=np.stack(supplied, axis=1), write=np.stack(taken, axis=1), again=np.stack(again, axis=1))

    def _answers(self, level: int) -> BoolArray:
        """(S,) storages whose bytes the shared tier at `level` supplies and takes when nearer ones let them through."""
        if self._shares(level) or level == len(self.design.shared_tiers) - 1:
            return self.home == level
        return np.ones(len(self.home), bool)

    def _shares(self, level: int) -> bool:
        """Whether the shared tier at `level` takes its own tensors only and lets others pass."""
        return self.design.shared_tiers[level].management is Management.POOL

    def _cache(self, level: int, stream: _Stream) -> _Stream:
        tier = self.design.shared_tiers[level]
        if tier.found_again <= self.largest:  # no larger than a nearer one: it keeps nothing that that one does not
            return stream
        self.largest = tier.found_again
        missed, written = moved_beyond(self.workload, tier)
        return _Stream(np.minimum(stream.missed, missed), np.minimum(stream.written, written))

    def _scratchpad(self, resident: BoolArray, stream: _Stream) -> _Stream:
        """Residents pass when first read, if they were there before the run, and last written, if they are results."""
        graph = self.graph
        outside = ~np.isin(graph.tensors.storage_role, [int(role) for role in PRODUCED])
        self.held = self.held | resident
        loaded = _loaded(graph, resident & outside)
        missed = np.where(resident[self.storage], np.minimum(loaded, stream.missed), stream.missed)
        written = np.minimum(stream.written, _by_kernel(graph, ~resident)) + _flushed(graph, resident)
        return _Stream(missed, written)

    def _passing(self, level: int, stream: _Stream) -> _Stream:
        """What passes the pool at `level`: all but what lives there.

        Written bytes are shared out in proportion to what each kernel writes, rounded once: what does not pass stays.
        """
        farther = self.home > level
        whole, part = _by_kernel(self.graph, self.home >= level), _by_kernel(self.graph, farther)
        share = part / np.maximum(whole, 1)
        written = np.where(part == whole, stream.written, np.floor(stream.written * share)).astype(np.int64)
        return _Stream(np.where(farther[self.storage], stream.missed, 0), written)


def _levels(graph: KernelGraph, design: Design, placed: Plan | None) -> IntArray:
    """(S,) index among the shared tiers of the one that kernels find each storage in."""
    shared = [tier.name for tier in design.shared_tiers]
    levels = np.full(len(graph.tensors.storage_bytes), len(shared) - 1, np.int64)
    if placed is not None:
        rows = np.array([shared.index(tier.name) for tier in placed.tiers[: placed.device + 1]])
        near = (placed.home >= 0) & (placed.home < placed.device)
        levels[near] = rows[placed.home[near]]
    return levels


def _by_kernel(graph: KernelGraph, chosen: BoolArray) -> IntArray:
    """(K,) bytes that each kernel writes into the chosen storages."""
    sizes = np.where(chosen[graph.tensors.tensor_storage[graph.writes.tensor]], graph.writes.size, 0)
    return np.diff(np.append(0, np.cumsum(sizes))[graph.writes.ptr])


def _loaded(graph: KernelGraph, chosen: BoolArray) -> IntArray:
    """(R,) bytes of each read of the chosen storages that no kernel before it read or wrote."""
    pieces = graph.derived(cut)
    if pieces is not None:
        parts = _loaded_whole(pieces.graph, chosen[pieces.storage_of])
        return np.diff(np.append(0, np.cumsum(parts))[pieces.read_ptr])
    return _loaded_whole(graph, chosen)


def _loaded_whole(graph: KernelGraph, chosen: BoolArray) -> IntArray:
    """The same where no storage has pieces: of less than all of one, all kernels touch the first bytes."""
    reads = graph.reads
    storage = graph.tensors.tensor_storage[reads.tensor]
    kernel = np.repeat(np.arange(len(graph)), np.diff(reads.ptr))
    touched = graph.derived(touches)
    rows = np.flatnonzero(chosen[touched.storage])
    fresh: dict[tuple[int, int], int] = {}
    held: dict[int, int] = {}
    columns = (touched.storage, touched.kernel, touched.read, touched.write)
    for item, at, read, write in zip(*(column[rows].tolist() for column in columns), strict=True):
        before = held.get(item, 0)
        fresh[item, at] = max(0, read - before)
        held[item] = max(before, read) + write
    loaded = np.zeros(len(storage), np.int64)
    for row in np.flatnonzero(chosen[storage]).tolist():
        key = int(storage[row]), int(kernel[row])
        loaded[row] = min(int(reads.size[row]), fresh[key])
        fresh[key] -= int(loaded[row])
    return loaded


def _flushed(graph: KernelGraph, resident: BoolArray) -> IntArray:
    """(K,) bytes of residents that are results, booked with the last kernel that writes them."""
    pieces = graph.derived(cut)
    if pieces is not None:
        graph, resident = pieces.graph, resident[pieces.storage_of]
    touched = graph.derived(touches)
    wanted = resident & (graph.tensors.storage_output == 1)
    rows = np.flatnonzero((touched.write > 0) & wanted[touched.storage])
    total = np.zeros(len(resident), np.int64)
    np.add.at(total, touched.storage[rows], touched.write[rows])
    last = np.full(len(resident), -1, np.int64)
    np.maximum.at(last, touched.storage[rows], touched.kernel[rows])
    flushed = np.zeros(len(graph), np.int64)
    dirty = np.flatnonzero(last >= 0)
    np.add.at(flushed, last[dirty], np.minimum(total, graph.tensors.storage_bytes)[dirty])
    return flushed
