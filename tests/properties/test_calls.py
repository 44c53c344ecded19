"""Calls that are lowered together: each gets the program that it would get by itself, field for field."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hiersim.config.load import load_design
from hiersim.errors import CapacityError
from hiersim.frontends.aten.call import Cost
from hiersim.frontends.measured import Case, MeasuredTime
from hiersim.frontends.published import operations
from hiersim.frontends.published.sketch import Sheet, Sketch
from hiersim.fusion.eager import eager
from hiersim.lowering.calls import are_apart
from hiersim.lowering.lower import lower
from hiersim.model.design import Design
from hiersim.model.operators import DType, Kind
from hiersim.model.program import Program
from hiersim.validation import operators as validation
from hiersim.validation.operators import Batch, replay_batch
from hiersim.validation.protocol import CLOCKS, with_cache
from hiersim.validation.rows import OperatorRow, Skips
from hiersim.validation.together import calls_of, kernels_of_call, play

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


@st.composite
def chains(draw: st.DrawFn, kernels: int) -> Sketch:
    """Element-wise kernels, each of some tensors that are there and of results before it, some of which are freed."""
    dtype, side = draw(DTYPES), draw(SIZES)
    shape = (draw(SIZES), side)
    sketch = Sketch(dtype)
    known = [sketch.given(name, shape, role) for name, role in (("x", "input"), ("w", "weight"), ("z", "input"))]
    for kernel in range(kernels):
        places = draw(st.lists(st.integers(0, len(known) - 1), min_size=1, max_size=3, unique=True))
        reads = [known[place] for place in places] + (known[:3] if kernel == 0 else [])
        reads = list({sheet.name: sheet for sheet in reads}.values())
        moved = {sheet.name: sheet.bytes // 2 for sheet in reads if draw(st.booleans()) and sheet.bytes > 1}
        cost = Cost(kind=Kind.POINTWISE, vector_flops=shape[0] * side)
        known.append(sketch.run("some.kernel", reads, shape, cost=cost, moved=moved))
    return sketch


@st.composite
def several(draw: st.DrawFn) -> tuple[int, list[Sketch]]:
    """Calls of as many kernels each: attention over pages as serving engines run it, or chains of kernels."""
    kernels = draw(st.integers(2, 5))
    return kernels, draw(st.lists(chains(kernels) if kernels > 3 else paged(kernels), min_size=2, max_size=4))


@st.composite
def paged(draw: st.DrawFn, kernels: int) -> Sketch:
    """Stores new keys, attends, and may plan its blocks between; or a chain of as many kernels."""
    if draw(st.booleans()):
        return draw(chains(kernels))
    keys = draw(SIZES)
    heads = draw(st.sampled_from([(8, 8), (8, 2), (1, 1)]))
    queries = draw(st.sampled_from([1, keys]))
    return operations.paged_attention(
        DType.BF16, draw(st.sampled_from([1, 3, 64])), *heads, queries, keys, 64, page=64, store="store",
        planned=kernels == 3,
    )  # fmt: skip


def _line(*sides: int, linked: bool = True) -> Sketch:
    """Kernels of these sizes, each reads what is there from the start and, when `linked`, what the one before wrote."""
    sketch = Sketch(DType.FP32)
    last: list[Sheet] = []
    for place, side in enumerate(sides):
        given = sketch.given(f"x{place}", (side, side))
        cost = Cost(kind=Kind.POINTWISE, vector_flops=side * side)
        last = [sketch.run("some.kernel", [*last, given] if linked else [given], (side, side), cost=cost)]
    return sketch


SINGLE = st.tuples(st.just(1), st.lists(sketches(), min_size=2, max_size=4))


@example((2, [_line(64, 128, linked=False), _line(128, 64, linked=False)]), "t4", "cold")
@example((3, [_line(64, 32, 64), _line(32, 64, 32)]), "a100-40gb-pcie", "warm")
@example((5, [_line(*[side] * 5) for side in (400, 450, 500, 550)]), "t4", "warm")
@given(st.one_of(SINGLE, several()), st.sampled_from(NAMES), st.sampled_from(["cold", "warm"]))
def test_a_call_has_the_program_of_a_run_by_itself(asked: tuple[int, list[Sketch]], name: str, cache: str) -> None:
    kernels, design = asked[0], with_cache(DESIGNS[name], cache)
    cases = [_case(sketch) for sketch in asked[1]]
    assert all(kernels_of_call(case) == kernels for case in cases)
    calls = calls_of(cases, kernels, None)
    assert calls is not None
    for case, program in zip(cases, calls.programs(design), strict=True):
        graph = case.trace().derived(eager)
        if program is None:
            with pytest.raises(CapacityError):
                lower(graph, design)
        else:
            assert _differences(program, lower(graph, design)) == []


def _time(case: str, cache: str, clock: str, launches: int | None) -> MeasuredTime:
    seconds = dict.fromkeys(("min_s", "p10_s", "p25_s", "median_s", "p75_s", "p90_s"), 1e-5)
    return MeasuredTime(case=case, mode="eager", cache=cache, clock=clock, n=3, launches=launches, **seconds)


def _rows(cases: list[Case], design: Design, launches: int | None = None) -> tuple[list[OperatorRow], dict[str, int]]:
    times = [
        ((case.case, "eager", cache), _time(case.case, cache, clock, launches))
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
    """Also of several kernels each, with a view, by one launch in all, or too large for the memory."""
    viewed = Sketch(DType.FP32)
    viewed.run("aten.relu.default", (viewed.view(viewed.given("x", (64, 64)), (4096,)),), (4096,))
    sketches = [
        operations.softmax(DType.FP32, 4096, 2048),
        _line(64, 64),
        viewed,
        operations.pointwise(DType.FP32, "aten.relu.default", (1 << 17, 1 << 17)),
        _line(4096, 4096),
        operations.product(DType.FP32, 512, 512, 512),
    ]
    cases = [_case(sketch, f"case {place}") for place, sketch in enumerate(sketches)]
    assert [kernels_of_call(case) for case in cases] == [1, 2, 0, 1, 2, 1]
    for launches in (None, 1):
        found = _rows(cases, DESIGNS["v100-pcie"], launches)
        with monkeypatch.context() as alone:
            alone.setattr(validation, "kernels_of_call", lambda case: 0)
            assert found == _rows(cases, DESIGNS["v100-pcie"], launches)
        assert found[1] == {"cannot be replayed: does not fit the design's memory": 2}
        together = 1 if launches else 2
        assert [row.kernels for row in found[0]][::2] == [1, together, 1, together, 1]


def test_calls_of_several_kernels_are_played_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*told: object) -> None:
        raise AssertionError("a call is replayed by itself")

    monkeypatch.setattr(validation, "_played_alone", never)
    cases = [_case(_line(side, side), str(side)) for side in (64, 128)] + [
        _case(sketch, str(sketch)) for sketch in ONES
    ]
    assert len(_rows(cases, DESIGNS["t4"])[0]) == 2 * len(cases)


ONES = (operations.softmax(DType.FP32, 64, 64), operations.product(DType.FP32, 64, 64, 64))


def test_what_cannot_be_renamed_or_leaves_work_to_the_host_is_no_call() -> None:
    plain = _case(ONES[0])
    *tensors, operator = plain.rows
    assert kernels_of_call(plain) == 1
    for rows in (
        (*tensors, {**operator, "frees": []}),
        (*tensors, {**operator, "kind": "view"}),
        (*tensors, operator, {**operator, "kind": "sync"}),
        (*tensors, operator, {"region": "x"}),
        (*tensors, {**operator, "reads": None}),
        (*tensors, {**operator, "reads": [{"bytes": 1}]}),
        (*tensors, {**operator, "reads": []}),
        (*tensors, tensors[0], operator),
        (tensors[0], {**tensors[1], "storage": "x"}, operator),
        (*({**row, "tensor": 5} for row in tensors), {**operator, "reads": [5]}),
        (),
    ):
        assert kernels_of_call(replace(plain, rows=rows)) == 0
    assert kernels_of_call(replace(plain, fusion="attention")) == 0


def test_a_graph_whose_calls_share_a_storage_is_not_cut_into_calls() -> None:
    graph = _case(_line(64, 64)).trace().derived(eager)
    assert are_apart(graph, 2)
    assert not are_apart(graph, 1)
    assert not are_apart(graph, 3)


def test_a_design_with_more_than_caches_and_one_memory_replays_one_by_one() -> None:
    calls = calls_of([_case(ONES[0])] * 2, 1, None)
    assert calls is not None
    played = play(calls, DESIGNS["t4"], [1, 0, 1])
    assert played[0] == played[1] == played[2] is not None
    belady = DESIGNS["t4"].replace({"memory.l2.replacement": "belady"})
    assert play(calls, belady, [1]) == [None]
