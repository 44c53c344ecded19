"""Another context: a decode step that attends to more or fewer positions of its KV cache."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np

from hiersim.errors import TraceError
from hiersim.frontends.aten.call import Cost
from hiersim.frontends.aten.contractions import attention_cost
from hiersim.frontends.variants.decode import KEYS_AXIS, Decode, cached
from hiersim.frontends.variants.parts import Part, dims_of, rows_with, scaled, storages_of, with_columns
from hiersim.model.operators import DIMS, Accesses, Kind, OperatorTable, Role, TensorTable

_KEYS = DIMS[Kind.ATTENTION].index("keys")


def with_context(part: Part, decode: Decode, keys: int, room: int) -> Part:
    """`part` attending to `keys` positions of a cache that holds `room` of them.

    Everything else of the step stays: one position is written, whatever the context.

    Raises
    ------
    TraceError
        When a size or the arithmetic of an attention operator does not follow from the context.
    """
    tensors = _tensors(part.tensors, decode.keys, keys, room)
    row, storage = storages_of(part, part.reads)
    grows = (tensors.storage_role[storage] == Role.KV_CACHE) & rows_with(part, Kind.ATTENTION)[row]
    whole = part.reads.size == part.tensors.tensor_bytes[part.reads.tensor]
    if np.any(grows & ~whole):
        raise TraceError(
            "attention reads a part of its KV cache: its size cannot be derived",
            expected="a capture that reads it whole",
        )
    size = np.where(grows, tensors.tensor_bytes[part.reads.tensor], part.reads.size)
    reads = Accesses(ptr=part.reads.ptr, tensor=part.reads.tensor, size=size)
    return with_columns(part, tensors=tensors, operators=_operators(part.operators, keys), reads=reads)


def _tensors(table: TensorTable, of: int, keys: int, room: int) -> TensorTable:
    """Caches with `room` positions, their views with `keys`."""
    views = cached(table)
    shape = table.shape.copy()
    shape[table.shape_ptr[:-1][views] + KEYS_AXIS] = keys
    stored = table.storage_role == Role.KV_CACHE
    return dataclasses.replace(
        table,
        storage_bytes=scaled(table.storage_bytes, room, of, stored, "a KV cache in bytes"),
        tensor_bytes=scaled(table.tensor_bytes, keys, of, views, "a view of a KV cache in bytes"),
        shape=shape,
    )


def _operators(table: OperatorTable, keys: int) -> OperatorTable:
    """Attention over `keys` positions, by the cost rule that it was captured with."""
    columns = {name: getattr(table, name).copy() for name in ("matrix_flops", "vector_flops", "special_ops", "dims")}
    for row in np.flatnonzero(table.kind == Kind.ATTENTION).tolist():
        sizes = dims_of(table, row)
        captured = Cost(
            kind=Kind.ATTENTION,
            dims=sizes,
            matrix_flops=int(table.matrix_flops[row]),
            vector_flops=int(table.vector_flops[row]),
            special_ops=int(table.special_ops[row]),
        )
        cost = _stretched(captured, keys, table.label(row))
        columns["dims"][table.dims_ptr[row] + _KEYS] = keys
        columns["matrix_flops"][row] = cost.matrix_flops
        columns["vector_flops"][row] = cost.vector_flops
        columns["special_ops"][row] = cost.special_ops
    return dataclasses.replace(table, **columns)


@cache
def _stretched(captured: Cost, keys: int, name: str) -> Cost:
    """The cost of an attention operator over `keys` positions; its own cost must be that of a known rule."""
    for bias in (False, True):
        if _rule(captured, int(captured.dims[_KEYS]), bias) == captured:
            return _rule(captured, keys, bias)
    raise TraceError(
        f"the arithmetic of '{name}' is not that of fused attention: it cannot be derived for another context",
        expected="2 products of 2 FLOPs per score and head element, 4 vector FLOPs and an exponential per score",
    )


def _rule(captured: Cost, keys: int, bias: bool) -> Cost:
    batch, heads, kv_heads, queries, _, width, causal = captured.dims
    held = (batch, kv_heads, keys, width)
    return attention_cost((batch, heads, queries, width), held, held, bool(causal), backward=False, bias=bias)
