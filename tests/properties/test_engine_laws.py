"""The reference engine against an engine written a second time, and laws that need no other engine.

What every engine promises is in `hiersim.testing.contracts.EngineContract`.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_engine import play

from hiersim.audit import audit
from hiersim.engines.reference import simulate
from hiersim.errors import SimulationError
from hiersim.model.program import Access, Program, Resource
from hiersim.model.timeline import StageLog
from hiersim.testing.contracts import program_bounds
from hiersim.testing.strategies import programs, streams

TIMES = ("host_begin", "launched", "ready", "start", "end")


@settings(max_examples=max(200, settings.default.max_examples))
@given(st.one_of(programs(max_tiles=100), streams(max_tiles=100)))
def test_a_plain_loop_over_ticks_gives_the_same_times_busy_ticks_and_stage_log(program: Program) -> None:
    timeline, plain = simulate(program, keep_log=True), play(program)
    for name in TIMES:
        assert getattr(timeline, name).tolist() == [getattr(kernel, name) for kernel in plain.kernels], name
    assert timeline.makespan == plain.makespan
    assert timeline.busy.tolist() == plain.busy
    assert timeline.log is not None
    assert log_rows(timeline.log) == plain.rows


def log_rows(log: StageLog) -> list[tuple[int, ...]]:
    """(kernel, tile, stage, request, grant, end, buffer), as the plain engine writes them."""
    columns = (log.kernel, log.tile, log.stage, log.request, log.grant, log.end, log.buffer)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("depth", [1, 2, 1000])
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 120), st.integers(1, 50))
def test_uniform_tiles_take_the_closed_form(depth: int, tiles: int, load: int, latency: int, compute: int) -> None:
    """Law 8. A tile loads for `load` ticks, waits `latency`, computes for `compute` and gives its buffer back.

    One buffer: every tile alone. Enough of them: the slower of the two stages sets the pace. Two: the same while
    one tile hides the other, else pairs of tiles that take a whole chain each.
    """
    chain, slower = load + latency + compute, max(load, compute)
    if depth == 1:
        wanted = tiles * chain
    elif depth > 2 or chain <= 2 * slower:
        wanted = chain + (tiles - 1) * slower
    else:
        wanted = (tiles + 1) // 2 * chain + (slower if tiles % 2 == 0 else 0)
    assert simulate(uniform(depth, tiles, load, latency, compute)).makespan == wanted


def uniform(depth: int, tiles: int, load: int, latency: int, compute: int) -> Program:
    """One kernel of equal tiles: a load and a computation."""
    zero, one, two = (np.array([value]) for value in (0, 1, 2))
    both = np.array([0, 1])
    return Program(
        tiers=("smem", "hbm"),
        resources=(Resource(name="hbm", tier=1), Resource(name="vector", tier=-1)),
        queue=1,
        kernel_names=("stream",),
        host_ticks=zero,
        host_sync=zero,
        launch_latency=zero,
        start_ticks=zero,
        needs_ptr=np.array([0, 0]),
        needs=np.zeros(0, np.int64),
        nest=zero,
        depth=depth * one,
        buffer_tier=zero,
        loop_ptr=both,
        loop_repeat=tiles * one,
        body_ptr=both,
        body_count=one,
        body_tile=zero,
        stage_ptr=np.concatenate([zero, two]),
        release_stage=one,
        complete_stage=one,
        stage_resource=both,
        stage_access=np.array([Access.READ, Access.COMPUTE]),
        stage_ticks=np.array([load, compute]),
        stage_latency=np.array([latency, 0]),
        stage_bytes=np.array([load, 0]),
        stage_useful=np.array([0, compute]),
        stage_padding=0 * both,
        stage_tail=0 * both,
        free_bytes=np.zeros((2, 2), np.int64),
        peak_bytes=np.zeros(2, np.int64),
        flops=(0, 0),
        peak_ticks=(0, 0),
        compulsory_bytes=0,
        warnings=(),
    )


_SAMPLE = """
import sys
import hiersim as hs
for design in ("tiny", "h100-sxm"):
    print(hs.simulate(hs.load_trace(sys.argv[1]), hs.load_design(design)).to_json())
"""
ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "properties" / "sample.jsonl"
SURROUNDINGS = (
    {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C", "OMP_NUM_THREADS": "1"},
    {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "2"},
)


def test_results_do_not_depend_on_the_process_its_hash_seed_folder_or_clock(tmp_path: Path) -> None:
    """Law 12: byte-identical JSON from processes that share nothing but their inputs."""
    outputs = []
    for folder, surroundings in zip((ROOT, tmp_path), SURROUNDINGS, strict=True):
        command = [sys.executable, "-c", _SAMPLE, str(SAMPLE)]
        environment = {**os.environ, **surroundings, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, check=True)
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert outputs[0].count(b'"makespan_ticks"') == 2


@given(programs())
def test_the_audit_refuses_a_timeline_that_was_changed(program: Program) -> None:
    timeline = simulate(program, keep_log=True)
    assert timeline.log is not None
    rows = timeline.ledger_rows.copy()
    rows[timeline.ledger_row[0], 0, 0] += 1
    with pytest.raises(SimulationError, match="ledger"):
        audit(program, dataclasses.replace(timeline, ledger_rows=rows), program_bounds(program))
    if len(timeline.log.grant):
        grant = timeline.log.grant.copy()
        grant[-1] -= 1
        log = dataclasses.replace(timeline.log, grant=grant)
        with pytest.raises(SimulationError, match=r"causality|service|conservation"):
            audit(program, dataclasses.replace(timeline, log=log), program_bounds(program))
