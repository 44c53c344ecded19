"""What an HLO value is while a module is walked: an array in memory, one that is never stored, or a tuple."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from hiersim.frontends.hlo.shapes import Array
from hiersim.frontends.hlo.text import Instruction
from hiersim.frontends.tables import TensorKey
from hiersim.model.operators import DType

Number = int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One array."""

    array: Array
    key: TensorKey | None = None
    """Where it lies; None: nowhere, it is written into the code that uses it (scalars, and what is filled with one)."""
    literal: Number | None = None
    """Its number, where it is a scalar that is known before the run."""
    owned: bool = True
    """Whether its memory may be written over: not that of weights and inputs, unless they were donated."""

    @property
    def expanded(self) -> bool:
        """Whether its elements do not all exist in memory."""
        return self.key is None or self.key.size < self.array.bytes

    def seen_as(self, array: Array) -> Value:
        """The same bytes under another shape."""
        if self.key is None:
            return dataclasses.replace(self, array=array, literal=self.literal if array.elements == 1 else None)
        size = min(self.key.size, array.bytes)
        key = dataclasses.replace(self.key, dtype=array.dtype, shape=array.sizes, size=size)
        return dataclasses.replace(self, array=array, key=key)


Item = Value | None | tuple["Item", ...]
"""A value, nothing (a token), or a tuple."""


def flat(item: Item) -> list[Value]:
    """All values of an item in order."""
    if isinstance(item, tuple):
        return [value for part in item for value in flat(part)]
    return [] if item is None else [item]


def literal_of(text: str, dtype: DType) -> Number | None:
    """The number that a constant's text is; None where it is none."""
    text = text.strip()
    if dtype is DType.BOOL:
        return {"true": True, "false": False, "1": True, "0": False}.get(text)
    try:
        number = float(text)
    except ValueError:
        return None
    whole = dtype in (DType.INT8, DType.INT16, DType.INT32, DType.INT64)
    return int(text) if whole and text.lstrip("-").isdigit() else number


def _divide(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int):
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) == (right < 0) else -quotient
    return left / right


def _remainder(left: Number, right: Number) -> Number:
    return math.fmod(left, right) if isinstance(left, float) else int(math.fmod(left, right))


_COMPARE: Final[dict[str, Callable[[Number, Number], bool]]] = {
    "LT": operator.lt, "LE": operator.le, "GT": operator.gt, "GE": operator.ge, "EQ": operator.eq, "NE": operator.ne,
}  # fmt: skip
_SCALAR: Final[dict[str, Callable[..., Number]]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": _divide, "remainder": _remainder,
    "maximum": max, "minimum": min, "and": operator.and_, "or": operator.or_, "not": operator.not_,
    "negate": operator.neg, "abs": abs, "copy": lambda value: value, "select": lambda yes, a, b: a if yes else b,
    "clamp": lambda low, value, high: min(max(low, value), high),
}  # fmt: skip


def computed(row: Instruction, numbers: Sequence[Number]) -> Number | None:
    """The number that an instruction on known scalars gives: loop counters, offsets, conditions; None: not computed."""
    try:
        if row.opcode == "compare":
            return _COMPARE[row.attributes.get("direction", "")](*numbers)
        if row.opcode == "convert":
            whole = isinstance(row.shape, Array) and row.shape.dtype.name.startswith("INT")
            return int(numbers[0]) if whole else numbers[0]
        return _SCALAR[row.opcode](*numbers)
    except (KeyError, TypeError, ZeroDivisionError, OverflowError, ValueError, IndexError):
        return None
