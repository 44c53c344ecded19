"""Builders of trace columns, for the frontends that make a trace row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hiersim.frontends.aten import Cost
from hiersim.model.operators import Accesses, DType, Flag, IntArray, OperatorTable, Phase, Role, TensorTable, csr


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorKey:
    """A typed view of a storage, in the builder's ids."""

    storage: int
    dtype: DType
    shape: tuple[int, ...]
    offset: int = 0
    """Bytes from the start of the storage."""
    size: int
    """Distinct bytes that the view touches."""


@dataclass(slots=True)
class Storage:
    """An allocation under construction."""

    size: int
    role: Role = Role.ACTIVATION
    name: str = ""
    free: int = -1
    output: bool = False


@dataclass(slots=True)
class TensorBuilder:
    """Collects storages and interns tensors."""

    storages: list[Storage] = field(default_factory=list)
    tensors: dict[TensorKey, int] = field(default_factory=dict)

    def storage(self, storage: Storage) -> int:
        """Id of a new storage."""
        self.storages.append(storage)
        return len(self.storages) - 1

    def tensor(self, key: TensorKey) -> int:
        """Id of a tensor; equal views share one."""
        return self.tensors.setdefault(key, len(self.tensors))

    def build(self) -> TensorTable:
        """The finished table."""
        shape_ptr, shape = csr([list(key.shape) for key in self.tensors])
        return TensorTable(
            storage_names=tuple(storage.name for storage in self.storages),
            storage_bytes=_column(storage.size for storage in self.storages),
            storage_role=_column(storage.role for storage in self.storages),
            storage_free=_column(storage.free for storage in self.storages),
            storage_output=_column(storage.output for storage in self.storages),
            tensor_storage=_column(key.storage for key in self.tensors),
            tensor_dtype=_column(key.dtype for key in self.tensors),
            tensor_bytes=_column(key.size for key in self.tensors),
            tensor_offset=_column(key.offset for key in self.tensors),
            shape_ptr=shape_ptr,
            shape=shape,
        )


def _column(values: Iterable[int]) -> IntArray:
    return np.fromiter((int(value) for value in values), np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One operator."""

    name: str
    module: str
    phase: Phase
    flags: Flag
    dtype: DType
    cost: Cost


@dataclass(slots=True)
class OperatorBuilder:
    """Collects operator rows and interns their strings."""

    rows: list[Row] = field(default_factory=list)

    def build(self) -> OperatorTable:
        """The finished table."""
        strings: dict[str, int] = {}
        names = [strings.setdefault(row.name, len(strings)) for row in self.rows]
        modules = [strings.setdefault(row.module, len(strings)) for row in self.rows]
        dims_ptr, dims = csr([list(row.cost.dims) for row in self.rows])
        return OperatorTable(
            strings=tuple(strings),
            name=_column(names),
            module=_column(modules),
            kind=_column(row.cost.kind for row in self.rows),
            phase=_column(row.phase for row in self.rows),
            flags=_column(row.flags for row in self.rows),
            dtype=_column(row.dtype for row in self.rows),
            matrix_flops=_column(row.cost.matrix_flops for row in self.rows),
            masked_flops=_column(row.cost.masked_flops for row in self.rows),
            vector_flops=_column(row.cost.vector_flops for row in self.rows),
            special_ops=_column(row.cost.special_ops for row in self.rows),
            dims_ptr=dims_ptr,
            dims=dims,
        )


Access = tuple[TensorKey, int]
"""A tensor and the bytes moved."""


def accesses(lists: Sequence[Sequence[Access]], tensors: TensorBuilder) -> Accesses:
    """CSR of what each row touches; tensors are interned on the way."""
    ptr, tensor = csr([[tensors.tensor(key) for key, _ in row] for row in lists])
    return Accesses(ptr=ptr, tensor=tensor, size=_column(size for row in lists for _, size in row))


def merged(row: Iterable[Access]) -> list[Access]:
    """Each tensor once; empty ones dropped; the largest size where one is named twice."""
    sizes: dict[TensorKey, int] = {}
    for key, size in row:
        if size > 0:
            sizes[key] = max(sizes.get(key, 0), min(size, key.size))
    return list(sizes.items())
