"""The laws of docs/laws.md for planned shared tiers: scratchpads that hold tensors, pools that they live in."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import assume, given, settings
from test_engines_agree import assert_all_engines_agree

from hiersim.errors import CapacityError
from hiersim.fusion.eager import eager
from hiersim.lowering.lower import compulsory_bytes, lower
from hiersim.lowering.placement import lifetimes
from hiersim.lowering.planner import plan
from hiersim.lowering.scratchpad import residents
from hiersim.model.design import Design, Management, Tier
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Kind
from hiersim.model.trace import Trace
from hiersim.run import simulate
from hiersim.testing.strategies import bytewise, designs, streaming_graphs, traces
from hiersim.units import Bytes

few = settings(max_examples=max(20, settings.default.max_examples // 4))
"""For laws that play several runs per case."""
INFINITE = Bytes(10**9)


def managed(design: Design, kind: Management, capacity: int | None = None) -> Design:
    """`design` whose shared tiers before the last are all of one kind."""

    def changed(tier: Tier) -> Tier:
        size = tier.capacity if capacity is None else Bytes(capacity)
        return dataclasses.replace(tier, management=kind, capacity=size)

    near = tuple(changed(tier) for tier in design.shared_tiers[:-1])
    return dataclasses.replace(design, memory=(*design.core_tiers, *near, design.home)).checked()


@given(traces(max_operators=9), designs(planned=True))
def test_every_run_passes_the_audit_stage_by_stage(trace: Trace, design: Design) -> None:
    assume(any(tier.management is not Management.CACHE for tier in design.shared_tiers[:-1]))
    result = simulate(trace, design, keep_log=True)
    assert result.makespan >= result.bounds.ticks
    for name, peak in result.peak.items():
        tier = design.tier(name)
        copies = int(design.compute.cores) if tier in design.core_tiers else 1
        assert peak <= tier.capacity * copies


@few
@given(traces(max_operators=9), designs(planned=True))
def test_both_engines_play_planned_tiers_alike(trace: Trace, design: Design) -> None:
    assert_all_engines_agree(lower(eager(trace), design))


@given(traces(max_operators=9), designs(planned=True))
def test_every_tensor_lives_in_one_tier_that_has_room_for_all_that_live_there(trace: Trace, design: Design) -> None:
    graph = eager(trace)
    try:
        found = plan(graph, design)
    except CapacityError:
        return
    if found is None:
        assert not design.pools
        return
    life = lifetimes(graph)
    assert bool(np.all((found.home >= 0) == (life.used == 1)))
    for index, tier in enumerate(found.tiers):
        held = np.zeros(len(graph), np.int64)
        for storage in np.flatnonzero(found.home == index).tolist():
            held[life.first[storage] : life.last[storage] + 1] += graph.tensors.storage_bytes[storage]
        assert int(held.max(initial=0)) <= tier.capacity
        assert held.tolist() == found.occupied[index].tolist()


@given(traces(max_operators=9), designs(planned=True))
def test_a_scratchpad_holds_what_fits_and_each_tensor_once(trace: Trace, design: Design) -> None:
    graph = eager(trace)
    pads = residents(graph, design)
    together = np.zeros(len(graph.tensors.storage_bytes), np.int64)
    for pad in pads:
        assert pad.peak_bytes <= pad.tier.capacity
        assert 0 <= pad.fragmentation < 1
        together += pad.resident
    assert int(together.max(initial=0)) <= 1


@given(streaming_graphs(), designs(planned=True))
def test_each_tier_supplies_what_nearer_ones_ask_for_and_no_more(graph: KernelGraph, design: Design) -> None:
    program = lower(graph, design)
    read, write = program.traffic()
    near, last = len(design.core_tiers), program.home_tier
    assert (read[near], write[near]) == (graph.reads.size.sum(), graph.writes.size.sum())
    assert int(read[near + 1 : last + 1].max(initial=0)) <= read[near]
    assert int(write[near + 1 : last + 1].max(initial=0)) <= write[near] + graph.tensors.storage_bytes.sum()
    homes = [place for place in (*program.pool_tiers, last) if place > near or len(design.shared_tiers) == 1]
    supplied = sum(int(read[place] + write[place]) for place in homes)
    in_the_nearest = near in program.pool_tiers
    assert in_the_nearest or supplied >= compulsory_bytes(graph)


@given(streaming_graphs(), designs())
def test_an_infinite_scratchpad_leaves_compulsory_traffic_only(graph: KernelGraph, design: Design) -> None:
    assume(len(design.shared_tiers) == 2)
    planned = lower(graph, managed(design, Management.SCRATCHPAD, INFINITE))
    read, write = planned.traffic()
    assert read[-1] + write[-1] == compulsory_bytes(graph)


@few
@given(traces(max_operators=9), designs())
def test_a_pool_with_room_for_all_leaves_the_last_tier_idle(trace: Trace, design: Design) -> None:
    assume(len(design.shared_tiers) > 1)
    read, write = lower(eager(trace), managed(design, Management.POOL, INFINITE)).traffic()
    assert read[-1] + write[-1] == 0


@few
@given(traces(max_operators=9), designs().map(bytewise))
def test_pools_move_what_one_tier_in_their_place_moves(trace: Trace, design: Design) -> None:
    """A pool and the last tier behind one cache share what the last tier would move alone.

    What attention reads again is shared out between the two in proportion, each share rounded down: a byte a kernel.
    """
    assume(len(design.shared_tiers) == 3)
    cache, middle, home = design.shared_tiers
    graph = eager(trace)
    pool = dataclasses.replace(middle, management=Management.POOL)
    both = lower(graph, dataclasses.replace(design, memory=(*design.core_tiers, cache, pool, home)))
    alone = lower(graph, dataclasses.replace(design, memory=(*design.core_tiers, cache, home)))
    near = len(design.core_tiers)
    one, two = sum(both.traffic()), sum(alone.traffic())
    assert one[near] == two[near]
    lost = two[near + 1] - one[near + 1] - one[near + 2]
    assert 0 <= lost <= np.count_nonzero(trace.graph.operators.kind == Kind.ATTENTION)
