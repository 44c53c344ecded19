"""The JSON form of a result, and the warnings in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hiersim.bill import bill, silicon, silicon_warnings
from hiersim.error_bands import ErrorBand
from hiersim.fusion.pressure import warnings_of
from hiersim.lowering.host import region_ticks
from hiersim.results.arithmetic import UNITS, recomputed_flops
from hiersim.results.ledger import ledger_rows, stall_fraction
from hiersim.results.memory import peak_memory
from hiersim.units import TICKS_PER_SECOND, UNLIMITED, ceil_div

if TYPE_CHECKING:
    from hiersim.results.result import Result

SCHEMA: Final = 1


def to_dict(result: Result) -> dict[str, Any]:
    """The JSON form of `result`; docs/interface describes every key."""
    program, timeline, bounds = result.program, result.timeline, result.bounds
    clock = int(result.design.compute.clock)
    joules = result.energy
    totals = timeline.ledger_totals
    stalled = stall_fraction(totals, timeline.makespan)
    measured = result.measured
    band = result.error_band
    return {
        "schema": SCHEMA,
        "trace": result.trace.name,
        "design": result.design.name,
        "fusion": result.fusion,
        "launch": result.launch,
        "engine": timeline.engine,
        "version": result.version,
        "inputs_sha256": result.inputs_sha256,
        "set": dict(result.changes),
        "makespan_ticks": timeline.makespan,
        "time_s": result.time,
        "cycles": ceil_div(timeline.makespan * clock, TICKS_PER_SECOND) if clock < UNLIMITED else None,
        "operators": len(result.graph.operators),
        "kernels": len(program),
        "tiles": program.tile_total(),
        "flops": dict(zip(UNITS, program.flops, strict=True)),
        "recomputed_flops": result.graph.derived(recomputed_flops),
        "utilization": result.utilization,
        "stall_fraction": stalled,
        "ledger": [
            {"engine": engine, "entry": entry, "tier": tier, "phase": phase, "ticks": ticks}
            for engine, entry, tier, phase, ticks in ledger_rows(program.tiers, totals)
        ],
        "home_tier": result.design.home.name,
        "traffic_bytes": result.traffic,
        "bandwidth_share": result.bandwidth_share,
        **({} if result.graph.entries is None else {"regions": region_entries(result)}),
        "peak_bytes": result.peak,
        "placement": [row._asdict() for row in result.placement],
        "peak_memory": peak_memory(result),
        "bounds": {
            "compute_ticks": bounds.compute_ticks,
            "link_ticks": dict(bounds.link_ticks),
            "critical_path_ticks": bounds.critical_path_ticks,
            "compulsory_bytes": bounds.compulsory_bytes,
        },
        "memory_cost_usd": result.memory_cost,
        "energy_j": joules,
        "error_band": None if band is None else band.to_dict(),
        "cost": bill(result.design, result.trace, result.time, stalled, joules["total"]),
        "silicon": silicon(result.design),
        "warnings": list(warnings_with(result, band)),
        **({} if measured is None else {"measured": measured}),
    }


def warnings_with(result: Result, band: ErrorBand | None) -> tuple[str, ...]:
    """`Result.warnings`, with its error band at hand."""
    by_hand = result.trace.groupings and result.graph.policy.endswith("(grouped)")
    pressure = warnings_of(result.trace, result.graph, result.design) if by_hand else ()
    beyond = (f"extrapolated: {text}" for text in (band.extrapolated if band else ()))
    return (*result.program.warnings, *pressure, *silicon_warnings(result.design), *beyond)


def region_entries(result: Result) -> dict[str, Any]:
    """What the host did to enter compiled regions: how often, and how long."""
    entries = result.graph.entries
    assert entries is not None
    counts = {name: int(getattr(entries, name).sum()) for name in ("calls", "guards", "recompiled")}
    return {**counts, "host_ticks": region_ticks(result.graph, result.design)}
