"""What the last tier holds while a run goes on, by role; and the lives of its tensors."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from hiersim.lowering.placement import lifetimes
from hiersim.model.operators import IntArray, Role
from hiersim.results import Result, role_names

MOST_STEPS: Final = 400
"""Steps that are drawn; of more, each is the fullest of its neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Occupancy:
    """Bytes live in one tier from `start` of each step to that of the next. T steps, R roles."""

    tier: str
    capacity: int
    start: IntArray
    """(T,) ticks."""
    end: int
    roles: tuple[str, ...]
    live: IntArray
    """(T, R) bytes."""
    peak_bytes: int
    peak_kernel: str

    @property
    def steady_first(self) -> list[int]:
        """Roles by how little they change, so that what moves is drawn on what does not."""
        swing = [int(np.ptp(column)) if len(column) else 0 for column in self.live.T]
        return sorted(range(len(self.roles)), key=lambda place: (swing[place], place))


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """From the start of the first kernel that touches a tensor to the end of the last."""

    name: str
    role: str
    bytes: int
    begin: int
    end: int


def occupancy(result: Result, most: int = MOST_STEPS) -> Occupancy:
    """The last tier that kernels address, over the makespan; roles without any bytes are left out."""
    live, home = result.live, result.design.home
    start = result.timeline.start[result.program.places]
    rows = _fullest(live.total, most)
    shown = [role for role in range(live.by_role.shape[1]) if live.by_role[:, role].any()]
    names = role_names()
    return Occupancy(
        tier=home.name,
        capacity=int(home.capacity),
        start=start[[group[0] for group in rows]],
        end=int(result.makespan),
        roles=tuple(names[role] for role in shown),
        live=live.by_role[[group[1] for group in rows]][:, shown],
        peak_bytes=int(live.total.max()),
        peak_kernel=result.graph.names[live.peak_kernel],
    )


def _fullest(total: IntArray, most: int) -> list[tuple[int, int]]:
    """First and fullest row of each of at most `most` groups of neighbours."""
    edges = np.unique(np.linspace(0, len(total), min(most, len(total)) + 1).astype(np.int64))
    return [(a, int(a + total[a:b].argmax())) for a, b in pairwise(edges.tolist())]


def lives(result: Result, most: int = 60) -> tuple[Life, ...]:
    """The largest activations and other tensors that are made on the way, in the order of their birth."""
    graph, timeline, places = result.graph, result.timeline, result.program.places
    table, life = graph.tensors, lifetimes(graph)
    made = np.isin(table.storage_role, (Role.ACTIVATION, Role.GRADIENT)) & (life.used == 1)
    rows = np.flatnonzero(made)
    rows = rows[np.argsort(-table.storage_bytes[rows], kind="stable")][:most]
    rows = rows[np.argsort(life.first[rows], kind="stable")]
    return tuple(
        Life(
            name=table.storage_names[row],
            role=Role(int(table.storage_role[row])).name.lower(),
            bytes=int(table.storage_bytes[row]),
            begin=int(timeline.start[places[life.first[row]]]),
            end=int(timeline.end[places[life.last[row]]]),
        )
        for row in rows.tolist()
    )
