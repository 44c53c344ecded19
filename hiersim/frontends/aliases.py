"""Views are other names: what an importer lists as read and written by one moves nothing, and aliases.

Some sources give the result of a view a tensor of its own, as if the view had made it. A view launches nothing, so
that nobody would write that tensor; what reads it reads the storage that the view shows.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from hiersim.model.operators import PRODUCED, Accesses, IntArray, Kind, TensorTable
from hiersim.model.trace import OperatorGraph


def seen_through(graph: OperatorGraph) -> OperatorGraph:
    """`graph` whose views touch nothing; what they wrote lies in the storage of what they read first.

    The same object where views list neither reads nor writes, as in every trace that follows the format to the letter.
    A tensor that was there before the run is nobody's result, and stays what it is.
    """
    views = graph.operators.kind == Kind.VIEW
    touched = np.diff(graph.reads.ptr) + np.diff(graph.writes.ptr)
    if not bool(np.any(views & (touched > 0))):
        return graph
    root, shift = _roots(graph, np.flatnonzero(views).tolist())
    tensors = _aliased(graph.tensors, root, shift)
    reads, writes = (_kept(access, views, tensors) for access in (graph.reads, graph.writes))
    return dataclasses.replace(graph, tensors=tensors, reads=reads, writes=writes)


def _roots(graph: OperatorGraph, views: list[int]) -> tuple[IntArray, IntArray]:
    """(S,) the storage in which each one lies, itself for most, and the bytes before it there."""
    table = graph.tensors
    root = np.arange(len(table.storage_bytes))
    shift = np.zeros(len(root), np.int64)
    produced = np.isin(table.storage_role, [int(role) for role in PRODUCED])
    rows = np.repeat(np.arange(len(graph.operators)), np.diff(graph.writes.ptr))
    first = np.full(len(root), len(graph.operators), np.int64)
    np.minimum.at(first, table.tensor_storage[graph.writes.tensor], rows)
    for view in views:
        sources = graph.reads.tensor[graph.reads.ptr[view] : graph.reads.ptr[view + 1]].tolist()
        for tensor in graph.writes.tensor[graph.writes.ptr[view] : graph.writes.ptr[view + 1]].tolist():
            storage = int(table.tensor_storage[tensor])
            if sources and produced[storage] and first[storage] == view:
                source = int(table.tensor_storage[sources[0]])
                if root[source] != storage:
                    root[storage] = root[source]
                    shift[storage] = shift[source] + table.tensor_offset[sources[0]]
    return root, shift


def _aliased(table: TensorTable, root: IntArray, shift: IntArray) -> TensorTable:
    """The storages that are left, and all tensors in them."""
    alias = root != np.arange(len(root))
    kept = np.flatnonzero(~alias)
    number = np.cumsum(~alias) - 1
    free, output = table.storage_free.copy(), table.storage_output.copy()
    free[free < 0] = np.iinfo(np.int64).max  # to the end
    np.maximum.at(free, root[alias], free[alias])
    free[free == np.iinfo(np.int64).max] = -1
    np.maximum.at(output, root[alias], table.storage_output[alias])
    of = root[table.tensor_storage]
    room = table.storage_bytes[of]
    offset = table.tensor_offset + shift[table.tensor_storage]
    inside = offset < room
    offset = np.where(inside, offset, 0)
    return dataclasses.replace(
        table,
        storage_names=tuple(table.storage_names[at] for at in kept.tolist()),
        storage_bytes=table.storage_bytes[kept],
        storage_role=table.storage_role[kept],
        storage_free=free[kept],
        storage_output=output[kept],
        tensor_storage=number[of].astype(np.int64),
        tensor_offset=offset,
        tensor_bytes=np.minimum(table.tensor_bytes, room - offset),
    )


def _kept(access: Accesses, views: IntArray, tensors: TensorTable) -> Accesses:
    """The accesses of all but views, no larger than what they touch."""
    counts = np.diff(access.ptr)
    stay = np.repeat(~views, counts)
    tensor = access.tensor[stay]
    return Accesses(
        ptr=np.concatenate([[0], np.cumsum(np.where(views, 0, counts))]).astype(np.int64),
        tensor=tensor,
        size=np.minimum(access.size[stay], tensors.tensor_bytes[tensor]),
    )
