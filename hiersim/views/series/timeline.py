"""Lanes, counters and flows of a run: what timelines show, whatever their format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from hiersim.audit import audit
from hiersim.errors import SimulationError
from hiersim.lowering.held import held_bytes
from hiersim.lowering.host import entering
from hiersim.model.operators import IntArray
from hiersim.model.timeline import ENGINES, WORK, Entry, LedgerPhase, StageLog, column_meaning
from hiersim.results import MAIN_ENGINE, Result, role_names
from hiersim.run import engine
from hiersim.units import TICKS_PER_SECOND
from hiersim.views.figures.bars import cause_words

KERNELS: Final = "kernels"
CAUSES: Final = "cores: work and waits"
_MOMENTS: Final = {LedgerPhase.FILL: 1, LedgerPhase.STEADY: 3, LedgerPhase.DRAIN: 4}
_WINDOWS: Final = 2000
"""Of the makespan, for the bandwidth of ports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One interval of a lane, in ticks."""

    name: str
    begin: int
    end: int
    kernel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A value that holds from each step to the next."""

    name: str
    unit: str
    steps: tuple[tuple[int, int], ...]
    """(tick, value)"""


def lanes(result: Result, log: StageLog | None = None) -> Iterator[tuple[str, list[Slice]]]:
    """Lanes from host to units, each with slices in order that do not overlap; `log` is `stage_log(result)` if at hand.

    Raises
    ------
    SimulationError
        When the log was not kept, and the run that makes it takes another time.
    """
    program, timeline = result.program, result.timeline
    names = program.kernel_names
    yield "host dispatch", list(_host(result))
    yield KERNELS, [_slice(names, k, timeline.start[k], timeline.end[k]) for k in range(len(names))]
    yield CAUSES, list(causes(result))
    log = log or stage_log(result)
    resource = program.stage_resource[log.stage]
    for index, item in enumerate(program.resources):
        rows = np.flatnonzero(resource == index)
        rows = rows[np.argsort(log.grant[rows], kind="stable")]
        merged: list[Slice] = []
        for kernel, start, end in zip(
            log.kernel[rows].tolist(), log.grant[rows].tolist(), log.end[rows].tolist(), strict=True
        ):
            if merged and merged[-1].kernel == kernel and merged[-1].end == start:
                start = merged.pop().begin
            merged.append(_slice(names, kernel, start, end))
        yield f"{item.name} {'unit' if item.tier < 0 else 'port'}", merged


def causes(result: Result) -> Iterator[Slice]:
    """The ledger of the cores, tick for tick: each slice is a cause, and has its name.

    Kernels follow each other by their ends, and a kernel's part reaches from the end of the one before it to its own.
    Within it the order is that of the ledger and not of the moments: launches, what fills, work and waits, what drains.
    Where copies run beside kernels, a border may lie by a launch aside of the kernel's end.
    """
    timeline, tiers = result.timeline, result.program.tiers
    rows = timeline.ledger_rows[:, ENGINES.index(MAIN_ENGINE)]
    parts: list[list[tuple[str, int]]] = []
    for row in rows:
        found = sorted((_moment(column, len(tiers)), column) for column in np.flatnonzero(row).tolist())
        parts.append([(_cause(column, tiers), int(row[column])) for _, column in found])
    begin = 0
    for kernel in np.argsort(timeline.end, kind="stable").tolist():
        for name, ticks in parts[int(timeline.ledger_row[kernel])]:
            yield Slice(name=name, begin=begin, end=begin + ticks, kernel=kernel)
            begin += ticks
    assert begin == result.makespan, "the ledger tiles the makespan"


def _moment(column: int, tiers: int) -> int:
    """When within a kernel an entry is drawn."""
    entry, _, phase = column_meaning(column, tiers)
    if entry in (Entry.DISPATCH, Entry.DEPENDENCY):
        return 0
    if entry in WORK:
        return 2
    return 3 if phase is None else _MOMENTS[phase]


def _cause(column: int, tiers: tuple[str, ...]) -> str:
    entry, tier, _ = column_meaning(column, len(tiers))
    return cause_words((entry.name.lower(), tiers[tier] if tier >= 0 else None))


def _host(result: Result) -> Iterator[Slice]:
    """Launches; what enters a compiled region (guards, compilation) is a slice of its own before the kernel's."""
    program, begin = result.program, result.timeline.host_begin
    entered = entering(result.graph, result.design)
    owner = program.graph_kernel if program.graph_kernel is not None else np.arange(len(program))
    for k, name in enumerate(program.kernel_names):
        start, end = int(begin[k]), int(begin[k] + program.host_ticks[k])
        ticks = int(entered[owner[k]]) if owner[k] >= 0 else 0
        if ticks:
            yield Slice(name="enter compiled region", begin=start, end=start + ticks, kernel=k)
        yield Slice(name=name, begin=start + ticks, end=end, kernel=k)


def stage_log(result: Result) -> StageLog:
    """The log of the run; where it was not kept, that of the same program played again, and audited."""
    if result.timeline.log is not None:
        return result.timeline.log
    again = engine(result.engine_name)(result.program, keep_log=True)
    if again.makespan != result.makespan or again.log is None:
        raise SimulationError(
            f"engine '{result.engine_name}' took {result.makespan} ticks, and {again.makespan} when it kept its log; "
            "please report this"
        )
    audit(result.program, again, result.bounds)
    return again.log


def _slice(names: tuple[str, ...], kernel: int, begin: int, end: int) -> Slice:
    return Slice(name=names[kernel], begin=int(begin), end=int(end), kernel=kernel)


def flows(result: Result) -> list[tuple[int, int]]:
    """Kernels of the program that wrote last what a later one reads: (producer, consumer), in the consumers' order."""
    graph, places = result.graph, result.program.places.tolist()
    storage = graph.tensors.tensor_storage
    reads, writes = (storage[access.tensor].tolist() for access in (graph.reads, graph.writes))
    read_ptr, write_ptr = graph.reads.ptr.tolist(), graph.writes.ptr.tolist()
    writer: dict[int, int] = {}
    found: list[tuple[int, int]] = []
    for kernel, place in enumerate(places):
        read = reads[read_ptr[kernel] : read_ptr[kernel + 1]]
        found += [(places[row], place) for row in sorted({writer[item] for item in read if item in writer})]
        writer.update(dict.fromkeys(writes[write_ptr[kernel] : write_ptr[kernel + 1]], kernel))
    return found


def counters(result: Result) -> Iterator[Counter]:
    """Bytes by role in every tier that holds tensors, wherever they change; roles without any are left out.

    What caches hold is told at the end of each kernel, all else from its start on.
    """
    where = result.design.home.name
    live, start = result.live, result.timeline.start[result.program.places]
    columns = [*zip(role_names(), live.by_role.T, strict=True), ("saved activation", live.saved)]
    for name, column in columns:
        if column.any():
            changed = np.flatnonzero(np.diff(column, prepend=-1))
            steps = zip(start[changed].tolist(), column[changed].tolist(), strict=True)
            yield Counter(name=f"{where} live: {name}", unit="bytes", steps=tuple(steps))
    yield from _held(result)


def _held(result: Result) -> Iterator[Counter]:
    """Counters of the other tiers: caches, scratchpads, and what lies behind the last tier that kernels address."""
    places, timeline = result.program.places, result.timeline
    caches = {tier.name for tier in result.design.shared_tiers if tier.is_shared_cache}
    for tier, by_role in held_bytes(result.graph, result.design, result.program).items():
        when = (timeline.end if tier in caches else timeline.start)[places]
        for name, column in zip(role_names(), by_role.T, strict=True):
            if column.any():
                changed = np.flatnonzero(np.diff(column, prepend=-1))
                steps = zip(when[changed].tolist(), column[changed].tolist(), strict=True)
                word = "holds" if tier in caches else "live"
                yield Counter(name=f"{tier} {word}: {name}", unit="bytes", steps=tuple(steps))


def bandwidths(result: Result, log: StageLog | None = None, windows: int = _WINDOWS) -> Iterator[Counter]:
    """Bytes per second at each port, in equal windows of the makespan; each transfer is even over its service.

    Ports without limit and latency have no services, and no counter.
    """
    program, log = result.program, log or stage_log(result)
    width = max(-(-int(result.makespan) // windows), 1)
    edges = np.arange(0, int(result.makespan) + width, width)
    resource, size = program.stage_resource[log.stage], program.stage_bytes[log.stage]
    for index, item in enumerate(program.resources):
        rows = np.flatnonzero((resource == index) & (size > 0))
        if item.tier >= 0 and len(rows):
            moved = np.diff(_moved_until(edges, log.grant[rows], log.end[rows], size[rows]))
            rate = np.rint(moved * (TICKS_PER_SECOND / width)).astype(np.int64)
            changed = np.flatnonzero(np.diff(rate, prepend=-1))
            steps = [*zip(edges[changed].tolist(), rate[changed].tolist(), strict=True), (int(result.makespan), 0)]
            yield Counter(name=f"{item.name} bandwidth", unit="B/s", steps=tuple(steps))


def _moved_until(edges: IntArray, begin: IntArray, end: IntArray, size: IntArray) -> npt.NDArray[np.float64]:
    """Bytes moved before each edge; a port serves one transfer at a time, so that they are in order."""
    order = np.argsort(begin, kind="stable")
    times = np.stack((begin[order], end[order]), axis=1).ravel()
    done = np.cumsum(size[order])
    moved = np.stack((done - size[order], done), axis=1).ravel()
    return np.interp(edges, times, moved.astype(np.float64))
