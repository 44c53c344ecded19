"""What shared caches still hold when a kernel comes back to it: exact LRU reuse of streamed storages.

Every kernel streams each storage that it touches from start to end, all at proportional speed. Byte x
(0 … 1) of a storage that kernel j touches again after kernel i has then seen

    D(x) = between + (1 - x) · only_i + x · only_j + both + own

distinct bytes pass by since: those of storages touched in kernels between i and j, in i only, in j only,
in both, and its own. LRU of capacity C keeps it exactly if D(x) <= C, so the share that hits is the part
of [0, 1] where the straight line D stays below C. D does not depend on any capacity: it is computed once
per kernel graph, and a larger cache never misses more (the inclusion property of LRU).

Mattson, Gecsei, Slutz, Traiger: Evaluation techniques for storage hierarchies, IBM Systems Journal 9(2), 1970.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED, IntArray, csr

FloatArray = npt.NDArray[np.float64]
COLD = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReuseProfile:
    """Reuse distances of a kernel graph; no design enters it.

    An *interval* is the time between two touches of one block (or its last touch and the end of the run). V intervals,
    R read accesses in the order of `graph.reads`, W dirty chunks.
    """

    distance_begin: IntArray
    """(V,) distinct bytes seen by the block's first byte."""
    distance_end: IntArray
    """(V,) … by its last byte."""
    read_interval: IntArray
    """(R,) the interval that ends in the read; -1 where the bytes were never touched before."""
    read_prior: IntArray
    """(R,) bytes of it that the earlier touch covered."""
    chunk_kernel: IntArray
    """(W,) the kernel that wrote the chunk."""
    chunk_bytes: IntArray
    chunk_flush: IntArray
    """(W,) 1 where the chunk must reach the home tier in any case."""
    chunk_ptr: IntArray
    chunk_intervals: IntArray
    """CSR (W + 1,): intervals that the chunk must survive to be dropped without a write-back."""

    def hit_shares(self, capacity: int) -> FloatArray:
        """(V,) share of the bytes still held at the end of each interval by an LRU cache of `capacity`."""
        low = np.minimum(self.distance_begin, self.distance_end).astype(np.float64)
        high = np.maximum(self.distance_begin, self.distance_end).astype(np.float64)
        slope = np.where(high > low, high - low, 1.0)
        return np.where(high > low, np.clip((capacity - low) / slope, 0.0, 1.0), (low <= capacity).astype(np.float64))

    def read_misses(self, size: IntArray, capacity: int) -> IntArray:
        """(R,) bytes of each read that the cache no longer holds."""
        share = np.append(self.hit_shares(capacity), 0.0)[self.read_interval]  # cold (-1): the zero at the end
        hits = np.floor(share * np.minimum(self.read_prior, size)).astype(np.int64)
        return np.asarray(size - hits, np.int64)

    def write_backs(self, kernels: int, capacity: int) -> IntArray:
        """(K,) bytes that leave the cache for the next tier, booked with the kernel that wrote them."""
        share = self.hit_shares(capacity)
        survives = np.ones(len(self.chunk_bytes))
        filled = np.diff(self.chunk_ptr) > 0
        if len(self.chunk_intervals):
            products = np.multiply.reduceat(share[self.chunk_intervals], self.chunk_ptr[:-1][filled])
            survives[filled] = products
        leaving = np.where(self.chunk_flush == 1, 1.0, 1.0 - survives) * self.chunk_bytes
        total = np.zeros(kernels)
        np.add.at(total, self.chunk_kernel, leaving)
        return np.floor(total + 1e-6).astype(np.int64)


class _Fenwick:
    """Prefix sums of bytes by kernel of last touch."""

    def __init__(self, size: int) -> None:
        self.tree = [0] * (size + 1)
        self.value = [0] * size

    def add(self, index: int, amount: int) -> None:
        self.value[index] += amount
        index += 1
        while index < len(self.tree):
            self.tree[index] += amount
            index += index & -index

    def between(self, low: int, high: int) -> int:
        """Sum over low <= index < high."""
        return self._prefix(high) - self._prefix(low) if high > low else 0

    def _prefix(self, index: int) -> int:
        total = 0
        while index > 0:
            total += self.tree[index]
            index -= index & -index
        return total


@dataclass(slots=True)
class _Chunk:
    kernel: int
    size: int
    flush: bool = False
    intervals: list[int] = field(default_factory=list)


class _Profiler:
    """Walks the kernels once and measures every interval."""

    def __init__(self, graph: KernelGraph) -> None:
        self.graph = graph
        storages = len(graph.tensors.storage_bytes)
        self.block = list(range(storages))
        self.fresh = [role in PRODUCED for role in graph.tensors.storage_role.tolist()]
        self.idle: dict[int, list[int]] = {}
        self.stack = _Fenwick(len(graph))
        self.last = [COLD] * storages
        self.footprint = [0] * storages
        self.begin: list[int] = []
        self.end: list[int] = []
        self.open: list[list[_Chunk]] = [[] for _ in range(storages)]
        self.chunks: list[_Chunk] = []
        self.read_interval: list[int] = []
        self.read_prior: list[int] = []
        self.size = graph.tensors.storage_bytes.tolist()
        self.releases: list[list[int]] = [[] for _ in range(len(graph))]
        for storage, kernel in enumerate(graph.tensors.storage_free.tolist()):
            if kernel >= 0:
                self.releases[kernel].append(storage)

    def run(self) -> ReuseProfile:
        for kernel in range(len(self.graph)):
            self.visit(kernel)
            for storage in self.releases[kernel]:
                if not self.fresh[storage]:
                    self.idle.setdefault(self.size[storage], []).append(self.block[storage])
        self.finish()
        ptr, values = csr([chunk.intervals for chunk in self.chunks])
        return ReuseProfile(
            distance_begin=np.array(self.begin, np.int64),
            distance_end=np.array(self.end, np.int64),
            read_interval=np.array(self.read_interval, np.int64),
            read_prior=np.array(self.read_prior, np.int64),
            chunk_kernel=np.array([chunk.kernel for chunk in self.chunks], np.int64),
            chunk_bytes=np.array([chunk.size for chunk in self.chunks], np.int64),
            chunk_flush=np.array([chunk.flush for chunk in self.chunks], np.int64),
            chunk_ptr=ptr,
            chunk_intervals=values,
        )

    def place(self, storage: int) -> int:
        """The block of a storage; a tensor that is allocated now takes the block of its size that was freed last."""
        if self.fresh[storage]:
            self.fresh[storage] = False
            idle = self.idle.get(self.size[storage])
            if idle:
                self.block[storage] = idle.pop()
        return self.block[storage]

    def touched(self, kernel: int) -> tuple[dict[int, int], dict[int, int], list[tuple[int, int]]]:
        """Footprint and written bytes per block of one kernel, and (block, bytes) of each of its reads."""
        graph = self.graph
        views: dict[tuple[int, int], int] = {}
        written: dict[int, int] = {}
        reads: list[tuple[int, int]] = []
        for access, writes in ((graph.reads, False), (graph.writes, True)):
            for index in range(int(access.ptr[kernel]), int(access.ptr[kernel + 1])):
                tensor, size = int(access.tensor[index]), int(access.size[index])
                block = self.place(int(graph.tensors.tensor_storage[tensor]))
                key = (block, tensor)
                views[key] = max(views.get(key, 0), size)
                if writes:
                    written[block] = written.get(block, 0) + size
                else:
                    reads.append((block, size))
        members: dict[int, int] = {}
        for (block, _), size in views.items():
            most = self.size[block]
            members[block] = min(most, members.get(block, 0) + size)
        return members, written, reads

    def visit(self, kernel: int) -> None:
        members, written, reads = self.touched(kernel)
        intervals = self.measure(kernel, members)
        self.note_reads(reads, intervals)
        for block, interval in intervals.items():
            for chunk in self.open[block]:
                chunk.intervals.append(interval)
        for block, size in written.items():
            kept = [chunk for chunk in self.open[block] if chunk.size > size]
            chunk = _Chunk(kernel, min(size, members[block]))
            self.chunks.append(chunk)
            self.open[block] = [*kept, chunk]
        for block, size in members.items():
            if self.last[block] != COLD:
                self.stack.add(self.last[block], -self.footprint[block])
            self.last[block], self.footprint[block] = kernel, size
            self.stack.add(kernel, size)

    def note_reads(self, reads: list[tuple[int, int]], intervals: dict[int, int]) -> None:
        """What of each read was touched before; views of one block share that in proportion to their sizes."""
        total: dict[int, int] = {}
        for block, size in reads:
            total[block] = total.get(block, 0) + size
        for block, size in reads:
            self.read_interval.append(intervals.get(block, COLD))
            prior = self.footprint[block] if block in intervals else 0
            whole = min(total[block], self.size[block])
            self.read_prior.append(size * prior // whole if prior < whole else size)

    def measure(self, kernel: int, members: dict[int, int]) -> dict[int, int]:
        """New intervals of the blocks in `members` that were touched before: block → interval."""
        together: dict[int, int] = {}
        for block in members:
            if self.last[block] != COLD:
                together[self.last[block]] = together.get(self.last[block], 0) + self.footprint[block]
        order = sorted(members, key=lambda block: self.last[block])
        older, running, position = {}, 0, 0
        for before in sorted(together):
            while position < len(order) and self.last[order[position]] < before:
                running += members[order[position]]
                position += 1
            older[before] = running
        intervals: dict[int, int] = {}
        for block in members:
            before = self.last[block]
            if before == COLD:
                continue
            own = self.footprint[block]
            both = together[before] - own
            only_before = self.stack.value[before] - own - both
            fixed = self.stack.between(before + 1, kernel) + both + own
            intervals[block] = len(self.begin)
            self.begin.append(fixed + only_before)
            self.end.append(fixed + older[before])
        return intervals

    def finish(self) -> None:
        """What is still dirty at the end: outputs are flushed, the rest has been evicted or stays."""
        end = len(self.graph)
        outputs = {self.block[s] for s in np.flatnonzero(self.graph.tensors.storage_output == 1).tolist()}
        for block, chunks in enumerate(self.open):
            if not chunks:
                continue
            before, own = self.last[block], self.footprint[block]
            fixed = self.stack.between(before + 1, end) + own
            self.begin.append(fixed + self.stack.value[before] - own)
            self.end.append(fixed)
            for chunk in chunks:
                chunk.flush = block in outputs
                chunk.intervals.append(len(self.begin) - 1)


def profile_reuse(graph: KernelGraph) -> ReuseProfile:
    """Reuse distances of every access of `graph`; once per graph, whatever the design."""
    return _Profiler(graph).run()
