"""Products that are blocked for the nearest shared tier: which blocks run together, and sums that wait there.

Cores hold the sums of one wave of blocks. Where a design says `blocking: shared`, the schedule of a product is the one
with the least time among these, for the tile that suits the cores and for parts of it:

- *waves*: a wave is a rectangle of blocks, not the near-square one but the one that lets the shared tier keep panels
  of one operand while the other passes by, where the inner dimension is short;
- *panels*: the sums of many waves wait in the shared tier, and a rectangle of blocks goes through all panels of the
  inner dimension before the next rectangle begins. Each panel of each block is a block to the tile rules; it ends with
  a read of the sums so far and a store of the new ones, as a kernel does that adds to a result that is there. So it is
  the shared tier's capacity S that holds sums, and what it asks of the next one falls like 1/√S however deep the
  product is: the resident-C schedule of Smith, Lowery, Langou, van de Geijn: A tight I/O lower bound for matrix
  multiplication, arXiv:1702.02017, 2019. Its price are sums that come and go at the nearest tier: shorter panels leave
  more room for sums, and move them more often.

Between two touches of a block's sums in an LRU cache lie those of the rectangle's other blocks, a panel's part of one
operand, and of the other operand, which every row of blocks goes through, the parts of this panel and of the next. A
planned scratchpad needs no less to load the next panel ahead of time. Results that are stored displace nothing, as in
the closed forms of `blocks`.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `panels.pxd` declares the fields.
"""

from __future__ import annotations

import cython

from hiersim.lowering.blocks import ACCUMULATOR_BYTES
from hiersim.lowering.windows import Windows
from hiersim.units import TICKS_PER_SECOND

if cython.compiled:
    from cython.cimports.hiersim.exact import ceil_share, product, total
    from cython.cimports.hiersim.lowering.rounding import ceil_div, padded_to
    from cython.cimports.hiersim.lowering.work import Work
else:
    from hiersim.exact import ceil_share, product, total
    from hiersim.lowering.rounding import ceil_div, padded_to
    from hiersim.lowering.work import Work

SECOND = cython.declare(cython.longlong, TICKS_PER_SECOND)
SUM_BYTES = cython.declare(cython.longlong, ACCUMULATOR_BYTES)
TIE = cython.declare(cython.double, 1.0 + 1e-9)
"""Schedules whose estimated times differ by less are equally good: estimates are IEEE doubles."""
NEVER = cython.declare(cython.double, 1e300)
"""Seconds of a schedule that does not fit."""
MOST_CUTS = cython.declare(cython.longlong, 4)
"""A side of the tile that suits the cores is cut into so many at most: a rectangle goes by whole tiles."""


@cython.cclass
class Panels(Windows):
    """Finds the schedule of the product at hand, after its tile."""

    def __init__(self, work: Work) -> None:
        Windows.__init__(self, work)
        self.own_m = self.own_n = self.asked_last = self.asked_near = 0
        self.best_tall = self.best_wide = self.best_length = self.best_last = self.best_near = 0

    @cython.cfunc
    def block_for_shared(self) -> cython.longlong:
        """The schedule with the least time that asks no more of the last tier than near-square waves do.

        Of equally fast ones the one that asks least of it, of those the one that asks least of the nearest.
        """
        if self.figures.shared_blocking == 0 or self.work.levels == 0 or self.split > 1 or self.kept > 0:
            return 0
        self.own_m, self.own_n = self.tile_m, self.tile_n
        waves: cython.double = self.try_schedule(1, 1, -1)
        most: cython.longlong = self.asked_last
        near: cython.longlong = self.asked_near
        bound: cython.double = min(waves, self.scan(most, -1.0)) * TIE
        self.best_tall = self.best_wide = 1
        self.best_length, self.best_near = -1, near
        self.best_last = most if waves <= bound else most + 1
        self.scan(most, bound)
        self.try_schedule(self.best_tall, self.best_wide, self.best_length)
        return 0

    @cython.cfunc
    def scan(self, most: cython.longlong, bound: cython.double) -> cython.double:
        """The least time of all schedules that ask at most `most` bytes of the last tier.

        Of those that take at most `bound` seconds the best is noted.
        """
        least: cython.double = NEVER
        tall: cython.longlong = 1
        while tall <= MOST_CUTS:
            wide: cython.longlong = 1
            while wide <= MOST_CUTS:
                length: cython.longlong = 0
                while length < self.k:
                    least = min(least, self.consider(tall, wide, length, most, bound))
                    length = max(self.tile_k, 2 * length)
                wide *= 2
            tall *= 2
        return least

    @cython.cfunc
    def consider(
        self,
        tall: cython.longlong,
        wide: cython.longlong,
        length: cython.longlong,
        most: cython.longlong,
        bound: cython.double,
    ) -> cython.double:
        """Seconds of a schedule; noted where it is better than the best so far."""
        seconds: cython.double = self.try_schedule(tall, wide, length)
        if self.asked_last > most:
            return NEVER
        equal: cython.bint = self.asked_last == self.best_last and self.asked_near < self.best_near
        if seconds <= bound and (self.asked_last < self.best_last or equal):
            self.best_tall, self.best_wide, self.best_length = tall, wide, length
            self.best_last, self.best_near = self.asked_last, self.asked_near
        return seconds

    @cython.cfunc
    def try_schedule(self, tall: cython.longlong, wide: cython.longlong, length: cython.longlong) -> cython.double:
        """Seconds by closed form with the tile's sides cut into `tall` and `wide`, and panels of that length.

        Length 0 are waves of the best rectangle, -1 near-square ones.
        """
        self.tile_m = padded_to(ceil_div(self.own_m, tall), self.figures.native(self.dtype, 0))
        self.tile_n = padded_to(ceil_div(self.own_n, wide), self.figures.native(self.dtype, 1))
        self.panels, self.held_rows, self.held_room = 1, 0, 0
        fits: cython.bint = not (length >= 0 and self.is_too_small(self.tile_m, self.tile_n))
        if fits and length == 0:
            fits = self.fit_wave()
        if fits and length > 0:
            fits = self.fit_panels(length)
        if not fits:
            self.panels, self.held_rows, self.held_room = 1, 0, 0
            self.asked_last, self.asked_near = self.work.read_total, 0
            return NEVER
        return self.seconds_at_ports()

    @cython.cfunc
    def seconds_at_ports(self) -> cython.double:
        """Seconds of the schedule at hand: the slowest of the cores, panel by panel, and of all ports."""
        level: cython.longlong
        whole: cython.longlong = self.k
        sums: cython.longlong = product(product(self.batch * self.m * self.n, SUM_BYTES), self.panels - 1)
        self.k = ceil_div(whole, self.panels)
        seconds: cython.double = float(self.panels)
        seconds *= self.estimate(self.tile_m, self.tile_n, self.tile_k, 1, 0)
        self.k = whole
        self.count_far_loads()
        self.asked_last = self.far_loads[self.work.levels - 1]
        near: cython.longlong = product(self.work.read_size(self.read_a), ceil_div(self.n, self.tile_n))
        near = total(near, product(self.work.read_size(self.read_b), ceil_div(self.m, self.tile_m)))
        self.asked_near = total(near, sums)
        stored: cython.double = float(total(self.work.write_size, sums))
        seconds = max(seconds, self.port_time(0, float(self.asked_near), stored))
        for level in range(self.work.levels):
            reads: cython.double = float(self.far_loads[level])
            seconds = max(seconds, self.port_time(level + 1, reads, float(self.work.write_far[level])))
        return seconds

    @cython.cfunc
    def port_time(self, level: cython.longlong, reads: cython.double, writes: cython.double) -> cython.double:
        """Seconds in which a tier's port, or the busier of its two, moves so many bytes."""
        cores: cython.double = float(self.figures.cores)
        read: cython.double = self.figures.read_time(level, reads, cores)
        write: cython.double = self.figures.write_time(level, writes, cores)
        return read + write if self.figures.one_port(level) else max(read, write)

    @cython.cfunc
    def fit_wave(self) -> cython.bint:
        """Take the rectangle of a wave, no more blocks than cores, that asks least of the tier behind."""
        capacity: cython.longlong = self.figures.capacity(0)
        cores: cython.longlong = self.figures.cores
        rows: cython.longlong = ceil_div(self.m, self.tile_m)
        columns: cython.longlong = ceil_div(self.n, self.tile_n)
        best_high: cython.longlong = 0
        best_wide: cython.longlong = 0
        least: cython.longlong = -1
        wide: cython.longlong = min(columns, ceil_div(cores, rows))
        while True:
            self.held_rows, self.held_columns = max(1, min(rows, cores // wide)), wide
            asked: cython.longlong = self.again(capacity)
            if least < 0 or asked < least:
                least, best_high, best_wide = asked, self.held_rows, wide
            across: cython.longlong = ceil_div(columns, wide)
            if across > 1:
                wide = ceil_div(columns, across - 1)
            if across == 1 or wide > cores:
                self.held_rows, self.held_columns = best_high, best_wide
                return True

    @cython.cfunc
    def fit_panels(self, length: cython.longlong) -> cython.bint:
        """Take panels of that length, and of the rectangles whose sums fit beside them the one that asks least.

        False where none fits.
        """
        capacity: cython.longlong = self.figures.capacity(0)
        rows: cython.longlong = ceil_div(self.m, self.tile_m)
        columns: cython.longlong = ceil_div(self.n, self.tile_n)
        a: cython.longlong = self.work.read_size(self.read_a) // self.batch
        b: cython.longlong = self.work.read_size(self.read_b) // self.batch
        part_a: cython.longlong = ceil_share(a, product(min(self.tile_m, self.m), length), product(self.m, self.k))
        part_b: cython.longlong = ceil_share(b, product(min(self.tile_n, self.n), length), product(self.k, self.n))
        sums: cython.longlong = product(product(self.tile_m, self.tile_n), SUM_BYTES)
        self.panels = ceil_div(self.k, length)
        least: cython.longlong = -1
        high: cython.longlong = 1
        through_b: cython.longlong
        while True:
            for through_b in range(2):  # which operand every row, or every column, of blocks goes through
                of_a: cython.longlong = product(product(high, part_a), 2 - through_b)
                of_b: cython.longlong = product(part_b, 1 + through_b)
                wide: cython.longlong = 0
                if of_a < capacity:
                    wide = min(columns, (capacity - of_a) // total(product(high, sums), of_b))
                if wide > 0 and self.fits_between(high, wide):
                    asked: cython.longlong = product(ceil_div(columns, wide), a)
                    asked = total(asked, product(ceil_div(rows, high), b))
                    if least < 0 or asked < least:
                        least, self.held_rows, self.held_columns = asked, high, wide
                        self.held_room = of_a + wide * (high * sums + of_b)  # at most the capacity
            down: cython.longlong = ceil_div(rows, high)
            if down == 1:
                return least >= 0
            high = ceil_div(rows, down - 1)

    @cython.cfunc
    def fits_between(self, high: cython.longlong, wide: cython.longlong) -> cython.bint:
        """Whether a rectangle is more than a wave, and so many tiles that a block's sums are stored before its next
        panel reads them."""
        blocks: cython.longlong = product(high, wide)
        steps: cython.longlong = ceil_div(ceil_div(self.k, self.panels), self.tile_k)
        return blocks > self.figures.cores and product(blocks // self.figures.cores, steps) >= self.figures.depth

    @cython.cfunc
    def group_side(self, tile: cython.longlong, blocks: cython.longlong, extent: cython.longlong) -> cython.longlong:
        """Side of the rectangle, in elements; 0 where the shared tier was not looked at."""
        return min(product(tile, blocks), extent) if self.held_rows > 0 else 0
