"""Nests of all kernel classes: each case once, by the tile rule of its kernel.

Two rules cover every kernel. A *contraction* (matrix product, convolution, attention) runs blocks in waves,
each a loop over its inner dimension (`waves`). A *stream* (element-wise, reduction, gather, copy, unknown)
reads, computes and writes in order (`streams`). Both give loop nests of few distinct tiles.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results.
"""

# ruff: noqa: SIM110 (generators are slow where compiled)
from __future__ import annotations

from typing import Any

import cython
import numpy as np

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.exact import product, total
    from cython.cimports.hiersim.lowering.figures import Figures
    from cython.cimports.hiersim.lowering.rounding import ceil_div
    from cython.cimports.hiersim.lowering.stages import Sheet
    from cython.cimports.hiersim.lowering.streams import Streams
    from cython.cimports.hiersim.lowering.sweep import Sweeper
    from cython.cimports.hiersim.lowering.waves import Waves
    from cython.cimports.hiersim.lowering.work import KernelClasses, Work
    from cython.cimports.libc.math import ceil, floor
else:
    from math import ceil, floor

    from hiersim.columns import column
    from hiersim.exact import product, total
    from hiersim.lowering.figures import Figures
    from hiersim.lowering.rounding import ceil_div
    from hiersim.lowering.stages import Sheet
    from hiersim.lowering.streams import Streams
    from hiersim.lowering.sweep import Sweeper
    from hiersim.lowering.waves import Waves
    from hiersim.lowering.work import KernelClasses, Work

PRIME = cython.declare(cython.longlong, 1000003)
MASK = cython.declare(cython.longlong, 2**40 - 1)
"""Hashes have 40 bits, so that their products with the prime stay inside 63."""
LARGEST_CACHE = cython.declare(cython.longlong, 2**61)
"""More than any cache holds."""


@cython.cclass
class Loom:
    """Makes the loop nests of all kernel classes on one machine.

    Classes of one shape that miss the same bytes are one *case*: the nest of a case is made once. Cases are found
    through `slots`, a hash table of their shape and misses.
    """

    classes: KernelClasses
    figures: Figures
    work: Work
    cutter: Sweeper
    sheet: Sheet
    streams: Streams
    waves: Waves
    levels: cython.longlong
    cases: cython.longlong
    case_shape: cython.longlong[::1]
    case_nest: cython.longlong[::1]
    case_count: cython.longlong[::1]
    case_ptr: cython.longlong[::1]
    keys: cython.longlong[::1]
    slots: cython.longlong[::1]
    case_ticks: cython.longlong[::1]
    case_moved: cython.longlong[::1]
    case_free: cython.longlong[::1]
    ticks: cython.longlong
    moved: cython.longlong
    free: cython.longlong[::1]

    def __init__(self, classes: KernelClasses, figures: Figures) -> None:
        self.classes, self.figures = classes, figures
        self.work = Work(classes, figures)
        self.cutter = Sweeper(self.work)
        self.sheet = Sheet(figures)
        self.streams = Streams(self.work, self.sheet)
        self.waves = Waves(self.cutter, self.sheet)
        self.levels = figures.levels
        self.cases = self.ticks = self.moved = 0
        count: cython.longlong = classes.classes
        self.case_shape, self.case_nest, self.case_ptr = column(count), column(count), column(count + 1)
        reads: cython.longlong = (len(classes.arrays["piece_ptr"]) - 1) * (2 if classes.beside else 1)
        self.keys = column((reads + count) * self.work.levels)
        slots: cython.longlong = 4
        while slots < 2 * count:
            slots *= 2
        self.slots = column(slots)
        self.case_ticks, self.case_moved, self.case_count = column(count), column(count), column(count)
        self.case_free = column(count * 2 * self.levels)
        self.free = column(2 * self.levels)

    def weave(self) -> Any:
        """(C,) the nest of each class.

        Raises
        ------
        OverflowError
            When all services and latencies, or all bytes, of all kernels add up to more than a program can hold.
        """
        nests = np.zeros(self.classes.classes, np.int64)
        nest_of: cython.longlong[::1] = nests if cython.compiled else [0] * len(nests)
        index: cython.longlong
        for index in range(self.classes.classes):
            self.work.turn(index)
            case: cython.longlong = self.find_case(index)
            self.case_count[case] += self.classes.class_count[index]
            nest_of[index] = self.case_nest[case]
        for index in range(self.cases):
            self.count(index)
        return nests if cython.compiled else np.array(nest_of, np.int64)

    @property
    def nests(self) -> int:
        """How many distinct nests there are."""
        return self.sheet.nests

    def columns(self) -> dict[str, Any]:
        """Columns of a `Program` by field name: loops, bodies, tiles and stages."""
        return self.sheet.columns()

    def tiles(self) -> Any:
        """(T, 4) the tile chosen for each operator type: m, n, inner step and split; zeros where none was needed."""
        return np.array(self.cutter.chosen, np.int64).reshape(-1, 4)

    def shape(self, index: int) -> dict[str, int]:
        """How the contraction of class `index` is cut, after `weave`; nothing for a stream.

        `tile_m` × `tile_n` is the block of the result, `tile_k` the step along the inner dimension (of attention:
        queries, head dimension, keys), `split` the parts of that dimension; `blocks`, `waves` and `steps` count them.
        `kept_bytes` of one operand stay in each core from block to block. Where products are blocked for the nearest
        shared tier, `group_m` × `group_n` is the rectangle of the result that goes through the `panels` of the inner
        dimension, one after the other; a block counts once for each.
        """
        if not self.turn_to(index):
            return {}
        cutter: Sweeper = self.cutter
        waves: int = ceil_div(cutter.blocks, self.figures.cores)
        sides = {"tile_m": cutter.tile_m, "tile_n": cutter.tile_n, "tile_k": cutter.tile_k, "split": cutter.split}
        counts = {"blocks": cutter.blocks, "waves": waves, "steps": cutter.steps}
        high: int = cutter.group_side(cutter.tile_m, cutter.held_rows, cutter.m)
        wide: int = cutter.group_side(cutter.tile_n, cutter.held_columns, cutter.n)
        group = {"panels": cutter.panels, "group_m": high, "group_n": wide}
        return {**sides, **counts, "kept_bytes": cutter.kept_bytes, **group}

    def rereads(self, index: int) -> list[tuple[int, int]]:
        """(capacity, bytes) of class `index`: what its contraction reads again behind a cache of at least that size.

        Bytes fall from one row to the next; the first row is for no cache, the last reads nothing again.
        """
        if not self.turn_to(index):
            return []
        low: cython.longlong = 0
        left: cython.longlong = self.cutter.again(0)
        rows: list[tuple[int, int]] = [(low, left)]
        while left > 0:
            high: cython.longlong = LARGEST_CACHE
            while high - low > 1:
                middle: cython.longlong = (low + high) // 2
                if self.cutter.again(middle) < left:
                    high = middle
                else:
                    low = middle
            low, left = high, self.cutter.again(high)
            rows.append((low, left))
        return rows

    def row_rereads(self, index: int) -> tuple[int, int, int]:
        """Of class `index`: what a cache saves of further passes over its rows, from one size to another; or zeros."""
        self.work.look(index)
        if self.work.rows == 0 or self.work.passes < 2 or self.work.anchor >= 0:
            return 0, 0, 0
        use: cython.double = self.streams.rows_in_use()
        low: cython.longlong = cython.cast(cython.longlong, floor(0.5 * use))
        high: cython.longlong = cython.cast(cython.longlong, ceil(1.5 * use))
        return low, high, product(self.work.read_total, self.work.passes - 1)

    def turn_to(self, index: int) -> bool:
        """Cut the contraction of class `index`; False where it has none."""
        level: cython.longlong
        self.work.look(index)
        if self.work.anchor < 0:
            return False
        for level in range(self.work.levels):
            self.work.missing(index, level)
        self.cutter.cut()
        return True

    def totals(self) -> tuple[int, Any]:
        """Largest use of the tile buffers, and bytes at ports that cost no time, (2, levels)."""
        return max(self.streams.buffers, self.waves.buffers), np.array(self.free, np.int64).reshape(2, self.levels)

    @cython.cfunc
    def count(self, case: cython.longlong) -> cython.longlong:
        """Add what all kernels of a case do to the sums of the program."""
        kernels: cython.longlong = self.case_count[case]
        self.ticks = total(self.ticks, product(self.case_ticks[case], kernels))
        self.moved = total(self.moved, product(self.case_moved[case], kernels))
        place: cython.longlong
        width: cython.longlong = 2 * self.levels
        for place in range(width):
            self.free[place] = total(self.free[place], product(self.case_free[case * width + place], kernels))
        return 0

    @cython.cfunc
    def find_case(self, index: cython.longlong) -> cython.longlong:
        """The case of class `index`; a new one is made."""
        levels: cython.longlong = self.work.levels
        first: cython.longlong = self.case_ptr[self.cases]
        width: cython.longlong = (self.work.reads + 1) * levels
        level: cython.longlong
        place: cython.longlong
        mark: cython.longlong = self.work.shape
        for level in range(levels):
            self.work.missing(index, level)
        for place in range(width):
            reads: cython.longlong = self.work.reads * levels
            value: cython.longlong = self.work.read_far[place] if place < reads else self.work.write_far[place - reads]
            self.keys[first + place] = value
            mark = ((mark & MASK) * PRIME) ^ (value & MASK)
        if self.classes.beside:
            for place in range(self.work.reads * levels):
                value = self.work.again(place // levels, place % levels)
                self.keys[first + width] = value
                mark = ((mark & MASK) * PRIME) ^ (value & MASK)
                width += 1
        slot: cython.longlong = (mark ^ (mark >> 20)) & (len(self.slots) - 1)
        while self.slots[slot] != 0:
            case: cython.longlong = self.slots[slot] - 1
            if self.case_shape[case] == self.work.shape and self.same_keys(self.case_ptr[case], first, width):
                return case
            slot = (slot + 1) & (len(self.slots) - 1)
        self.slots[slot] = self.cases + 1
        self.case_ptr[self.cases + 1] = first + width
        return self.make_case()

    @cython.cfunc
    def same_keys(self, one: cython.longlong, other: cython.longlong, width: cython.longlong) -> cython.bint:
        """Whether two cases ask the far tiers for the same bytes."""
        place: cython.longlong
        for place in range(width):
            if self.keys[one + place] != self.keys[other + place]:
                return False
        return True

    @cython.cfunc
    def make_case(self) -> cython.longlong:
        """Make the nest of what `work` looks at."""
        case: cython.longlong = self.cases
        sheet: Sheet = self.sheet
        self.work.weigh()
        sheet.begin()
        if self.work.anchor >= 0:
            self.waves.contraction()
        else:
            self.streams.stream()
        self.case_shape[case] = self.work.shape
        self.case_ticks[case], self.case_moved[case] = sheet.ticks, sheet.moved
        place: cython.longlong
        for place in range(2 * self.levels):
            self.case_free[case * 2 * self.levels + place] = sheet.free[place]
        self.case_nest[case] = sheet.finish()
        self.cases += 1
        return case
