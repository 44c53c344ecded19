"""What gathers and scatters cost: whole sectors in bytes, and at a DRAM tier the share that their runs achieve."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiersim.config.load import load_design
from hiersim.frontends.aten.call import Cost
from hiersim.frontends.tables import OperatorBuilder, Row, Storage, TensorBuilder, TensorKey, accesses
from hiersim.fusion.build import group
from hiersim.fusion.eager import eager
from hiersim.lowering.lower import lower
from hiersim.lowering.patterns import access_patterns
from hiersim.model.design import Design
from hiersim.model.dram import Access, achieved
from hiersim.model.dram_presets import PRESETS
from hiersim.model.operators import DType, Flag, Kind, Phase, Role
from hiersim.model.program import Program
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader
from hiersim.run import simulate
from hiersim.testing.strategies import designs, streaming_graphs, traces
from hiersim.units import TICKS_PER_SECOND, Bytes, BytesPerSecond, ceil_div

presets = st.sampled_from(sorted(PRESETS))
TINY = load_design("tiny")
few = settings(max_examples=max(20, settings.default.max_examples // 2))


def with_preset(design: Design, name: str | None, sector: int = 1) -> Design:
    """`design` with a DRAM preset at its last tier, all efficiencies as they are."""
    home = dataclasses.replace(design.home, dram=name, granularity=Bytes(sector))
    return dataclasses.replace(design, memory=(*design.memory[:-1], home)).checked()


def service_ticks(program: Program) -> np.ndarray:
    """Ticks of all stages by resource."""
    total = np.zeros(len(program.resources), np.int64)
    np.add.at(total, program.stage_resource, program.stage_ticks * program.stage_counts())
    return total


def lookup(kind: Kind, rows: int, width: int, dtype: DType = DType.FP32, table: int = 4096) -> Trace:
    """Rows of a table, gathered into a result or scattered from an input."""
    tensors = TensorBuilder()
    element = 4

    def key(count: int, role: Role, output: bool = False) -> TensorKey:
        size = count * width * element
        storage = tensors.storage(Storage(size=size, role=role, output=output))
        return TensorKey(storage=storage, dtype=dtype, shape=(count, width), size=size)

    gather = kind is Kind.GATHER
    whole, part = key(table, Role.WEIGHT, not gather), key(rows, Role.ACTIVATION if gather else Role.INPUT, gather)
    row = Row(name="aten.any", module="", phase=Phase.FORWARD, flags=Flag.NONE, dtype=dtype, cost=Cost(kind=kind))
    source, target = (whole, part) if gather else (part, whole)
    graph = OperatorGraph(
        operators=OperatorBuilder([row]).build(),
        reads=accesses([[(source, part.size)]], tensors),
        writes=accesses([[(target, part.size)]], tensors),
        tensors=tensors.build(),
    )
    return Trace(header=TraceHeader(name="lookup"), graph=graph)


@given(streaming_graphs(), designs(), presets)
def test_a_preset_changes_nothing_where_all_is_in_order(graph: object, design: Design, name: str) -> None:
    kinds = set(graph.operators.kind.tolist())  # type: ignore[attr-defined]
    if not kinds & {int(Kind.GATHER), int(Kind.SCATTER)}:
        plain, dram = (lower(graph, with_preset(design, chosen, 64)) for chosen in (None, name))  # type: ignore[arg-type]
        assert plain.stage_ticks.tolist() == dram.stage_ticks.tolist()
        assert plain.stage_bytes.tolist() == dram.stage_bytes.tolist()


@few
@given(traces(), designs(), presets)
def test_a_preset_never_makes_a_port_quicker_and_moves_the_same_bytes(trace: Trace, design: Design, name: str) -> None:
    plain, dram = (lower(eager(trace), with_preset(design, chosen, 64)) for chosen in (None, name))
    assert np.array_equal(plain.traffic(), dram.traffic())
    assert bool(np.all(service_ticks(dram) >= service_ticks(plain)))


@few
@given(traces(), designs(), st.sampled_from((2, 32, 256)))
def test_sectors_add_less_than_one_to_each_run(trace: Trace, design: Design, sector: int) -> None:
    graph = eager(trace)
    bytewise, whole = (lower(graph, with_preset(design, None, size)).traffic() for size in (1, sector))
    runs = access_patterns(graph).runs
    longest = max((ceil_div(run, sector) * sector / run for run in runs), default=1.0)
    for plain, rounded in zip(bytewise, whole, strict=True):
        assert bool(np.all(rounded >= plain))
        assert rounded[-1] <= plain[-1] * longest + 2 * len(graph) * (1 + longest)
        assert np.array_equal(plain[:-1], rounded[:-1])


@few
@given(traces(), designs(), presets)
def test_runs_with_a_preset_pass_the_audit(trace: Trace, design: Design, name: str) -> None:
    simulate(trace, with_preset(design, name, 64), keep_log=True)  # the audit is in every run


@pytest.mark.parametrize("kind", [Kind.GATHER, Kind.SCATTER])
@pytest.mark.parametrize("width", [1, 7, 16, 24, 64])
def test_rows_move_in_whole_sectors_at_each_tier(kind: Kind, width: int) -> None:
    rows, sectors = 1000, (32, 64)
    near, far = (dataclasses.replace(t, granularity=Bytes(s)) for t, s in zip(TINY.shared_tiers, sectors, strict=True))
    design = dataclasses.replace(TINY, memory=(*TINY.core_tiers, near, far))
    moved = lower(eager(lookup(kind, rows, width)), design).traffic()[0 if kind is Kind.GATHER else 1]
    expected = [rows * ceil_div(4 * width, sector) * sector for sector in sectors]
    assert moved.tolist()[-2:] == expected


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("width", [8, 16, 32, 256])
def test_a_gather_takes_the_share_of_its_rows(name: str, width: int) -> None:
    """Closed form of the service at the far port: bytes ÷ (bandwidth × efficiency) × stream share ÷ pattern share."""
    rows, rate = 2000, 10**12
    far = dataclasses.replace(
        TINY.home, bandwidth=BytesPerSecond(rate), efficiency=1.0, dram=name, granularity=Bytes(32)
    )
    design = dataclasses.replace(TINY, memory=(*TINY.memory[:-1], far))
    program = lower(eager(lookup(Kind.GATHER, rows, width)), design)
    port = [resource.name for resource in program.resources].index(far.name)
    reads = (program.stage_resource == port) & (program.stage_access == 0)
    ticks = int((program.stage_ticks * program.stage_counts())[reads].sum())
    timings, run = PRESETS[name].timings, 4 * width
    channels, sector = max(1, round(rate / timings.bandwidth)), max(32, timings.burst_bytes)
    moved = rows * ceil_div(run, sector) * sector
    pattern = achieved(timings, Access(run=Bytes(run), alignment=Bytes(run & -run)), channels, sector)
    slow = max(1.0, achieved(timings, Access(), channels, sector).moved / pattern.moved)
    assert program.traffic()[0][-1] == moved
    assert ticks == pytest.approx(moved * slow * TICKS_PER_SECOND / rate, rel=1e-3)


def test_a_slice_beside_a_gather_in_one_kernel_is_in_order() -> None:
    """Of two parts that a fused kernel reads, rows of a table are anywhere, and what is no number of rows is sliced."""
    tensors, elements = TensorBuilder(), 4

    def key(shape: tuple[int, ...], role: Role, dtype: DType = DType.FP32, output: bool = False) -> TensorKey:
        size = int(np.prod(shape)) * (8 if dtype is DType.INT64 else elements)
        storage = tensors.storage(Storage(size=size, role=role, output=output))
        return TensorKey(storage=storage, dtype=dtype, shape=shape, size=size)

    table, padded = key((4096, 32), Role.WEIGHT), key((8, 32, 67), Role.INPUT)
    indices, result = key((512,), Role.INPUT, DType.INT64), key((512, 32), Role.ACTIVATION, output=True)
    looked_up = key((512, 32), Role.ACTIVATION)
    part = 512 * 32 * elements
    rows = [
        Row(
            name=f"aten.{name}", module="", phase=Phase.FORWARD, flags=Flag.NONE, dtype=DType.FP32, cost=Cost(kind=kind)
        )
        for name, kind in (("embedding", Kind.GATHER), ("add", Kind.POINTWISE))
    ]
    reads = [[(table, part), (indices, indices.size)], [(looked_up, part), (padded, part)]]
    trace = Trace(
        header=TraceHeader(name="lookup"),
        graph=OperatorGraph(
            operators=OperatorBuilder(rows).build(),
            reads=accesses(reads, tensors),
            writes=accesses([[(looked_up, part)], [(result, part)]], tensors),
            tensors=tensors.build(),
        ),
    )
    graph = group(trace, np.zeros(2, np.int64), "both")
    assert len(graph) == 1
    patterns = access_patterns(graph)
    assert sorted((0, *patterns.runs)[found] for found in patterns.read.tolist()) == [0, 0, 32 * elements]
