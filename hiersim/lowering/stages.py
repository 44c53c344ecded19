"""Loop nests as they are written: stages into tiles, tiles into loops, equal nests once.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `stages.pxd` declares what other compiled modules use.
"""

from __future__ import annotations

from typing import Any

import cython
from numpy import arange, asarray, int64

from hiersim.lowering.columns import longer, room
from hiersim.lowering.figures import LEVEL_FIELDS
from hiersim.model.program import Access
from hiersim.units import UNLIMITED as NO_LIMIT

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.exact import product, total
    from cython.cimports.hiersim.lowering.figures import Figures
else:
    from hiersim.columns import column
    from hiersim.exact import product, total
    from hiersim.lowering.figures import Figures

UNLIMITED = cython.declare(cython.longlong, NO_LIMIT)
READ = cython.declare(cython.longlong, int(Access.READ))
COMPUTE = cython.declare(cython.longlong, int(Access.COMPUTE))
WRITE = cython.declare(cython.longlong, int(Access.WRITE))
LEVEL = cython.declare(cython.longlong, LEVEL_FIELDS)
STAGE_COLUMNS = ("stage_resource", "stage_access", "stage_ticks", "stage_latency", "stage_bytes", "stage_useful",
                 "stage_padding", "stage_tail")  # fmt: skip
"""Of a `Program`: what `cells` holds of each stage, column after column of `stage_rooms` places."""
CELLS = cython.declare(cython.longlong, len(STAGE_COLUMNS))
WORK_CELLS = cython.declare(cython.longlong, 5)
"""Per piece of work: the unit, its ticks, and how many of them are useful, tail and padding."""
LOOPS = cython.declare(cython.longlong, 4)
TILES = cython.declare(cython.longlong, 9)
"""A nest has at most so many loops and tiles: two loops of two tiles, one more of a straggler, and copies around. The
longest tile has a stage for every port in both directions, and for three pieces of work."""
PRIME = cython.declare(cython.longlong, 1000003)
MASK = cython.declare(cython.longlong, 2**40 - 1)
"""Hashes have 40 bits, so that their products with the prime stay inside 63."""


@cython.cclass
class Sheet:
    """The loop nests of one program, written one after the other.

    A nest is written between `begin` and `finish`: set `reads` and `writes` (bytes by shared tier, nearest first),
    call `add_work` for what is computed, then `add_tile`. Bytes at ports that cost no time have no stage and are
    summed in `free`: (2, levels), read and written. `slow_reads` and `slow_writes` are bytes that take time only, what
    access out of order costs beyond streaming; they count for tiles of a nest that is `slow`. `pace` are the least
    ticks of the next tile's read at the nearest tier, where threads wait for what they load; `depth` are the tiles of
    the nest that are in flight. `ticks` and `moved` are all services with latencies and all bytes of the nest.
    """

    def __init__(self, figures: Figures) -> None:
        self.figures = figures
        self.nests = self.loops = self.bodies = self.stages = 0
        self.rooms = 64
        self.stage_rooms = 1032  # no power of two: the cells of a stage lie in different sets of a processor's cache
        rooms: cython.longlong = self.rooms
        tiles: cython.longlong = rooms * TILES
        self.most_stages = TILES * (2 * figures.levels + 3)
        self.arrays = {
            "depth": room(rooms),
            "loop_ptr": room(rooms + 1),
            "loop_repeat": room(rooms * LOOPS),
            "body_ptr": room(tiles + 1),
            "body_count": room(tiles),
            "stage_ptr": room(tiles + 1),
            "release_stage": room(tiles),
            "cells": room(self.stage_rooms * CELLS),
        }
        self.nest_hash = column(rooms)
        self.depth = figures.depth
        self.slots = column(rooms * 4)
        self.view()
        self.loop_ptr[0] = self.body_ptr[0] = self.stage_ptr[0] = 0
        self.reads, self.writes = column(figures.levels), column(figures.levels)
        self.slow_reads, self.slow_writes = column(figures.levels), column(figures.levels)
        self.slow = False
        self.pace = 0
        self.free = column(2 * figures.levels)
        self.work_cells = column(WORK_CELLS * 3)
        self.works = self.times = self.ticks = self.moved = 0

    def view(self) -> None:
        """Look at the arrays."""
        arrays = self.arrays
        self.nest_depth, self.loop_ptr = arrays["depth"], arrays["loop_ptr"]
        self.loop_repeat = arrays["loop_repeat"]
        self.body_ptr, self.body_count = arrays["body_ptr"], arrays["body_count"]
        self.stage_ptr, self.release, self.cells = arrays["stage_ptr"], arrays["release_stage"], arrays["cells"]

    def grow_stages(self) -> None:
        """Twice the room for stages."""
        old, rooms = self.arrays["cells"], self.stage_rooms
        self.stage_rooms *= 2
        self.arrays["cells"] = cells = room(self.stage_rooms * CELLS)
        for index in range(CELLS):
            begin = index * self.stage_rooms
            cells[begin : begin + self.stages] = old[index * rooms : index * rooms + self.stages]
        self.view()

    def grow(self) -> None:
        """Twice the room for all but stages."""
        self.rooms *= 2
        for name, values in self.arrays.items():
            if name != "cells":
                self.arrays[name] = longer(values, 2 * len(values))
        self.view()
        self.nest_hash = longer(self.nest_hash, self.rooms)
        self.slots = column(self.rooms * 4)
        nest: cython.longlong
        for nest in range(self.nests):
            slot: cython.longlong = self.nest_hash[nest] & (self.rooms * 4 - 1)
            while self.slots[slot] != 0:
                slot = (slot + 1) & (self.rooms * 4 - 1)
            self.slots[slot] = nest + 1

    @cython.cfunc
    @cython.exceptval(check=False)
    def clear(self) -> cython.longlong:
        """No bytes to read or write."""
        level: cython.longlong
        for level in range(self.figures.levels):
            self.reads[level] = self.writes[level] = 0
        return 0

    @cython.cfunc
    def begin(self) -> cython.longlong:
        """Open a nest."""
        if self.nests == self.rooms:
            self.grow()
        while self.stages + self.most_stages > self.stage_rooms:
            self.grow_stages()
        index: cython.longlong
        for index in range(2 * self.figures.levels):
            self.free[index] = 0
        self.slow = False
        self.pace = 0
        self.depth = self.figures.depth
        self.ticks = self.moved = 0
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def open_loop(self, repeat: cython.longlong) -> cython.longlong:
        """The tiles that follow are repeated."""
        self.times = repeat
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def close_loop(self) -> cython.longlong:
        """Keep the loop unless it is empty."""
        if self.bodies > self.body_ptr[self.loops]:
            self.loop_repeat[self.loops] = self.times
            self.loops += 1
            self.body_ptr[self.loops] = self.bodies
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def add_work(
        self, unit: cython.longlong, ticks: cython.longlong, useful: cython.longlong, tail: cython.longlong
    ) -> cython.longlong:
        """Compute of the next tile on one unit: ticks, and how many of them are useful and how many tail."""
        first: cython.longlong = self.works * WORK_CELLS
        self.work_cells[first] = unit
        self.work_cells[first + 1] = ticks
        self.work_cells[first + 2] = min(useful, ticks)
        self.work_cells[first + 3] = min(tail, ticks - min(useful, ticks))
        self.work_cells[first + 4] = ticks - self.work_cells[first + 2] - self.work_cells[first + 3]
        self.works += 1
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def add_set_up(self, unit: cython.longlong, ticks: cython.longlong) -> cython.longlong:
        """Ticks of the next tile for which one unit is taken and has nothing to compute."""
        self.add_work(unit, 0, 0, 0)
        return self.add_waiting(ticks)

    @cython.cfunc
    @cython.exceptval(check=False)
    def add_waiting(self, ticks: cython.longlong) -> cython.longlong:
        """… and set-up that follows the last piece of work, on its unit."""
        self.work_cells[(self.works - 1) * WORK_CELLS + 1] += ticks
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def add_tile(self, count: cython.longlong, active: cython.longlong) -> cython.longlong:
        """A tile that runs `count` times in the loop, with the reads, work and writes that were set.

        Loads come from far to near, stores go from near to far; what goes beyond the nearest cache is write-back
        that nobody waits for.
        """
        first: cython.longlong = self.stages
        level: cython.longlong
        outer: cython.longlong = self.times
        self.times = product(outer, count)  # how often the tile runs in all, while its stages are written
        for level in range(self.figures.levels - 1, -1, -1):
            self.move(level, READ, self.reads[level], active)
        self.compute()
        release: cython.longlong = self.stages - 1
        for level in range(self.figures.levels):
            if self.move(level, WRITE, self.writes[level], active) and level == 0:
                release = self.stages - 1
        self.times = outer
        if self.stages > first:
            self.release[self.bodies] = max(release - first, 0)
            self.body_count[self.bodies] = count
            self.bodies += 1
            self.stage_ptr[self.bodies] = self.stages
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def compute(self) -> cython.longlong:
        """Stages of the work that was set."""
        index: cython.longlong
        for index in range(self.works):
            first: cython.longlong = index * WORK_CELLS
            ticks: cython.longlong = self.work_cells[first + 1]
            if ticks > 0:
                cell: cython.longlong = self.stage(self.work_cells[first], COMPUTE, ticks, 0, 0)
                self.cells[cell + 5 * self.stage_rooms] = self.work_cells[first + 2]
                self.cells[cell + 6 * self.stage_rooms] = self.work_cells[first + 4]
                self.cells[cell + 7 * self.stage_rooms] = self.work_cells[first + 3]
        self.works = 0
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def move(
        self, level: cython.longlong, access: cython.longlong, size: cython.longlong, active: cython.longlong
    ) -> cython.longlong:
        """A stage at a port; 1 when there is one."""
        if size <= 0:
            return 0
        figures: Figures = self.figures
        ticks: cython.longlong = figures.move_ticks(level, access, size, active)
        if self.slow:
            ticks = max(ticks, self.slow_ticks(level, access, size))
        if level == 0 and access == READ:
            ticks = max(ticks, self.pace)
        latency: cython.longlong = figures.level_table[level * LEVEL + 3]
        if ticks == 0 and latency == 0:
            place: cython.longlong = level + (0 if access == READ else figures.levels)
            self.free[place] = total(self.free[place], product(size, self.times))
            return 0
        port: cython.longlong = figures.level_table[level * LEVEL + (4 if access == READ else 5)]
        self.stage(port, access, max(1, ticks), latency, size)
        return 1

    @cython.cfunc
    @cython.exceptval(-1)
    def slow_ticks(self, level: cython.longlong, access: cython.longlong, size: cython.longlong) -> cython.longlong:
        """Ticks of a service at a port of `size` bytes and of those that its pattern adds."""
        slow: cython.longlong = self.slow_reads[level] if access == READ else self.slow_writes[level]
        return self.figures.move_ticks(level, access, total(size, slow), UNLIMITED)

    @cython.cfunc
    @cython.exceptval(-1)
    def stage(
        self,
        resource: cython.longlong,
        access: cython.longlong,
        ticks: cython.longlong,
        latency: cython.longlong,
        size: cython.longlong,
    ) -> cython.longlong:
        """Write a stage; its number, which is the place of its first cell."""
        rooms: cython.longlong = self.stage_rooms
        cell: cython.longlong = self.stages
        self.cells[cell] = resource
        self.cells[cell + rooms] = access
        self.cells[cell + 2 * rooms] = ticks
        self.cells[cell + 3 * rooms] = latency
        self.cells[cell + 4 * rooms] = size
        self.cells[cell + 5 * rooms] = self.cells[cell + 6 * rooms] = self.cells[cell + 7 * rooms] = 0
        self.stages += 1
        self.ticks = total(self.ticks, product(self.times, total(ticks, latency)))
        self.moved = total(self.moved, product(self.times, size))
        return cell

    @cython.cfunc
    def finish(self) -> cython.longlong:
        """Close the nest: its number, or that of an equal one, in which case it is taken back."""
        mask: cython.longlong = self.rooms * 4 - 1
        nest: cython.longlong = self.nests
        self.loop_ptr[nest + 1] = self.loops
        mark: cython.longlong = self.content_hash(nest)
        slot: cython.longlong = mark & mask
        while self.slots[slot] != 0:
            other: cython.longlong = self.slots[slot] - 1
            same: cython.bint = self.nest_hash[other] == mark and self.nest_depth[other] == self.depth
            if same and self.equal(other, nest):
                self.take_back(nest)
                return other
            slot = (slot + 1) & mask
        self.slots[slot] = nest + 1
        self.nest_hash[nest], self.nest_depth[nest] = mark, self.depth
        self.nests += 1
        return nest

    def take_back(self, nest: cython.longlong) -> None:
        """Forget the last nest."""
        self.loops = self.loop_ptr[nest]
        self.bodies = self.body_ptr[self.loops]
        self.stages = self.stage_ptr[self.bodies]

    @cython.cfunc
    @cython.exceptval(check=False)
    def content_hash(self, nest: cython.longlong) -> cython.longlong:
        """A number of 40 bits that equal nests share."""
        mark: cython.longlong = 1
        rooms: cython.longlong = self.stage_rooms
        loop: cython.longlong
        body: cython.longlong
        stage: cython.longlong
        for loop in range(self.loop_ptr[nest], self.loop_ptr[nest + 1]):
            mark = ((mark * PRIME) & MASK) ^ (self.loop_repeat[loop] & MASK)
            for body in range(self.body_ptr[loop], self.body_ptr[loop + 1]):
                mark = ((mark * PRIME) & MASK) ^ (self.body_count[body] & MASK)
                for stage in range(self.stage_ptr[body], self.stage_ptr[body + 1]):
                    ticks: cython.longlong = self.cells[stage + 2 * rooms]  # and these tell most stages apart
                    size: cython.longlong = self.cells[stage + 4 * rooms]
                    useful: cython.longlong = self.cells[stage + 5 * rooms]
                    mark = ((mark * PRIME) & MASK) ^ ((ticks ^ (size << 1) ^ useful) & MASK)
        return mark ^ (mark >> 20)

    @cython.cfunc
    @cython.exceptval(check=False)
    def equal(self, one: cython.longlong, other: cython.longlong) -> cython.bint:
        """Whether two nests have the same loops over the same tiles."""
        loop: cython.longlong
        body: cython.longlong
        shift: cython.longlong = self.loop_ptr[other] - self.loop_ptr[one]
        if self.loop_ptr[one + 1] + shift != self.loop_ptr[other + 1]:
            return False
        for loop in range(self.loop_ptr[one], self.loop_ptr[one + 1]):
            along: cython.longlong = self.body_ptr[loop + shift] - self.body_ptr[loop]
            if self.loop_repeat[loop] != self.loop_repeat[loop + shift]:
                return False
            if self.body_ptr[loop + 1] + along != self.body_ptr[loop + shift + 1]:
                return False
            for body in range(self.body_ptr[loop], self.body_ptr[loop + 1]):
                if self.body_count[body] != self.body_count[body + along] or not self.same_tile(body, body + along):
                    return False
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def same_tile(self, one: cython.longlong, other: cython.longlong) -> cython.bint:
        """Whether two tiles are the same chain of stages."""
        begin: cython.longlong = self.stage_ptr[one]
        end: cython.longlong = self.stage_ptr[one + 1]
        shift: cython.longlong = self.stage_ptr[other] - begin
        if self.release[one] != self.release[other] or self.stage_ptr[other + 1] != end + shift:
            return False
        index: cython.longlong
        cell: cython.longlong
        for index in range(CELLS):
            for cell in range(index * self.stage_rooms + begin, index * self.stage_rooms + end):
                if self.cells[cell] != self.cells[cell + shift]:
                    return False
        return True

    def columns(self) -> dict[str, Any]:
        """Columns of a `Program` by field name, all but the kernels' own."""
        sizes = {
            "depth": self.nests,
            "loop_ptr": self.nests + 1,
            "loop_repeat": self.loops,
            "body_ptr": self.loops + 1,
            "body_count": self.bodies,
            "stage_ptr": self.bodies + 1,
            "release_stage": self.bodies,
        }
        arrays = self.arrays
        kept: dict[str, Any] = {name: asarray(arrays[name][:size], int64) for name, size in sizes.items()}
        cells = asarray(arrays["cells"], int64).reshape(-1, self.stage_rooms)[:, : self.stages]
        kept.update(zip(STAGE_COLUMNS, cells, strict=True))
        kept["complete_stage"] = kept["release_stage"]
        kept["body_tile"] = arange(self.bodies, dtype=int64)  # no two bodies share a tile
        return kept
