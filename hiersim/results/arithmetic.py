"""The arithmetic of a run: utilization of its units, and FLOPs that were done again."""

from __future__ import annotations

from typing import Final

from hiersim.model.kernels import KernelGraph
from hiersim.model.program import Program

UNITS: Final = ("matrix", "vector")


def utilization(program: Program, makespan: int) -> dict[str, float]:
    """Useful FLOPs ÷ (datasheet peak × time).

    A unit's peak is that of the dtypes it ran, weighted by their FLOPs. `overall` is all FLOPs over the sum
    of the peaks of the units that did any. Units of unlimited rate count for nothing.
    """
    shares = [ticks / makespan if makespan else 0.0 for ticks in program.peak_ticks]
    busy = [(flops, ticks) for flops, ticks in zip(program.flops, program.peak_ticks, strict=True) if ticks and flops]
    peaks = sum(flops / ticks for flops, ticks in busy)
    overall = sum(flops for flops, _ in busy) / (peaks * makespan) if busy and makespan else 0.0
    return {**dict(zip(UNITS, shares, strict=True)), "overall": overall}


def recomputed_flops(graph: KernelGraph) -> dict[str, int]:
    """FLOPs of operators that repeat another kernel's work, by kind of arithmetic."""
    again = graph.recomputed == 1
    operators = graph.operators
    matrix = (operators.matrix_flops - operators.masked_flops)[again].sum()
    vector = (operators.vector_flops + operators.special_ops)[again].sum()
    return {"matrix": int(matrix), "vector": int(vector)}
