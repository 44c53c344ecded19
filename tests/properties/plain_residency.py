"""The walk of `hiersim.lowering.reuse` with ranges in lists instead of flat columns: its definition."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from hiersim.lowering.residency import ReuseProfile
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED, IntArray, csr


class Held:
    """Bytes that each kernel touched last."""

    def __init__(self, size: int) -> None:
        self.value = [0] * size

    def add(self, index: int, amount: int) -> None:
        self.value[index] += amount

    def between(self, low: int, high: int) -> int:
        """Sum over low <= index < high."""
        return sum(self.value[low:high])


@dataclass(slots=True)
class Range:
    """Some bytes of a block, [low, high)."""

    low: int
    high: int

    def __len__(self) -> int:
        return max(0, self.high - self.low)

    def of(self, low: int, high: int) -> Range:
        """What of it lies in [low, high)."""
        return Range(max(self.low, low), min(self.high, high))


@dataclass(slots=True)
class Layer(Range):
    """Bytes that one kernel touched last."""

    kernel: int


@dataclass(slots=True)
class Interval(Range):
    """Bytes that were touched again, or that wait for the end of the run."""

    block: int
    first: int
    last: int
    begin: int
    end: int


@dataclass(slots=True)
class Chunk(Range):
    """Bytes that one kernel wrote."""

    block: int
    kernel: int
    write: int
    last: int
    intervals: list[int] = field(default_factory=list)


class PlainProfiler:
    """Walks the kernels once and measures every interval; the kernels are `runs` equal runs."""

    def __init__(self, graph: KernelGraph, kind: IntArray, runs: int = 1) -> None:
        self.graph, self.kind = graph, kind.tolist()
        self.period = len(graph) // runs
        storages = len(graph.tensors.storage_bytes)
        self.block = list(range(storages))
        self.fresh = [role in PRODUCED for role in graph.tensors.storage_role.tolist()]
        self.idle: dict[int, list[int]] = {}
        self.stack = Held(len(graph))
        self.layers: list[list[Layer]] = [[] for _ in range(storages)]
        self.intervals: list[Interval] = []
        self.open: list[list[Chunk]] = [[] for _ in range(storages)]
        self.chunks: list[Chunk] = []
        self.pieces: list[list[tuple[int, int]]] = []
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
                    self.idle.setdefault(self.kind[storage], []).append(self.block[storage])
        self.finish()
        outputs = {self.block[s] for s in np.flatnonzero(self.graph.tensors.storage_output == 1).tolist()}
        chunks = sorted(self.chunks, key=lambda chunk: (chunk.write, chunk.low))
        ptr, values = csr([chunk.intervals for chunk in chunks])
        pieces = [piece for read in self.pieces for piece in read]
        return ReuseProfile(
            distance_begin=column(item.begin for item in self.intervals),
            distance_end=column(item.end for item in self.intervals),
            interval_first=column(item.first for item in self.intervals),
            interval_last=column(item.last for item in self.intervals),
            interval_bytes=column(len(item) for item in self.intervals),
            read_ptr=column(np.cumsum([0, *(len(read) for read in self.pieces)])),
            piece_interval=column(interval for interval, _ in pieces),
            piece_bytes=column(size for _, size in pieces),
            chunk_write=column(chunk.write for chunk in chunks),
            chunk_kernel=column(chunk.kernel for chunk in chunks),
            chunk_bytes=column(len(chunk) for chunk in chunks),
            chunk_flush=column(chunk.block in outputs and self.outlives_its_run(chunk) for chunk in chunks),
            chunk_ptr=ptr,
            chunk_intervals=values,
        )

    def outlives_its_run(self, chunk: Chunk) -> bool:
        return chunk.last // self.period > chunk.kernel // self.period

    def place(self, storage: int) -> int:
        """The block of a storage; a tensor that is allocated now takes the block of its kind that was freed last."""
        if self.fresh[storage]:
            self.fresh[storage] = False
            idle = self.idle.get(self.kind[storage])
            if idle:
                self.block[storage] = idle.pop()
        return self.block[storage]

    def accesses(self, kernel: int) -> list[tuple[int, int, int, int]]:
        """(block, tensor, bytes, index among the writes or -1) of all reads and then all writes of one kernel."""
        graph = self.graph
        found = []
        for access, writes in ((graph.reads, False), (graph.writes, True)):
            for index in range(int(access.ptr[kernel]), int(access.ptr[kernel + 1])):
                tensor = int(access.tensor[index])
                block = self.place(int(graph.tensors.tensor_storage[tensor]))
                found.append((block, tensor, int(access.size[index]), index if writes else -1))
        return found

    def visit(self, kernel: int) -> None:
        extent, begins, views, written = {}, {}, {}, {}
        accesses = self.accesses(kernel)
        for block, tensor, size, write in accesses:
            begins.setdefault(tensor, extent.get(block, 0))
            extent[block] = extent.get(block, 0) + max(0, size - views.get(tensor, 0))
            views[tensor] = max(views.get(tensor, 0), size)
            if write >= 0:
                written.setdefault(block, [write, 0])[1] += size
        extent = {block: min(size, self.size[block]) for block, size in extent.items()}
        for block, size in extent.items():
            self.cut(block, size)
        self.measure(kernel, extent)
        for block, tensor, size, write in accesses:
            if write < 0:
                low = max(0, min(begins[tensor], extent[block] - size))
                self.pieces.append(self.touched_before(kernel, block, low, low + size))
        for block, (write, size) in written.items():
            self.overwrite(block, kernel, write, min(size, extent[block]))
        for block, size in extent.items():
            self.remember(block, kernel, size)

    def touched_before(self, kernel: int, block: int, low: int, high: int) -> list[tuple[int, int]]:
        """Interval and bytes of what of [low, high) this kernel touches again."""
        return [
            (number, len(item.of(low, high)))
            for number, item in enumerate(self.intervals)
            if item.last == kernel and item.block == block and len(item.of(low, high))
        ]

    def measure(self, kernel: int, extent: dict[int, int]) -> None:
        """New intervals of the bytes that were touched before, and how they look to the dirty chunks below them."""
        parts = [
            (block, layer.kernel, layer.of(0, size))
            for block, size in extent.items()
            for layer in self.layers[block]
            if len(layer.of(0, size))
        ]
        never = sum(extent.values()) - sum(len(part) for _, _, part in parts)
        for block, before, part in parts:
            both = sum(len(other) for _, last, other in parts if last == before)
            older = never + sum(len(other) for _, last, other in parts if last < before)
            fixed = self.stack.between(before + 1, kernel) + both
            begin, end = fixed + self.stack.value[before] - both, fixed + older
            self.note(Interval(part.low, part.high, block, before, kernel, begin, end))

    def note(self, interval: Interval) -> None:
        for chunk in self.open[interval.block]:
            if interval.low <= chunk.low < interval.high:
                chunk.intervals.append(len(self.intervals))
        self.intervals.append(interval)

    def cut(self, block: int, place: int) -> None:
        """Chunks that lie on both sides of a place become two with one history."""
        for chunk in list(self.open[block]):
            if chunk.low < place < chunk.high:
                rest = Chunk(place, chunk.high, block, chunk.kernel, chunk.write, chunk.last, list(chunk.intervals))
                chunk.high = place
                self.open[block].append(rest)
                self.chunks.append(rest)

    def overwrite(self, block: int, kernel: int, write: int, size: int) -> None:
        self.cut(block, size)
        for chunk in self.open[block]:
            if chunk.low < size:
                chunk.last = kernel
        self.open[block] = [chunk for chunk in self.open[block] if chunk.low >= size]
        if size:
            self.open[block].append(Chunk(0, size, block, kernel, write, len(self.graph)))
            self.chunks.append(self.open[block][-1])

    def remember(self, block: int, kernel: int, size: int) -> None:
        """The first bytes of the block are now what was touched last."""
        left = []
        for layer in self.layers[block]:
            rest = layer.of(size, layer.high)
            self.stack.add(layer.kernel, len(rest) - len(layer))
            if len(rest):
                left.append(Layer(rest.low, rest.high, layer.kernel))
        self.layers[block] = [Layer(0, size, kernel)] * (size > 0) + left
        self.stack.add(kernel, size)

    def finish(self) -> None:
        """What is dirty at the end waits for it."""
        end = len(self.graph)
        for block, chunks in enumerate(self.open):
            dirty = sum(len(chunk) for chunk in chunks)
            for layer in self.layers[block]:
                if layer.low < dirty:
                    after = self.stack.between(layer.kernel + 1, end)
                    begin = after + self.stack.value[layer.kernel]
                    self.note(Interval(layer.low, layer.high, block, layer.kernel, end, begin, after))


def column(values: Iterable[int]) -> IntArray:
    return np.array(list(values), np.int64)
