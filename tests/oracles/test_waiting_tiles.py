"""Tiles of products on cores with one scratchpad: a buffer that is loaded also waits, so that small blocks lose."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from build import design_from, matmul
from hiersim.config.load import load_design
from hiersim.fusion.eager import eager
from hiersim.lowering.machine import Machine
from hiersim.lowering.tiling import Loom
from hiersim.lowering.workload import prepare
from hiersim.model.operators import DType
from hiersim.run import simulate


@pytest.mark.parametrize("side", [100, 320, 448, 700])
def test_where_waiting_is_all_that_takes_time_fewer_steps_follow_each_other(side: int, tmp_path: Path) -> None:
    """Loads are free but for 10 us: waves × steps is what counts, and a cut that knows no latency has more."""
    trace, turns = matmul(side, side, side, tmp_path), []
    for latency in ("0 ps", "10 us"):
        design = design_from(memory__dram__latency=latency, memory__dram__bandwidth="unlimited")
        loom = Loom(prepare(eager(trace)).classes, Machine(design).figures([DType.FP32], []))
        loom.weave()
        cut = loom.shape(0)
        turns.append(cut["waves"] * cut["steps"])
        least = cut["waves"] * cut["steps"] * 10_000_000 // int(design.compute.buffer_depth) if latency != "0 ps" else 0
        assert simulate(trace, design).makespan >= least
    assert turns[1] < turns[0]


@pytest.mark.parametrize("name", ["wse-2", "ipu-gc200"])
def test_a_few_more_rows_never_take_much_longer(name: str, tmp_path: Path) -> None:
    """Not 40 times as long as a neighbour, as on WSE-2 once: at most 1.5 times what the work grows by."""
    design = load_design(name)
    rows = (128, 192, 224, 256, 320, 384, 512)
    times = [simulate(matmul(m, 4096, 4096, tmp_path), design).makespan for m in rows]
    launch = int(design.host.launch_eager + design.host.latency + design.host.start)
    for (few, short), (many, long) in pairwise(zip(rows, times, strict=True)):
        assert long - launch <= 1.5 * many / few * (short - launch)
        assert short - launch <= 1.5 * (long - launch)
