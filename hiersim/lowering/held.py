"""What tiers before and behind the last hold while a run goes on, by role: caches, scratchpads, host memory.

A shared cache holds what was touched last, up to its capacity: live tensors in the order of their last touch, of the
one that no longer fits whole its remaining bytes. A tensor that is dead makes room at once, since its addresses are the
first that are given out again. This is the picture behind the reuse distances of `residency.py`, seen tensor by
tensor; the distances, which decide what is read again, are exact to the byte.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from hiersim.lowering.live import live_in
from hiersim.lowering.placement import lifetimes
from hiersim.lowering.scratchpad import residents
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray, Role
from hiersim.model.program import Program

_NO_STAYS = np.zeros((0, 4), np.int64)


def held_bytes(graph: KernelGraph, design: Design, program: Program) -> dict[str, IntArray]:
    """(K, roles) bytes at each kernel in every tier that holds any but the last that kernels address."""
    found = {tier.name: cached_in(graph, tier.found_again) for tier in design.shared_tiers[:-1] if tier.is_shared_cache}
    for pad in residents(graph, design):
        found[pad.tier.name] = live_in(graph, pad.resident, _NO_STAYS).by_role
    if program.storage_home is not None:
        for place in np.unique(program.storage_home[program.storage_home >= 0]).tolist():
            if place != program.home_tier:
                found[program.tiers[place]] = live_in(graph, program.storage_home == place, _NO_STAYS).by_role
    return {name: held for name, held in found.items() if held.any()}


def cached_in(graph: KernelGraph, capacity: int) -> IntArray:
    """(K, roles) bytes of live tensors that a cache of `capacity` bytes holds when each kernel has ended."""
    table, life = graph.tensors, lifetimes(graph)
    role, size = table.storage_role.tolist(), table.storage_bytes.tolist()
    dying: dict[int, list[int]] = {}
    for storage in np.flatnonzero(table.storage_free >= 0).tolist():
        dying.setdefault(int(life.last[storage]), []).append(storage)
    touches = [(access.ptr.tolist(), table.tensor_storage[access.tensor].tolist(), access.size.tolist())
               for access in (graph.reads, graph.writes)]  # fmt: skip
    recent: OrderedDict[int, int] = OrderedDict()
    by_role = np.zeros(len(Role), np.int64)
    held = np.zeros((len(graph), len(Role)), np.int64)
    total = 0
    for kernel in range(len(graph)):
        for ptr, storages, sizes in touches:
            for place in range(ptr[kernel], ptr[kernel + 1]):
                storage = storages[place]
                before = recent.pop(storage, 0)
                now = min(max(before, min(sizes[place], size[storage])), capacity)
                recent[storage] = now
                by_role[role[storage]] += now - before
                total += now - before
        while total > capacity:
            storage, bytes_held = next(iter(recent.items()))
            leaves = min(bytes_held, total - capacity)
            by_role[role[storage]] -= leaves
            total -= leaves
            if leaves == bytes_held:
                del recent[storage]
            else:
                recent[storage] = bytes_held - leaves
        held[kernel] = by_role
        for storage in dying.get(kernel, ()):
            bytes_held = recent.pop(storage, 0)
            by_role[role[storage]] -= bytes_held
            total -= bytes_held
    return held
