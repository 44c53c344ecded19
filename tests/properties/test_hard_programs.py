"""Law 7 on programs that random ones hardly ever are; mutants of the engine core led to them (docs/mutation.md)."""

from __future__ import annotations

import pytest
from hard_programs import HARD
from plain_engine import play

from hiersim.audit import audit
from hiersim.engines import compiled, reference
from hiersim.testing.contracts import differences, program_bounds


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
