"""Matrix products, batched products, and the convolutions of ResNet-50."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

import torch
from torch.nn import functional

from hiersim.measure.recipe import SIZES, Built, Make, Recipe

LAYERS: Final = (
    (4096, 4096), (6144, 4096), (14336, 4096), (4096, 14336), (128256, 4096), (1280, 1280), (5120, 1280), (1280, 5120),
    (50257, 1280), (1024, 1024), (4096, 1024), (1024, 4096), (3072, 768), (768, 3072), (8192, 8192), (28672, 8192),
)  # fmt: skip
"""(n, k) of linear layers: Llama-3-8B, GPT-2 large, BERT-large and ViT-L, GPT-2 small, Llama-3-70B."""
_ODD: Final = (
    (1000, 1000, 1000), (2047, 2047, 2047), (2049, 2049, 2049), (4095, 4095, 4095), (4097, 4097, 4097),
    (33, 4096, 4096), (129, 4096, 4096), (4096, 130, 4096), (4096, 4096, 100), (3152, 1024, 1024), (511, 1023, 2048),
    (2048, 12345, 768),
)  # fmt: skip
_TILED: Final = tuple(range(256, 5377, 256))


def gemm() -> Iterator[Recipe]:
    """Square grids, linear layers from one row up, odd sizes, and a fine walk over m that shows waves."""
    for m, n, k in product((256, 1024, 4096, 8192), repeat=3):
        yield _mm("bf16", m, n, k, rank=0 if m == n == k else 1)
        for dtype in ("fp16", "tf32", "fp32"):
            yield _mm(dtype, m, n, k, rank=1 if m == n == k and (dtype != "fp32" or k < 8192) else 3)
    for m, n, k in ((64, 64, 64), (128, 128, 128), (512, 512, 512), (2048, 2048, 2048), (16384, 16384, 16384)):
        yield _mm("bf16", m, n, k, rank=0)
        for dtype in ("tf32", "fp32", "fp16"):
            yield _mm(dtype, m, n, k, rank=2 if m < 16384 else 4)
    for (n, k), m in product(LAYERS, (1, 8, 32, 128, 512, 2048, 4096)):
        yield _mm("bf16", m, n, k, rank=0 if (n, k) in LAYERS[:5] and m in (1, 32, 512, 2048) else 1)
    for m, n, k in _ODD:
        yield _mm("bf16", m, n, k, rank=1)
        yield _mm("fp16", m, n, k, rank=3)
    for m in _TILED:
        yield _mm("bf16", m, 4096, 4096, rank=2)
    for m, n, k in ((1024, 1024, 65536), (64, 64, 65536), (65536, 64, 64), (16384, 1024, 64)):
        yield _mm("bf16", m, n, k, rank=1)


def _mm(dtype: str, m: int, n: int, k: int, rank: int) -> Recipe:
    """x (m, k) times the transpose of weights (n, k), as a linear layer has them."""

    def build(make: Make) -> Built:
        return torch.mm, (make.normal(m, k, dtype=dtype), make.normal(n, k, dtype=dtype).t())

    return Recipe(
        suite="gemm", name="mm", dtype=dtype, params={"m": m, "n": n, "k": k}, build=build, rank=rank,
        footprint=SIZES[dtype] * (m * k + n * k + m * n),
    )  # fmt: skip


def bmm() -> Iterator[Recipe]:
    """Batches of small products: scores and values of unfused attention, and squares."""
    shapes = (
        (128, 512, 512, 64), (128, 512, 64, 512), (64, 1024, 1024, 64), (64, 1024, 64, 1024), (32, 2048, 2048, 128),
        (32, 2048, 128, 2048), (32, 1, 2048, 128), (32, 1, 128, 2048), (1024, 1, 2048, 128), (1024, 1, 128, 2048),
        (8, 1024, 1024, 1024), (64, 256, 256, 256), (512, 128, 128, 128), (2048, 64, 64, 64),
    )  # fmt: skip
    for (batch, m, n, k), dtype in product(shapes, ("bf16", "fp32")):
        yield _bmm(dtype, batch, m, n, k, rank=0 if dtype == "bf16" and batch <= 128 else 2)


def _bmm(dtype: str, batch: int, m: int, n: int, k: int, rank: int) -> Recipe:
    def build(make: Make) -> Built:
        return torch.bmm, (make.normal(batch, m, k, dtype=dtype), make.normal(batch, k, n, dtype=dtype))

    return Recipe(
        suite="bmm", name="bmm", dtype=dtype, params={"batch": batch, "m": m, "n": n, "k": k}, build=build, rank=rank,
        footprint=SIZES[dtype] * batch * (m * k + k * n + m * n),
    )  # fmt: skip


def conv() -> Iterator[Recipe]:
    """Each different convolution of ResNet-50 for 32 images and for one, and the patches of ViT-L/16."""
    for images, rank in ((32, 0), (1, 1), (128, 2)):
        for inputs, outputs, window, stride, side in dict.fromkeys(_resnet()):
            for dtype in ("bf16", "fp16"):
                yield _conv(dtype, images, inputs, outputs, window, stride, side, rank + 2 * (dtype == "fp16"))
    yield _conv("bf16", 16, 3, 1024, 16, 16, 224, 0)
    yield from _other_networks()


def _resnet() -> Iterator[tuple[int, int, int, int, int]]:
    """(input channels, output channels, window, stride, side of the input) of ResNet-50 v1.5."""
    yield 3, 64, 7, 2, 224
    inputs, side = 64, 56
    for stage in range(4):
        width, stride = 64 << stage, 2 if stage else 1
        yield inputs, width, 1, 1, side
        yield width, width, 3, stride, side
        yield inputs, 4 * width, 1, stride, side
        side //= stride
        inputs = 4 * width
        yield width, inputs, 1, 1, side
        yield inputs, width, 1, 1, side
        yield width, width, 3, 1, side


_OTHERS: Final = (
    (3, 64, 3, 1, 224, 1), (64, 64, 3, 1, 224, 1), (64, 128, 3, 1, 112, 1), (128, 128, 3, 1, 112, 1),
    (128, 256, 3, 1, 56, 1), (256, 512, 3, 1, 28, 1), (512, 512, 3, 1, 14, 1), (16, 96, 1, 1, 112, 1),
    (24, 144, 1, 1, 56, 1), (144, 24, 1, 1, 56, 1), (40, 240, 1, 1, 28, 1), (80, 480, 1, 1, 14, 1),
    (192, 1152, 1, 1, 7, 1), (96, 96, 3, 2, 112, 96), (144, 144, 3, 1, 56, 144), (240, 240, 5, 1, 28, 240),
    (480, 480, 3, 1, 14, 480), (1152, 1152, 3, 1, 7, 1152), (96, 96, 7, 1, 56, 96), (72, 72, 3, 1, 56, 3),
    (216, 216, 3, 1, 28, 9), (576, 576, 3, 1, 14, 24), (3, 96, 4, 4, 224, 1), (3, 32, 3, 2, 224, 1),
    (8, 8, 3, 1, 56, 1), (16, 16, 3, 1, 56, 1), (32, 32, 3, 1, 56, 1), (48, 48, 3, 1, 56, 1), (96, 96, 3, 1, 56, 1),
    (192, 192, 3, 1, 56, 1),
)  # fmt: skip
"""(input channels, output channels, window, stride, side, groups): VGG-16, EfficientNet, RegNet, ConvNeXt, and a walk
over channels."""


def _other_networks() -> Iterator[Recipe]:
    """Convolutions of other networks, grouped and depthwise ones among them, and some of ResNet-50 in FP32 and TF32."""
    for inputs, outputs, window, stride, side, groups in _OTHERS:
        yield _conv("bf16", 32, inputs, outputs, window, stride, side, 3, groups)
    for inputs, outputs, window, stride, side in tuple(dict.fromkeys(_resnet()))[::3]:
        for dtype in ("fp32", "tf32"):
            yield _conv(dtype, 32, inputs, outputs, window, stride, side, 3)


def _conv(
    dtype: str, images: int, inputs: int, outputs: int, window: int, stride: int, side: int, rank: int, groups: int = 1
) -> Recipe:
    padding = window // 2 if window % 2 else 0

    def build(make: Make) -> Built:
        x = make.normal(images, inputs, side, side, dtype=dtype)
        weight = make.normal(outputs, inputs // groups, window, window, dtype=dtype)
        return lambda x, weight: functional.conv2d(x, weight, None, stride, padding, 1, groups), (x, weight)

    params = {"images": images, "inputs": inputs, "outputs": outputs, "window": window, "stride": stride, "side": side}
    if groups > 1:
        params["groups"] = groups
    moved = images * side * side * (inputs + outputs // stride**2) + outputs * (inputs // groups) * window**2
    return Recipe(
        suite="conv", name="conv2d", dtype=dtype, params=params, build=build, rank=rank,
        footprint=2 * SIZES[dtype] * moved,
    )  # fmt: skip
