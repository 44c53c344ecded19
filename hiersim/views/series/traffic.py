"""Bytes from tier to tier, and kernels with their operators and readers."""

from __future__ import annotations

from dataclasses import dataclass

from hiersim.results import Result
from hiersim.views.series.timeline import flows
from hiersim.views.tables import written


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A tier, and what is read from it towards the cores and written to it."""

    tier: str
    read: int
    write: int

    @property
    def label(self) -> str:
        """Its name in words."""
        return written(self.tier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One kernel of the graph."""

    kernel: int
    name: str
    operators: tuple[str, ...]

    @property
    def fused(self) -> bool:
        """Whether it runs several operators."""
        return len(self.operators) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelGraph:
    """Kernels in launch order, and arcs from each to those that read what it wrote."""

    boxes: tuple[Box, ...]
    arcs: tuple[tuple[int, int], ...]
    """(producer, consumer) among the kernels that are shown."""


def traffic(result: Result) -> tuple[Place, ...]:
    """Tiers that any bytes pass, nearest first."""
    return tuple(
        Place(tier=name, read=ways["read"], write=ways["write"])
        for name, ways in result.traffic.items()
        if ways["read"] + ways["write"]
    )


def kernel_graph(result: Result, first: int, most: int) -> KernelGraph:
    """Kernels `first` to `first + most` of the graph."""
    graph, places = result.graph, result.program.places.tolist()
    kernels = range(first, min(first + most, len(graph)))
    shown = {places[kernel]: kernel for kernel in kernels}
    return KernelGraph(
        boxes=tuple(Box(kernel=k, name=graph.names[k], operators=_operators(result, k)) for k in kernels),
        arcs=tuple((shown[a], shown[b]) for a, b in flows(result) if a in shown and b in shown),
    )


def _operators(result: Result, kernel: int) -> tuple[str, ...]:
    """Names of the operators that a kernel runs."""
    graph = result.graph
    rows = range(int(graph.operator_ptr[kernel]), int(graph.operator_ptr[kernel + 1]))
    return tuple(graph.operators.label(row) for row in rows) or (graph.names[kernel],)
