"""What launching costs: kernel by kernel into a stream, or all of them as a graph that was captured before."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from hiersim.errors import DesignError, HiersimError, nearest
from hiersim.lowering.workload import Workload
from hiersim.model.design import Design, Host
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray
from hiersim.units import LARGEST

STREAM: Final = "stream"
GRAPH: Final = "graph"
LAUNCHES: Final = (STREAM, GRAPH)
"""Modes: one call per kernel at its eager or compiled cost, or one replay of a graph for all that need no value on the
host."""


class Dispatch(NamedTuple):
    """What the host thread and the stream add to each kernel, (K,) each: see `Program`."""

    host_ticks: IntArray
    launch_latency: IntArray
    start_ticks: IntArray
    queue: int


class CopyLaunch(NamedTuple):
    """What the host thread and the stream add to a copy between the device and the tiers behind it."""

    host_ticks: int
    latency: int
    start: int
    together: bool
    """True when copies are nodes of a graph: they take no places in the queue."""


def copy_launch(design: Design, launch: str) -> CopyLaunch:
    """A copy costs one call, as a kernel of a compiled schedule does; in a graph it is a node like others."""
    host = design.host
    if launch == GRAPH:
        return CopyLaunch(0, int(host.latency), _replay_times(design.name, host)[1], together=True)
    return CopyLaunch(int(host.launch_compiled), int(host.latency), int(host.start), together=False)


def check_launch(name: str) -> str:
    """`name`, when it is a launch mode.

    Raises
    ------
    HiersimError
        With the nearest valid name.
    """
    if name not in LAUNCHES:
        raise HiersimError(f"'{name}' is not a launch mode", expected=nearest(name, LAUNCHES))
    return name


def dispatch(workload: Workload, design: Design, launch: str = STREAM) -> Dispatch:
    """The launches of all kernels.

    Raises
    ------
    DesignError
        When the design gives no times for a graph replay.
    OverflowError
        When all launches take more ticks than a program can hold.
    """
    if check_launch(launch) == GRAPH:
        return _replays(workload, design)
    own = int(design.compute.start_up)
    known = workload.graph.derived(_streams)
    found = known.get((design.host, own))
    if found is None:
        found = _stream(workload, design, own)
        known.clear()
        known[design.host, own] = found
    return found


def _streams(_: KernelGraph) -> dict[tuple[Host, int], Dispatch]:
    """The launches on the last host that a graph was lowered for: that of all designs of most sweeps."""
    return {}


def _stream(workload: Workload, design: Design, own: int) -> Dispatch:
    """Kernel by kernel, each `own` ticks after the stream lets it; the columns are read-only."""
    host, count = design.host, len(workload)
    slowest = max(host.launch_eager, host.launch_compiled) + host.library_call + host.latency + host.start
    entered = entering(workload.graph, design)
    _check((slowest + own) * count + host.launch_view * workload.views + int(entered.sum()))
    cost = np.array([host.launch_eager, host.launch_compiled], np.int64)[workload.launch] + entered
    if host.library_call:
        cost += workload.library * host.library_call
    columns = (
        cost + workload.graph.host_views * host.launch_view if workload.views else cost,
        np.full(count, host.latency, np.int64),
        np.full(count, host.start + own, np.int64),
    )
    for column in columns:
        column.flags.writeable = False
    return Dispatch(*columns, queue=int(host.queue))


def _replays(workload: Workload, design: Design) -> Dispatch:
    """A replay is one call; its kernels arrive together and follow each other on the device.

    The first kernel, each that needs a value on the host, and the first of each compiled region begin one. The queue
    bounds calls, and a later call is only made when all kernels of the one before have ended.
    """
    host, count = design.host, len(workload)
    call, between = _replay_times(design.name, host)
    own = int(design.compute.start_up)
    entered = entering(workload.graph, design)
    _check((call + max(host.start, between) + own + host.latency) * count + int(entered.sum()))
    first = workload.graph.host_syncs != 0
    first[:1] = True
    if workload.graph.entered is not None:
        first |= workload.graph.entered.calls > 0
    return Dispatch(
        host_ticks=np.where(first, call, 0).astype(np.int64) + entered,
        launch_latency=np.full(count, host.latency, np.int64),
        start_ticks=(np.where(first, int(host.start), between) + own).astype(np.int64),
        queue=max(count, 1),
    )


def _replay_times(name: str, host: Host) -> tuple[int, int]:
    """Ticks of one replay call, and between two kernels of a graph."""
    times = {"host.launch_graph": host.launch_graph, "host.graph_start": host.graph_start}
    missing = [key for key, value in times.items() if value is None]
    if missing:
        raise DesignError(
            f"is not known, so that no graph can be replayed on {name}", key=missing[0],
            expected="a time such as '5 us' in the design, or launch 'stream'",
        )  # fmt: skip
    return int(host.launch_graph or 0), int(host.graph_start or 0)


REGION_TIMES: Final = (
    ("region_entry", "calls"),
    ("guard", "guards"),
    ("recompile", "recompiled"),
    ("recompile_operator", "traced"),
)
"""Times of a host, and what of `Entries` each is paid for."""


def region_ticks(graph: KernelGraph, design: Design) -> dict[str, int]:
    """Host time to enter compiled regions by what it is paid for, keys of `host` in a design; times that are known."""
    if graph.entries is None:
        return {}
    return {
        key: int(getattr(graph.entries, column).sum()) * int(getattr(design.host, key) or 0)
        for key, column in REGION_TIMES
    }


def entering(graph: KernelGraph, design: Design) -> IntArray:
    """(K,) host time to enter compiled regions before each kernel.

    Raises
    ------
    DesignError
        When a time is needed that the design does not give; where regions are only assumed, none is needed.
    OverflowError
        When all of it takes more ticks than a program can hold.
    """
    ticks, total, entered = np.zeros(len(graph), np.int64), 0, graph.entered
    if entered is None:
        return ticks
    for key, column in REGION_TIMES:
        counts, time = getattr(entered, column), getattr(design.host, key)
        if bool(counts.any()) and time is None and graph.entries is not None:
            raise DesignError(
                f"is not known, so that no compiled region can be entered on {design.name}", key=f"host.{key}",
                expected="a time such as '10 us' in the design, or --fusion eager",
            )  # fmt: skip
        total += int(counts.sum()) * int(time or 0)
        _check(total)
        ticks += counts * int(time or 0)
    return ticks


def _check(ticks: int) -> None:
    if ticks >= LARGEST:
        raise OverflowError("all launches take 2^62 ticks or more")
