"""Cycles of systolic arrays: fill, stream and drain of every fold, by the dataflow.

A product of m × k by k × n is laid on an array of R rows and C columns: S_R along the rows, S_C along the columns, and
T streamed through. What does not fit is cut into ⌈S_R ÷ R⌉ · ⌈S_C ÷ C⌉ folds, and a fold takes 2R + C + T - 2 cycles: R
to load what stays or to shift it out, R + C - 2 for the skew of the wavefront, T for the stream.

| dataflow | stays in the array | S_R | S_C | T |
|---|---|--:|--:|--:|
| weight stationary | weights, k × n | k | n | m |
| output stationary | sums, m × n | m | n | k |
| input stationary | inputs, m × k | k | m | n |

Samajdar, Joseph, Zhu, Whatmough, Mattina and Krishna, A Systematic Methodology for Characterizing Scalability of DNN
Accelerators using SCALE-Sim, ISPASS 2020: runtime of one array (scale-up).

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `systolic.pxd` declares what other compiled modules use.
"""

from __future__ import annotations

import cython

from hiersim.model.compute import Dataflow, Systolic

if cython.compiled:
    from cython.cimports.hiersim.exact import product, total
else:
    from hiersim.exact import product, total

OUTPUTS = cython.declare(cython.longlong, list(Dataflow).index(Dataflow.OUTPUT_STATIONARY))
INPUTS = cython.declare(cython.longlong, list(Dataflow).index(Dataflow.INPUT_STATIONARY))


@cython.cfunc
def shares(length: cython.longlong, size: cython.longlong) -> cython.longlong:
    """Pieces of at most `size` that `length` is cut into."""
    return (length - 1) // size + 1 if length > 0 else 0


@cython.cclass
class Arrays:
    """The systolic arrays of one core, which share the folds of a product evenly. No rows: the unit is not systolic."""

    def __init__(self, unit: Systolic | None) -> None:
        self.rows = self.columns = self.count = self.dataflow = 0
        self.overlap = False
        if unit is not None:
            self.rows, self.columns, self.count = int(unit.rows), int(unit.columns), int(unit.arrays)
            self.dataflow, self.overlap = list(Dataflow).index(unit.dataflow), unit.overlap

    @cython.cfunc
    def macs(self) -> cython.longlong:
        """Multiply-adds of one core per cycle."""
        return self.rows * self.columns * self.count

    @cython.cfunc
    def fill(self) -> cython.longlong:
        """Cycles of a fold in which nothing is streamed: loading or shifting out, and the skew of the wavefront."""
        return 2 * self.rows + self.columns - 2

    @cython.cfunc
    def once(self) -> cython.longlong:
        """Cycles that a kernel takes beyond its folds: with overlap the first fill and the last drain."""
        return self.fill() if self.overlap else 0

    @cython.cfunc
    def folds(self, m: cython.longlong, n: cython.longlong, k: cython.longlong) -> cython.longlong:
        """Folds of a product that the busiest array takes."""
        down: cython.longlong = m if self.dataflow == OUTPUTS else k
        across: cython.longlong = m if self.dataflow == INPUTS else n
        return shares(product(shares(down, self.rows), shares(across, self.columns)), self.count)

    @cython.cfunc
    def fold_cycles(self, streamed: cython.longlong) -> cython.longlong:
        """Cycles from the begin of one fold to that of the next.

        With overlap the next operand is loaded (or the last sums are shifted out) behind the stream, which takes R
        cycles and shows where fewer are streamed.
        """
        return max(streamed, self.rows) if self.overlap else streamed + self.fill()

    @cython.cfunc
    def cycles(self, m: cython.longlong, n: cython.longlong, k: cython.longlong) -> cython.longlong:
        """Cycles of all folds of a product."""
        streamed: cython.longlong = m
        if self.dataflow == OUTPUTS:
            streamed = k
        elif self.dataflow == INPUTS:
            streamed = n
        return product(self.folds(m, n, k), self.fold_cycles(streamed))

    @cython.cfunc
    def keeps(self, m: cython.longlong, n: cython.longlong) -> cython.bint:
        """Whether the sums of a block stay in the arrays over all steps along k: there is an array for each fold."""
        return self.dataflow == OUTPUTS and self.folds(m, n, 1) == 1

    @cython.cfunc
    def step(self, m: cython.longlong, n: cython.longlong, length: cython.longlong) -> cython.longlong:
        """Cycles of a step of `length` along k, in a block of m × n."""
        return length if self.keeps(m, n) else self.cycles(m, n, length)

    @cython.cfunc
    def end(self, m: cython.longlong, n: cython.longlong, inner: cython.longlong) -> cython.longlong:
        """Cycles that a block of that inner length takes beyond its steps: sums that stayed are shifted out once."""
        return self.fold_cycles(inner) - inner if self.keeps(m, n) else 0

    @cython.cfunc
    def block(
        self, m: cython.longlong, n: cython.longlong, inner: cython.longlong, size: cython.longlong
    ) -> cython.longlong:
        """Cycles of a block with steps of `size`, the last of which may be shorter."""
        steps: cython.longlong = shares(inner, size) - 1
        whole: cython.longlong = product(steps, self.step(m, n, size)) if steps > 0 else 0
        last: cython.longlong = self.step(m, n, inner - steps * size)
        return total(whole, total(last, self.end(m, n, inner)))
