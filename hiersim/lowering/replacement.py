"""What the shared caches of a design miss and write back, where one of them is not an LRU cache with a cold start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from hiersim.lowering.belady import BeladyProfile, belady
from hiersim.lowering.residency import ReuseProfile, profile_second_run
from hiersim.lowering.supply import FarBytes
from hiersim.lowering.workload import Workload
from hiersim.model.design import Design, Replacement, Start, Tier
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray


class Residency(Protocol):
    """What a cache of any size keeps of a kernel graph."""

    def moved(self, size: IntArray, kernels: int, capacity: int) -> tuple[IntArray, IntArray]:
        """(R,) bytes missed by reads of these sizes, and (K,) bytes written back."""


def cache_bytes(workload: Workload, design: Design) -> FarBytes | None:
    """Bytes beyond each shared cache of `design`; None where all follow from LRU and a cold start."""
    caches = design.shared_tiers[:-1]
    if all(tier.replacement is Replacement.LRU and tier.start is Start.COLD for tier in caches):
        return None
    return bytes_beyond(workload, caches)


def bytes_beyond(workload: Workload, caches: Sequence[Tier], second: ReuseProfile | None = None) -> FarBytes:
    """Bytes that each of some caches, nearest first, misses and writes back; at least one cache.

    A cache is played as if it saw every access and held what nearer ones hold. It neither supplies nor takes more than
    the cache before it asks for; one that is no larger than a nearer one keeps nothing that the nearer one does not.
    `second` is the reuse of a run that finds what the same run left, where `profile_second_run` would not give it.
    """
    graph = workload.graph
    missed, written = graph.reads.size, np.diff(np.append(0, np.cumsum(graph.writes.size))[graph.writes.ptr])
    read, write, held = [], [], 0
    for tier in caches:
        if tier.found_again > held:
            held = tier.found_again
            more = moved_beyond(workload, tier, second)
            missed, written = np.minimum(missed, more[0]), np.minimum(written, more[1])
        read.append(missed)
        write.append(written)
    return FarBytes(read=np.stack(read, axis=1), write=np.stack(write, axis=1))


def moved_beyond(workload: Workload, tier: Tier, second: ReuseProfile | None = None) -> tuple[IntArray, IntArray]:
    """(R,) bytes of each read that a cache misses, and (K,) bytes that it writes back, when it is played on its own."""
    graph = workload.graph
    return _residency(workload, tier, second).moved(graph.reads.size, len(graph), tier.found_again)


def held_before(design: Design) -> int:
    """Bytes that the caches of `design` may hold before the first kernel."""
    return sum(int(tier.capacity) for tier in design.shared_tiers[:-1] if tier.start is Start.WARM)


def _residency(workload: Workload, tier: Tier, second: ReuseProfile | None) -> Residency:
    """What caches like `tier` keep; made once per graph."""
    graph, warm = workload.graph, tier.start is Start.WARM
    if tier.replacement is Replacement.BELADY:
        return graph.derived(_belady_warm) if warm else graph.derived(_belady_cold, workload.profile)
    if not warm:
        return workload.profile
    return graph.derived(_two_runs)[1] if second is None else second


def _two_runs(graph: KernelGraph) -> tuple[ReuseProfile, ReuseProfile]:
    return profile_second_run(graph)


def _belady_cold(_: KernelGraph, profile: ReuseProfile) -> BeladyProfile:
    return belady(profile)


def _belady_warm(graph: KernelGraph) -> BeladyProfile:
    both, second = graph.derived(_two_runs)
    return belady(both, second)
