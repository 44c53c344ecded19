"""What products on cores with registers and a scratchpad cost beyond their arithmetic: waves apart, narrow rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from build import design_from, matmul, trace_of
from hiersim.fusion.eager import eager
from hiersim.lowering.machine import Machine
from hiersim.lowering.tiling import Loom
from hiersim.lowering.workload import prepare
from hiersim.model.constants import Constants
from hiersim.model.design import Design
from hiersim.model.operators import DType
from hiersim.model.trace import Trace
from hiersim.results import Result
from hiersim.run import simulate
from hiersim.units import ceil_div

PEAK = {"fp32": "1 TFLOP/s", "bf16": "1 TFLOP/s"}


def gpu(**changes: object) -> Design:
    """Four cores with registers and a scratchpad."""
    core = {"scope": "core", "management": "scratchpad"}
    far = {"scope": "shared", "management": "scratchpad", "capacity": "64 GB", "bandwidth": "unlimited"}
    memory = {"registers": {**core, "capacity": "32 KiB"}, "smem": {**core, "capacity": "64 KiB"}, "dram": far}
    return design_from(memory=memory, **changes)


def shape(trace: Trace, design: Design) -> dict[str, int]:
    """How the product is cut."""
    loom = Loom(prepare(eager(trace)).classes, Machine(design).figures([DType.FP32, DType.BF16], []))
    loom.weave()
    return loom.shape(0)


def sharing(cut: dict[str, int]) -> int:
    """Blocks whose sums fit the registers of a core together."""
    return max(1, min(16, 32 * 1024 // 2 // (4 * cut["tile_m"] * cut["tile_n"])))


def with_stores(asynchronous: bool, latency: int) -> Design:
    """Loads are free but for their latency; stores pass 64 B a nanosecond."""
    return gpu(
        compute__matrix={"tile": [8, 8, 8], "peak": PEAK, "asynchronous": asynchronous},
        memory__dram__bandwidth=None, memory__dram__read_bandwidth="unlimited",
        memory__dram__write_bandwidth="64 GB/s", memory__dram__latency=f"{latency} ps",
    )  # fmt: skip


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), [(1024, 1024, 256), (2048, 512, 1024)])
def test_units_stand_still_between_waves_unless_blocks_are_asynchronous(
    m: int, n: int, k: int, asynchronous: bool, tmp_path: Path
) -> None:
    """waves × arithmetic, between two waves what neighbours on the core do not hide of a store, and the last store."""
    design = with_stores(asynchronous, 0)
    trace = matmul(m, n, k, tmp_path)
    cut = shape(trace, design)
    waves, area = cut["waves"], cut["tile_m"] * cut["tile_n"]
    assert waves > 2 and cut["blocks"] == 4 * waves and cut["split"] == 1
    arithmetic = 2 * m * n * k  # one FLOP per tick
    store = 4 * area * 4 * 1000 // 64
    assert store < arithmetic // waves
    apart = 0 if asynchronous else (waves - 1) * (store // sharing(cut))
    assert simulate(trace, design).makespan == arithmetic + apart + store


def test_between_waves_the_next_operands_arrive_as_far_as_no_neighbour_hides_it(tmp_path: Path) -> None:
    """A latency for every gap, shared by the blocks that a core holds together, and what an asynchronous core shows."""
    trace, latency = matmul(1024, 1024, 256, tmp_path), 160_000
    cut = shape(trace, with_stores(False, latency))

    def makespan(asynchronous: bool, latency: int) -> int:
        return simulate(trace, with_stores(asynchronous, latency)).makespan

    more = [makespan(asynchronous, latency) - makespan(asynchronous, 0) for asynchronous in (False, True)]
    gaps = (cut["waves"] - 1) * (latency // sharing(cut))
    assert gaps <= more[0] <= gaps + cut["waves"] * latency
    assert more[1] < more[0]


@pytest.mark.parametrize(("n", "k", "width"), [(333, 512, 2), (512, 333, 2), (514, 512, 4), (516, 512, 8)])
def test_rows_that_are_not_aligned_are_loaded_by_narrow_accesses(n: int, k: int, width: int, tmp_path: Path) -> None:
    """Per element of the inner dimension, every operand element of a block at its width, on each core."""
    fast = {"fp32": "1 PFLOP/s", "bf16": "1 PFLOP/s"}
    design = gpu(compute__matrix={"tile": [8, 8, 8], "peak": fast})
    trace = matmul(512, n, k, tmp_path, dtype="bf16")
    cut = shape(trace, design)
    rows, columns = min(cut["tile_m"], 512), min(cut["tile_n"], n)
    accesses = ceil_div((rows + columns) * 2, width)
    inner = ceil_div(k, cut["split"])
    each = ceil_div(inner, 8) * 8 * accesses * 1000 / Constants().narrow_loads  # at 1 GHz, in ticks
    waves = ceil_div(cut["blocks"], 4)
    wide = 2 * cut["tile_m"] * cut["tile_n"] * ceil_div(inner, 8) * 8 * 4 / 1000
    slower = max(each, wide)
    assert simulate(trace, design).makespan == pytest.approx(waves * slower, rel=1e-3)
    assert each > wide


def test_rows_of_sixteen_bytes_and_products_of_compiled_schedules_load_wide(tmp_path: Path) -> None:
    fast = {"fp32": "1 PFLOP/s", "bf16": "1 PFLOP/s"}
    design = gpu(compute__matrix={"tile": [8, 8, 8], "peak": fast})
    aligned = simulate(matmul(512, 520, 512, tmp_path, dtype="bf16"), design).makespan
    odd = matmul(512, 515, 512, tmp_path, dtype="bf16")
    assert simulate(odd, design).makespan > 10 * aligned
    assert simulate(odd, design, fusion="inductor-rules").makespan <= aligned


@pytest.mark.parametrize(("m", "n", "same"), [(24, 512, 64), (512, 24, 64), (1, 512, None)])
def test_batched_products_have_a_least_side(m: int, n: int, same: int | None, tmp_path: Path) -> None:
    """Both sides are padded to it, but for a product with a vector; a single product is cut as ever."""

    def makespan(m: int, n: int, batch: int, side: int | None) -> int:
        vector = {"peak": {"fp32": "1 TFLOP/s"}, "special": "unlimited", "batched_side": side}
        return simulate(
            products(batch, m, n, 256, tmp_path), gpu(compute__matrix=None, compute__vector=vector)
        ).makespan

    padded = [max(side, same or side) for side in (m, n)]
    assert makespan(m, n, 16, 64) == makespan(*padded, 16, None)
    assert same is None or makespan(m, n, 16, None) < makespan(m, n, 16, 64)
    assert makespan(m, n, 1, 64) == makespan(m, n, 1, None)


def products(batch: int, m: int, n: int, k: int, folder: Path) -> Trace:
    """`batch` products of matrices in one operator."""
    rows: list[dict[str, object]] = [
        {"tensor": "a", "shape": [batch, m, k], "dtype": "fp32", "role": "input"},
        {"tensor": "b", "shape": [batch, k, n], "dtype": "fp32", "role": "weight"},
        {"tensor": "c", "shape": [batch, m, n], "dtype": "fp32", "role": "activation", "output": True},
        {
            "operator": "aten.bmm.default", "kind": "gemm", "dims": {"batch": batch, "m": m, "n": n, "k": k},
            "reads": ["a", "b"], "writes": ["c"],
        },
    ]  # fmt: skip
    return trace_of(rows, folder)


@pytest.mark.parametrize("threads", [None, 1024])
def test_a_product_of_a_library_shows_what_it_takes_whatever_its_size(threads: int | None, tmp_path: Path) -> None:
    """Cycles before its first block, where cores run threads; at 1 GHz a cycle is 1000 ticks."""
    design = gpu(compute__matrix={"tile": [8, 8, 8], "peak": PEAK}, compute__threads=threads)
    trace = matmul(64, 64, 64, tmp_path)
    least, most = (simulate(trace, design.replace({"constants.prologue": cycles})) for cycles in (1, 1831))
    added = 0 if threads is None else 1_830_000
    assert most.makespan - least.makespan == added
    for engine in ("matrix", "cores"):  # nothing is computed meanwhile
        before, after = (named(result, engine) for result in (least, most))
        assert after.pop("dispatch", 0) - before.pop("dispatch", 0) == added
        assert after == before


@pytest.mark.parametrize(("k", "splits"), [(4096, True), (64, False)])
@pytest.mark.parametrize("threads", [None, 1024])
def test_partial_sums_are_added_up_by_a_launch_of_its_own(
    k: int, splits: bool, threads: int | None, tmp_path: Path
) -> None:
    """It takes start-up, gap, exchange and waits for the nearest tier, where a library splits the inner dimension."""
    waits = {"start_up": "1 us", "exchange": "500 ns", "threads": threads}
    design = gpu(**{f"compute__{name}": value for name, value in waits.items()}, memory__dram__latency="100 ns")
    trace = matmul(8, 8, k, tmp_path)
    assert (shape(trace, design)["split"] > 1) == splits
    before = simulate(trace, design)
    changes = {"compute.start_up": "1.1 us", "compute.exchange": "530 ns", "constants.dependent_load": 2.2}
    more = 0 if threads is None or not splits else 100_000 + 30_000 + 100_000
    slower = simulate(trace, design.replace(changes))
    assert slower.makespan - before.makespan == more + 100_000  # the kernel starts up in any case
    assert named(slower, "cores")["dispatch"] - named(before, "cores")["dispatch"] == more + 100_000


def named(result: Result, engine: str) -> dict[str, int]:
    """Ticks of one engine by name."""
    found: dict[str, int] = {}
    for row in result.ledger:
        if row.engine == engine:
            found[row.entry] = found.get(row.entry, 0) + row.ticks
    return found
