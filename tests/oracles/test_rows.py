"""Rows of a reduction on teams of threads: a closed queue at the memory, and passes that a cache cannot hold."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from build import design_from, trace_of
from hiersim.config.load import load_design
from hiersim.lowering.rows import Team, generated_team, team_of
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.results import Result
from hiersim.run import simulate

CORES, THREADS, LATENCY, EXCHANGE = 4, 256, 100_000, 50_000
RATE = 10**9
"""Bytes per second of the nearest tier: 1000 ticks each."""


def machine(**changes: Any) -> Design:
    """Cores with threads in front of a cache, and a memory behind it that takes no time."""
    design = design_from(
        compute__matrix=None,
        compute__cores=CORES,
        compute__vector={"peak": {"fp32": "unlimited"}, "special": "unlimited"},
        compute__buffer_depth=8,
        compute__threads=THREADS,
        compute__exchange=f"{EXCHANGE // 1000} ns",
        memory={
            "smem": {"scope": "core", "management": "scratchpad", "capacity": "256 KiB"},
            "l2": {
                "scope": "shared", "management": "cache", "capacity": "1 GB", "read_bandwidth": "1 GB/s",
                "write_bandwidth": "unlimited", "latency": f"{LATENCY // 1000} ns",
            },
            "dram": {"scope": "shared", "management": "scratchpad", "capacity": "64 GB", "bandwidth": "unlimited"},
        },
    )  # fmt: skip
    return design.replace(changes) if changes else design


def reduction(
    rows: int, columns: int, folder: Path, whole: bool = False, special: bool = False, kind: str = "reduction"
) -> Trace:
    """A sum of each row, or a norm, or with a special function per element softmax."""
    written = [rows, columns] if whole else [rows]
    flops = {"vector": rows * columns, "special": rows * columns if special else 0}
    dims = {"dims": {"rows": rows, "columns": columns}} if kind == "reduction" else {}
    return trace_of(
        [
            {"tensor": "x", "shape": [rows, columns], "dtype": "fp32", "role": "input"},
            {"tensor": "y", "shape": written, "dtype": "fp32", "role": "activation", "output": True},
            {
                "operator": "aten.sum.dim_IntList", "kind": kind, "dtype": "fp32", "reads": ["x"],
                "writes": ["y"], **dims, "flops": flops,
            },
        ],
        folder,
    )  # fmt: skip


def cycle(together: float, service: float, wait: float) -> float:
    """Ticks in which `together` rows take turns at one server and wait in between (Schweitzer 1979)."""
    gap = together * service - wait
    return wait + (gap + math.sqrt(gap * gap + 4 * service * wait)) / 2


def played(result: Result) -> int:
    (kernel,) = result.kernel_rows
    return int(kernel["end_ticks"]) - int(kernel["start_ticks"])


@pytest.mark.parametrize("columns", [64, 128, 1000, 4096])
@pytest.mark.parametrize("rows", [1, 3, 4, 16, 32, 100, 4096])
def test_sums_of_rows_take_the_time_of_a_closed_queue(rows: int, columns: int, tmp_path: Path) -> None:
    """A warp per row; eight warps fit a core; a step is 512 bytes and one wait; then two exchanges."""
    wait = 1.2 * math.ceil(columns / 128) * LATENCY + 2 * EXCHANGE
    together = max(min(CORES, rows), min(rows, CORES * THREADS // 32))
    service = columns * 4 * 1000  # rows of all cores share the cache
    expected = cycle(together, service, wait) * rows / together
    found = played(simulate(reduction(rows, columns, tmp_path), machine()))
    assert 0 <= found - expected <= 2 * LATENCY + 64  # the last tile arrives, and its results


@pytest.mark.parametrize("rows", [1, 4, 100, 4096])
def test_rows_take_turns_in_their_core_before_they_ask_a_tier_that_all_cores_share(rows: int, tmp_path: Path) -> None:
    """What a core loads serves the rows of that core alone, at 2 GB/s: half of what the cache can give in all."""
    columns, design = 4096, machine(**{"memory.l2.read_bandwidth": 4 * RATE, "compute.load_bandwidth": 2 * RATE})
    wait, own, common = 1.2 * 32 * LATENCY + 2 * EXCHANGE, columns * 4 * 500, columns * 4 * 250
    active = min(CORES, rows)
    together = max(active, min(rows, CORES * THREADS // 32))
    ticks = max(cycle(together / active, own, wait), cycle(together, common, wait + own)) * rows / together
    found = played(simulate(reduction(rows, columns, tmp_path), design))
    stored = rows * 4 * 500 / active  # the last results leave while others are still read
    assert -stored <= found - ticks <= 2 * LATENCY + 64


def test_without_threads_a_reduction_is_a_stream(tmp_path: Path) -> None:
    """Every byte once, whatever the rows."""
    stream = machine(**{"compute.buffer_depth": 8})
    plain = design_without_threads(stream)
    for rows in (1, 64):
        found = played(simulate(reduction(rows, 4096, tmp_path), plain))
        assert found == pytest.approx(rows * 4096 * 4 * 1000 + 2 * LATENCY, rel=0.01)


def design_without_threads(design: Design) -> Design:
    return dataclasses.replace(design, compute=dataclasses.replace(design.compute, threads=None))


@pytest.mark.parametrize("rows", [8, 64, 4096])
@pytest.mark.parametrize(("columns", "passes"), [(2048, 2), (16384, 2), (16384, 3)])
def test_further_passes_over_rows_that_a_cache_cannot_hold_go_to_memory_again(
    rows: int, columns: int, passes: int, tmp_path: Path
) -> None:
    """A norm: 128 threads per row, two rows on each of four cores. Softmax: 1024 threads, one row on each.

    Reuse distances are 0.5 to 1.5 times what they touch in passes ÷ 2: what they read, and a share of what they write.
    """
    size = rows * columns * 4
    use = size * (passes + 1) // 2 * min(rows, 8 if passes == 2 else 4) // rows
    moved = []
    design = machine() if passes == 2 else machine(**{"compute.threads": 1024})
    for capacity in (use // 8, use // 2, use, 3 * use // 2, 2 * use):
        kept = min(1.0, max(0.0, (capacity - use / 2) / use))
        trace = reduction(rows, columns, tmp_path, whole=True, special=passes == 3)
        result = simulate(trace, design.replace({"memory.l2.capacity": capacity}))
        assert result.traffic["l2"]["read"] == passes * size
        assert result.traffic["dram"]["read"] == pytest.approx(size * (passes - (passes - 1) * kept), rel=1e-6)
        moved.append(result.traffic["dram"]["read"])
    assert all(more >= fewer for more, fewer in pairwise(moved))
    assert (moved[0], moved[-1]) == (passes * size, size)


@pytest.mark.parametrize(
    ("columns", "element", "whole", "special", "welford", "team"),
    [
        (9, 2, False, False, False, Team(1, 1)),
        (1000, 4, False, False, False, Team(32, 128, exchanges=2)),
        (1000, 2, False, False, False, Team(32, 256, exchanges=2)),
        (16384, 4, False, False, False, Team(512, 2048, exchanges=2)),
        (1024, 2, True, True, False, Team(32, 64)),
        (2000, 4, True, True, False, Team(512, 2048, passes=3, exchanges=2)),
        (2048, 4, True, True, False, Team(512, 2048, passes=3, exchanges=2)),
        (2052, 4, True, True, False, Team(1024, 4096, passes=3, exchanges=2)),
        (65536, 2, True, True, False, Team(1024, 8192, passes=3, exchanges=2)),
        (4096, 4, True, False, False, Team(128, 512, passes=2, exchanges=2)),
        (4096, 2, True, False, True, Team(128, 512, passes=2, exchanges=3, more=1)),
    ],
)
def test_teams_are_those_of_the_table(
    columns: int, element: int, whole: bool, special: bool, welford: bool, team: Team
) -> None:
    assert team_of(columns, element, whole, special, welford) == team


@pytest.mark.parametrize(
    ("columns", "special", "team"),
    [
        (8, False, Team(1, 1)),
        (100, True, Team(32, 128)),
        (1024, False, Team(256, 1024)),
        (1025, False, Team(512, 2048, passes=2)),
        (65536, True, Team(512, 2048, passes=3)),
    ],
)
def test_teams_of_generated_code_keep_a_row_or_loop_over_it(columns: int, special: bool, team: Team) -> None:
    assert generated_team(columns, special) == team


@given(
    rows=st.integers(1, 3000), columns=st.integers(1, 20000), whole=st.booleans(),
    path=st.sampled_from(["compute.threads", "memory.l2.read_bandwidth", "memory.l2.capacity"]),
)  # fmt: skip
def test_more_threads_bandwidth_or_cache_cost_no_time(
    rows: int, columns: int, whole: bool, path: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    trace, slow = reduction(rows, columns, folder, whole), machine(**{"memory.dram.bandwidth": 2 * 10**8})
    tiles = simulate(trace, slow)
    assert simulate(trace, slow.replace({path: "2x"})).makespan <= tiles.makespan + int(
        tiles.program.stage_counts().sum()
    )


@pytest.mark.parametrize("evaluated", [1, 2])
def test_a_special_function_costs_its_instructions_each_time_it_is_evaluated(evaluated: int, tmp_path: Path) -> None:
    """28 FLOPs in FP32 beside the one of each element: once in an element-wise kernel, twice in softmax."""
    rows, columns, peak = 512, 2048, 10**9
    design = machine(**{"compute.vector.peak.fp32": peak, "memory.l2.read_bandwidth": 10**12})
    kind = "pointwise" if evaluated == 1 else "reduction"
    trace = reduction(rows, columns, tmp_path, whole=True, special=True, kind=kind)
    seconds = rows * columns * (2 + 28 * evaluated) / peak  # a special function takes a slot of the vector unit too
    assert simulate(trace, design).time == pytest.approx(seconds, rel=0.03)


def test_few_rows_use_few_cores(tmp_path: Path) -> None:
    """On an H100 one row takes as long as 128 of them, and half the latencies or exchanges are saved."""
    h100 = load_design("h100-sxm")
    one, many = (simulate(reduction(rows, 65536, tmp_path, whole=True), h100).time for rows in (1, 128))
    assert one < many < 1.5 * one
    assert simulate(reduction(1, 65536, tmp_path, whole=True), h100.replace({"memory.l2.latency": "0.5x"})).time < one
