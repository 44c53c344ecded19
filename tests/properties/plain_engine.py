"""A third engine, written from the words of docs/design.md section 8, ADR 8 and `Program`: a plain loop over ticks.

It shares nothing with the engines of hiersim: no event library, no generators, no heaps. At every time it repeats
three steps: let all completions of that time take effect, grant buffers, grant ports; then it goes to the
next time at which anything completes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hiersim.model.program import Program


@dataclass
class Tile:
    """One tile that has its buffer."""

    kernel: int
    number: int
    kind: int
    buffer: int
    position: int = 0
    requested: int | None = None
    """Waiting for its resource since then."""
    granted: int | None = None
    service_end: int | None = None
    arrival: int | None = None


@dataclass
class Kernel:
    """One kernel and its times; None is not yet."""

    waiting: list[int]
    """Tile types that have no buffer yet, in issue order."""
    buffers: int
    incomplete: int = 0
    issued: int = 0
    host_begin: int | None = None
    launched: int | None = None
    ready: int | None = None
    start_due: int | None = None
    start: int | None = None
    end: int | None = None


@dataclass
class PlainRun:
    """What happened."""

    kernels: list[Kernel]
    busy: list[int]
    makespan: int = 0
    rows: list[tuple[int, ...]] = field(default_factory=list)
    """(kernel, tile, stage, request, grant, end, buffer)"""


class PlainEngine:
    """One run of one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.now = 0
        count = len(program)
        self.kernels = [Kernel(unrolled(program, k), int(program.depth[program.nest[k]])) for k in range(count)]
        for kernel in self.kernels:
            kernel.incomplete = len(kernel.waiting)
        self.needs = [
            [int(n) for n in program.needs[program.needs_ptr[k] : program.needs_ptr[k + 1]]] for k in range(count)
        ]
        self.tiles: list[Tile] = []
        self.serving: list[Tile | None] = [None] * len(program.resources)
        self.clock: list[dict[int, int]] = [{} for _ in program.resources]
        """Fair ports: since when a kernel waits with its first request, on a clock of what one kernel alone gets."""
        self.clock_now = [0] * len(program.resources)
        self.host_next = 0
        self.host_until: int | None = None
        self.run = PlainRun(self.kernels, [0] * len(program.resources))

    def play(self) -> PlainRun:
        """Until nothing is left to complete."""
        while True:
            self.settle()
            self.grant_ports()
            times = [time for time in self.future() if time > self.now]
            if not times:
                break
            self.now = min(times)
        assert all(kernel.end is not None for kernel in self.kernels), "deadlock"
        self.run.rows.sort()
        return self.run

    def settle(self) -> None:
        """All completions of this time, and then buffers; again until nothing changes."""
        while True:
            while self.host_step() or self.kernel_step() or self.tile_step():
                pass
            if not self.grant_buffers():
                return

    def host_step(self) -> bool:
        """The dispatch thread ends a launch call, or begins the next one."""
        program, kernel = self.program, self.host_next
        if self.host_until is not None:
            if self.host_until > self.now:
                return False
            self.kernels[kernel].launched = self.host_until + int(program.launch_latency[kernel])
            self.host_until, self.host_next = None, kernel + 1
            return True
        if kernel == len(self.kernels):
            return False
        if program.host_sync[kernel] and any(earlier.end is None for earlier in self.kernels[:kernel]):
            return False
        pending = kernel - int(program.queue)  # the launch whose place in the queue this one takes
        if pending >= 0 and self.kernels[pending].start is None:
            return False
        self.kernels[kernel].host_begin = self.now
        self.host_until = self.now + int(program.host_ticks[kernel])
        return True

    def kernel_step(self) -> bool:
        """A kernel becomes ready, starts or ends."""
        for index, kernel in enumerate(self.kernels):
            if kernel.ready is None and all(self.kernels[need].end is not None for need in self.needs[index]):
                kernel.ready = self.now
                return True
            arrived = kernel.launched is not None and kernel.launched <= self.now
            if kernel.ready is not None and arrived and kernel.start_due is None:
                kernel.start_due = self.now + int(self.program.start_ticks[index])
                return True
            if kernel.start_due is not None and kernel.start is None and kernel.start_due <= self.now:
                kernel.start = self.now
                return True
            if kernel.start is not None and kernel.end is None and kernel.incomplete == 0:
                kernel.end = self.now
                self.run.makespan = max(self.run.makespan, self.now)
                return True
        return False

    def tile_step(self) -> bool:
        """A stage of a tile ends its service, or its data arrives."""
        program = self.program
        for tile in self.tiles:
            stage = int(program.stage_ptr[tile.kind]) + tile.position
            if tile.service_end is not None and tile.service_end <= self.now:
                resource = int(program.stage_resource[stage])
                self.serving[resource] = None
                self.run.busy[resource] += tile.service_end - (tile.granted or 0)
                row = (tile.kernel, tile.number, stage, tile.requested, tile.granted, tile.service_end, tile.buffer)
                self.run.rows.append(row)  # type: ignore[arg-type]
                if tile.position == program.release_stage[tile.kind]:
                    self.kernels[tile.kernel].buffers += 1
                tile.arrival = tile.service_end + int(program.stage_latency[stage])
                tile.service_end = tile.granted = tile.requested = None
                return True
            if tile.arrival is not None and tile.arrival <= self.now:
                if tile.position == program.complete_stage[tile.kind]:
                    self.kernels[tile.kernel].incomplete -= 1
                tile.arrival = None
                tile.position += 1
                if stage + 1 == program.stage_ptr[tile.kind + 1]:
                    self.run.makespan = max(self.run.makespan, self.now)
                    self.tiles.remove(tile)
                else:
                    tile.requested = self.now
                return True
        return False

    def grant_buffers(self) -> bool:
        """Every started kernel gives its free buffers to its next tiles, in order."""
        changed = False
        for index, kernel in enumerate(self.kernels):
            while kernel.start is not None and kernel.buffers and kernel.waiting:
                kernel.buffers -= 1
                tile = Tile(index, kernel.issued, kernel.waiting.pop(0), self.now, requested=self.now)
                kernel.issued += 1
                self.tiles.append(tile)
                changed = True
        return changed

    def grant_ports(self) -> None:
        """Every idle resource serves the waiting request with the smallest (time, kernel, tile, stage).

        A fair one has a clock: it shows how much each waiting kernel would have got if all were served at once, a
        tick in turn. The first request of each kernel would end its ticks after it came first; the one that would
        end first is served, and the clock shows that time.
        """
        program = self.program
        for resource in range(len(self.serving)):
            waiting = [
                ((tile.requested, tile.kernel, tile.number, tile.position), tile)
                for tile in self.tiles
                if tile.requested is not None
                and tile.granted is None
                and program.stage_resource[program.stage_ptr[tile.kind] + tile.position] == resource
            ]
            if self.serving[resource] is None and waiting:
                tile = min(waiting, key=lambda item: item[0])[1]
                if program.resources[resource].fair:
                    tile = self.fair_choice(resource, [other for _, other in sorted(waiting, key=lambda item: item[0])])
                self.serving[resource] = tile
                tile.granted = self.now
                tile.service_end = self.now + int(program.stage_ticks[program.stage_ptr[tile.kind] + tile.position])

    def fair_choice(self, resource: int, waiting: list[Tile]) -> Tile:
        """Who is served next of those who wait, in order of (time, kernel, tile, stage)."""
        clock, program = self.clock[resource], self.program
        ends: list[tuple[int, int]] = []
        for place, tile in enumerate(waiting):
            if all(tile.kernel != earlier.kernel for earlier in waiting[:place]):
                begin = clock.setdefault(tile.kernel, self.clock_now[resource])
                ticks = program.stage_ticks[program.stage_ptr[tile.kind] + tile.position]
                ends.append((begin + int(ticks), place))
        end, place = min(ends)
        self.clock_now[resource] = end
        del clock[waiting[place].kernel]
        return waiting[place]

    def future(self) -> list[int]:
        """Times at which something is known to complete."""
        times = [self.host_until]
        for kernel in self.kernels:
            times += [kernel.launched, kernel.start_due]
        for tile in self.tiles:
            times += [tile.service_end, tile.arrival]
        return [time for time in times if time is not None]


def unrolled(program: Program, kernel: int) -> list[int]:
    """Tile types of a kernel in issue order: loops of (count, type) bodies."""
    tiles: list[int] = []
    nest = int(program.nest[kernel])
    for loop in range(int(program.loop_ptr[nest]), int(program.loop_ptr[nest + 1])):
        bodies = range(int(program.body_ptr[loop]), int(program.body_ptr[loop + 1]))
        once = [int(program.body_tile[b]) for b in bodies for _ in range(int(program.body_count[b]))]
        tiles += once * int(program.loop_repeat[loop])
    return tiles


def play(program: Program) -> PlainRun:
    """Run `program` on the plain engine."""
    return PlainEngine(program).play()
