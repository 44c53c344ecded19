"""What a profile says of an operator's arguments: tensors by their sides and element types, the rest as texts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any, Final

from hiersim.frontends.aten.call import Operand, Shape
from hiersim.frontends.kineto.events import HostOp
from hiersim.model.operators import DType

MAX_SIDES: Final = 64
MAX_ELEMENTS: Final = 2**58
MAX_TENSORS: Final = 4096
"""Tensors in one list of an argument."""
DTYPES: Final[Mapping[str, DType]] = {
    "float": DType.FP32, "double": DType.FP64, "c10::Half": DType.FP16, "half": DType.FP16, "at::Half": DType.FP16,
    "c10::BFloat16": DType.BF16, "bfloat16": DType.BF16, "long int": DType.INT64, "long": DType.INT64,
    "int": DType.INT32, "short int": DType.INT16, "short": DType.INT16, "signed char": DType.INT8, "char": DType.INT8,
    "unsigned char": DType.INT8, "bool": DType.BOOL, "c10::complex<float>": DType.COMPLEX64,
    "c10::Float8_e4m3fn": DType.FP8, "c10::Float8_e5m2": DType.FP8, "unsigned int": DType.INT32,
    "c10::Float8_e4m3fnuz": DType.FP8, "c10::Float8_e5m2fnuz": DType.FP8, "c10::Float8_e8m0fnu": DType.FP8,
    "c10::Float4_e2m1fn_x2": DType.INT8, "unsigned short int": DType.INT16, "unsigned short": DType.INT16,
    "unsigned long int": DType.INT64, "unsigned long": DType.INT64, "long long": DType.INT64,
}  # fmt: skip
"""Element types as profiles name them; two FP4 numbers are one element of a byte."""
_LIST: Final = "TensorList"
_LOWER: Final = {name.rpartition("::")[2].lower(): dtype for name, dtype in DTYPES.items()}


def with_list_types(operator: HostOp, types: Mapping[Shape, DType]) -> None:
    """Give each tensor of a list the type that tensors of its shape last had.

    A profile says `TensorList` instead of the types.
    """
    found: list[Any] = list(operator.types)
    for index, dims in enumerate(operator.dims[: len(found)]):
        if found[index] == _LIST and isinstance(dims, list):
            sides = map(sides_of, dims[:MAX_TENSORS])
            found[index] = [DType.FP32 if shape is None else types.get(shape, DType.FP32) for shape in sides]
    operator.types = tuple(found)


def operands(operator: HostOp) -> tuple[Any, ...]:
    """Arguments in order: tensors as `Operand`, lists of them as tuples, else what the text says, or None."""
    return tuple(
        _argument(dims, *(part[index] if index < len(part) else "" for part in (operator.types, operator.values)))
        for index, dims in enumerate(operator.dims)
    )


def _argument(dims: Any, kind: Any, value: Any) -> Any:
    if isinstance(dims, list) and dims and isinstance(dims[0], list):
        kinds = kind if isinstance(kind, list) else []
        sides = [sides_of(item) for item in dims[:MAX_TENSORS]]
        types = [element_type(kinds[index] if index < len(kinds) else "") for index in range(len(sides))]
        return tuple(
            Operand(shape=shape, dtype=dtype) for shape, dtype in zip(sides, types, strict=True) if shape is not None
        )
    shape = sides_of(dims)
    if shape is None:
        return None
    if shape or (isinstance(kind, str) and kind in DTYPES and not value):
        return Operand(shape=shape, dtype=element_type(kind))
    return _plain(value)


def element_type(kind: Any) -> DType:
    """The element type of a tensor by its name in a profile, whatever its case and namespace; FP32 where it is new."""
    if isinstance(kind, DType):
        return kind
    return _LOWER.get(str(kind).rpartition("::")[2].lower(), DType.FP32)


def new_types(operator: HostOp) -> set[str]:
    """Names of element types that are not known here: of tensors with sides, whose type the profile says."""
    return {
        kind[:80]
        for dims, kind in zip(operator.dims, operator.types, strict=False)
        if isinstance(kind, str) and kind and sides_of(dims) and kind.rpartition("::")[2].lower() not in _LOWER
    }


def sides_of(dims: Any) -> Shape | None:
    """Sides as a profile has them; None where these are none, or too many."""
    if not isinstance(dims, list) or len(dims) > MAX_SIDES:
        return None
    if any(isinstance(side, bool) or not isinstance(side, int) or side < 0 for side in dims):
        return None
    return tuple(dims) if prod(dims) < MAX_ELEMENTS else None


def _plain(text: Any) -> Any:
    """`[2, 2]`, `True`, `0.5`: a value; None for anything else."""
    if not isinstance(text, str) or not text or len(text) > 400:
        return None
    if text in ("True", "False"):
        return text == "True"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list):
        numbers = [item for item in value if isinstance(item, int | float) and abs(item) < 2**31]
        return tuple(numbers) if len(numbers) == len(value) else None
    return value if isinstance(value, int | float) and abs(value) < 2**53 else None


def tensors(args: Iterable[Any]) -> list[Operand]:
    """All tensors among the arguments, lists opened."""
    found: list[Operand] = []
    for item in args:
        if isinstance(item, Operand):
            found.append(item)
        elif isinstance(item, tuple):
            found += [inner for inner in item if isinstance(inner, Operand)]
    return found
