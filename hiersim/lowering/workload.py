"""`Workload`: all that lowering needs of a kernel graph and no design changes, made once and used for every design."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hiersim.lowering.channel_order import puts_channels_last
from hiersim.lowering.classes import Ragged, equal_rows
from hiersim.lowering.coalescing import addresses, transposed_runs
from hiersim.lowering.functions import evaluations
from hiersim.lowering.patterns import AccessPatterns, access_patterns
from hiersim.lowering.pieces import cut
from hiersim.lowering.placement import occupancy
from hiersim.lowering.residency import ReuseProfile, profile_reuse
from hiersim.lowering.rows import COLUMNS, rows_of_kernels
from hiersim.lowering.work import KernelClasses
from hiersim.model.kernels import KernelGraph, Launch
from hiersim.model.operators import BITS, PRODUCED, BoolArray, DType, IntArray, Kind, OperatorTable

CONTRACTIONS = (Kind.GEMM, Kind.CONV, Kind.ATTENTION, Kind.FLASH)
MOST_DIMS = 7
"""Sizes of an operator with the most of them, attention."""
_BITS = np.array([BITS[dtype] for dtype in DType], np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workload:
    """What a kernel graph asks of any machine. K kernels in C classes of equal work and equal reuse."""

    graph: KernelGraph
    profile: ReuseProfile
    peak_bytes: int
    """Largest occupancy of the home tier."""
    compulsory_bytes: int
    """Bytes that any schedule moves to or from the home tier."""
    matrix_dtypes: tuple[DType, ...]
    """Of operators with a contraction's arithmetic, by first appearance."""
    vector_dtypes: tuple[DType, ...]
    matrix_flops: Mapping[DType, int]
    """Matrix FLOPs that kernels really execute."""
    vector_flops: Mapping[DType, int]
    """Element-wise FLOPs, with special functions as one each."""
    unknown: str
    """Warning of operators without a cost formula; may be empty."""
    views: int
    """Operators that launch nothing, all kernels together."""
    launch: IntArray
    """(K,) 0 eager, 1 compiled."""
    library: IntArray
    """(K,) 1 where a library is called: a single contraction."""
    needs_ptr: IntArray
    needs: IntArray
    """CSR (K + 1,): each kernel needs the one before."""
    kernel_class: IntArray
    """(K,) numbered by first appearance."""
    classes: KernelClasses
    runs: tuple[int, ...]
    """Bytes of the runs in which kernels gather and scatter, ascending; pattern p of a class is `runs[p - 1]`."""

    def __len__(self) -> int:
        return len(self.graph)


def prepare(graph: KernelGraph, profile: ReuseProfile | None = None) -> Workload:
    """The workload of `graph`; once per graph, whatever the design.

    Parameters
    ----------
    graph : KernelGraph
        Kernels in launch order.
    profile : ReuseProfile, optional
        `profile_reuse(graph)`, when it is at hand.

    Raises
    ------
    FusionError
        For a graph that no frontend would let through.
    """
    profile = profile or profile_reuse(graph)
    operators = graph.operators
    kernels = len(graph)
    patterns = access_patterns(graph)
    kernel_class, classes = _kernel_classes(graph, profile, patterns)
    contraction = np.isin(operators.kind, [int(kind) for kind in CONTRACTIONS])
    matrix = contraction & (operators.matrix_flops > 0)
    vector = operators.vector_flops + operators.special_ops
    return Workload(
        graph=graph,
        profile=profile,
        peak_bytes=int(occupancy(graph).max(initial=0)),
        compulsory_bytes=compulsory_bytes(graph),
        matrix_dtypes=_dtypes(operators.dtype[matrix]),
        vector_dtypes=_dtypes(operators.dtype[vector > 0]),
        matrix_flops=_by_dtype(operators.dtype[matrix], (operators.matrix_flops - operators.masked_flops)[matrix]),
        vector_flops=_by_dtype(operators.dtype, vector),
        unknown=_unknown(operators),
        views=int(graph.host_views.sum()),
        launch=(graph.launch != Launch.EAGER).astype(np.int64),
        library=_calls_of_libraries(graph, contraction),
        needs_ptr=np.maximum(np.arange(kernels + 1, dtype=np.int64) - 1, 0),
        needs=np.arange(max(kernels - 1, 0), dtype=np.int64),
        kernel_class=kernel_class,
        classes=classes,
        runs=patterns.runs,
    )


def _calls_of_libraries(graph: KernelGraph, contraction: BoolArray) -> IntArray:
    """(K,) 1 for kernels of one operator, a `contraction` (N,): with others fused into it, it is generated code."""
    single = np.flatnonzero(np.diff(graph.operator_ptr) == 1)
    found = np.zeros(len(graph), np.int64)
    found[single] = contraction[graph.operator_ptr[single]]
    return found


def _dtypes(column: IntArray) -> tuple[DType, ...]:
    """The dtypes of a column by first appearance."""
    present = np.flatnonzero(np.bincount(column)).tolist()
    return tuple(DType(value) for value in sorted(present, key=lambda value: int((column == value).argmax())))


def _by_dtype(dtype: IntArray, amount: IntArray) -> dict[DType, int]:
    """Sums that are not zero, by dtype."""
    sums = {value: int(amount[dtype == value].sum()) for value in DType}
    return {value: total for value, total in sums.items() if total}


def _unknown(operators: OperatorTable) -> str:
    rows = np.flatnonzero(operators.kind == Kind.OPAQUE)
    if not len(rows):
        return ""
    names = sorted({operators.strings[index] for index in np.flatnonzero(np.bincount(operators.name[rows])).tolist()})
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(rows)} operators without a cost formula count as memory traffic only: {shown}"


def compulsory_bytes(graph: KernelGraph) -> int:
    """Bytes that any schedule moves to or from the home tier.

    Of each storage (each piece of one, where views begin within it) that exists before the first kernel: the largest
    read, less what kernels before it wrote there. Of each output: the largest write.
    """
    pieces = graph.derived(cut)
    return int(compulsory_of_storages(pieces.graph if pieces else graph).sum())


def compulsory_of_storages(graph: KernelGraph) -> IntArray:
    """(S,) the same by storage; of a graph none of whose storages has pieces."""
    table = graph.tensors
    storages = len(table.storage_bytes)
    outside = ~np.isin(table.storage_role, [int(role) for role in PRODUCED])
    kernels = np.arange(len(graph))
    written = table.tensor_storage[graph.writes.tensor]
    largest = np.zeros(storages, np.int64)
    np.maximum.at(largest, written, graph.writes.size)
    inside = outside[written]
    events = [
        (table.tensor_storage[graph.reads.tensor], np.repeat(kernels, np.diff(graph.reads.ptr)), graph.reads.size),
        (written[inside], np.repeat(kernels, np.diff(graph.writes.ptr))[inside], graph.writes.size[inside]),
    ]
    read = _largest_first_reads(events, storages)
    return np.where(outside, read, 0) + np.where(table.storage_output == 1, largest, 0)


def _largest_first_reads(events: list[tuple[IntArray, IntArray, IntArray]], storages: int) -> IntArray:
    """(S,) the largest read of each storage, less all that earlier kernels wrote there.

    `events` are reads and writes as (storage, kernel, bytes); a kernel reads before it writes.
    """
    storage, kernel, size = (np.concatenate(pair) for pair in zip(*events, strict=True))
    write = np.repeat([0, 1], [len(events[0][0]), len(events[1][0])])
    order = np.lexsort((write, kernel, storage)) if len(events[1][0]) else np.arange(len(storage))
    storage, size, write = storage[order], size[order], write[order]
    before = np.cumsum(size * write) - size * write
    start = np.full(storages, np.iinfo(np.int64).max)
    np.minimum.at(start, storage, before)  # the sum never falls: its least value is that of the storage's first event
    most = np.zeros(storages, np.int64)
    np.maximum.at(most, storage, (size - (before - start[storage])) * (1 - write))
    return most


def _kernel_classes(
    graph: KernelGraph, profile: ReuseProfile, patterns: AccessPatterns
) -> tuple[IntArray, KernelClasses]:
    """The class of each kernel, and the content of the classes."""
    type_of, types = _operator_types(graph)
    reads, works = Ragged(graph.reads.ptr, graph.reads.size), _working(graph, type_of)
    written = np.concatenate(([0], np.cumsum(graph.writes.size)))[graph.writes.ptr]
    write = np.diff(written)
    bits = Ragged(graph.reads.ptr, _BITS[graph.tensors.tensor_dtype[graph.reads.tensor]])
    run = transposed_runs(graph)
    runs, scattered, scattered_run = Ragged(graph.reads.ptr, patterns.read), patterns.scattered, patterns.write
    addressed, evaluated = addresses(graph, run), evaluations(graph)
    rows = rows_of_kernels(graph)
    teams = {name: getattr(rows, name) for name in COLUMNS if name != "evaluated"}
    evaluated = evaluated + rows.evaluated
    patterned = (write, run, *addressed, evaluated, runs, scattered, scattered_run)
    shape, shape_row = equal_rows((works, reads, bits, *patterned, *teams.values()))
    pieces, low, high, covered = _read_reuse(graph, profile)
    size, flush, count, chunk_low, chunk_high = _chunk_reuse(graph, profile)
    label, row = equal_rows((shape, pieces, low, high, covered, size, flush, count, chunk_low, chunk_high))
    works, reads, runs = works.rows(shape_row), reads.rows(shape_row), runs.rows(shape_row)
    ends = np.concatenate(([0], np.cumsum(count.rows(row).values)))
    columns = {
        "class_shape": shape[row],
        "class_count": np.bincount(label, minlength=len(row)).astype(np.int64),
        "class_read_ptr": pieces.rows(row).ptr,
        "piece_ptr": np.concatenate(([0], np.cumsum(pieces.rows(row).values))),
        "piece_low": low.rows(row).values,
        "piece_high": high.rows(row).values,
        "piece_bytes": covered.rows(row).values,
        "chunk_ptr": size.rows(row).ptr,
        "chunk_bytes": size.rows(row).values,
        "chunk_flush": flush.rows(row).values,
        "interval_ptr": ends,
        "interval_low": chunk_low.rows(row).values,
        "interval_high": chunk_high.rows(row).values,
        "shape_read_ptr": reads.ptr,
        "read_size": reads.values,
        "read_bits": bits.rows(shape_row).values,
        "shape_write": write[shape_row],
        "shape_run": run[shape_row],
        "shape_addressed": addressed.elements[shape_row],
        "shape_shared": addressed.shared[shape_row],
        "shape_evaluated": evaluated[shape_row],
        "read_pattern": runs.values,
        "shape_scattered": scattered[shape_row],
        "scattered_pattern": scattered_run[shape_row],
        "shape_ordered": _ordered(runs, scattered_run[shape_row]),
        **{f"shape_{name}": values[shape_row] for name, values in teams.items()},
        "shape_type_ptr": works.ptr,
        "shape_type": works.values,
        **types,
    }
    return label, KernelClasses(columns)


def _ordered(runs: Ragged, scattered: IntArray) -> IntArray:
    """1 where a kernel touches all that it touches in order."""
    apart = np.concatenate(([0], np.cumsum(runs.values > 0)))
    return ((apart[runs.ptr[1:]] == apart[runs.ptr[:-1]]) & (scattered == 0)).astype(np.int64)


def _operator_types(graph: KernelGraph) -> tuple[IntArray, dict[str, IntArray]]:
    """The type of each operator, and the content of the types: all that lowering sees of an operator.

    Products of compiled schedules are `padded`: a compiler that knows the shapes aligns their rows.
    """
    operators = graph.operators
    dims = Ragged(operators.dims_ptr, operators.dims)
    columns = {
        "type_kind": operators.kind,
        "type_dtype": operators.dtype,
        "type_matrix": operators.matrix_flops,
        "type_masked": operators.masked_flops,
        "type_vector": operators.vector_flops,
        "type_special": operators.special_ops,
        "type_padded": _padded(graph),
        "type_images": _images(graph),
        "type_paged": _paged(graph),
    }
    label, row = equal_rows((*columns.values(), dims))
    sizes = np.zeros((len(row), MOST_DIMS), np.int64)
    chosen = dims.rows(row)
    place = np.arange(len(chosen.values)) - np.repeat(chosen.ptr[:-1], chosen.lengths)
    sizes[np.repeat(np.arange(len(row)), chosen.lengths), place] = chosen.values
    element = np.maximum(-(-_BITS // 8), 1)
    types = {name: column[row] for name, column in columns.items()}
    return label, {**types, "type_dims": sizes.reshape(-1), "type_element": element[operators.dtype[row]]}


def _padded(graph: KernelGraph) -> IntArray:
    """(N,) 1 for operators of compiled schedules; not for convolutions whose tensors a compiler leaves as they lie."""
    operators = graph.operators
    padded = np.repeat(graph.launch != Launch.EAGER, np.diff(graph.operator_ptr)).astype(np.int64)
    convolutions = np.flatnonzero(operators.kind == Kind.CONV)
    convolutions = convolutions[np.diff(operators.dims_ptr)[convolutions] >= 5]
    if len(convolutions) and not puts_channels_last(operators, convolutions):
        padded[operators.kind == Kind.CONV] = 0
    return padded


def _images(graph: KernelGraph) -> IntArray:
    """(N,) images of each convolution that is a kernel by itself, by the tensor that it writes first; else zeros."""
    images = np.zeros(len(graph.operators), np.int64)
    single = (np.diff(graph.operator_ptr) == 1) & (np.diff(graph.writes.ptr) >= 1)
    kernels = np.flatnonzero(single)
    kernels = kernels[graph.operators.kind[graph.operator_ptr[kernels]] == Kind.CONV]
    written = graph.writes.tensor[graph.writes.ptr[kernels]]
    ranks = np.diff(graph.tensors.shape_ptr)[written]
    kernels, written = kernels[ranks > 2], written[ranks > 2]  # without a batch dimension: unknown
    images[graph.operator_ptr[kernels]] = graph.tensors.shape[graph.tensors.shape_ptr[written]]
    return images


def _paged(graph: KernelGraph) -> IntArray:
    """(N,) 1 for attention that finds its keys by a table: a kernel by itself that reads whole numbers."""
    paged = np.zeros(len(graph.operators), np.int64)
    single = np.flatnonzero(np.diff(graph.operator_ptr) == 1)
    operator = graph.operator_ptr[single]
    attends = graph.operators.kind[operator] == Kind.ATTENTION
    if not attends.any():
        return paged
    whole = np.isin(graph.tensors.tensor_dtype[graph.reads.tensor], [int(DType.INT64), int(DType.INT32)])
    count = np.diff(np.concatenate(([0], np.cumsum(whole)))[graph.reads.ptr])
    paged[operator[attends & (count[single] > 0)]] = 1
    return paged


def _working(graph: KernelGraph, type_of: IntArray) -> Ragged:
    """The types of each kernel's operators that do arithmetic."""
    operators = graph.operators
    works = (operators.matrix_flops > 0) | (operators.vector_flops > 0) | (operators.special_ops > 0)
    return Ragged(np.concatenate(([0], np.cumsum(works)))[graph.operator_ptr], type_of[works])


def _distances(profile: ReuseProfile) -> tuple[IntArray, IntArray]:
    """(V,) least and largest reuse distance of each interval."""
    low = np.minimum(profile.distance_begin, profile.distance_end)
    high = np.maximum(profile.distance_begin, profile.distance_end)
    return low, high


def _read_reuse(graph: KernelGraph, profile: ReuseProfile) -> tuple[Ragged, Ragged, Ragged, Ragged]:
    """Of each kernel's reads: how many pieces each has; of the pieces: reuse distances and bytes."""
    low, high = _distances(profile)
    interval, ptr = profile.piece_interval, profile.read_ptr[graph.reads.ptr]
    pieces = Ragged(graph.reads.ptr, np.diff(profile.read_ptr))
    return pieces, Ragged(ptr, low[interval]), Ragged(ptr, high[interval]), Ragged(ptr, profile.piece_bytes)


def _chunk_reuse(graph: KernelGraph, profile: ReuseProfile) -> tuple[Ragged, Ragged, Ragged, Ragged, Ragged]:
    """Of each kernel's dirty chunks: bytes, whether they must be flushed, number of intervals; and their distances.

    A chunk that is flushed in any case, or that no interval threatens, has none.
    """
    kernels = np.arange(len(graph) + 1)
    order = np.argsort(profile.chunk_kernel, kind="stable")
    intervals = Ragged(profile.chunk_ptr, profile.chunk_intervals).rows(order)
    flush = profile.chunk_flush[order]
    kept = np.where(flush == 1, 0, intervals.lengths)
    chunk_ptr = np.searchsorted(profile.chunk_kernel[order], kernels).astype(np.int64)
    low, high = _distances(profile)
    chosen = intervals.values[np.repeat(flush == 0, intervals.lengths)]
    interval_ptr = np.concatenate(([0], np.cumsum(kept)))[chunk_ptr]
    return (
        Ragged(chunk_ptr, profile.chunk_bytes[order]),
        Ragged(chunk_ptr, flush),
        Ragged(chunk_ptr, kept),
        Ragged(interval_ptr, low[chosen]),
        Ragged(interval_ptr, high[chosen]),
    )
