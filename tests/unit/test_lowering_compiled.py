"""Compiled and interpreted lowering give the same programs and the same errors, at any size of the numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreted_lowering import interpreted_lower

from hiersim.config.load import load_design
from hiersim.errors import DesignError, HiersimError
from hiersim.exact import ceil_share, ceil_share3, floor_share, product, total
from hiersim.frontends.load import load_trace
from hiersim.fusion.eager import eager
from hiersim.fusion.registry import policy
from hiersim.lowering import tiling
from hiersim.lowering.lower import lower
from hiersim.model.compute import Blocking
from hiersim.model.constants import Constants
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.program import Program
from hiersim.model.trace import Trace
from hiersim.testing.strategies import designs, traces
from hiersim.units import LARGEST, UNLIMITED

compiled_only = pytest.mark.skipif(tiling.__file__.endswith(".py"), reason="lowering is not compiled here")


def outcome(make: Any, graph: KernelGraph, design: Design) -> Program | str:
    try:
        program: Program = make(graph, design)
    except HiersimError as error:
        return str(error)
    return program


def differences(one: Program | str, other: Program | str) -> list[str]:
    """Fields that are not equal."""
    if isinstance(one, str) or isinstance(other, str):
        return [] if one == other else [f"{one!r} is not {other!r}"]
    found = []
    for field in dataclasses.fields(Program):
        mine, its = getattr(one, field.name), getattr(other, field.name)
        same = np.array_equal(mine, its) and mine.dtype == its.dtype if isinstance(mine, np.ndarray) else mine == its
        if not same:
            found.append(field.name)
    return found


def blocked(design: Design) -> Design:
    """Products blocked for the nearest shared tier."""
    return dataclasses.replace(design, compute=dataclasses.replace(design.compute, blocking=Blocking.SHARED))


few = settings(max_examples=max(20, settings.default.max_examples // 4))


@compiled_only
@few
@given(traces(max_operators=8), st.one_of(designs(), designs(replacement=True), designs().map(blocked)))
def test_compiled_equals_interpreted(trace: Trace, design: Design) -> None:
    graph = eager(trace)
    assert differences(outcome(lower, graph, design), outcome(interpreted_lower(), graph, design)) == []


SIZES = st.one_of(st.integers(1, 2**62 - 1), st.sampled_from((1, 2, 10**9, 2**61, 2**62 - 1, UNLIMITED)))


@st.composite
def extreme(draw: st.DrawFn) -> Design:
    """A design whose numbers go to their limits."""
    design = draw(designs())
    count = st.sampled_from((1, 2, 1000, 10**9))
    compute = dataclasses.replace(
        design.compute, cores=draw(count), buffer_depth=draw(count), load_bandwidth=draw(SIZES),
        blocking=draw(st.sampled_from(Blocking)),
        vector=dataclasses.replace(
            design.compute.vector, special=draw(SIZES), peak={key: draw(SIZES) for key in design.compute.vector.peak}
        ),
    )  # fmt: skip
    if compute.matrix is not None:
        sides = st.sampled_from((1, 16, 65_536))
        matrix = dataclasses.replace(
            compute.matrix, peak={key: draw(SIZES) for key in compute.matrix.peak},
            tile=(draw(sides), draw(sides), draw(sides)),
        )  # fmt: skip
        compute = dataclasses.replace(compute, matrix=matrix)
    tiers = []
    for tier in design.memory:
        changes: dict[str, Any] = {
            key: draw(SIZES) for key in ("bandwidth", "read_bandwidth", "write_bandwidth") if getattr(tier, key)
        }
        capacity = min(draw(SIZES), 2**62 - 1)
        latency = draw(st.sampled_from((0, 1, 10**12, 2**61)))
        tiers.append(dataclasses.replace(tier, capacity=capacity, latency=latency, **changes))
    factor = st.sampled_from((1e-6, 0.3, 1.0, 70.5, 1e6))
    factors = (
        "dependent_load",
        "address",
        "lookup",
        "special_function",
        "link",
        "access",
        "narrow_loads",
        "prologue",
        "table_waits",
    )
    wait = draw(st.sampled_from((1, 512, 2**62 - 1)))
    constants = Constants(wait_bytes=wait, **{name: draw(factor) for name in factors})
    return dataclasses.replace(design, compute=compute, memory=tuple(tiers), constants=constants)


@st.composite
def large(draw: st.DrawFn, trace: Trace) -> KernelGraph:
    """The kernels of a trace with arithmetic of any size that a trace may ask for."""
    graph = eager(trace)
    table = graph.operators
    rows = max(1, len(table))
    amounts = {
        name: np.array([draw(st.integers(0, (LARGEST - 1) // (2 * rows))) for _ in range(len(table))], np.int64)
        for name in ("matrix_flops", "vector_flops", "special_ops")
    }
    masked = np.minimum(table.masked_flops, amounts["matrix_flops"])
    return dataclasses.replace(graph, operators=dataclasses.replace(table, masked_flops=masked, **amounts))


@compiled_only
@few
@given(traces(max_operators=4), extreme(), st.data())
def test_compiled_equals_interpreted_at_the_limits_of_all_numbers(
    trace: Trace, design: Design, data: st.DataObject
) -> None:
    graph = data.draw(st.one_of(st.just(eager(trace)), large(trace)))
    program = outcome(lower, graph, design)
    assert differences(program, outcome(interpreted_lower(), graph, design)) == []
    if isinstance(program, Program):
        assert min(program.stage_ticks.min(initial=1), program.loop_repeat.min(initial=1)) >= 1
        assert min(program.stage_bytes.min(initial=0), program.stage_useful.min(initial=0)) >= 0
        assert int(sum(ticks * count for ticks, count in zip(
            program.stage_ticks.tolist(), program.stage_counts().tolist(), strict=True
        ))) < LARGEST  # fmt: skip


@compiled_only
@pytest.mark.parametrize("fusion", ["eager", "inductor"])
@pytest.mark.parametrize("name", ["gpt2-train", "llama3-8b-prefill", "resnet50-infer"])
def test_compiled_equals_interpreted_on_bundled_traces(name: str, fusion: str) -> None:
    for design in (load_design("h100-sxm"), load_design("tpu-v4")):
        graph = policy(fusion)(load_trace(name), design)
        assert differences(outcome(lower, graph, design), outcome(interpreted_lower(), graph, design)) == []


@pytest.mark.parametrize("make", [lower, interpreted_lower()], ids=["as installed", "interpreted"])
@pytest.mark.parametrize("scale", [2**58, 2**61 - 1])
def test_work_beyond_64_bits_is_refused_in_one_line(make: Any, scale: int) -> None:
    graph = eager(load_trace("resnet50-infer"))
    huge = np.where(np.arange(len(graph.operators)) == 3, scale, graph.operators.vector_flops)
    graph = dataclasses.replace(graph, operators=dataclasses.replace(graph.operators, vector_flops=huge))
    with pytest.raises(DesignError, match="more than 53 days"):
        make(graph, load_design("t4").replace({"compute.vector.peak.fp32": "1 GFLOP/s"}))


def test_exact_shares_and_their_limits() -> None:
    assert (total(2**61, 2**61 - 1), product(2**31, 2**30)) == (2**62 - 1, 2**61)
    assert (floor_share(2**62, 2**61, 2**62), ceil_share(7, 3, 2), floor_share(7, 3, 2)) == (2**61, 11, 10)
    assert ceil_share3(2**40, 2**40, 3, 2**40) == 3 * 2**40
    for call in (
        lambda: total(2**61, 2**61),
        lambda: product(2**31, 2**31),
        lambda: floor_share(2**62, 2, 2),
        lambda: ceil_share(2**62 - 1, 2**62, 2**62 - 1),
        lambda: ceil_share3(2**62, 2**62, 16, 2**62),
    ):
        with pytest.raises(OverflowError):
            call()
