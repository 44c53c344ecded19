"""What memory holds in a run: where tensors live, and how full the last tier is, kernel by kernel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hiersim.lowering.live import LiveBytes, live_bytes
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Role, TensorTable

if TYPE_CHECKING:
    from hiersim.results.result import Result

BoolArray = npt.NDArray[np.bool_]


class PlacementRow(NamedTuple):
    """Tensors of one role that live in one tier."""

    tier: str
    role: str
    tensors: int
    bytes: int
    first: str
    """Name of the first of them; empty where it has none."""
    last: str


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
