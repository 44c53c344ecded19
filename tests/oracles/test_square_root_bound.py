"""GEMM traffic over SRAM sizes from 64 KiB to 64 MiB lies between the √S lower bound and twice it.

S counts every byte of the memory: accumulators and the buffers of tiles in flight are in it. Bound: any schedule of
C = A·B with a fast memory of S words moves at least 2·MNK/√S - 2S words (Smith, Lowery, Langou, van de Geijn: A tight
I/O lower bound for matrix multiplication, arXiv:1702.02017, 2019), and in any case its operands and result once.
"""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import pytest

from build import design_from, matmul
from hiersim.model.design import Design
from hiersim.model.operators import BITS, DType
from hiersim.run import simulate

SIZES = tuple(2**power for power in range(16, 27))
"""64 KiB … 64 MiB."""
SHAPES = ((4096, 4096, 4096), (8192, 4096, 16384), (4096, 16384, 1024), (2048, 8192, 32768), (1000, 3000, 5000))
ACCUMULATOR_BYTES = 4


def least_bytes(m: int, n: int, k: int, words: float, element: int) -> float:
    """The bound for a memory of `words` words, in bytes of elements of `element` bytes."""
    return element * max(2 * m * n * k / sqrt(words) - 2 * words, m * k + k * n + m * n)


def one_scratchpad(size: int, depth: int, dtype: str) -> Design:
    """One core, all of its memory one scratchpad of `size` bytes; a far tier so slow that its bytes are the time."""
    return design_from(
        compute__cores=1,
        compute__buffer_depth=depth,
        compute__matrix={"tile": [16, 8, 16], "peak": {dtype: "100 TFLOP/s"}},
        memory__smem__capacity=f"{size} B",
        memory__dram__bandwidth="50 GB/s",
    )


def shared_cache(size: int, cores: int, dtype: str) -> Design:
    """Cores that have an eighth of `size` together, behind a shared cache of `size`."""
    return design_from(
        compute__cores=cores,
        compute__matrix={"tile": [16, 8, 16], "peak": {dtype: "100 TFLOP/s"}},
        memory={
            "smem": {"scope": "core", "management": "scratchpad", "capacity": f"{size // 8 // cores} B"},
            "l2": {"scope": "shared", "management": "cache", "capacity": f"{size} B", "bandwidth": "10 TB/s"},
            "dram": {"scope": "shared", "management": "scratchpad", "capacity": "64 GB", "bandwidth": "50 GB/s"},
        },
    )


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_scratchpad_moves_at_most_twice_the_bound(shape: tuple[int, int, int], depth: int, tmp_path: Path) -> None:
    trace = matmul(*shape, tmp_path)
    for size in SIZES:
        moved = simulate(trace, one_scratchpad(size, depth, "fp32")).home_bytes
        bound = least_bytes(*shape, size / 4, 4)
        assert bound <= moved <= 2 * bound, f"{size} bytes: {moved / bound:.3f} x the bound"


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_with_half_precision_the_room_of_accumulators_is_what_counts(
    shape: tuple[int, int, int], depth: int, tmp_path: Path
) -> None:
    """Accumulators stay 4 bytes: at least the bound of S ÷ 2 words, at most twice that of S ÷ 4."""
    trace = matmul(*shape, tmp_path, dtype="bf16")
    for size in SIZES:
        moved = simulate(trace, one_scratchpad(size, depth, "bf16")).home_bytes
        assert moved >= least_bytes(*shape, size / 2, 2)
        assert moved <= 2 * least_bytes(*shape, size / ACCUMULATOR_BYTES, 2)


@pytest.mark.parametrize("cores", [1, 4])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_shared_cache_moves_at_most_twice_the_bound_of_all_memory_where_panels_fit(
    dtype: str, cores: int, tmp_path: Path
) -> None:
    """8192 × 8192 × K with K the largest power of two up to √S: deeper panels do not fit; deviation D24."""
    element = BITS[DType[dtype.upper()]] // 8
    for size in SIZES:
        inner = 2 ** (int(sqrt(size / element)).bit_length() - 1)
        result = simulate(matmul(8192, 8192, inner, tmp_path, dtype=dtype), shared_cache(size, cores, dtype))
        bound = least_bytes(8192, 8192, inner, (size + size // 8) / element, element)
        assert bound <= result.home_bytes <= 2 * bound, f"{size} bytes: {result.home_bytes / bound:.3f} x the bound"


def test_the_bound_is_far_above_the_compulsory_traffic_where_memory_is_small() -> None:
    """The oracle says something: 4096³ in 64 KiB needs ten times its operands and result."""
    compulsory = 3 * 4096**2 * 4
    assert least_bytes(4096, 4096, 4096, 2**14, 4) > 10 * compulsory
    assert least_bytes(4096, 4096, 4096, 2**24, 4) == compulsory


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_traffic_falls_like_one_over_the_root_of_the_scratchpad(dtype: str, tmp_path: Path) -> None:
    """64 times the memory, an eighth of the traffic, within a fifth; far from the compulsory traffic."""
    trace = matmul(16384, 16384, 16384, tmp_path, dtype=dtype)
    small, large = (simulate(trace, one_scratchpad(size, 2, dtype)).home_bytes for size in (2**17, 2**23))
    assert 8 / 1.2 < small / large < 8 * 1.2


@pytest.mark.parametrize("shape", SHAPES)
def test_a_larger_cache_never_moves_more_and_in_the_end_only_what_is_compulsory(
    shape: tuple[int, int, int], tmp_path: Path
) -> None:
    """Groups of waves grow with the cache, for tiles that do not depend on it."""
    m, n, k = shape
    trace = matmul(m, n, k, tmp_path, dtype="bf16")
    moved = [
        simulate(trace, shared_cache(2**20, 16, "bf16").replace({"memory.l2.capacity": f"{size} B"})).home_bytes
        for size in sorted((*SIZES, *(3 * size // 2 for size in SIZES), 2**33))
    ]
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] == 2 * (m * k + k * n + m * n)
