"""Which kernels read with a stride: transposing copies, whose loads touch a sector for every short run of elements.

Consecutive threads of an element-wise copy write consecutive elements. Where the copy transposes, they read elements a
row apart, each from a sector of its own: the nearest cache moves whole sectors, of which the kernel uses one run. The
rest of a sector is used by other threads soon, out of that cache, so that farther tiers see every byte once. NVIDIA,
CUDA C++ Best Practices Guide, coalesced access to global memory: a warp moves as many sectors of 32 B as it touches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hiersim.model.kernels import KernelGraph, Launch
from hiersim.model.operators import BITS, BoolArray, DType, IntArray, Kind, TensorTable

COALESCED = 0


class Addresses(NamedTuple):
    """The elements whose addresses a kernel computes one by one, (K,) each; `Constants` says what that costs."""

    elements: IntArray
    """Each costs `Constants.address` integer operations, most of them divisions of an index by sides of a tensor."""
    shared: IntArray
    """Elements that share a lookup, since they lie next to each other, where each thread of a warp touches a line of
    its own, which the core looks up one after the other, or adds to memory atomically; 0: no lookup."""


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
            if runs[kernel] == COALESCED and _is_transposed_square(graph, kernel, read):
                runs[kernel] = max(1, BITS[DType(int(graph.tensors.tensor_dtype[read]))] // 8)
    return runs


def _is_transposed_square(graph: KernelGraph, kernel: int, read: int) -> bool:
    """Whether a copy transposes a square matrix: a view of all of it was taken, which a copy of it would not need."""
    tensors = graph.tensors
    sides = _sides(tensors, read)
    whole = tensors.tensor_bytes[read] == tensors.storage_bytes[tensors.tensor_storage[read]]
    named = "clone" in graph.names[kernel] and graph.host_views[kernel] == 1
    return named and bool(whole) and len(sides) == 2 and sides[0] == sides[1]


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


def addresses(graph: KernelGraph, runs: IntArray) -> Addresses:
    """The addresses that each kernel computes; `runs` are the `transposed_runs` of the graph.

    Kernels that the framework launches for one operator and that are not vectorized: copies that transpose, slice,
    repeat or widen, operators that repeat an operand along a dimension, and additions to scattered places. PyTorch 2,
    aten/src/ATen/native/cuda/CUDALoops.cuh: `elementwise_kernel` (offsets), `unrolled_elementwise_kernel` (casts).
    """
    kernels = np.arange(len(graph))
    single = (np.diff(graph.operator_ptr) == 1) & (np.diff(graph.writes.ptr) >= 1) & (graph.launch == Launch.EAGER)
    chosen = np.flatnonzero(single)
    computes, shared = np.zeros(len(graph), np.int64), np.zeros(len(graph), np.int64)
    if not len(chosen):
        return Addresses(computes, shared)
    bits = np.array([BITS[dtype] for dtype in DType], np.int64)[graph.tensors.tensor_dtype]
    write = graph.writes.ptr[chosen]
    written = np.zeros(len(graph), np.int64)
    written[chosen] = graph.writes.tensor[write]
    elements = np.zeros(len(graph), np.int64)
    elements[chosen] = graph.writes.size[write] * 8 // bits[graph.writes.tensor[write]]
    kind = np.full(len(graph), -1)
    kind[chosen] = graph.operators.kind[graph.operator_ptr[chosen]]

    reader = np.repeat(kernels, np.diff(graph.reads.ptr))
    operand = graph.reads.size * 8 // bits[graph.reads.tensor]
    repeats = np.bincount(reader[(operand > 1) & (operand < elements[reader])], minlength=len(graph)) > 0
    computes[(kind == Kind.POINTWISE) & repeats] = 1

    adds = np.zeros(len(graph), bool)
    adds[chosen] = graph.operators.vector_flops[graph.operator_ptr[chosen]] > 0
    computes[(kind == Kind.SCATTER) & adds] = shared[(kind == Kind.SCATTER) & adds] = 1

    copies = np.flatnonzero((kind == Kind.COPY) & (np.diff(graph.reads.ptr) == 1))
    read = graph.reads.tensor[graph.reads.ptr[copies]]
    computed = (bits[read] < bits[written[copies]]) | _are_strided(graph, copies, read)
    shared[copies] = np.where(runs[copies] > 0, np.maximum(runs[copies] * 8 // bits[read], 1), 0)
    computes[copies] = computed | (runs[copies] > 0)
    return Addresses(computes * elements, shared)


def _are_strided(graph: KernelGraph, copies: IntArray, read: IntArray) -> BoolArray:
    """(C,) whether each copy reads with strides: the framework clones a view only where it is not contiguous."""
    tensors = graph.tensors
    clones = np.array(["clone" in graph.names[kernel] for kernel in copies.tolist()], bool)
    part = tensors.tensor_bytes[read] < tensors.storage_bytes[tensors.tensor_storage[read]]
    return np.asarray(clones & (part | (graph.host_views[copies] > 0)))
