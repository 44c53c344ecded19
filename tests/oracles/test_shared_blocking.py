"""Products that are blocked for the nearest shared tier: traffic behind it lies between the √S bound and twice it.

S counts all memory in front of the last tier, the cores' and the shared one; the bound is that of
`test_square_root_bound.py`. `compute.blocking: shared` chooses by time, and the last tier is so slow here that its
bytes are the time.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from math import sqrt
from pathlib import Path

import pytest
from test_square_root_bound import ACCUMULATOR_BYTES, DEPTHS, LEAST_CORE, SIZES, least_bytes, shared_cache

from build import matmul
from hiersim.engines import compiled, reference
from hiersim.explanation import explain
from hiersim.fusion.eager import eager
from hiersim.lowering.lower import lower
from hiersim.model.design import Design
from hiersim.model.operators import BITS, DType
from hiersim.run import simulate
from hiersim.testing.contracts import differences

SIDE = 2**15
"""Rows and columns: several times the root of the largest cache, so that rectangles do not end in halves."""


def blocked(design: Design) -> Design:
    """The same machine, its products blocked for the shared tier."""
    return design.replace({"compute.blocking": "shared"})


def machines(size: int, dtype: str) -> list[tuple[Design, int]]:
    """One core and many, with an eighth and a half of a cache of `size`; and all memory."""
    found = []
    for share in (0.125, 0.5):
        held = int(size * share)
        for cores in sorted({1, min(128, held // LEAST_CORE)}):
            design = shared_cache(size, cores, dtype, share, (8, 8, 8)).replace({"memory.dram.capacity": "1 TB"})
            found.append((design, size + held))
    return found


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("size", SIZES[::2])
def test_behind_a_cache_traffic_is_within_twice_the_bound_of_all_memory(size: int, dtype: str, tmp_path: Path) -> None:
    """However deep the product, and never more than with sums that stay in the cores."""
    element = BITS[DType[dtype.upper()]] // 8
    root = 2 ** (int(sqrt(size / element)).bit_length() - 1)
    for inner in (int(root * depth) for depth in DEPTHS):
        trace = matmul(SIDE, SIDE, inner, tmp_path, dtype=dtype)
        for design, memory in machines(size, dtype):
            least = least_bytes(SIDE, SIDE, inner, memory, element)
            moved, before = (simulate(trace, machine).home_bytes for machine in (blocked(design), design))
            where = f"{size} bytes, {design.compute.cores} cores, K = {inner}: {moved / least:.3f} x the bound"
            assert least <= moved <= min(before, 2 * least), where


@pytest.mark.parametrize("cores", [1, 3])
def test_a_cache_that_holds_nothing_brings_nothing_together(cores: int, tmp_path: Path) -> None:
    """A wave has no more blocks than cores, so that a few of them in a row cannot share what nobody keeps."""
    trace = matmul(200, 2048, 256, tmp_path, dtype="fp32")
    design = shared_cache(2**16 * cores, cores, "fp32", 1.0).replace({"memory.l2.capacity": "1 B"})
    assert simulate(trace, blocked(design)).home_bytes == simulate(trace, design).home_bytes


@pytest.mark.parametrize("management", ["cache", "scratchpad"])
@pytest.mark.parametrize("cores", [1, 16])
def test_a_larger_shared_tier_never_moves_more_and_never_takes_longer(
    cores: int, management: str, tmp_path: Path
) -> None:
    trace = matmul(16384, 8192, 16384, tmp_path, dtype="bf16")  # no operand or result fits
    design = blocked(shared_cache(2**20, cores, "bf16"))
    tiers = [
        design.replace({"memory.l2.capacity": f"{size} B", "memory.l2.management": management})
        for size in sorted((*SIZES, *(3 * size // 2 for size in SIZES)))
    ]
    results = [simulate(trace, tier) for tier in tiers]
    assert all(one.home_bytes >= other.home_bytes for one, other in pairwise(results))
    assert all(one.makespan * 1.001 >= other.makespan for one, other in pairwise(results))
    assert results[0].home_bytes > 4 * results[-1].home_bytes


def lru_misses(order: list[tuple[tuple[str, int, int], bool]], sizes: dict[str, int], capacity: int) -> dict[str, int]:
    """Whole objects that are read and miss an LRU cache of `capacity` bytes, by the letter of their name.

    What is touched without being read is made there.
    """
    held: OrderedDict[tuple[str, int, int], None] = OrderedDict()
    room, missed = capacity, dict.fromkeys(sizes, 0)
    for touched, read in order:
        if touched in held:
            held.move_to_end(touched)
            continue
        missed[touched[0]] += read
        held[touched] = None
        room -= sizes[touched[0]]
        while room < 0:
            room += sizes[held.popitem(last=False)[0][0]]
    return missed


@pytest.mark.parametrize("size", [2**17, 2**18, 2**19])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_an_lru_cache_that_is_played_block_by_block_misses_what_the_closed_form_says(
    size: int, dtype: str, tmp_path: Path
) -> None:
    """Rectangle by rectangle, panel by panel, block by block on one core: sums are never lost."""
    m, n, k = 768, 512, 2048
    element = BITS[DType[dtype.upper()]] // 8
    result = simulate(matmul(m, n, k, tmp_path, dtype=dtype), blocked(shared_cache(size, 1, dtype)))
    tile = explain(result, "0").to_dict()["kernel"]["tile"]
    assert tile["panels"] > 1
    high, wide, panels = -(-tile["group_m"] // tile["tile_m"]), -(-tile["group_n"] // tile["tile_n"]), tile["panels"]
    rows, columns = -(-m // tile["tile_m"]), -(-n // tile["tile_n"])
    inner = -(-k // panels)
    sizes = {
        "a": tile["tile_m"] * inner * element,
        "b": tile["tile_n"] * inner * element,
        "c": tile["tile_m"] * tile["tile_n"] * ACCUMULATOR_BYTES,
    }

    def schedule(by_rows: bool) -> list[tuple[tuple[str, int, int], bool]]:
        order: list[tuple[tuple[str, int, int], bool]] = []
        for top in range(0, rows, high):
            for left in range(0, columns, wide):
                inside = [
                    (i, j) for i in range(top, min(rows, top + high)) for j in range(left, min(columns, left + wide))
                ]
                inside.sort(key=lambda block: block if by_rows else block[::-1])
                for panel in range(panels):
                    for i, j in inside:
                        order += [(("a", i, panel), True), (("b", panel, j), True)]
                        order.append((("c", i - top, j - left), panel > 0))  # rectangles use the same room
        return order

    asked = {
        "a": rows * panels * -(-columns // wide),
        "b": columns * panels * -(-rows // high),
        "c": 0,
    }
    played = [lru_misses(schedule(by_rows), sizes, size) for by_rows in (True, False)]
    assert asked in played
    per_pass = (m * k * element, n * k * element)
    passes = -(-columns // wide) * per_pass[0] + -(-rows // high) * per_pass[1]
    assert result.traffic["dram"]["read"] == passes


def test_sums_come_and_go_at_the_shared_tier_once_a_panel(tmp_path: Path) -> None:
    m, n, k = 1536, 1024, 8192
    result = simulate(matmul(m, n, k, tmp_path), blocked(shared_cache(2**18, 4, "fp32")))
    tile = explain(result, "0").to_dict()["kernel"]["tile"]
    sums = (tile["panels"] - 1) * ACCUMULATOR_BYTES * m * n
    operands = 4 * k * (m * -(-n // tile["tile_n"]) + n * -(-m // tile["tile_m"]))
    assert tile["panels"] > 1
    assert result.traffic["l2"] == {"read": operands + sums, "write": sums + 4 * m * n}
    assert tile["blocks"] == tile["panels"] * -(-m // tile["tile_m"]) * -(-n // tile["tile_n"])


def test_where_the_nearest_tier_sets_the_pace_sums_stay_in_the_cores(tmp_path: Path) -> None:
    """Panels would save bytes of the far tier and cost time."""
    trace = matmul(4096, 4096, 16384, tmp_path)
    slow = {"memory.l2.bandwidth": "50 GB/s", "memory.dram.bandwidth": "10 TB/s"}
    design = shared_cache(2**20, 1, "fp32").replace(slow)
    before, after = (simulate(trace, machine) for machine in (design, blocked(design)))
    assert explain(after, "0").to_dict()["kernel"]["tile"]["panels"] == 1
    assert after.traffic["l2"] == before.traffic["l2"]
    assert after.home_bytes <= before.home_bytes
    assert after.makespan <= before.makespan


@pytest.mark.parametrize("cores", [1, 4])
def test_both_engines_play_panels_alike(cores: int, tmp_path: Path) -> None:
    graph, design = eager(matmul(200, 136, 400, tmp_path)), shared_cache(2**16, cores, "fp32", native=(8, 8, 8))
    program = lower(graph, blocked(design))
    assert program.traffic()[1].sum() > lower(graph, design).traffic()[1].sum()  # sums are stored
    wanted = reference.simulate(program)
    assert not differences(compiled.simulate(program), wanted)
    assert not differences(compiled.simulate(program, fast_forward=False), wanted)
