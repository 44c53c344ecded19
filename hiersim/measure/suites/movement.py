"""Gathers, scatters, transposes and strided copies, and what stands between the convolutions of ResNet-50."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from hiersim.measure.recipe import SIZES, Built, Make, Recipe

_TABLES: Final = ((50257, 1280), (128256, 4096), (30522, 1024))
"""(rows, width) of the embeddings of GPT-2 large, Llama-3-8B and BERT-large."""


def gather() -> Iterator[Recipe]:
    """Embedding rows by token, and rows and elements of a matrix by index."""
    for (rows, width), tokens in product(_TABLES, (1, 32, 2048, 4096, 16384)):
        yield _gather("embedding", rows, width, tokens, rank=0 if tokens in (1, 2048) else 1)
    for name, tokens in product(("index_select", "gather", "index_add"), (128, 4096, 65536)):
        yield _gather(name, 65536, 1024, tokens, rank=1)
    for slots in (1, 32):
        yield _cache_write(slots)


def _gather(name: str, rows: int, width: int, tokens: int, rank: int) -> Recipe:
    def build(make: Make) -> Built:
        table = make.normal(rows, width, dtype="bf16")
        if name == "embedding":
            return functional.embedding, (make.integers(tokens, below=rows), table)
        if name == "index_select":
            return lambda table, index: table.index_select(0, index), (table, make.integers(tokens, below=rows))
        if name == "gather":
            return lambda table, index: table.gather(0, index), (table, make.integers(tokens, width, below=rows))
        source = make.normal(tokens, width, dtype="bf16")
        return _index_add, (table, make.integers(tokens, below=rows), source)

    return Recipe(
        suite="gather", name=name, dtype="bf16", params={"rows": rows, "columns": width, "tokens": tokens},
        build=build, footprint=2 * width * (rows + 6 * tokens), rank=rank,
    )  # fmt: skip


def _index_add(table: Tensor, index: Tensor, source: Tensor) -> Tensor:
    return table.index_add_(0, index, source)


def _cache_write(batch: int) -> Recipe:
    """One token's keys into a cache of 2048 places, as decode does."""

    def build(make: Make) -> Built:
        cache, key = make.normal(batch, 8, 2048, 128, dtype="bf16"), make.normal(batch, 8, 1, 128, dtype="bf16")
        place = make.integers(1, below=2048)
        return lambda cache, place, key: cache.index_copy_(2, place, key), (cache, place, key)

    return Recipe(
        suite="gather", name="index_copy", dtype="bf16", params={"batch": batch, "places": 2048}, build=build,
        footprint=2 * batch * 8 * 2048 * 128, rank=1,
    )  # fmt: skip


def copy() -> Iterator[Recipe]:
    """Transposes, swaps of heads, rows with gaps, concatenation, repetition."""
    for side, dtype in product((512, 1024, 4096, 8192, 16384), ("bf16", "fp32")):
        rank = 0 if dtype == "bf16" and side in (1024, 8192) else 1
        yield _copy("transpose", dtype, (side, side), lambda x: x.t().contiguous(), rank)
    for batch, length, heads, width in ((8, 512, 16, 64), (4, 1024, 20, 64), (1, 2048, 32, 128), (16, 2048, 32, 128)):
        yield _copy("swap_heads", "bf16", (batch, length, heads, width), lambda x: x.transpose(1, 2).contiguous(), 0)
    for rows, columns in ((2048, 3840), (16384, 4096), (8192, 12288)):
        yield _copy("slice_columns", "bf16", (rows, columns), lambda x: x[:, : x.shape[1] // 3].contiguous(), 1)
        yield _copy("every_second", "bf16", (rows, columns), lambda x: x[:, ::2].contiguous(), 1)
        yield _copy("cat", "bf16", (rows, columns), lambda x: torch.cat((x, x), dim=-1), 1)
        yield _copy("repeat_rows", "bf16", (rows, columns), lambda x: x[:, None].expand(-1, 4, -1).contiguous(), 1)


def vision() -> Iterator[Recipe]:
    """Pooling and batch normalisation between the convolutions of ResNet-50."""
    for images in (32, 1):
        stem, last = (images, 64, 112, 112), (images, 2048, 7, 7)
        yield _copy("max_pool", "bf16", stem, lambda x: functional.max_pool2d(x, 3, stride=2, padding=1), 1, "vision")
        yield _copy("average_pool", "bf16", last, lambda x: functional.adaptive_avg_pool2d(x, 1), 1, "vision")
    for images, channels, side in ((32, 64, 112), (32, 256, 56), (32, 2048, 7), (1, 256, 56)):
        yield _batch_norm(images, channels, side)


def _copy(
    name: str, dtype: str, shape: tuple[int, ...], function: Callable[[Tensor], Any], rank: int, suite: str = "copy"
) -> Recipe:
    size = SIZES[dtype]
    for side in shape:
        size *= side
    return Recipe(
        suite=suite, name=name, dtype=dtype, params={f"side{index}": side for index, side in enumerate(shape)},
        build=lambda make: (function, (make.normal(*shape, dtype=dtype),)), footprint=5 * size, rank=rank,
    )  # fmt: skip


def _batch_norm(images: int, channels: int, side: int) -> Recipe:
    def build(make: Make) -> Built:
        x = make.normal(images, channels, side, side, dtype="bf16")
        mean, variance, weight, bias = (make.normal(channels, dtype="bf16").abs() for _ in range(4))
        return functional.batch_norm, (x, mean, variance, weight, bias)

    return Recipe(
        suite="vision", name="batch_norm", dtype="bf16", build=build, rank=1,
        params={"images": images, "channels": channels, "side": side}, footprint=4 * images * channels * side * side,
    )  # fmt: skip
