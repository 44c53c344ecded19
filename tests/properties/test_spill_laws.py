"""The laws of docs/laws.md where tensors do not fit the device: 3 to 8 tiers, links, copies ahead of time."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from test_engines_agree import assert_all_engines_agree

from hiersim.engines.compiled import simulate as compiled
from hiersim.errors import CapacityError
from hiersim.fusion.eager import eager
from hiersim.lowering.lower import lower
from hiersim.lowering.placement import lifetimes, occupancy
from hiersim.lowering.planner import Plan, plan
from hiersim.lowering.staging import Stay, touches
from hiersim.model.design import Design, Management, Replacement, Scope
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED
from hiersim.model.program import Program
from hiersim.model.timeline import ENGINES, Timeline
from hiersim.model.trace import Trace
from hiersim.run import simulate
from hiersim.testing.strategies import hosted_designs, traces
from hiersim.units import Bytes, BytesPerSecond

few = settings(max_examples=max(20, settings.default.max_examples // 4))
"""For laws that play several runs per case."""


@st.composite
def crowded(draw: st.DrawFn, unlimited: bool = True) -> tuple[Trace, Design]:
    """A trace, and a design whose device is too small for it."""
    trace = draw(traces(max_operators=9))
    graph = eager(trace)
    peak = int(occupancy(graph).max(initial=0))
    assume(peak > 1)
    touched = touches(graph)
    needed = np.bincount(touched.kernel, np.maximum(touched.read, touched.write), len(graph)).max(initial=0)
    least = max(1, min(int(needed), peak - 1))
    steps = (least, least + (peak - least) // 2, max(1, peak - 1), 4 * peak)
    at = draw(st.sampled_from((0, 0, 0, 1, 1, 1, 2, 2, 2, 3)))
    design = draw(hosted_designs(device=steps[at], unlimited=unlimited))
    for larger in steps[at:]:
        enlarged = resized(design, larger)
        if fits(graph, enlarged):
            return trace, enlarged
    return trace, design


def resized(design: Design, device: int) -> Design:
    """The same with another capacity of its device."""
    return design.replace({f"memory.{design.home.name}.capacity": f"{device}B"})


def fits(graph: KernelGraph, design: Design) -> bool:
    """Whether there is room for each kernel's operands at all."""
    try:
        plan(graph, design)
    except CapacityError:
        return False
    return True


def placed(pair: tuple[Trace, Design]) -> tuple[KernelGraph, Design, Plan, Program]:
    """A case that spills, or none."""
    trace, design = pair
    graph = eager(trace)
    try:
        found = plan(graph, design)
        program = lower(graph, design)
    except CapacityError:
        assume(False)
    assume(found is not None and program.graph_kernel is not None)
    assert found is not None
    return graph, design, found, program


def test_stacks_of_three_to_eight_tiers_are_drawn() -> None:
    """Of two tiers, cores and their memory, nothing can be spilled: other laws draw those."""
    seen: set[int] = set()

    @settings(max_examples=500, phases=(Phase.generate,), derandomize=True, database=None)
    @given(hosted_designs(device=5000))
    def collect(design: Design) -> None:
        seen.add(len(design.memory))

    collect()
    assert seen == {3, 4, 5, 6, 7, 8}


# Laws 1, 5, 6, 7: the ledger, bounds, ports that serve while somebody waits, engines.


@given(crowded())
def test_every_run_passes_the_audit_stage_by_stage(pair: tuple[Trace, Design]) -> None:
    trace, design = pair
    try:
        result = simulate(trace, design, keep_log=True)
    except CapacityError as error:
        assert "missing" in error.problem
        return
    assert result.makespan >= result.bounds.ticks
    for engine in ENGINES:
        assert sum(row.ticks for row in result.ledger if row.engine == engine) == result.makespan
    assert int(result.timeline.ledger.min(initial=0)) >= 0
    assert result.timeline.ledger.sum(axis=(1, 2)).tolist() == [result.makespan] * len(ENGINES)


@few
@given(crowded())
def test_both_engines_play_copies_alike(pair: tuple[Trace, Design]) -> None:
    *_, program = placed(pair)
    assert_all_engines_agree(program)


# Law 2: conservation between the device and the tiers behind it.


@few
@given(crowded())
def test_what_is_copied_in_is_read_and_what_is_copied_out_was_written(pair: tuple[Trace, Design]) -> None:
    graph, _, found, _ = placed(pair)
    touched = graph.derived(touches)
    table = graph.tensors
    produced = np.isin(table.storage_role, [int(role) for role in PRODUCED])
    out = np.zeros(len(table.storage_bytes), np.int64)
    for stay in found.stays:
        rows = (touched.storage == stay.storage) & (stay.first <= touched.kernel) & (touched.kernel <= stay.last)
        assert rows.any()
        assert 0 <= stay.copied_in <= int(touched.read[rows].sum())
        assert 0 <= stay.copied_out <= int(touched.write[rows].sum())
        assert max(stay.copied_in, stay.copied_out) <= stay.held <= int(table.storage_bytes[stay.storage])
        assert stay.begin <= stay.first <= stay.last <= stay.end
        if produced[stay.storage]:
            assert stay.copied_in <= int(out[stay.storage])  # it came from nowhere else
        out[stay.storage] += stay.copied_out
    outputs = (table.storage_output == 1) & (found.home > found.device)
    written = np.zeros(len(out), np.int64)
    np.add.at(written, touched.storage, touched.write)
    assert bool(np.all((out > 0) | (written == 0) | ~outputs))


@few
@given(crowded())
def test_every_hop_of_a_copy_moves_the_same_bytes(pair: tuple[Trace, Design]) -> None:
    graph, design, found, program = placed(pair)
    read, write = program.traffic()
    names = list(program.tiers)
    links = {link.to: link.name for link in design.links}
    device = program.home_tier
    for index, tier in enumerate(design.host_tiers[: int(found.home.max()) - found.device], found.device + 1):
        beyond = [stay for stay in found.stays if found.home[stay.storage] >= index]
        inward, outward = sum(stay.copied_in for stay in beyond), sum(stay.copied_out for stay in beyond)
        at = names.index(tier.name)
        own = [stay for stay in beyond if found.home[stay.storage] > index]  # on their way from farther
        passing = sum(stay.copied_in for stay in own), sum(stay.copied_out for stay in own)
        assert (read[at], write[at]) == (inward + passing[1], outward + passing[0])
        if tier.name in links:
            link = names.index(links[tier.name])
            assert (read[link], write[link]) == (inward, outward)
    plain = lower(graph, dataclasses.replace(design, memory=roomy(design)))
    own_read, own_write = plain.traffic()
    assert write[device] - own_write[device] == sum(stay.copied_in for stay in found.stays)
    assert read[device] - own_read[device] == sum(stay.copied_out for stay in found.stays)


def roomy(design: Design) -> tuple[object, ...]:
    """The tiers of a design whose device has room for everything."""
    return tuple(
        dataclasses.replace(tier, capacity=Bytes(10**12)) if tier is design.home else tier for tier in design.memory
    )


# Law 3: capacity, at every event.


@few
@given(crowded())
def test_no_tier_is_over_capacity_at_any_event(pair: tuple[Trace, Design]) -> None:
    graph, design, found, program = placed(pair)
    for tier, occupied in zip(found.tiers, found.occupied, strict=True):
        assert int(occupied.max()) <= tier.capacity
    timeline = compiled(program)
    assert program.graph_kernel is not None
    kernels = np.flatnonzero(program.graph_kernel >= 0)
    life = lifetimes(graph)
    spans = [span(stay, program, timeline, found) for stay in found.stays]
    for storage in np.flatnonzero((found.home == found.device) & (life.used == 1)).tolist():
        size, whole = int(graph.tensors.storage_bytes[storage]), int(life.first[storage]) == 0
        begin = -1 if whole else int(timeline.start[kernels[life.first[storage]]])
        spans.append((begin, int(timeline.end[kernels[life.last[storage]]]), size))
    events = [(begin, 1, size) for begin, _, size in spans] + [(end, 0, -size) for _, end, size in spans]
    held = 0
    for _, _, size in sorted(events):
        held += size
        assert held <= design.home.capacity


def span(stay: Stay, program: Program, timeline: Timeline, found: Plan) -> tuple[int, int, int]:
    """From the start of its copy in to the end of its copy out, or of the kernels that touch it; and its bytes."""
    owner = program.graph_kernel
    assert owner is not None
    kernels = np.flatnonzero(owner >= 0)
    first, last = int(kernels[stay.first]), int(kernels[stay.last])
    begin, end = int(timeline.start[first]), int(timeline.end[last])
    tier = found.tiers[int(found.home[stay.storage])].name
    for place in np.flatnonzero(owner < 0).tolist():
        name = program.kernel_names[place]
        if stay.copied_in and name.endswith(f"from {tier}") and first in consumers(program, place):
            begin = min(begin, int(timeline.start[place]))
        if stay.copied_out and name.endswith(f"to {tier}") and last in needs_of(program, place):
            end = max(end, int(timeline.end[place]))
    return begin, end, stay.held


def needs_of(program: Program, place: int) -> list[int]:
    """Kernels that the one at `place` needs."""
    needs: list[int] = program.needs[program.needs_ptr[place] : program.needs_ptr[place + 1]].tolist()
    return needs


def consumers(program: Program, place: int) -> set[int]:
    """Kernels that need the one at `place`."""
    return set(np.searchsorted(program.needs_ptr, np.flatnonzero(program.needs == place), "right") - 1)


# Law 4: nothing is used before it is there.


@few
@given(crowded())
def test_a_kernel_starts_after_its_copies_and_a_copy_after_what_it_copies(pair: tuple[Trace, Design]) -> None:
    *_, found, program = placed(pair)
    timeline = compiled(program)
    owner = program.graph_kernel
    assert owner is not None
    kernels = np.flatnonzero(owner >= 0)
    for place in np.flatnonzero(owner < 0).tolist():
        assert all(timeline.end[need] <= timeline.start[place] for need in needs_of(program, place))
        for user in consumers(program, place):
            assert timeline.end[place] <= timeline.start[user]
    inward = {stay.first for stay in found.stays if stay.copied_in}
    for kernel in inward:
        assert any(owner[need] < 0 for need in needs_of(program, int(kernels[kernel])))


# Laws 8 and 9: scaling and monotonicity.


@few
@given(crowded(unlimited=False), st.sampled_from((2, 10)))
def test_all_rates_times_k_and_latencies_over_k_give_the_makespan_over_k(pair: tuple[Trace, Design], k: int) -> None:
    graph, design, _, program = placed(pair)
    faster = lower(graph, scaled(design, k))
    stages = int(program.stage_counts().sum()) + 4 * len(program)
    assert abs(compiled(faster).makespan * k - compiled(program).makespan) <= k * stages + TICK_SLACK


TICK_SLACK = 1000
"""Rounding of rates, derated to whole bytes per second."""


def scaled(design: Design, k: int) -> Design:
    """`design` with all rates × k and all times ÷ k."""

    def place(item):
        rates = {
            name: BytesPerSecond(getattr(item, name) * k)
            for name in ("bandwidth", "read_bandwidth", "write_bandwidth")
            if getattr(item, name) is not None
        }
        return dataclasses.replace(item, latency=item.latency // k, **rates)

    compute = design.compute
    vector = dataclasses.replace(
        compute.vector,
        peak={dtype: rate * k for dtype, rate in compute.vector.peak.items()},
        special=compute.vector.special * k,
    )
    matrix = compute.matrix and dataclasses.replace(
        compute.matrix, peak={dtype: rate * k for dtype, rate in compute.matrix.peak.items()}
    )
    times = ("launch_eager", "launch_compiled", "launch_view", "library_call", "latency", "start")
    return dataclasses.replace(
        design,
        compute=dataclasses.replace(
            compute,
            vector=vector,
            matrix=matrix,
            load_bandwidth=BytesPerSecond(compute.load_bandwidth * k),
            clock=compute.clock * k,
            start_up=compute.start_up // k,
            exchange=compute.exchange // k,
            window_set_up=compute.window_set_up // k,
        ),
        memory=tuple(place(tier) for tier in design.memory),
        links=tuple(place(link) for link in design.links),
        host=dataclasses.replace(design.host, **{name: getattr(design.host, name) // k for name in times}),
    )


@few
@given(crowded())
def test_twice_the_bandwidth_behind_the_device_costs_no_time(pair: tuple[Trace, Design]) -> None:
    graph, design, _, program = placed(pair)

    def faster(item):
        rates = {
            name: BytesPerSecond(min(getattr(item, name) * 2, 2**63 - 1))
            for name in ("bandwidth", "read_bandwidth", "write_bandwidth")
            if getattr(item, name) is not None
        }
        return dataclasses.replace(item, **rates)

    memory = tuple(faster(tier) if tier.scope is Scope.HOST else tier for tier in design.memory)
    links = tuple(faster(link) for link in design.links)
    after = compiled(lower(graph, dataclasses.replace(design, memory=memory, links=links))).makespan
    before = compiled(program)
    services = program.stage_ticks.max(initial=0)
    assert after <= before.makespan + int(services) * len(program)


@few
@given(crowded())
def test_a_device_with_room_for_all_is_never_slower(pair: tuple[Trace, Design]) -> None:
    graph, design, _, program = placed(pair)
    plain = lower(graph, dataclasses.replace(design, memory=roomy(design)))
    assert compiled(plain).makespan <= compiled(program).makespan


# Laws 11 and 12.


@few
@given(crowded(), st.sampled_from((1, 500, 5000, 50_000)))
def test_belady_moves_no_more_than_lru_and_an_endless_cache_no_more_than_any(
    pair: tuple[Trace, Design], capacity: int
) -> None:
    """Copies move what they move, whatever the cache does."""
    trace, design = pair
    home = design.home
    cache = dataclasses.replace(home, name="l2", management=Management.CACHE, capacity=Bytes(capacity))

    def cached(**changes: object) -> Design:
        nearest = dataclasses.replace(cache, **changes)
        return dataclasses.replace(design, memory=(*design.core_tiers, nearest, home, *design.host_tiers))

    graph, *_ = placed((trace, cached()))

    def moved(machine: Design) -> tuple[int, list[int]]:
        program = lower(graph, machine)
        both = sum(program.traffic())
        return int(both[program.home_tier]), both[program.home_tier + 1 :].tolist()

    lru, belady = moved(cached()), moved(cached(replacement=Replacement.BELADY))
    endless = moved(cached(capacity=Bytes(10**9)))
    assert endless[0] <= belady[0] <= lru[0]
    assert endless[1] == belady[1] == lru[1]


@few
@given(crowded())
def test_a_tier_behind_the_device_that_nobody_needs_changes_nothing(pair: tuple[Trace, Design]) -> None:
    trace, design = pair
    big = dataclasses.replace(design, memory=roomy(design))
    alone = dataclasses.replace(big, memory=(*big.core_tiers, *big.shared_tiers), links=())
    one, other = simulate(trace, big), simulate(trace, alone)
    assert one.makespan == other.makespan
    assert one.ledger == other.ledger
    assert {name: moved for name, moved in one.traffic.items() if name in other.traffic} == other.traffic
    assert all(sum(moved.values()) == 0 for name, moved in one.traffic.items() if name not in other.traffic)


@few
@given(crowded())
def test_the_same_inputs_give_the_same_program(pair: tuple[Trace, Design]) -> None:
    graph, design, _, program = placed(pair)
    again = lower(graph, design)
    for item in dataclasses.fields(Program):
        one, other = getattr(program, item.name), getattr(again, item.name)
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, item.name
