"""Where tensors live and when: peak occupancy of the home tier, and an error when it is full."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiersim.errors import CapacityError
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED, IntArray, Role
from hiersim.units import show_bytes, show_least_bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lifetimes:
    """When each storage is allocated: from kernel `first` to kernel `last`, both included; (S,)."""

    first: IntArray
    last: IntArray
    used: IntArray
    """1 where the storage takes memory at all."""


def lifetimes(graph: KernelGraph) -> Lifetimes:
    """Allocation intervals of all storages, in kernels."""
    table = graph.tensors
    kernels, storages = len(graph), len(table.storage_bytes)
    first = np.full(storages, kernels, np.int64)
    for access in (graph.writes, graph.reads):
        row = np.repeat(np.arange(kernels), np.diff(access.ptr))
        np.minimum.at(first, table.tensor_storage[access.tensor], row)
    transient = np.isin(table.storage_role, [int(role) for role in PRODUCED])
    touched = first < kernels
    first = np.where(transient, first, 0)
    last = np.where(table.storage_free < 0, kernels - 1, table.storage_free)
    used = np.where(transient, touched, True).astype(np.int64)
    return Lifetimes(first=first, last=np.maximum(last, np.minimum(first, kernels - 1)), used=used)


def occupancy(graph: KernelGraph) -> IntArray:
    """(K,) bytes allocated in the home tier while each kernel runs."""
    life = lifetimes(graph)
    change = np.zeros(len(graph) + 1, np.int64)
    size = graph.tensors.storage_bytes * life.used
    kept = life.used == 1
    np.add.at(change, life.first[kept], size[kept])
    np.subtract.at(change, life.last[kept] + 1, size[kept])
    return np.cumsum(change[:-1])


def largest_occupancy(graph: KernelGraph) -> tuple[int, int]:
    """The largest occupancy, and the first kernel that has it."""
    use = occupancy(graph)
    return (int(use.max()), int(use.argmax())) if len(use) else (0, 0)


def check_capacity(graph: KernelGraph, design: Design) -> int:
    """Peak bytes of the home tier.

    Raises
    ------
    CapacityError
        When they do not fit: names the tier, the largest class of tensors and the missing bytes.
    """
    peak, moment = graph.derived(largest_occupancy)
    home = design.home
    if peak <= home.capacity:
        return peak
    life = lifetimes(graph)
    alive = (life.used == 1) & (life.first <= moment) & (moment <= life.last)
    by_role = {
        role: int(graph.tensors.storage_bytes[alive & (graph.tensors.storage_role == role)].sum()) for role in Role
    }
    role, size = max(by_role.items(), key=lambda item: (item[1], -item[0]))
    missing = peak - home.capacity
    what = f"{role.name.lower().replace('_', ' ')} tensors ({show_bytes(size)} of {show_bytes(peak)})"
    raise CapacityError(
        f"{what} do not fit tier '{home.name}' of {design.name} ({show_bytes(home.capacity)}): "
        f"{missing} bytes ({show_bytes(missing)}) are missing at kernel {moment} '{graph.names[moment]}'",
        key=f"memory.{home.name}.capacity",
        expected=f"at least {show_least_bytes(peak)}",
    )
