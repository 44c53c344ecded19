"""A trace under construction from a foreign format: named tensors, then operators in issue order.

The importers share it, so that roles, results and lifetimes are decided in one way: what is read before anything
writes it was there from the start; what is written and never read is a result; everything else lives to its last use.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Final

from hiersim.errors import TraceError, one_line
from hiersim.frontends.aten import arithmetic_dtype
from hiersim.frontends.aten.call import Cost, Operand, Shape
from hiersim.frontends.integrity import check_trace
from hiersim.frontends.tables import Access, OperatorBuilder, Row, Storage, TensorBuilder, TensorKey, accesses, merged
from hiersim.model.operators import BITS, PRODUCED, DType, Flag, Kind, Phase, Role
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader
from hiersim.units import LARGEST

MAX_NAMED: Final = 8
"""Kinds of operators that a note names before it says how many more there are."""


def bytes_of(shape: Shape, dtype: DType) -> int:
    """Bytes of a dense tensor."""
    return -(-prod(shape) * BITS[dtype] // 8)


def operand_of(key: TensorKey) -> Operand:
    """A tensor as the cost rules see it."""
    return Operand(shape=key.shape, dtype=key.dtype)


@dataclass(slots=True)
class Draft:
    """Collects tensors and operators; every fault names `file` and the present `line`."""

    file: str
    line: int | None = None
    tensors: TensorBuilder = field(default_factory=TensorBuilder)
    operators: OperatorBuilder = field(default_factory=OperatorBuilder)
    reads: list[list[Access]] = field(default_factory=list)
    writes: list[list[Access]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.operators.rows)

    def fault(self, problem: str, key: str | None = None, expected: str | None = None) -> TraceError:
        """The error to raise at the present line."""
        return TraceError(problem, file=self.file, line=self.line, key=key, expected=expected)

    def tensor(self, shape: Shape, dtype: DType, role: Role = Role.ACTIVATION, name: str = "") -> TensorKey:
        """A new tensor in a storage of its own."""
        size = bytes_of(shape, dtype)
        if size >= LARGEST:
            raise self.fault(f"tensor '{name}' is too large", expected="fewer than 2^62 bytes")
        storage = self.tensors.storage(Storage(size=size, role=role, name=one_line(name)))
        return TensorKey(storage=storage, dtype=dtype, shape=tuple(shape), size=size)

    def view(self, key: TensorKey, shape: Shape, offset: int = 0) -> TensorKey:
        """The same memory with another shape; never beyond the end of its storage."""
        room = self.tensors.storages[key.storage].size
        start = min(key.offset + offset, room)
        size = min(bytes_of(shape, key.dtype), room - start)
        return replace(key, shape=tuple(shape), offset=start, size=size)

    def operator(
        self, name: str, cost: Cost, reads: Sequence[Access], writes: Sequence[Access], *, dtype: DType | None = None,
        module: str = "", phase: Phase = Phase.FORWARD, flags: Flag = Flag.NONE,
    ) -> None:  # fmt: skip
        """Append one operator; without `dtype` the arithmetic runs in what its operands say."""
        work = (cost.matrix_flops, cost.vector_flops, cost.special_ops, *cost.dims)
        if any(not 0 <= value < LARGEST for value in work):
            raise self.fault(f"operator '{name[:60]}' is too large", expected="sizes and FLOPs below 2^62")
        if dtype is None:
            found = (tuple(operand_of(key) for key, _ in part) for part in (reads, writes))
            dtype = arithmetic_dtype(cost.kind, *found)
        self.operators.rows.append(
            Row(name=one_line(name), module=one_line(module), phase=phase, flags=flags, dtype=dtype, cost=cost)
        )
        self.reads.append(merged(reads))
        self.writes.append(merged(writes))

    def finish(self, header: TraceHeader, results: Iterable[TensorKey] | None = None) -> Trace:
        """The trace; `results` must have reached memory at the end (default: what is written and never read).

        Raises
        ------
        TraceError
            No operators, or a graph that breaks a law of traces.
        """
        if not self.operators.rows:
            raise self.fault("holds no operators", expected="at least one operator")
        self._close({key.storage for key in results} if results is not None else None)
        moved = accesses(self.reads, self.tensors), accesses(self.writes, self.tensors)
        graph = OperatorGraph(
            tensors=self.tensors.build(), operators=self.operators.build(), reads=moved[0], writes=moved[1]
        )
        unknown = unknown_note(row.name for row in self.operators.rows if row.cost.kind is Kind.OPAQUE)
        header = replace(header, notes=(*header.notes, *unknown))
        return check_trace(Trace(header=header, graph=graph), self.file)

    def _close(self, results: set[int] | None) -> None:
        """Roles, results and lifetimes of all storages."""
        first_read: dict[int, int] = {}
        first_write: dict[int, int] = {}
        last: dict[int, int] = {}
        last_read: dict[int, int] = {}
        for row, (reads, writes) in enumerate(zip(self.reads, self.writes, strict=True)):
            for key, _ in reads:
                first_read.setdefault(key.storage, row)
                last_read[key.storage] = last[key.storage] = row
            for key, _ in writes:
                first_write.setdefault(key.storage, row)
                last[key.storage] = row
        for index, storage in enumerate(self.tensors.storages):
            written = first_write.get(index, len(self.reads))
            if storage.role in PRODUCED and first_read.get(index, -1) >= 0 and first_read[index] <= written:
                storage.role = Role.INPUT
            if results is not None:
                storage.output = index in results
            elif storage.role in PRODUCED:
                storage.output = index in first_write and index not in last_read
            if storage.role in PRODUCED and not storage.output:
                storage.free = last.get(index, 0)


def unknown_note(names: Iterable[str]) -> tuple[str, ...]:
    """The note that says which operators have no cost formula and how many there are; none where all have one."""
    counted: dict[str, int] = {}
    for name in names:
        counted[name] = counted.get(name, 0) + 1
    if not counted:
        return ()
    total, ranked = sum(counted.values()), sorted(counted, key=lambda name: (-counted[name], name))
    shown = ", ".join(f"{_short(name)} ({counted[name]})" for name in ranked[:MAX_NAMED])
    more = f" and {len(ranked) - MAX_NAMED} more kinds" if len(ranked) > MAX_NAMED else ""
    return (one_line(f"{total} operators without a cost formula count as memory traffic only: {shown}{more}"),)


def _short(name: str) -> str:
    """Names of kernels may have hundreds of letters."""
    return name if len(name) <= 50 else f"{name[:49]}…"
