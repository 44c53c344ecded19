"""Reductions over rows and columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from torch import Tensor
from torch.nn import functional

from hiersim.measure.recipe import SIZES, Built, Make, Recipe

_PLAIN: Final[dict[str, Callable[[Tensor], Any]]] = {
    "softmax": lambda x: functional.softmax(x, dim=-1),
    "sum": lambda x: x.sum(-1),
    "amax": lambda x: x.amax(-1),
    "mean": lambda x: x.mean(-1),
    "log_softmax": lambda x: functional.log_softmax(x, dim=-1),
    "sum_columns": lambda x: x.sum(0),
}
_NORMS: Final = ("layer_norm", "rms_norm")
_FIRST: Final = ("softmax", "layer_norm", "sum")


def reduction() -> Iterator[Recipe]:
    """Rows × columns from 2^14 to 2^28 elements."""
    for rows in (1, 32, 128, 1024, 4096, 16384, 65536):
        for columns in (64, 256, 1024, 4096, 16384, 65536):
            if not 2**14 <= rows * columns <= 2**28:
                continue
            for dtype in ("bf16", "fp32"):
                for name in (*_NORMS, *_PLAIN):
                    rank = (name not in _FIRST) + (dtype == "fp32") + (rows in (32, 16384) or columns in (64, 65536))
                    yield _recipe(name, dtype, rows, columns, rank)


def _recipe(name: str, dtype: str, rows: int, columns: int, rank: int) -> Recipe:
    def build(make: Make) -> Built:
        x = make.normal(rows, columns, dtype=dtype)
        if name in _PLAIN:
            return _PLAIN[name], (x,)
        weight, bias = make.normal(columns, dtype=dtype), make.normal(columns, dtype=dtype)
        if name == "rms_norm":
            return lambda x, weight: functional.rms_norm(x, (columns,), weight, 1e-5), (x, weight)
        return lambda x, weight, bias: functional.layer_norm(x, (columns,), weight, bias), (x, weight, bias)

    return Recipe(
        suite="reduction", name=name, dtype=dtype, params={"rows": rows, "columns": columns}, build=build,
        footprint=2 * rows * columns * SIZES[dtype], rank=rank,
    )  # fmt: skip
