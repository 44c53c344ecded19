"""Kernels that go window by window: how each does, and the points that overlapping tiles compute again.

Such points are operators of their own in the kernels of their windows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from hiersim.fusion.build import partition_of
from hiersim.fusion.eager import take_operators
from hiersim.fusion.sliding import IMAGE
from hiersim.fusion.windows import Plan
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray, Kind
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph


def with_halos(graph: OperatorGraph, made: KernelGraph, sliding: Iterable[tuple[list[int], Plan]]) -> KernelGraph:
    """`made` with what the plans of `sliding` compute again, as further operators of the kernels of their rows.

    What is returned knows its windows (`windows_of`).
    """
    partition = made.derived(partition_of)
    if partition is None:
        return made
    kernel = np.zeros(len(graph.operators), np.int64)
    kernel[partition.operators] = partition.kernels()
    plans: list[Plan | None] = [None] * len(made)
    extra: dict[int, tuple[int, int]] = {}
    for rows, found in sliding:
        plans[int(kernel[rows[0]])] = found
        if found.again:
            for row, again in zip(rows, found.extra, strict=True):
                if again:
                    extra[row] = again, points_of(graph, row, found)
    computed = _computed_again(made, partition, extra) if extra else made
    computed.derived(windows_of, tuple(plans))
    return computed


def windows_of(kernels: KernelGraph, made: tuple[Plan | None, ...] = ()) -> tuple[Plan | None, ...]:
    """(K,) how each kernel goes window by window: `kernels.derived(windows_of)`; empty where none was made to."""
    return made


def _computed_again(made: KernelGraph, partition: Partition, extra: dict[int, tuple[int, int]]) -> KernelGraph:
    """`made` with (points, of points) of some operators once more."""
    place, share, counts = list[int](), list[tuple[int, int]](), np.diff(made.operator_ptr)
    kernels = partition.kernels().tolist()
    for at, row in enumerate(partition.operators.tolist()):
        place.append(at)
        share.append((1, 1))
        if row in extra:
            place.append(at)
            share.append(extra[row])
            counts[kernels[at]] += 1
    index, parts = np.array(place, np.int64), np.array(share, np.int64)
    repeats = np.concatenate([[False], index[1:] == index[:-1]])
    table = take_operators(made.operators, index)
    scaled: dict[str, Any] = {
        column: np.where(repeats, _part(getattr(table, column), parts), getattr(table, column))
        for column in ("matrix_flops", "masked_flops", "vector_flops", "special_ops")
    }
    dims = table.dims.copy()
    for at in np.flatnonzero(repeats & np.isin(table.kind, [int(Kind.CONV), int(Kind.REDUCTION)])).tolist():
        side = int(table.dims_ptr[at]) + (table.kind[at] == Kind.CONV)
        dims[side] = max(1, dims[side] * parts[at, 0] // parts[at, 1])
    return dataclasses.replace(
        made,
        operators=dataclasses.replace(table, dims=dims, **scaled),
        recomputed=np.where(repeats, 1, made.recomputed[index]).astype(np.int64),
        operator_ptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def _part(work: IntArray, parts: IntArray) -> IntArray:
    """`work` · rows ÷ of rows, rounded down, without overflow."""
    rows, whole = parts[:, 0], parts[:, 1]
    return work // whole * rows + work % whole * rows // whole


def points_of(graph: OperatorGraph, row: int, found: Plan) -> int:
    """Points of an operator's result of one image, as the plan counts them."""
    tensor = int(graph.writes.tensor[graph.writes.ptr[row]])
    shape: IntArray = graph.tensors.shape[graph.tensors.shape_ptr[tensor] : graph.tensors.shape_ptr[tensor + 1]]
    return int(shape[2] * shape[3]) if found.axis[0] == IMAGE else found.axis[1]
