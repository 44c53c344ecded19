"""Measured times that a design can be held against: one operator, one kind of operator of a profile, or a whole run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from hiersim.errors import HiersimError
from hiersim.frontends.measured import Measured, Summary
from hiersim.fusion.eager import eager
from hiersim.lowering.host import STREAM
from hiersim.measure.constants import HostConstants
from hiersim.measured_times import known_operators, operator_ticks
from hiersim.model.design import Design
from hiersim.model.operators import Kind
from hiersim.model.trace import Trace
from hiersim.run import kernels_of, replay
from hiersim.units import TICKS_PER_SECOND
from hiersim.validation.model_traces import ModelTraces
from hiersim.validation.models import POLICIES
from hiersim.validation.operators import Machines, chosen_times, kernels_as_measured, why_not
from hiersim.validation.protocol import CLOCKS, free_of_host, with_cache
from hiersim.validation.rows import TICK_S, Skips, refusal

SPAN: Final = "end to end"
"""Class of what the host's clock saw of a whole run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One measured time, in seconds."""

    label: str
    group: str
    """Its class: kind of operator and cache, or a whole run."""
    family: str
    """What is measured under several protocols is of one family, and never on both sides of a test."""
    measured: float


QUANTILES: Final = ("median", "p25", "p10", "min")
"""What may stand for a measured time; the low ones where other programs ran beside it."""
Predict = Callable[[Design], Sequence[float]]
"""Seconds of each observation of a part, by a design."""


@dataclass(slots=True, kw_only=True)
class Observations:
    """All that a design is fitted to, in parts that are replayed together."""

    rows: list[Observation] = field(default_factory=list)
    parts: list[tuple[int, Predict]] = field(default_factory=list)
    """Number of rows, and what predicts them."""
    skips: Skips = field(default_factory=Skips)

    def add(self, rows: Sequence[Observation], predict: Predict) -> None:
        """Rows that one replay predicts."""
        if rows:
            self.rows += rows
            self.parts.append((len(rows), predict))

    def predict(self, design: Design) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """(n,) seconds by `design`."""
        return np.array([seconds for _, predict in self.parts for seconds in predict(design)])

    def keep(self, design: Design) -> None:
        """Leave out, by reason, what `design` cannot replay."""
        rows, parts, first = self.rows, self.parts, 0
        self.rows, self.parts = [], []
        for count, predict in parts:
            own = rows[first : first + count]
            first += count
            try:
                found = predict(design)
            except HiersimError as error:
                self.skips.add(f"cannot be replayed: {refusal(error)}", count)
                continue
            if min(found) <= 0:
                self.skips.add("launches no kernel in the replay", count)
                continue
            self.add(own, predict)


def observe(
    measured: Measured, traces: ModelTraces, match: str = "", take: str = "median", cache: str | None = None,
    host: HostConstants | None = None,
) -> Observations:  # fmt: skip
    """Operators, and models whose trace is bundled or among `traces` (by target), of a file of measured times.

    `take` is the quantile that stands for a time, one of `QUANTILES`; `cache` the only state of it that counts; `host`
    replaces that of the design for single operators by the clock `wall`.
    """
    found = Observations()
    if cache is not None:
        measured = replace(measured, times=tuple(time for time in measured.times if time.cache in (cache, "as-is")))
    for row, predict in _operators(measured, match, take, host, found.skips):
        found.add([row], predict)
    for summary in measured.summaries:
        if match in summary.case:
            _model(measured, summary, traces, take, found)
    return found


def observe_profile(trace: Trace) -> Observations:
    """Operators of a profile, those alike together, and the whole span.

    Raises
    ------
    HiersimError
        The trace carries no measured times.
    """
    profile = trace.measured
    if profile is None:
        raise HiersimError(
            "carries no measured times", file=trace.name, expected="a trace of hiersim import kineto, or measured rows"
        )
    measured = profile.by_operator(len(trace.graph.operators))
    groups = _alike(trace, measured)
    rows = [
        Observation(
            label=f"{trace.graph.operators.label(int(members[0]))} x {len(members)}",
            group=Kind(int(trace.graph.operators.kind[members[0]])).name.lower(),
            family=f"{trace.name}/{place}",
            measured=float(measured[members].sum()) / TICKS_PER_SECOND,
        )
        for place, members in enumerate(groups)
    ]

    def kernels(design: Design) -> Sequence[float]:
        machine = with_cache(free_of_host(design, "profiler"), "warm")
        result = replay(trace, trace.derived(eager), machine)
        ticks = operator_ticks(trace, result.program, result.timeline)
        return [max(1, int(ticks[members].sum())) / TICKS_PER_SECOND for members in groups]

    found = Observations()
    found.add(rows, kernels)
    if profile.span:
        span = profile.span / TICKS_PER_SECOND
        whole = Observation(label=f"{trace.name}, span", group=SPAN, family=f"{trace.name}/span", measured=span)
        found.add([whole], lambda design: [replay(trace, trace.derived(eager), with_cache(design, "warm")).time])
    return found


def _operators(
    measured: Measured, match: str, take: str, host: HostConstants | None, skips: Skips
) -> Iterator[tuple[Observation, Predict]]:
    made: dict[int, tuple[Design, Machines]] = {}

    def machine(design: Design, clock: str, cache: str) -> Design:
        if id(design) not in made:
            made.clear()
            made[id(design)] = design, Machines(design, host)  # holds the design, so that its id is not used again
        return made[id(design)][1].of(clock, cache)

    traces: dict[str, Trace] = {}
    for (name, mode, cache), time in chosen_times(measured, CLOCKS, match).items():
        case = measured.cases[name]
        reason = why_not(case, mode, cache)
        if reason or time is None or getattr(time, f"{take}_s") < TICK_S:
            skips.add(reason or f"not timed by {' or '.join(CLOCKS)}")
            continue
        try:
            trace = traces[name] = traces.get(name) or case.trace(release=measured.release)
        except HiersimError as error:
            skips.add(f"cannot be replayed: {refusal(error)}")
            continue
        kind = case.kind.name.lower() if case.kind is not None else case.name
        row = Observation(
            label=f"{name}, {mode}, {cache}, {time.clock}", group=f"{kind}, {mode}", family=name,
            measured=getattr(time, f"{take}_s"),
        )  # fmt: skip

        def predict(
            design: Design, trace: Trace = trace, time: object = time, fusion: str = case.fusion
        ) -> Sequence[float]:
            own = machine(design, time.clock, time.cache)  # type: ignore[attr-defined]
            return [replay(trace, kernels_as_measured(trace, time, own, fusion), own).time]  # type: ignore[arg-type]

        yield row, predict


def _model(measured: Measured, summary: Summary, traces: ModelTraces, take: str, found: Observations) -> None:
    case = measured.cases[summary.case]
    if min(summary.kernel_s, summary.wall_s) < TICK_S:
        found.skips.add("model: the measured time is below 1 ps")
        return
    trace, reason = traces.of(case)
    if trace is None:
        found.skips.add(f"model: {reason}")
        return
    fusion, launch = POLICIES[summary.mode]
    is_cpu = measured.header.device.get("kind") == "cpu"
    for clock, seconds in (("profiler", summary.kernel_s), ("wall", summary.wall_s)):
        if is_cpu and clock == "profiler":
            continue  # own times of operators contain the host's part, as the wall time does
        for time in measured.times_of(summary.case):
            if (time.mode, time.clock) == (summary.mode, clock):
                seconds = getattr(time, f"{take}_s")
        if seconds < TICK_S:
            found.skips.add("model: the measured time is below 1 ps")
            continue
        row = Observation(
            label=f"{case.name}, {summary.mode}, {clock}", family=f"{case.name}, {summary.mode}", measured=seconds,
            group=SPAN if clock == "wall" else f"model, {summary.mode}",
        )  # fmt: skip

        def predict(
            design: Design, clock: str = clock, trace: Trace = trace, fusion: str = fusion, launch: str = launch
        ) -> Sequence[float]:
            machine = with_cache(free_of_host(design, clock), "warm")
            mode = launch if clock == "wall" else STREAM
            return [replay(trace, kernels_of(trace, machine, fusion), machine, launch=mode).time]

        found.add([row], predict)


def _alike(
    trace: Trace, measured: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Measured operators that the trace knows, those of equal name, sizes and bytes together."""
    graph, operators = trace.graph, trace.graph.operators
    moved = [np.concatenate(([0], np.cumsum(access.size)))[access.ptr] for access in (graph.reads, graph.writes)]
    sizes = [np.diff(part).tolist() for part in moved]
    known, groups = known_operators(trace), dict[tuple[object, ...], list[int]]()
    for row in np.flatnonzero((measured > 0) & known).tolist():
        dims = operators.dims[int(operators.dims_ptr[row]) : int(operators.dims_ptr[row + 1])].tolist()
        key = (int(operators.name[row]), int(operators.dtype[row]), *dims, sizes[0][row], sizes[1][row])
        groups.setdefault(key, []).append(row)
    return [np.array(rows, np.int64) for rows in groups.values()]
