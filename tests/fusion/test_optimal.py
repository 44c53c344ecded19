"""The search is exact where it says so, else its bound is one; no other policy asks for fewer bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

import hiersim as hs
from hiersim import bundled
from hiersim.errors import FusionError
from hiersim.frontends.aten.call import Cost
from hiersim.frontends.integrity import check_trace
from hiersim.frontends.tables import OperatorBuilder, Row, Storage, TensorBuilder, TensorKey, accesses
from hiersim.fusion import kernel_bytes
from hiersim.fusion import optimal as optimal_module
from hiersim.fusion.bottlenecks import bound
from hiersim.fusion.build import kernel_graph
from hiersim.fusion.eager import eager
from hiersim.fusion.kernel_bytes import Costs
from hiersim.fusion.optimal import BLOCK, NODES, optimal, partition, room, solve, stretches, title
from hiersim.fusion.partition import launching, of_groups
from hiersim.fusion.registry import policies
from hiersim.fusion.search import intervals, search
from hiersim.fusion.search_window import Window
from hiersim.fusion.sliding_chains import Chains
from hiersim.model.operators import DType, Flag, Kind, Phase, Role
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader
from hiersim.testing.attention import written_attention
from hiersim.testing.contracts import asked_bytes, check_policy
from hiersim.testing.strategies import dags

CAPTURED = Path(__file__).parent / "captured"
few = settings(max_examples=max(10, settings.default.max_examples // 16))  # type: ignore[union-attr]


def set_partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """All ways to put items into groups."""
    if not items:
        yield []
        return
    for rest in set_partitions(items[1:]):
        yield [[items[0]], *rest]
        for place, group in enumerate(rest):
            yield [*rest[:place], [items[0], *group], *rest[place + 1 :]]


def sliding(trace: Trace, capacity: int) -> Chains:
    """How a trace's operators slide in a room of that size."""
    found = Chains(trace.graph, hs.load_design("tiny"))
    found.room = capacity
    return found


def least_by_brute_force(trace: Trace, capacity: int) -> int:
    """The fewest bytes of all legal partitions whose kernels fit; built and counted as any other policy's."""
    chains, least = sliding(trace, capacity), asked_bytes(eager(trace))
    whole, ever = (Costs(trace.graph, room) for room in (capacity, 2**60))

    @cache
    def fit(members: tuple[int, ...]) -> bool:
        """Whether operators may share a kernel, asked of the two ways themselves: values whole, or window by window."""
        rows = list(members)
        if len(rows) == 1 or whole.fits(rows):
            return True
        axes = chains.axes(rows)
        return ever.fits(rows) and bool(axes) and chains.plan(rows, axes) is not None

    for groups in set_partitions(launching(trace.graph).tolist()):
        if not all(fit(tuple(members)) for members in groups):
            continue
        group = np.zeros(len(trace.graph.operators), np.int64)
        for members in groups:
            group[members] = members[0]
        try:
            least = min(least, asked_bytes(kernel_graph(trace, of_groups(trace.graph, group), "any")))
        except FusionError:
            continue
    return least


@few
@given(dags(5), st.sampled_from((0, 1536, 4000, 10**6)))
def test_no_partition_asks_for_fewer_bytes(trace: Trace, capacity: int) -> None:
    if len(list(stretches(trace.graph))) > 1:
        return
    solved = solve(trace.graph, capacity, sliding(trace, capacity))
    assert solved.bytes == solved.least == least_by_brute_force(trace, capacity)
    assert asked_bytes(kernel_graph(trace, solved.partition, "optimal")) == solved.bytes
    event("windows" if solved.sliding else "whole values")


@settings(max_examples=max(2, settings.default.max_examples // 60))  # type: ignore[union-attr]
@given(dags(8), st.sampled_from((1536, 4000, 10**6)))
def test_nor_among_all_partitions_of_nine_operators(trace: Trace, capacity: int) -> None:
    """All 21 147 of them, by their cost; the first that is legal is the best."""
    assume(len(list(stretches(trace.graph))) == 1 and len(launching(trace.graph)) >= 8)
    costs = Costs(trace.graph, capacity, sliding(trace, capacity))
    fit = cache(lambda members: costs.fits(list(members)))
    every = set_partitions(launching(trace.graph).tolist())
    fitting = [groups for groups in every if all(fit(tuple(members)) for members in groups)]
    priced = sorted(fitting, key=lambda groups: sum(map(costs.bytes, groups)))
    solved = solve(trace.graph, capacity, costs.chains)
    found = asked_bytes(kernel_graph(trace, solved.partition, "optimal"))
    for groups in priced:
        group = np.zeros(len(trace.graph.operators), np.int64)
        for members in groups:
            group[members] = members[0]
        try:
            best = kernel_graph(trace, of_groups(trace.graph, group), "any")
        except FusionError:
            continue
        assert asked_bytes(best) == sum(map(costs.bytes, groups)) == found
        return


@few
@given(dags(12))
def test_more_room_never_costs_bytes_and_the_laws_hold(trace: Trace) -> None:
    asked = [asked_bytes(eager(trace))]
    for capacity in (0, 1536, 4000, 10**6):
        graph = kernel_graph(trace, partition(trace.graph, capacity), "optimal")
        check_policy(trace, graph)
        asked.append(asked_bytes(graph))
    assert asked == sorted(asked, reverse=True)


def least_of_all_orders(costs: Costs, rows: list[int]) -> int:
    """The fewest bytes of a stretch, by plain dynamic programming over sets of operators, no bounds."""
    place = {row: at for at, row in enumerate(rows)}
    needs = [sum(1 << place[need] for need in costs.before[row] if need in place) for row in rows]
    every, best, price = (1 << len(rows)) - 1, {0: 0}, dict[int, int | None]()
    for done in range(every):
        part = left = every & ~done if done in best else 0
        while part:
            if all(not needs[at] & ~(done | part) for at in range(len(rows)) if part >> at & 1):
                if part not in price:
                    members = [row for at, row in enumerate(rows) if part >> at & 1]
                    price[part] = costs.bytes(members) if costs.fits(members) else None
                asked = price[part]
                if asked is not None:
                    best[done | part] = min(best.get(done | part, best[done] + asked), best[done] + asked)
            part = (part - 1) & left
    return best[every]


@few
@given(
    dags(7),
    st.sampled_from((0, 768, 1536, 3000, 4000, 10**6)),
    st.sampled_from((2, 3, 5)),
    st.sampled_from((1, 3, 30, NODES)),
)
def test_what_is_cut_short_states_a_true_bound(trace: Trace, capacity: int, block: int, nodes: int) -> None:
    """`least` <= optimum <= `bytes`, whatever the blocks and the nodes; equal where the search ends."""
    costs = Costs(trace.graph, capacity, sliding(trace, capacity))
    best = [(rows, least_of_all_orders(costs, rows)) for rows in stretches(trace.graph)]
    assert all(bound(costs, Window(costs, rows)) <= least for rows, least in best)
    optimum, chains = sum(least for _, least in best), costs.chains
    whole = solve(trace.graph, capacity, chains)
    assert whole.bytes == whole.least == optimum
    cut = solve(trace.graph, capacity, chains, nodes=nodes)
    for found in (cut, solve(trace.graph, capacity, chains, block=block, nodes=nodes)):
        assert found.least <= optimum <= found.bytes
        graph = kernel_graph(trace, found.partition, title(found))
        assert asked_bytes(graph) == found.bytes
        check_policy(trace, graph)
        event("exact" if found.least == found.bytes else "a gap")


@few
@given(st.lists(st.sampled_from((16, 32, 64)), min_size=4, max_size=6), st.sampled_from((3000, 9000, 20_000, 40_000)))
def test_windows_of_products_are_found_where_values_do_not_fit_whole(widths: list[int], capacity: int) -> None:
    """An MLP over 256 rows: a value of 16 columns takes 16 KiB, a window of one row 64 bytes."""
    trace = products(widths)
    chains = sliding(trace, capacity)
    found, whole = solve(trace.graph, capacity, chains), solve(trace.graph, capacity)
    assert found.bytes == found.least == least_by_brute_force(trace, capacity) <= whole.bytes
    assert asked_bytes(kernel_graph(trace, found.partition, "optimal")) == found.bytes
    weights = [4 * one * other for one, other in pairwise(widths)]
    if min(map(sum, pairwise(weights))) + 4 * sum(sorted(widths)[-3:]) <= capacity < 4 * 256 * min(widths[1:-1]):
        assert found.sliding
        assert found.bytes < whole.bytes
    event("windows" if found.sliding else "whole values")


def products(widths: list[int]) -> Trace:
    """Products one after the other over 256 rows, of so many columns each."""
    tensors, rows = TensorBuilder(), list[Row]()

    def tensor(shape: tuple[int, int], role: Role, output: bool = False) -> TensorKey:
        size = 4 * shape[0] * shape[1]
        storage = tensors.storage(Storage(size=size, role=role, output=output))
        return TensorKey(storage=storage, dtype=DType.FP32, shape=shape, size=size)

    values = [tensor((256, widths[0]), Role.INPUT)]
    reads, writes = [], []
    for place, (k, n) in enumerate(pairwise(widths)):
        weight = tensor((k, n), Role.WEIGHT)
        values.append(tensor((256, n), Role.ACTIVATION, place == len(widths) - 2))
        reads.append([(key, key.size) for key in (values[-2], weight)])
        writes.append([(values[-1], values[-1].size)])
        cost = Cost(kind=Kind.GEMM, dims=(1, 256, n, k), matrix_flops=2 * 256 * n * k)
        rows.append(
            Row(name="aten.mm.default", module="", phase=Phase.FORWARD, flags=Flag.NONE, dtype=DType.FP32, cost=cost)
        )
    graph = OperatorGraph(
        reads=accesses(reads, tensors),
        writes=accesses(writes, tensors),
        tensors=tensors.build(),
        operators=OperatorBuilder(rows).build(),
    )
    return check_trace(Trace(header=TraceHeader(name="products"), graph=graph))


def chain(sizes: list[int]) -> Trace:
    """Operators in a row, each of which needs the whole result of the one before; `sizes` of what is handed on."""
    tensors = TensorBuilder()
    roles = [Role.INPUT] + [Role.ACTIVATION] * (len(sizes) + 1)
    keys = [
        TensorKey(
            storage=tensors.storage(Storage(size=size, role=role)), dtype=DType.FP32, shape=(size // 4,), size=size
        )
        for size, role in zip([512, *sizes, 512], roles, strict=True)
    ]
    tensors.storages[-1].output = True
    cost = Cost(kind=Kind.GATHER)
    row = Row(
        name="aten.index.Tensor", module="", phase=Phase.FORWARD, flags=Flag.NONE, dtype=DType.FP32, cost=cost
    )  # fmt: skip
    graph = OperatorGraph(
        reads=accesses([[(key, key.size)] for key in keys[:-1]], tensors),
        writes=accesses([[(key, key.size)] for key in keys[1:]], tensors),
        tensors=tensors.build(),
        operators=OperatorBuilder([row] * (len(sizes) + 1)).build(),
    )
    return check_trace(Trace(header=TraceHeader(name="chain"), graph=graph))


@few
@given(dags(8), st.sampled_from((1536, 10**6)), st.sampled_from((3, 4)), st.sampled_from((0, 16_384)))
def test_stretches_in_parts_and_paths_unknown_keep_the_bound(trace: Trace, capacity: int, part: int, far: int) -> None:
    """Sizes at which sets of operators would grow too large, made small."""
    whole = solve(trace.graph, capacity)
    with patch.object(optimal_module, "PART", part), patch.object(kernel_bytes, "FAR", far):
        found = solve(trace.graph, capacity, block=2)
    assert found.least <= whole.bytes <= found.bytes
    graph = kernel_graph(trace, found.partition, title(found))
    assert asked_bytes(graph) == found.bytes
    check_policy(trace, graph)


@few
@given(st.lists(st.sampled_from((1024, 2048, 6000)), min_size=20, max_size=60), st.sampled_from((0, 3000, 9000, 10**5)))
def test_chains_of_any_length_are_exact(sizes: list[int], capacity: int) -> None:
    """Products one after the other: each value between two of them is held or goes through memory twice."""
    trace = chain(sizes)
    found = solve(trace.graph, capacity)
    saved = [0] * (len(sizes) + 2)  # by the operators before each place
    for end in range(1, len(saved)):
        held = 0
        for start in range(end - 1, -1, -1):
            saved[end] = max(saved[end], saved[start] + 2 * held)
            held += sizes[start - 1]
            if held > capacity:
                break
    assert found.bytes == found.least == asked_bytes(eager(trace)) - saved[-1]
    costs = Costs(trace.graph, capacity)
    window = Window(costs, launching(trace.graph).tolist())
    assert bound(costs, window) == found.bytes
    if len(sizes) < BLOCK:
        assert search(window, intervals(window, BLOCK).kernels, NODES).least == found.bytes


def blocks(shapes: list[tuple[int, int, bool]]) -> Trace:
    """Residual blocks: two operators that need their operand whole, and what they started from is added to them.

    Of each block the elements between these two, those that it hands on, and whether what is added went through an
    operator of its own; where the number of elements changes it always does.
    """
    tensors = TensorBuilder()
    reads, writes, rows = list[list[TensorKey]](), list[TensorKey](), list[Row]()

    def run(kind: Kind, elements: int, *operands: TensorKey, output: bool = False) -> TensorKey:
        size = 4 * elements
        storage = tensors.storage(Storage(size=size, role=Role.ACTIVATION, output=output))
        made = TensorKey(storage=storage, dtype=DType.FP32, shape=(elements,), size=size)
        reads.append(list(operands))
        writes.append(made)
        rows.append(
            Row(
                name="aten.add.Tensor" if kind is Kind.POINTWISE else "aten.index.Tensor", module="",
                phase=Phase.FORWARD, flags=Flag.NONE, dtype=DType.FP32, cost=Cost(kind=kind),
            )
        )  # fmt: skip
        return made

    given = tensors.storage(Storage(size=512, role=Role.INPUT))
    value = run(Kind.GATHER, 128, TensorKey(storage=given, dtype=DType.FP32, shape=(128,), size=512))
    for place, (inner, after, apart) in enumerate(shapes):
        made = run(Kind.GATHER, after, run(Kind.GATHER, inner, value))
        other = run(Kind.GATHER, after, value) if apart or after != value.shape[0] else value
        value = run(Kind.POINTWISE, after, made, other, output=place == len(shapes) - 1)
    graph = OperatorGraph(
        reads=accesses([[(key, key.size) for key in keys] for keys in reads], tensors),
        writes=accesses([[(key, key.size)] for key in writes], tensors),
        tensors=tensors.build(),
        operators=OperatorBuilder(rows).build(),
    )
    return check_trace(Trace(header=TraceHeader(name="blocks"), graph=graph))


@few
@given(
    st.lists(
        st.tuples(st.sampled_from((32, 128, 512)), st.sampled_from((64, 128, 256)), st.booleans()), min_size=1,
        max_size=4,
    ),
    st.sampled_from((0, 700, 1600, 3000, 5000)),
)  # fmt: skip
def test_what_crosses_bottlenecks_bounds_every_partition(shapes: list[tuple[int, int, bool]], capacity: int) -> None:
    """Chains with branches."""
    trace = blocks(shapes)
    costs, rows = Costs(trace.graph, capacity), launching(trace.graph).tolist()
    least, optimum = bound(costs, Window(costs, rows)), least_of_all_orders(costs, rows)
    assert least <= optimum
    event("tight" if least == optimum else "below")


@pytest.mark.parametrize("name", bundled.traces())
def test_no_policy_asks_for_fewer_bytes_of_a_bundled_trace(name: str) -> None:
    """Whole models, TorchInductor's own kernels among them."""
    trace, machine = hs.load_trace(name), hs.load_design("h100-sxm")
    graph = optimal(trace, machine)
    check_policy(trace, graph)
    for other, policy in policies().items():
        if other not in ("optimal", "ort", "xla"):
            assert asked_bytes(graph) <= asked_bytes(policy(trace, machine)), other


@pytest.mark.parametrize("name", bundled.traces())
def test_blocks_of_twenty_operators_of_real_models_are_exact(name: str) -> None:
    """Every twentieth stretch of twenty operators, to the end of the search."""
    trace, machine = hs.load_trace(name), hs.load_design("h100-sxm")
    costs, rows = Costs(trace.graph, room(machine)), launching(trace.graph).tolist()
    for start in range(0, len(rows) - 20, 400):
        window = Window(costs, rows[start : start + 20])
        found = search(window, intervals(window, 20).kernels, NODES)
        assert found.least == found.bytes
        assert found.nodes < NODES


def test_a_result_names_the_gap() -> None:
    trace, machine = hs.load_trace("resnet50-infer"), hs.load_design("h100-sxm")
    found = solve(trace.graph, room(machine), Chains(trace.graph, machine))
    result = hs.simulate(trace, machine, fusion="optimal")
    assert result.fusion == f"optimal (gap {math.ceil(1000 * found.gap) / 10:.1f} %)"
    assert 0 < found.gap < 0.03
    few = hs.load_trace(str(CAPTURED / "wav.npz"))
    assert hs.simulate(few, machine, fusion="optimal").fusion == "optimal"


def test_the_same_work_on_every_machine() -> None:
    trace = hs.load_trace("resnet50-infer")
    one, other = (solve(trace.graph, 30 * 10**6) for _ in range(2))
    assert (one.bytes, one.least, one.nodes) == (other.bytes, other.least, other.nodes)
    assert one.partition.operators.tolist() == other.partition.operators.tolist()


@pytest.mark.parametrize("design", ["h100-sxm", "tiny"])
def test_room_for_values_saves_bytes_on_a_real_model(design: str) -> None:
    trace, machine = hs.load_trace("resnet50-infer"), hs.load_design(design)
    graph = optimal(trace, machine)
    check_policy(trace, graph)
    assert asked_bytes(graph) < asked_bytes(eager(trace))


@pytest.mark.parametrize("train", [False, True])
def test_recognised_attention_is_something_to_search_from(train: bool) -> None:
    """Where cores hold no scores, each pass is the one operator that `attention` makes, and the rest is searched."""
    trace, machine = written_attention(batch=2, heads=3, length=512, head=32, train=train), hs.load_design("tiny")
    found, known = optimal(trace, machine), policies()["attention"](trace, machine)
    check_policy(trace, found)
    assert asked_bytes(found) <= asked_bytes(known) < solve(trace.graph, room(machine)).bytes
    assert set(found.names) >= set(known.names)
    assert int(found.recomputed.sum()) == int(known.recomputed.sum()) == int(train)
    times = [float(hs.simulate(trace, machine, policy).time) for policy in ("optimal", "attention")]
    assert times[0] == pytest.approx(times[1], rel=0.05)


@few
@given(dags(12), st.sampled_from(("tiny", "tpu-v4")))
def test_no_policy_asks_for_fewer_bytes_of_any_graph(trace: Trace, design: str) -> None:
    machine = hs.load_design(design)
    found = optimal(trace, machine)
    check_policy(trace, found)
    for name in ("eager", "pointwise", "epilogue", "attention", "depth-first", "inductor-rules"):
        assert asked_bytes(found) <= asked_bytes(policies()[name](trace, machine)), name
