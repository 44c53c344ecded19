"""How a measurement was taken, as changes of a design: the replay then answers the question that the clock asked."""

from __future__ import annotations

from typing import Final

from hiersim.measure.constants import HostConstants, shown
from hiersim.model.design import Design
from hiersim.units import TICKS_PER_SECOND

CLOCKS: Final = ("profiler", "events", "processor", "wall")
"""The most direct first: durations of kernels, device events, which contain the gaps, the processor time of a call on
one thread of a CPU, and the host's clock from a call on an idle device until its results are there."""
LAUNCHING: Final = ("processor", "wall")
"""Clocks whose times contain the launch."""
REPLAYED_CACHES: Final = ("warm", "cold")
"""States of the last-level cache that a replay can begin with."""
REPLAYED_MODES: Final = ("eager", "compiled")
"""Modes in which a single case is replayed."""
FREE_HOST: Final = ("launch_eager", "launch_compiled", "launch_view", "library_call", "latency")
FREE_ENTRY: Final = ("region_entry", "guard")
MEASURED_AS: Final = {"compiled_call": "region_entry"}
"""Measured constant → what it is in a design, where that has another name."""


def free_of_host(design: Design, clock: str) -> Design:
    """`design` when kernels queue behind another one, so that launches cost nothing.

    Clock `events` contains the device's own gap before each kernel (`host.start`), clock `profiler` does not; clocks
    `wall` and `processor` contain the launch, and the design stays as it is.
    """
    if clock in LAUNCHING:
        return design
    changes: dict[str, int] = {f"host.{name}": 0 for name in FREE_HOST}
    changes |= {f"host.{name}": 0 for name in FREE_ENTRY if getattr(design.host, name) is not None}
    if clock != "events":
        changes["host.start"] = 0
        if design.host.graph_start is not None:
            changes["host.graph_start"] = 0
            changes["host.launch_graph"] = 0
    return design.replace(changes)


def with_cache(design: Design, cache: str) -> Design:
    """`design` whose last-level cache begins `warm` (as the same kernels left it) or `cold` (empty)."""
    caches = [tier.name for tier in design.shared_tiers if tier.is_shared_cache]
    return design.replace({f"memory.{caches[-1]}.start": cache}) if caches else design


def with_host(design: Design, constants: HostConstants) -> Design:
    """`design` with the host that was measured; constants that were not keep the design's values.

    `compiled_call`, a call of compiled code without kernels, is the entry of a region; its few guards are in it.
    """
    changes = {
        f"host.{MEASURED_AS.get(name, name)}": max(0, round(seconds * TICKS_PER_SECOND))
        for name, seconds in shown(constants).items()
    }
    return design.replace(changes) if changes else design
