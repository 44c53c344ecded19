"""Tile types and loop nests as lowering builds them, and their packing into flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from hiersim.lowering.machine import Machine
from hiersim.model.operators import IntArray
from hiersim.model.program import Access
from hiersim.units import LARGEST


class Stage(NamedTuple):
    """One row of the program's stage columns."""

    resource: int
    access: Access
    ticks: int
    latency: int
    size: int = 0
    useful: int = 0
    padding: int = 0
    tail: int = 0


class Tile(NamedTuple):
    """A chain of stages; see `Program.release_stage` and `Program.complete_stage`."""

    stages: tuple[Stage, ...]
    release: int
    complete: int


Body = list[tuple[int, Tile]]


@dataclass(slots=True)
class LoopNest:
    """The tiles of one kernel: loops of (repeat, body)."""

    depth: int
    loops: list[tuple[int, Body]] = field(default_factory=list)
    free: IntArray | None = None
    buffer_bytes: int = 0
    """Largest use of the tier that holds the tiles in flight, all cores."""

    def add(self, repeat: int, *body: tuple[int, Tile]) -> None:
        kept = [(count, tile) for count, tile in body if count > 0 and tile.stages]
        if repeat > 0 and kept:
            self.loops.append((repeat, kept))


class Work(NamedTuple):
    """Compute of one tile on one unit: ticks, and how many of them are useful and how many tail."""

    unit: str
    ticks: int
    useful: int
    tail: int


class TileMaker:
    """Makes tiles from bytes and work; bytes at ports that cost no time are summed in `free`."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.free = np.zeros((2, len(machine.tiers)), np.int64)

    def tile(self, times: int, active: int, reads: Sequence[int], work: Sequence[Work], writes: Sequence[int]) -> Tile:
        """A tile that runs `times` times.

        `reads` and `writes` are bytes by shared tier, nearest first. Loads come from far to near, stores go
        from near to far; what goes beyond the nearest cache is write-back that nobody waits for.
        """
        stages: list[Stage] = []
        for level in reversed(range(len(reads))):
            self._move(stages, times, level, Access.READ, reads[level], active)
        stages.extend(self._compute(item) for item in work if item.ticks > 0)
        release = len(stages) - 1
        for level in range(len(writes)):
            if self._move(stages, times, level, Access.WRITE, writes[level], active) and level == 0:
                release = len(stages) - 1
        release = max(release, 0)
        return Tile(tuple(stages), release, release)

    def _move(self, stages: list[Stage], times: int, level: int, access: Access, size: int, active: int) -> bool:
        if size <= 0:
            return False
        machine = self.machine
        ticks = machine.read_ticks(level, size, active, access)
        latency = int(machine.shared[level].latency)
        if ticks == 0 and latency == 0:
            self.free[0 if access is Access.READ else 1, machine.first_shared + level] += size * times
            return False
        stages.append(Stage(machine.port(level, access), access, max(1, ticks), latency, size))
        return True

    def _compute(self, work: Work) -> Stage:
        useful = min(work.useful, work.ticks)
        tail = min(work.tail, work.ticks - useful)
        return Stage(
            self.machine.unit[work.unit], Access.COMPUTE, work.ticks, 0, 0, useful, work.ticks - useful - tail, tail
        )


class Packer:
    """Collects loop nests, kernel by kernel, into the arrays of a `Program`; equal nests are kept once."""

    def __init__(self, buffer_tier: int) -> None:
        self.buffer_tier = buffer_tier
        self.seen: dict[tuple[object, ...], int] = {}
        self.nest, self.depth = list[int](), list[int]()
        self.loop_ptr, self.loop_repeat = [0], list[int]()
        self.body_ptr, self.body_count, self.body_tile = [0], list[int](), list[int]()
        self.stage_ptr, self.release, self.complete = [0], list[int](), list[int]()
        self.stages: list[Stage] = []
        self.ticks = self.bytes = 0

    def add(self, nest: LoopNest) -> None:
        """Append one kernel.

        Raises
        ------
        OverflowError
            When all services and latencies, or all bytes, add up to more than a program can hold.
        """
        for repeat, body in nest.loops:
            for count, tile in body:
                self.ticks += repeat * count * sum(stage.ticks + stage.latency for stage in tile.stages)
                self.bytes += repeat * count * sum(stage.size for stage in tile.stages)
        if max(self.ticks, self.bytes) >= LARGEST:
            raise OverflowError
        key = (nest.depth, *((repeat, tuple(body)) for repeat, body in nest.loops))
        self.nest.append(self.seen.setdefault(key, len(self.depth)))
        if self.nest[-1] == len(self.depth):
            self.pack(nest)

    def pack(self, nest: LoopNest) -> None:
        """Append one nest."""
        self.depth.append(nest.depth)
        for repeat, body in nest.loops:
            self.loop_repeat.append(repeat)
            for count, tile in body:
                self.body_count.append(count)
                self.body_tile.append(len(self.release))
                self.stages.extend(tile.stages)
                self.stage_ptr.append(len(self.stages))
                self.release.append(tile.release)
                self.complete.append(tile.complete)
            self.body_ptr.append(len(self.body_count))
        self.loop_ptr.append(len(self.loop_repeat))

    def arrays(self) -> dict[str, IntArray]:
        """Columns of a `Program` by field name."""
        names = ("resource", "access", "ticks", "latency", "bytes", "useful", "padding", "tail")
        table = np.array(self.stages, np.int64).reshape(-1, len(names)).T
        columns = {f"stage_{name}": column.copy() for name, column in zip(names, table, strict=True)}
        lists = {
            "nest": self.nest,
            "depth": self.depth,
            "buffer_tier": [self.buffer_tier] * len(self.depth),
            "loop_ptr": self.loop_ptr,
            "loop_repeat": self.loop_repeat,
            "body_ptr": self.body_ptr,
            "body_count": self.body_count,
            "body_tile": self.body_tile,
            "stage_ptr": self.stage_ptr,
            "release_stage": self.release,
            "complete_stage": self.complete,
        }
        return {**columns, **{name: np.array(values, np.int64) for name, values in lists.items()}}
