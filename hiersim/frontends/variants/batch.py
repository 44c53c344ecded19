"""Another batch: a decode step of more or fewer sequences.

Which sizes follow the batch is found by its flow through the operators, from the KV cache and the inputs: what an
operator makes of something that holds one row per sequence holds one row per sequence. Positions, rotary tables and
weights do not, and a gather from a table reads one entry per sequence.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from hiersim.errors import TraceError
from hiersim.frontends.aten import functional
from hiersim.frontends.variants.decode import Decode
from hiersim.frontends.variants.parts import (
    Part,
    dims_of,
    label,
    operator_rows,
    scaled,
    shape_of,
    storage_name,
    storages_of,
    with_columns,
)
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import (
    DIMS,
    PRODUCED,
    Accesses,
    BoolArray,
    DType,
    Flag,
    IntArray,
    Kind,
    OperatorTable,
    Role,
    TensorTable,
)
from hiersim.model.trace import OperatorGraph

_HOLDS_WEIGHTS = (Role.WEIGHT, Role.CONSTANT)
_WANTED = "a capture of that batch"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flow:
    """What follows the batch in one part of a trace."""

    storages: BoolArray
    """(S,)"""
    operators: BoolArray
    """(N,)"""
    rows: BoolArray
    """(R,) rows of accesses with an operator that does."""


def eager_flow(graph: OperatorGraph, decode: Decode) -> Flow:
    """The flow of the batch through the eager operators."""
    carries = _sources(graph, decode)
    rows = np.zeros(len(graph.operators), np.bool_)
    produced = np.isin(graph.tensors.storage_role, [int(role) for role in PRODUCED])
    storage_of = graph.tensors.tensor_storage
    for row in range(len(rows)):
        reads = storage_of[graph.reads.tensor[graph.reads.ptr[row] : graph.reads.ptr[row + 1]]]
        rows[row] = bool(carries[reads].any())
        if rows[row]:
            written = graph.writes.tensor[graph.writes.ptr[row] : graph.writes.ptr[row + 1]]
            random = bool(graph.operators.flags[row] & Flag.RANDOM)
            state = random & (graph.tensors.tensor_dtype[written] == DType.INT64)  # of the generator
            made = storage_of[written[~state]]
            carries[made[produced[made]]] = True
    return Flow(storages=carries, operators=rows, rows=rows)


def _sources(part: OperatorGraph | KernelGraph, decode: Decode) -> BoolArray:
    """(S,) the KV cache, and the inputs that hold one row per sequence.

    An input of one dimension that only says where in the cache to write is shared by all sequences.
    """
    table = part.tensors
    carries: BoolArray = table.storage_role == Role.KV_CACHE
    for tensor in np.flatnonzero(table.storage_role[table.tensor_storage] == Role.INPUT).tolist():
        shape, storage = shape_of(table, tensor), int(table.tensor_storage[tensor])
        if len(shape) > 1 and shape[0] == decode.batch and not _is_position(part, storage):
            carries[storage] = True
    for storage in np.flatnonzero((table.storage_role == Role.INPUT) & ~carries).tolist():
        if not _is_position(part, storage):
            raise TraceError(
                f"input {storage_name(table, storage)} has no row per sequence and is no position in the cache",
                expected=f"inputs of shape ({decode.batch}, …); or {_WANTED}",
            )
    return carries


def _is_position(part: OperatorGraph | KernelGraph, storage: int) -> bool:
    """Whether an `index_copy` into the KV cache takes its positions from this input: they have no batch."""
    row, storages = storages_of(part, part.reads)
    reading = np.flatnonzero(np.isin(operator_rows(part), row[storages == storage]))
    return any(functional(part.operators.label(at)) == "index_copy" for at in reading.tolist())


def schedule_flow(schedule: KernelGraph, graph: OperatorGraph, flow: Flow) -> Flow:
    """The flow of the batch through the kernels of a captured schedule, by that through the eager operators."""
    known = dict(zip(graph.tensors.storage_names, flow.storages.tolist(), strict=True))
    table = schedule.tensors
    outside = ~np.isin(table.storage_role, [int(role) for role in PRODUCED])
    carries = np.array([known.get(name, False) for name in table.storage_names], np.bool_) & outside
    operators = _Labels(graph, flow).of(schedule)
    kernel_of = operator_rows(schedule)
    rows = np.zeros(len(schedule), np.bool_)
    rows[kernel_of[operators]] = True
    random = np.zeros(len(schedule), np.bool_)
    random[kernel_of[(schedule.operators.flags & Flag.RANDOM) > 0]] = True
    mixed = np.bincount(kernel_of, weights=~operators, minlength=len(schedule)) > 0
    fixed = _bytes_of(graph, ~flow.storages)
    for kernel in range(len(schedule)):
        at = slice(int(schedule.reads.ptr[kernel]), int(schedule.reads.ptr[kernel + 1]))
        rows[kernel] |= bool(carries[table.tensor_storage[schedule.reads.tensor[at]]].any())
        if not rows[kernel]:
            continue
        for place in range(int(schedule.writes.ptr[kernel]), int(schedule.writes.ptr[kernel + 1])):
            tensor = int(schedule.writes.tensor[place])
            storage = int(table.tensor_storage[tensor])
            if outside[storage] or (random[kernel] and table.tensor_dtype[tensor] == DType.INT64):
                continue
            looks_fixed = (int(table.tensor_dtype[tensor]), int(table.tensor_bytes[tensor])) in fixed
            carries[storage] = not (mixed[kernel] and looks_fixed)
    return Flow(storages=carries, operators=operators, rows=rows)


def _bytes_of(graph: OperatorGraph, chosen: BoolArray) -> set[tuple[int, int]]:
    """(dtype, bytes) of what eager operators make in the chosen storages."""
    table = graph.tensors
    made = graph.writes.tensor[chosen[table.tensor_storage[graph.writes.tensor]]]
    return set(zip(table.tensor_dtype[made].tolist(), table.tensor_bytes[made].tolist(), strict=True))


class _Labels:
    """Whether operators of a schedule follow the batch: as eager ones of the same module, name and arithmetic do."""

    def __init__(self, graph: OperatorGraph, flow: Flow) -> None:
        self.known: dict[tuple[object, ...], set[bool]] = {}
        table = graph.operators
        works = ~np.isin(table.kind, [int(Kind.VIEW), int(Kind.SYNC)])
        for row in np.flatnonzero(works).tolist():
            for key in self._keys(table, row):
                self.known.setdefault(key, set()).add(bool(flow.operators[row]))

    @staticmethod
    def _keys(table: OperatorTable, row: int) -> tuple[tuple[object, ...], ...]:
        """From the broadest to the narrowest."""
        module = table.strings[int(table.module[row])]
        name = functional(table.label(row))
        work = (int(table.matrix_flops[row]), int(table.vector_flops[row]), int(table.special_ops[row]))
        return (module,), (module, name), (module, name, work)

    def of(self, schedule: KernelGraph) -> BoolArray:
        """(N,)"""
        table = schedule.operators
        found = np.zeros(len(table), np.bool_)
        for row in range(len(table)):
            answers = [self.known[key] for key in self._keys(table, row) if key in self.known]
            clear = [answer for answer in answers if len(answer) == 1]
            if not clear and (table.vector_flops[row] or table.special_ops[row] or table.matrix_flops[row]):
                where = table.strings[int(table.module[row])] or "the model"
                raise TraceError(
                    f"'{table.label(row)}' of {where}, {schedule.policy}, cannot be told from operators that do not "
                    "follow the batch",
                    expected=_WANTED,
                )
            found[row] = bool(clear) and True in clear[-1]
        return found


def with_batch(part: Part, flow: Flow, decode: Decode, batch: int) -> Part:
    """`part` with `batch` sequences instead of `decode.batch`.

    Raises
    ------
    TraceError
        When a size does not follow from the batch.
    """
    carried = flow.storages[part.tensors.tensor_storage]
    tensors = _tensors(part.tensors, flow.storages, carried, decode.batch, batch)
    reads, writes = (
        _accesses(part, access, tensors, carried, flow.rows, decode.batch, batch)
        for access in (part.reads, part.writes)
    )
    return with_columns(
        part, tensors=tensors, operators=_operators(part, flow, decode.batch, batch), reads=reads, writes=writes
    )


def _tensors(table: TensorTable, storages: BoolArray, carried: BoolArray, of: int, batch: int) -> TensorTable:
    """Storages and views with one row per sequence; the rows are their first dimension."""
    shape = table.shape.copy()
    bare = np.flatnonzero(carried & (np.diff(table.shape_ptr) == 0))
    if len(bare):
        what = storage_name(table, int(table.tensor_storage[bare[0]]))
        raise TraceError(f"{what} is one number for all sequences: its batch cannot be told", expected=_WANTED)
    first = table.shape_ptr[:-1][carried]
    shape[first] = scaled(shape[first], batch, of, None, "the first dimension")
    late = np.flatnonzero(carried & (table.tensor_offset * of >= table.storage_bytes[table.tensor_storage]) & (of > 1))
    if len(late):
        what = storage_name(table, int(table.tensor_storage[late[0]]))
        raise TraceError(f"a view of {what} begins in a later sequence of its batch", expected=_WANTED)
    return dataclasses.replace(
        table,
        storage_bytes=scaled(table.storage_bytes, batch, of, storages, "an allocation in bytes"),
        tensor_bytes=scaled(table.tensor_bytes, batch, of, carried, "a tensor in bytes"),
        shape=shape,
    )


def _accesses(
    part: OperatorGraph | KernelGraph, access: Accesses, tensors: TensorTable, carried: BoolArray, rows: BoolArray,
    of: int, batch: int,
) -> Accesses:  # fmt: skip
    """Bytes moved: all of a weight whatever the batch, of a table that is gathered from an entry per sequence."""
    row, _ = storages_of(part, access)
    whole = access.size == part.tensors.tensor_bytes[access.tensor]
    follows = carried[access.tensor] | (rows[row] & ~whole)
    size = scaled(access.size, batch, of, follows, "an access in bytes")
    return Accesses(ptr=access.ptr, tensor=access.tensor, size=np.minimum(size, tensors.tensor_bytes[access.tensor]))


def _operators(part: OperatorGraph | KernelGraph, flow: Flow, of: int, batch: int) -> OperatorTable:
    """Arithmetic and loop nests."""
    table, chosen = part.operators, flow.operators
    columns: dict[str, Any] = {
        name: scaled(getattr(table, name), batch, of, chosen, "the arithmetic of an operator")
        for name in ("matrix_flops", "masked_flops", "vector_flops", "special_ops")
    }
    dims = table.dims.copy()
    places = [_batch_place(part, row) for row in np.flatnonzero(chosen & (np.diff(table.dims_ptr) > 0)).tolist()]
    at: IntArray = np.array(places, np.int64)
    dims[at] = scaled(dims[at], batch, of, None, "a loop")
    return dataclasses.replace(table, dims=dims, **columns)


def _batch_place(part: OperatorGraph | KernelGraph, row: int) -> int:
    """Index in `dims` of the loop over sequences."""
    table = part.operators
    kind = Kind(int(table.kind[row]))
    if kind is Kind.GEMM:
        name = "m" if _reads_a_matrix_of_weights(part, row) else "batch"
        if name == "m" and dims_of(table, row)[0] != 1:
            raise TraceError(f"'{table.label(row)}' multiplies by a batch of weights (experts)", expected=_WANTED)
    elif kind is Kind.REDUCTION:
        name = "rows"
    elif kind is Kind.ATTENTION:
        name = "batch"
    else:
        raise TraceError(f"'{table.label(row)}' is a {kind.name.lower()} operator in a decode step", expected=_WANTED)
    return int(table.dims_ptr[row]) + DIMS[kind].index(name)


def _reads_a_matrix_of_weights(part: OperatorGraph | KernelGraph, row: int) -> bool:
    """Whether the product's second operand is a weight: as many elements as its k × n."""
    at = int(operator_rows(part)[row]) if isinstance(part, KernelGraph) else row
    tensors = part.reads.tensor[part.reads.ptr[at] : part.reads.ptr[at + 1]]
    _, _, n, k = dims_of(part.operators, row)
    for tensor in tensors.tolist():
        role = Role(int(part.tensors.storage_role[part.tensors.tensor_storage[tensor]]))
        elements = int(np.prod(shape_of(part.tensors, tensor), dtype=np.float64))
        if role in _HOLDS_WEIGHTS and elements == n * k:
            return True
    return False


def check_flow(part: OperatorGraph | KernelGraph, flow: Flow) -> None:
    """Every contraction of a decode step follows its batch, and gathers do not read whole tables.

    Raises
    ------
    TraceError
        Naming the first that does not.
    """
    table = part.operators
    lost = np.flatnonzero((table.matrix_flops > 0) & ~flow.operators)
    if len(lost):
        raise TraceError(f"'{table.label(int(lost[0]))}' does not depend on the batch", expected=_WANTED)
    row, storage = storages_of(part, part.reads)
    gathers = np.zeros(len(flow.rows), np.bool_)
    gathers[operator_rows(part)[table.kind == Kind.GATHER]] = True
    tables = np.isin(part.tensors.storage_role[storage], [int(role) for role in _HOLDS_WEIGHTS])
    whole = part.reads.size == part.tensors.tensor_bytes[part.reads.tensor]
    bad = np.flatnonzero(gathers[row] & tables & whole & (np.diff(part.tensors.shape_ptr)[part.reads.tensor] > 1))
    if len(bad) and isinstance(part, OperatorGraph):
        what = storage_name(part.tensors, int(storage[bad[0]]))
        raise TraceError(
            f"'{label(part, int(row[bad[0]]))}' gathers all of {what}: its reads cannot be derived", expected=_WANTED
        )
