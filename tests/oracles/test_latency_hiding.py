"""Little's law: what bytes in flight achieve behind one port is the closed form, until the port is full.

A tile of `size` bytes holds its buffer for service + latency + one tick of arithmetic, and `depth` tiles of each core
hold one at a time: bytes in flight B = depth × tile, bandwidth = min(W, B ÷ (latency + service)).
J. D. C. Little: A proof for the queuing formula L = λW, Operations Research 9(3), 1961.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from build import design_from, trace_of
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.results import Result
from hiersim.run import simulate
from hiersim.units import TICKS_PER_SECOND

CORES = 4
BANDWIDTH = 100 * 10**9
"""Bytes per second of the one port: 10 ticks a byte."""
TILES = 4000
STREAM_SHARE = 4
"""A quarter of the nearest tier is full of loads in flight; see docs/semantics.md."""


def sum_of(elements: int, folder: Path) -> Trace:
    """A kernel that reads fp32 elements and writes one: loads and nothing else worth counting."""
    return trace_of(
        [
            {"tensor": "x", "shape": [elements], "dtype": "fp32", "role": "input"},
            {"tensor": "y", "shape": [1], "dtype": "fp32", "role": "activation", "output": True},
            {"operator": "aten.sum.default", "kind": "reduction", "dims": {"rows": 1, "columns": elements},
             "reads": ["x"], "writes": ["y"], "flops": {"vector": elements}},
        ],
        folder,
    )  # fmt: skip


def little_design(depth: int, tile: int, latency_ns: int) -> Design:
    """`depth` buffers of `tile` bytes for each core, arithmetic that takes no time to speak of, one port."""
    return design_from(
        compute__buffer_depth=depth,
        compute__matrix=None,
        compute__vector={"peak": {"fp32": "1000 PFLOP/s"}, "special": "unlimited"},
        memory__smem__capacity=f"{STREAM_SHARE * depth * tile} B",
        memory__dram__bandwidth="100 GB/s",
        memory__dram__latency=f"{latency_ns} ns",
    )


def depths(tile: int, latency_ns: int) -> list[int]:
    """From one buffer to twice what fills the port."""
    service_ns = CORES * tile * 10**9 // BANDWIDTH
    return list(range(1, 2 * (latency_ns // service_ns + 1) + 2))


CASES = [
    (tile, latency_ns, depth)
    for tile, latency_ns in ((2048, 800), (4096, 100), (1024, 300))
    for depth in depths(tile, latency_ns)
]


@pytest.mark.parametrize("engine", ["reference", "compiled"])
@pytest.mark.parametrize(("tile", "latency_ns", "depth"), CASES)
def test_bandwidth_is_bytes_in_flight_over_their_time_until_the_port_is_full(
    tile: int, latency_ns: int, depth: int, engine: str, tmp_path: Path
) -> None:
    size = TILES * CORES * tile
    result = simulate(sum_of(size // 4, tmp_path), little_design(depth, tile, latency_ns), engine_name=engine)
    assert int(result.program.tile_counts().sum()) == TILES
    assert result.home_bytes == size + 4
    in_flight = depth * CORES * tile
    service = CORES * tile / BANDWIDTH
    expected = min(BANDWIDTH, in_flight / (latency_ns * 1e-9 + service))
    achieved = size * TICKS_PER_SECOND / result.makespan
    assert achieved == pytest.approx(expected, rel=0.01)


def test_the_sweep_reaches_from_a_starved_port_to_a_full_one() -> None:
    """The oracle says something: the least depth of each case is far from the port's bandwidth, the last is at it."""
    for tile, latency_ns in {case[:2] for case in CASES}:
        service_ns = CORES * tile * 10**9 / BANDWIDTH
        deep = max(depths(tile, latency_ns)) * service_ns / (latency_ns + service_ns)
        assert service_ns / (latency_ns + service_ns) < 0.7
        assert deep >= 1


@pytest.mark.parametrize(("tile", "latency_ns"), sorted({case[:2] for case in CASES}))
def test_the_ledger_calls_it_latency_with_one_buffer_and_bandwidth_when_the_port_is_full(
    tile: int, latency_ns: int, tmp_path: Path
) -> None:
    """One buffer: latency ÷ (latency + service) of the time is latency. Enough of them: all of it is bandwidth."""
    trace = sum_of(TILES * CORES * tile // 4, tmp_path)
    service_ns = CORES * tile * 10**9 / BANDWIDTH
    one, full = (
        simulate(trace, little_design(depth, tile, latency_ns)) for depth in (1, max(depths(tile, latency_ns)))
    )
    expected = latency_ns / (latency_ns + service_ns)
    assert waited(one, "latency") == pytest.approx(expected, rel=0.01)
    assert waited(one, "bandwidth") == pytest.approx(1 - expected, rel=0.01)
    assert waited(full, "bandwidth") > 0.99


def waited(result: Result, entry: str) -> float:
    """Share of the makespan under that entry on the cores."""
    ticks = sum(row.ticks for row in result.ledger if row.engine == "cores" and row.entry == entry)
    return ticks / result.makespan
