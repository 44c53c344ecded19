"""Predicted beside what a compiler expected: a replay of a schedule whose compiler says how long its kernels take."""

from __future__ import annotations

from typing import Any

import numpy as np

from hiersim.measured_times import kernel_ticks
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.program import Program
from hiersim.model.timeline import Timeline
from hiersim.model.trace import CompilerEstimate, Trace
from hiersim.units import TICKS_PER_SECOND, UNLIMITED


def estimated_cycles(
    trace: Trace, graph: KernelGraph, design: Design, program: Program, timeline: Timeline
) -> dict[str, Any] | None:
    """Totals and one row per kernel name, the longest by the compiler first; None where it says nothing of `graph`.

    Estimated cycles are those of the compiler's target, predicted ones of the design's clock (null without one), so
    that they compare where the design is that target. Kernels of which the compiler says nothing are left out.
    """
    name, estimate = _of(trace, graph)
    if estimate is None:
        return None
    clock = int(design.compute.clock)
    known = np.flatnonzero(estimate.cycles >= 0)
    ticks = kernel_ticks(program, timeline, len(graph))
    rows: dict[str, dict[str, Any]] = {}
    for kernel in known.tolist():
        entry = rows.setdefault(graph.names[kernel], {"name": graph.names[kernel], "kernels": 0, "estimated_cycles": 0,
                                                      "predicted_ticks": 0})  # fmt: skip
        entry["kernels"] += 1
        entry["estimated_cycles"] += int(estimate.cycles[kernel])
        entry["predicted_ticks"] += int(ticks[kernel])
    for entry in rows.values():
        cycles = entry.pop("predicted_ticks") * clock
        entry["predicted_cycles"] = -(-cycles // TICKS_PER_SECOND) if clock < UNLIMITED else None
    found = sorted(rows.values(), key=lambda entry: (-entry["estimated_cycles"], entry["name"]))
    return {
        "compiler": name,
        "kernels": len(known),
        "estimated_cycles": sum(row["estimated_cycles"] for row in found),
        "predicted_cycles": sum(row["predicted_cycles"] for row in found) if clock < UNLIMITED else None,
        "rows": found,
    }


def _of(trace: Trace, graph: KernelGraph) -> tuple[str, CompilerEstimate | None]:
    """The schedule that `graph` is, and what its compiler expected of it."""
    for name, estimate in trace.estimates.items():
        if trace.schedules.get(name) is graph:
            return name, estimate
    return "", None
