"""Copies between the device and the tiers behind it: kernels of their own, that move stays in and out.

There is one queue of copies for each tier and direction. A copy moves in chunks, and each chunk passes all ports and
links on its way. The destination is already allocated, so that all chunks may be under way at once; a chunk waits for
the slowest of its ports first, since a transfer that is held back waits at its source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from hiersim.exact import ceil_share
from hiersim.lowering.host import CopyLaunch, copy_launch
from hiersim.lowering.machine import Machine, Port
from hiersim.lowering.planner import Plan
from hiersim.lowering.staging import Stay
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray, Role
from hiersim.model.program import Access, Program
from hiersim.units import LARGEST, TICKS_PER_SECOND, UNLIMITED

COPY: Final = -1
"""Index of the graph's kernel for kernels that are copies."""
Stage = tuple[int, int, int, int, int]
"""Resource, access, ticks, latency, bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One transfer between the device and the `tier`-th tier behind it."""

    inward: bool
    tier: int
    size: int
    kernel: int
    """The kernel that waits for it (inward) or that it waits for."""
    name: str
    launch: int
    """It is launched before this kernel (inward), or after it."""


def with_copies(program: Program, plan: Plan, machine: Machine, graph: KernelGraph, launch: str) -> Program:
    """`program` with the copies of `plan` among its kernels, launched as `launch` says (see `host.py`).

    Raises
    ------
    OverflowError
        When kernels, launches and copies together take more ticks than a program can hold.
    """
    ahead = int(machine.design.placement.prefetch) - 1
    copies = _copies(plan, graph, ahead)
    if not copies:
        return program
    order, needs = _interleaved(copies, len(program), ahead)
    writer = _NestWriter(machine)
    nests = [writer.nest(copy) for copy in copies]
    joined = _joined(program, copies, order, needs, nests, writer, copy_launch(machine.design, launch))
    if _one_by_one(joined) >= LARGEST:
        raise OverflowError
    return joined


def _one_by_one(program: Program) -> float:
    """Ticks of a run in which nothing overlaps; none takes longer."""
    stages = (program.stage_ticks.astype(np.float64) + program.stage_latency) * program.stage_counts()
    launches = program.host_ticks.astype(np.float64) + program.launch_latency + program.start_ticks
    return float(stages.sum() + launches.sum())


def _copies(plan: Plan, graph: KernelGraph, ahead: int) -> list[Copy]:
    """The copies of all stays, those of one kernel, tier and direction together."""
    groups: dict[tuple[bool, int, int], list[Stay]] = {}
    for stay in plan.stays:
        tier = int(plan.home[stay.storage]) - plan.device
        if stay.copied_in:
            groups.setdefault((True, stay.first, tier), []).append(stay)
        if stay.copied_out:
            groups.setdefault((False, stay.last, tier), []).append(stay)
    return [
        Copy(
            inward=inward,
            tier=tier,
            size=sum(stay.copied_in if inward else stay.copied_out for stay in group),
            kernel=kernel,
            name=_title(graph, group, inward, plan.tiers[plan.device + tier].name),
            launch=max(0, kernel - ahead) if inward else kernel,
        )
        for (inward, kernel, tier), group in groups.items()
    ]


def _title(graph: KernelGraph, group: list[Stay], inward: bool, tier: str) -> str:
    table = graph.tensors
    first = group[0].storage
    name = table.storage_names[first] or Role(int(table.storage_role[first])).name.lower()
    more = f" and {len(group) - 1} more" if len(group) > 1 else ""
    return f"copy {name}{more} {'from' if inward else 'to'} {tier}"


def _interleaved(copies: list[Copy], kernels: int, ahead: int) -> tuple[list[int], list[list[int]]]:
    """Launch order (a kernel's index, or -1 - a copy's), and for each place in it the places that it needs.

    A copy needs the one before it in its queue. Inward, it also needs the end of the kernel whose successors may
    hold what it brings; outward, that of the kernel that wrote. A kernel needs the one before, its own copies, and the
    copies that make room for it.
    """
    before: list[list[int]] = [[] for _ in range(kernels)]
    after: list[list[int]] = [[] for _ in range(kernels)]
    rank = sorted(range(len(copies)), key=lambda index: (copies[index].kernel, copies[index].tier))
    for index in rank:
        copy = copies[index]
        (before if copy.inward else after)[copy.launch].append(index)
    order: list[int] = []
    for kernel in range(kernels):
        order += [*(-1 - index for index in before[kernel]), kernel, *(-1 - index for index in after[kernel])]
    place = {item: at for at, item in enumerate(order)}
    needs: list[list[int]] = [[] for _ in order]
    last: dict[tuple[bool, int], int] = {}
    for at, item in enumerate(order):
        if item >= 0:
            needs[at] += [place[item - 1]] if item else []
            continue
        copy = copies[-1 - item]
        queue = (copy.inward, copy.tier)
        if queue in last:
            needs[at].append(last[queue])
        last[queue] = at
        if copy.inward:
            needs[place[copy.kernel]].append(at)
            needs[at] += [place[copy.kernel - ahead - 1]] if copy.kernel > ahead else []
        else:
            needs[at].append(place[copy.kernel])
            if copy.kernel + ahead + 1 < kernels:
                needs[place[copy.kernel + ahead + 1]].append(at)
    return order, [sorted(set(row)) if len(row) > 1 else row for row in needs]


class _NestWriter:
    """Loop nests of copies: full chunks and the rest; equal copies share one."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.chunk = int(machine.design.placement.chunk)
        self.nests: dict[tuple[bool, int, int], int] = {}
        self.routes: dict[tuple[int, bool], tuple[Port, ...]] = {}
        self.bodies: list[list[tuple[int, list[Stage]]]] = []
        self.free = np.zeros((2, len(machine.places)), np.int64)

    def nest(self, copy: Copy) -> int:
        """Index of the nest that moves `copy` among those written here."""
        key = (copy.inward, copy.tier, copy.size)
        route = self._route(copy.tier, copy.inward)
        for port in route:
            if not _timed(port):
                self.free[0 if port.access is Access.READ else 1, port.place] += copy.size
        if key not in self.nests:
            self.nests[key] = len(self.bodies)
            full, rest = divmod(copy.size, self.chunk)
            parts = [(full, self.chunk), (1 if rest else 0, rest)]
            tiles = [(count, self._stages(route, size)) for count, size in parts if count]
            self.bodies.append([(count, stages) for count, stages in tiles if stages])
        return self.nests[key]

    def _route(self, tier: int, inward: bool) -> tuple[Port, ...]:
        """The way between the device and a tier, looked up once: there may be a copy for each kernel."""
        if (tier, inward) not in self.routes:
            self.routes[tier, inward] = self.machine.route(tier, inward)
        return self.routes[tier, inward]

    def _stages(self, route: tuple[Port, ...], size: int) -> list[Stage]:
        """The stages of one chunk, the slowest port first."""
        stages = [
            (port.resource, int(port.access), max(1, _ticks(size, port.rate)), port.latency, size)
            for port in route
            if _timed(port)
        ]
        return sorted(stages, key=lambda stage: -stage[2])


def _timed(port: Port) -> bool:
    """Whether a port costs time."""
    return port.rate < UNLIMITED or port.latency > 0


def _ticks(size: int, rate: int) -> int:
    return 0 if rate >= UNLIMITED else int(ceil_share(size, TICKS_PER_SECOND, rate))


def _joined(
    program: Program, copies: list[Copy], order: list[int], needs: list[list[int]], nests: list[int],
    writer: _NestWriter, launch: CopyLaunch,
) -> Program:  # fmt: skip
    """The columns of both, kernels in launch order."""
    index = np.array(order, np.int64)
    is_copy = index < 0
    of_copy = np.where(is_copy, -1 - index, 0)
    of_kernel = np.where(is_copy, 0, index)

    def column(own: IntArray, copied: Any) -> IntArray:
        return np.where(is_copy, np.asarray(copied, np.int64), own[of_kernel])

    nest = column(program.nest, np.array(nests, np.int64)[of_copy] + len(program.depth))
    return replace(
        program,
        kernel_names=tuple(copies[-1 - item].name if item < 0 else program.kernel_names[item] for item in order),
        graph_kernel=np.where(is_copy, COPY, index),
        queue=program.queue + (len(copies) if launch.together else 0),
        host_ticks=column(program.host_ticks, launch.host_ticks),
        host_sync=column(program.host_sync, 0),
        launch_latency=column(program.launch_latency, launch.latency),
        start_ticks=column(program.start_ticks, launch.start),
        needs_ptr=np.concatenate(([0], np.cumsum([len(row) for row in needs]))).astype(np.int64),
        needs=np.array([need for row in needs for need in row], np.int64),
        nest=nest,
        free_bytes=program.free_bytes + writer.free,
        **_nest_columns(program, writer),
    )


def _nest_columns(program: Program, writer: _NestWriter) -> Mapping[str, Any]:
    """Loops, bodies, tiles and stages of kernels and copies."""
    added = len(writer.bodies)
    bodies = [body for nest in writer.bodies for body in nest]
    of_nest = np.array([len(nest) for nest in writer.bodies], np.int64)
    counts = np.array([count for count, _ in bodies], np.int64)
    lengths = np.array([len(stages) for _, stages in bodies], np.int64)
    table = np.array([stage for _, stages in bodies for stage in stages], np.int64).reshape(-1, 5).T
    owner = np.repeat(np.arange(added), of_nest)
    depth = np.maximum(np.bincount(owner, counts, added).astype(np.int64), 1)  # all chunks may be under way
    zeros = np.zeros(table.shape[1], np.int64)
    own: dict[str, IntArray] = {
        "depth": depth,
        "buffer_tier": np.full(added, writer.machine.home_place),
        "loop_ptr": program.loop_ptr[-1] + np.cumsum(of_nest > 0),
        "loop_repeat": np.ones(int((of_nest > 0).sum()), np.int64),
        "body_ptr": program.body_ptr[-1] + np.cumsum(of_nest[of_nest > 0]),
        "body_count": counts,
        "body_tile": len(program.stage_ptr) - 1 + np.arange(len(bodies)),
        "stage_ptr": program.stage_ptr[-1] + np.cumsum(lengths),
        "release_stage": lengths - 1,
        "complete_stage": lengths - 1,
        "stage_resource": table[0],
        "stage_access": table[1],
        "stage_ticks": table[2],
        "stage_latency": table[3],
        "stage_bytes": table[4],
        "stage_useful": zeros,
        "stage_padding": zeros,
        "stage_tail": zeros,
    }
    return {name: np.concatenate((getattr(program, name), column)).astype(np.int64) for name, column in own.items()}
