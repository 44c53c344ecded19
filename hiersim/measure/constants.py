"""What measured launches say about the constants of a design's host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from statistics import median
from typing import Final

import numpy as np

from hiersim.frontends.measured import Measured, MeasuredTime

SHORT_S: Final = 20e-6
"""Kernels above this are long enough for the noise of their durations to hide the gap between two."""


LIBRARY: Final = ("operator_mm", "operator_linear")
"""Cases of suite `launch` that call a library."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConstants:
    """Constants of `Host`, in seconds; None where the file holds no measurement of them."""

    launch_eager: float | None = None
    """Median over small operators of the host's time per call, but for those that call a library."""
    launch_view: float | None = None
    """Median over views of the host's time per call."""
    library_call: float | None = None
    """What the median of calls of a library takes beyond `launch_eager`."""
    launch_compiled: float | None = None
    """Host's time per kernel of compiled chains: the slope over their kernels."""
    compiled_call: float | None = None
    """Host's time of a compiled call without any kernel: guards and the wrapper; the intercept."""
    launch_graph: float | None = None
    """Host's time of one replay: the median over graphs of up to 64 kernels."""
    start: float | None = None
    """Device time between two dependent kernels of a stream: events less durations, warm, median over short kernels."""
    graph_start: float | None = None
    """The same between two kernels of one graph: slope of events less slope of durations."""


def host_constants(measured: Measured) -> HostConstants:
    """The constants that suite `launch`, and short kernels of other suites, allow."""
    launches = [time for time in measured.times if measured.cases[time.case].suite == "launch"]

    def named(prefix: str, clock: str) -> list[MeasuredTime]:
        return [
            time
            for time in launches
            if measured.cases[time.case].name.startswith(prefix) and time.clock == clock
        ]  # fmt: skip

    operators = named("operator_", "host")
    own = _median(time for time in operators if measured.cases[time.case].name not in LIBRARY)
    library = _median(time for time in operators if measured.cases[time.case].name in LIBRARY)
    compiled = _line(named("compiled", "host"))
    events, durations = _line(named("graph", "events")), _line(named("graph", "profiler"))
    return HostConstants(
        launch_eager=own,
        launch_view=_median(named("view_", "host")),
        library_call=None if own is None or library is None else max(0.0, library - own),
        launch_compiled=compiled[0] if compiled else None,
        compiled_call=compiled[1] if compiled else None,
        launch_graph=_median(time for time in named("graph", "host") if (time.launches or 0) <= 64),
        start=_gap(measured),
        graph_start=events[0] - durations[0] if events and durations else None,
    )


def stated_constants(measured: Measured) -> HostConstants | None:
    """The constants that a file states among its settings, as `<name>_s`; None where it states none.

    Published tables have no suite `launch`: what is known of their host stands with their reader.
    """
    settings = measured.header.settings
    names = [item.name for item in fields(HostConstants) if f"{item.name}_s" in settings]
    return HostConstants(**{name: float(settings[f"{name}_s"]) for name in names}) if names else None


def shown(constants: HostConstants) -> dict[str, float]:
    """Those that are known, by name."""
    values = {item.name: getattr(constants, item.name) for item in fields(constants)}
    return {name: value for name, value in values.items() if value is not None}


def _median(times: Iterable[MeasuredTime]) -> float | None:
    values = [time.median_s for time in times]
    return median(values) if values else None


def _line(times: list[MeasuredTime]) -> tuple[float, float] | None:
    """Slope and intercept of the median over the number of kernels; relative errors count alike."""
    points = [(time.launches, time.median_s) for time in times if time.launches]
    if len({count for count, _ in points}) < 2:
        return None
    counts, seconds = np.array(points, float).T
    slope, intercept = np.polyfit(counts, seconds, 1, w=1 / seconds)
    return float(slope), float(intercept)


def _gap(measured: Measured) -> float | None:
    events: dict[str, float] = {}
    for time in measured.times:
        if (time.mode, time.cache, time.clock) == ("eager", "warm", "events"):
            events[time.case] = time.median_s
    gaps = [
        events[time.case] - time.median_s
        for time in measured.times
        if (time.mode, time.cache, time.clock) == ("eager", "warm", "profiler")
        and time.launches == 1
        and time.median_s <= SHORT_S
        and time.case in events
    ]
    return median(gaps) if gaps else None
