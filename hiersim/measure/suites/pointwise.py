"""Element-wise operators, and plain streams over memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch.nn import functional

from hiersim.measure.recipe import SIZES, Built, Make, Recipe

_OPERATORS: Final[dict[str, tuple[Callable[..., Any], int]]] = {
    "add": (torch.add, 2),
    "gelu": (functional.gelu, 1),
    "copy": (torch.clone, 1),
    "mul": (torch.mul, 2),
    "relu": (functional.relu, 1),
    "silu": (functional.silu, 1),
    "gelu_tanh": (lambda x: functional.gelu(x, approximate="tanh"), 1),
    "tanh": (torch.tanh, 1),
    "exp": (torch.exp, 1),
    "rsqrt": (torch.rsqrt, 1),
    "scale": (lambda x: x * 0.5, 1),
    "addcmul": (torch.addcmul, 3),
    "cast": (lambda x: x.to(torch.float32 if x.dtype != torch.float32 else torch.bfloat16), 1),
}
"""Name -> what is called, and its number of operands."""
_FIRST: Final = ("add", "gelu", "copy")


def pointwise() -> Iterator[Recipe]:
    """64 KiB … 1 GiB per operand; every fourfold size of three operators comes first."""
    for exponent in range(16, 31):
        for dtype in ("bf16", "fp32", "fp16"):
            for name in _OPERATORS:
                rank = 0 if name in _FIRST and dtype == "bf16" else 1 if dtype == "bf16" or name in _FIRST else 2
                rank += exponent % 2 + (dtype == "fp16")
                yield _elementwise(name, dtype, 2**exponent // SIZES[dtype], min(rank, 3))
    for rows in (1, 128, 2048, 8192):
        for columns in (1024, 4096, 16384):
            yield _bias(rows, columns)


def _elementwise(name: str, dtype: str, count: int, rank: int) -> Recipe:
    function, operands = _OPERATORS[name]

    def build(make: Make) -> Built:
        return function, tuple(make.normal(count, dtype=dtype) for _ in range(operands))

    return Recipe(
        suite="pointwise", name=name, dtype=dtype, params={"elements": count}, build=build, rank=rank,
        footprint=(operands + 2) * count * SIZES[dtype],
    )  # fmt: skip


def _bias(rows: int, columns: int) -> Recipe:
    def build(make: Make) -> Built:
        return torch.add, (make.normal(rows, columns, dtype="bf16"), make.normal(columns, dtype="bf16"))

    return Recipe(
        suite="pointwise", name="add_row", dtype="bf16", params={"rows": rows, "columns": columns}, build=build,
        footprint=4 * rows * columns, rank=1,
    )  # fmt: skip


def stream() -> Iterator[Recipe]:
    """Copy, fill and read of 64 KiB … 1 GiB, into memory that is there already."""
    for exponent in range(16, 31):
        count = 2**exponent // 4
        for name, build in (("copy", _copy(count)), ("fill", _fill(count)), ("read", _read(count))):
            yield Recipe(
                suite="stream", name=name, dtype="fp32", params={"elements": count}, build=build,
                footprint=8 * count, rank=exponent % 2,
            )  # fmt: skip


def _copy(count: int) -> Callable[[Make], Built]:
    def build(make: Make) -> Built:
        return lambda target, source: target.copy_(source), (
            make.normal(count, dtype="fp32"), make.normal(count, dtype="fp32"),
        )  # fmt: skip

    return build


def _fill(count: int) -> Callable[[Make], Built]:
    return lambda make: (lambda target: target.fill_(1.0), (make.normal(count, dtype="fp32"),))


def _read(count: int) -> Callable[[Make], Built]:
    return lambda make: (torch.sum, (make.normal(count, dtype="fp32"),))
