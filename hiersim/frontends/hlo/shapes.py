"""Shapes in HLO text: `bf16[8,128]{1,0:T(8,128)S(1)}`, and tuples of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Final, NoReturn

from hiersim.model.operators import BITS, DType

DTYPES: Final = {
    "pred": DType.BOOL, "s4": DType.INT8, "u4": DType.INT8, "s8": DType.INT8, "u8": DType.INT8, "s16": DType.INT16,
    "u16": DType.INT16, "s32": DType.INT32, "u32": DType.INT32, "s64": DType.INT64, "u64": DType.INT64,
    "f16": DType.FP16, "bf16": DType.BF16, "f32": DType.FP32, "f64": DType.FP64, "c64": DType.COMPLEX64,
    "f4e2m1fn": DType.FP4, "f8e4m3fn": DType.FP8, "f8e5m2": DType.FP8, "f8e4m3": DType.FP8, "f8e3m4": DType.FP8,
    "f8e4m3b11fnuz": DType.FP8, "f8e4m3fnuz": DType.FP8, "f8e5m2fnuz": DType.FP8, "f8e8m0fnu": DType.FP8,
}  # fmt: skip
"""Element types by XLA's names; 4-bit integers take a byte, as in XLA's memory."""
_SIZE: Final = r"(?:<=)?\d{1,19}"
_ARRAY: Final = re.compile(rf"([a-z]\w*)\[((?:{_SIZE}(?:,{_SIZE})*)?)\](\{{[^{{}}]*\}})?")
_SPACE: Final = re.compile(r"S\((\d{1,9})\)")

Fail = Callable[[str], NoReturn]


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """One array: element type, sizes, and the memory space of its layout (0: the device's main memory)."""

    dtype: DType
    sizes: tuple[int, ...]
    space: int = 0

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.sizes)

    @property
    def bytes(self) -> int:
        """Bytes of the elements, without padding of tiled layouts."""
        return -(-self.elements * BITS[self.dtype] // 8)


Shape = Array | None | tuple["Shape", ...]
"""An array, nothing (a token or an opaque handle), or a tuple."""


def parse_shape(text: str, fail: Fail) -> Shape:
    """The shape that `text` is; `fail` raises at the reader's place."""
    shape, rest = _shape(text.strip(), fail, 0)
    return shape if not rest.strip() else fail(f"'{text[:60]}' is not a shape")


def arrays(shape: Shape) -> tuple[Array, ...]:
    """All arrays of a shape, in order."""
    if isinstance(shape, tuple):
        return tuple(array for part in shape for array in arrays(part))
    return () if shape is None else (shape,)


def _shape(text: str, fail: Fail, depth: int) -> tuple[Shape, str]:
    if depth > 20:
        fail("a shape is nested more than 20 times")
    if text.startswith("("):
        parts, rest = [], text[1:].lstrip()
        while not rest.startswith(")"):
            part, rest = _shape(rest, fail, depth + 1)
            parts.append(part)
            rest = rest.lstrip()
            if rest.startswith(","):
                rest = rest[1:].lstrip()
            elif not rest.startswith(")"):
                fail(f"a tuple shape does not end at '{rest[:20]}'")
        return tuple(parts), rest[1:]
    found = _ARRAY.match(text)
    if not found:
        fail(f"'{text[:40]}' is not a shape")
    kind, sizes, layout = found.groups()
    if kind in ("token", "opaque"):
        return None, text[found.end() :]
    if kind not in DTYPES:
        fail(f"element type '{kind}' is not known")
    numbers = [int(size.removeprefix("<=")) for size in sizes.split(",") if size]
    if len(numbers) > 64 or prod(numbers) >= 2**62:
        fail(f"'{text[:40]}' is too large")
    space = _SPACE.search(layout or "")
    return Array(dtype=DTYPES[kind], sizes=tuple(numbers), space=int(space[1]) if space else 0), text[found.end() :]
