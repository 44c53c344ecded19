"""Rows of a reduction on teams of threads: a closed queue at the memory, and passes that a cache cannot hold."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from build import design_from, trace_of
from hiersim.config.load import load_design
from hiersim.frontends.published.operations import norm
from hiersim.lowering.row_sums import Sums, behind_each_other, sums_of
from hiersim.lowering.rows import Team, generated_team, whole_team
from hiersim.model.design import Design
from hiersim.model.operators import DType
from hiersim.model.trace import Trace
from hiersim.results import Result
from hiersim.run import kernels_of, replay, simulate

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


def power(count: int) -> int:
    """The largest power of two that is not above."""
    return 1 << (count.bit_length() - 1)


def played(result: Result) -> int:
    (kernel,) = result.kernel_rows
    return int(kernel["end_ticks"]) - int(kernel["start_ticks"])


@pytest.mark.parametrize("columns", [64, 128, 1000, 4096])
@pytest.mark.parametrize("rows", [1, 3, 4, 16, 32, 100, 4096])
def test_sums_of_rows_take_the_time_of_a_closed_queue(rows: int, columns: int, tmp_path: Path) -> None:
    """A block of 512 threads has a warp per row, where there are enough; a step is 16 bytes of each, then a wait."""
    threads = min(power(columns), 512 // min(power(rows), 16))
    wait = 1.2 * math.ceil(math.ceil(columns / threads) / 4) * LATENCY + 2 * EXCHANGE
    together = max(min(CORES, rows), min(rows, CORES * max(1, THREADS // threads)))
    service = columns * 4 * 1000  # rows of all cores share the cache
    expected = cycle(together, service, wait) * rows / together
    found = played(simulate(reduction(rows, columns, tmp_path), machine()))
    assert 0 <= found - expected <= 2 * LATENCY + 64  # the last tile arrives, and its results


@pytest.mark.parametrize("rows", [1, 4, 100, 4096])
def test_rows_take_turns_in_their_core_before_they_ask_a_tier_that_all_cores_share(rows: int, tmp_path: Path) -> None:
    """What a core loads serves the rows of that core alone, at 2 GB/s: half of what the cache can give in all."""
    columns, design = 4096, machine(**{"memory.l2.read_bandwidth": 4 * RATE, "compute.load_bandwidth": 2 * RATE})
    threads = 512 // min(power(rows), 16)
    wait, own, common = 1.2 * (1024 // threads) * LATENCY + 2 * EXCHANGE, columns * 4 * 500, columns * 4 * 250
    active = min(CORES, rows)
    together = max(active, min(rows, CORES * max(1, THREADS // threads)))
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
    ("columns", "element", "functions", "welford", "team"),
    [
        (9, 2, 0, False, Team(1, 1)),
        (1024, 2, 3, False, Team(32, 1024, links=64)),
        (1024, 2, 1, False, Team(32, 1024, links=32)),
        (4096, 2, 3, False, Team(1024, 4096, exchanges=2, links=8)),
        (9216, 4, 1, False, Team(1024, 9216, exchanges=2)),
        (16384, 2, 3, False, Team(1024, 8192, exchanges=2, wide=8)),
        (16384, 4, 3, False, Team(1024, 4096, passes=3, exchanges=2, wide=4)),
        (18000, 4, 1, False, Team(1024, 4096, passes=3, exchanges=2, extra=1, wide=4)),
        (4096, 4, 0, False, Team(128, 512, passes=2, exchanges=2, wide=4)),
        (4096, 2, 0, True, Team(128, 512, passes=2, exchanges=3, links=32, wide=4)),
    ],
)
def test_teams_are_those_of_the_table(columns: int, element: int, functions: int, welford: bool, team: Team) -> None:
    assert whole_team(columns, element, functions, welford, keeps_rows=True) == team


@pytest.mark.parametrize(
    ("columns", "threads", "waits"),
    [(1280, 256, 2), (1600, 256, 4), (2048, 256, 2), (2560, 512, 2), (3072, 512, 3), (4096, 512, 2), (16384, 512, 8)],
)
def test_softmax_before_2_1_has_few_threads_and_loads_what_fills_no_step_one_by_one(
    columns: int, threads: int, waits: int
) -> None:
    team = whole_team(columns, 4, 3, welford=False, keeps_rows=False)
    assert (team.threads, team.passes, -(-columns // team.step) + team.extra) == (2 * threads, 3, waits)  # half fit


@pytest.mark.parametrize(
    ("results", "numbers", "behind", "sums"),
    [
        (256, 65536, 256, Sums(2, 128, 4096, 128, 16384, 4)),
        (64, 65536, 64, Sums(1, 128, 2048, 64, 8192, 8)),
        (16384, 128, 16384, Sums(128, 128, 8, 128, 0, 4)),  # 32 numbers for each of four warps
        (16384, 32, 16384, Sums(128, 32, 8, 128, 0, 4)),  # too few to share: each warp has results of its own
        (255, 64, 255, Sums(8, 32, 16, 32, 0, 16)),  # rows of odd length: one result for a thread
        (4096, 4096, 0, Sums(4096, 32, 32, 128, 0, 32)),
        (4096, 16384, 0, Sums(4096, 512, 8, 2048, 0, 512)),
        (1, 2**28, 0, Sums(1, 512, 2**17, 2048, 2**19, 512)),
    ],
)
def test_numbers_are_shared_out_as_the_library_does(results: int, numbers: int, behind: int, sums: Sums) -> None:
    """Blocks of 128 threads with four results each are what the profiler saw: `reduce_kernel<128, 4, …>`."""
    assert sums_of(results, numbers, behind, loaded=4) == sums


@given(results=st.integers(1, 10**6), numbers=st.integers(1, 10**6), last=st.booleans(), wide=st.booleans())
def test_threads_and_steps_cover_all_numbers_once(results: int, numbers: int, last: bool, wide: bool) -> None:
    loaded = 8 if wide else 4
    sums = sums_of(results, numbers, 0 if last else results, loaded)
    assert 1 <= sums.threads <= 512
    assert sums.teams * max(1, 0 if last else sums.step) >= results
    if last:
        assert sums.steps * sums.step >= numbers > (sums.steps - 1) * sums.step - loaded * sums.threads
    else:
        assert sums.steps * 4 * sums.joined >= numbers  # the height of a block shares them, or keeps them


@pytest.mark.parametrize(
    ("before", "after", "stride"),
    [
        ((64, 32), (64,), 0), ((64, 32), (32,), 32), ((64, 32), (1, 32), 32), ((64, 32), (64, 1), 0),
        ((4, 8, 32), (32,), 32), ((4, 8, 32), (4, 32), 32), ((4, 8, 32), (8,), 0), ((4, 8, 32), (), 0),
        ((32, 32), (32,), 0),  # either way: the last is taken
        ((2, 3, 8, 8), (2, 3, 4, 4), 0),  # pooling
    ],
)  # fmt: skip
def test_shapes_tell_how_far_apart_the_numbers_of_a_result_lie(
    before: tuple[int, ...], after: tuple[int, ...], stride: int
) -> None:
    assert behind_each_other(np.array(before), np.array(after, np.int64)) == stride


@pytest.mark.parametrize(("rows", "pieces"), [(65536, 16), (8192, 16), (4096, 1), (1024, 1)])
def test_sums_over_rows_are_split_over_blocks_whose_sums_the_last_one_reads_in_turns(
    rows: int, pieces: int, tmp_path: Path
) -> None:
    """16 columns: a block of 4 x 32 threads, four columns for each; 16 blocks are resident."""
    columns, design = 16, machine(**{"memory.l2.read_bandwidth": 10**12, "compute.threads": 512})
    design = design.replace({"compute.load_bandwidth": 10**12})
    each = -(-rows // 32)  # the height of a block of 128 threads that is 4 wide
    assert pieces == (min(CORES * 512 // 128, -(-each // 16)) if each >= 256 else 1)
    trace = trace_of(
        [
            {"tensor": "x", "shape": [rows, columns], "dtype": "fp32", "role": "input"},
            {"tensor": "y", "shape": [columns], "dtype": "fp32", "role": "activation", "output": True},
            {
                "operator": "aten.sum.dim_IntList", "kind": "reduction", "dtype": "fp32", "reads": ["x"],
                "writes": ["y"], "dims": {"rows": columns, "columns": rows}, "flops": {"vector": rows * columns},
            },
        ],
        tmp_path,
    )  # fmt: skip
    wait = 1.2 * -(-each // (4 * pieces)) * LATENCY + 2 * EXCHANGE
    relaunch = int(design.compute.start_up) + int(design.host.start)
    joined = relaunch + (1 + 1.2 * (2 + -(-pieces // 32))) * LATENCY + 2 * EXCHANGE if pieces > 1 else 0
    served = rows * columns * 4  # ticks of a terabyte per second: of each core, and of the cache
    assert wait + joined <= played(simulate(trace, design)) <= wait + joined + 2 * served + 3 * LATENCY + 64


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


@pytest.mark.parametrize(
    ("columns", "special", "welford", "team"),
    [
        (1024, False, True, Team(256, 1024)),
        (1025, False, True, Team(256, 2048, passes=3)),
        (1025, False, False, Team(256, 2048, passes=2)),
        (16384, True, False, Team(256, 2048, passes=3)),
    ],
)
def test_generated_code_before_2_1_looks_for_the_variance_after_the_mean(
    columns: int, special: bool, welford: bool, team: Team
) -> None:
    assert generated_team(columns, special, welford, keeps_rows=False) == team
    later = generated_team(columns, special, welford, keeps_rows=True)
    assert later == generated_team(columns, special), "both at once since"


@pytest.mark.parametrize(("columns", "slower"), [(4096, 1.02), (32768, 1.4)])
def test_rows_too_long_for_the_cache_are_read_a_third_time_before_2_1(columns: int, slower: float) -> None:
    case = norm(DType.FP16, 4096, columns).case(suite="rows", name="norm", params={"columns": columns})
    design = load_design("a100-80gb-sxm")
    old, new = (
        replay(trace, kernels_of(trace, design, "inductor-rules"), design).makespan
        for trace in (case.trace(release=release) for release in ((2, 0), (2, 1)))
    )
    assert (old > slower * new) == (columns > 4096)


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


@pytest.mark.parametrize(("kind", "evaluated", "handled"), [("pointwise", 1, 0), ("reduction", 3, 2)])
def test_functions_and_accesses_of_threads_cost_their_instructions_each_time(
    kind: str, evaluated: int, handled: int, tmp_path: Path
) -> None:
    """12 FLOPs in FP32 beside the one of each element: an exponential, in softmax two and a division.

    A row of softmax is read and written once, element by element, 14 FLOPs each time.
    """
    rows, columns, peak = 512, 2048, 10**9
    design = machine(**{"compute.vector.peak.fp32": peak, "memory.l2.read_bandwidth": 10**12})
    trace = reduction(rows, columns, tmp_path, whole=True, special=True, kind=kind)
    # a special function takes a slot of the vector unit too
    seconds = rows * columns * (2 + 12 * evaluated + 14 * handled) / peak
    assert simulate(trace, design).time == pytest.approx(seconds, rel=0.03)


def test_few_rows_use_few_cores(tmp_path: Path) -> None:
    """On an H100 one row takes as long as 128 of them, and half the latencies or exchanges are saved."""
    h100 = load_design("h100-sxm")
    one, many = (simulate(reduction(rows, 65536, tmp_path, whole=True), h100).time for rows in (1, 128))
    assert one < many < 1.5 * one
    assert simulate(reduction(1, 65536, tmp_path, whole=True), h100.replace({"memory.l2.latency": "0.5x"})).time < one
