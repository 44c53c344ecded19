"""`Result`: one run with its metrics, bounds, cost and provenance; and its JSON form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from hiersim.bounds import Bounds
from hiersim.cost import energy, memory_cost
from hiersim.error_bands import ErrorBand, error_band
from hiersim.errors import MissingExtraError
from hiersim.lowering.live import LiveBytes, live_bytes, live_in
from hiersim.lowering.patterns import access_patterns
from hiersim.measured_times import measured_times
from hiersim.model.design import Design
from hiersim.model.dram_tiers import bandwidth_share
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Role
from hiersim.model.program import Program
from hiersim.model.timeline import ENGINES, WORK, Entry, Timeline, column_meaning, ledger_width
from hiersim.model.trace import Trace
from hiersim.modules import grouped
from hiersim.provenance import fingerprint
from hiersim.units import TICKS_PER_SECOND, UNLIMITED, Bytes, Ticks, ceil_div, show_bytes, show_ticks
from hiersim.version import package_version

SCHEMA: Final = 1
UNITS: Final = ("matrix", "vector")
MAIN_ENGINE: Final = "cores"


class LedgerRow(NamedTuple):
    """Ticks of one name on one engine."""

    engine: str
    entry: str
    tier: str | None
    phase: str | None
    ticks: int


class PlacementRow(NamedTuple):
    """Tensors of one role that live in one tier."""

    tier: str
    role: str
    tensors: int
    bytes: int
    first: str
    """Name of the first of them; empty where it has none."""
    last: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """One replay. Everything else is derived from these values."""

    trace: Trace
    design: Design
    graph: KernelGraph
    program: Program
    timeline: Timeline
    bounds: Bounds
    engine_name: str
    """Name under which the engine was asked for."""
    changes: Mapping[str, str]
    """Values of the design that were set for this run."""
    launch: str = "stream"
    """How the host launched: kernel by kernel, or replays of a captured graph."""

    @property
    def version(self) -> str:
        """Version of hiersim."""
        return package_version()

    @property
    def inputs_sha256(self) -> str:
        """SHA-256 of the trace, the resolved design, the policy, the launch mode and the version."""
        return fingerprint(self.trace, self.design, self.graph.policy, self.launch)

    @property
    def makespan(self) -> Ticks:
        """Ticks (ps) from the first launch to the last arrival."""
        return Ticks(self.timeline.makespan)

    @property
    def time(self) -> float:
        """The makespan in seconds."""
        return self.timeline.makespan / TICKS_PER_SECOND

    @property
    def fusion(self) -> str:
        """The policy, and whether its groups were captured."""
        return self.graph.policy

    @property
    def ledger(self) -> tuple[LedgerRow, ...]:
        """Every entry with ticks, by engine."""
        return tuple(ledger_rows(self.program.tiers, self.timeline))

    @property
    def stall_fraction(self) -> float:
        """Share of the makespan in which the cores wait."""
        if not self.timeline.makespan:
            return 0.0
        work = int(self.timeline.ledger_totals[ENGINES.index(MAIN_ENGINE), : len(WORK)].sum())
        return 1 - work / self.timeline.makespan

    @property
    def utilization(self) -> dict[str, float]:
        """Useful FLOPs ÷ (peak × time), by unit and `overall`."""
        return utilization(self.program, self.timeline.makespan)

    @property
    def traffic(self) -> dict[str, dict[str, int]]:
        """Bytes read and written at the port of each tier and link; *read* is towards the cores."""
        read, write = self.program.traffic()
        used = dict(zip(self.program.tiers, zip(read.tolist(), write.tolist(), strict=True), strict=True))
        moved = {place.name: used.get(place.name, (0, 0)) for place in self.design.places}
        return {name: {"read": pair[0], "write": pair[1]} for name, pair in moved.items()}

    @property
    def bandwidth_share(self) -> dict[str, dict[str, float]]:
        """Per tier with a port: share of its bandwidth for access in order, and for the worst pattern of this run."""
        runs = self.graph.derived(access_patterns).runs
        return {tier.name: bandwidth_share(tier, runs) for tier in self.design.memory if tier.has_port}

    @property
    def home_bytes(self) -> Bytes:
        """Bytes read and written at the last tier that kernels address."""
        moved = self.traffic[self.design.home.name]
        return Bytes(moved["read"] + moved["write"])

    @property
    def peak(self) -> dict[str, int]:
        """Largest occupancy of each tier in bytes."""
        used = dict(zip(self.program.tiers, self.program.peak_bytes.tolist(), strict=True))
        return {tier.name: used.get(tier.name, 0) for tier in self.design.memory}

    @property
    def placement(self) -> list[PlacementRow]:
        """Where tensors live: one row per tier and role."""
        return placement_rows(self)

    @property
    def error_band(self) -> ErrorBand | None:
        """How far off the time of the kernels may be, by errors known of such; see `hiersim.error_bands`."""
        return error_band(self.design, self.graph, self.program, self.timeline, self.launch)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before trusting the result, and what of its error band is extrapolated."""
        band = self.error_band
        return (*self.program.warnings, *(f"extrapolated: {text}" for text in (band.extrapolated if band else ())))

    @property
    def memory_cost(self) -> dict[str, float | None]:
        """Dollars per tier and `total`."""
        return memory_cost(self.design)

    @property
    def kernel_rows(self) -> list[dict[str, Any]]:
        """One table row per kernel: name, module, start, end and the ticks of the main ledger by entry."""
        return kernel_rows(self)

    def module_rows(self, below: int = 0, merge: bool = False) -> list[dict[str, Any]]:
        """`kernel_rows` summed by layer; see `hiersim.modules.grouped`."""
        return grouped(self.kernel_rows, below, merge)

    @property
    def kernels(self) -> Any:
        """`kernel_rows` as a pandas DataFrame."""
        try:
            import pandas
        except ImportError:
            raise MissingExtraError("Result.kernels", "pandas", "frames") from None
        return pandas.DataFrame(self.kernel_rows)

    @property
    def live(self) -> LiveBytes:
        """Bytes that tensors take in the last tier while each kernel runs, by role.

        Of tensors that live behind it, those that are there for a while.
        """
        program = self.program
        if program.storage_home is None or program.stays is None:
            return self.graph.derived(live_bytes)
        return live_in(self.graph, program.storage_home == program.home_tier, program.stays)

    @property
    def memory_rows(self) -> list[dict[str, Any]]:
        """One table row per kernel: name, start, end and the bytes that are live while it runs, by role."""
        return memory_rows(self)

    @property
    def memory_timeline(self) -> Any:
        """`memory_rows` as a pandas DataFrame."""
        try:
            import pandas
        except ImportError:
            raise MissingExtraError("Result.memory_timeline", "pandas", "frames") from None
        return pandas.DataFrame(self.memory_rows)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        return to_dict(self)

    def to_json(self) -> str:
        """The JSON form as text; the same inputs give the same bytes."""
        return json.dumps(self.to_dict(), sort_keys=True, indent=1, allow_nan=False)

    def __repr__(self) -> str:
        shown = ", ".join(f"{label} {text}" for label, text in headline(self).items())
        return f"Result({self.trace.name} on {self.design.name}, {self.fusion}: {shown})"

    def _repr_html_(self) -> str:
        return headline_html(self)


def ledger_rows(tiers: tuple[str, ...], timeline: Timeline) -> Iterable[LedgerRow]:
    """Entries with ticks, in the order of the engines and of the ledger's columns."""
    names = _column_names(tiers)
    for engine, totals in zip(ENGINES, timeline.ledger_totals.tolist(), strict=True):
        for name, ticks in zip(names, totals, strict=True):
            if ticks:
                yield LedgerRow(engine, *name, ticks)


@lru_cache(maxsize=64)
def _column_names(tiers: tuple[str, ...]) -> tuple[tuple[str, str | None, str | None], ...]:
    """Entry, tier and phase of each ledger column, in words."""
    meanings = [column_meaning(column, len(tiers)) for column in range(ledger_width(len(tiers)))]
    return tuple(
        (
            entry.name.lower(),
            tiers[tier] if tier >= 0 else None,
            phase.name.lower() if phase is not None else None,
        )
        for entry, tier, phase in meanings
    )


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


def to_dict(result: Result) -> dict[str, Any]:
    """The JSON form of `result`; docs/interface describes every key."""
    program, timeline, bounds = result.program, result.timeline, result.bounds
    clock = int(result.design.compute.clock)
    moved = {tier: entry["read"] + entry["write"] for tier, entry in result.traffic.items()}
    measured = measured_times(result.trace, result.graph, program, timeline)
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
        "tiles": int(program.tile_counts().sum()),
        "flops": dict(zip(UNITS, program.flops, strict=True)),
        "recomputed_flops": recomputed_flops(result.graph),
        "utilization": result.utilization,
        "stall_fraction": result.stall_fraction,
        "ledger": [row._asdict() for row in result.ledger],
        "traffic_bytes": result.traffic,
        "bandwidth_share": result.bandwidth_share,
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
        "energy_j": energy(result.design, moved, program.flops),
        "error_band": None if band is None else band.to_dict(),
        "warnings": [*program.warnings, *(f"extrapolated: {text}" for text in (band.extrapolated if band else ()))],
        **({} if measured is None else {"measured": measured}),
    }


def placement_rows(result: Result) -> list[PlacementRow]:
    """Tensors by the tier that they live in, nearest first, and by role."""
    program, table = result.program, result.graph.tensors
    homes = program.storage_home
    if homes is None:
        homes = np.full(len(table.storage_bytes), program.tiers.index(result.design.home.name))
    rows = []
    for index, tier in enumerate(program.tiers):
        for role in Role:
            here = np.flatnonzero((homes == index) & (table.storage_role == role))
            if len(here):
                size = int(table.storage_bytes[here].sum())
                first, last = (table.storage_names[int(row)] for row in (here[0], here[-1]))
                rows.append(PlacementRow(tier, role.name.lower(), len(here), size, first, last))
    return rows


def recomputed_flops(graph: KernelGraph) -> dict[str, int]:
    """FLOPs of operators that repeat another kernel's work, by kind of arithmetic."""
    again = graph.recomputed == 1
    operators = graph.operators
    matrix = (operators.matrix_flops - operators.masked_flops)[again].sum()
    vector = (operators.vector_flops + operators.special_ops)[again].sum()
    return {"matrix": int(matrix), "vector": int(vector)}


def role_names() -> tuple[str, ...]:
    """Roles of storages in words, in the order of `Role`."""
    return tuple(role.name.lower() for role in Role)


def peak_memory(result: Result) -> dict[str, Any]:
    """Where the last tier is fullest and with what, and the most of each role at any kernel."""
    live = result.live
    kernel = live.peak_kernel

    def by_role(row: Any, saved: int) -> dict[str, int]:
        return {**dict(zip(role_names(), row.tolist(), strict=True)), "saved": saved}

    return {
        "kernel": kernel,
        "kernel_name": result.graph.names[kernel],
        "at_peak": by_role(live.by_role[kernel], int(live.saved[kernel])),
        "largest": by_role(live.by_role.max(axis=0), int(live.saved.max())),
    }


def memory_rows(result: Result) -> list[dict[str, Any]]:
    """Per kernel: where it ran in time, and the bytes live in the last tier by role (`saved`: of the activations)."""
    live, timeline = result.live, result.timeline
    places = result.program.places
    columns = [f"{name}_bytes" for name in role_names()]
    return [
        {
            "kernel": kernel,
            "name": name,
            "start_ticks": int(timeline.start[places[kernel]]),
            "end_ticks": int(timeline.end[places[kernel]]),
            **dict(zip(columns, row, strict=True)),
            "saved_bytes": saved,
            "total_bytes": sum(row),
        }
        for kernel, (name, row, saved) in enumerate(
            zip(result.graph.names, live.by_role.tolist(), live.saved.tolist(), strict=True)
        )
    ]


def headline(result: Result) -> dict[str, str]:
    """The figures that one looks at first, in words."""
    waits: dict[str, int] = {}
    for row in result.ledger:
        if row.engine == MAIN_ENGINE and row.entry not in [entry.name.lower() for entry in WORK]:
            name = f"{row.tier} {row.entry}" if row.tier else row.entry
            waits[name] = waits.get(name, 0) + row.ticks
    largest = sorted(waits.items(), key=lambda item: (-item[1], item[0]))[:3]
    home = result.design.home.name
    return {
        "time": show_ticks(result.makespan),
        "stalled": f"{100 * result.stall_fraction:.1f} %",
        **{f"… {name}": f"{100 * ticks / max(result.makespan, 1):.1f} %" for name, ticks in largest},
        "utilization": f"{100 * result.utilization['overall']:.1f} %",
        f"{home} traffic": show_bytes(result.home_bytes),
        f"{home} peak": show_bytes(result.peak[home]),
    }


def headline_html(result: Result) -> str:
    """`headline` as a small table for Jupyter; its colours are the notebook's."""
    from html import escape

    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(label)}</th><td style='text-align:right'>{escape(text)}</td></tr>"
        for label, text in headline(result).items()
    )
    title = escape(f"{result.trace.name} · {result.design.name} · {result.fusion}")
    return f"<table><caption>{title}</caption>{rows}</table>"


def kernel_rows(result: Result) -> list[dict[str, Any]]:
    """Per kernel: where it ran in time, and its part of the main engine's ledger by entry (ticks)."""
    graph, timeline = result.graph, result.timeline
    ledger = timeline.ledger_rows[:, ENGINES.index(MAIN_ENGINE)]
    distinct = np.zeros((len(ledger), len(Entry)), np.int64)
    for column in range(ledger.shape[1]):
        distinct[:, column_meaning(column, len(result.program.tiers))[0]] += ledger[:, column]
    entries = distinct[timeline.ledger_row]
    owner = result.program.graph_kernel
    rows = []
    for kernel, name in enumerate(result.program.kernel_names):
        row = kernel if owner is None else int(owner[kernel])
        first, end = (int(graph.operator_ptr[row]), int(graph.operator_ptr[row + 1])) if row >= 0 else (0, 0)
        rows.append(
            {
                "kernel": kernel,
                "name": name,
                "module": graph.operators.strings[int(graph.operators.module[first])] if first < end else "",
                "operators": end - first,
                "start_ticks": int(timeline.start[kernel]),
                "end_ticks": int(timeline.end[kernel]),
                **{entry.name.lower() + "_ticks": int(entries[kernel, entry]) for entry in Entry},
            }
        )
    return rows
