"""The walk of `hiersim.lowering.reuse` with dictionaries and lists instead of flat columns: its definition."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hiersim.lowering.residency import ReuseProfile
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED, csr

COLD = -1


class Held:
    """Bytes by kernel of last touch."""

    def __init__(self, size: int) -> None:
        self.value = [0] * size

    def add(self, index: int, amount: int) -> None:
        self.value[index] += amount

    def between(self, low: int, high: int) -> int:
        """Sum over low <= index < high."""
        return sum(self.value[low:high])


@dataclass(slots=True)
class Chunk:
    kernel: int
    size: int
    flush: bool = False
    intervals: list[int] = field(default_factory=list)


class PlainProfiler:
    """Walks the kernels once and measures every interval."""

    def __init__(self, graph: KernelGraph) -> None:
        self.graph = graph
        storages = len(graph.tensors.storage_bytes)
        self.block = list(range(storages))
        self.fresh = [role in PRODUCED for role in graph.tensors.storage_role.tolist()]
        self.idle: dict[int, list[int]] = {}
        self.stack = Held(len(graph))
        self.last = [COLD] * storages
        self.footprint = [0] * storages
        self.begin: list[int] = []
        self.end: list[int] = []
        self.spans: list[tuple[int, int, int]] = []
        self.open: list[list[Chunk]] = [[] for _ in range(storages)]
        self.chunks: list[Chunk] = []
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
        first, last, size = np.array(self.spans, np.int64).reshape(-1, 3).T
        return ReuseProfile(
            distance_begin=np.array(self.begin, np.int64),
            distance_end=np.array(self.end, np.int64),
            interval_first=first,
            interval_last=last,
            interval_bytes=size,
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
            chunk = Chunk(kernel, min(size, members[block]))
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
            self.spans.append((before, kernel, own))
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
            self.spans.append((before, end, own))
            for chunk in chunks:
                chunk.flush = block in outputs
                chunk.intervals.append(len(self.begin) - 1)
