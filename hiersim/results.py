"""`Result`: one run with its metrics, bounds, cost and provenance; and its JSON form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from hiersim.bill import bill, silicon, silicon_warnings
from hiersim.bounds import Bounds
from hiersim.cost import energy, memory_cost
from hiersim.error_bands import ErrorBand, error_band
from hiersim.errors import HiersimError, MissingExtraError, nearest
from hiersim.fusion.pressure import warnings_of
from hiersim.lowering.host import region_ticks
from hiersim.lowering.live import LiveBytes, live_bytes, live_in
from hiersim.lowering.patterns import access_patterns
from hiersim.measured_times import measured_times
from hiersim.model.design import Design
from hiersim.model.dram_tiers import bandwidth_share
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Role, TensorTable
from hiersim.model.program import Program
from hiersim.model.timeline import ENGINES, WORK, Entry, Timeline, column_meaning, ledger_width
from hiersim.model.trace import Trace
from hiersim.modules import grouped
from hiersim.presenting import drawn_by
from hiersim.provenance import fingerprint
from hiersim.units import TICKS_PER_SECOND, UNLIMITED, Bytes, Ticks, ceil_div, show_bytes, show_ticks
from hiersim.version import __version__

SCHEMA: Final = 1
UNITS: Final = ("matrix", "vector")
MAIN_ENGINE: Final = "cores"
BoolArray = npt.NDArray[np.bool_]


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
        return __version__

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
    def warnings(self) -> tuple[str, ...]:
        """What to know before trusting the result: what the model had to assume, kernels grouped by hand that would not
        fit the cores, SRAM beyond the die, and what of the error band is extrapolated.
        """
        return warnings_with(self, self.error_band)

    @property
    def stall_fraction(self) -> float:
        """Share of the makespan in which the cores wait."""
        if not self.timeline.makespan:
            return 0.0
        work = int(self.timeline.ledger_totals[ENGINES.index(MAIN_ENGINE), : len(WORK)].sum())
        return 1 - work / self.timeline.makespan

    def share(self, entry: str | None = None, tier: str | None = None, *, engine: str = MAIN_ENGINE) -> float:
        """Share of the makespan that an engine of the chip spends on an entry of the ledger, a tier to blame, or both.

        >>> import hiersim as hs
        >>> result = hs.simulate(hs.load_trace("llama3-8b-decode"), hs.load_design("h100-sxm"))
        >>> result.share("dispatch") > result.share("bandwidth", "hbm") > result.share(tier="l2")
        True

        Raises
        ------
        HiersimError
            When the ledger has no such engine, or `entry` or `tier` is no name that it uses.
        """
        for what, name, valid in (
            ("engine", engine, ENGINES),
            ("entry", entry, [item.name.lower() for item in Entry]),
            ("tier", tier, [place.name for place in self.design.places]),
        ):
            if name is not None and name not in valid:
                raise HiersimError(f"'{name}' is no {what} of the ledger", expected=nearest(name, valid))
        ticks = sum(
            row.ticks
            for row in self.ledger
            if row.engine == engine and entry in (None, row.entry) and tier in (None, row.tier)
        )
        return ticks / max(self.makespan, 1)

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
    def memory_cost(self) -> dict[str, float | None]:
        """Dollars per tier and `total`."""
        return memory_cost(self.design)

    @property
    def energy(self) -> dict[str, float | None]:
        """Joules per tier and link, `compute` and `total`; None where the design gives no figure."""
        moved = {tier: entry["read"] + entry["write"] for tier, entry in self.traffic.items()}
        return energy(self.design, moved, self.program.flops)

    @property
    def cost(self) -> dict[str, Any]:
        """What the device costs, per hour, per run and per throughput; every entry None where no price is known."""
        return bill(self.design, self.trace, self.time, self.stall_fraction, self.energy["total"])

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

    @property
    def measured(self) -> dict[str, Any] | None:
        """Predicted beside measured times, where the trace came from a profiler; else None.

        `kernel_time_s`, `span_s`, `idle_share`, and for `eager` a row per operator; see `docs/importing.md`.
        """
        return measured_times(self.trace, self.graph, self.program, self.timeline)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        return to_dict(self)

    def to_json(self) -> str:
        """The JSON form as text; the same inputs give the same bytes."""
        return json.dumps(self.to_dict(), sort_keys=True, indent=1, allow_nan=False)

    def __repr__(self) -> str:
        shown = ", ".join(f"{label} {text}" for label, text in headline(self).items())
        return f"Result({self.trace.name} on {self.design.name}, {self.fusion}: {shown})"

    _repr_html_ = drawn_by("hiersim.views.notebook:result_html", "The run as a notebook shows it.")
    plot_roofline = drawn_by("hiersim.views.plots.roofline:plot_roofline", "Kernels below the roofs of every tier.")
    plot_stalls = drawn_by("hiersim.views.plots.stalls:plot_stalls", "The ledger by module, layer, kernel or as one.")
    plot_occupancy = drawn_by("hiersim.views.plots.memory:plot_occupancy", "What the last tier holds over time.")
    plot_lifetimes = drawn_by("hiersim.views.plots.memory:plot_lifetimes", "The lives of the largest tensors.")
    plot_knees = drawn_by("hiersim.views.plots.memory:plot_knees", "Traffic against the capacity of a shared cache.")
    plot_tornado = drawn_by("hiersim.views.plots.choices:plot_tornado", "What better and worse parts would change.")
    plot_traffic = drawn_by("hiersim.views.plots.traffic:plot_traffic", "Bytes from tier to tier, as a Sankey.")
    plot_kernels = drawn_by(
        "hiersim.views.plots.traffic:plot_kernels", "Which operators share a kernel, and who reads."
    )


class Comparison(list[Result]):
    """Results side by side, the first is the baseline."""

    _repr_html_ = drawn_by("hiersim.views.notebook:comparison_html", "The comparison as a notebook shows it.")
    plot_roofline = drawn_by("hiersim.views.plots.roofline:plot_roofline", "The first and last run below the roofs.")
    plot_stalls = drawn_by("hiersim.views.plots.stalls:plot_stalls", "The ledgers, a bar for each run.")
    plot_pareto = drawn_by("hiersim.views.plots.choices:plot_pareto", "The runs that no other beats.")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: the results as `rows`."""
        return {"rows": [result.to_dict() for result in self]}


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
    traffic = result.traffic
    moved = {tier: entry["read"] + entry["write"] for tier, entry in traffic.items()}
    joules = energy(result.design, moved, program.flops)
    stalled = result.stall_fraction
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
        "tiles": int(program.tile_counts().sum()),
        "flops": dict(zip(UNITS, program.flops, strict=True)),
        "recomputed_flops": recomputed_flops(result.graph),
        "utilization": result.utilization,
        "stall_fraction": stalled,
        "ledger": [dict(zip(LedgerRow._fields, row, strict=True)) for row in result.ledger],
        "home_tier": result.design.home.name,
        "traffic_bytes": traffic,
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


def placement_rows(result: Result) -> list[PlacementRow]:
    """Tensors by the tier that they live in, nearest first, and by role."""
    program, graph = result.program, result.graph
    homes = program.storage_home
    if homes is None:
        home = result.design.home.name
        return [PlacementRow(home, *row) for row in graph.derived(_rows_by_role)]
    return [
        PlacementRow(tier, *row)
        for index, tier in enumerate(program.tiers)
        for row in _role_rows(graph.tensors, homes == index)
    ]


RoleRow = tuple[str, int, int, str, str]
"""Fields of a `PlacementRow` after its tier."""


def _rows_by_role(graph: KernelGraph) -> tuple[RoleRow, ...]:
    """All storages of `graph` by role: what one home holds."""
    return tuple(_role_rows(graph.tensors, np.ones(len(graph.tensors.storage_bytes), np.bool_)))


def _role_rows(table: TensorTable, chosen: BoolArray) -> Iterable[RoleRow]:
    """Role, number, bytes, first and last name of the chosen storages; roles that have none are left out."""
    for role in Role:
        here = np.flatnonzero(chosen & (table.storage_role == role))
        if len(here):
            first, last = (table.storage_names[int(row)] for row in (here[0], here[-1]))
            yield role.name.lower(), len(here), int(table.storage_bytes[here].sum()), first, last


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
    alone = result.program.storage_home is None  # everything lives in one tier: the graph decides alone
    kernel, at_peak, largest = result.graph.derived(_peaks_of) if alone else _peaks(result.live)
    names = (*role_names(), "saved")
    return {
        "kernel": kernel,
        "kernel_name": result.graph.names[kernel],
        "at_peak": dict(zip(names, at_peak, strict=True)),
        "largest": dict(zip(names, largest, strict=True)),
    }


def _peaks_of(graph: KernelGraph) -> tuple[int, list[int], list[int]]:
    return _peaks(graph.derived(live_bytes))


def _peaks(live: LiveBytes) -> tuple[int, list[int], list[int]]:
    """The kernel at which most is live; what is live there and the most at any kernel, by role, and of it `saved`."""
    kernel = live.peak_kernel
    at_peak = [*live.by_role[kernel].tolist(), int(live.saved[kernel])]
    return kernel, at_peak, [*live.by_role.max(axis=0).tolist(), int(live.saved.max())]


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
