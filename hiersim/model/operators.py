"""Operators, tensors and who touches what: the flat integer columns that traces and kernel graphs are made of.

Columns are NumPy arrays; ragged lists are stored as CSR (`ptr` and values). Ids are dense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class Kind(IntEnum):
    """What sort of loop nest an operator is; decides which tile rule lowers it."""

    GEMM = 0
    CONV = 1
    ATTENTION = 2
    POINTWISE = 3
    REDUCTION = 4
    GATHER = 5
    SCATTER = 6
    COPY = 7
    SORT = 8
    COMM = 9
    VIEW = 10
    """Changes how a tensor is seen; launches nothing."""
    SYNC = 11
    """The host waits for a value of the device; launches nothing."""
    OPAQUE = 12
    """An operator without a cost formula: its memory traffic is counted, its arithmetic is not."""
    FLASH = 13
    """Attention with keys outermost, as the first FlashAttention; fusion makes it of attention that is written out."""


HOST_ONLY: Final = (Kind.VIEW, Kind.SYNC)
"""Kinds that launch nothing."""

DIMS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.GEMM: ("batch", "m", "n", "k"),
    Kind.CONV: ("groups", "m", "n", "k", "window", "stride"),
    Kind.ATTENTION: ("batch", "heads", "kv_heads", "queries", "keys", "head_dim", "causal"),
    Kind.REDUCTION: ("rows", "columns"),
    Kind.FLASH: ("heads", "queries", "keys", "head_dim", "backward"),
}
"""Meaning of an operator's `dims`, by kind; other kinds have none.

CONV is the implicit GEMM of one group: m = images × output pixels, n = output channels, k = input channels
× window; `window` is the number of filter taps (r × s) and `stride` the product of the strides.
"""


class Phase(IntEnum):
    """Part of a training step; inference is all forward."""

    FORWARD = 0
    BACKWARD = 1
    OPTIMIZER = 2


class Role(IntEnum):
    """What a storage is for; placement and capacity messages speak in roles."""

    INPUT = 0
    WEIGHT = 1
    CONSTANT = 2
    ACTIVATION = 3
    KV_CACHE = 4
    GRADIENT = 5
    OPTIMIZER_STATE = 6


PRODUCED: Final = (Role.ACTIVATION, Role.GRADIENT)
"""Roles allocated when first written; tensors of the other roles are there from the start."""


class Flag(IntFlag):
    """Properties of an operator."""

    NONE = 0
    MUTATES = 1
    """Writes into a tensor that it also takes as input."""
    CONST = 2
    """Depends on weights and constants only."""
    RANDOM = 4
    RECOMPUTED = 8
    """Repeats work of the forward pass in the backward pass, instead of keeping its result (checkpointing)."""


class DType(IntEnum):
    """Element types, in the field's names."""

    FP64 = 0
    FP32 = 1
    TF32 = 2
    FP16 = 3
    BF16 = 4
    FP8 = 5
    FP4 = 6
    INT64 = 7
    INT32 = 8
    INT16 = 9
    INT8 = 10
    BOOL = 11
    COMPLEX64 = 12


BITS: Final[Mapping[DType, int]] = {
    DType.FP64: 64,
    DType.FP32: 32,
    DType.TF32: 32,
    DType.FP16: 16,
    DType.BF16: 16,
    DType.FP8: 8,
    DType.FP4: 4,
    DType.INT64: 64,
    DType.INT32: 32,
    DType.INT16: 16,
    DType.INT8: 8,
    DType.BOOL: 8,
    DType.COMPLEX64: 64,
}
"""Bits one element takes in memory (TF32 is stored as 32 bits)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TensorTable:
    """Storages (allocations) and tensors (typed views of a storage).

    Shapes: columns `storage_*` are (S,), `tensor_*` are (T,), `shape_ptr` is (T + 1,).
    """

    storage_names: tuple[str, ...]
    """(S,) A name where there is one (`layers.0.attn.wq.weight`), else empty."""
    storage_bytes: IntArray
    storage_role: IntArray
    """Values of `Role`."""
    storage_free: IntArray
    """Index of the last operator (kernel, in a schedule) during which the storage is allocated; -1: to the end."""
    storage_output: IntArray
    """1 where the storage is a result that must have reached its home tier at the end."""
    tensor_storage: IntArray
    tensor_dtype: IntArray
    """Values of `DType`."""
    tensor_bytes: IntArray
    """Distinct bytes that the view touches: repeated (stride 0) elements count once."""
    tensor_offset: IntArray
    """Start of the view in its storage, in bytes."""
    shape_ptr: IntArray
    shape: IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OperatorTable:
    """One row per operator, each column (N,); `strings` interns names and module paths."""

    strings: tuple[str, ...]
    name: IntArray
    """Index into `strings`: the operator's own name, `aten.addmm.default`."""
    module: IntArray
    """Index into `strings`: the path of the module that issued it, `transformer.h.0.attn`."""
    kind: IntArray
    phase: IntArray
    flags: IntArray
    dtype: IntArray
    """`DType` that the arithmetic runs in."""
    matrix_flops: IntArray
    """FLOPs a matrix unit can do, by the convention of PyTorch's flop counter (2 per multiply-add)."""
    masked_flops: IntArray
    """Part of `matrix_flops` that a causal mask removes and no kernel executes."""
    vector_flops: IntArray
    """Other arithmetic, without the special functions."""
    special_ops: IntArray
    """Evaluations of exp, tanh, erf, rsqrt, sin, … (the special-function rate)."""
    dims_ptr: IntArray
    dims: IntArray
    """CSR: geometry by kind, see `DIMS`."""

    def __len__(self) -> int:
        return len(self.kind)

    def label(self, row: int) -> str:
        """The operator's name."""
        return self.strings[int(self.name[row])]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Accesses:
    """CSR list of tensors touched by each row, with the bytes moved (a gather moves less than its table)."""

    ptr: IntArray
    tensor: IntArray
    size: IntArray


def csr(lists: list[list[int]]) -> tuple[IntArray, IntArray]:
    """Ragged lists as `(ptr, values)`."""
    ptr = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(row) for row in lists], out=ptr[1:])
    return ptr, np.array([value for row in lists for value in row], np.int64)


def gather(ptr: IntArray, rows: IntArray, values: IntArray) -> tuple[IntArray, IntArray]:
    """Rows of a CSR list as a new CSR list."""
    counts = np.diff(ptr)[rows]
    new = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(counts, out=new[1:])
    index = np.repeat(ptr[rows] - new[:-1], counts) + np.arange(new[-1])
    return new, values[index]
