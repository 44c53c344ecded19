"""Calls that know nothing of each other, lowered together: some kernels of one graph, each call a run of its own.

Thousands of measured operators are as many runs of a kernel, or of two or three. What lowering does for a run is mostly
work on columns of a few rows; here the columns have rows for all calls, and each call gets the program that `lower`
would make of it alone.

A call begins on an idle machine with an empty cache, or with what the same call left there (`start: warm`). What it
finds there again is walked for all calls at once (`apart`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hiersim.errors import DesignError
from hiersim.lowering.apart import profile_runs, profile_second_runs, run_of_storages
from hiersim.lowering.host import dispatch
from hiersim.lowering.lower import arithmetic
from hiersim.lowering.machine import Machine
from hiersim.lowering.placement import lifetimes
from hiersim.lowering.replacement import bytes_beyond, held_before
from hiersim.lowering.residency import ReuseProfile
from hiersim.lowering.supply import with_far_bytes
from hiersim.lowering.tiling import Loom
from hiersim.lowering.workload import CONTRACTIONS, Workload, compulsory_of_storages, prepare
from hiersim.model.design import Design, Management, Replacement, Start
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED, DType, IntArray
from hiersim.model.program import Program

_LOOPS = ("loop_repeat",)
_BODIES = ("body_count", "release_stage", "complete_stage")
_STAGES = tuple(
    f"stage_{name}" for name in ("resource", "access", "ticks", "latency", "bytes", "useful", "padding", "tail")
)
_PTRS = ("loop_ptr", "body_ptr", "stage_ptr")


def are_apart(graph: KernelGraph, kernels: int) -> bool:
    """Whether each `kernels` kernels of `graph` may be a call: single operators, and no two calls share a storage."""
    whole = len(graph) % kernels == 0 and len(graph.operators) == len(graph)
    return whole and run_of_storages(graph, kernels) is not None


def takes_calls(design: Design) -> bool:
    """Whether calls can be lowered together for `design`: behind its cores are LRU caches and one memory."""
    nearer = design.shared_tiers[:-1]
    plain = all(tier.management is Management.CACHE and tier.replacement is Replacement.LRU for tier in nearer)
    return plain and not design.pools and not design.placement.pins


class Calls:
    """The workload of a graph of calls of `kernels` kernels each: what no design changes. K calls."""

    def __init__(self, graph: KernelGraph, kernels: int = 1) -> None:
        run = run_of_storages(graph, kernels)
        assert run is not None and are_apart(graph, kernels), "calls share no storage"
        self.graph, self.kernels, self._run = graph, kernels, run
        self.workload = prepare(graph, profile_runs(graph, kernels, run))
        self.peak = _peak_bytes(graph, kernels, run)
        self.compulsory = np.zeros(len(self), np.int64)
        np.add.at(self.compulsory, run, compulsory_of_storages(graph))
        operators = graph.operators
        contracts = np.isin(operators.kind, [int(kind) for kind in CONTRACTIONS]) & (operators.matrix_flops > 0)
        self.matrix_flops = np.where(contracts, operators.matrix_flops - operators.masked_flops, 0)
        self.vector_flops = operators.vector_flops + operators.special_ops

    def __len__(self) -> int:
        return len(self.graph) // self.kernels

    @cached_property
    def second(self) -> ReuseProfile:
        """Reuse of calls that begin with what the same calls left."""
        return profile_second_runs(self.graph, self.kernels, self._run)

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
        nests = loom.weave()[workload.kernel_class].reshape(-1, self.kernels).tolist()
        columns, (buffers, unstaged) = loom.columns(), loom.totals()
        if unstaged.any():
            raise DesignError("has a memory without a port", file=design.name, expected="calls one by one")
        host, common = dispatch(workload, design), self._common(machine, workload)
        known: dict[tuple[int, ...], dict[str, Any]] = {}
        compulsory = np.maximum(self.compulsory - held_before(design), 0).tolist()
        for call, (own_nests, peak) in enumerate(zip(nests, self.peak.tolist(), strict=True)):
            if peak > design.home.capacity:
                yield None
                continue
            chosen = tuple(dict.fromkeys(own_nests))
            if chosen not in known:
                known[chosen] = _nests(columns, chosen)
            own = slice(call * self.kernels, (call + 1) * self.kernels)
            flops, ticks = self._arithmetic(own, machine)
            yield Program(
                kernel_names=self.graph.names[own],
                host_ticks=host.host_ticks[own],
                launch_latency=host.launch_latency[own],
                start_ticks=host.start_ticks[own],
                host_sync=self.graph.host_syncs[own],
                queue=host.queue,
                nest=np.array([chosen.index(nest) for nest in own_nests], np.int64),
                buffer_tier=np.full(len(chosen), machine.buffer_tier),
                peak_bytes=_peaks(peak, buffers, machine),
                flops=flops,
                peak_ticks=ticks,
                compulsory_bytes=compulsory[call],
                warnings=tuple(machine.warnings),
                **known[chosen],
                **common,
            )

    def _arithmetic(self, own: slice, machine: Machine) -> tuple[tuple[int, int], tuple[int, int]]:
        done: list[dict[DType, int]] = [{}, {}]
        dtypes = self.graph.operators.dtype[own].tolist()
        for sums, column in zip(done, (self.matrix_flops, self.vector_flops), strict=True):
            for dtype, flops in zip(dtypes, column[own].tolist(), strict=True):
                if flops:
                    sums[DType(dtype)] = sums.get(DType(dtype), 0) + flops
        return arithmetic(done[0], done[1], machine)

    def _common(self, machine: Machine, workload: Workload) -> dict[str, Any]:
        """Fields that the programs of all calls share."""
        return {
            "tiers": tuple(place.name for place in machine.places),
            "resources": machine.resources,
            "needs_ptr": workload.needs_ptr[: self.kernels + 1],
            "needs": workload.needs[: self.kernels - 1],
            "free_bytes": np.zeros((2, len(machine.places)), np.int64),
            "home_tier": machine.home_place,
        }


def _with_caches(calls: Calls, design: Design) -> Workload:
    """The workload with what each far tier supplies and takes, where a cache does not begin empty."""
    caches = design.shared_tiers[:-1]
    if all(tier.start is Start.COLD for tier in caches):
        return calls.workload
    return with_far_bytes(calls.workload, bytes_beyond(calls.workload, caches, calls.second))


def _peak_bytes(graph: KernelGraph, kernels: int, run: IntArray) -> IntArray:
    """(K,) the largest occupancy of the home tier in each call, which alone is there."""
    table, life = graph.tensors, lifetimes(graph)
    begin, end = run * kernels, (run + 1) * kernels
    first = np.where(np.isin(table.storage_role, [int(role) for role in PRODUCED]), life.first, begin)
    last = np.where(table.storage_free < 0, end - 1, life.last)
    change = np.zeros(len(graph) + 1, np.int64)
    np.add.at(change, first, table.storage_bytes)
    np.subtract.at(change, last + 1, table.storage_bytes)
    most: IntArray = np.cumsum(change[:-1]).reshape(-1, kernels).max(axis=1)
    return most


def _nests(columns: dict[str, Any], chosen: Sequence[int]) -> dict[str, Any]:
    """The columns of some loop nests, one behind the other; no two bodies share a tile: these are numbered alike."""
    parts = [_nest(columns, nest) for nest in chosen]
    found = {
        name: np.concatenate([part[name] for part in parts])
        for name in ("depth", *_LOOPS, *_BODIES, *_STAGES)
    }  # fmt: skip
    for name in _PTRS:
        ends = [np.diff(part[name]) for part in parts]
        found[name] = np.append(0, np.cumsum(np.concatenate(ends)))
    return {**found, "body_tile": np.arange(len(found["body_count"]), dtype=np.int64)}


def _nest(columns: dict[str, Any], nest: int) -> dict[str, Any]:
    """The columns of one loop nest."""
    loops = columns["loop_ptr"][nest : nest + 2]
    bodies = columns["body_ptr"][loops[0] : loops[1] + 1]
    stages = columns["stage_ptr"][bodies[0] : bodies[-1] + 1]
    spans = ((_LOOPS, loops), (_BODIES, bodies), (_STAGES, stages))
    found = {name: columns[name][ptr[0] : ptr[-1]] for names, ptr in spans for name in names}
    return {
        **found, "depth": columns["depth"][nest : nest + 1], "loop_ptr": loops, "body_ptr": bodies, "stage_ptr": stages,
    }  # fmt: skip


def _peaks(tensors: int, buffers: int, machine: Machine) -> IntArray:
    """Largest occupancy per place: tile buffers, cache contents, tensors."""
    peaks = np.zeros(len(machine.places), np.int64)
    for index, tier in enumerate(machine.shared, machine.first_shared):
        peaks[index] = min(int(tier.capacity), tensors)
    peaks[machine.buffer_tier], peaks[machine.home_place] = buffers, tensors
    return peaks
