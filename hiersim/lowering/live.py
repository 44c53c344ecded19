"""What the last tier holds while each kernel runs, by role: the timeline of training and of growing caches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiersim.lowering.placement import lifetimes
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import BoolArray, IntArray, Phase, Role


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveBytes:
    """Bytes allocated in the last tier. K kernels, R roles."""

    by_role: IntArray
    """(K, R), a column per `Role`; they add up to the occupancy."""
    saved: IntArray
    """(K,) part of the activations that the forward pass made and the backward pass still reads."""

    @property
    def total(self) -> IntArray:
        """(K,)"""
        total: IntArray = self.by_role.sum(axis=1)
        return total

    @property
    def peak_kernel(self) -> int:
        """The first kernel with the most bytes."""
        return int(self.total.argmax())


def live_bytes(graph: KernelGraph) -> LiveBytes:
    """The bytes of every storage, from the kernel that first needs it to the one that frees it, both included."""
    return live_in(graph, np.ones(len(graph.tensors.storage_bytes), bool), np.zeros((0, 4), np.int64))


def live_in(graph: KernelGraph, resident: BoolArray, stays: IntArray) -> LiveBytes:
    """The bytes of some storages all their life, and of others during their stays.

    Parameters
    ----------
    graph : KernelGraph
        Kernels in launch order.
    resident : (S,) array of bool
        Storages whose home is the tier.
    stays : (N, 4) array of int
        Storage, first and last kernel, and bytes of each stay of another one.
    """
    life, table = lifetimes(graph), graph.tensors
    own = np.flatnonzero(resident & (life.used == 1))
    rows = np.stack((own, life.first[own], life.last[own], table.storage_bytes[own]), axis=1)
    storage, first, last, size = np.concatenate((rows, stays)).T
    change = np.zeros((len(graph) + 1, len(Role) + 1), np.int64)
    saved = np.flatnonzero(_saved(graph, life.first, life.last)[storage])
    whole = np.arange(len(storage))
    for chosen, column in ((whole, table.storage_role[storage]), (saved, np.full(len(saved), len(Role)))):
        np.add.at(change, (first[chosen], column), size[chosen])
        np.subtract.at(change, (last[chosen] + 1, column), size[chosen])
    live = np.cumsum(change[:-1], axis=0)
    return LiveBytes(by_role=live[:, : len(Role)], saved=live[:, len(Role)])


def _saved(graph: KernelGraph, first: IntArray, last: IntArray) -> IntArray:
    """(S,) true for activations whose life begins in the forward and ends in the backward pass."""
    phase = np.zeros(len(graph) + 1, np.int64)  # one more: of what no kernel touches
    filled = np.flatnonzero(np.diff(graph.operator_ptr) > 0)
    if len(filled):  # a kernel of backward may begin with what it computes again of forward
        phase[filled] = np.maximum.reduceat(graph.operators.phase, graph.operator_ptr[filled])
    crosses = (phase[first] == Phase.FORWARD) & (phase[np.maximum(last, 0)] == Phase.BACKWARD)
    saved: IntArray = crosses & (graph.tensors.storage_role == Role.ACTIVATION)
    return saved
