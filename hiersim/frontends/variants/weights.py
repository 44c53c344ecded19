"""Quantized weights: the matrices that products read are stored in fewer bits, with their scale factors.

Weight-only, as it is usual where decode is bound by memory: the kernel widens the weights in registers and computes in
the dtype that it was captured with; that conversion takes no time here. Embedding tables, norms and biases keep their
dtype, and so does a table that is also the last layer's matrix (tied).
"""

from __future__ import annotations

import dataclasses
from math import prod
from types import MappingProxyType
from typing import Final

import numpy as np

from hiersim.errors import TraceError, nearest
from hiersim.frontends.variants.parts import Part, dims_of, operator_rows, shape_of, storages_of, with_columns
from hiersim.model.kernels import KernelGraph
from hiersim.model.networks import rows_of
from hiersim.model.operators import BITS, Accesses, DType, IntArray, Kind, Phase, Role, TensorTable
from hiersim.model.trace import OperatorGraph, Trace

_WIDE = (DType.FP64, DType.FP32, DType.FP16, DType.BF16)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How a weight is stored."""

    dtype: DType
    block: int | None
    """Elements along the inner dimension that share a scale factor: 0 all of a tensor, None all of a channel."""
    scale: DType
    """Element type of the scale factors; one for a whole tensor is not counted."""


FORMATS: Final = MappingProxyType(
    {
        "fp8": Format(dtype=DType.FP8, block=0, scale=DType.FP32),
        "int8": Format(dtype=DType.INT8, block=None, scale=DType.BF16),
        "mxfp8": Format(dtype=DType.FP8, block=32, scale=DType.FP8),
        "mxfp4": Format(dtype=DType.FP4, block=32, scale=DType.FP8),
        "nvfp4": Format(dtype=DType.FP4, block=16, scale=DType.FP8),
        "fp4": Format(dtype=DType.FP4, block=16, scale=DType.FP8),
    }
)
"""FP8 with one scale per tensor: Micikevicius et al., FP8 formats for deep learning, 2022 (arXiv 2209.05433). INT8 with
a scale in 16 bits per output channel: Wu et al., Integer quantization for deep learning inference, 2020 (arXiv
2004.09602). MX, a scale byte (E8M0) per 32 elements: OCP Microscaling Formats (MX) Specification 1.0, 2023. NVFP4, a
scale byte (E4M3) per 16 elements: NVIDIA, Introducing NVFP4, 2025; `fp4` is this one."""


def quantized(trace: Trace, name: str) -> Trace:
    """`trace` with the matrices that only products read stored as FORMATS[name].

    Raises
    ------
    TraceError
        Unknown format, a training step, or no weights that can be quantized.
    """
    if name not in FORMATS:
        raise TraceError(f"'{name}' is not a format of weights", key="weights", expected=nearest(name, FORMATS))
    if np.any(trace.graph.operators.phase != Phase.FORWARD):
        raise TraceError(
            f"trace '{trace.name}' is a training step, whose weights are updated", key="weights", expected="inference"
        )
    form = FORMATS[name]
    inner = _matrices(trace.graph, form)
    if not inner:
        raise TraceError(
            f"trace '{trace.name}' has no named weights wider than {form.dtype.name} that only products read",
            key="weights",
            expected="a trace with weights in 16 bits or more",
        )
    graph = _stored(trace.graph, inner, form)
    schedules = {key: _stored(part, inner, form) for key, part in trace.schedules.items()}
    return Trace(header=trace.header, graph=graph, schedules=schedules)


def _matrices(graph: OperatorGraph, form: Format) -> dict[str, int]:
    """Name of each weight that products alone read, all of them as their matrix → its inner dimension."""
    table = graph.tensors
    found: dict[str, int] = {}
    refused: set[str] = set()
    row, storage = storages_of(graph, graph.reads)
    weights = (table.storage_role[storage] == Role.WEIGHT).tolist()
    for at in np.flatnonzero(weights).tolist():
        name = table.storage_names[int(storage[at])]
        tensor = int(graph.reads.tensor[at])
        inner = _inner(graph, int(row[at]), tensor)
        dtype = DType(int(table.tensor_dtype[tensor]))
        if inner and name and dtype in _WIDE and BITS[dtype] > BITS[form.dtype]:
            found[name] = inner
        else:
            refused.add(name)
    written = table.tensor_storage[graph.writes.tensor]
    refused |= {table.storage_names[index] for index in written.tolist()}
    return {name: inner for name, inner in found.items() if name not in refused}


def _inner(graph: OperatorGraph, row: int, tensor: int) -> int:
    """The inner dimension of the product `row`, when `tensor` is its matrix of weights; else 0."""
    if graph.operators.kind[row] not in (Kind.GEMM, Kind.CONV):
        return 0
    batch, _, n, k = dims_of(graph.operators, row)[:4]
    return k if prod(shape_of(graph.tensors, tensor)) == batch * n * k else 0


def _stored(part: Part, inner: dict[str, int], form: Format) -> Part:
    """`part` with the named weights, and copies of them in another layout, stored in that format."""
    origin = _copies(part, {at: at for at, name in enumerate(part.tensors.storage_names) if name in inner})
    tensors = _narrow(part.tensors, origin, form)
    share = _shares(part.tensors, tensors)
    reads, writes = (_resized(access, part.tensors, tensors, share) for access in (part.reads, part.writes))
    if form.block != 0:
        tensors, reads = _with_scales(part, tensors, reads, origin, inner, form)
    return with_columns(part, tensors=tensors, reads=reads, writes=writes)


def _copies(part: OperatorGraph | KernelGraph, origin: dict[int, int]) -> dict[int, int]:
    """Storage → the weight whose contents it has, for weights and for what a compiler copies of them."""
    if not isinstance(part, KernelGraph):
        return origin
    kinds = part.operators.kind
    moves = np.bincount(operator_rows(part), weights=kinds != Kind.COPY, minlength=len(part)) == 0
    found = dict(origin)
    storage_of = part.tensors.tensor_storage
    for row in np.flatnonzero(moves).tolist():
        read = storage_of[part.reads.tensor[part.reads.ptr[row] : part.reads.ptr[row + 1]]].tolist()
        written = storage_of[part.writes.tensor[part.writes.ptr[row] : part.writes.ptr[row + 1]]].tolist()
        if read and all(storage in found for storage in read):
            found |= {storage: found[read[0]] for storage in written}
    return found


def _narrow(table: TensorTable, origin: dict[int, int], form: Format) -> TensorTable:
    """The tables with the storages of `origin` in fewer bits."""
    chosen = np.zeros(len(table.storage_bytes), np.bool_)
    chosen[list(origin)] = True
    views = chosen[table.tensor_storage]
    wide = np.array([BITS[dtype] for dtype in DType], np.int64)[table.tensor_dtype]
    wide_of = np.full(len(chosen), BITS[form.dtype], np.int64)
    wide_of[table.tensor_storage[views]] = wide[views]
    bits = BITS[form.dtype]
    return dataclasses.replace(
        table,
        storage_bytes=np.where(chosen, -(-table.storage_bytes * bits // wide_of), table.storage_bytes),
        tensor_bytes=np.where(views, -(-table.tensor_bytes * bits // wide), table.tensor_bytes),
        tensor_offset=np.where(views, table.tensor_offset * bits // wide, table.tensor_offset),
        tensor_dtype=np.where(views, int(form.dtype), table.tensor_dtype),
    )


def _shares(before: TensorTable, after: TensorTable) -> IntArray:
    """(T,) 1 where a tensor became smaller."""
    shares: IntArray = (before.tensor_bytes != after.tensor_bytes).astype(np.int64)
    return shares


def _resized(access: Accesses, before: TensorTable, after: TensorTable, changed: IntArray) -> Accesses:
    """Bytes moved in proportion to the tensors' sizes, rounded up."""
    old, new = before.tensor_bytes[access.tensor], after.tensor_bytes[access.tensor]
    part = [-(-size * to // of) for size, to, of in zip(access.size.tolist(), new.tolist(), old.tolist(), strict=True)]
    size = np.where(changed[access.tensor] == 1, np.array(part, np.int64), access.size)
    return Accesses(ptr=access.ptr, tensor=access.tensor, size=size)


def _with_scales(
    part: OperatorGraph | KernelGraph, table: TensorTable, reads: Accesses, origin: dict[int, int],
    inner: dict[str, int], form: Format,
) -> tuple[TensorTable, Accesses]:  # fmt: skip
    """A storage of scale factors per weight, read with it."""
    weights = sorted(set(origin.values()))
    sizes, shapes = [], []
    for storage in weights:
        k = inner[table.storage_names[storage]]
        columns = int(table.storage_bytes[storage]) * 8 // BITS[form.dtype] // k
        shapes.append((-(-k // form.block) if form.block else 1, columns))
        sizes.append(prod(shapes[-1]) * BITS[form.scale] // 8)
    first, views, count = len(table.storage_bytes), len(table.tensor_storage), len(weights)
    place = {storage: index for index, storage in enumerate(weights)}
    extended = _extended(table, [f"{table.storage_names[at]}_scale" for at in weights], sizes, shapes, form.scale)
    assert len(extended.storage_bytes) == first + count
    copies = _copying(part, origin)
    extra: list[tuple[int, int, int]] = []
    storage_of = table.tensor_storage[reads.tensor].tolist()
    for row, storage, tensor, size in zip(
        rows_of(reads).tolist(), storage_of, reads.tensor.tolist(), reads.size.tolist(), strict=True
    ):
        if storage in origin and row not in copies:
            index = place[origin[storage]]
            whole = int(table.tensor_bytes[tensor])
            extra.append((row, views + index, -(-sizes[index] * size // whole)))
    return extended, _inserted(reads, extra)


def _copying(part: OperatorGraph | KernelGraph, origin: dict[int, int]) -> set[int]:
    """Rows that write a copy of a weight: its scale factors stay where they are."""
    row, storage = storages_of(part, part.writes)
    return {at for at, index in zip(row.tolist(), storage.tolist(), strict=True) if index in origin}


def _extended(
    table: TensorTable, names: list[str], sizes: list[int], shapes: list[tuple[int, int]], dtype: DType
) -> TensorTable:
    """The table with more weights, each seen whole by one tensor."""
    count, storages = len(names), len(table.storage_bytes)

    def more(column: IntArray, values: int | list[int] | IntArray) -> IntArray:
        return np.concatenate((column, np.broadcast_to(np.array(values, np.int64), count)))

    return TensorTable(
        storage_names=(*table.storage_names, *names),
        storage_bytes=more(table.storage_bytes, sizes),
        storage_role=more(table.storage_role, int(Role.WEIGHT)),
        storage_free=more(table.storage_free, -1),
        storage_output=more(table.storage_output, 0),
        tensor_storage=more(table.tensor_storage, storages + np.arange(count)),
        tensor_dtype=more(table.tensor_dtype, int(dtype)),
        tensor_bytes=more(table.tensor_bytes, sizes),
        tensor_offset=more(table.tensor_offset, 0),
        shape_ptr=more(table.shape_ptr, table.shape_ptr[-1] + 2 * np.arange(1, count + 1)),
        shape=np.concatenate((table.shape, np.array(shapes, np.int64).reshape(-1))),
    )


def _inserted(access: Accesses, extra: list[tuple[int, int, int]]) -> Accesses:
    """The lists with more (row, tensor, bytes) at the end of their rows."""
    columns = np.array(extra, np.int64).reshape(-1, 3)
    row = np.concatenate((rows_of(access), columns[:, 0]))
    order = np.argsort(row, kind="stable")
    counts = np.bincount(row, minlength=len(access.ptr) - 1)
    return Accesses(
        ptr=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        tensor=np.concatenate((access.tensor, columns[:, 1]))[order],
        size=np.concatenate((access.size, columns[:, 2]))[order],
    )
