"""Which kernels read with a stride: transposing copies, whose loads touch a sector for every short run of elements.

Consecutive threads of an element-wise copy write consecutive elements. Where the copy transposes, they read elements a
row apart, each from a sector of its own: the nearest cache moves whole sectors, of which the kernel uses one run. The
rest of a sector is used by other threads soon, out of that cache, so that farther tiers see every byte once. NVIDIA,
CUDA C++ Best Practices Guide, coalesced access to global memory: a warp moves as many sectors of 32 B as it touches.
"""

from __future__ import annotations

import numpy as np

from hiersim.model.kernels import KernelGraph, Launch
from hiersim.model.operators import BITS, DType, IntArray, Kind, TensorTable

COALESCED = 0


def transposed_runs(graph: KernelGraph) -> IntArray:
    """(K,) contiguous bytes that a kernel finds at each place it reads; 0 where it reads in order.

    Known of a copy that the framework launches by itself and that writes dimensions in another order than they lie in
    memory. Compilers tile such copies through the cores' memory.
    """
    runs = np.full(len(graph), COALESCED, np.int64)
    single = np.diff(graph.operator_ptr) == 1
    single &= (np.diff(graph.reads.ptr) == 1) & (np.diff(graph.writes.ptr) == 1)
    single &= graph.launch == Launch.EAGER
    copies = np.flatnonzero(single)
    copies = copies[graph.operators.kind[graph.operator_ptr[copies]] == Kind.COPY]
    if len(copies):
        order = np.argsort(graph.tensors.tensor_storage, kind="stable")
        storages = graph.tensors.tensor_storage[order]
        for kernel in copies.tolist():
            read = int(graph.reads.tensor[graph.reads.ptr[kernel]])
            written = int(graph.writes.tensor[graph.writes.ptr[kernel]])
            runs[kernel] = _run(graph.tensors, _views(graph.tensors, order, storages, read), written)
    return runs


def _views(tensors: TensorTable, order: IntArray, storages: IntArray, tensor: int) -> list[int]:
    """The tensors that are the same bytes of the same storage, first the one that was there first.

    `order` (T,) are the tensors by storage, and `storages` (T,) the storages in that order.
    """
    first, last = np.searchsorted(storages, tensors.tensor_storage[tensor] + np.arange(2)).tolist()
    there = order[first:last]
    same = (tensors.tensor_bytes[there] == tensors.tensor_bytes[tensor]) & (
        tensors.tensor_dtype[there] == tensors.tensor_dtype[tensor]
    )
    return [int(other) for other in there[same]]


def _run(tensors: TensorTable, views: list[int], written: int) -> int:
    """Bytes that stay together when the dimensions of what is read are written in the order of `written`; 0: all.

    What is read lies in the order of its first view with these dimensions. Dimensions of one element do not matter;
    the last ones that both share stay together.
    """
    after = _sides(tensors, written)
    for view in views:
        before = _sides(tensors, view)
        if sorted(before) != sorted(after):
            continue
        if before == after:
            return COALESCED
        run = max(1, BITS[DType(int(tensors.tensor_dtype[view]))] // 8)
        for one, other in zip(reversed(before), reversed(after), strict=True):
            if one != other:
                break
            run *= one
        return run
    return COALESCED


def _sides(tensors: TensorTable, tensor: int) -> list[int]:
    """Dimensions of more than one element."""
    shape = tensors.shape[tensors.shape_ptr[tensor] : tensors.shape_ptr[tensor + 1]]
    return [side for side in shape.tolist() if side != 1]
