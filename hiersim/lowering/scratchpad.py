"""Planned scratchpads: which storages a shared scratchpad holds, and when, decided before the run.

A scratchpad between the cores and the tier that tensors live in (a TPU's CMEM, a global buffer) holds storages from
their first to their last touch: what is there before the run is loaded by the first kernel that reads it, what the
run makes is made there, and results are written out by the last kernel that writes them. Storages come
in the order of the design's placement; those that find no room, or no address, pass through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiersim.lowering.allocation import allocate
from hiersim.lowering.placement import lifetimes
from hiersim.lowering.planner import placement_order
from hiersim.lowering.skyline import settle
from hiersim.lowering.staging import first_touch, touches
from hiersim.model.design import Design, Management, Tier
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED, BoolArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Residents:
    """What one scratchpad holds; S storages."""

    tier: Tier
    resident: BoolArray
    """(S,) storages that it holds from their first to their last touch."""
    peak_bytes: int
    """The highest address in use, plus one."""
    fragmentation: float
    """Share of that which is lost between storages."""


def residents(graph: KernelGraph, design: Design) -> tuple[Residents, ...]:
    """The plan of each shared scratchpad before the last tier, nearest first; a farther one holds what is left."""
    pads = [tier for tier in design.shared_tiers[:-1] if tier.management is Management.SCRATCHPAD]
    taken = np.zeros(len(graph.tensors.storage_bytes) if pads else 0, bool)
    found = []
    for tier in pads:
        plan = _planned(graph, design, tier, taken)
        taken = taken | plan.resident
        found.append(plan)
    return tuple(found)


def _planned(graph: KernelGraph, design: Design, tier: Tier, taken: BoolArray) -> Residents:
    first, last, worth = _spans(graph)
    order = placement_order(graph, design)
    order = order[worth[order] & ~taken[order]]
    size = graph.tensors.storage_bytes
    home = settle(order, first, last, size, np.full(len(size), -1), [int(tier.capacity)])
    rows = np.flatnonzero(home == 0)
    addresses = allocate(first[rows], last[rows], size[rows], int(tier.capacity))
    resident = np.zeros(len(size), bool)
    resident[np.delete(rows, addresses.unplaced)] = True
    return Residents(
        tier=tier, resident=resident, peak_bytes=addresses.peak_bytes, fragmentation=addresses.fragmentation
    )


def _spans(graph: KernelGraph) -> tuple[IntArray, IntArray, BoolArray]:
    """(S,) first and last kernel that a scratchpad would hold each storage, and whether that saves anything.

    What one kernel reads and nobody writes saves nothing.
    """
    life = lifetimes(graph)
    touched = graph.derived(touches)
    storages, kernels = len(graph.tensors.storage_bytes), len(graph)
    uses = np.bincount(touched.storage, minlength=storages) + np.bincount(
        touched.storage, touched.write > 0, minlength=storages
    )
    last = np.zeros(storages, np.int64)
    np.maximum.at(last, touched.storage, touched.kernel)
    produced = np.isin(graph.tensors.storage_role, [int(role) for role in PRODUCED])
    first = np.minimum(first_touch(graph), max(kernels - 1, 0))
    last = np.where(produced, np.maximum(life.last, first), np.maximum(last, first))
    return first, last, (life.used == 1) & (uses > 1)
