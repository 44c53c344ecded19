"""The parts of a trace, eager graph and captured schedules, and what variants ask of them."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import numpy as np

from hiersim.errors import TraceError
from hiersim.model.kernels import KernelGraph
from hiersim.model.networks import rows_of
from hiersim.model.operators import Accesses, BoolArray, IntArray, Kind, OperatorTable, TensorTable
from hiersim.model.trace import OperatorGraph
from hiersim.units import LARGEST

Part = TypeVar("Part", OperatorGraph, KernelGraph)


def operator_rows(part: OperatorGraph | KernelGraph) -> IntArray:
    """(N,) the row of accesses (operator of a graph, kernel of a schedule) that each operator belongs to."""
    if isinstance(part, KernelGraph):
        return np.repeat(np.arange(len(part)), np.diff(part.operator_ptr))
    return np.arange(len(part.operators))


def label(part: OperatorGraph | KernelGraph, row: int) -> str:
    """How messages call a row of accesses."""
    return part.names[row] if isinstance(part, KernelGraph) else part.operators.label(row)


def rows_with(part: OperatorGraph | KernelGraph, kind: Kind) -> BoolArray:
    """(R,) rows of accesses that run an operator of that kind."""
    found = np.zeros(len(part.reads.ptr) - 1, np.bool_)
    found[operator_rows(part)[part.operators.kind == kind]] = True
    return found


def dims_of(table: OperatorTable, row: int) -> tuple[int, ...]:
    """The sizes of one operator, see `DIMS`."""
    return tuple(table.dims[table.dims_ptr[row] : table.dims_ptr[row + 1]].tolist())


def shape_of(table: TensorTable, tensor: int) -> tuple[int, ...]:
    """The shape of one tensor."""
    return tuple(table.shape[table.shape_ptr[tensor] : table.shape_ptr[tensor + 1]].tolist())


def storage_name(table: TensorTable, storage: int) -> str:
    """How messages call a storage."""
    return table.storage_names[storage] or f"storage {storage}"


def storages_of(part: OperatorGraph | KernelGraph, access: Accesses) -> tuple[IntArray, IntArray]:
    """(A,) the row and the storage of each access."""
    return rows_of(access), part.tensors.tensor_storage[access.tensor]


def scaled(values: IntArray, to: int, of: int, chosen: BoolArray | None, what: str) -> IntArray:
    """`values` · to ÷ of where `chosen`, exactly.

    Raises
    ------
    TraceError
        Where the quotient is no whole number, or too large.
    """
    picked = values if chosen is None else values[chosen]
    if float(picked.max(initial=0)) * to >= LARGEST:
        raise TraceError(f"{what} would be larger than 2^62", expected="a smaller variant")
    product = picked * to
    if np.any(product % of):
        value = int(picked[np.flatnonzero(product % of)[0]])
        raise TraceError(
            f"{what} of {value} is no multiple of {of} ÷ {to}: it does not follow from what is to be changed",
            expected="a captured trace of that size",
        )
    if chosen is None:
        return product // of
    result = values.copy()
    result[chosen] = product // of
    return result


def with_columns(
    part: Part, *, tensors: TensorTable | None = None, operators: OperatorTable | None = None,
    reads: Accesses | None = None, writes: Accesses | None = None,
) -> Part:  # fmt: skip
    """`part` with other tables."""
    return dataclasses.replace(
        part,
        tensors=tensors or part.tensors,
        operators=operators or part.operators,
        reads=reads or part.reads,
        writes=writes or part.writes,
    )
