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


def reduction(rows: int, columns: int, folder: Path, whole: bool = False) -> Trace:
    """A sum of each row, or a norm."""
    written = [rows, columns] if whole else [rows]
    return trace_of(
        [
            {"tensor": "x", "shape": [rows, columns], "dtype": "fp32", "role": "input"},
            {"tensor": "y", "shape": written, "dtype": "fp32", "role": "activation", "output": True},
            {
                "operator": "aten.sum.dim_IntList", "kind": "reduction", "dtype": "fp32", "reads": ["x"],
                "writes": ["y"], "dims": {"rows": rows, "columns": columns}, "flops": {"vector": rows * columns},
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
    active = min(CORES, rows)
    together = max(1.0, min(rows, CORES * THREADS // 32) / active)
    service = columns * 4 * 1000 * active  # all active cores ask for a row each
    expected = cycle(together, service, wait) * rows / (active * together)
    found = played(simulate(reduction(rows, columns, tmp_path), machine()))
    assert 0 <= found - expected <= 2 * LATENCY + 64  # the last tile arrives, and its results


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
@pytest.mark.parametrize("columns", [2048, 16384])
def test_a_second_pass_over_rows_that_a_cache_cannot_hold_goes_to_memory_again(
    rows: int, columns: int, tmp_path: Path
) -> None:
    """A norm: 128 threads per row, two rows on each of four cores; reuse distances are 0.5 to 1.5 times their bytes."""
    size = rows * columns * 4
    use = 2 * size * min(rows, 8) // rows
    moved = []
    for capacity in (use // 8, use // 2, use, 3 * use // 2, 2 * use):
        kept = min(1.0, max(0.0, (capacity - use / 2) / use))
        result = simulate(reduction(rows, columns, tmp_path, whole=True), machine(**{"memory.l2.capacity": capacity}))
        assert result.traffic["l2"]["read"] == 2 * size
        assert result.traffic["dram"]["read"] == pytest.approx(size * (2 - kept), rel=1e-6)
        moved.append(result.traffic["dram"]["read"])
    assert all(more >= fewer for more, fewer in pairwise(moved))
    assert (moved[0], moved[-1]) == (2 * size, size)


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


def test_few_rows_use_few_cores(tmp_path: Path) -> None:
    """On an H100 one row takes as long as 128 of them, and half the latencies or exchanges are saved."""
    h100 = load_design("h100-sxm")
    one, many = (simulate(reduction(rows, 65536, tmp_path, whole=True), h100).time for rows in (1, 128))
    assert one < many < 1.5 * one
    assert simulate(reduction(1, 65536, tmp_path, whole=True), h100.replace({"memory.l2.latency": "0.5x"})).time < one
