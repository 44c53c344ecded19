"""The whole road, from a trace in memory to an audited result with its ledger; and the rooflines beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np

import hiersim.run
from benchmarks.limits import roofline_columns, roofline_numpy, roofline_python
from benchmarks.measure import Figure, Line, Sample, Skipped, exponent, side_by_side
from benchmarks.workloads import LARGE, changes, real_program, roomy, trace_of
from hiersim import bundled
from hiersim.errors import SimulationError
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.run import DEFAULT_ENGINE, simulate
from hiersim.testing.synthetic import layered_trace

STEPS = ("kernels_of", "lower", "engine", "bounds", "audit", "fingerprint")
SLOW_STAGES = 300_000
"""What the reference engine is given at most, where the compiled one is not there."""


def engine_name() -> str:
    """The engine that the road runs: the default one."""
    return DEFAULT_ENGINE


def warm_changes(repeats: int) -> Iterator[Line]:
    """`simulate(trace, design.replace(...))` on every bundled trace: each time another design, after a first one."""
    for name, fusion in product(bundled.traces(), ("eager", "inductor")):
        stages = int(real_program(name, fusion).stage_counts().sum())
        if engine_name() == "reference" and stages > SLOW_STAGES:
            yield Skipped(group="road", name=f"{name}, {fusion}", why=f"{stages} stages are too many for the reference")
            continue
        try:
            yield warm_change(trace_of(name), roomy(), fusion, repeats)
        except SimulationError as error:  # a broken law must not look fast
            yield Skipped(group="road", name=f"{name}, {fusion}", why=str(error))


def warm_change(trace: Trace, design: Design, fusion: str, repeats: int) -> Figure:
    """One trace, a new design in every call."""
    new = changes()
    simulate(trace, design, fusion)
    sample = side_by_side({"": lambda: simulate(trace, design.replace(next(new)), fusion)}, repeats)[""]
    result = simulate(trace, design, fusion)
    return Figure(
        group="road", name=f"{trace.name}, {fusion}", unit="operators", work=len(trace.graph.operators), sample=sample,
        facts={
            "kernels": len(result.program),
            "nests": len(result.program.depth),
            "stages": int(result.program.stage_counts().sum()),
            "designs_per_s": 1 / sample.median,
            "predicted_s": result.timeline.makespan * 1e-12,
            "engine": result.timeline.engine,
        },
        counts=last_counts(),
    )  # fmt: skip


def last_counts() -> dict[str, int]:
    """What the compiled engine counted in its last run, where there is one."""
    from importlib import import_module

    try:
        return {name: int(value) for name, value in import_module("hiersim.engines.compiled").last_counts().items()}
    except (ImportError, AttributeError):
        return {}


def parts(repeats: int) -> Iterator[Line]:
    """Where the time of a warm design change goes: seconds inside each step that `hiersim.run` calls."""
    for name in ("gpt2-large-prefill", "llama3-8b-decode", "llama3-70b-prefill"):
        if engine_name() == "reference" and int(real_program(name, "eager").stage_counts().sum()) > SLOW_STAGES:
            yield Skipped(group="parts of the road", name=name, why="too many stages for the reference")
            continue
        yield from _parts(name, repeats)


def _parts(name: str, repeats: int) -> Iterator[Figure]:
    trace, new = trace_of(name), changes()
    simulate(trace, roomy())
    turns: list[dict[str, float]] = []
    for _ in range(max(repeats, 3)):
        with stopwatches(hiersim.run, STEPS) as spent:
            began = time.perf_counter()
            design = roomy().replace(next(new))
            spent["replace"] = time.perf_counter() - began
            simulate(trace, design)
            spent["whole"] = time.perf_counter() - began
        turns.append(dict(spent))
    for step in turns[0]:
        seconds = tuple(turn[step] for turn in turns)
        yield Figure(
            group="parts of the road", name=f"{name}, eager: {step}", unit="operators",
            work=len(trace.graph.operators), sample=Sample(cpu=seconds, wall=seconds), note="wall times",
        )  # fmt: skip


@contextmanager
def stopwatches(module: ModuleType, names: Sequence[str]) -> Iterator[dict[str, float]]:
    """Seconds spent in functions of `module` while the context is open; those that it lacks are left out."""
    spent: dict[str, float] = {}
    kept = {name: getattr(module, name) for name in names if hasattr(module, name)}
    for name, function in kept.items():
        setattr(module, name, _watched(name, function, spent))
    try:
        yield spent
    finally:
        for name, function in kept.items():
            setattr(module, name, function)


def _watched(name: str, function: Callable[..., Any], spent: dict[str, float]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            result = function(*args, **kwargs)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - began
        return _watched(name, result, spent) if callable(result) else result  # `engine` returns a function

    return call


def sweep(repeats: int, points: int = 200) -> Iterator[Figure]:
    """Designs a second over a grid of bandwidths and cache sizes, one after the other on one core."""
    for name in ("resnet50-infer", "llama3-8b-decode"):
        trace = trace_of(name)
        grid = list(product(np.linspace(0.5, 2, points // 10), np.linspace(0.5, 4, 10)))
        simulate(trace, roomy())
        began, wall = time.process_time(), time.perf_counter()
        for bandwidth, capacity in grid:
            change = {"memory.hbm.bandwidth": f"{bandwidth:.4f}x", "memory.l2.capacity": f"{capacity:.4f}x"}
            simulate(trace, roomy().replace(change))
        sample = Sample(cpu=(time.process_time() - began,), wall=(time.perf_counter() - wall,))
        yield Figure(
            group="sweep", name=f"{name}, eager, {len(grid)} points", unit="designs", work=len(grid), sample=sample,
            facts={"operators_per_s": len(grid) * len(trace.graph.operators) / sample.median}, note="one pass",
        )  # fmt: skip


def by_layers(repeats: int) -> Iterator[Line]:
    """8 … 80 equal layers of Llama-3-70B's widths: a warm design change."""
    sizes = (8, 16, 40, 80)
    if engine_name() == "reference":
        yield Skipped(group="by layers", name="80 layers of Llama-3-70B's widths", why="too large for the reference")
        return
    traces = {layers: layered_trace(layers, tokens=2048, width=8192, hidden=28_672, heads=64) for layers in sizes}
    yield from _grown("layers", traces, repeats)


def by_operators(repeats: int, largest: int) -> Iterator[Line]:
    """10^3 … `largest` operators in equal layers: a warm design change. Sizes that would take minutes are left out."""
    traces: dict[int, Trace] = {}
    seconds = 0.0
    for operators in (10**3, 10**4, 10**5, 10**6):
        name = f"{operators} operators"
        if operators > largest:
            break
        if seconds * 10 > 60:
            why = f"a tenth of it takes {seconds:.0f} s with the {engine_name()} engine"
            yield Skipped(group="by operators", name=name, why=why)
            break
        trace = layered_trace(operators // 16)
        began = time.process_time()
        simulate(trace, roomy(LARGE))
        seconds = time.process_time() - began
        traces[operators] = trace
    yield from _grown("operators", traces, repeats)


def _grown(what: str, traces: dict[int, Trace], repeats: int) -> Iterator[Figure]:
    figures = {size: warm_change(trace, roomy(LARGE), "eager", repeats) for size, trace in traces.items()}
    medians = [figure.sample.median for figure in figures.values()]
    slope = exponent(list(figures), medians)
    for size, figure in figures.items():
        facts = {**figure.facts, "exponent": round(slope, 3), "last_over_first": medians[-1] / medians[0]}
        yield Figure(
            group=f"by {what}", name=f"warm design change, {size} {what}", unit="operators", work=figure.work,
            sample=figure.sample, counts=figure.counts, facts=facts,
        )  # fmt: skip


def against_rooflines(repeats: int) -> Iterator[Figure]:
    """The road and a roofline over the same launching operators, measured in turn."""
    for name in ("resnet50-infer", "bert-large-prefill", "llama3-8b-decode"):
        trace = trace_of(name)
        columns = roofline_columns(trace)
        rows = list(zip(*(column.tolist() for column in columns), strict=True))
        rates = {"peak": 989.4e12, "bandwidth": 3.35e12}
        new = changes()
        tasks: dict[str, Callable[[], object]] = {
            "hiersim, whole road": lambda: simulate(trace, roomy().replace(next(new))),  # noqa: B023
            "roofline, NumPy": lambda: roofline_numpy(columns, **rates),  # noqa: B023
            "roofline, plain Python": lambda: roofline_python(rows, **rates),  # noqa: B023
        }
        seconds = {"hiersim, whole road": simulate(trace, roomy()).timeline.makespan * 1e-12}
        for label, sample in side_by_side(tasks, repeats).items():
            yield Figure(
                group="side by side", name=f"{name}, eager: {label}", unit="operators", work=len(rows), sample=sample,
                facts={"predicted_s": seconds.get(label, roofline_numpy(columns, **rates))},
                note="launching operators only",
            )  # fmt: skip
