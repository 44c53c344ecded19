"""Which accesses of a kernel graph are out of order, and in what runs: what gathers and scatters touch of a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import BITS, Accesses, DType, IntArray, Kind, TensorTable

IN_ORDER = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AccessPatterns:
    """Patterns of all accesses of a graph with K kernels: 0 in order, p in runs of `runs[p - 1]` bytes anywhere."""

    runs: tuple[int, ...]
    """Distinct lengths in bytes, ascending."""
    read: IntArray
    """(R,) pattern of each read."""
    scattered: IntArray
    """(K,) bytes that the kernel writes out of order."""
    write: IntArray
    """(K,) pattern of these."""


def access_patterns(graph: KernelGraph) -> AccessPatterns:
    """The patterns of `graph`.

    A kernel with a gather or a scatter reads in runs where it reads a part of a tensor; one with a scatter writes in
    runs where it writes a part of one. Where as many bytes are touched as a tensor has, the access counts as in order,
    but for a gather with an index for each element, which finds each of them anywhere. A part of a tensor that is no
    number of its rows is what another operator of a fused kernel slices, unless there are such indices.
    """
    kernels = len(graph)
    gathers = _kernels_with(graph, (Kind.GATHER, Kind.SCATTER))
    if not gathers.any():
        none = np.zeros(kernels, np.int64)
        return AccessPatterns(runs=(), read=np.zeros(len(graph.reads.tensor), np.int64), scattered=none, write=none)
    read = _runs(graph.reads, gathers, graph.tensors)
    read = _by_element(graph, read)
    write = _runs(graph.writes, _kernels_with(graph, (Kind.SCATTER,)), graph.tensors)
    kernel = np.repeat(np.arange(kernels), np.diff(graph.writes.ptr))
    apart = write > 0
    scattered, shortest = np.zeros(kernels, np.int64), np.zeros(kernels, np.int64)
    np.add.at(scattered, kernel[apart], graph.writes.size[apart])
    shortest[kernel[apart]] = np.iinfo(np.int64).max
    np.minimum.at(shortest, kernel[apart], write[apart])
    runs = np.array(sorted({*read.tolist(), *shortest.tolist()} - {IN_ORDER}), np.int64)  # np.unique would import np.ma
    return AccessPatterns(
        runs=tuple(runs.tolist()),
        read=_numbered(read, runs),
        scattered=scattered,
        write=_numbered(shortest, runs),
    )


def _by_element(graph: KernelGraph, run: IntArray) -> IntArray:
    """`run` with one element where each element of the result has an index of its own.

    Where none has in a fused kernel, a run of one element is no row of a table, but part of what is sliced: in order.
    """
    tensors, reads = graph.tensors, graph.reads
    bits = np.array([BITS[dtype] for dtype in DType], np.int64)[tensors.tensor_dtype]
    whole = np.isin(tensors.tensor_dtype, [int(DType.INT64), int(DType.INT32)])
    result = run.copy()
    single = np.diff(graph.operator_ptr) == 1
    alone = single.copy()
    alone[alone] = graph.operators.kind[graph.operator_ptr[:-1][alone]] == Kind.GATHER
    tables = np.repeat(alone, np.diff(reads.ptr)) & ~whole[reads.tensor]
    for place in np.flatnonzero((run > 0) | tables).tolist():
        kernel = int(np.searchsorted(reads.ptr, place, side="right")) - 1
        others = reads.tensor[reads.ptr[kernel] : reads.ptr[kernel + 1]]
        elements = int(reads.size[place]) * 8 // int(bits[reads.tensor[place]])
        counts = tensors.tensor_bytes[others] * 8 // bits[others]
        element = max(1, int(bits[reads.tensor[place]]) // 8)
        if elements > 1 and bool((whole[others] & (counts == elements)).any()):
            result[place] = element
        elif run[place] == element and not single[kernel]:
            result[place] = IN_ORDER
    return result


def _numbered(run: IntArray, runs: IntArray) -> IntArray:
    """The place of each run length among `runs`, from 1; 0 stays 0."""
    return np.where(run > 0, np.searchsorted(runs, run) + 1, IN_ORDER).astype(np.int64)


def _kernels_with(graph: KernelGraph, kinds: tuple[Kind, ...]) -> IntArray:
    """(K,) 1 where a kernel has an operator of one of the kinds."""
    chosen = np.isin(graph.operators.kind, [int(kind) for kind in kinds])
    count = np.concatenate(([0], np.cumsum(chosen)))[graph.operator_ptr]
    return (np.diff(count) > 0).astype(np.int64)


def _runs(access: Accesses, inside: IntArray, tensors: TensorTable) -> IntArray:
    """(A,) bytes of the runs of each access; 0 where it is in order."""
    run = np.zeros(len(access.tensor), np.int64)
    touched = np.repeat(inside, np.diff(access.ptr)) == 1
    partial = touched & (access.size > 0) & (access.size < tensors.tensor_bytes[access.tensor])
    known: dict[tuple[int, int], int] = {}
    for place in np.flatnonzero(partial).tolist():
        key = (int(access.tensor[place]), int(access.size[place]))
        if key not in known:
            known[key] = run_bytes(tensors, *key)
        run[place] = known[key]
    return run


def run_bytes(tensors: TensorTable, tensor: int, size: int) -> int:
    """Contiguous bytes that an access to `size` bytes of a tensor finds at each place.

    The longest row of the tensor (a product of its last dimensions) of which `size` is a multiple; one element where
    there is none.
    """
    bits = BITS[DType(int(tensors.tensor_dtype[tensor]))]
    row = max(1, bits // 8)
    shape = tensors.shape[tensors.shape_ptr[tensor] : tensors.shape_ptr[tensor + 1]].tolist()
    longest = row
    for side in reversed(shape[1:]):
        row *= side
        if row <= 0 or size % row:
            break
        longest = row
    return min(longest, size)
