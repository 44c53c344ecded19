"""Operators: each case is rebuilt as a trace and replayed as its clock and its cache were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from hiersim.errors import HiersimError
from hiersim.frontends.measured import Case, Counted, Measured, MeasuredTime
from hiersim.fusion.build import kernel_graph
from hiersim.fusion.eager import eager
from hiersim.fusion.partition import of_groups
from hiersim.measure.constants import HostConstants
from hiersim.model.design import Design, Tier
from hiersim.model.kernels import KernelGraph
from hiersim.model.trace import Trace
from hiersim.run import kernels_of, replay
from hiersim.units import TICKS_PER_SECOND
from hiersim.validation.accuracy import Pair
from hiersim.validation.protocol import (
    CLOCKS,
    LAUNCHING,
    REPLAYED_CACHES,
    REPLAYED_MODES,
    free_of_host,
    with_cache,
    with_host,
)  # fmt: skip
from hiersim.validation.rows import TICK_S, CounterRow, OperatorRow, Progress, Skips, refusal
from hiersim.validation.together import Played, calls_of, kernels_of_call, play

COMPILED: Final = "inductor-rules"
"""Policy that stands for what `torch.compile` made of a case: its operators are known, its kernels are not."""
TOGETHER: Final = 256
"""Measurements whose kernels are lowered together: from there on a kernel costs the same, and memory is small."""
Key = tuple[str, str, str]
"""Case, mode, cache."""


def chosen_times(measured: Measured, clocks: Sequence[str] = CLOCKS, match: str = "") -> dict[Key, MeasuredTime | None]:
    """One time per case, mode and cache: by the first of `clocks` that took one, None where none of them did."""
    found: dict[Key, MeasuredTime | None] = {}
    for time in measured.times:
        if measured.cases[time.case].suite == "model" or match not in time.case:
            continue
        key = (time.case, time.mode, time.cache)
        best = found.setdefault(key, None)
        if time.clock in clocks and (best is None or clocks.index(time.clock) < clocks.index(best.clock)):
            found[key] = time
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Operators of one device that are replayed one after the other: in this process, or in another one."""

    device: str
    design: Design
    host: HostConstants | None
    """Measured on the same device, for what the clock `wall` timed; None: the design's own host."""
    release: tuple[int, int] | None
    """Release of PyTorch that was measured, as far as it is known."""
    clocks: tuple[str, ...]
    cases: Mapping[str, Case]
    times: tuple[tuple[Key, MeasuredTime | None], ...]
    """As `chosen_times` gives them."""

    def parts(self, count: int) -> Iterator[Batch]:
        """Batches of `count` times, which need their own cases only."""
        for first in range(0, len(self.times), count):
            own = self.times[first : first + count]
            yield replace(self, times=own, cases={name: self.cases[name] for (name, _, _), _ in own})


def batch_of(
    measured: Measured, design: Design, clocks: Sequence[str], match: str, host: HostConstants | None = None
) -> Batch:
    """All operators of a file."""
    times = chosen_times(measured, clocks, match)
    return Batch(
        device=str(measured.header.device.get("name", "")), design=design, host=host, release=measured.release,
        clocks=tuple(clocks), cases=measured.cases, times=tuple(times.items()),
    )  # fmt: skip


def replay_operators(
    measured: Measured, design: Design, clocks: Sequence[str], match: str, skips: Skips, progress: Progress,
    host: HostConstants | None = None,
) -> Iterator[OperatorRow]:  # fmt: skip
    """Rows of all operators that can be replayed; the others are counted in `skips`.

    Parameters
    ----------
    host : HostConstants, optional
        Measured on the same device, for what the clock `wall` timed; None: the design's own host.
    """
    return replay_batch(batch_of(measured, design, clocks, match, host), skips, progress)


def replay_batch(batch: Batch, skips: Skips, progress: Progress) -> Iterator[OperatorRow]:
    """Rows of all operators of a batch that can be replayed; the others are counted in `skips`."""
    machines = Machines(batch.design, batch.host)
    for first in range(0, len(batch.times), TOGETHER):
        part = [_Asked(place, *row) for place, row in enumerate(batch.times[first : first + TOGETHER], first)]
        yield from _replay_part(batch, part, machines, skips, progress)


class _Asked(NamedTuple):
    """A measurement that is to be replayed, by its place in a batch."""

    place: int
    key: Key
    time: MeasuredTime | None


def _replay_part(
    batch: Batch, part: Sequence[_Asked], machines: Machines, skips: Skips, progress: Progress
) -> Iterator[OperatorRow]:
    """Some measurements of a batch in their order, those together that suit each other."""
    found = _played_together(batch, part, machines)
    traces: dict[str, Trace] = {}
    for place, (name, mode, cache), time in part:
        progress(name, place, len(batch.times))
        case = batch.cases[name]
        reason = _why_left(batch, case, mode, cache, time)
        if reason or time is None:
            skips.add(reason)
            continue
        played = found.get(place)
        if played is None:
            try:
                if name not in traces:  # times of a case follow each other: one is enough
                    traces = {name: case.trace(release=batch.release)}
                played = _played_alone(case, traces[name], time, machines.of(time.clock, cache))
            except HiersimError as error:
                skips.add(f"cannot be replayed: {refusal(error)}")
                continue
        if not played.makespan:
            skips.add("launches no kernel in the replay")
            continue
        yield OperatorRow(
            device=batch.device,
            design=batch.design.name,
            suite=case.suite,
            kind=case.kind.name.lower() if case.kind is not None else case.name,
            case=name,
            dtype=case.dtype,
            mode=mode,
            cache=cache,
            clock=time.clock,
            kernels=played.kernels,
            launches=time.launches,
            pair=Pair(
                predicted=played.makespan / TICKS_PER_SECOND,
                measured=time.median_s,
                roofline=roofline_s(case, played.compute_ticks, batch.design),
            ),
        )


def _why_left(batch: Batch, case: Case, mode: str, cache: str, time: MeasuredTime | None) -> str:
    """The reason why a measurement is not replayed; empty where it is."""
    reason = why_not(case, mode, cache)
    if not reason and time is None:
        return f"not timed by {' or '.join(batch.clocks)}"
    return reason or ("the measured time is below 1 ps" if time is not None and time.median_s < TICK_S else "")


def _played_together(batch: Batch, part: Sequence[_Asked], machines: Machines) -> dict[int, Played]:
    """The measurements of few kernels among `part`, by their places."""
    kernels: dict[str, int] = {}
    by_count: dict[int, list[_Asked]] = {}
    for asked in part:
        (name, mode, cache), time = asked.key, asked.time
        case = batch.cases[name]
        if time is None or mode != "eager" or _why_left(batch, case, mode, cache, time):
            continue
        if name not in kernels:
            kernels[name] = kernels_of_call(case)
        if kernels[name] == 1 or (kernels[name] > 1 and time.launches != 1):  # else one kernel in all
            by_count.setdefault(kernels[name], []).append(asked)
    found: dict[int, Played] = {}
    for count, rows in by_count.items():
        found.update(_played_calls(batch, rows, count, machines))
    return found


def _played_calls(
    batch: Batch, rows: Sequence[_Asked], kernels: int, machines: Machines
) -> Iterator[tuple[int, Played]]:
    """The measurements of calls of so many kernels, with their places."""
    names = {name: place for place, name in enumerate(dict.fromkeys(asked.key[0] for asked in rows))}
    calls = calls_of([batch.cases[name] for name in names], kernels, batch.release) if len(names) > 1 else None
    if calls is None:
        return
    protocols: dict[tuple[str, str], list[_Asked]] = {}
    for asked in rows:
        if asked.time is not None:
            protocols.setdefault((asked.time.clock, asked.key[2]), []).append(asked)
    for protocol, same in protocols.items():
        played = play(calls, machines.of(*protocol), [names[asked.key[0]] for asked in same])
        for asked, one in zip(same, played, strict=True):
            if one is not None:
                yield asked.place, one


def _played_alone(case: Case, trace: Trace, time: MeasuredTime, machine: Design) -> Played:
    result = replay(trace, kernels_as_measured(trace, time, machine, case.fusion), machine)
    return Played(makespan=int(result.makespan), kernels=len(result.program), compute_ticks=result.bounds.compute_ticks)


def kernels_as_measured(trace: Trace, time: MeasuredTime, design: Design, fusion: str = "") -> KernelGraph:
    """The kernels of a call: those that ran eagerly, or those that TorchInductor's rules make of its operators."""
    if fusion or time.mode != "eager":
        return kernels_of(trace, design, fusion or COMPILED)
    return kernels_as_launched(trace, time.launches)


def kernels_as_launched(trace: Trace, launches: int | None) -> KernelGraph:
    """The kernels that ran: one per operator, or one in all where the profiler counted one.

    A capture writes out by its definition what a library may do in one call (RMSNorm).
    """
    graph = trace.derived(eager)
    if launches != 1 or len(graph) == 1:
        return graph
    return trace.derived(_one_call)


def _one_call(trace: Trace) -> KernelGraph:
    """All operators in one kernel that the framework launches."""
    together = of_groups(trace.graph, np.zeros(len(trace.graph.operators), np.int64))
    called = replace(together, eager=np.ones(len(together), np.int64))
    return kernel_graph(trace, called, "eager (one library call)")


def why_not(case: Case, mode: str, cache: str) -> str:
    """The reason why a measurement cannot be replayed; empty where it can."""
    if not case.rows:
        return f"suite {case.suite}: no operators of the device"
    if mode not in REPLAYED_MODES:
        return f"{mode}: the case carries no captured schedule"
    if cache not in REPLAYED_CACHES:
        return f"cache {cache}: nothing is known of its state"
    return ""


def roofline_s(case: Case, compute_ticks: int, design: Design) -> float:
    """The plain roofline in seconds: max(FLOPs ÷ datasheet peak, compulsory bytes ÷ datasheet bandwidth).

    The compulsory bytes are those of the case; they pass the port of the last tier that kernels address, whatever
    a cache holds.
    """
    return max(compute_ticks / TICKS_PER_SECOND, _port_s(case.read_bytes, case.written_bytes, design.home))


def _port_s(read: int, written: int, tier: Tier) -> float:
    if tier.bandwidth is not None:
        return (read + written) / tier.bandwidth
    parts = ((read, tier.read_bandwidth), (written, tier.write_bandwidth))
    return max(size / rate if rate else 0.0 for size, rate in parts)


def replay_counters(
    measured: Measured, design: Design, match: str, skips: Skips, progress: Progress
) -> Iterator[CounterRow]:
    """Rows of all counted bytes that a replay can be held against; the others are counted in `skips`."""
    machines = Machines(design)
    counters = [row for row in measured.counters if match in row.case]
    for done, row in enumerate(counters):
        progress(f"{row.case}, counters", done, len(counters))
        case = measured.cases[row.case]
        reason = _why_not_counted(case, row)
        if reason:
            skips.add(f"counters: {reason}")
            continue
        try:
            trace = case.trace(release=measured.release)
            machine = machines.of("profiler", row.cache)
            if case.fusion:
                kernels = kernels_of(trace, machine, case.fusion)
            else:
                kernels = kernels_as_launched(trace, len(row.kernels))
            result = replay(trace, kernels, machine)
        except HiersimError as error:
            skips.add(f"counters: cannot be replayed: {refusal(error)}")
            continue
        moved: Mapping[str, int] = result.traffic[design.home.name]
        yield CounterRow(
            device=str(measured.header.device.get("name", "")),
            design=design.name,
            suite=case.suite,
            case=row.case,
            cache=row.cache,
            predicted_read=moved["read"],
            predicted_written=moved["write"],
            counted=row.moved_bytes or 0,
            counted_read=row.dram_read_bytes,
            counted_written=row.dram_written_bytes,
        )


def _why_not_counted(case: Case, row: Counted) -> str:
    reason = why_not(case, row.mode, row.cache)
    if not reason and row.mode != "eager":
        reason = f"{row.mode}: the case carries no captured schedule"
    if reason:
        return reason
    if not row.kernels:
        return "the copy engine moved the bytes, no kernel was counted"
    if row.cache == "cold" and len(row.kernels) > 1:
        return "caches were emptied between the kernels of a case"
    return ""


class Machines:
    """The design under each protocol, made once."""

    def __init__(self, design: Design, host: HostConstants | None = None) -> None:
        self._design = design
        self._launching = with_host(design, host) if host else design
        self._made: dict[tuple[str, str], Design] = {}

    def of(self, clock: str, cache: str) -> Design:
        if (clock, cache) not in self._made:
            design = self._launching if clock in LAUNCHING else self._design
            self._made[clock, cache] = with_cache(free_of_host(design, clock), cache)
        return self._made[clock, cache]
