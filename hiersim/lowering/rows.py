"""Rows of a reduction and the teams of threads that work on them, as GPU libraries do: what no design changes.

A library gives a row to a *team*, one warp or one block of threads, and a block waits for its loads, exchanges its sums
and then goes on. A core has room for a few teams only, so that it is idle while they all wait. The rules are those of
PyTorch 2 (aten/src/ATen/native/cuda: Reduce.cuh, SoftMax.cu, PersistentSoftmax.cuh, layer_norm_kernel.cu):

| kernel | team | bytes of a step | passes | exchanges |
|---|---|---|---|---|
| writes a number per row, rows below 16 384 | a warp | 16 per thread | 1 | 2 |
| the same, longer rows | 512 threads | 16 per thread | 1 | 2 |
| writes whole rows, a special function per element (softmax), to 1 024 | a warp | 2 elements per thread | 1 | 1 |
| the same, longer rows | a thread per 16 bytes, at most 1 024 | 16 per thread | 3 | 2 |
| writes whole rows otherwise (norms) | 128 threads | 4 elements per thread | 2 | 2 |
| the same with 6 FLOPs per element or more (mean and variance at once) | 128 threads | 4 elements per thread | 2 | 3 |
| generated code that writes whole rows, to 1 024 | a thread per 4 elements | the row | 1 | 1 |
| the same, longer rows (a special function per element: softmax) | 512 threads | 4 elements per thread | 2 (3) | 1 |

Generated code is TorchInductor's (torch/_inductor: `triton_config_reduction`, `persistent_reduction`): a row to 1 024
elements stays in registers, over longer ones it loops in blocks of 2 048.

Rows of numbers of which 512 threads would sum up 256 or more each are split over blocks, 16 numbers a thread, as far as
`MOST_PIECES` blocks; their sums meet in memory, for which a piece exchanges twice more.
In the last case of the table sums depend on each other, and a step waits once more. Rows shorter than a warp have one
thread each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from hiersim.lowering.classes import equal_rows
from hiersim.model.kernels import KernelGraph, Launch
from hiersim.model.operators import IntArray, Kind

WARP: Final = 32
LOAD: Final = 16
"""Bytes that a thread loads at once."""
BLOCK: Final = 1024
"""Threads of the largest block, and elements of the longest row of softmax that the registers of a warp hold."""
LONG_ROW: Final = 16384
"""Elements of a row from which on a whole block sums it up."""
SUM_BLOCK: Final = 512
SPLIT: Final = 256
"""Numbers per thread from which on a row is split."""
PIECE: Final = 16 * SUM_BLOCK
"""Elements of the shortest piece."""
MOST_PIECES: Final = 512
"""Blocks that a row is split over: about as many as are resident on a large GPU."""
NORM_BLOCK: Final = 128
WELFORD: Final = 6
"""FLOPs per element from which on a norm updates mean and variance together."""
TOGETHER: Final = 512
"""Bytes next to each other that one miss brings: steps that are shorter share it."""
COLUMNS: Final = ("rows", "threads", "near_waits", "far_bytes", "exchanges", "passes")


class Team(NamedTuple):
    """How one row is worked on."""

    threads: int
    step: int
    """Elements that the team loads at once."""
    passes: int = 1
    """How often the row is read."""
    exchanges: int = 1
    """Sums over all threads of the team, one after the other."""
    more: int = 0
    """Further waits of each step, as long as a load from the nearest shared tier."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Of K kernels, (K,) each; zeros where a kernel has no rows."""

    rows: IntArray
    threads: IntArray
    """Of a team."""
    near_waits: IntArray
    """Waits of a row for the nearest shared tier, one after the other: all passes."""
    far_bytes: IntArray
    """Bytes of a row for which the first pass waits at farther tiers; `TOGETHER` of them are one wait."""
    exchanges: IntArray
    passes: IntArray


def rows_of_kernels(graph: KernelGraph) -> Rows:
    """The rows of the kernels of `graph`: those of the reduction that sees most elements, of the first among equals."""
    table = {name: np.zeros(len(graph), np.int64) for name in COLUMNS}
    kernels, rows, columns = _largest(graph)
    if len(kernels):
        reads = np.zeros(len(graph), np.int64)
        np.maximum.at(reads, np.repeat(np.arange(len(graph)), np.diff(graph.reads.ptr)), graph.reads.size)
        written = _sums(graph.writes.size, graph.writes.ptr)
        special = _sums(graph.operators.special_ops, graph.operator_ptr)
        flops = _sums(graph.operators.vector_flops, graph.operator_ptr)
        generated = (graph.launch == Launch.COMPILED).astype(np.int64)
        keys = (rows, columns, *(column[kernels] for column in (reads, written, special, flops, generated)))
        label, first = equal_rows(keys)
        distinct = zip(*(column[first].tolist() for column in keys), strict=True)
        worked = np.array([_row(*key) for key in distinct], np.int64)[label]
        for name, values in zip(COLUMNS, worked.T, strict=True):
            table[name][kernels] = values
    return Rows(**table)


def _largest(graph: KernelGraph) -> tuple[IntArray, IntArray, IntArray]:
    """The kernels with a reduction, ascending; and rows and columns of the reduction with most elements in each."""
    operators = graph.operators
    found = np.flatnonzero((operators.kind == Kind.REDUCTION) & (np.diff(operators.dims_ptr) == 2))
    rows, columns = operators.dims[operators.dims_ptr[found]], operators.dims[operators.dims_ptr[found] + 1]
    some = (rows > 0) & (columns > 0)
    found, rows, columns = found[some], rows[some], columns[some]
    kernel = np.repeat(np.arange(len(graph)), np.diff(graph.operator_ptr))[found]
    order = np.lexsort((found, -rows * columns, kernel))
    order = order[np.diff(kernel[order], prepend=-1) > 0]
    return kernel[order], rows[order], columns[order]


def _sums(values: IntArray, ptr: IntArray) -> IntArray:
    """Sums of the rows of a CSR list."""
    return np.diff(np.concatenate(([0], np.cumsum(values)))[ptr])


def _row(rows: int, columns: int, read: int, written: int, special: int, flops: int, generated: int) -> tuple[int, ...]:
    """`COLUMNS` of a kernel whose largest read has `read` bytes."""
    elements = rows * columns
    element = max(1, read // elements)
    whole = written * 2 > min(read, elements * element)
    if whole and generated:
        team = generated_team(columns, special >= elements)
    else:
        team = team_of(columns, element, whole, special >= elements, flops >= WELFORD * elements)
    pieces = 1 if whole or columns < SPLIT * SUM_BLOCK else min(MOST_PIECES, columns // PIECE)
    steps = -(-columns // (pieces * team.step))
    return (
        rows * pieces,
        team.threads,
        steps * (team.passes + team.more),
        steps * min(TOGETHER, team.step * element),
        team.exchanges + (2 if pieces > 1 else 0),
        team.passes,
    )


def generated_team(columns: int, special: bool) -> Team:
    """The team of generated code that writes whole rows; `special`: softmax, which looks for the maximum first."""
    if columns < WARP:
        return Team(1, 1)
    if columns <= BLOCK:
        step = max(2 * WARP, 1 << (columns - 1).bit_length())
        return Team(max(WARP, step // 4), step)
    return Team(SUM_BLOCK, 4 * SUM_BLOCK, passes=3 if special else 2)


def team_of(columns: int, element: int, whole: bool, special: bool, welford: bool) -> Team:
    """The team for a row of `columns` elements of `element` bytes, by the table at the head of this module.

    `whole`: the kernel writes whole rows; `special`: with special functions of each element; `welford`: with mean and
    variance at once.
    """
    vector = max(1, LOAD // element)
    if columns < WARP:
        return Team(1, 1)
    if not whole:
        threads = WARP if columns < LONG_ROW else SUM_BLOCK
        return Team(threads, threads * vector, exchanges=2)
    if special:
        if columns <= BLOCK:
            return Team(WARP, 2 * WARP)
        threads = min(BLOCK, 1 << (-(-columns // vector) - 1).bit_length())
        return Team(threads, threads * vector, passes=3, exchanges=2)
    return Team(NORM_BLOCK, 4 * NORM_BLOCK, passes=2, exchanges=3 if welford else 2, more=1 if welford else 0)
