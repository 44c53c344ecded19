"""Calls that know nothing of each other, lowered together: kernels of one graph, each a run of its own.

Thousands of measured operators are as many runs of one kernel. What lowering does for a run is mostly work on columns
of one row; here the columns have a row for each call, and each call gets the program that `lower` would make of it
alone.

A call begins on an idle machine with an empty cache, or with what the same call left there (`start: warm`). Of calls
that touch each storage once that needs no walk: D(x) of `residency` is then the bytes that the call touches, for every
byte, so that a second run finds all of it in a cache that holds as much, and none of it in a smaller one. What it
writes is a result, which reaches the memory in any case.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from hiersim.errors import DesignError
from hiersim.lowering.host import dispatch
from hiersim.lowering.lower import arithmetic
from hiersim.lowering.machine import Machine
from hiersim.lowering.replacement import held_before
from hiersim.lowering.supply import FarBytes, with_far_bytes
from hiersim.lowering.tiling import Loom
from hiersim.lowering.workload import Workload, prepare
from hiersim.model.design import Design, Management, Replacement, Start
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED, DType, IntArray
from hiersim.model.program import Program

_LOOPS = ("loop_repeat",)
_BODIES = ("body_count", "release_stage", "complete_stage")
_STAGES = tuple(
    f"stage_{name}" for name in ("resource", "access", "ticks", "latency", "bytes", "useful", "padding", "tail")
)


def are_apart(graph: KernelGraph) -> bool:
    """Whether the kernels of `graph` may be calls: each storage is touched by one access.

    What is written is new and a result, what is read was there before, and kernels are single operators.
    """
    table = graph.tensors
    read, written = table.tensor_storage[graph.reads.tensor], table.tensor_storage[graph.writes.tensor]
    touched = np.bincount(np.append(read, written), minlength=len(table.storage_bytes))
    produced = np.isin(table.storage_role, [int(role) for role in PRODUCED])
    return bool(
        (touched == 1).all()
        and len(graph.operators) == len(graph)
        and produced[written].all()
        and (table.storage_output[written] == 1).all()
        and not produced[read].any()
    )


def takes_calls(design: Design) -> bool:
    """Whether calls can be lowered together for `design`: behind its cores are LRU caches and one memory."""
    nearer = design.shared_tiers[:-1]
    plain = all(tier.management is Management.CACHE and tier.replacement is Replacement.LRU for tier in nearer)
    return plain and not design.pools and not design.placement.pins


class Calls:
    """The workload of a graph of calls: what no design changes. K calls."""

    def __init__(self, graph: KernelGraph) -> None:
        assert are_apart(graph), "calls touch each storage once"
        self.graph = graph
        self.workload = prepare(graph)
        table, operators = graph.tensors, graph.operators
        self.read = _by_call(graph.reads.size, graph.reads.ptr)
        self.written = _by_call(graph.writes.size, graph.writes.ptr)
        room = table.storage_bytes[table.tensor_storage]
        self.peak = _by_call(room[graph.reads.tensor], graph.reads.ptr)
        self.peak += _by_call(room[graph.writes.tensor], graph.writes.ptr)
        self.matrix_flops = operators.matrix_flops - operators.masked_flops
        self.vector_flops = operators.vector_flops + operators.special_ops

    def __len__(self) -> int:
        return len(self.graph)

    def programs(self, design: Design) -> Iterator[Program | None]:
        """The program of each call on `design`, which `takes_calls`; None where the call does not fit the memory.

        Of `peak_bytes`, the tile buffers are the largest of all calls, and so are `warnings`.

        Raises
        ------
        DesignError
            When no unit can do a dtype of some call, or all of them together take more ticks than one program can.
        """
        try:
            yield from self._programs(design)
        except OverflowError:
            raise DesignError(
                "is too slow for these calls together", file=design.name, expected="fewer calls"
            ) from None

    def _programs(self, design: Design) -> Iterator[Program | None]:
        machine, workload = Machine(design), _with_caches(self, design)
        figures = machine.figures(workload.matrix_dtypes, workload.vector_dtypes, workload.runs)
        loom = Loom(workload.classes, figures)
        nests = loom.weave()[workload.kernel_class].tolist()
        columns, (buffers, unstaged) = loom.columns(), loom.totals()
        if unstaged.any():
            raise DesignError("has a memory without a port", file=design.name, expected="calls one by one")
        host, common = dispatch(workload, design), self._common(machine, workload)
        known: dict[int, dict[str, Any]] = {}
        compulsory = np.maximum(self.read + self.written - held_before(design), 0).tolist()
        for call, (nest, peak) in enumerate(zip(nests, self.peak.tolist(), strict=True)):
            if peak > design.home.capacity:
                yield None
                continue
            if nest not in known:
                known[nest] = _nest(columns, nest)
            flops, ticks = self._arithmetic(call, machine)
            own = slice(call, call + 1)
            yield Program(
                kernel_names=self.graph.names[own],
                host_ticks=host.host_ticks[own],
                launch_latency=host.launch_latency[own],
                start_ticks=host.start_ticks[own],
                host_sync=self.graph.host_syncs[own],
                queue=host.queue,
                peak_bytes=_peaks(peak, buffers, machine),
                flops=flops,
                peak_ticks=ticks,
                compulsory_bytes=compulsory[call],
                warnings=tuple(machine.warnings),
                **known[nest],
                **common,
            )

    def _arithmetic(self, call: int, machine: Machine) -> tuple[tuple[int, int], tuple[int, int]]:
        dtype = DType(int(self.graph.operators.dtype[call]))
        matrix, vector = int(self.matrix_flops[call]), int(self.vector_flops[call])
        return arithmetic({dtype: matrix} if matrix else {}, {dtype: vector} if vector else {}, machine)

    def _common(self, machine: Machine, workload: Workload) -> dict[str, Any]:
        """Fields that the programs of all calls share."""
        return {
            "tiers": tuple(place.name for place in machine.places),
            "resources": machine.resources,
            "needs_ptr": workload.needs_ptr[:2],
            "needs": workload.needs[:0],
            "nest": np.zeros(1, np.int64),
            "buffer_tier": np.full(1, machine.buffer_tier),
            "free_bytes": np.zeros((2, len(machine.places)), np.int64),
            "home_tier": machine.home_place,
        }


def _with_caches(calls: Calls, design: Design) -> Workload:
    """The workload with what each far tier supplies and takes, where a cache does not begin empty."""
    caches = design.shared_tiers[:-1]
    if all(tier.start is Start.COLD for tier in caches):
        return calls.workload
    graph, held = calls.graph, 0
    missed, read = graph.reads.size, []
    touched = np.repeat(calls.read + calls.written, np.diff(graph.reads.ptr))
    for tier in caches:
        if tier.found_again > held:
            held = tier.found_again
            if tier.start is Start.WARM:
                missed = np.where(touched <= held, 0, missed)
        read.append(missed)
    write = np.repeat(calls.written[:, None], len(caches), axis=1)
    return with_far_bytes(calls.workload, FarBytes(read=np.stack(read, axis=1), write=write))


def _by_call(values: IntArray, ptr: IntArray) -> IntArray:
    return np.diff(np.append(0, np.cumsum(values))[ptr])


def _nest(columns: dict[str, Any], nest: int) -> dict[str, Any]:
    """The columns of one loop nest; no two bodies share a tile, so that tiles are numbered as bodies are."""
    loops = columns["loop_ptr"][nest : nest + 2]
    bodies = columns["body_ptr"][loops[0] : loops[1] + 1]
    stages = columns["stage_ptr"][bodies[0] : bodies[-1] + 1]
    spans = ((_LOOPS, loops), (_BODIES, bodies), (_STAGES, stages))
    found = {name: columns[name][ptr[0] : ptr[-1]] for names, ptr in spans for name in names}
    return {
        **found,
        "depth": columns["depth"][nest : nest + 1],
        "loop_ptr": loops - loops[0],
        "body_ptr": bodies - bodies[0],
        "stage_ptr": stages - stages[0],
        "body_tile": np.arange(bodies[-1] - bodies[0], dtype=np.int64),
    }


def _peaks(tensors: int, buffers: int, machine: Machine) -> IntArray:
    """Largest occupancy per place: tile buffers, cache contents, tensors."""
    peaks = np.zeros(len(machine.places), np.int64)
    for index, tier in enumerate(machine.shared, machine.first_shared):
        peaks[index] = min(int(tier.capacity), tensors)
    peaks[machine.buffer_tier], peaks[machine.home_place] = buffers, tensors
    return peaks
