"""What memory holds while each kernel runs, by role: the timeline of training and of growing caches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiersim.lowering.placement import lifetimes
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray, Phase, Role


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveBytes:
    """Bytes allocated in the home tier. K kernels, R roles."""

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
    life, table = lifetimes(graph), graph.tensors
    kept = life.used == 1
    change = np.zeros((len(graph) + 1, len(Role) + 1), np.int64)
    saved = _saved(graph, life.first, life.last)
    for chosen, column in ((kept, table.storage_role), (kept & saved, np.full(len(kept), len(Role)))):
        np.add.at(change, (life.first[chosen], column[chosen]), table.storage_bytes[chosen])
        np.subtract.at(change, (life.last[chosen] + 1, column[chosen]), table.storage_bytes[chosen])
    live = np.cumsum(change[:-1], axis=0)
    return LiveBytes(by_role=live[:, : len(Role)], saved=live[:, len(Role)])


def _saved(graph: KernelGraph, first: IntArray, last: IntArray) -> IntArray:
    """(S,) true for activations whose life begins in the forward and ends in the backward pass."""
    phase = np.zeros(len(graph) + 1, np.int64)  # one more: of what no kernel touches
    filled = np.flatnonzero(np.diff(graph.operator_ptr) > 0)
    phase[filled] = graph.operators.phase[graph.operator_ptr[filled]]
    crosses = (phase[first] == Phase.FORWARD) & (phase[np.maximum(last, 0)] == Phase.BACKWARD)
    saved: IntArray = crosses & (graph.tensors.storage_role == Role.ACTIVATION)
    return saved
