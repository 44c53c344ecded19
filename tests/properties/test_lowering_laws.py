"""What lowering promises on random traces and designs: conservation, bounds, scaling, monotonicity."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given

from hiersim.engines.reference import simulate as reference
from hiersim.errors import CapacityError
from hiersim.fusion.eager import eager
from hiersim.lowering import workload
from hiersim.lowering.lower import lower
from hiersim.lowering.placement import occupancy
from hiersim.model.design import Design, Tier
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Accesses, Kind
from hiersim.model.program import Program
from hiersim.model.timeline import ENGINES
from hiersim.model.trace import Trace
from hiersim.run import simulate
from hiersim.testing.strategies import bytewise, designs, traces
from hiersim.units import UNLIMITED, Bytes, Ticks

TOLERANCE = 1.001
"""One part in a thousand for anomalies of first-come-first-served ports: a tile that arrives earlier may delay others.
In thousands of random runs only `one more buffer` used any of it (6e-5)."""
Pair = tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]
HOST_TIMES = ("launch_eager", "launch_compiled", "launch_view", "library_call", "latency", "start")
RATES = ("bandwidth", "read_bandwidth", "write_bandwidth")


@given(traces(), designs())
def test_every_run_passes_the_audit_and_beats_no_bound(trace: Trace, design: Design) -> None:
    result = simulate(trace, design)  # the audit is part of it
    assert result.makespan >= result.bounds.ticks
    assert all(0 <= share <= 1 for share in result.utilization.values())
    assert 0 <= result.stall_fraction <= 1


@given(traces(), designs())
def test_the_ledger_of_every_engine_adds_up_to_the_makespan(trace: Trace, design: Design) -> None:
    result = simulate(trace, design)
    for engine in ENGINES:
        rows = [row.ticks for row in result.ledger if row.engine == engine]
        assert min(rows, default=0) >= 0
        assert sum(rows) == result.makespan


@given(traces(), designs())
def test_flops_of_the_program_are_those_of_the_trace(trace: Trace, design: Design) -> None:
    program = lower(eager(trace), design)
    operators = trace.graph.operators
    launching = ~np.isin(operators.kind, [Kind.VIEW, Kind.SYNC])
    columns = operators.matrix_flops - operators.masked_flops + operators.vector_flops + operators.special_ops
    assert sum(program.flops) == int(columns[launching].sum())


@given(traces(), designs())
def test_the_nearest_shared_tier_moves_at_least_what_kernels_read_and_all_that_they_write(
    trace: Trace, design: Design
) -> None:
    """Byte for byte; what gathers and scatters move in whole sectors is tested in test_access_patterns.py."""
    graph = eager(trace)
    program = lower(graph, bytewise(design))
    read, write = program.traffic()
    near = len(design.core_tiers)
    assert read[near] >= graph.reads.size.sum()
    partials = read[near] - graph.reads.size.sum()  # partial sums are stored before they are read
    assert graph.writes.size.sum() <= write[near] <= graph.writes.size.sum() + partials
    if len(design.shared_tiers) > 1:
        assert write[-1] <= graph.writes.size.sum()


@given(traces(), designs())
def test_bytes_of_the_last_tier_are_at_least_the_compulsory_ones(trace: Trace, design: Design) -> None:
    result = simulate(trace, design)
    assert result.bounds.compulsory_bytes <= result.home_bytes < 2**40


@given(traces(), designs())
def test_tensors_fit_the_last_tier_exactly_or_the_error_says_what_is_missing(trace: Trace, design: Design) -> None:
    peak = int(occupancy(eager(trace)).max())
    assume(peak > 0)
    assert simulate(trace, with_home(design, peak)).peak["hbm"] == peak
    with pytest.raises(CapacityError) as caught:
        simulate(trace, with_home(design, peak - 1))
    assert "1 bytes" in str(caught.value)
    assert "memory.hbm.capacity" in str(caught.value)


def with_home(design: Design, capacity: int) -> Design:
    """`design` with a last tier of that capacity."""
    return dataclasses.replace(
        design, memory=(*design.memory[:-1], dataclasses.replace(design.home, capacity=Bytes(capacity)))
    )


@given(traces(), designs())
def test_no_tier_holds_more_than_its_capacity(trace: Trace, design: Design) -> None:
    result = simulate(trace, design)
    for tier in design.memory:
        copies = int(design.compute.cores) if tier in design.core_tiers else 1
        assert result.peak[tier.name] <= tier.capacity * copies


def changed_tiers(design: Design, change: Callable[[Tier], Tier]) -> Design:
    """`design` with its shared tiers changed."""
    memory = tuple(change(tier) if tier in design.shared_tiers else tier for tier in design.memory)
    return dataclasses.replace(design, memory=memory)


def times(rate: Any, factor: int) -> Any:
    """A rate, multiplied where it is given and finite."""
    return rate if rate is None or rate >= UNLIMITED else rate * factor


def faster(tier: Tier, factor: int) -> Tier:
    """`tier` with its bandwidths multiplied."""
    return dataclasses.replace(tier, **{key: times(getattr(tier, key), factor) for key in RATES})


def faster_home(design: Design) -> Design:
    """Twice the bandwidth of the last tier."""
    return dataclasses.replace(design, memory=(*design.memory[:-1], faster(design.home, 2)))


def larger_caches(design: Design) -> Design:
    """All shared tiers but the last with twice the capacity."""
    return changed_tiers(
        design,
        lambda tier: tier if tier is design.home else dataclasses.replace(tier, capacity=Bytes(tier.capacity * 2)),
    )


def nearer(design: Design) -> Design:
    """Half the latency of all shared tiers."""
    return changed_tiers(design, lambda tier: dataclasses.replace(tier, latency=Ticks(tier.latency // 2)))


@given(traces(), designs())
def test_a_larger_cache_never_moves_more_bytes_of_the_last_tier_and_costs_no_time_beyond_a_thousandth(
    trace: Trace, design: Design
) -> None:
    assume(len(design.shared_tiers) > 1)
    small, large = simulate(trace, design), simulate(trace, larger_caches(design))
    assert large.home_bytes <= small.home_bytes
    assert large.makespan <= small.makespan * TOLERANCE


@given(traces(), designs())
def test_twice_the_home_bandwidth_costs_no_time_beyond_a_thousandth(trace: Trace, design: Design) -> None:
    assert simulate(trace, faster_home(design)).makespan <= simulate(trace, design).makespan * TOLERANCE


@given(traces(), designs())
def test_half_the_latency_costs_no_time_beyond_a_thousandth(trace: Trace, design: Design) -> None:
    assert simulate(trace, nearer(design)).makespan <= simulate(trace, design).makespan * TOLERANCE


@given(traces(), designs())
def test_one_more_buffer_for_the_same_tiles_costs_at_most_a_service_per_kernel(trace: Trace, design: Design) -> None:
    """A scheduling anomaly (deviation D16): ports serve first come, first served, and a load that an additional buffer
    allows may go before a store that others wait for."""
    program = lower(eager(trace), design)
    deeper = dataclasses.replace(program, depth=program.depth + 1)
    longest = int(program.stage_ticks.max(initial=0))
    assert reference(deeper).makespan <= reference(program).makespan + longest * len(program)


@pytest.mark.parametrize("factor", [2, 10])
@given(traces(), designs())
def test_all_rates_times_k_and_latencies_over_k_give_the_makespan_over_k_to_rounding(
    factor: int, trace: Trace, design: Design
) -> None:
    slow, fast = simulate(trace, design), simulate(trace, scaled(design, factor))
    services = int(slow.program.stage_counts().sum())
    assert slow.traffic == fast.traffic
    assert abs(fast.makespan * factor - slow.makespan) <= factor * (services + 1)


def scaled(design: Design, factor: int) -> Design:
    """All rates multiplied, all latencies and host times divided."""
    compute, host = design.compute, design.host
    matrix = compute.matrix
    if matrix is not None:
        matrix = dataclasses.replace(matrix, peak={dtype: times(rate, factor) for dtype, rate in matrix.peak.items()})
    vector = dataclasses.replace(
        compute.vector,
        peak={dtype: times(rate, factor) for dtype, rate in compute.vector.peak.items()},
        special=times(compute.vector.special, factor),
    )
    compute = dataclasses.replace(
        compute, matrix=matrix, vector=vector, load_bandwidth=times(compute.load_bandwidth, factor),
        clock=times(compute.clock, factor),
        start_up=Ticks(compute.start_up // factor), exchange=Ticks(compute.exchange // factor),
        window_set_up=Ticks(compute.window_set_up // factor),
    )  # fmt: skip
    host = dataclasses.replace(host, **{key: Ticks(getattr(host, key) // factor) for key in HOST_TIMES})
    closer = changed_tiers(
        design, lambda tier: dataclasses.replace(faster(tier, factor), latency=Ticks(tier.latency // factor))
    )
    return dataclasses.replace(closer, compute=compute, host=host)


def each_alone(columns: Any) -> Pair:
    """A grouping that finds no two rows equal."""
    rows = np.arange(min(len(getattr(column, "lengths", column)) for column in columns))
    return rows, rows


@given(traces(max_operators=8), designs())
def test_kernels_lowered_one_by_one_equal_kernels_lowered_in_classes(trace: Trace, design: Design) -> None:
    graph = eager(trace)
    twice = trace_twice(graph)
    shared = workload.prepare(twice)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workload, "equal_rows", each_alone)
        alone = workload.prepare(twice)
    assert alone.classes.classes == len(twice)
    one, other = lower(twice, design, shared), lower(twice, design, alone)
    for field in dataclasses.fields(Program):
        mine, its = getattr(one, field.name), getattr(other, field.name)
        assert np.array_equal(mine, its) if isinstance(mine, np.ndarray) else mine == its, field.name
    for label in range(shared.classes.classes):
        assert len(set(other.nest[shared.kernel_class == label].tolist())) == 1


def trace_twice(graph: KernelGraph) -> KernelGraph:
    """The kernels of `graph` and the same ones again, on the same tensors: classes of more than one kernel."""
    kernels, table = len(graph), graph.operators
    columns = {
        field.name: np.tile(getattr(table, field.name), 2)
        for field in dataclasses.fields(table)
        if field.name not in ("strings", "dims_ptr")
    }
    free = graph.tensors.storage_free
    return dataclasses.replace(
        graph,
        tensors=dataclasses.replace(graph.tensors, storage_free=np.where(free < 0, free, free + kernels)),
        operators=dataclasses.replace(table, dims_ptr=again(table.dims_ptr), **columns),
        names=graph.names * 2,
        operator_ptr=again(graph.operator_ptr),
        **{name: np.tile(getattr(graph, name), 2) for name in ("recomputed", "launch", "host_views", "host_syncs")},
        **{
            name: Accesses(ptr=again(access.ptr), tensor=np.tile(access.tensor, 2), size=np.tile(access.size, 2))
            for name, access in (("reads", graph.reads), ("writes", graph.writes))
        },
    )


def again(ptr: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Offsets of the same lists twice."""
    return np.concatenate((ptr, ptr[1:] + ptr[-1]))
