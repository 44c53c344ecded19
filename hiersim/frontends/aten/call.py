"""The vocabulary of the ATen cost rules: an operator call without its tensors, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from hiersim.model.operators import DType, Kind

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """A tensor argument or result: its shape and element type."""

    shape: Shape
    dtype: DType = DType.FP32

    @property
    def elements(self) -> int:
        """Number of elements, repeated ones included."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operator call: tensors as `Operand`, lists as tuples, everything else as it is."""

    name: str
    """`aten.addmm.default`, `aten::addmm` or `addmm`."""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[Operand, ...] = ()

    def arg(self, position: int, name: str, default: Any = None) -> Any:
        """An argument given by position or by name."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)

    def shape(self, position: int) -> Shape:
        """Shape of the tensor at `position`."""
        shape: Shape = self.args[position].shape
        return shape

    @property
    def size(self) -> int:
        """Elements of the first result."""
        return self.outputs[0].elements if self.outputs else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an operator computes; see `OperatorTable` for the columns and `DIMS` for the geometry."""

    kind: Kind
    dims: Shape = ()
    matrix_flops: int = 0
    masked_flops: int = 0
    vector_flops: int = 0
    special_ops: int = 0


Rule = Callable[[Call], Cost]


def words(text: str) -> list[str]:
    """Names written one after the other: the long tables of packets stay readable."""
    return text.split()


def spread_sides(value: Any, length: int) -> Shape:
    """A number, or one per dimension, as `length` of them."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return values * length if len(values) == 1 else values
