"""The reference engine: SimPy processes and resources, written to be read. It is the definition.

Semantics, per tick:

1. all completions take effect (events of SimPy's normal priority);
2. buffers are granted, then ports and units, each to the waiting request with the smallest
   (request time, kernel, tile, stage), at a fair port to the first request of the kernel whose turn it is. Both
   happen in events of later priority, so that nothing depends on the order in which requests of one tick were made.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import simpy
from simpy.events import NORMAL, Event, EventPriority

from hiersim.engines.deadlock import deadlock
from hiersim.engines.ledger import build_ledger
from hiersim.errors import SimulationError
from hiersim.model.program import Program
from hiersim.model.timeline import StageLog, Timeline, distinct_ledgers

NAME: Final = "reference"
MAX_STAGES: Final = 40_000_000
"""About half an hour and 9 GB."""
AFTER_COMPLETIONS: Final = EventPriority(NORMAL + 1)
AFTER_BUFFERS: Final = EventPriority(NORMAL + 2)
Steps: TypeAlias = Generator[Event, Any, None]
Request = tuple[int, int, int, int, int, Event]
"""Time, kernel, tile, stage, ticks of the service, and what fires when it is granted."""


class Arbiter:
    """Grants what waits at the end of a tick, smallest (request time, kernel, tile, stage) first."""

    def __init__(self, env: simpy.Environment, priority: EventPriority, capacity: int = 1) -> None:
        self.env = env
        self.priority = priority
        self.free = capacity
        self.waiting: list[Request] = []
        self.armed = False

    def request(self, kernel: int, tile: int, stage: int, ticks: int = 0) -> Event:
        """An event that fires when the request, for a service of `ticks`, is granted."""
        granted = self.env.event()
        heapq.heappush(self.waiting, (int(self.env.now), kernel, tile, stage, ticks, granted))
        self._arm()
        return granted

    def release(self) -> None:
        """Give one place back; it is granted again at the end of this tick."""
        self.free += 1
        self._arm()

    def _arm(self) -> None:
        if self.free and self.waiting and not self.armed:
            self.armed = True
            turn = self.env.event()
            turn.callbacks.append(self._grant)
            turn._ok, turn._value = True, None
            self.env.schedule(turn, priority=self.priority)

    def _grant(self, _: Event) -> None:
        self.armed = False
        while self.free and self.waiting:
            self.free -= 1
            self._next().succeed()

    def _next(self) -> Event:
        return heapq.heappop(self.waiting)[-1]


class FairArbiter(Arbiter):
    """Grants requests in the order in which they would end if each waiting kernel were served a tick in turn.

    A kernel waits with its smallest request. It has had a share, in ticks, of what was served since that one
    became its smallest; when it is served it begins again.
    """

    def __init__(self, env: simpy.Environment, priority: EventPriority) -> None:
        super().__init__(env, priority)
        self.shares: dict[int, int] = {}

    def _next(self) -> Event:
        first: dict[int, Request] = {}
        for request in sorted(self.waiting):
            first.setdefault(request[1], request)
        lacks = {kernel: request[4] - self.shares.get(kernel, 0) for kernel, request in first.items()}
        chosen = min(lacks, key=lambda kernel: (lacks[kernel], first[kernel]))
        self.shares = {kernel: self.shares.get(kernel, 0) + lacks[chosen] for kernel in first if kernel != chosen}
        self.waiting.remove(first[chosen])
        heapq.heapify(self.waiting)
        return first[chosen][-1]


@dataclass(slots=True)
class Log:
    """Stage records as they are made, flat: 56 bytes each; sorted into a `StageLog` at the end."""

    numbers: array[int] = field(default_factory=lambda: array("q"))

    def table(self) -> StageLog:
        """All records, which are then no longer kept here."""
        names = ("kernel", "tile", "stage", "request", "grant", "end", "buffer")
        columns = np.frombuffer(self.numbers, np.int64).reshape(-1, len(names)).T
        self.numbers = array("q")
        order = np.lexsort(columns[2::-1])
        return StageLog(**{name: column[order] for name, column in zip(names, columns, strict=True)})


class Machine:
    """One run of one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.env = simpy.Environment()
        self.resources = [
            (FairArbiter if resource.fair else Arbiter)(self.env, AFTER_BUFFERS) for resource in program.resources
        ]
        kernels = len(program)
        self.log = Log()
        self.times = {name: np.zeros(kernels, np.int64) for name in ("host_begin", "launched", "ready", "start", "end")}
        self.arrived = [self.env.event() for _ in range(kernels)]
        self.started = [self.env.event() for _ in range(kernels)]
        self.ended = [self.env.event() for _ in range(kernels)]
        self.makespan = 0
        self.chains = _chains(program)

    def run(self) -> None:
        """Play the whole program."""
        self.env.process(self.host())
        for kernel in range(len(self.program)):
            self.env.process(self.kernel(kernel))
        self.env.run()
        ended = [event.triggered for event in self.ended]
        if not all(ended):
            raise deadlock(self.program, [event.triggered for event in self.started], ended)

    def host(self) -> Steps:
        """The dispatch thread: one launch after the other, at most `queue` of them pending."""
        program, env = self.program, self.env
        for kernel in range(len(program)):
            if program.host_sync[kernel]:
                yield env.all_of(self.ended[:kernel])
            if kernel >= program.queue:
                yield self.started[kernel - program.queue]
            self.times["host_begin"][kernel] = env.now
            if program.host_ticks[kernel]:
                yield env.timeout(int(program.host_ticks[kernel]))
            env.process(self.launch(kernel))

    def launch(self, kernel: int) -> Steps:
        """The way of a launch from the host to the device."""
        yield self.env.timeout(int(self.program.launch_latency[kernel]))
        self.times["launched"][kernel] = self.env.now
        self.arrived[kernel].succeed()

    def kernel(self, kernel: int) -> Steps:
        """One kernel: wait for its producers and its launch, then play its tiles."""
        program, env, times = self.program, self.env, self.times
        needs = program.needs[program.needs_ptr[kernel] : program.needs_ptr[kernel + 1]]
        yield env.all_of([self.ended[int(need)] for need in needs])
        times["ready"][kernel] = env.now
        yield self.arrived[kernel]
        if program.start_ticks[kernel]:
            yield env.timeout(int(program.start_ticks[kernel]))
        times["start"][kernel] = env.now
        self.started[kernel].succeed()
        buffers = Arbiter(env, AFTER_COMPLETIONS, int(program.depth[program.nest[kernel]]))
        done: list[Event] = []
        for tile, kind in enumerate(program.tiles(kernel)):
            yield buffers.request(kernel, tile, 0)
            complete = env.event()
            done = [event for event in done if not event.processed] + [complete]
            env.process(self.tile(kernel, tile, kind, buffers, complete))
        yield env.all_of(done)
        times["end"][kernel] = env.now
        self.ended[kernel].succeed()

    def tile(self, kernel: int, tile: int, kind: int, buffers: Arbiter, complete: Event) -> Steps:
        """One tile: its stages in a chain, its buffer given back on the way."""
        env, log = self.env, self.log.numbers
        granted = int(env.now)
        chain, release, completes = self.chains[kind]
        for position, (stage, resource, ticks, latency) in enumerate(chain):
            request = int(env.now)
            port = self.resources[resource]
            yield port.request(kernel, tile, position, ticks)
            grant = int(env.now)
            yield env.timeout(ticks)
            log.extend((kernel, tile, stage, request, grant, int(env.now), granted))
            port.release()
            if position == release:
                buffers.release()
            if latency:
                yield env.timeout(latency)
            if position == completes:
                complete.succeed()
        self.makespan = max(self.makespan, int(env.now))


def _chains(program: Program) -> list[tuple[list[tuple[int, int, int, int]], int, int]]:
    """Per tile type: its stages as plain numbers, the releasing and the completing position."""
    chains = []
    for kind in range(len(program.stage_ptr) - 1):
        stages = range(int(program.stage_ptr[kind]), int(program.stage_ptr[kind + 1]))
        chain = [
            (g, int(program.stage_resource[g]), int(program.stage_ticks[g]), int(program.stage_latency[g]))
            for g in stages
        ]
        chains.append((chain, int(program.release_stage[kind]), int(program.complete_stage[kind])))
    return chains


def simulate(program: Program, *, keep_log: bool = False) -> Timeline:
    """Run `program` and account for every tick.

    Raises
    ------
    SimulationError
        When kernels wait for each other for ever, or the program is larger than this engine can log.
    """
    stages = int(program.stage_counts().sum())
    if stages > MAX_STAGES:
        raise SimulationError(
            f"the reference engine cannot play {stages} stages", expected=f"at most {MAX_STAGES}: a smaller trace, "
            "or larger tiles (more memory in the cores)",
        )  # fmt: skip
    machine = Machine(program)
    machine.run()
    log = machine.log.table()
    busy = np.zeros(len(program.resources), np.int64)
    np.add.at(busy, program.stage_resource[log.stage], log.end - log.grant)
    makespan = max([machine.makespan, *machine.times["end"].tolist()])
    times = machine.times
    return Timeline(
        engine=NAME,
        makespan=makespan,
        busy=busy,
        **distinct_ledgers(build_ledger(program, log, times, makespan)),
        log=log if keep_log else None,
        **times,
    )
