"""What a decode step is: one query per sequence, attending to a KV cache of fixed size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiersim.errors import TraceError
from hiersim.frontends.variants.parts import (
    dims_of,
    label,
    rows_with,
    shape_of,
    storage_name,
    storages_of,
)
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import BoolArray, IntArray, Kind, Phase, Role, TensorTable
from hiersim.model.trace import OperatorGraph

KEYS_AXIS = 2
"""Place of the positions in a cache of shape (batch, kv_heads, positions, head_dim)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """The sizes that all attention operators of a decode step share."""

    batch: int
    """Sequences that decode together."""
    keys: int
    """Positions that each query attends to: the context, the new token included."""


def decode_of(part: OperatorGraph | KernelGraph, name: str) -> Decode:
    """The sizes of the decode step `part`.

    Raises
    ------
    TraceError
        When it is none: what stands in the way.
    """
    if np.any(part.operators.phase != Phase.FORWARD):
        raise _refused(name, "is a training step")
    if not np.any(part.tensors.storage_role == Role.KV_CACHE):
        raise _refused(name, "has no KV cache")
    attention = np.flatnonzero(part.operators.kind == Kind.ATTENTION)
    sizes = {dims_of(part.operators, row) for row in attention.tolist()}
    if not sizes:
        raise _refused(name, "has no attention operator (attention written as separate products)")
    if any(queries != 1 for _, _, _, queries, _, _, _ in sizes):
        raise _refused(name, "attends with more than one query per sequence")
    shared = {(batch, keys) for batch, _, _, _, keys, _, _ in sizes}
    if len(shared) > 1 or np.any(part.operators.masked_flops[attention]):
        raise _refused(name, "has attention operators of different batch, context or mask")
    (batch, keys), *_ = shared
    _check_cache(part, name, keys)
    return Decode(batch=batch, keys=keys)


def _refused(name: str, why: str) -> TraceError:
    return TraceError(
        f"trace '{name}' {why}, so that its batch, context and tokens cannot be changed",
        expected="a decode step over a KV cache, such as llama3-8b-decode, or a capture of the size that is wanted",
    )


def _check_cache(part: OperatorGraph | KernelGraph, name: str, keys: int) -> None:
    """The cache is (batch, kv_heads, keys, head_dim), read by attention alone and written in place."""
    table = part.tensors
    for tensor in np.flatnonzero(cached(table)).tolist():
        shape = shape_of(table, tensor)
        if len(shape) != KEYS_AXIS + 2 or shape[KEYS_AXIS] != keys:
            what = storage_name(table, int(table.tensor_storage[tensor]))
            raise _refused(name, f"keeps {what} in the shape {list(shape)}, not (batch, kv_heads, {keys}, head_dim)")
        if table.tensor_bytes[tensor] != table.storage_bytes[table.tensor_storage[tensor]]:
            what = storage_name(table, int(table.tensor_storage[tensor]))
            raise _refused(name, f"sees {what} through a view of a part of its allocation")
    attends = rows_with(part, Kind.ATTENTION)
    row, storage = storages_of(part, part.reads)
    in_cache = table.storage_role[storage] == Role.KV_CACHE
    other = np.flatnonzero(in_cache & ~attends[row])
    if len(other):
        raise _refused(name, f"reads its KV cache in '{label(part, int(row[other[0]]))}', outside attention")
    masks = np.flatnonzero(attends[row] & ~in_cache & _ends_with(table, keys)[part.reads.tensor])
    if len(masks):
        what = storage_name(table, int(storage[masks[0]]))
        raise _refused(name, f"gives '{label(part, int(row[masks[0]]))}' a mask ({what}) over the context")
    served = np.zeros(len(attends), np.int64)
    np.add.at(served, row[in_cache], 1)
    if np.any(served[attends] < 2):
        raise _refused(name, f"attends to more than its KV cache in '{label(part, int(served[attends].argmin()))}'")


def cached(table: TensorTable) -> BoolArray:
    """(T,) tensors that lie in the KV cache."""
    found: BoolArray = table.storage_role[table.tensor_storage] == Role.KV_CACHE
    return found


def _ends_with(table: TensorTable, size: int) -> BoolArray:
    """(T,) tensors with a last dimension of `size`."""
    filled = np.diff(table.shape_ptr) > 0
    last: IntArray = np.zeros(len(filled), np.int64)
    last[filled] = table.shape[table.shape_ptr[1:][filled] - 1]
    found: BoolArray = last == size
    return found
