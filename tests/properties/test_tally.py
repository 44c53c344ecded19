"""Sums of a program in one pass equal those over its unrolled tiles, sums of ledgers those of all kernels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from interpreted import interpreted

from hiersim import tally as compiled
from hiersim.bounds import critical_path, kernel_bounds
from hiersim.model.operators import IntArray
from hiersim.model.program import Access, Program
from hiersim.model.timeline import Timeline
from hiersim.testing.strategies import programs

INTERPRETED = interpreted(compiled)


def unrolled(program: Program) -> tuple[list[list[int]], list[int]]:
    """Bytes read and written by tier, and the least ticks of each kernel, tile by tile."""
    moved = program.free_bytes.tolist()
    least = []
    for kernel in range(len(program)):
        busy = [0] * len(program.resources)
        first = 0
        for number, tile in enumerate(program.tiles(kernel)):
            low, high = int(program.stage_ptr[tile]), int(program.stage_ptr[tile + 1])
            awaited = range(low, min(high, low + int(program.complete_stage[tile]) + 1))
            for stage in awaited:
                busy[program.stage_resource[stage]] += int(program.stage_ticks[stage])
                first += int(program.stage_ticks[stage] + program.stage_latency[stage]) if number == 0 else 0
            for stage in range(low, high):
                tier, access = program.resources[program.stage_resource[stage]].tier, program.stage_access[stage]
                if tier >= 0 and access != Access.COMPUTE:
                    moved[0 if access == Access.READ else 1][tier] += int(program.stage_bytes[stage])
        least.append(max(first, *busy))
    return moved, least


def longest(program: Program, least: list[int]) -> int:
    """The longest chain, by its definition."""
    finish: list[int] = []
    called = 0
    for kernel, own in enumerate(least):
        called += int(program.host_ticks[kernel])
        needs = program.needs[program.needs_ptr[kernel] : program.needs_ptr[kernel + 1]].tolist()
        ready = max([called + int(program.launch_latency[kernel]), *(finish[need] for need in needs)])
        finish.append(ready + int(program.start_ticks[kernel]) + own)
    return max(finish, default=0)


@given(programs())
def test_sums_and_chains_equal_those_of_the_unrolled_program(program: Program) -> None:
    moved, least = unrolled(program)
    path = longest(program, least)
    for module in (compiled, INTERPRETED):
        sums = module.tally(program)
        assert [sums.read.tolist(), sums.write.tolist()] == moved
        assert sums.least[program.nest].tolist() == least
        assert module.longest_chain(program, sums.least) == path
    assert [part.tolist() for part in program.traffic()] == moved
    assert program.tile_total() == sum(1 for kernel in range(len(program)) for _ in program.tiles(kernel))
    assert kernel_bounds(program).tolist() == least
    assert critical_path(program) == path


@given(programs())
def test_columns_that_may_not_be_written_are_read_all_the_same(program: Program) -> None:
    before = compiled.tally(program)
    program.stage_ticks.flags.writeable = False
    after = compiled.tally(program)
    assert np.array_equal(before.least, after.least)


def with_ledgers(rows: IntArray, row: list[int]) -> Timeline:
    """A timeline of kernels with these ledgers."""
    none = np.zeros(len(row), np.int64)
    return Timeline(
        engine="none", makespan=0, host_begin=none, launched=none, ready=none, start=none, end=none, busy=none,
        ledger_rows=rows, ledger_row=np.array(row, np.int64),
    )  # fmt: skip


@given(st.data(), st.integers(1, 4), st.integers(1, 9))
def test_sums_of_ledgers_equal_those_of_all_kernels(data: st.DataObject, distinct: int, columns: int) -> None:
    entries = st.lists(st.integers(0, 2**40), min_size=distinct * 3 * columns, max_size=distinct * 3 * columns)
    rows = np.array(data.draw(entries), np.int64).reshape(distinct, 3, columns)
    row = data.draw(st.lists(st.integers(0, distinct - 1), max_size=12))
    timeline = with_ledgers(rows, row)
    wrong = rows.copy()
    wrong[data.draw(st.integers(0, distinct - 1)), 1, data.draw(st.integers(0, columns - 1))] = -1
    for module in (compiled, INTERPRETED):
        sums = module.ledger_sums(timeline)
        assert sums == timeline.ledger.sum(axis=(1, 2)).tolist()
        assert module.ledger_sums(with_ledgers(wrong, row)) == [sums[0], -1, sums[2]]
        for nowhere in (-1, distinct):
            assert module.ledger_sums(with_ledgers(rows, [*row, nowhere])) == [-1, -1, -1]
