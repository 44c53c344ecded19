"""The ledger: every tick of the makespan gets exactly one name, for every compute engine.

While an engine works, its ticks are useful, padding or tail, as lowering split them. A gap between two services
is named after what the tile that ends the gap was doing during it (docs/semantics.md has the table):

- its kernel waited for the host: dispatch; for earlier kernels: dependency, except the time after
  their last computation, which is named after what their last tile was doing, in phase drain;
- it waited for a buffer: capacity of the tier that the buffers lie in;
- it queued at a port or was served by it: bandwidth; contention while the port served another kernel;
- it was in flight behind a port: latency while the port stood idle (or the pipeline filled), otherwise the
  latency is hidden and bandwidth is what is missing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

import numpy as np

from hiersim.model.program import Access, Program
from hiersim.model.timeline import ENGINES, Entry, LedgerPhase, StageLog, ledger_column, ledger_width
from hiersim.model.trace import IntArray


def build_ledger(program: Program, log: StageLog, times: Mapping[str, IntArray], makespan: int) -> IntArray:
    """Ticks by (engine, kernel, ledger column); each engine adds up to `makespan`."""
    ledger = np.zeros((len(ENGINES), len(program), ledger_width(len(program.tiers))), np.int64)
    history = _History(program, log, times)
    names = [resource.name for resource in program.resources]
    for index, engine in enumerate(ENGINES):
        units = program.units if engine == "cores" else tuple(u for u in program.units if names[u] == engine)
        _account(ledger[index], history, frozenset(units), makespan)
    return ledger


class _History:
    """The log as plain lists, with the lookups that blame needs."""

    def __init__(self, program: Program, log: StageLog, times: Mapping[str, IntArray]) -> None:
        self.program = program
        self.tiers = len(program.tiers)
        self.kernel, self.tile, self.stage = log.kernel.tolist(), log.tile.tolist(), log.stage.tolist()
        self.request, self.grant, self.end = log.request.tolist(), log.grant.tolist(), log.end.tolist()
        self.buffer = log.buffer.tolist()
        resource = program.stage_resource[log.stage]
        self.resource = resource.tolist()
        self.port_tier = [item.tier for item in program.resources]
        self.arrive = (log.end + program.stage_latency[log.stage]).tolist()
        self.ready, self.launched = times["ready"].tolist(), times["launched"].tolist()
        self.start, self.finish = times["start"].tolist(), times["end"].tolist()
        self.buffer_tier = program.buffer_tier.tolist()
        self._index_services(log, resource)
        self._index_last(program, log)

    def _index_services(self, log: StageLog, resource: IntArray) -> None:
        """Per resource, its services in order of time."""
        self.service_start: list[list[int]] = []
        self.service_end: list[list[int]] = []
        self.service_kernel: list[list[int]] = []
        for index in range(len(self.port_tier)):
            rows = np.flatnonzero(resource == index)
            rows = rows[np.argsort(log.grant[rows], kind="stable")]
            self.service_start.append(log.grant[rows].tolist())
            self.service_end.append(log.end[rows].tolist())
            self.service_kernel.append(log.kernel[rows].tolist())

    def _index_last(self, program: Program, log: StageLog) -> None:
        """Per kernel, the end of its last computation and a row of the tile that completed it."""
        kernels = len(program)
        self.computed = list(self.start)
        self.last_row = [-1] * kernels
        compute = program.stage_access[log.stage] == Access.COMPUTE
        for row in np.flatnonzero(compute).tolist():
            kernel = self.kernel[row]
            self.computed[kernel] = max(self.computed[kernel], self.end[row])
        tile_of_stage = np.repeat(np.arange(len(program.stage_ptr) - 1), np.diff(program.stage_ptr))
        position = log.stage - program.stage_ptr[tile_of_stage[log.stage]]
        completing = position == program.complete_stage[tile_of_stage[log.stage]]
        for row in np.flatnonzero(completing).tolist():
            kernel = self.kernel[row]
            if self.arrive[row] == self.finish[kernel] and self.last_row[kernel] < 0:
                self.last_row[kernel] = row

    def first_row(self, row: int) -> int:
        """First row of the tile that `row` belongs to."""
        while row and self.kernel[row - 1] == self.kernel[row] and self.tile[row - 1] == self.tile[row]:
            row -= 1
        return row

    def port_use(self, port: int, kernel: int, begin: int, end: int) -> tuple[int, int]:
        """Ticks of [begin, end) in which `port` serves `kernel`, and in which it serves others."""
        starts, ends, owners = self.service_start[port], self.service_end[port], self.service_kernel[port]
        same = other = 0
        index = max(bisect_right(starts, begin) - 1, 0)
        while index < len(starts) and starts[index] < end:
            overlap = min(end, ends[index]) - max(begin, starts[index])
            if overlap > 0:
                if owners[index] == kernel:
                    same += overlap
                else:
                    other += overlap
            index += 1
        return same, other


class _Book:
    """Writes ticks into one engine's ledger."""

    def __init__(self, ledger: IntArray, history: _History) -> None:
        self.ledger = ledger
        self.history = history

    def add(self, kernel: int, entry: Entry, ticks: int, tier: int = -1, phase: LedgerPhase = LedgerPhase.STEADY) -> None:
        if ticks > 0:
            self.ledger[kernel, ledger_column(entry, tier, phase, tiers=self.history.tiers)] += ticks

    def work(self, row: int, begin: int, end: int) -> None:
        """The ticks [begin, end) of the service in `row`, laid out useful, padding, tail."""
        history, program = self.history, self.history.program
        stage, offset = history.stage[row], history.grant[row]
        edge = 0
        for entry, column in (
            (Entry.USEFUL, program.stage_useful),
            (Entry.PADDING, program.stage_padding),
            (Entry.TAIL, program.stage_tail),
        ):
            low, edge = edge, edge + int(column[stage])
            self.add(history.kernel[row], entry, min(end - offset, edge) - max(begin - offset, low))

    def gap(self, row: int, begin: int, end: int, phase: LedgerPhase) -> None:
        """The gap [begin, end) that the tile of `row` ended."""
        history = self.history
        kernel = history.kernel[row]
        if begin < history.ready[kernel]:
            self.dependency(kernel, begin, min(end, history.ready[kernel]))
        begin = max(begin, history.ready[kernel])
        if begin < history.start[kernel]:
            self.add(kernel, Entry.DISPATCH, min(end, history.start[kernel]) - begin)
        self.tile(row, max(begin, history.start[kernel]), end, phase)

    def dependency(self, kernel: int, begin: int, end: int) -> None:
        """Waiting for earlier kernels: their drain by its causes, all before that as dependency."""
        history, program = self.history, self.history.program
        needs = program.needs[program.needs_ptr[kernel] : program.needs_ptr[kernel + 1]].tolist()
        producer = max(needs, key=lambda need: (history.finish[need], -need), default=-1)
        if producer < 0 or history.last_row[producer] < 0:
            self.add(kernel, Entry.DEPENDENCY, end - begin)
            return
        computed = min(max(history.computed[producer], begin), end)
        self.add(kernel, Entry.DEPENDENCY, computed - begin)
        self.tile(history.last_row[producer], computed, end, LedgerPhase.DRAIN)

    def tile(self, last: int, begin: int, end: int, phase: LedgerPhase) -> None:
        """What a tile was doing in [begin, end), up to the stage in row `last`."""
        if begin >= end:
            return
        history = self.history
        kernel, row = history.kernel[last], history.first_row(last)
        before = end - begin
        done = self.span(kernel, Entry.CAPACITY, begin, min(end, history.buffer[row]), history.buffer_tier[kernel], phase)
        while row <= last:
            done += self.stage(row, begin, end, phase)
            row += 1
        self.add(kernel, Entry.DEPENDENCY, before - done)

    def span(self, kernel: int, entry: Entry, begin: int, end: int, tier: int, phase: LedgerPhase) -> int:
        self.add(kernel, entry, end - begin, tier, phase)
        return max(end - begin, 0)

    def stage(self, row: int, begin: int, end: int, phase: LedgerPhase) -> int:
        """One stage of a tile: queueing, service and flight inside [begin, end); ticks named."""
        history = self.history
        port, kernel = history.resource[row], history.kernel[row]
        tier = history.port_tier[port]
        queue = (max(begin, history.request[row]), min(end, history.grant[row]))
        service = (max(begin, history.grant[row]), min(end, history.end[row]))
        flight = (max(begin, history.end[row]), min(end, history.arrive[row]))
        if tier < 0:
            return sum(self.span(kernel, Entry.DEPENDENCY, *part, -1, phase) for part in (queue, service, flight))
        named = self.span(kernel, Entry.BANDWIDTH, *service, tier, phase)
        if queue[0] < queue[1]:
            _, other = history.port_use(port, kernel, *queue)
            self.add(kernel, Entry.CONTENTION, other, tier, phase)
            self.add(kernel, Entry.BANDWIDTH, queue[1] - queue[0] - other, tier, phase)
            named += queue[1] - queue[0]
        if flight[0] < flight[1]:
            same, other = (0, 0) if phase is LedgerPhase.FILL else history.port_use(port, kernel, *flight)
            self.add(kernel, Entry.BANDWIDTH, same, tier, phase)
            self.add(kernel, Entry.CONTENTION, other, tier, phase)
            self.add(kernel, Entry.LATENCY, flight[1] - flight[0] - same - other, tier, phase)
            named += flight[1] - flight[0]
        return named


def _account(ledger: IntArray, history: _History, units: frozenset[int], makespan: int) -> None:
    """Fill one engine's ledger (K, columns)."""
    book = _Book(ledger, history)
    rows = [row for row, resource in enumerate(history.resource) if resource in units]
    rows.sort(key=lambda row: (history.grant[row], history.resource[row]))
    covered = 0
    begun: set[int] = set()
    for row in rows:
        grant, end = history.grant[row], history.end[row]
        if grant > covered:
            phase = LedgerPhase.STEADY if history.kernel[row] in begun else LedgerPhase.FILL
            book.gap(row, covered, grant, phase)
        begun.add(history.kernel[row])
        if end > covered:
            book.work(row, max(grant, covered), end)
            covered = end
    if covered < makespan:
        _trailing(book, history, covered, makespan, bool(rows))


def _trailing(book: _Book, history: _History, covered: int, makespan: int, worked: bool) -> None:
    """The gap that no tile ends: the drain of the tile that arrived last."""
    if not history.arrive or not worked:
        book.add(len(history.finish) - 1, Entry.DEPENDENCY, makespan - covered)
        return
    last = max(range(len(history.arrive)), key=lambda row: (history.arrive[row], -row))
    kernel = history.kernel[last]
    begin = min(max(covered, history.computed[kernel]), makespan)
    book.add(kernel, Entry.DEPENDENCY, begin - covered)
    book.tile(last, begin, makespan, LedgerPhase.DRAIN)
    if history.arrive[last] < makespan:
        raise AssertionError("a kernel ended after its last tile")
