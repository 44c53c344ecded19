"""What one kernel asks of a machine: arithmetic by unit, bytes by tier, and the operator that shapes its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiersim.lowering.machine import Machine
from hiersim.lowering.residency import ReuseProfile
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import BITS, DType, IntArray, Kind
from hiersim.units import TICKS_PER_SECOND, UNLIMITED

CONTRACTIONS = (Kind.GEMM, Kind.CONV, Kind.ATTENTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelWork:
    """One kernel, ready for a tile rule. Levels count shared tiers from the nearest."""

    name: str
    anchor: int
    """Row of the contraction that shapes the tiles; -1 where there is none."""
    contractions: tuple[int, ...]
    """Rows of all contractions, the anchor among them."""
    vector_core_ticks: int
    """Ticks of one core for everything that is not a contraction's matrix arithmetic."""
    read_size: tuple[int, ...]
    """Bytes of each read."""
    read_far: tuple[tuple[int, ...], ...]
    """Per read, bytes that tier level 1, 2, … must supply (what the nearer caches miss)."""
    write_size: int
    write_far: tuple[int, ...]
    """Bytes written back to level 1, 2, …"""


class WorkList:
    """`KernelWork` of every kernel of a graph on a machine."""

    def __init__(self, graph: KernelGraph, machine: Machine, profile: ReuseProfile) -> None:
        self.graph = graph
        self.machine = machine
        caches = [int(tier.capacity) for tier in machine.shared[:-1]]
        self.far_reads = [profile.read_misses(graph.reads.size, capacity) for capacity in caches]
        self.far_writes = [profile.write_backs(len(graph), capacity) for capacity in caches]
        self.vector = _vector_core_ticks(graph, machine)

    def work(self, kernel: int) -> KernelWork:
        """The work of one kernel."""
        graph = self.graph
        rows = range(int(graph.operator_ptr[kernel]), int(graph.operator_ptr[kernel + 1]))
        low, high = int(graph.reads.ptr[kernel]), int(graph.reads.ptr[kernel + 1])
        contractions = self._contractions(rows)
        written = graph.writes.size[int(graph.writes.ptr[kernel]) : int(graph.writes.ptr[kernel + 1])]
        return KernelWork(
            name=graph.names[kernel],
            anchor=max(contractions, key=self._weight, default=-1),
            contractions=contractions,
            vector_core_ticks=sum(self.vector[rows.start : rows.stop]),
            read_size=tuple(graph.reads.size[low:high].tolist()),
            read_far=tuple(zip(*(far[low:high].tolist() for far in self.far_reads), strict=True))
            or ((),) * (high - low),
            write_size=int(written.sum()),
            write_far=tuple(int(far[kernel]) for far in self.far_writes),
        )

    def _contractions(self, rows: Sequence[int]) -> tuple[int, ...]:
        """The rows among `rows` with matrix arithmetic."""
        operators = self.graph.operators
        return tuple(
            row for row in rows if Kind(int(operators.kind[row])) in CONTRACTIONS and operators.matrix_flops[row] > 0
        )

    def _weight(self, row: int) -> tuple[int, int, int]:
        """The contraction that takes longest shapes the tiles; of equals the first with the most arithmetic."""
        operators = self.graph.operators
        flops = int(operators.matrix_flops[row])
        rate = self.machine.matrix_rate(DType(int(operators.dtype[row]))).sustained
        return (0 if rate >= UNLIMITED else flops * TICKS_PER_SECOND // rate, flops, -row)


def _vector_core_ticks(graph: KernelGraph, machine: Machine) -> list[int]:
    """(N,) ticks of one core for each operator's element-wise work."""
    operators = graph.operators
    columns = (operators.dtype.tolist(), operators.vector_flops.tolist(), operators.special_ops.tolist())
    return [
        machine.vector_core_ticks(DType(dtype), flops, special) if flops or special else 0
        for dtype, flops, special in zip(*columns, strict=True)
    ]


def element_bytes(dtype: int, count: int) -> int:
    """Bytes of `count` elements."""
    return -(-count * BITS[DType(dtype)] // 8)


def useful_flops(graph: KernelGraph) -> tuple[IntArray, IntArray]:
    """(N,) matrix FLOPs that kernels really execute, and vector FLOPs with special functions as one each."""
    operators = graph.operators
    matrix = operators.matrix_flops - operators.masked_flops
    return matrix, np.asarray(operators.vector_flops + operators.special_ops, np.int64)
