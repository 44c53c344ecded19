"""Which tile a matrix product gets: the quickest one.

Of equally quick ones the one that loads least (one scratchpad) or the largest (registers and scratchpad), then the
first by its sides.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interpreted_lowering import interpreted_lower

from hiersim.config.load import load_design
from hiersim.frontends.load import load_trace
from hiersim.fusion.eager import eager
from hiersim.lowering.machine import Machine
from hiersim.lowering.tiling import Loom
from hiersim.lowering.workload import prepare
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import DType, Kind
from hiersim.units import UNLIMITED, Factor, Ticks

DTYPES = (DType.FP32, DType.BF16)


@pytest.fixture
def tiny() -> Design:
    return load_design("tiny")


def product(m: int, n: int, k: int, batch: int = 1) -> KernelGraph:
    """One matrix product in bf16, without operands in memory."""
    graph = eager(load_trace("resnet50-infer"))
    table = graph.operators
    fields = {field.name for field in dataclasses.fields(table)} - {"strings", "dims_ptr", "dims"}
    columns = {name: getattr(table, name)[:1] for name in fields}
    changed = {"kind": Kind.GEMM, "dtype": DType.BF16, "matrix_flops": 2 * batch * m * n * k}
    none = {"masked_flops": 0, "vector_flops": 0, "special_ops": 0}
    columns |= {name: np.array([value], np.int64) for name, value in (changed | none).items()}
    dims = {"dims_ptr": np.array([0, 4]), "dims": np.array([batch, m, n, k])}
    empty = dataclasses.replace(graph.reads, ptr=np.zeros(2, np.int64), tensor=graph.reads.tensor[:0],
                                size=graph.reads.size[:0])  # fmt: skip
    tensors = dataclasses.replace(graph.tensors, storage_free=np.full_like(graph.tensors.storage_free, -1))
    return dataclasses.replace(
        graph, tensors=tensors, operators=dataclasses.replace(table, **columns, **dims),
        recomputed=graph.recomputed[:1], operator_ptr=np.array([0, 1]), names=("mm",), launch=graph.launch[:1],
        host_views=graph.host_views[:1], host_syncs=graph.host_syncs[:1], reads=empty, writes=empty,
    )  # fmt: skip


def tile(graph: KernelGraph, design: Design) -> tuple[int, ...]:
    loom = Loom(prepare(graph).classes, Machine(design).figures(DTYPES, DTYPES))
    loom.weave()
    return tuple(loom.tiles()[0].tolist())


def with_matrix(design: Design, **changes: Any) -> Design:
    assert design.compute.matrix is not None
    matrix = dataclasses.replace(design.compute.matrix, **changes)
    return dataclasses.replace(design, compute=dataclasses.replace(design.compute, matrix=matrix))


def timeless(design: Design) -> Design:
    """Nothing costs time: every tile is as quick as any other."""
    free = with_matrix(design, peak=dict.fromkeys(design.compute.matrix.peak, UNLIMITED))  # type: ignore[union-attr]
    memory = tuple(
        dataclasses.replace(tier, bandwidth=UNLIMITED, read_bandwidth=None, write_bandwidth=None, latency=0)
        for tier in design.memory
    )
    compute = dataclasses.replace(free.compute, load_bandwidth=UNLIMITED)
    return dataclasses.replace(free, compute=compute, memory=memory)


def with_registers(design: Design) -> Design:
    """`design` with accumulators in a tier of their own, as GPUs have them."""
    scratchpad = design.memory[0]
    registers = dataclasses.replace(scratchpad, name="registers")
    return dataclasses.replace(design, memory=(registers, *design.memory))


def test_of_equally_quick_tiles_the_largest_is_chosen(tiny: Design) -> None:
    design = with_registers(with_matrix(timeless(tiny), tile=(8, 8, 8)))
    m, n, _, split = tile(product(4096, 4096, 4096), design)
    accumulators = design.memory[0].capacity // 2
    assert m * n * 4 <= accumulators < 4 * m * n * 4
    assert (m * n).bit_count() == 1
    assert split == 1


def test_of_equally_large_tiles_the_first_by_its_sides_is_chosen(tiny: Design) -> None:
    design = with_registers(with_matrix(timeless(tiny), tile=(8, 8, 8)))
    m, n, _, _ = tile(product(4096, 4096, 4096), design)
    again = with_matrix(design, tile=(m, 8, 8))
    assert tile(product(4096, 4096, 4096), again)[:2] == (m, n)  # no narrower tile of that area fits the operands
    assert m <= n


@pytest.mark.parametrize("sides", [(4096, 4096, 4096), (1000, 3000, 500), (8, 9999, 64), (64, 64, 64), (1, 1, 1)])
def test_one_scratchpad_holds_accumulators_and_buffers_of_the_tile_that_loads_least(
    tiny: Design, sides: tuple[int, int, int]
) -> None:
    """Against every tile whose sides are multiples of the native ones, with the shortest step: within a tenth."""
    design = with_matrix(timeless(tiny), tile=(8, 8, 8))
    rows, columns, inner = sides
    room, depth = int(design.memory[0].capacity), int(design.compute.buffer_depth)

    def held(m: int, n: int, k: int) -> int:
        return 4 * m * n + depth * (m + n) * k * 2

    def loads(m: int, n: int) -> int:
        return inner * (rows * -(-columns // n) + columns * -(-rows // m))

    m, n, k, _ = tile(product(*sides), design)
    assert held(m, n, k) <= room
    assert m % 8 == n % 8 == k % 8 == 0
    most_m, most_n = -(-rows // 8) * 8, -(-columns // 8) * 8
    least = min(
        loads(tall, wide)
        for tall in range(8, most_m + 1, 8)
        for wide in range(8, most_n + 1, 8)
        if held(tall, wide, 8) <= room
    )
    assert loads(m, n) <= 1.1 * least


@pytest.mark.parametrize("factor", [2, 3, 7, 10, 999])
def test_machines_that_differ_by_a_factor_of_all_rates_choose_the_same_tiles(factor: int) -> None:
    classes = prepare(eager(load_trace("llama3-8b-prefill"))).classes
    for name in ("h100-sxm", "tpu-v4", "l4"):
        design = load_design(name)
        tiles = []
        for rates in (1, factor):
            loom = Loom(classes, Machine(faster(design, rates)).figures(DTYPES, DTYPES))
            loom.weave()
            tiles.append(loom.tiles().tolist())
        assert tiles[0] == tiles[1]
        assert any(sides[0] for sides in tiles[0])


@pytest.mark.parametrize("sides", [(4096, 64, 4096), (100, 4096, 4096), (4096, 128, 4096), (100, 4096, 1000)])
def test_rounding_decides_between_no_two_tiles(sides: tuple[int, int, int]) -> None:
    """Several tiles take the same time here, and their estimates differ in the last bit at some of these rates."""
    graph, design = product(*sides), load_design("h100-sxm")
    assert len({tile(graph, faster(design, factor)) for factor in (1, 3, 7, 10, 999)}) == 1


SIDES = st.one_of(st.integers(1, 300), st.integers(1, 20_000), st.sampled_from((64, 256, 4096)))
GPUS = st.sampled_from(("h100-sxm", "a100-80gb-sxm", "l4", "v100-sxm", "mi300x", "b200"))
RATES = st.sampled_from(("0.1x", "0.5x", "1x", "3x", "20x"))


@given(GPUS, RATES, RATES, SIDES, SIDES, SIDES, st.integers(1, 40))
def test_no_tile_is_passed_over_that_would_have_been_chosen(
    name: str, near: str, peak: str, m: int, n: int, k: int, batch: int
) -> None:
    """Blocks that load for longer than the best one takes are not estimated; here all of them are, interpreted."""
    design = load_design(name)
    nearest, matrix = design.shared_tiers[0], design.compute.matrix
    changes = {"compute.vector.peak.fp32": peak}
    if nearest.bandwidth is not None:
        changes[f"memory.{nearest.name}.bandwidth"] = near
    if matrix is not None and DType.BF16 in matrix.peak:
        changes["compute.matrix.peak.bf16"] = peak
    design = design.replace(changes)
    graph = product(m, n, k, batch)
    lowering = interpreted_lower().__globals__  # type: ignore[attr-defined]
    loom = lowering["Loom"](lowering["prepare"](graph).classes, lowering["Machine"](design).figures(DTYPES, DTYPES))
    loom.cutter.loads_too_long = lambda m, n: False
    loom.weave()
    assert tile(graph, design) == tuple(loom.tiles()[0].tolist())


LATENCY = 3 * 69930
"""Ticks, a multiple of 2, 3, 7, 10 and 999."""


def faster(design: Design, factor: int) -> Design:
    """All rates that enter a tile's time multiplied, with efficiencies of one so that no rate is rounded.

    Latencies are divided; they are such that every factor divides them.
    """
    whole = {"efficiency": 1.0}
    design = with_matrix(
        design, peak={key: rate * factor for key, rate in design.compute.matrix.peak.items()}, **whole  # type: ignore[union-attr]
    )  # fmt: skip
    memory = []
    for tier in design.memory:
        rates = {key: getattr(tier, key) for key in ("bandwidth", "read_bandwidth", "write_bandwidth")}
        rates = {key: rate * factor if rate and rate < UNLIMITED else rate for key, rate in rates.items()}
        memory.append(dataclasses.replace(tier, **rates, latency=Ticks(LATENCY // factor), **whole))
    load = design.compute.load_bandwidth
    waits = dict.fromkeys(("start_up", "exchange"), Ticks(LATENCY // factor))
    compute = dataclasses.replace(design.compute, load_bandwidth=load if load >= UNLIMITED else load * factor, **waits)
    host = dataclasses.replace(design.host, start=Ticks(LATENCY // factor))
    loads = dataclasses.replace(design.constants, dependent_load=Factor(1.0))
    return dataclasses.replace(design, compute=compute, memory=tuple(memory), host=host, constants=loads)
