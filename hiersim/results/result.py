"""`Result`: one run with its metrics, bounds, cost and provenance; and several side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hiersim.bill import bill
from hiersim.bounds import Bounds
from hiersim.cost import energy, memory_cost
from hiersim.error_bands import ErrorBand, error_band
from hiersim.errors import HiersimError, MissingExtraError, nearest
from hiersim.lowering.live import LiveBytes, live_bytes, live_in
from hiersim.lowering.patterns import access_patterns
from hiersim.measured_times import measured_times
from hiersim.model.design import Design
from hiersim.model.dram_tiers import bandwidth_share
from hiersim.model.kernels import KernelGraph
from hiersim.model.program import Program
from hiersim.model.timeline import ENGINES, Entry, Timeline
from hiersim.model.trace import Trace
from hiersim.modules import grouped
from hiersim.presenting import drawn_by
from hiersim.provenance import fingerprint
from hiersim.results.arithmetic import utilization
from hiersim.results.document import to_dict, warnings_with
from hiersim.results.kernel_rows import kernel_rows
from hiersim.results.ledger import MAIN_ENGINE, LedgerRow, ledger_rows, stall_fraction
from hiersim.results.memory import PlacementRow, memory_rows, placement_rows
from hiersim.results.summary import headline
from hiersim.tally import Tally
from hiersim.units import TICKS_PER_SECOND, Bytes, Ticks
from hiersim.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """One replay. Everything else is derived from these values."""

    trace: Trace
    design: Design
    graph: KernelGraph
    program: Program
    timeline: Timeline
    tally: Tally
    """Bytes at the ports, summed over all tiles."""
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
        return tuple(ledger_rows(self.program.tiers, self.timeline.ledger_totals))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before trusting the result: what the model had to assume, kernels grouped by hand that would not
        fit the cores, SRAM beyond the die, and what of the error band is extrapolated.
        """
        return warnings_with(self, self.error_band)

    @property
    def stall_fraction(self) -> float:
        """Share of the makespan in which the cores wait."""
        return stall_fraction(self.timeline.ledger_totals, self.timeline.makespan)

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
        read, write = self.tally.read.tolist(), self.tally.write.tolist()
        used = dict(zip(self.program.tiers, zip(read, write, strict=True), strict=True))
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
