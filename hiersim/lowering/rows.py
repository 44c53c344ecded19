"""Rows of a reduction and the teams of threads that work on them, as GPU libraries do: what no design changes.

A library gives a row to a *team*, one warp or one block of threads, and a block waits for its loads, exchanges its sums
and then goes on. A core has room for a few teams only, so that it is idle while they all wait. The rules are those of
PyTorch 2 (aten/src/ATen/native/cuda: SoftMax.cu, PersistentSoftmax.cuh, layer_norm_kernel.cu; `row_sums` has those of
kernels that write a number per row):

| kernel | team | loaded at once | passes | exchanges |
|---|---|---|---|---|
| writes a number per row | of `row_sums` | 4 elements per thread, of sums and means 16 bytes | 1 | 2 |
| writes whole rows, a special function per element (softmax), to 1 024 | a warp | the row | 1 | 1 |
| the same, up to 9 elements for each of 1 024 threads | a thread per element, at most 1 024 | the row | 1 | 2 |
| the same, rows below 48 KiB | 1 024 threads | 16 bytes per thread | 1 | 2 |
| the same, longer rows | 1 024 threads | 16 bytes per thread, the last ones one by one | 3 | 2 |
| softmax above 1 024 before PyTorch 2.1 | at most 512 threads, 32 bytes or more for each | the same | 3 | 2 |
| writes whole rows otherwise (norms) | 128 threads | 4 elements per thread | 2 | 2 |
| the same with 6 FLOPs per element or more (mean and variance at once) | 128 threads | 4 elements per thread | 2 | 3 |
| generated code that writes whole rows, to 1 024 | a thread per 4 elements | the row | 1 | 1 |
| the same, longer rows (a special function per element: softmax) | 512 threads | 4 elements per thread | 2 (3) | 1 |
| the same before PyTorch 2.1, with mean and variance as well | 256 threads | 8 elements per thread | 3 | 1 |

vLLM's `reshape_and_cache` gives a token a block of up to 512 threads, which wait for its place, key and value.

Generated code is TorchInductor's (torch/_inductor: `triton_config_reduction`, `persistent_reduction`): a row to 1 024
elements stays in registers, over longer ones it loops in blocks of 2 048. Before PyTorch 2.1 a block has at most 8
warps, and the variance of a long row is a pass after its mean (triton-lang/triton#1285; since pytorch/pytorch#102486
they are one).

Special functions and divisions of a thread are `links` of a chain: library code that branches, so that a thread
evaluates one after the other. Where mean and variance are updated together, that is a division for each element.
Rows shorter than a warp have one thread each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Final, NamedTuple

import numpy as np

from hiersim.lowering.classes import equal_rows
from hiersim.lowering.functions import MOST
from hiersim.lowering.row_sums import UNROLLED, WARP, behind_each_other, sums_of
from hiersim.model.kernels import KernelGraph, Launch
from hiersim.model.operators import IntArray, Kind

LOAD: Final = 16
"""Bytes that a thread loads at once."""
BLOCK: Final = 1024
"""Threads of the largest block, and elements of the longest row of softmax that the registers of a warp hold."""
HELD: Final = 9
"""Elements of a row of softmax that a thread of the largest block keeps in registers."""
SHARED: Final = 48 * 1024 - 32 * 4
"""Bytes of the longest row of softmax that a block keeps: its memory without asking for more, less a sum a warp."""
SUM_BLOCK: Final = 512
NORM_BLOCK: Final = 128
WELFORD: Final = 6
"""FLOPs per element from which on a norm updates mean and variance together."""
WIDE: Final = re.compile(r"aten(\.|::)(sum|mean)(\.|$)")
"""Operators whose kernels load 16 bytes of a row at once, whatever the dtype: template `ReduceOp<…, 4, 8>` for BF16."""
STORED: Final = re.compile(r"reshape_and_cache")
"""Operators that store keys and values in pages: vLLM, csrc/cache_kernels.cu."""
STORE_WAITS: Final = 3
"""Of the block of a token: for its place, its key and its value."""
STORE_EXCHANGES: Final = 2
"""What it takes to begin and end such a block, in sums over a block, as rows of a few elements show them."""
KEPT_ROWS: Final = (2, 1)
"""The release of PyTorch from which on softmax reads a row once, that of `cunn_SoftMaxForwardSmem`, and generated norms
find mean and variance together."""
APART: Final = 1 << 30
"""Bytes of a step whose loads lie apart: each misses on its own, whatever one miss brings."""
COLUMNS: Final = (
    "rows", "threads", "near_waits", "steps", "step_bytes", "exchanges", "passes", "links", "numbers", "joined",
    "accesses", "handled", "evaluated",
)  # fmt: skip


class Team(NamedTuple):
    """How one row is worked on."""

    threads: int
    step: int
    """Elements that the team loads at once."""
    passes: int = 1
    """How often the row is read."""
    exchanges: int = 1
    """Sums over all threads of the team, one after the other."""
    extra: int = 0
    """Further waits of each pass: what does not fill a step."""
    links: int = 0
    """Special functions and divisions that a thread evaluates one after the other, all passes."""
    wide: int = 1
    """Elements of a load or store."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Of K kernels, (K,) each; zeros where a kernel has no rows."""

    rows: IntArray
    threads: IntArray
    """Of a team."""
    near_waits: IntArray
    """Waits of a row for the nearest shared tier, one after the other: all passes."""
    steps: IntArray
    """Of a pass over a row."""
    step_bytes: IntArray
    """That a team loads at once; steps of less than `Constants.wait_bytes` share a wait at farther tiers."""
    exchanges: IntArray
    passes: IntArray
    links: IntArray
    """Special functions and divisions of a thread, one after the other."""
    numbers: IntArray
    """That a thread adds up, where a row may be split over blocks (`row_sums`); else 0."""
    joined: IntArray
    """Threads that add up what blocks left of a result."""
    accesses: IntArray
    """Loads and stores of a library's kernel, of all threads."""
    handled: IntArray
    """Elements that these bring and take, as often as they do."""
    evaluated: IntArray
    """Special functions that a library's kernel evaluates beside what its operators say."""


def rows_of_kernels(graph: KernelGraph) -> Rows:
    """The rows of the kernels of `graph`: those of the reduction that sees most elements, of the first among equals."""
    table = {name: np.zeros(len(graph), np.int64) for name in COLUMNS}
    found, kernels, rows, columns = _largest(graph)
    if len(kernels):
        reads = np.zeros(len(graph), np.int64)
        np.maximum.at(reads, np.repeat(np.arange(len(graph)), np.diff(graph.reads.ptr)), graph.reads.size)
        written = _sums(graph.writes.size, graph.writes.ptr)
        special = _sums(graph.operators.special_ops, graph.operator_ptr)
        flops = _sums(graph.operators.vector_flops, graph.operator_ptr)
        generated = (graph.launch == Launch.COMPILED).astype(np.int64)
        own = (_behind(graph, kernels), _wide(graph, found), np.full(len(kernels), _keeps_rows(graph), np.int64))
        keys = (rows, columns, *(column[kernels] for column in (reads, written, special, flops, generated)), *own)
        label, first = equal_rows(keys)
        distinct = zip(*(column[first].tolist() for column in keys), strict=True)
        worked = np.array([_row(Kernel(*key)) for key in distinct], np.int64)[label]
        for name, values in zip(COLUMNS, worked.T, strict=True):
            table[name][kernels] = values
    for kernel, values in _stored(graph):
        for name, value in zip(COLUMNS, values, strict=True):
            table[name][kernel] = value
    return Rows(**table)


def _stored(graph: KernelGraph) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Kernels that store keys and values of tokens in pages, and their `COLUMNS`: a block for each token.

    It waits for the place, for the key and for the value.
    """
    operators, tensors = graph.operators, graph.tensors
    names = {number for number, text in enumerate(operators.strings) if STORED.search(text)}
    if not names:
        return
    for kernel in np.flatnonzero(np.diff(graph.operator_ptr) == 1).tolist():
        first, last = graph.reads.ptr[kernel : kernel + 2].tolist()
        if int(operators.name[graph.operator_ptr[kernel]]) not in names or first == last:
            continue
        read = graph.reads.tensor[first]
        shape = tensors.shape[tensors.shape_ptr[read] : tensors.shape_ptr[read + 1]].tolist()
        elements, tokens = prod(shape), shape[0] if shape else 0
        if elements > 0:
            threads = max(WARP, min(elements // tokens, SUM_BLOCK))
            yield kernel, (tokens, threads, STORE_WAITS, STORE_WAITS - 1, APART, STORE_EXCHANGES, 1, 0, 0, 1, 0, 0, 0)


def _keeps_rows(graph: KernelGraph) -> bool:
    """Whether PyTorch that ran is none of before `KEPT_ROWS`."""
    return graph.release is None or graph.release >= KEPT_ROWS


def _wide(graph: KernelGraph, found: IntArray) -> IntArray:
    """1 for sums and means, which load 16 bytes at once; other reductions load 4 elements."""
    wide = {number for number, text in enumerate(graph.operators.strings) if WIDE.match(text)}
    return np.array([name in wide for name in graph.operators.name[found].tolist()], np.int64)


def _behind(graph: KernelGraph, kernels: IntArray) -> IntArray:
    """Elements between one number of a result and the next, of kernels that a framework launches; see `row_sums`."""
    tensors = graph.tensors
    strides = np.zeros(len(kernels), np.int64)
    for place, kernel in enumerate(kernels.tolist()):
        reads = slice(graph.reads.ptr[kernel], graph.reads.ptr[kernel + 1])
        writes = slice(graph.writes.ptr[kernel], graph.writes.ptr[kernel + 1])
        if graph.launch[kernel] == Launch.EAGER and reads.start < reads.stop and writes.start < writes.stop:
            read = graph.reads.tensor[reads][graph.reads.size[reads].argmax()]
            shapes = [
                tensors.shape[tensors.shape_ptr[tensor] : tensors.shape_ptr[tensor + 1]]
                for tensor in (read, graph.writes.tensor[writes][0])
            ]
            strides[place] = behind_each_other(*shapes)
    return strides


def _largest(graph: KernelGraph) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Of kernels with a reduction, ascending, that with most elements: the operator, the kernel, rows and columns."""
    operators = graph.operators
    found = np.flatnonzero((operators.kind == Kind.REDUCTION) & (np.diff(operators.dims_ptr) == 2))
    rows, columns = operators.dims[operators.dims_ptr[found]], operators.dims[operators.dims_ptr[found] + 1]
    some = (rows > 0) & (columns > 0)
    found, rows, columns = found[some], rows[some], columns[some]
    kernel = np.repeat(np.arange(len(graph)), np.diff(graph.operator_ptr))[found]
    order = np.lexsort((found, -rows * columns, kernel))
    order = order[np.diff(kernel[order], prepend=-1) > 0]
    return found[order], kernel[order], rows[order], columns[order]


def _sums(values: IntArray, ptr: IntArray) -> IntArray:
    """Sums of the rows of a CSR list."""
    return np.diff(np.concatenate(([0], np.cumsum(values)))[ptr])


class Kernel(NamedTuple):
    """What decides who works on the rows of a kernel."""

    rows: int
    columns: int
    read: int
    """Bytes of its largest read."""
    written: int
    special: int
    flops: int
    generated: int
    behind: int
    wide: int
    keeps_rows: int


def _row(kernel: Kernel) -> tuple[int, ...]:
    """`COLUMNS` of a kernel."""
    rows, columns, elements = kernel.rows, kernel.columns, kernel.rows * kernel.columns
    element = max(1, kernel.read // elements)
    special = kernel.special >= elements
    whole = kernel.written * 2 > min(kernel.read, elements * element)
    more = 0
    if whole and kernel.generated:
        team = generated_team(columns, special, kernel.flops >= WELFORD * elements, bool(kernel.keeps_rows))
    elif whole:
        # softmax evaluates its exponential twice and divides; its logarithm, which adds a function a row, does so once
        functions = 0 if not special else (1 if kernel.special > elements else 3)
        welford = kernel.flops >= WELFORD * elements
        team = whole_team(columns, element, functions, welford, bool(kernel.keeps_rows))
        more = functions - 1 if functions else int(welford)
        if functions == 3 and team.threads == WARP:
            more = 1
    elif columns < WARP and not kernel.behind:
        team = Team(1, 1)
    else:
        sums = sums_of(rows, columns, kernel.behind, max(UNROLLED, LOAD // element) if kernel.wide else UNROLLED)
        apart = APART if kernel.behind else sums.step * element
        wide = max(1, LOAD // element) if kernel.wide else 1
        loaded = 0 if kernel.generated else min(elements, MOST)
        return (
            sums.teams, sums.threads, sums.steps, sums.steps, apart, 2, 1, 0, sums.numbers, sums.joined,
            loaded // wide, loaded, 0,
        )  # fmt: skip
    steps = -(-columns // team.step)
    near = (steps + team.extra) * team.passes
    handled = 0 if kernel.generated else min(elements, MOST) * (team.passes + int(whole))
    beside = 0 if kernel.generated else min(elements, MOST) * more
    return (
        rows, team.threads, near, steps, team.step * element, team.exchanges, team.passes, team.links, 0, 1,
        handled // team.wide, handled, beside,
    )  # fmt: skip


def generated_team(columns: int, special: bool, welford: bool = False, keeps_rows: bool = True) -> Team:
    """The team of generated code that writes whole rows, by the table at the head of this module.

    Parameters
    ----------
    columns : int
        Elements of a row.
    special : bool
        Softmax, which looks for the maximum first.
    welford : bool
        A norm with mean and variance.
    keeps_rows : bool
        Of PyTorch since `KEPT_ROWS`.
    """
    if columns < WARP:
        return Team(1, 1)
    if columns <= BLOCK:
        step = max(2 * WARP, 1 << (columns - 1).bit_length())
        return Team(max(WARP, step // 4), step)
    threads = SUM_BLOCK if keeps_rows else SUM_BLOCK // 2
    return Team(threads, 4 * SUM_BLOCK, passes=3 if special or (welford and not keeps_rows) else 2)


def whole_team(columns: int, element: int, functions: int, welford: bool, keeps_rows: bool) -> Team:
    """The team of a library kernel that writes whole rows, by the table at the head of this module.

    Parameters
    ----------
    columns, element : int
        Elements of a row, and bytes of each.
    functions : int
        Special functions and divisions of each element (softmax); 0 for norms.
    welford : bool
        A norm with mean and variance at once.
    keeps_rows : bool
        Softmax reads a row once, where a block can hold it.
    """
    if columns < WARP:
        return Team(1, 1)
    if functions:
        return _softmax(columns, max(1, LOAD // element), element, functions, keeps_rows)
    each = 4 * -(-columns // (4 * NORM_BLOCK))
    links = each if welford else 0
    return Team(NORM_BLOCK, 4 * NORM_BLOCK, passes=2, exchanges=3 if welford else 2, links=links, wide=4)


def _softmax(columns: int, vector: int, element: int, functions: int, keeps_rows: bool) -> Team:
    """The team of softmax, which loads `vector` elements with one load of a thread."""
    if columns <= BLOCK:
        return Team(WARP, columns, links=-(-columns // WARP) * min(functions, 2))
    if not keeps_rows:
        most = max(WARP, min(columns // vector, BLOCK) // (2 if vector > 1 else 1))
        block = 1 << (most - 1).bit_length()
        return _in_passes(columns, block, vector, room=2 * block)
    each = -(-columns // BLOCK)
    if each <= HELD:
        return Team(BLOCK, columns, exchanges=2, links=each * (functions - 1))
    if columns * element < SHARED and columns % vector == 0:
        return Team(BLOCK, BLOCK * vector, exchanges=2, wide=vector)
    return _in_passes(columns, BLOCK, vector, room=BLOCK)


def _in_passes(columns: int, threads: int, vector: int, room: int) -> Team:
    """A block that reads a row three times; what fills no step is loaded element by element."""
    step = threads * vector
    rest = columns % step
    alone = max(0, -(-rest // threads) - 1)  # one of them counts as a step already
    return Team(room, step, passes=3, exchanges=2, extra=alone, wide=vector)
