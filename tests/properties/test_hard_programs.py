"""Law 7 on programs that random ones hardly ever are; mutants of the engine core led to them (docs/mutation.md)."""

from __future__ import annotations

import pytest
from hard_programs import HARD, PLAYED
from interpreted import interpreted_engine
from plain_engine import play

from hiersim.audit import audit
from hiersim.engines import compiled, reference
from hiersim.testing.contracts import differences, program_bounds

INTERPRETED = interpreted_engine()


@pytest.mark.parametrize("name", HARD)
def test_all_engines_agree(name: str) -> None:
    program = HARD[name]
    wanted = reference.simulate(program, keep_log=True)
    audit(program, wanted, program_bounds(program))
    assert not differences(compiled.simulate(program, keep_log=True), wanted)
    bare = reference.simulate(program)
    for fast_forward in (True, False):
        assert not differences(compiled.simulate(program, fast_forward=fast_forward), bare), fast_forward


@pytest.mark.parametrize("name", [name for name in HARD if len(HARD[name]) < 10])
def test_the_plain_engine_agrees(name: str) -> None:
    program = HARD[name]
    timeline, plain = reference.simulate(program), play(program)
    assert timeline.end.tolist() == [kernel.end for kernel in plain.kernels]
    assert timeline.busy.tolist() == plain.busy
    assert timeline.makespan == plain.makespan


@pytest.mark.parametrize("name", HARD)
def test_the_interpreted_engine_agrees(name: str) -> None:
    """Where there is no compiler the same source runs interpreted."""
    program = HARD[name]
    wanted = compiled.simulate(program)
    assert not INTERPRETED.compiled()
    for fast_forward in (True, False):
        assert not differences(INTERPRETED.simulate(program, fast_forward=fast_forward), wanted), fast_forward


@pytest.mark.parametrize("name", PLAYED)
def test_what_repeats_is_skipped(name: str) -> None:
    """Counted work, exactly: a change that moves these numbers moves the speed, and says so by new ones."""
    compiled.simulate(HARD[name])
    counts = compiled.last_counts()
    assert (counts["stages"], counts["snapshots"]) == PLAYED[name]
    assert counts["jumps"] + counts["kernels_remembered"] > 0
