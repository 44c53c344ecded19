"""Builds a captured `KernelGraph` kernel by kernel, and finishes its lifetimes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hiersim.frontends.aten import Cost
from hiersim.frontends.tables import Access, OperatorBuilder, Row, Storage, TensorBuilder, TensorKey, accesses
from hiersim.model.kernels import KernelGraph, Launch
from hiersim.model.operators import Accesses, DType, Flag, Kind, Phase, Role
from hiersim.model.trace import CompilerEstimate, OperatorGraph


@dataclass(slots=True)
class ScheduleBuilder:
    """Kernels in launch order, over one table of storages."""

    tensors: TensorBuilder = field(default_factory=TensorBuilder)
    operators: OperatorBuilder = field(default_factory=OperatorBuilder)
    recomputed: list[int] = field(default_factory=list)
    operator_ptr: list[int] = field(default_factory=lambda: [0])
    names: list[str] = field(default_factory=list)
    launch: list[Launch] = field(default_factory=list)
    host_views: list[int] = field(default_factory=list)
    host_syncs: list[int] = field(default_factory=list)
    reads: list[list[Access]] = field(default_factory=list)
    writes: list[list[Access]] = field(default_factory=list)
    cycles: list[int] = field(default_factory=list)
    """What the compiler expects of each kernel; -1: it says nothing."""
    by_name: dict[str, int] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)
    """Nodes of compiled graphs that a kernel has already run."""
    lowered: int = 0
    """Matrix FLOPs of thin products that the compiler turned into multiplications and sums."""
    asked: int = 0
    """Matrix FLOPs of the graphs that were scheduled."""

    def named(self, name: str, size: int, role: Role) -> int:
        """The storage of that name, made at first sight."""
        if name not in self.by_name:
            self.by_name[name] = self.tensors.storage(Storage(size=size, role=role, name=name))
        return self.by_name[name]

    def kernel(
        self,
        name: str,
        rows: Sequence[tuple[Row, bool]],
        reads: list[Access],
        writes: list[Access],
        *,
        launch: Launch = Launch.COMPILED,
        views: int = 0,
        sync: bool = False,
        cycles: int = -1,
    ) -> None:
        """Append a kernel; each row says whether it repeats earlier work."""
        self.cycles.append(cycles)
        self.operators.rows += [row for row, _ in rows]
        self.recomputed += [int(repeated) for _, repeated in rows]
        self.operator_ptr.append(len(self.operators.rows))
        self.names.append(name)
        self.launch.append(launch)
        self.host_views.append(views)
        self.host_syncs.append(int(sync))
        self.reads.append(reads)
        self.writes.append(writes)

    def build(self, policy: str) -> KernelGraph:
        """The schedule; every buffer lives until its last use."""
        self._close_lifetimes()
        reads, writes = accesses(self.reads, self.tensors), accesses(self.writes, self.tensors)
        return KernelGraph(
            policy=policy,
            tensors=self.tensors.build(),
            operators=self.operators.build(),
            recomputed=np.array(self.recomputed, np.int64),
            operator_ptr=np.array(self.operator_ptr, np.int64),
            names=tuple(self.names),
            launch=np.array(self.launch, np.int64),
            host_views=np.array(self.host_views, np.int64),
            host_syncs=np.array(self.host_syncs, np.int64),
            reads=reads,
            writes=writes,
        )

    def estimate(self) -> CompilerEstimate | None:
        """What the compiler expects of the kernels; None where it says nothing of any."""
        if max(self.cycles, default=-1) < 0:
            return None
        return CompilerEstimate(cycles=np.array(self.cycles, np.int64))

    def _close_lifetimes(self) -> None:
        last: dict[int, int] = {}
        written: set[int] = set()
        for kernel, (reads, writes) in enumerate(zip(self.reads, self.writes, strict=True)):
            last |= {key.storage: kernel for key, _ in (*reads, *writes)}
            written |= {key.storage for key, _ in writes}
        for index, storage in enumerate(self.tensors.storages):
            if storage.role is Role.KV_CACHE and index in written:
                storage.output = True
            if storage.role is Role.ACTIVATION and not storage.output:
                storage.free = last.get(index, 0)


def append_eager(builder: ScheduleBuilder, graph: OperatorGraph, rows: Sequence[int]) -> None:
    """Append eager operators, one kernel each; storages are matched by name, unnamed ones are new."""
    moved: dict[int, int] = {}
    views, sync = 0, False
    table = graph.operators
    for row in rows:
        kind = Kind(int(table.kind[row]))
        if kind is Kind.VIEW:
            views += 1
        elif kind is Kind.SYNC:
            sync = True
        else:
            reads, writes = (_moved(builder, graph, part, row, moved) for part in (graph.reads, graph.writes))
            operator = _row(graph, row)
            builder.kernel(
                operator.name, [(operator, False)], reads, writes, launch=Launch.EAGER, views=views, sync=sync
            )
            views, sync = 0, False


def _row(graph: OperatorGraph, row: int) -> Row:
    table = graph.operators
    cost = Cost(
        kind=Kind(int(table.kind[row])),
        dims=tuple(int(value) for value in table.dims[table.dims_ptr[row] : table.dims_ptr[row + 1]]),
        matrix_flops=int(table.matrix_flops[row]),
        masked_flops=int(table.masked_flops[row]),
        vector_flops=int(table.vector_flops[row]),
        special_ops=int(table.special_ops[row]),
    )
    return Row(
        name=table.label(row),
        module=table.strings[int(table.module[row])],
        phase=Phase(int(table.phase[row])),
        flags=Flag(int(table.flags[row])),
        dtype=DType(int(table.dtype[row])),
        cost=cost,
    )


def _moved(
    builder: ScheduleBuilder, graph: OperatorGraph, part: Accesses, row: int, moved: dict[int, int]
) -> list[Access]:
    """The accesses of an eager row, in the builder's storages."""
    tensors, found = graph.tensors, []
    for at in range(int(part.ptr[row]), int(part.ptr[row + 1])):
        tensor = int(part.tensor[at])
        old = int(tensors.tensor_storage[tensor])
        name, size = tensors.storage_names[old], int(tensors.storage_bytes[old])
        role = Role(int(tensors.storage_role[old]))
        if old not in moved:
            new = builder.named(name, size, role) if name else builder.tensors.storage(Storage(size=size, role=role))
            builder.tensors.storages[new].output |= bool(tensors.storage_output[old])
            moved[old] = new
        key = TensorKey(
            storage=moved[old],
            dtype=DType(int(tensors.tensor_dtype[tensor])),
            shape=tuple(map(int, tensors.shape[tensors.shape_ptr[tensor] : tensors.shape_ptr[tensor + 1]])),
            offset=int(tensors.tensor_offset[tensor]),
            size=int(tensors.tensor_bytes[tensor]),
        )
        found.append((key, int(part.size[at])))
    return found
