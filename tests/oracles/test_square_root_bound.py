"""GEMM traffic over SRAM sizes from 64 KiB to 64 MiB lies between the √S lower bound and twice it.

S counts every byte of the memory: accumulators and the buffers of tiles in flight are in it. Operands and results have
`e` bytes an element; partial sums have `c` = 4 while they are sums, in the fast memory and on their way out and back.
Any schedule of C = A·B in a fast memory of S bytes that is empty at first moves at least

    2·e·MNK·√(c/S) - S - (c - e)·MN    and in any case    e·(MK + KN + MN)    bytes.

Why: let each sum be loaded when it begins, which costs c·MN bytes that no schedule needs, and cut the schedule into
segments that load 2S bytes each, the first 3S. What a segment multiplies has been in memory when it began or was loaded
in it: e·|A| + e·|B| + c·|C| <= 3S for the elements that it sees, and it makes at most √(|A|·|B|·|C|) products of them
(Loomis and Whitney), so at most √(S³/c)/e. MNK products need so many segments; the results are stored besides, e·MN.
With e = c this is the bound of Smith, Lowery, Langou, van de Geijn: A tight I/O lower bound for matrix multiplication,
arXiv:1702.02017, 2019, which has -2S words instead of -S since the memory may be full at first. Kwasniewski, Kabić,
Besta, VandeVondele, Solcà, Hoefler: Red-blue pebbling revisited, SC 2019, reach it with accumulators that stay.
"""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from pathlib import Path

import pytest

from build import design_from, matmul
from hiersim.explanation import explain
from hiersim.model.design import Design
from hiersim.model.operators import BITS, DType
from hiersim.run import simulate

SIZES = tuple(2**power for power in range(16, 27))
"""64 KiB … 64 MiB."""
SHAPES = ((4096, 4096, 4096), (8192, 4096, 16384), (4096, 16384, 1024), (2048, 8192, 32768), (1000, 3000, 5000))
ACCUMULATOR_BYTES = 4


def least_bytes(m: int, n: int, k: int, size: float, element: int) -> float:
    """The bound for a memory of `size` bytes and elements of `element` bytes."""
    asked = 2 * element * m * n * k * sqrt(ACCUMULATOR_BYTES / size)
    return max(asked - size - (ACCUMULATOR_BYTES - element) * m * n, element * (m * k + k * n + m * n))


def one_scratchpad(size: int, depth: int, dtype: str) -> Design:
    """One core, all of its memory one scratchpad of `size` bytes; a far tier so slow that its bytes are the time."""
    return design_from(
        compute__cores=1,
        compute__buffer_depth=depth,
        compute__matrix={"tile": [16, 8, 16], "peak": {dtype: "100 TFLOP/s"}},
        memory__smem__capacity=f"{size} B",
        memory__dram__bandwidth="50 GB/s",
    )


def least_bytes_of_sums_that_stay(m: int, n: int, k: int, size: float, cores: float, element: int) -> float:
    """The bound where sums never leave the `cores` bytes of the cores, in a memory of `size` bytes in all.

    Cut a schedule into segments that load X bytes, so that each sees T = size + X bytes of operands. Of its sums at
    most cores ÷ c are alive when it begins and as many when it ends; those that it begins and ends need rows of A and
    columns of B of the whole inner dimension, so that they are at most (T ÷ 2·e·K)². It makes at most √(|A|·|B|·|C|)
    products (Loomis and Whitney), and stores of results come besides. The best X is tried for.
    """
    alive, most = 2 * cores / ACCUMULATOR_BYTES, 0.0
    for step in range(1, 200):
        seen = size * 1.06**step
        sums = alive + min((seen / (2 * element * k)) ** 2, m * n)
        products = seen / (2 * element) * sqrt(sums)
        most = max(most, (seen - size) * (m * n * k / products - 1))
    return most + element * m * n


def shared_cache(
    size: int, cores: int, dtype: str, share: float = 0.125, native: tuple[int, int, int] = (16, 8, 16)
) -> Design:
    """Cores that have a `share` of `size` together, behind a shared cache of `size`."""
    return design_from(
        compute__cores=cores,
        compute__matrix={"tile": list(native), "peak": {dtype: "100 TFLOP/s"}},
        memory={
            "smem": {"scope": "core", "management": "scratchpad", "capacity": f"{int(size * share) // cores} B"},
            "l2": {"scope": "shared", "management": "cache", "capacity": f"{size} B", "bandwidth": "10 TB/s"},
            "dram": {"scope": "shared", "management": "scratchpad", "capacity": "64 GB", "bandwidth": "50 GB/s"},
        },
    )


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_scratchpad_moves_at_most_twice_the_bound(
    shape: tuple[int, int, int], depth: int, dtype: str, tmp_path: Path
) -> None:
    trace, element = matmul(*shape, tmp_path, dtype=dtype), BITS[DType[dtype.upper()]] // 8
    for size in SIZES:
        moved = simulate(trace, one_scratchpad(size, depth, dtype)).home_bytes
        bound = least_bytes(*shape, size, element)
        assert bound <= moved <= 2 * bound, f"{size} bytes: {moved / bound:.3f} x the bound"


@pytest.mark.parametrize("cores", [1, 4])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_shared_cache_moves_at_most_twice_the_bound_of_all_memory_where_panels_fit(
    dtype: str, cores: int, tmp_path: Path
) -> None:
    """8192 × 8192 × K with K the largest power of two up to √S: panels of both operands fit."""
    element = BITS[DType[dtype.upper()]] // 8
    for size in SIZES:
        inner = 2 ** (int(sqrt(size / element)).bit_length() - 1)
        result = simulate(matmul(8192, 8192, inner, tmp_path, dtype=dtype), shared_cache(size, cores, dtype))
        bound = least_bytes(8192, 8192, inner, size + size // 8, element)
        assert bound <= result.home_bytes <= 2 * bound, f"{size} bytes: {result.home_bytes / bound:.3f} x the bound"


DEPTHS = (0.25, 1, 2, 4, 16, 64)
"""Inner dimensions, in roots of the elements that the cache holds."""
LEAST_CORE = 2**13
"""Smaller cores hold a few native tiles at most: what they keep goes by whole tiles."""


@pytest.mark.parametrize("many", [False, True], ids=["one core", "many cores"])
@pytest.mark.parametrize(("dtype", "share"), [("fp32", 0.125), ("bf16", 0.125), ("fp32", 0.5), ("bf16", 0.5)])
def test_behind_a_cache_traffic_is_within_twice_the_bound_of_what_holds_sums(
    dtype: str, share: float, many: bool, tmp_path: Path
) -> None:
    """However deep the product: never below the bound of all memory, never above twice that of the cores' alone."""
    element = BITS[DType[dtype.upper()]] // 8
    for size in SIZES[:: 2 if share == 0.125 else 5]:
        held = int(size * share)
        design = shared_cache(size, min(128, held // LEAST_CORE) if many else 1, dtype, share, (8, 8, 8))
        root = 2 ** (int(sqrt(size / element)).bit_length() - 1)
        for inner in (int(root * depth) for depth in DEPTHS):
            moved = simulate(matmul(8192, 8192, inner, tmp_path, dtype=dtype), design).home_bytes
            least = least_bytes(8192, 8192, inner, size + held, element)
            most = 2 * least_bytes(8192, 8192, inner, held, element)
            assert least <= moved <= most, f"{size} bytes, K = {inner}: {least / moved:.3f}, {moved / most:.3f}"


@pytest.mark.parametrize("size", [2**20, 2**23])
def test_no_schedule_that_keeps_its_sums_in_the_cores_is_within_twice_the_bound_of_all_memory(
    size: int, tmp_path: Path
) -> None:
    """Deviation D24: the cores have an eighth of the cache, and the product is deep. What is simulated is near that."""
    shape = (4096, 4096, 2**20)
    all_memory = size + size // 8
    best = least_bytes_of_sums_that_stay(*shape, all_memory, size // 8, 4)
    assert best > 2 * least_bytes(*shape, all_memory, 4)
    moved = simulate(matmul(*shape, tmp_path), shared_cache(size, 1, "fp32")).home_bytes
    assert best <= moved <= 2.2 * best


def test_where_all_memory_holds_sums_both_bounds_are_close() -> None:
    """A factor of √2: a segment may see twice the sums that are alive at a time."""
    for size in (2**18, 2**22):
        shape = (8192, 8192, 2**24)
        ratio = least_bytes_of_sums_that_stay(*shape, size, size, 4) / least_bytes(*shape, size, 4)
        assert 1 / sqrt(2) - 0.02 < ratio < 1 / sqrt(2) + 0.02


def test_the_bound_is_far_above_the_compulsory_traffic_where_memory_is_small() -> None:
    """The oracle says something: 4096³ in 64 KiB needs ten times its operands and result."""
    compulsory = 3 * 4096**2 * 4
    assert least_bytes(4096, 4096, 4096, 2**16, 4) > 10 * compulsory
    assert least_bytes(4096, 4096, 4096, 2**26, 4) == compulsory


def loads_of_panels(panels: int, blocks_each: int, cores: int) -> int:
    """Panels that cores load when each takes an equal run of all blocks, panel by panel."""
    blocks = panels * blocks_each
    ends = [blocks * core // cores for core in range(cores + 1)]
    return sum(len({block // blocks_each for block in range(low, high)}) for low, high in pairwise(ends))


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 7])
def test_where_the_inner_dimension_is_short_a_core_keeps_a_panel_and_streams_the_other_operand(
    cores: int, tmp_path: Path
) -> None:
    """16 KiB hold a panel of 112 × 40 bf16 elements, but accumulators of 56 × 56 at most."""
    design = one_scratchpad(2**14, 2, "bf16").replace({"compute.cores": str(cores)})
    result = simulate(matmul(1024, 320, 40, tmp_path, dtype="bf16"), design)
    tile = explain(result, "0").to_dict()["kernel"]["tile"]
    rows, columns = -(-1024 // tile["tile_m"]), -(-320 // tile["tile_n"])
    keeps_a = tile["kept_bytes"] == tile["tile_m"] * 40 * 2
    assert keeps_a or tile["kept_bytes"] == tile["tile_n"] * 40 * 2
    panels, across = (rows, columns) if keeps_a else (columns, rows)
    assert min(tile["tile_m"], tile["tile_n"]) < 56 < max(tile["tile_m"], tile["tile_n"])
    passes = -(-loads_of_panels(panels, across, cores) // panels)
    a, b = (passes, rows) if keeps_a else (columns, passes)
    assert result.traffic["dram"]["read"] == 2 * 40 * (1024 * a + 320 * b)
    assert result.traffic["dram"]["read"] < 2 * 40 * (1024 * -(-320 // 56) + 320 * -(-1024 // 56))
    assert result.to_dict()["peak_bytes"]["smem"] <= cores * 2**14


def products_of_segments(size: int, element: int) -> int:
    """The most products of a segment in which so many bytes of A, B and sums are at hand, by trying all shares."""
    best = 0
    for rows in range(1, size // element):
        for columns in range(1, (size - rows * element) // element + 1):
            left = size - (rows + columns) * element  # of A and B so many elements, of the sums what is left
            best = max(best, rows * columns * (left // ACCUMULATOR_BYTES))
    return best


@pytest.mark.parametrize("element", [1, 2, 4])
def test_no_share_of_the_memory_makes_more_products_than_the_bound_reckons_with(element: int) -> None:
    for size in (30, 60, 120):  # 3S
        most = products_of_segments(size, element)
        assert most <= (size / 3) ** 3 / (element**2 * ACCUMULATOR_BYTES) <= 1.6 * most


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
