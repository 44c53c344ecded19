"""Calls that are lowered together: each gets the program that it would get by itself, field for field."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiersim.config.load import load_design
from hiersim.frontends.measured import Case, MeasuredTime
from hiersim.frontends.published import operations
from hiersim.frontends.published.sketch import Sketch
from hiersim.fusion.eager import eager
from hiersim.lowering.lower import lower
from hiersim.model.design import Design
from hiersim.model.operators import DType
from hiersim.model.program import Program
from hiersim.validation import operators as validation
from hiersim.validation.operators import Batch, replay_batch
from hiersim.validation.protocol import CLOCKS, with_cache
from hiersim.validation.rows import OperatorRow, Skips
from hiersim.validation.together import calls_of, is_call, play

SIZES = st.sampled_from([1, 3, 16, 33, 128, 1000, 1024, 4097])
DTYPES = st.sampled_from([DType.FP32, DType.BF16])
NAMES = ("h100-sxm", "a100-40gb-pcie", "v100-pcie", "t4")
DESIGNS = {name: load_design(name) for name in NAMES}


def _case(sketch: Sketch, name: str = "one") -> Case:
    return sketch.case(suite="calls", name=name, params={})


@st.composite
def sketches(draw: st.DrawFn) -> Sketch:
    """One operator of a kind that data sets measure, of sizes from one element to more than a cache holds."""
    dtype, rows, columns = draw(DTYPES), draw(SIZES), draw(SIZES)
    kind = draw(st.sampled_from(["product", "batch", "attention", "norm", "rms", "softmax", "relu", "add", "gated"]))
    if kind in ("product", "batch"):
        return operations.product(dtype, rows, columns, draw(SIZES), 1 if kind == "product" else draw(SIZES))
    if kind == "attention":
        heads, keys = draw(st.sampled_from([(8, 8), (8, 2), (1, 1)])), draw(SIZES)
        queries = draw(st.sampled_from([1, keys]))
        return operations.attention(DType.BF16, 2, *heads, queries, keys, 64, draw(st.booleans()))
    if kind in ("norm", "rms"):
        return operations.norm(dtype, rows, columns, kind == "rms")
    if kind == "softmax":
        return operations.softmax(dtype, rows, columns)
    if kind == "gated":
        return operations.gated(dtype, rows, columns)
    operator = "aten.relu.default" if kind == "relu" else "aten.add.Tensor"
    return operations.pointwise(dtype, operator, (rows, columns), 1 if kind == "relu" else 2)


def _differences(one: Program, other: Program) -> list[str]:
    """Fields that differ, but for the tile buffers of all calls and warnings of all calls."""
    buffers = int(other.buffer_tier[0])
    found = []
    for name in (item.name for item in fields(Program)):
        mine, own = getattr(one, name), getattr(other, name)
        if name == "peak_bytes":
            assert mine[buffers] >= own[buffers]
            mine, own = np.delete(mine, buffers), np.delete(own, buffers)
        same = np.array_equal(mine, own) if isinstance(own, np.ndarray) else mine == own
        if not same and name != "warnings":
            found.append(name)
    return found


@given(st.lists(sketches(), min_size=2, max_size=4), st.sampled_from(NAMES), st.sampled_from(["cold", "warm"]))
def test_a_call_has_the_program_of_a_run_by_itself(asked: list[Sketch], name: str, cache: str) -> None:
    cases, design = [_case(sketch) for sketch in asked], with_cache(DESIGNS[name], cache)
    assert all(is_call(case) for case in cases)
    calls = calls_of(cases, None)
    assert calls is not None
    for case, program in zip(cases, calls.programs(design), strict=True):
        assert program is not None
        assert _differences(program, lower(case.trace().derived(eager), design)) == []


def _time(case: str, cache: str, clock: str) -> MeasuredTime:
    seconds = dict.fromkeys(("min_s", "p10_s", "p25_s", "median_s", "p75_s", "p90_s"), 1e-5)
    return MeasuredTime(case=case, mode="eager", cache=cache, clock=clock, n=3, **seconds)


def _rows(cases: list[Case], design: Design) -> tuple[list[OperatorRow], dict[str, int]]:
    times = [
        ((case.case, "eager", cache), _time(case.case, cache, clock))
        for case in cases
        for cache, clock in (("cold", "profiler"), ("warm", "wall"))
    ]
    batch = Batch(
        device="a card", design=design, host=None, release=(2, 0), clocks=CLOCKS, times=tuple(times),
        cases={case.case: case for case in cases},
    )  # fmt: skip
    skips = Skips()
    return list(replay_batch(batch, skips, lambda *told: None)), skips.counts


def test_rows_are_those_of_replays_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a case has several kernels, or does not fit the memory: it is replayed alone, or counted."""
    several = Sketch(DType.FP32)
    middle = several.run("aten.relu.default", (several.given("x", (64, 64)),), (64, 64))
    several.run("aten.relu.default", (middle,), (64, 64))
    sketches = [
        operations.softmax(DType.FP32, 4096, 2048),
        several,
        operations.pointwise(DType.FP32, "aten.relu.default", (1 << 17, 1 << 17)),
        operations.product(DType.FP32, 512, 512, 512),
    ]
    cases = [_case(sketch, f"case {place}") for place, sketch in enumerate(sketches)]
    assert [is_call(case) for case in cases] == [True, False, True, True]
    found = _rows(cases, DESIGNS["v100-pcie"])
    monkeypatch.setattr(validation, "is_call", lambda case: False)
    assert found == _rows(cases, DESIGNS["v100-pcie"])
    assert found[1] == {"cannot be replayed: does not fit the design's memory": 2}
    assert len(found[0]) == 6


def test_what_touches_a_tensor_twice_or_leaves_more_than_results_is_no_call() -> None:
    plain = _case(operations.softmax(DType.FP32, 64, 64))
    *tensors, operator = plain.rows
    assert is_call(plain)
    assert not is_call(replace(plain, rows=(*tensors, {**operator, "reads": ["x", "x"]})))
    assert not is_call(replace(plain, rows=(*tensors, {**operator, "writes": ["x"]})))
    assert not is_call(replace(plain, rows=(*tensors, {**operator, "frees": []})))
    assert not is_call(replace(plain, rows=(tensors[0], {**tensors[1], "output": False}, operator)))
    assert not is_call(replace(plain, rows=({**tensors[0], "role": "activation"}, tensors[1], operator)))
    assert not is_call(replace(plain, rows=(*tensors, operator, {"region": "x"})))
    assert not is_call(replace(plain, rows=(*tensors, {**operator, "reads": None})))
    assert not is_call(replace(plain, rows=(*tensors, {**operator, "reads": [{"bytes": 1}]})))
    assert not is_call(replace(plain, rows=(*({**row, "tensor": 5} for row in tensors), {**operator, "reads": [5]})))
    assert not is_call(replace(plain, fusion="attention"))
    assert not is_call(replace(plain, rows=()))


def test_a_design_with_more_than_caches_and_one_memory_replays_one_by_one() -> None:
    calls = calls_of([_case(operations.softmax(DType.FP32, 64, 64))] * 2, None)
    assert calls is not None
    played = play(calls, DESIGNS["t4"], [1, 0, 1])
    assert played[0] == played[1] == played[2] is not None
    belady = DESIGNS["t4"].replace({"memory.l2.replacement": "belady"})
    assert play(calls, belady, [1]) == [None]
