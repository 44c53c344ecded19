"""The one pass from `KernelGraph` and `Design` to `Program`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from hiersim.errors import DesignError
from hiersim.lowering.copies import with_copies
from hiersim.lowering.host import STREAM, dispatch
from hiersim.lowering.machine import MATRIX, Machine
from hiersim.lowering.placement import check_capacity
from hiersim.lowering.planner import Plan, plan
from hiersim.lowering.replacement import held_before
from hiersim.lowering.routing import far_bytes
from hiersim.lowering.scratchpad import Residents, residents
from hiersim.lowering.supply import with_far_bytes
from hiersim.lowering.tiling import Loom
from hiersim.lowering.workload import Workload, compulsory_bytes, prepare
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import DType, IntArray
from hiersim.model.program import Program
from hiersim.units import TICKS_PER_SECOND, UNLIMITED

__all__ = ["compulsory_bytes", "lower"]

FRAGMENTED: Final = 0.01
"""A planned scratchpad that loses more than this share between its tensors is worth a warning."""


def lower(graph: KernelGraph, design: Design, workload: Workload | None = None, launch: str = STREAM) -> Program:
    """The program of `graph` on `design`.

    Parameters
    ----------
    graph : KernelGraph
        Kernels in launch order.
    design : Design
        The machine.
    workload : Workload, optional
        `prepare(graph)`, when it is at hand; it does not depend on the design. One that says the bytes of far tiers
        itself (`with_far_bytes`) keeps them.
    launch : str
        How the host launches: `stream` (kernel by kernel) or `graph` (replays of a captured graph).

    Raises
    ------
    CapacityError
        When the tensors do not fit the last tier.
    DesignError
        When no unit can do an operator's dtype, the design has no times for a graph replay that was asked for, or the
        run would take more ticks than a program can hold.
    """
    if workload is None:
        workload = prepare(graph)
    try:
        return _lowered(workload, design, launch)
    except OverflowError:
        raise DesignError(
            "is too slow for this trace: a run would take more than 53 days", file=design.name,
            expected="higher rates, or shorter latencies and host times",
        ) from None  # fmt: skip


def _lowered(workload: Workload, design: Design, launch: str) -> Program:
    graph = workload.graph
    placed = plan(graph, design) if len(design.homes) > 1 or design.placement.pins else None
    if placed is None and workload.peak_bytes > design.home.capacity:
        check_capacity(graph, design)  # raises, with what is missing
    machine = Machine(design, max(0, int(placed.home.max(initial=0)) - placed.device) if placed else 0)
    pads = residents(graph, design)
    far = None if workload.classes.explicit else far_bytes(workload, design, placed, pads)
    if far is not None:
        workload = with_far_bytes(workload, far)
    free = {pad.tier.name: int(pad.tier.capacity) - pad.peak_bytes for pad in pads}
    figures = machine.figures(workload.matrix_dtypes, workload.vector_dtypes, workload.runs, free)
    loom = Loom(workload.classes, figures)
    nests = loom.weave()
    columns = loom.columns()
    buffers, unstaged = loom.totals()
    flops, peak_ticks = arithmetic(workload.matrix_flops, workload.vector_flops, machine)
    host = dispatch(workload, design, launch)
    _note(workload, machine, pads)
    program = Program(
        tiers=tuple(place.name for place in machine.places),
        resources=machine.resources,
        queue=host.queue,
        kernel_names=graph.names,
        host_ticks=host.host_ticks,
        host_sync=graph.host_syncs,
        launch_latency=host.launch_latency,
        start_ticks=host.start_ticks,
        needs_ptr=workload.needs_ptr,
        needs=workload.needs,
        nest=nests[workload.kernel_class],
        buffer_tier=np.full(loom.nests, machine.buffer_tier),
        **columns,
        free_bytes=_of_all_tiers(unstaged, machine),
        peak_bytes=_peaks(workload, machine, buffers, placed, pads),
        flops=flops,
        peak_ticks=peak_ticks,
        compulsory_bytes=max(0, workload.compulsory_bytes - held_before(design)),
        warnings=tuple(machine.warnings) + (placed.warnings if placed else ()),
        home_tier=machine.home_place,
        pool_tiers=tuple(machine.home_rows()[: len(design.pools)]),
        storage_home=_homes(placed, machine) if placed else None,
        stays=_stays(placed) if placed else None,
    )
    return with_copies(program, placed, machine, graph, launch) if placed and placed.stays else program


def _of_all_tiers(free: IntArray, machine: Machine) -> IntArray:
    """(2, places) of (2, shared tiers)."""
    whole = np.zeros((2, len(machine.places)), np.int64)
    whole[:, machine.first_shared : machine.home_place + 1] = free
    return whole


def _peaks(
    workload: Workload, machine: Machine, buffers: int, placed: Plan | None, pads: tuple[Residents, ...]
) -> IntArray:
    """Largest occupancy per place: tile buffers, cache contents, tensors."""
    tensors = workload.peak_bytes
    peaks = np.zeros(len(machine.places), np.int64)
    for index, tier in enumerate(machine.shared, machine.first_shared):
        peaks[index] = min(int(tier.capacity), tensors)
    peaks[machine.buffer_tier], peaks[machine.home_place] = buffers, tensors
    for pad in pads:
        peaks[[place.name for place in machine.places].index(pad.tier.name)] = pad.peak_bytes
    if placed:
        rows = machine.home_rows()
        peaks[rows] = placed.occupied.max(axis=1, initial=0)[: len(rows)]
    return peaks


def _homes(placed: Plan, machine: Machine) -> IntArray:
    """(S,) index of each storage's home among the places."""
    rows = np.append(machine.home_rows(), -1)
    return np.asarray(np.where(placed.home >= 0, rows[placed.home], -1), np.int64)


def _stays(placed: Plan) -> IntArray:
    """(N, 4) storage, first and last kernel, and bytes of each stay."""
    rows = [(stay.storage, stay.begin, stay.end, stay.held) for stay in placed.stays]
    return np.array(rows, np.int64).reshape(-1, 4)


def arithmetic(
    matrix: Mapping[DType, int], vector: Mapping[DType, int], machine: Machine
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Useful FLOPs by unit, and the ticks that they take at datasheet peak (exact sum, rounded down once)."""
    done = [0, 0]
    by_rate: list[dict[int, int]] = [{}, {}]
    for dtype, total in matrix.items():
        rate = machine.matrix_rate(dtype)
        unit = 0 if rate.unit == MATRIX else 1
        done[unit] += total
        by_rate[unit][rate.peak] = by_rate[unit].get(rate.peak, 0) + total
    for dtype, total in vector.items():
        done[1] += total
        peak = machine.vector_peak(dtype)
        by_rate[1][peak] = by_rate[1].get(peak, 0) + total
    ticks = [
        sum(flops * TICKS_PER_SECOND // peak for peak, flops in rates.items() if peak < UNLIMITED) for rates in by_rate
    ]
    return (done[0], done[1]), (ticks[0], ticks[1])


def _note(workload: Workload, machine: Machine, pads: tuple[Residents, ...]) -> None:
    """Warn of operators that are costed by their traffic only, and of scratchpads with gaps."""
    if workload.unknown:
        machine.warn(workload.unknown)
    for pad in pads:
        if pad.fragmentation >= FRAGMENTED:
            machine.warn(f"{100 * pad.fragmentation:.1f} % of what '{pad.tier.name}' holds are gaps between tensors")
