"""Attention that is written out, as PyTorch runs it, as a list of operators. Needs neither torch nor hypothesis.

    from hiersim.testing.attention import written_attention

    trace = written_attention(batch=64, heads=16, length=1024, head=64)

Nothing here is random: the same arguments give the same arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Final

import numpy as np

from hiersim.model.operators import BITS, Accesses, DType, Flag, Kind, OperatorTable, Phase, Role, TensorTable, csr
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader

FP32: Final = DType.FP32


@dataclass(slots=True, kw_only=True)
class _Recorder:
    """Operators in issue order; storages by name, one tensor each."""

    dtype: DType
    storages: dict[str, tuple[tuple[int, ...], DType, Role]] = field(default_factory=dict)
    rows: list[tuple[str, Kind, Phase, DType, int, int, int]] = field(default_factory=list)
    dims: list[list[int]] = field(default_factory=list)
    reads: list[list[int]] = field(default_factory=list)
    writes: list[list[int]] = field(default_factory=list)
    phase: Phase = Phase.FORWARD

    def add(self, name: str, shape: tuple[int, ...], role: Role, dtype: DType | None = None) -> None:
        """A storage."""
        self.storages[name] = (shape, self.dtype if dtype is None else dtype, role)

    def run(
        self,
        name: str,
        kind: Kind,
        reads: str,
        write: str,
        shape: tuple[int, ...],
        *,
        dims: tuple[int, ...] = (),
        vector: int = 0,
        special: int = 0,
    ) -> None:
        """An operator that makes storages; `reads` and `write` are names, of `shape` all that are not there yet."""
        for made in write.split():
            if made not in self.storages:
                self.add(made, shape, Role.ACTIVATION, DType.BOOL if made.endswith("?") else None)
        matrix = 2 * prod(dims) if kind is Kind.GEMM else 0
        dtype = self.dtype if kind is Kind.GEMM else FP32
        self.rows.append((f"aten.{name}.default", kind, self.phase, dtype, matrix, vector, special))
        ids = {label: index for index, label in enumerate(self.storages)}
        self.dims.append(list(dims))
        self.reads.append([ids[label] for label in reads.split()])
        self.writes.append([ids[label] for label in write.split()])

    def graph(self, outputs: tuple[str, ...]) -> OperatorGraph:
        """All of it, with these results."""
        tensors = self._tensors(outputs)
        columns = np.array([row[1:] for row in self.rows], np.int64).T
        kind, phase, dtype, matrix, vector, special = columns
        names = tuple(dict.fromkeys(row[0] for row in self.rows))
        ptr, dims = csr(self.dims)
        nothing = np.zeros(len(self.rows), np.int64)
        random = np.array(["dropout" in row[0] and "backward" not in row[0] for row in self.rows])
        return OperatorGraph(
            tensors=tensors,
            operators=OperatorTable(
                strings=(*names, "attention"),
                name=np.array([names.index(row[0]) for row in self.rows], np.int64),
                module=nothing + len(names), kind=kind, phase=phase,
                flags=np.where(random, int(Flag.RANDOM), 0).astype(np.int64), dtype=dtype,
                matrix_flops=matrix, masked_flops=nothing, vector_flops=vector, special_ops=special,
                dims_ptr=ptr, dims=dims,
            ),
            reads=_accesses(self.reads, tensors),
            writes=_accesses(self.writes, tensors),
        )  # fmt: skip

    def _tensors(self, outputs: tuple[str, ...]) -> TensorTable:
        count = len(self.storages)
        last = np.full(count, -1, np.int64)
        for row, touched in enumerate(zip(self.reads, self.writes, strict=True)):
            last[[*touched[0], *touched[1]]] = row
        role = np.array([role for _, _, role in self.storages.values()], np.int64)
        output = np.array([name in outputs for name in self.storages], np.int64)
        size = np.array([prod(shape) * BITS[dtype] // 8 for shape, dtype, _ in self.storages.values()], np.int64)
        ptr, shape = csr([list(shape) for shape, _, _ in self.storages.values()])
        return TensorTable(
            storage_names=tuple(self.storages),
            storage_bytes=size,
            storage_role=role,
            storage_free=np.where((role == Role.ACTIVATION) & (output == 0), last, -1),
            storage_output=output,
            tensor_storage=np.arange(count, dtype=np.int64),
            tensor_dtype=np.array([dtype for _, dtype, _ in self.storages.values()], np.int64),
            tensor_bytes=size,
            tensor_offset=np.zeros(count, np.int64),
            shape_ptr=ptr,
            shape=shape,
        )


def _accesses(rows: list[list[int]], tensors: TensorTable) -> Accesses:
    ptr, ids = csr(rows)
    return Accesses(ptr=ptr, tensor=ids, size=tensors.tensor_bytes[ids])


def written_attention(
    *,
    batch: int,
    heads: int,
    length: int,
    head: int,
    mask: bool = True,
    dropout: bool = False,
    train: bool = True,
    dtype: DType = DType.FP16,
) -> Trace:
    """Standard attention: `baddbmm` with the scale inside, `masked_fill`, `softmax`, dropout, `bmm`; and its backward.

    Queries, keys and values are inputs of shape (batch · heads, length, head); forward results and, with `train`, the
    three gradients are outputs. Arithmetic is counted as captured traces count it. The gradients of queries and keys
    are scaled by operators of their own, as PyTorch's derivative of `baddbmm` does.

    Parameters
    ----------
    batch, heads, length, head : int
        Sequences, heads of each, queries and keys of each, elements of a head.
    mask : bool
        With a padding mask of one byte per key.
    dropout : bool
        With dropout of the weights.
    train : bool
        With backward, from the gradient of the result, which is an input.
    dtype : DType
        Of all but the mask.
    """
    book = _Recorder(dtype=dtype)
    pairs, square, line = batch * heads, (batch * heads, length, length), (batch * heads, length, head)
    points = prod(square)
    for name in ("q", "k", "v", *(("do",) if train else ())):
        book.add(name, line, Role.INPUT)
    book.add("mask", (batch, 1, 1, length), Role.INPUT, DType.BOOL)
    book.run("baddbmm", Kind.GEMM, "q k", "s", square, dims=(pairs, length, length, head))
    scores = "s"
    if mask:
        book.run("masked_fill", Kind.POINTWISE, "s mask", "m", square, vector=points)
        scores = "m"
    book.run(
        "_softmax", Kind.REDUCTION, scores, "p", square, dims=(pairs * length, length), vector=4 * points,
        special=points,
    )  # fmt: skip
    weights = "p"
    if dropout:
        book.run("native_dropout", Kind.POINTWISE, "p", "w kept?", square, vector=3 * points)
        weights = "w"
    book.run("bmm", Kind.GEMM, f"{weights} v", "o", line, dims=(pairs, length, head, length))
    if train:
        _backward(book, weights, line, square, mask)
    header = TraceHeader(
        name="written-attention",
        model="attention, written out",
        workload=f"{batch} x {length} tokens, {heads} heads of {head}" + (", forward and backward" if train else ""),
        dtype=dtype.name.lower(),
        notes=("operators as PyTorch runs them, made by hiersim.testing",),
    )
    return Trace(header=header, graph=book.graph(("o", "dq", "dk", "dv")))


def _backward(book: _Recorder, weights: str, line: tuple[int, ...], square: tuple[int, ...], mask: bool) -> None:
    """What autograd makes of it."""
    pairs, length, head = line
    points = prod(square)
    book.phase = Phase.BACKWARD
    book.run("bmm", Kind.GEMM, f"{weights} do", "dv", line, dims=(pairs, length, head, length))
    book.run("bmm", Kind.GEMM, "do v", "dw", square, dims=(pairs, length, length, head))
    grad = "dw"
    if weights == "w":
        book.run("native_dropout_backward", Kind.POINTWISE, "dw kept?", "dp", square, vector=2 * points)
        grad = "dp"
    book.run(
        "_softmax_backward_data", Kind.REDUCTION, f"{grad} p", "dm", square, dims=(pairs * length, length),
        vector=5 * points,
    )  # fmt: skip
    grad = "dm"
    if mask:
        book.run("masked_fill", Kind.POINTWISE, "dm mask", "ds", square, vector=points)
        grad = "ds"
    book.run("bmm", Kind.GEMM, f"{grad} k", "gq", line, dims=(pairs, length, head, length))
    book.run("mul", Kind.POINTWISE, "gq", "dq", line, vector=prod(line))
    book.run("bmm", Kind.GEMM, f"q {grad}", "gk", line, dims=(pairs, head, length, length))
    book.run("mul", Kind.POINTWISE, "gk", "dk", line, vector=prod(line))
