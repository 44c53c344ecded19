"""Laws of docs/laws.md over the whole road: random designs × random traces × policies, and single matrix products."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from math import sqrt

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hiersim.frontends.aten.call import Cost
from hiersim.frontends.tables import OperatorBuilder, Row, Storage, TensorBuilder, TensorKey, accesses
from hiersim.fusion.eager import eager
from hiersim.lowering.lower import compulsory_bytes, lower
from hiersim.lowering.residency import profile_reuse
from hiersim.model.compute import Blocking
from hiersim.model.design import Design, Management, Scope, Tier
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import BITS, DType, Flag, Kind, Phase, Role
from hiersim.model.timeline import ENGINES
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader
from hiersim.run import simulate
from hiersim.testing.strategies import bytewise, designs, streaming_graphs, traces
from hiersim.units import UNLIMITED, Bytes, BytesPerSecond, Count, Ticks

TOLERANCE = 1.001
"""For anomalies of first-come-first-served ports; see test_lowering_laws.py."""
INFINITE = Bytes(10**9)
"""A cache as large as the home tier of random designs."""
few = settings(max_examples=max(20, settings.default.max_examples // 4))
"""For laws that play several runs per case."""
SIDES = st.one_of(st.integers(1, 64), st.sampled_from((128, 200, 256, 500, 512)))


# Law 1: the ledger, down to kernels and layers.


@few
@given(traces(), designs())
def test_ledgers_of_kernels_and_layers_add_up_to_the_makespan(trace: Trace, design: Design) -> None:
    result = simulate(trace, design)
    ledger = result.timeline.ledger
    assert ledger.shape[:2] == (len(ENGINES), len(result.graph))
    assert int(ledger.min()) >= 0
    assert ledger.sum(axis=(1, 2)).tolist() == [result.makespan] * len(ENGINES)
    layers: dict[str, int] = {}
    for row in result.kernel_rows:
        entries = [value for key, value in row.items() if key.endswith("_ticks") and key[:-6] not in ("start", "end")]
        assert min(entries) >= 0
        layers[row["module"]] = layers.get(row["module"], 0) + sum(entries)
    assert sum(layers.values()) == result.makespan


# Law 2: conservation between tiers.


@given(streaming_graphs(), designs())
def test_each_tier_supplies_what_the_nearer_caches_miss_and_takes_what_they_evict(
    graph: KernelGraph, design: Design
) -> None:
    program = lower(graph, design)
    read, write = program.traffic()
    profile = profile_reuse(graph)
    near = len(design.core_tiers)
    assert (read[near], write[near]) == (graph.reads.size.sum(), graph.writes.size.sum())
    for tier, cache in enumerate(design.shared_tiers[:-1], start=near + 1):
        assert read[tier] == profile.read_misses(graph.reads.size, int(cache.capacity)).sum()
        assert write[tier] == profile.write_backs(len(graph), int(cache.capacity)).sum()


@given(traces(), designs())
def test_no_tier_supplies_or_takes_more_than_the_one_before_it_asked(trace: Trace, design: Design) -> None:
    """Byte for byte; what gathers and scatters move in whole sectors is tested in test_access_patterns.py."""
    read, write = lower(eager(trace), bytewise(design)).traffic()
    near = len(design.core_tiers)
    operands = np.repeat(trace.graph.operators.kind, np.diff(trace.graph.reads.ptr)) <= Kind.ATTENTION
    again = int(trace.graph.reads.size[operands].sum())  # deviation D54: operands larger than their sizes say
    assert bool(np.all(np.diff(read[near:]) <= again))
    assert bool(np.all(np.diff(write[near:]) <= 0))


# Law 5: bounds of a matrix product.


def product(m: int, n: int, k: int, dtype: DType) -> Trace:
    """One matrix product, its result an output."""
    tensors = TensorBuilder()
    keys = []
    for rows, columns, role in ((m, k, Role.INPUT), (k, n, Role.WEIGHT), (m, n, Role.ACTIVATION)):
        size = rows * columns * BITS[dtype] // 8
        storage = tensors.storage(Storage(size=size, role=role, output=role is Role.ACTIVATION))
        keys.append(TensorKey(storage=storage, dtype=dtype, shape=(rows, columns), size=size))
    cost = Cost(kind=Kind.GEMM, dims=(1, m, n, k), matrix_flops=2 * m * n * k)
    row = Row(name="aten.mm.default", module="", phase=Phase.FORWARD, flags=Flag.NONE, dtype=dtype, cost=cost)
    reads = accesses([[(key, key.size) for key in keys[:2]]], tensors)
    writes = accesses([[(keys[2], keys[2].size)]], tensors)
    graph = OperatorGraph(tensors=tensors.build(), operators=OperatorBuilder([row]).build(), reads=reads, writes=writes)
    return Trace(header=TraceHeader(name="product"), graph=graph)


PRODUCTS = st.builds(product, SIDES, SIDES, SIDES, st.sampled_from((DType.FP32, DType.BF16)))


def roomy(design: Design, capacity: int) -> Design:
    """`design` with cores of that much memory, in one tier, so that some tile fits."""
    core = dataclasses.replace(design.core_tiers[0], capacity=Bytes(capacity))
    return dataclasses.replace(design, memory=(core, *design.shared_tiers))


def least_traffic(trace: Trace, memory: int, processors: int) -> float:
    """Bytes that any schedule moves into and out of processors with `memory` bytes each.

    2·MNK/√S - 2S elements per processor for its part of the work: Hong and Kung, STOC 1981, with the constant of
    Kwasniewski et al., Red-blue pebbling revisited, SC 2019.
    """
    element = BITS[DType(int(trace.graph.operators.dtype[0]))] // 8
    held = memory / element
    return element * (int(trace.graph.operators.matrix_flops[0]) / sqrt(held) - 2 * held * processors)


@given(PRODUCTS, designs(), st.sampled_from((2**14, 2**16, 2**18)))
def test_a_product_moves_at_least_the_square_root_bound_at_every_tier(
    trace: Trace, design: Design, capacity: int
) -> None:
    design = roomy(design, capacity)
    read, write = lower(eager(trace), design).traffic()
    near, cores = len(design.core_tiers), int(design.compute.cores)
    inside = sum(int(tier.capacity) for tier in design.core_tiers)
    assert read[near] + write[near] >= least_traffic(trace, inside, cores)
    held = inside * cores
    for tier, cache in enumerate(design.shared_tiers[:-1], start=near + 1):
        held += int(cache.capacity)
        assert read[tier] + write[tier] >= least_traffic(trace, held, 1)


@given(PRODUCTS, designs(), st.sampled_from((2**12, 2**14, 2**16)))
def test_blocking_for_a_shared_tier_never_moves_more_of_the_last_tier(
    trace: Trace, design: Design, capacity: int
) -> None:
    """And passes the audit stage by stage, and stays above the bound."""
    plain = roomy(design, capacity)
    shared = dataclasses.replace(plain, compute=dataclasses.replace(plain.compute, blocking=Blocking.SHARED))
    before, after = simulate(trace, plain), simulate(trace, shared, keep_log=True)
    assert after.home_bytes <= before.home_bytes
    held = capacity * int(design.compute.cores) + sum(int(cache.capacity) for cache in design.shared_tiers[:-1])
    assert after.home_bytes >= least_traffic(trace, held, 1)


def test_the_square_root_bound_is_not_empty() -> None:
    """512³ in 4 KiB: 2·2²⁷/32 - 2·2¹⁰ elements, far above the 3·2¹⁸ compulsory ones."""
    assert least_traffic(product(512, 512, 512, DType.FP32), 2**12, 1) == 4 * (2 * 2**27 / 2**5 - 2 * 2**10)


# Law 9: monotonicity, for the host. Bandwidth, latency, capacity and depth: test_lowering_laws.py.


TIMES = st.sampled_from((0, 1_000, 50_000))
HOST_TIMES = ("launch_eager", "launch_compiled", "launch_view", "library_call", "latency", "start")


@few
@given(traces(), designs())
def test_a_faster_host_costs_no_time_beyond_a_thousandth(trace: Trace, design: Design) -> None:
    host = dataclasses.replace(design.host, **{key: Ticks(getattr(design.host, key) // 2) for key in HOST_TIMES})
    faster = dataclasses.replace(design, host=host)
    assert simulate(trace, faster).makespan <= simulate(trace, design).makespan * TOLERANCE


@few
@given(traces(), designs())
def test_a_longer_queue_costs_no_time_beyond_a_thousandth(trace: Trace, design: Design) -> None:
    host = dataclasses.replace(design.host, queue=Count(design.host.queue + 1))
    longer = dataclasses.replace(design, host=host)
    assert simulate(trace, longer).makespan <= simulate(trace, design).makespan * TOLERANCE


@few
@given(traces(), designs(), st.tuples(TIMES, TIMES))
def test_a_graph_replay_takes_no_longer_than_launches_that_cost_as_much(
    trace: Trace, design: Design, less: tuple[int, int]
) -> None:
    call = min(design.host.launch_eager, design.host.launch_compiled) - less[0]
    times = {"launch_graph": Ticks(max(0, call)), "graph_start": Ticks(max(0, design.host.start - less[1]))}
    design = dataclasses.replace(design, host=dataclasses.replace(design.host, **times))
    replayed = simulate(trace, design, launch="graph")
    assert replayed.makespan <= simulate(trace, design).makespan * TOLERANCE
    again = simulate(trace, design, launch="graph", engine_name="reference")
    assert again.makespan == replayed.makespan
    assert again.ledger == replayed.ledger


# Law 11: tiers that change nothing, and caches that hold everything.


@few
@given(traces(), designs())
def test_an_unused_tier_changes_nothing(trace: Trace, design: Design) -> None:
    """A free cache behind a larger one holds nothing that the one before it does not, however small it is."""
    assume(len(design.shared_tiers) > 1)
    unused = Tier(
        name="unused",
        scope=Scope.SHARED,
        management=Management.CACHE,
        capacity=Bytes(1),
        bandwidth=BytesPerSecond(UNLIMITED),
    )
    wider = dataclasses.replace(design, memory=(*design.memory[:-1], unused, design.home))
    one, two = simulate(trace, design), simulate(trace, wider)
    assert two.makespan == one.makespan
    assert {name: moved for name, moved in two.traffic.items() if name != "unused"} == one.traffic
    assert two.ledger == one.ledger
    assert two.bounds.ticks == one.bounds.ticks


def infinite(design: Design) -> Design:
    """`design` with a cache that holds everything before its home tier."""
    tier = dataclasses.replace(design.home, name="sram", management=Management.CACHE, capacity=INFINITE)
    return dataclasses.replace(design, memory=(*design.memory[:-1], tier, design.home))


@given(streaming_graphs(), designs())
def test_infinite_sram_leaves_compulsory_traffic_only(graph: KernelGraph, design: Design) -> None:
    read, write = lower(graph, infinite(design)).traffic()
    assert read[-1] + write[-1] == compulsory_bytes(graph)


@given(PRODUCTS, designs())
def test_infinite_sram_leaves_a_product_its_operands_and_result(trace: Trace, design: Design) -> None:
    read, write = lower(eager(trace), infinite(roomy(design, 2**16))).traffic()
    sizes = trace.graph.tensors.storage_bytes
    assert (read[-1], write[-1]) == (sizes[0] + sizes[1], sizes[2])


@few
@given(traces(), designs())
def test_with_infinite_sram_a_larger_one_changes_nothing(trace: Trace, design: Design) -> None:
    once = infinite(design)
    assume(sum(trace.graph.tensors.storage_bytes.tolist()) <= INFINITE)
    larger = dataclasses.replace(once.memory[-2], capacity=Bytes(2 * INFINITE))
    home = dataclasses.replace(once.home, capacity=Bytes(2 * INFINITE))
    twice = dataclasses.replace(once, memory=(*once.memory[:-2], larger, home))
    assert simulate(trace, once).makespan == simulate(trace, twice).makespan
    assert simulate(trace, once).home_bytes == simulate(trace, twice).home_bytes


# Law 12: determinism. Across processes: test_engine_laws.py.


@settings(max_examples=max(10, settings.default.max_examples // 20))
@given(st.lists(st.tuples(traces(), designs()), min_size=2, max_size=3))
def test_results_do_not_depend_on_the_number_of_workers(cases: list[tuple[Trace, Design]]) -> None:
    alone = [simulate(trace, design).to_json() for trace, design in cases]
    for workers in (1, 3):
        with ThreadPoolExecutor(workers) as pool:
            together = list(pool.map(lambda case: simulate(*case).to_json(), reversed(cases)))
        assert together[::-1] == alone
