"""What shared caches still hold when a kernel comes back to it: exact LRU reuse of streamed storages.

Every kernel streams each storage that it touches from start to end, all at proportional speed. Byte x
(0 … 1) of a storage that kernel j touches again after kernel i has then seen

    D(x) = between + (1 - x) · only_i + x · only_j + both + own

distinct bytes pass by since: those of storages touched in kernels between i and j, in i only, in j only,
in both, and its own. LRU of capacity C keeps it exactly if D(x) <= C, so the share that hits is the part
of [0, 1] where the straight line D stays below C. D does not depend on any capacity: it is computed once
per kernel graph, and a larger cache never misses more (the inclusion property of LRU).

A storage of which kernels touch different views is cut (`pieces.py`), and each piece goes its own way. Which part of a
piece a kernel touches is not known where it touches less than all: it is taken to be the first bytes. A piece is
therefore a stack of *layers*, on top what was touched last, below it the rest of what was touched before, each with its
own age. A kernel that reads all of it ends an interval of each, and the formula holds layer by layer.

Mattson, Gecsei, Slutz, Traiger: Evaluation techniques for storage hierarchies, IBM Systems Journal 9(2), 1970.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hiersim.errors import FusionError
from hiersim.lowering.pieces import Pieces, cut, numbered
from hiersim.lowering.reuse import Walk
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Accesses, IntArray
from hiersim.units import LARGEST

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReuseProfile:
    """Reuse distances of a kernel graph; no design enters it.

    An *interval* is the time between two touches of some bytes of a block (or their last touch and the end of the run).
    V intervals, R read accesses in the order of `graph.reads`, P pieces of them that were touched before, W dirty
    chunks.
    """

    distance_begin: IntArray
    """(V,) distinct bytes seen by the block's first byte."""
    distance_end: IntArray
    """(V,) … by its last byte."""
    interval_first: IntArray
    """(V,) the kernel of the earlier touch."""
    interval_last: IntArray
    """(V,) the kernel of the later one; the number of kernels where the run ends."""
    interval_bytes: IntArray
    """(V,) how many bytes both touch."""
    read_ptr: IntArray
    """CSR (R + 1,) of pieces; what no piece covers was never touched before."""
    piece_interval: IntArray
    """(P,) the interval that ends in the read."""
    piece_bytes: IntArray
    chunk_write: IntArray
    """(W,) the write, in the order of `graph.writes`, that made the chunk; chunks are in order of that."""
    chunk_kernel: IntArray
    """(W,) its kernel."""
    chunk_bytes: IntArray
    chunk_flush: IntArray
    """(W,) 1 where the chunk must reach the home tier in any case."""
    chunk_ptr: IntArray
    chunk_intervals: IntArray
    """CSR (W + 1,): intervals that the chunk must survive to be dropped without a write-back."""

    def moved(self, size: IntArray, kernels: int, capacity: int) -> tuple[IntArray, IntArray]:
        """(R,) bytes missed by reads of these sizes, and (K,) bytes written back."""
        return self.read_misses(size, capacity), self.write_backs(kernels, capacity)

    def hit_shares(self, capacity: int) -> FloatArray:
        """(V,) share of the bytes still held at the end of each interval by an LRU cache of `capacity`."""
        low = np.minimum(self.distance_begin, self.distance_end).astype(np.float64)
        high = np.maximum(self.distance_begin, self.distance_end).astype(np.float64)
        slope = np.where(high > low, high - low, 1.0)
        return np.where(high > low, np.clip((capacity - low) / slope, 0.0, 1.0), (low <= capacity).astype(np.float64))

    def read_misses(self, size: IntArray, capacity: int) -> IntArray:
        """(R,) bytes of each read that the cache no longer holds."""
        hits = np.floor(self.hit_shares(capacity)[self.piece_interval] * self.piece_bytes).astype(np.int64)
        return np.asarray(size - self.by_read(hits), np.int64)

    def by_read(self, pieces: IntArray) -> IntArray:
        """(R,) sums over the pieces of each read, of (P,) numbers."""
        return np.diff(np.append(0, np.cumsum(pieces))[self.read_ptr])

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


def profile_reuse(graph: KernelGraph) -> ReuseProfile:
    """Reuse distances of every access of `graph`; once per graph, whatever the design.

    Raises
    ------
    FusionError
        For a graph that no frontend would let through, and whose walk would read past the end of a column.
    """
    check_graph(graph)
    return walked(graph, 1)


def profile_second_run(graph: KernelGraph) -> tuple[ReuseProfile, ReuseProfile]:
    """Reuse of a run that begins with what the run before it left: of both runs together, and of the second alone.

    The same kernels run twice at the same addresses, the first time with an empty cache. The second is what every later
    run looks like, since a block's last touch lies at most one run back. Of both profiles the intervals are the same.
    A chunk is dirty until the next run overwrites it.
    """
    check_graph(graph)
    both = walked(graph, 2)
    return both, one_run(both, 1, graph)


def walked(graph: KernelGraph, runs: int) -> ReuseProfile:
    """The reuse of so many runs of `graph`, each storage in the pieces that its views make of it."""
    pieces = graph.derived(cut)
    if pieces is None:
        return _profile(graph, numbered(graph.tensors.storage_bytes), runs)
    return _of_whole(_profile(pieces.graph, pieces.kind, runs), pieces, runs)


def _profile(graph: KernelGraph, kind: IntArray, runs: int) -> ReuseProfile:
    walk = Walk(graph if runs == 1 else repeated(graph, runs), kind)
    return ReuseProfile(**walk.run(graph.tensors.storage_output == 1, runs=runs))


def _of_whole(profile: ReuseProfile, pieces: Pieces, runs: int) -> ReuseProfile:
    """A profile of pieces by the reads and writes that they are parts of."""
    ends = pieces.read_ptr[1:] + pieces.read_ptr[-1] * np.arange(runs, dtype=np.int64)[:, None]
    run, write = np.divmod(profile.chunk_write, max(len(pieces.write_of), 1))
    writes = int(pieces.write_of.max(initial=-1)) + 1
    return dataclasses.replace(
        profile,
        read_ptr=profile.read_ptr[np.append(0, ends.reshape(-1))],
        chunk_write=pieces.write_of[write] + run * writes if writes else profile.chunk_write,
    )


def one_run(profile: ReuseProfile, run: int, graph: KernelGraph) -> ReuseProfile:
    """Of a profile of several runs of `graph`: the reads of run `run`, from 1, and the chunks of the run before it.

    That is what a run finds, and what becomes of the dirty bytes that it finds. The intervals stay those of all runs.
    """
    reads, kernels, writes = len(graph.reads.tensor), len(graph), len(graph.writes.tensor)
    first, last = np.searchsorted(profile.chunk_write, [(run - 1) * writes, run * writes]).tolist()
    ptr, dirty = profile.read_ptr[run * reads : (run + 1) * reads + 1], profile.chunk_ptr[first : last + 1]
    return dataclasses.replace(
        profile,
        read_ptr=ptr - ptr[0],
        piece_interval=profile.piece_interval[ptr[0] : ptr[-1]],
        piece_bytes=profile.piece_bytes[ptr[0] : ptr[-1]],
        chunk_write=profile.chunk_write[first:last] - (run - 1) * writes,
        chunk_kernel=profile.chunk_kernel[first:last] - (run - 1) * kernels,
        chunk_bytes=profile.chunk_bytes[first:last],
        chunk_flush=profile.chunk_flush[first:last],
        chunk_ptr=dirty - dirty[0],
        chunk_intervals=profile.chunk_intervals[dirty[0] : dirty[-1]],
    )


def repeated(graph: KernelGraph, runs: int) -> KernelGraph:
    """The kernels of `graph` again and again, as far as a walk looks at them; memory is freed in the first run only.

    Later runs find every storage where the first one put it.
    """

    def again(access: Accesses) -> Accesses:
        ends = (access.ptr[1:] + access.ptr[-1] * np.arange(runs, dtype=np.int64)[:, None]).reshape(-1)
        return Accesses(
            ptr=np.concatenate([[0], ends]), tensor=np.tile(access.tensor, runs), size=np.tile(access.size, runs)
        )

    return dataclasses.replace(graph, names=graph.names * runs, reads=again(graph.reads), writes=again(graph.writes))


def check_graph(graph: KernelGraph) -> None:
    """Indices in range, sizes that add up to less than 2^62."""
    table, kernels = graph.tensors, len(graph)
    _check_column(graph, "tensors.tensor_storage", table.tensor_storage, 0, len(table.storage_bytes))
    _check_column(graph, "tensors.storage_free", table.storage_free, -1, kernels)
    for name, length in (("storage_role", len(table.storage_bytes)), ("storage_output", len(table.storage_bytes))):
        if len(getattr(table, name)) != length:
            raise FusionError(f"'{graph.policy}' made kernels whose tensors.{name} does not have {length} entries")
    sizes = [("tensors.storage_bytes", table.storage_bytes)]
    for name, access in (("reads", graph.reads), ("writes", graph.writes)):
        _check_column(graph, f"{name}.tensor", access.tensor, 0, len(table.tensor_storage))
        whole = len(access.ptr) == kernels + 1 and int(access.ptr[0]) == 0 and int(access.ptr[-1]) == len(access.tensor)
        if not whole or len(access.size) != len(access.tensor) or bool(np.any(np.diff(access.ptr) < 0)):
            raise FusionError(f"'{graph.policy}' made kernels whose {name} are not a list by kernel")
        sizes.append((f"{name}.size", access.size))
    for name, column in sizes:
        _check_column(graph, name, column, 0, LARGEST)
        if float(np.sum(column, dtype=np.float64)) >= LARGEST:
            raise FusionError(f"'{graph.policy}' made kernels whose {name} adds up to more than 2^62")


def _check_column(graph: KernelGraph, name: str, column: IntArray, low: int, high: int) -> None:
    if len(column) and not (low <= int(column.min()) and int(column.max()) < high):
        raise FusionError(
            f"'{graph.policy}' made kernels whose {name} is out of range", expected=f"at least {low} and below {high}"
        )
