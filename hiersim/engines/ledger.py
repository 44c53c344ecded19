"""The ledger: every tick of the makespan gets exactly one name, for every compute engine.

While an engine works, its ticks are useful, padding or tail, as lowering split them; what it is held for beyond them is
set-up, and dispatch. A gap between two services
is named after what the tile that ends the gap was doing during it (docs/semantics.md has the table):

- its kernel waited for the host: dispatch; for earlier kernels: dependency, except the time after
  their last computation, which is named after what their last tile was doing, in phase drain;
- it waited for a buffer: capacity of the tier that the buffers lie in;
- it queued at a port: bandwidth of that tier, contention while the port served another kernel;
- it was served by a port: bandwidth; it was in flight behind it: latency. In the steady phase, these two
  are hidden as long as the port at which the tile had queued last is busy with tiles behind it: then that
  port sets the pace, and its bandwidth is what is missing.

The ledger of a single unit (matrix, vector) names the ticks in which another unit works `dependency`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping

import numpy as np

from hiersim.model.operators import IntArray
from hiersim.model.program import Access, Program
from hiersim.model.timeline import ENGINES, Entry, LedgerPhase, StageLog, ledger_column, ledger_width


def build_ledger(program: Program, log: StageLog, times: Mapping[str, IntArray], makespan: int) -> IntArray:
    """Ticks by (engine, kernel, ledger column); each engine adds up to `makespan`."""
    history = _History(program, log, times)
    names = [resource.name for resource in program.resources]
    books = []
    for engine in ENGINES:
        units = program.units if engine == "cores" else tuple(u for u in program.units if names[u] == engine)
        books.append(np.frombuffer(_account(history, frozenset(units), makespan).ticks, np.int64))
    return np.stack(books).reshape(len(ENGINES), len(program), ledger_width(len(program.tiers)))


def flat(values: IntArray) -> array[int]:
    """8 bytes a number, where a list has 40; each is a plain integer when it is looked at."""
    return array("q", values.astype(np.int64).tobytes())


class _History:
    """The log as flat columns of plain integers, with the lookups that blame needs."""

    def __init__(self, program: Program, log: StageLog, times: Mapping[str, IntArray]) -> None:
        self.program = program
        self.tiers = len(program.tiers)
        self.kernel, self.tile, self.stage = flat(log.kernel), flat(log.tile), flat(log.stage)
        self.request, self.grant, self.end = flat(log.request), flat(log.grant), flat(log.end)
        self.buffer = flat(log.buffer)
        resource = program.stage_resource[log.stage]
        self.resource = flat(resource)
        self.port_tier = [item.tier for item in program.resources]
        self.arrive = flat(log.end + program.stage_latency[log.stage])
        self.ready, self.launched = times["ready"].tolist(), times["launched"].tolist()
        self.start, self.finish = times["start"].tolist(), times["end"].tolist()
        self.buffer_tier = program.buffer_tier[program.nest].tolist()
        self.work = tuple(
            (entry, flat(ticks))
            for entry, ticks in (
                (Entry.USEFUL, program.stage_useful), (Entry.PADDING, program.stage_padding),
                (Entry.TAIL, program.stage_tail),
            )
        )  # fmt: skip
        """How a service of a unit is laid out, by stage; set-up is what these leave."""
        self._index_services(log, resource)
        self._index_last(program, log)
        self._index_work(program)

    def _index_services(self, log: StageLog, resource: IntArray) -> None:
        """Per resource, its services in order of time."""
        self.service_start: list[array[int]] = []
        self.service_end: list[array[int]] = []
        self.service_kernel: list[array[int]] = []
        for index in range(len(self.port_tier)):
            rows = np.flatnonzero(resource == index)
            rows = rows[np.argsort(log.grant[rows], kind="stable")]
            self.service_start.append(flat(log.grant[rows]))
            self.service_end.append(flat(log.end[rows]))
            self.service_kernel.append(flat(log.kernel[rows]))

    def _index_last(self, program: Program, log: StageLog) -> None:
        """Per kernel, the end of the last computation before it ended and a row of the tile that completed it."""
        kernels = len(program)
        self.computed = list(self.start)
        self.last_row = [-1] * kernels
        compute = program.stage_access[log.stage] == Access.COMPUTE
        for row in flat(np.flatnonzero(compute)):
            kernel = self.kernel[row]
            if self.end[row] <= self.finish[kernel]:
                self.computed[kernel] = max(self.computed[kernel], self.end[row])
        tile_of_stage = np.repeat(np.arange(len(program.stage_ptr) - 1), np.diff(program.stage_ptr))
        position = log.stage - program.stage_ptr[tile_of_stage[log.stage]]
        completing = position == program.complete_stage[tile_of_stage[log.stage]]
        for row in flat(np.flatnonzero(completing)):
            kernel = self.kernel[row]
            if self.arrive[row] == self.finish[kernel] and self.last_row[kernel] < 0:
                self.last_row[kernel] = row

    def _index_work(self, program: Program) -> None:
        """Disjoint intervals in which at least one unit works."""
        self.work_start, self.work_end = array("q"), array("q")
        for row in self.services(frozenset(program.units)):
            if self.work_end and self.grant[row] <= self.work_end[-1]:
                self.work_end[-1] = max(self.work_end[-1], self.end[row])
            else:
                self.work_start.append(self.grant[row])
                self.work_end.append(self.end[row])
        self.last_work = self.work_end[-1] if self.work_end else 0

    def computes(self, row: int) -> bool:
        """Whether the service in `row`, of a unit, is more than set-up."""
        return any(ticks[self.stage[row]] > 0 for _, ticks in self.work)

    def services(self, units: frozenset[int]) -> array[int]:
        """Rows of the services of some units, in order of time."""
        resource, grant = np.frombuffer(self.resource, np.int64), np.frombuffer(self.grant, np.int64)
        rows = np.flatnonzero(np.isin(resource, sorted(units)))
        return flat(rows[np.lexsort((resource[rows], grant[rows]))])

    def split_by_work(self, begin: int, end: int) -> list[tuple[int, int, bool]]:
        """[begin, end) cut into pieces in which some unit works (True) and in which none does."""
        pieces: list[tuple[int, int, bool]] = []
        index = bisect_right(self.work_end, begin)
        while begin < end:
            while index < len(self.work_start) and self.work_end[index] <= begin:
                index += 1
            start = self.work_start[index] if index < len(self.work_start) else end
            until = min(end, start) if start > begin else min(end, self.work_end[index])
            pieces.append((begin, until, start <= begin))
            begin = until
        return pieces

    def first_row(self, row: int) -> int:
        """First row of the tile that `row` belongs to."""
        while row and self.kernel[row - 1] == self.kernel[row] and self.tile[row - 1] == self.tile[row]:
            row -= 1
        return row

    def port_use(self, port: int, kernel: int, begin: int, end: int) -> tuple[int, int]:
        """Ticks of [begin, end) in which `port` serves `kernel`, and in which it serves others."""
        starts, ends, owners = self.service_start[port], self.service_end[port], self.service_kernel[port]
        same = other = 0
        index = bisect_right(ends, begin)
        while index < len(starts) and starts[index] < end:
            overlap = min(end, ends[index]) - max(begin, starts[index])
            if owners[index] == kernel:
                same += overlap
            else:
                other += overlap
            index += 1
        return same, other


class _Book:
    """Writes ticks into one engine's ledger."""

    def __init__(self, history: _History) -> None:
        self.history = history
        self.width = ledger_width(history.tiers)
        self.ticks = array("q", bytes(8 * self.width * len(history.program)))
        """By kernel, then by ledger column."""

    def add(
        self, kernel: int, entry: Entry, ticks: int, tier: int = -1, phase: LedgerPhase = LedgerPhase.STEADY
    ) -> None:
        if ticks > 0:
            self.ticks[kernel * self.width + ledger_column(entry, tier, phase, tiers=self.history.tiers)] += ticks

    def work(self, row: int, begin: int, end: int) -> None:
        """The ticks [begin, end) of the service in `row`, laid out useful, padding, tail, set-up."""
        history = self.history
        stage, offset = history.stage[row], history.grant[row]
        edge = 0
        for entry, ticks in history.work:
            low, edge = edge, edge + ticks[stage]
            self.add(history.kernel[row], entry, min(end - offset, edge) - max(begin - offset, low))
        self.add(history.kernel[row], Entry.DISPATCH, end - offset - max(begin - offset, edge))

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
        producer = max(needs, key=lambda need: (history.finish[need], -need))
        computed = min(max(history.computed[producer], begin), end)
        self.add(kernel, Entry.DEPENDENCY, computed - begin)
        self.tile(history.last_row[producer], computed, end, LedgerPhase.DRAIN)

    def tile(self, last: int, begin: int, end: int, phase: LedgerPhase) -> None:
        """What a tile was doing in [begin, end), up to the stage in row `last`."""
        if begin >= end:
            return
        history = self.history
        kernel, row = history.kernel[last], history.first_row(last)
        left = end - begin
        left -= self.span(
            kernel, Entry.CAPACITY, begin, min(end, history.buffer[row]), history.buffer_tier[kernel], phase
        )
        pace = -1  # the port at which the tile queued last
        while row <= last:
            if history.grant[row] > history.request[row] and phase is LedgerPhase.STEADY:
                pace = history.resource[row]
            left -= self.stage(row, begin, end, phase, pace)
            row += 1
        self.add(kernel, Entry.DEPENDENCY, left)

    def span(self, kernel: int, entry: Entry, begin: int, end: int, tier: int, phase: LedgerPhase) -> int:
        self.add(kernel, entry, end - begin, tier, phase)
        return max(end - begin, 0)

    def stage(self, row: int, begin: int, end: int, phase: LedgerPhase, pace: int) -> int:
        """One stage of a tile: queueing, service and flight inside [begin, end); returns the ticks named."""
        history = self.history
        port, kernel = history.resource[row], history.kernel[row]
        tier = history.port_tier[port]
        queue = (max(begin, history.request[row]), min(end, history.grant[row]))
        service = (max(begin, history.grant[row]), min(end, history.end[row]))
        flight = (max(begin, history.end[row]), min(end, history.arrive[row]))
        if tier < 0:
            return sum(self.span(kernel, Entry.DEPENDENCY, *part, -1, phase) for part in (queue, service, flight))
        return (
            self.paced(kernel, Entry.BANDWIDTH, *queue, tier, phase, port)
            + self.paced(kernel, Entry.BANDWIDTH, *service, tier, phase, pace)
            + self.paced(kernel, Entry.LATENCY, *flight, tier, phase, pace)
        )

    def paced(self, kernel: int, entry: Entry, begin: int, end: int, tier: int, phase: LedgerPhase, port: int) -> int:
        """The ticks [begin, end): bandwidth or contention of `port` while it is busy, `entry` of `tier` otherwise."""
        if begin >= end:
            return 0
        same = other = 0
        if port >= 0 and self.history.port_tier[port] >= 0:
            same, other = self.history.port_use(port, kernel, begin, end)
            self.add(kernel, Entry.BANDWIDTH, same, self.history.port_tier[port], phase)
            self.add(kernel, Entry.CONTENTION, other, self.history.port_tier[port], phase)
        self.add(kernel, entry, end - begin - same - other, tier, phase)
        return end - begin


def _account(history: _History, units: frozenset[int], makespan: int) -> _Book:
    """One engine's ledger."""
    book = _Book(history)
    begun: set[int] = set()
    covered = 0
    for row in history.services(units):
        kernel, grant, end = history.kernel[row], history.grant[row], history.end[row]
        phase = LedgerPhase.STEADY if kernel in begun else LedgerPhase.FILL
        if history.computes(row):
            begun.add(kernel)
        if grant > covered:
            for begin, until, others in history.split_by_work(covered, grant):
                if others:
                    book.add(kernel, Entry.DEPENDENCY, until - begin)
                else:
                    book.gap(row, begin, until, phase)
        book.work(row, max(grant, covered), end)
        covered = max(covered, end)
    if covered < makespan:
        _trailing(book, history, covered, makespan)
    return book


def _trailing(book: _Book, history: _History, covered: int, makespan: int) -> None:
    """The gap that no tile ends: what other units did, then the wait and the drain of the tile that arrived last."""
    if not history.arrive:
        if history.finish:
            book.add(len(history.finish) - 1, Entry.DISPATCH, makespan - covered)
        return
    last = max(range(len(history.arrive)), key=lambda row: (history.arrive[row], -row))
    kernel = history.kernel[last]
    begin = min(max(covered, history.last_work), makespan)
    book.add(kernel, Entry.DEPENDENCY, begin - covered)
    ready = min(max(history.ready[kernel], begin), makespan)
    book.add(kernel, Entry.DEPENDENCY, ready - begin)
    book.gap(last, ready, makespan, LedgerPhase.DRAIN)
