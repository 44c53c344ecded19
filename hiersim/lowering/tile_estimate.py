"""What a tile of a matrix product would take: seconds by closed form, and how often its operands are loaded.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `tile_estimate.pxd` declares what other compiled modules use.
"""

from __future__ import annotations

import cython

from hiersim.lowering.blocks import ACCUMULATOR_BYTES as SUM_BYTES
from hiersim.lowering.blocks import KEPT_A, KEPT_B, Blocks
from hiersim.units import TICKS_PER_SECOND
from hiersim.units import UNLIMITED as NO_LIMIT

if cython.compiled:
    from cython.cimports.hiersim.lowering.figures import Figures
    from cython.cimports.hiersim.lowering.rounding import ceil_div, padded_to
    from cython.cimports.libc.math import ceil
else:
    from math import ceil

    from hiersim.lowering.figures import Figures
    from hiersim.lowering.rounding import ceil_div, padded_to

UNLIMITED = cython.declare(cython.longlong, NO_LIMIT)
SECOND = cython.declare(cython.longlong, TICKS_PER_SECOND)
ACCUMULATOR_BYTES = cython.declare(cython.longlong, SUM_BYTES)
KEEP_A = cython.declare(cython.longlong, KEPT_A)
KEEP_B = cython.declare(cython.longlong, KEPT_B)


@cython.cfunc
def common(one: cython.longlong, other: cython.longlong) -> cython.longlong:
    """The greatest common divisor."""
    rest: cython.longlong
    while other > 0:
        rest = one % other
        one, other = other, rest
    return one


@cython.cclass
class TileEstimate(Blocks):
    """Estimates tiles of the product at hand."""

    @cython.cfunc
    @cython.exceptval(-1.0, check=False)
    def estimate(
        self,
        m: cython.longlong,
        n: cython.longlong,
        k: cython.longlong,
        split: cython.longlong,
        kept: cython.longlong,
    ) -> cython.double:
        """Seconds by closed form, times the cores: waves × the slower of arithmetic and near loads, and partial sums.

        Where units stand still between waves, so does the estimate while results leave. Of systolic arrays it knows
        no latency (D13).
        A product too small for the machine also waits for its largest operand from the last tier.
        """
        figures: Figures = self.figures
        cores: cython.double = float(figures.cores)
        rate: cython.longlong = figures.matrix_rate(self.dtype)
        blocks: cython.longlong = self.batch * ceil_div(self.m, m) * ceil_div(self.n, n) * split
        inner: cython.double = float(padded_to(ceil_div(self.k, split), figures.native(self.dtype, 2)))
        active: cython.longlong = min(blocks, figures.cores)
        per_block: cython.double = 0.0
        if rate < UNLIMITED:
            side_m: cython.longlong = self.block_side(m, self.m, 0)
            side_n: cython.longlong = self.block_side(n, self.n, 1)
            macs: cython.double = float(side_m * side_n) * inner
            if self.systolic:
                length: cython.longlong = padded_to(ceil_div(self.k, split), figures.native(self.dtype, 2))
                macs = float(self.arrays.macs()) * float(self.arrays.block(side_m, side_n, length, k))
            per_block = 2.0 * macs * cores / float(rate)
            accesses: cython.longlong = self.narrow_accesses(m, n)
            if accesses > 0:
                per_block = max(per_block, float(accesses) * inner / float(self.access_rate))
        lines: cython.double = float(min(m, self.m) + min(n, self.n))
        if kept == KEEP_A:
            lines -= float(min(m, self.m)) * (1.0 - self.kept_share(m, n, kept))
        if kept == KEEP_B:
            lines -= float(min(n, self.n)) * (1.0 - self.kept_share(m, n, kept))
        loaded: cython.double = lines * inner * float(self.element) * float(active)
        loading: cython.double = figures.read_time(0, loaded, float(active))
        if not self.systolic:  # a buffer is loaded, waits and is worked on while the others take their turns
            steps: cython.double = ceil(inner / float(k))
            waiting: cython.double = steps * float(figures.latency(0)) / float(SECOND)
            per_block = max(per_block, (per_block + loading + waiting) / float(figures.depth))
        per_block = max(per_block, loading)
        waves: cython.double = float(ceil_div(blocks, figures.cores))
        seconds: cython.double = waves * per_block
        if self.exposed:
            results: cython.double = float(m * n) * float(self.element) * float(active)
            last: cython.double = figures.write_time(figures.levels - 1, results, float(active))
            stored: cython.double = max(figures.write_time(0, results, float(active)), last)
            seconds += (waves - 1.0) * stored / float(self.residents(m, n))
        if active * 2 < figures.cores:
            largest: cython.double = float(self.batch * self.k * max(self.m, self.n)) * float(self.element)
            far: cython.double = figures.read_time(figures.levels - 1, largest, float(active))
            seconds = max(seconds, far * cores / float(active))
        if split > 1:
            sums: cython.double = float(self.batch * self.m * self.n) * float(2 * ACCUMULATOR_BYTES * split)
            seconds += figures.read_time(0, sums, float(active)) + float(self.second) / float(SECOND)
        return seconds

    @cython.cfunc
    @cython.exceptval(check=False)
    def kept_share(self, m: cython.longlong, n: cython.longlong, kept: cython.longlong) -> cython.double:
        """Part of the blocks that load the panel which is kept."""
        return float(self.passes_by_cores(m, n, kept)) / float(self.passes_by_blocks(m, n, kept))

    @cython.cfunc
    @cython.exceptval(check=False)
    def passes_by_blocks(self, m: cython.longlong, n: cython.longlong, operand: cython.longlong) -> cython.longlong:
        """How often blocks of that tile load an operand: once for each block along the other side."""
        return ceil_div(self.n, n) if operand == KEEP_A else ceil_div(self.m, m)

    @cython.cfunc
    @cython.exceptval(check=False)
    def passes_by_cores(self, m: cython.longlong, n: cython.longlong, operand: cython.longlong) -> cython.longlong:
        """How often cores load an operand whose panels they keep.

        Each core takes an equal run of the blocks, panel by panel, so that a panel is loaded once more for each core
        that begins inside it: all but as many as panels and cores have in common.
        """
        panels: cython.longlong = self.batch * (ceil_div(self.m, m) if operand == KEEP_A else ceil_div(self.n, n))
        inside: cython.longlong = self.figures.cores - common(panels, self.figures.cores)
        return min(ceil_div(panels + inside, panels), self.passes_by_blocks(m, n, operand))

    @cython.cfunc
    def near_passes(
        self, m: cython.longlong, n: cython.longlong, kept: cython.longlong, operand: cython.longlong
    ) -> cython.longlong:
        """How often an operand is read from the nearest shared tier."""
        return self.passes_by_cores(m, n, operand) if kept == operand else self.passes_by_blocks(m, n, operand)
