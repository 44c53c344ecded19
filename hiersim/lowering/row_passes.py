"""Rows of a reduction: how many are worked on at once, what further passes find in caches, how long a team waits.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `row_passes.pxd` declares what other compiled modules use.
"""

from __future__ import annotations

import cython

from hiersim.lowering.nest_maker import NestMaker
from hiersim.model.program import Access
from hiersim.units import LARGEST

if cython.compiled:
    from cython.cimports.hiersim.exact import product, total
    from cython.cimports.hiersim.lowering.figures import Figures
    from cython.cimports.hiersim.lowering.rounding import ceil_div
    from cython.cimports.hiersim.lowering.work import KernelClasses, Work
    from cython.cimports.libc.math import ceil, sqrt
else:
    from math import ceil, sqrt

    from hiersim.exact import product, total
    from hiersim.lowering.figures import Figures
    from hiersim.lowering.rounding import ceil_div
    from hiersim.lowering.work import KernelClasses, Work

READ = cython.declare(cython.longlong, int(Access.READ))
WRITE = cython.declare(cython.longlong, int(Access.WRITE))
MOST = cython.declare(cython.double, float(LARGEST))


@cython.cclass
class RowPasses(NestMaker):
    """Times and bytes of rows; `streams` makes nests of them."""

    @cython.cfunc
    def resident_rows(self) -> cython.longlong:
        """Rows of a reduction that are worked on at once."""
        work: Work = self.work
        teams: cython.longlong = max(1, self.figures.threads // self.classes.shape_threads[work.shape])
        return min(work.rows, self.figures.cores * teams)

    @cython.cfunc
    def rows_in_use(self) -> cython.double:
        """Bytes that the rows at work touch between the first touch of an element and one of its further touches.

        In a pass they touch all that they read and, being in different passes, an equal share of what they write. A
        line stays as long as if it had not been found again, so that the last of P passes finds it P - 1 passes after
        it came, on average P ÷ 2.
        """
        work: Work = self.work
        resident: cython.double = float(self.resident_rows()) / float(work.rows)
        passes: cython.double = float(work.passes)
        touched: cython.double = float(work.read_total) + float(work.write_size) / passes
        return touched * resident * max(1.0, 0.5 * passes)

    @cython.cfunc
    def read_again(self, level: cython.longlong) -> cython.longlong:
        """Bytes that far tier `level` supplies for the passes over a row after the first.

        Between two touches of an element the other rows at work are touched half to one and a half times, as far as
        they are with their own: what the cache before holds of such reuse distances is found again.
        """
        work: Work = self.work
        if work.passes < 2:
            return 0
        use: cython.double = self.rows_in_use()
        capacity: cython.double = float(self.figures.capacity(level))
        kept: cython.double = 1.0
        if use > 0.0:
            kept = min(1.0, max(0.0, (capacity - 0.5 * use) / use))
        size: cython.longlong = cython.cast(cython.longlong, ceil((1.0 - kept) * float(work.read_total)))
        return product(work.again_of(min(size, work.read_total), level), work.passes - 1)

    @cython.cfunc
    def row_ticks(self, active: cython.longlong) -> cython.longlong:
        """Ticks that the nearest tier takes at least to read the rows of a reduction, on `active` cores.

        A row waits for loads and exchanges, is served by its core, which the rows that it has room for share, and by
        the busiest tier, which the rows of all cores share: a core whose rows wait leaves that to the others.
        """
        work: Work = self.work
        rows: cython.double = float(work.rows)
        share: cython.double = max(1.0, float(self.resident_rows()) / float(active))
        crowd: cython.double = share * float(active)
        wait: cython.double = self.row_wait()
        own: cython.double = float(self.core_ticks(active)) * float(active) / rows
        common: cython.double = float(self.tier_ticks()) / rows
        cycle: cython.double = max(self.closed(share, own, wait), self.closed(crowd, common, wait + own))
        ticks: cython.double = ceil(cycle * (rows / crowd) + self.joining())
        if ticks >= MOST:
            raise OverflowError("2^62 or more")
        return max(0, cython.cast(cython.longlong, ticks) - self.figures.move_ticks(0, WRITE, self.stores[0], active))

    @cython.cfunc
    def closed(self, rows: cython.double, service: cython.double, wait: cython.double) -> cython.double:
        """Ticks until each of `rows` customers of one server has waited `wait` ticks and was served for `service`.

        A closed queue of N customers. With R the time of a service with its queue, R = service · (1 + (N - 1) · R ÷
        (R + wait)) [Schweitzer, approximate mean value analysis, 1979]; all take R + wait, at least N · service and at
        least service + wait.
        """
        gap: cython.double = rows * service - wait
        return wait + 0.5 * (gap + sqrt(gap * gap + 4.0 * service * wait))

    @cython.cfunc
    def row_wait(self) -> cython.double:
        """Ticks that the team of one row waits for loads and exchanges, all others being idle."""
        work: Work = self.work
        figures: Figures = self.figures
        classes: KernelClasses = self.classes
        pieces: cython.double = float(work.pieces)
        near: cython.double = ceil(float(classes.shape_near_waits[work.shape]) / pieces) * float(figures.latency(0))
        brought: cython.double = min(figures.wait_bytes, float(classes.shape_step_bytes[work.shape]))
        far: cython.double = float(classes.shape_steps[work.shape]) * brought / (figures.wait_bytes * pieces)
        level: cython.longlong
        index: cython.longlong
        for level in range(work.levels):
            missed: cython.double = 0.0
            for index in range(work.reads):
                missed += float(work.far(index, level))
            missed = min(missed, float(work.read_total)) + float(self.read_again(level))
            if work.read_total > 0:
                near += far * float(figures.latency(level + 1)) * missed / float(work.read_total)
        own: cython.double = float(classes.shape_exchanges[work.shape]) * float(figures.exchange)
        return figures.dependent_load * near + own + float(classes.shape_links[work.shape]) * float(figures.link)

    @cython.cfunc
    def joining(self) -> cython.double:
        """Ticks until the last block has added up what the pieces of rows left in the nearest shared tier.

        A kernel before zeroes counters. Each piece writes its sums, and counts itself once they have arrived; the last
        one reads them in turns, and exchanges sums again.
        """
        work: Work = self.work
        figures: Figures = self.figures
        if work.pieces == 1:
            return 0.0
        latency: cython.double = float(figures.latency(0))
        turns: cython.double = ceil(float(work.pieces) / float(self.classes.shape_joined[work.shape]))
        cleared: cython.double = float(figures.relaunch) + latency
        return cleared + figures.dependent_load * latency * (2.0 + turns) + 2.0 * float(figures.exchange)

    @cython.cfunc
    def core_ticks(self, active: cython.longlong) -> cython.longlong:
        """Ticks of the vector unit, or of what the cores load or store, for the whole kernel on `active` cores."""
        figures: Figures = self.figures
        busiest: cython.longlong = 0
        if not figures.vector_unlimited:
            busiest = ceil_div(self.work.vector_core_ticks + self.work.overhead_ticks, active)
        busiest = max(busiest, figures.load_ticks(self.loads[0], active))
        return max(busiest, figures.load_ticks(self.stores[0], active))

    @cython.cfunc
    def tier_ticks(self) -> cython.longlong:
        """Ticks of the busiest port for the whole kernel, as fast as all cores can ask."""
        figures: Figures = self.figures
        busiest: cython.longlong = 0
        level: cython.longlong
        for level in range(self.levels):
            read: cython.longlong = figures.port_ticks(level, READ, self.loads[level])
            written: cython.longlong = figures.port_ticks(level, WRITE, self.stores[level])
            both: cython.longlong = total(read, written) if figures.one_port(level) else max(read, written)
            busiest = max(busiest, both)
        return busiest
