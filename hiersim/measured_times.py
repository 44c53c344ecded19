"""Predicted beside measured: a replay of a trace that carries the times of a profiler."""

from __future__ import annotations

from typing import Any

import numpy as np

from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray, Kind
from hiersim.model.program import Program
from hiersim.model.timeline import Timeline
from hiersim.model.trace import Trace
from hiersim.units import TICKS_PER_SECOND


def measured_times(trace: Trace, graph: KernelGraph, program: Program, timeline: Timeline) -> dict[str, Any] | None:
    """Totals and one row per operator name, the longest measured first; None where nothing was measured.

    An operator's predicted time is that from the start of its kernel to its end, its measured time that of all
    kernels, copies and fills it launched. Rows are there where the replay ran one kernel per operator (`eager`);
    `predictable` are those of which the trace knows what they move or compute.
    """
    measured = trace.measured
    if measured is None:
        return None
    found: dict[str, Any] = {
        "device": measured.device,
        "kernel_time_s": measured.kernel_time / TICKS_PER_SECOND,
        "span_s": measured.span / TICKS_PER_SECOND,
        "idle_share": measured.idle_share,
        "rows": [],
    }
    if graph.policy == "eager":
        found["rows"] = _rows(trace, program, timeline)
    return found


def _rows(trace: Trace, program: Program, timeline: Timeline) -> list[dict[str, Any]]:
    operators, profile = trace.graph.operators, trace.measured
    assert profile is not None
    predicted = operator_ticks(trace, program, timeline)
    measured = profile.by_operator(len(operators))
    known = known_operators(trace)
    rows: dict[tuple[int, bool], dict[str, Any]] = {}
    for row in np.flatnonzero(measured > 0).tolist():
        key = (int(operators.name[row]), bool(known[row]))
        entry = rows.setdefault(
            key,
            {
                "operator": operators.label(row), "predictable": key[1], "operators": 0, "measured_ticks": 0,
                "predicted_ticks": 0,
            },
        )  # fmt: skip
        entry["operators"] += 1
        entry["measured_ticks"] += int(measured[row])
        entry["predicted_ticks"] += int(predicted[row])
    return sorted(rows.values(), key=lambda entry: (-entry["measured_ticks"], entry["operator"]))


def operator_ticks(trace: Trace, program: Program, timeline: Timeline) -> IntArray:
    """(N,) duration of the kernel of each operator, of a replay with one kernel per operator; 0 where none runs."""
    operators = trace.graph.operators
    launching = np.flatnonzero(~np.isin(operators.kind, [int(Kind.VIEW), int(Kind.SYNC)]))
    ticks = np.zeros(len(operators), np.int64)
    ticks[launching] = kernel_ticks(program, timeline, len(launching))
    return ticks


def kernel_ticks(program: Program, timeline: Timeline, kernels: int) -> IntArray:
    """(kernels,) duration of each kernel of the graph; what the program adds (copies between memories) is left out."""
    ticks = timeline.end - timeline.start
    owner = program.graph_kernel
    if owner is None:
        return ticks
    total = np.zeros(kernels, np.int64)
    np.add.at(total, owner[owner >= 0], ticks[owner >= 0])
    return total


def known_operators(trace: Trace) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(N,) operators that move or compute something in the trace, with a cost formula."""
    graph = trace.graph
    moved = np.diff(graph.reads.ptr) + np.diff(graph.writes.ptr) > 0
    known: np.ndarray[Any, np.dtype[np.bool_]] = moved & (graph.operators.kind != Kind.OPAQUE)
    return known
