"""A wide operator graph of any size, drawn at random: what a policy has to cope with that finds no layers in it.

    from hiersim.testing.woven import woven_trace

    trace = woven_trace(100_000, seed=1)

The same arguments give the same trace.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hiersim.model.operators import Accesses, DType, Flag, IntArray, Kind, OperatorTable, Phase, Role, TensorTable
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader

ELEMENT: Final = 2
"""Bytes of a BF16 element."""
MAKES: Final = (
    ("aten.add.Tensor", Kind.POINTWISE, 0.45),
    ("aten.gelu.default", Kind.POINTWISE, 0.15),
    ("aten._softmax.default", Kind.REDUCTION, 0.1),
    ("aten.sum.dim_IntList", Kind.REDUCTION, 0.1),
    ("aten.mm.default", Kind.GEMM, 0.2),
)
"""Name, kind and share of the operators. A sum has one result a row; all others have the columns of what they read."""
ADD, GELU, SOFTMAX, SUM, PRODUCT = range(len(MAKES))


def woven_trace(operators: int, *, reach: int = 1000, rows: int = 256, columns: int = 512, seed: int = 0) -> Trace:
    """So many operators, each of which reads results of any of the `reach` before it: as wide as that, and no layers.

    Additions have two operands, one of which may be a sum with one element a row; products have the one weight that
    all share. The first operator reads the model's input, and what nobody reads is a result of the model.

    Parameters
    ----------
    operators : int
        At least 2.
    reach : int
        How far back an operand may lie, in operators.
    rows, columns : int
        Of every value but the sums.
    seed : int
        Of the draw.

    Raises
    ------
    ValueError
        When a size is below 1, or there are fewer than two operators.
    """
    if min(reach, rows, columns) < 1 or operators < 2:
        raise ValueError("there are at least two operators, and sizes of at least 1")
    draw = np.random.default_rng(seed)
    what = draw.choice(len(MAKES), operators, p=[share for _, _, share in MAKES])
    what[0] = GELU
    place = np.arange(operators)
    first, second = (np.maximum(place - draw.integers(1, reach + 1, operators), 0) for _ in range(2))
    first = np.maximum.accumulate(np.where(what == SUM, 0, place))[first]  # the last one before with all columns
    graph = _graph(what, first, second, rows, columns)
    header = TraceHeader(
        name="woven", model=f"{operators} operators", dtype="bf16", notes=("synthetic, made by hiersim.testing",)
    )
    return Trace(header=header, graph=graph)


def _graph(what: IntArray, first: IntArray, second: IntArray, rows: int, columns: int) -> OperatorGraph:
    """Storage 0 is the input, 1 the weight, 2 + n the result of operator n."""
    count, place = len(what), np.arange(len(what))
    later = np.where((what == ADD) & (place > 0), second + 2, np.where(what == PRODUCT, 1, -1))
    operands = np.stack([np.where(place == 0, 0, first + 2), later], axis=1)
    counts = (operands >= 0).sum(axis=1)
    read, written = operands[operands >= 0], place + 2
    shape = np.full((count + 2, 2), (rows, columns))
    shape[1] = columns, columns
    shape[2:][what == SUM, 1] = 1
    size = shape.prod(axis=1) * ELEMENT
    ptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    last = np.full(count + 2, -1)
    np.maximum.at(last, read, np.repeat(place, counts))
    unread = last < 0
    last[:2], unread[:2] = -1, False
    return OperatorGraph(
        tensors=TensorTable(
            storage_names=("",) * (count + 2),
            storage_bytes=size,
            storage_role=np.concatenate([[Role.INPUT, Role.WEIGHT], np.full(count, Role.ACTIVATION)]).astype(np.int64),
            storage_free=last,
            storage_output=unread.astype(np.int64),
            tensor_storage=np.arange(count + 2),
            tensor_dtype=np.full(count + 2, DType.BF16, np.int64),
            tensor_bytes=size,
            tensor_offset=np.zeros(count + 2, np.int64),
            shape_ptr=np.arange(count + 3) * 2,
            shape=shape.reshape(-1),
        ),
        operators=_operators(what, rows, columns),
        reads=Accesses(ptr=ptr, tensor=read, size=size[read]),
        writes=Accesses(ptr=np.arange(count + 1), tensor=written, size=size[written]),
    )


def _operators(what: IntArray, rows: int, columns: int) -> OperatorTable:
    count, points = len(what), rows * columns
    names = tuple(name for name, _, _ in MAKES)
    kind = np.array([int(kind) for _, kind, _ in MAKES], np.int64)[what]
    sides = {Kind.POINTWISE: (), Kind.REDUCTION: (rows, columns), Kind.GEMM: (1, rows, columns, columns)}
    dims = [sides[Kind(number)] for _, number, _ in MAKES]
    dims_ptr = np.concatenate([[0], np.cumsum(np.array([len(side) for side in dims])[what])]).astype(np.int64)
    zeros, product = np.zeros(count, np.int64), what == PRODUCT
    return OperatorTable(
        strings=(*names, "woven"),
        name=what.astype(np.int64),
        module=np.full(count, len(names), np.int64),
        kind=kind,
        phase=np.full(count, Phase.FORWARD, np.int64),
        flags=np.full(count, Flag.NONE, np.int64),
        dtype=np.full(count, DType.BF16, np.int64),
        matrix_flops=np.where(product, 2 * points * columns, 0),
        masked_flops=zeros,
        vector_flops=np.where(product, 0, points),
        special_ops=np.where((what == GELU) | (what == SOFTMAX), points, 0),
        dims_ptr=dims_ptr,
        dims=np.array([side for number in what.tolist() for side in dims[number]], np.int64),
    )
