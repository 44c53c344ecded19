"""A trace in facts: counts, FLOPs and bytes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from hiersim.model.operators import HOST_ONLY, Kind, Role
from hiersim.model.regions import calls_of
from hiersim.model.trace import Trace
from hiersim.units import show_bytes, show_flops

MOST_CALLS: Final = 20
"""Calls of compiled regions that are told one by one."""


def trace_facts(trace: Trace) -> dict[str, Any]:
    """Header and totals of the eager graph, ready for JSON."""
    graph, header = trace.graph, trace.header
    kind = graph.operators.kind
    launching = ~np.isin(kind, [int(k) for k in HOST_ONLY])
    weights = graph.tensors.storage_role == Role.WEIGHT
    return {
        "name": header.name,
        "model": header.model,
        "workload": header.workload,
        "dtype": header.dtype,
        "producer": header.producer,
        "command": header.command,
        "operators": len(graph.operators),
        "kernels": int(launching.sum()),
        "schedules": {name: len(schedule) for name, schedule in sorted(trace.schedules.items())},
        "groupings": {name: len(made) for name, made in sorted(trace.groupings.items())},
        "matrix_flops": int(graph.operators.matrix_flops.sum()),
        "vector_flops": int((graph.operators.vector_flops + graph.operators.special_ops).sum()),
        "weight_bytes": int(graph.tensors.storage_bytes[weights].sum()),
        "distinct_operators": len(np.unique(graph.operators.name)),
        "unknown_operators": int((kind == Kind.OPAQUE).sum()),
        "notes": list(header.notes),
    }


def kind_rows(trace: Trace) -> list[dict[str, Any]]:
    """Totals of the eager graph by operator kind."""
    graph = trace.graph
    operators = graph.operators
    rows = []
    for kind in Kind:
        chosen = operators.kind == kind
        if not chosen.any():
            continue
        moved = {}
        for key, access in (("read_bytes", graph.reads), ("write_bytes", graph.writes)):
            row = np.repeat(np.arange(len(operators)), np.diff(access.ptr))
            moved[key] = int(access.size[chosen[row]].sum())
        rows.append(
            {
                "kind": kind.name.lower(),
                "operators": int(chosen.sum()),
                "matrix_flops": int(operators.matrix_flops[chosen].sum()),
                "vector_flops": int((operators.vector_flops + operators.special_ops)[chosen].sum()),
                **moved,
            }
        )
    return rows


def summary_of(trace: Trace) -> str:
    """One line on what a trace holds."""
    graph = trace.graph
    moved = int(graph.reads.size.sum() + graph.writes.size.sum())
    flops = int(graph.operators.matrix_flops.sum())
    parts = [f"{len(graph.operators)} operators, {show_flops(flops)} of matrix work, {show_bytes(moved)} moved"]
    for name, schedule in trace.schedules.items():
        moved = int(schedule.reads.size.sum() + schedule.writes.size.sum())
        parts.append(f"{name}: {len(schedule)} kernels, {show_bytes(moved)} moved")
    return "; ".join(parts)


def region_lines(trace: Trace) -> list[str]:
    """How a tracing compiler cut the operators: one line in all, and one for each call; empty where it did not."""
    regions = trace.graph.regions
    if regions is None:
        return []
    calls, inside = calls_of(regions), int((regions.last - regions.first + 1).sum())
    breaks = sum(bool(call.reason) for call in calls)
    lines = [
        f"{len(calls)} calls of compiled regions, {breaks} graph break{'s' if breaks != 1 else ''}, "
        f"{int(regions.guards.sum()):,} guards; {len(trace.graph.operators) - inside} operators outside"
    ]
    for call in calls[:MOST_CALLS]:
        cause = f"; {call.reason}{f' at {call.line}' if call.line else ''}" if call.reason else ""
        again = ", compiled again" if call.recompiled else ""
        guards = sum(call.guards.values())
        lines.append(f"  {call.name}: operators {call.first} to {call.last}, {guards} guards{again}{cause}")
    return lines + ([f"  … {len(calls) - MOST_CALLS} more"] if len(calls) > MOST_CALLS else [])
