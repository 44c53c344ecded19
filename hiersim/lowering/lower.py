"""The one pass from `KernelGraph` and `Design` to `Program`."""

from __future__ import annotations

from itertools import compress, pairwise

import numpy as np

from hiersim.errors import DesignError
from hiersim.lowering.contraction import Contractions
from hiersim.lowering.machine import MATRIX, Machine
from hiersim.lowering.placement import check_capacity
from hiersim.lowering.residency import ReuseProfile, profile_reuse
from hiersim.lowering.stages import LoopNest, Packer
from hiersim.lowering.tiling import contraction, stream
from hiersim.lowering.work import CONTRACTIONS, WorkList, useful_flops
from hiersim.model.design import Design, Management
from hiersim.model.kernels import KernelGraph, Launch
from hiersim.model.operators import PRODUCED, Accesses, DType, IntArray, Kind
from hiersim.model.program import Program
from hiersim.units import LARGEST, TICKS_PER_SECOND, UNLIMITED


def lower(graph: KernelGraph, design: Design, profile: ReuseProfile | None = None) -> Program:
    """The program of `graph` on `design`.

    Parameters
    ----------
    graph : KernelGraph
        Kernels in launch order.
    design : Design
        The machine.
    profile : ReuseProfile, optional
        `profile_reuse(graph)`, when it is at hand; it does not depend on the design.

    Raises
    ------
    CapacityError
        When the tensors do not fit the last tier.
    DesignError
        When no unit can do an operator's dtype, or the run would take more ticks than a program can hold.
    """
    try:
        return _lowered(graph, design, profile)
    except OverflowError:
        raise DesignError(
            "is too slow for this trace: a run would take more than 53 days", file=design.name,
            expected="higher rates, or shorter latencies and host times",
        ) from None  # fmt: skip


def _lowered(graph: KernelGraph, design: Design, profile: ReuseProfile | None) -> Program:
    peak = check_capacity(graph, design)
    machine = Machine(design)
    profile = profile or profile_reuse(graph)
    works = WorkList(graph, machine, profile)
    contractions = Contractions(machine, graph.operators)
    packer = Packer(machine.buffer_tier)
    free = np.zeros((2, len(design.memory)), np.int64)
    buffers = 0
    for kernel in range(len(graph)):
        work = works.work(kernel)
        nest = contraction(work, contractions.shape(work), machine) if work.anchor >= 0 else stream(work, machine)
        packer.add(nest)
        if nest.free is not None:
            free += nest.free
        buffers = max(buffers, _buffers(nest, machine))
    flops, peak_ticks = _arithmetic(graph, machine)
    _note_unknown(graph, machine)
    kernels = len(graph)
    return Program(
        tiers=tuple(tier.name for tier in design.memory),
        resources=machine.resources,
        queue=int(design.host.queue),
        kernel_names=graph.names,
        **_host(graph, design),
        needs_ptr=np.maximum(np.arange(kernels + 1, dtype=np.int64) - 1, 0),
        needs=np.arange(kernels - 1, dtype=np.int64),
        **packer.arrays(),
        free_bytes=free,
        peak_bytes=_peaks(graph, machine, peak, buffers),
        flops=flops,
        peak_ticks=peak_ticks,
        compulsory_bytes=compulsory_bytes(graph),
        warnings=tuple(machine.warnings),
    )


def _buffers(nest: LoopNest, machine: Machine) -> int:
    capacity = int(machine.tiers[machine.buffer_tier].capacity) * machine.cores
    return min(nest.buffer_bytes, capacity)


def _host(graph: KernelGraph, design: Design) -> dict[str, IntArray]:
    """What the host thread and the stream add to each kernel."""
    host = design.host
    cost = np.where(graph.launch == Launch.EAGER, host.launch_eager, host.launch_compiled)
    kernels = len(graph)
    views = int(graph.host_views.sum())
    slowest = max(host.launch_eager, host.launch_compiled) + host.latency + host.start
    if slowest * kernels + host.launch_view * views >= LARGEST:
        raise OverflowError
    return {
        "host_ticks": np.asarray(cost + graph.host_views * host.launch_view, np.int64),
        "host_sync": graph.host_syncs,
        "launch_latency": np.full(kernels, host.latency, np.int64),
        "start_ticks": np.full(kernels, host.start, np.int64),
    }


def _peaks(graph: KernelGraph, machine: Machine, home: int, buffers: int) -> IntArray:
    """Largest occupancy per tier: tile buffers, cache contents, tensors."""
    peaks = np.zeros(len(machine.tiers), np.int64)
    peaks[machine.buffer_tier] = buffers
    for index, tier in enumerate(machine.tiers[:-1]):
        if index >= machine.first_shared:
            peaks[index] = min(int(tier.capacity), home)
    peaks[-1] = home
    return peaks


def _arithmetic(graph: KernelGraph, machine: Machine) -> tuple[tuple[int, int], tuple[int, int]]:
    """Useful FLOPs by unit, and the ticks that they take at datasheet peak (exact sum, rounded down once)."""
    matrix, vector = useful_flops(graph)
    operators = graph.operators
    done = [0, 0]
    by_rate: list[dict[int, int]] = [{}, {}]
    for row in np.flatnonzero(matrix > 0).tolist():
        if Kind(int(operators.kind[row])) not in CONTRACTIONS:
            continue
        rate = machine.matrix_rate(DType(int(operators.dtype[row])))
        unit = 0 if rate.unit == MATRIX else 1
        done[unit] += int(matrix[row])
        by_rate[unit][rate.peak] = by_rate[unit].get(rate.peak, 0) + int(matrix[row])
    for dtype in DType:
        total = int(vector[operators.dtype == dtype].sum())
        done[1] += total
        peak = machine.vector_peak(dtype)
        by_rate[1][peak] = by_rate[1].get(peak, 0) + total
    ticks = [
        sum(flops * TICKS_PER_SECOND // peak for peak, flops in rates.items() if peak < UNLIMITED) for rates in by_rate
    ]
    return (done[0], done[1]), (ticks[0], ticks[1])


def compulsory_bytes(graph: KernelGraph) -> int:
    """Bytes that any schedule moves to or from the home tier.

    Of each storage that exists before the first kernel: the largest read, less what kernels before it wrote there.
    Of each output: the largest write.
    """
    table = graph.tensors
    outside = (~np.isin(table.storage_role, [int(role) for role in PRODUCED])).tolist()
    read, largest, written = ([0] * len(outside) for _ in range(3))
    reads, writes = _by_kernel(graph, graph.reads), _by_kernel(graph, graph.writes)
    for kernel in range(len(graph)):
        for storage, size in reads[kernel]:
            read[storage] = max(read[storage], size - written[storage])
        for storage, size in writes[kernel]:
            written[storage] += size
            largest[storage] = max(largest[storage], size)
    outputs = np.flatnonzero(table.storage_output == 1).tolist()
    return sum(read[storage] for storage in compress(range(len(read)), outside)) + sum(largest[s] for s in outputs)


def _by_kernel(graph: KernelGraph, access: Accesses) -> list[list[tuple[int, int]]]:
    """(storage, bytes) of each access, by kernel."""
    pairs = list(zip(graph.tensors.tensor_storage[access.tensor].tolist(), access.size.tolist(), strict=True))
    ptr = access.ptr.tolist()
    return [pairs[low:high] for low, high in pairwise(ptr)]


def _note_unknown(graph: KernelGraph, machine: Machine) -> None:
    """Warn of operators that are costed by their traffic only, and of tiers handled more simply than named."""
    operators = graph.operators
    unknown = np.flatnonzero(operators.kind == Kind.OPAQUE)
    if len(unknown):
        names = sorted({operators.label(int(row)) for row in unknown})
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        machine.warn(f"{len(unknown)} operators without a cost formula count as memory traffic only: {shown}")
    for tier in machine.shared[:-1]:
        if tier.management is Management.SCRATCHPAD:
            machine.warn(f"tier '{tier.name}' is a scratchpad but is managed like an LRU cache (deviation D3)")
