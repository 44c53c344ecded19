"""The laws of docs/design.md sections 8, 9 and 11 on random programs, for the reference engine."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from plain_engine import play

from hiersim.audit import audit, moved_bytes
from hiersim.bounds import Bounds, critical_path, kernel_bounds
from hiersim.engines.reference import simulate
from hiersim.errors import SimulationError
from hiersim.model.program import Access, Program
from hiersim.model.timeline import ENGINES, StageLog, Timeline
from hiersim.testing.strategies import programs

TIMES = ("host_begin", "launched", "ready", "start", "end")


def bounds_of(program: Program) -> Bounds:
    """The bounds that follow from a program alone."""
    return Bounds(compute_ticks=0, link_ticks={}, critical_path_ticks=critical_path(program), compulsory_bytes=0)


@given(programs())
def test_the_audit_accepts_every_run(program: Program) -> None:
    timeline = simulate(program, keep_log=True)
    audit(program, timeline, bounds_of(program))


@given(programs())
def test_ledger_entries_are_not_negative_and_add_up_to_the_makespan_for_every_engine(program: Program) -> None:
    timeline = simulate(program)
    assert timeline.ledger.min() >= 0
    for engine, ledger in zip(ENGINES, timeline.ledger, strict=True):
        assert ledger.sum() == timeline.makespan, engine


@given(programs())
def test_the_ledger_books_every_tick_of_a_unit_as_work(program: Program) -> None:
    """Units do not overlap themselves: their work entries are their busy ticks, entry by entry."""
    timeline = simulate(program)
    counts = program.stage_counts()
    for index, engine in enumerate(ENGINES[1:], start=1):
        units = [unit for unit in program.units if program.resources[unit].name == engine]
        chosen = np.isin(program.stage_resource, units)
        for column, name in enumerate(("stage_useful", "stage_padding", "stage_tail")):
            wanted = int((getattr(program, name) * counts)[chosen].sum())
            assert timeline.ledger[index, :, column].sum() == wanted, (engine, name)


@settings(max_examples=max(200, settings.default.max_examples))
@given(programs())
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


@given(programs())
def test_bytes_of_the_stage_log_are_the_traffic_of_the_program(program: Program) -> None:
    timeline = simulate(program, keep_log=True)
    assert timeline.log is not None
    read, write = program.traffic()
    assert moved_bytes(program, timeline.log, Access.READ) == read.tolist()
    assert moved_bytes(program, timeline.log, Access.WRITE) == write.tolist()


@given(programs())
def test_no_kernel_is_faster_than_its_bound(program: Program) -> None:
    timeline = simulate(program)
    assert bool(np.all(timeline.end - timeline.start >= kernel_bounds(program)))


@given(programs())
def test_two_runs_are_equal_field_for_field(program: Program) -> None:
    one, two = simulate(program, keep_log=True), simulate(program, keep_log=True)
    assert fingerprint(one) == fingerprint(two)


def fingerprint(timeline: Timeline) -> str:
    """Every number of a timeline as text."""
    assert timeline.log is not None
    columns = [getattr(timeline, name).tolist() for name in (*TIMES, "busy", "ledger")]
    return repr((timeline.makespan, columns, log_rows(timeline.log)))


_SAMPLE = """
import hiersim as hs
print(hs.simulate(hs.load_trace("tests/properties/sample.jsonl"), hs.load_design("tiny")).to_json())
"""


def test_results_do_not_depend_on_the_hash_seed() -> None:
    root = Path(__file__).parents[2]
    outputs = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", _SAMPLE], env=environment, cwd=root, capture_output=True, text=True, check=True
        )
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert '"makespan_ticks"' in outputs[0]


@given(programs())
def test_the_audit_refuses_a_timeline_that_was_changed(program: Program) -> None:
    timeline = simulate(program, keep_log=True)
    assert timeline.log is not None
    rows = timeline.ledger_rows.copy()
    rows[timeline.ledger_row[0], 0, 0] += 1
    with pytest.raises(SimulationError, match="ledger"):
        audit(program, dataclasses.replace(timeline, ledger_rows=rows), bounds_of(program))
    if len(timeline.log.grant):
        grant = timeline.log.grant.copy()
        grant[-1] -= 1
        log = dataclasses.replace(timeline.log, grant=grant)
        with pytest.raises(SimulationError, match=r"causality|service|conservation"):
            audit(program, dataclasses.replace(timeline, log=log), bounds_of(program))
