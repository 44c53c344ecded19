"""`Program`: kernels as tile loops over stages, in flat integer arrays. All that an engine may know.

A kernel runs a *loop nest*; kernels that do the same share one, so that a program grows with what is distinct in a
model. A nest is a list of loops; a loop repeats a body; a body is a list of (count, tile type). A tile type is a
chain of stages, each on one resource (a port or a unit) for a fixed number of ticks, followed by a latency in
which the resource is free again. `Program.tiles(k)` unrolls a kernel in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from hiersim.model.operators import IntArray


class Access(IntEnum):
    """What a stage does with its resource."""

    READ = 0
    COMPUTE = 1
    WRITE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A port of a tier, or a compute unit. It serves one stage at a time."""

    name: str
    tier: int
    """Index into `Program.tiers`; -1 for a compute unit."""
    fair: bool = False
    """Kernels that wait get equal shares of its time; otherwise it serves first come, first served."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """One kernel graph lowered onto one design. K kernels, N loop nests, L loops, B bodies, Y tile types, G stages.

    No loop is empty, no tile type belongs to two nests, and every service takes at least one tick.
    """

    tiers: tuple[str, ...]
    """Places that bytes pass: tiers and the links between them, nearest first, as far as they are in use."""
    resources: tuple[Resource, ...]
    queue: int
    """Launches that may be pending on the device."""

    kernel_names: tuple[str, ...]
    host_ticks: IntArray
    """(K,) host thread time to launch the kernel, with the views before it."""
    host_sync: IntArray
    """(K,) 1: the host first waits until all earlier kernels have ended."""
    launch_latency: IntArray
    """(K,) from the end of the launch call to its arrival at the device."""
    start_ticks: IntArray
    """(K,) device time between readiness and the first buffer request."""
    needs_ptr: IntArray
    needs: IntArray
    """CSR (K + 1,): earlier kernels that must have ended."""
    nest: IntArray
    """(K,) the loop nest that the kernel runs."""

    depth: IntArray
    """(N,) tiles that may hold a buffer at once."""
    buffer_tier: IntArray
    """(N,) index of the tier that the buffers lie in."""
    loop_ptr: IntArray
    """(N + 1,)"""
    loop_repeat: IntArray
    """(L,)"""
    body_ptr: IntArray
    """(L + 1,)"""
    body_count: IntArray
    """(B,)"""
    body_tile: IntArray
    """(B,) tile type."""
    stage_ptr: IntArray
    """(Y + 1,)"""
    release_stage: IntArray
    """(Y,) index in the chain of the stage whose service end frees the buffer."""
    complete_stage: IntArray
    """(Y,) index in the chain of the stage whose arrival completes the tile for others; later ones are write-back."""

    stage_resource: IntArray
    """(G,)"""
    stage_access: IntArray
    """(G,) values of `Access`."""
    stage_ticks: IntArray
    """(G,) service time, at least 1."""
    stage_latency: IntArray
    """(G,)"""
    stage_bytes: IntArray
    """(G,) bytes moved through the port; 0 for compute."""
    stage_useful: IntArray
    stage_padding: IntArray
    stage_tail: IntArray
    """(G,) split of a compute stage's ticks. What they leave of `stage_ticks` is *set-up*: the unit is taken and has
    nothing to compute, which the ledger calls dispatch."""

    free_bytes: IntArray
    """(2, tiers) bytes read and written at ports of unlimited bandwidth and no latency, which have no stages."""
    peak_bytes: IntArray
    """(tiers,) largest occupancy."""
    flops: tuple[int, int]
    """Useful FLOPs done on the matrix unit and on the vector unit."""
    peak_ticks: tuple[int, int]
    """Ticks that these FLOPs take at datasheet peak, rounded down."""
    compulsory_bytes: int
    """Bytes that must cross the home tier's port whatever the schedule."""
    warnings: tuple[str, ...]
    home_tier: int = -1
    """Index of the last tier that kernels address; the places behind it are reached by copies."""
    pool_tiers: tuple[int, ...] = ()
    """Indices of nearer tiers in which tensors live as well."""
    graph_kernel: IntArray | None = None
    """(K,) index of the kernel in its graph, -1 for copies; None where kernels are those of the graph."""
    storage_home: IntArray | None = None
    """(S,) index of each storage's home, -1 for those that take no memory; None where all live in `home_tier`."""
    stays: IntArray | None = None
    """(N, 4) when storages from behind `home_tier` are there: storage, first and last kernel of the graph, bytes."""

    def __len__(self) -> int:
        return len(self.kernel_names)

    @property
    def units(self) -> tuple[int, ...]:
        """Indices of the compute units among the resources."""
        return tuple(index for index, resource in enumerate(self.resources) if resource.tier < 0)

    def tiles(self, kernel: int) -> Iterator[int]:
        """Tile types of a kernel in issue order."""
        nest = self.nest[kernel]
        for loop in range(self.loop_ptr[nest], self.loop_ptr[nest + 1]):
            body = slice(self.body_ptr[loop], self.body_ptr[loop + 1])
            parts = list(zip(self.body_tile[body].tolist(), self.body_count[body].tolist(), strict=True))
            for _ in range(self.loop_repeat[loop]):
                for tile, count in parts:
                    for _ in range(count):
                        yield tile

    @property
    def places(self) -> IntArray:
        """Index of each kernel of the graph among the kernels of the program, which has copies as well."""
        if self.graph_kernel is None:
            return np.arange(len(self))
        return np.flatnonzero(self.graph_kernel >= 0)

    @property
    def in_stream(self) -> bool:
        """True when every kernel needs exactly the one before it."""
        rows = np.arange(len(self))
        return bool(
            len(self.needs) == max(len(rows) - 1, 0)
            and int(self.needs_ptr[0]) == 0
            and (self.needs_ptr[1:] == rows).all()
            and (self.needs == rows[:-1]).all()
        )

    def nest_counts(self) -> IntArray:
        """(N,) how many kernels run each loop nest."""
        return np.bincount(self.nest, minlength=len(self.depth)).astype(np.int64)

    def tile_repeats(self) -> IntArray:
        """(Y,) how often each tile type runs in one kernel of its nest."""
        counts = np.zeros(len(self.stage_ptr) - 1, np.int64)
        np.add.at(counts, self.body_tile, np.repeat(self.loop_repeat, np.diff(self.body_ptr)) * self.body_count)
        return counts

    def tile_nests(self) -> IntArray:
        """(Y,) the nest that each tile type belongs to."""
        body_nest = np.repeat(np.repeat(np.arange(len(self.depth)), np.diff(self.loop_ptr)), np.diff(self.body_ptr))
        nests = np.zeros(len(self.stage_ptr) - 1, np.int64)
        nests[self.body_tile] = body_nest
        return nests

    def tile_counts(self) -> IntArray:
        """(Y,) how often each tile type runs in all."""
        return np.asarray(self.tile_repeats() * self.nest_counts()[self.tile_nests()], np.int64)

    def tile_total(self) -> int:
        """Tiles of all kernels together."""
        loop_nest = np.repeat(np.arange(len(self.depth)), np.diff(self.loop_ptr))
        repeats = self.loop_repeat * self.nest_counts()[loop_nest]
        return int((np.repeat(repeats, np.diff(self.body_ptr)) * self.body_count).sum())

    def stage_counts(self) -> IntArray:
        """(G,) how often each stage runs in all."""
        return np.repeat(self.tile_counts(), np.diff(self.stage_ptr))

    def traffic(self) -> tuple[IntArray, IntArray]:
        """Bytes read and written at the ports of each tier, two arrays of shape (tiers,)."""
        tiers = len(self.tiers)
        tier = np.array([resource.tier for resource in self.resources])[self.stage_resource]
        way = np.array([0, -1, 1])[self.stage_access]  # reads, none, writes
        rows = np.flatnonzero((tier >= 0) & (way >= 0))
        moved = np.zeros(2 * tiers, np.int64)
        np.add.at(moved, (way * tiers + tier)[rows], (self.stage_bytes * self.stage_counts())[rows])
        total = self.free_bytes + moved.reshape(2, tiers)
        return total[0], total[1]
