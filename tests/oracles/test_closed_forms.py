"""Cases whose time is known exactly: not earlier and not later."""

from __future__ import annotations

from pathlib import Path

import pytest

from build import design_from, matmul, pointwise
from hiersim.fusion.eager import eager
from hiersim.lowering.machine import Machine
from hiersim.lowering.tiling import Loom
from hiersim.lowering.workload import prepare
from hiersim.model.operators import DType
from hiersim.run import simulate
from hiersim.units import ceil_div


@pytest.mark.parametrize(("m", "n", "k"), [(512, 512, 512), (1024, 1024, 256), (256, 2048, 1024)])
def test_a_matmul_without_memory_takes_its_flops_over_peak(m: int, n: int, k: int, tmp_path: Path) -> None:
    """Blocks fill the four cores evenly: 1 TFLOP/s is one FLOP per tick."""
    result = simulate(matmul(m, n, k, tmp_path), design_from())
    assert result.makespan == 2 * m * n * k
    assert result.utilization["matrix"] == 1.0
    assert result.stall_fraction == 0.0


@pytest.mark.parametrize(
    ("m", "n", "k"), [(520, 504, 200), (8, 8, 8), (100, 300, 1000), (1, 4096, 64), (777, 333, 555)]
)
def test_any_matmul_without_memory_takes_waves_times_steps(m: int, n: int, k: int, tmp_path: Path) -> None:
    """waves × (full steps + the shorter last one), each padded to the native tile."""
    design = design_from()
    trace = matmul(m, n, k, tmp_path)
    loom = Loom(prepare(eager(trace)).classes, Machine(design).figures([DType.FP32], []))
    loom.weave()
    tile_m, tile_n, tile_k, split = loom.tiles()[0].tolist()
    assert split == 1 or split <= 4
    blocks = ceil_div(m, tile_m) * ceil_div(n, tile_n) * split
    inner = ceil_div(k, split)
    side = ceil_div(tile_m, 8) * 8 * ceil_div(tile_n, 8) * 8
    per_core_rate = 1 / 4  # FLOP per tick
    lengths = [tile_k] * (ceil_div(inner, tile_k) - 1)
    lengths.append(inner - sum(lengths))
    block_ticks = sum(int(2 * side * ceil_div(length, 8) * 8 / per_core_rate) for length in lengths)
    assert simulate(trace, design).makespan == ceil_div(blocks, 4) * block_ticks


def test_kernels_without_memory_add_up(tmp_path: Path) -> None:
    one = simulate(matmul(512, 256, 128, tmp_path), design_from()).makespan
    three = simulate(matmul(512, 256, 128, tmp_path, copies=3), design_from()).makespan
    assert three == 3 * one


def memory_design(**changes: object) -> dict[str, object]:
    """Unlimited arithmetic behind one DRAM of 1 GB/s (1000 ticks a byte)."""
    return {
        "compute__matrix": None,
        "compute__buffer_depth": 64,
        "memory__dram__bandwidth": "1 GB/s",
        "memory__dram__latency": "1 ns",
        **changes,
    }


@pytest.mark.parametrize("elements", [2**12, 2**16, 2**20])
def test_a_stream_without_arithmetic_takes_bytes_over_bandwidth_and_latency(elements: int, tmp_path: Path) -> None:
    """Loads and stores share the port; enough of them are in flight to hide every latency but the last."""
    design = design_from(**memory_design())
    result = simulate(pointwise(elements, tmp_path), design)
    moved = 2 * 4 * elements
    assert result.home_bytes == moved
    assert result.makespan == moved * 1000 + 1000


@pytest.mark.parametrize("elements", [2**12, 2**16])
def test_the_host_adds_its_launch(elements: int, tmp_path: Path) -> None:
    """… + dispatch: launch call, its way to the device, start-up."""
    design = design_from(**memory_design(host={"launch_eager": "5 us", "latency": "3 us", "start": "1 us"}))
    result = simulate(pointwise(elements, tmp_path), design)
    assert result.makespan == 2 * 4 * elements * 1000 + 1000 + 9_000_000


@pytest.mark.parametrize("elements", [2**12, 2**18])
def test_a_full_duplex_port_overlaps_loads_and_stores(elements: int, tmp_path: Path) -> None:
    """Stores follow their loads by one tile: the slower direction, one tile and two latencies."""
    design = design_from(
        **memory_design(
            memory__dram__bandwidth=None,
            memory__dram__read_bandwidth="1 GB/s",
            memory__dram__write_bandwidth="1 GB/s",
        )
    )
    result = simulate(pointwise(elements, tmp_path), design)
    tiles = int(result.program.tile_counts().sum())
    size = 4 * elements
    assert size % tiles == 0
    assert result.makespan == (size + size // tiles) * 1000 + 2 * 1000


def test_one_buffer_hides_nothing(tmp_path: Path) -> None:
    """Depth 1: every tile pays load, latency and store in turn; its store's flight overlaps the next load."""
    design = design_from(**memory_design(compute__buffer_depth=1))
    result = simulate(pointwise(2**12, tmp_path), design)
    tiles = int(result.program.tile_counts().sum())
    size = 4 * 2**12
    assert result.makespan == 2 * size * 1000 + tiles * 1000 + 1000


def test_an_infinite_cache_leaves_compulsory_traffic_only(tmp_path: Path) -> None:
    cache = {"scope": "shared", "management": "cache", "capacity": "1 GB", "bandwidth": "1 TB/s"}
    design = design_from(**memory_design(memory={
        "smem": {"scope": "core", "management": "scratchpad", "capacity": "256 KiB"},
        "l2": cache,
        "dram": {"scope": "shared", "management": "scratchpad", "capacity": "64 GB", "bandwidth": "1 GB/s"},
    }, memory__dram__latency="1 ns"))  # fmt: skip
    result = simulate(pointwise(2**16, tmp_path, chain=5), design)
    assert result.home_bytes == result.bounds.compulsory_bytes == 2 * 4 * 2**16


def test_a_tiny_cache_sends_every_intermediate_to_memory(tmp_path: Path) -> None:
    cache = {"scope": "shared", "management": "cache", "capacity": "4 KiB", "bandwidth": "1 TB/s"}
    design = design_from(**memory_design(memory={
        "smem": {"scope": "core", "management": "scratchpad", "capacity": "256 KiB"},
        "l2": cache,
        "dram": {"scope": "shared", "management": "scratchpad", "capacity": "64 GB", "bandwidth": "1 GB/s"},
    }))  # fmt: skip
    result = simulate(pointwise(2**16, tmp_path, chain=5), design)
    assert result.home_bytes == 5 * 2 * 4 * 2**16
