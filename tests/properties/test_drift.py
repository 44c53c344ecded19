"""A state that drifts is followed exactly: leaps over periods that are alike but for times that change evenly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from core_work import check_events, check_gaps
from drifting_programs import balanced, two_alike
from hard_programs import HARD, almost_balanced
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreted import interpreted_engine

from hiersim.engines import compiled, reference
from hiersim.model.program import Program
from hiersim.testing.contracts import differences
from hiersim.testing.strategies import products, streams

INTERPRETED: Any = interpreted_engine()
REPEATS = next(kind for kind in INTERPRETED.stream.Stream.__mro__ if kind.__name__ == "Repeats")
DRIFT = next(kind for kind in REPEATS.__mro__ if kind.__name__ == "Drift")


@contextmanager
def always_followed() -> Iterator[list[int]]:
    """While in this block, nothing but the comparison of boundaries stands between a run and a wrong leap."""
    taken: list[int] = []
    leap = DRIFT.leap

    def counted(machine: Any, active: int, times: int) -> int:
        taken.append(times)
        return int(leap(machine, active, times))

    names, above = DRIFT.periods.__globals__, REPEATS.follow.__globals__
    with (
        patch.dict(names, LEAST_LEAP=1, PAUSE=0), patch.dict(above, LEAST_DRIFT=1, LEAST_RUN=4),
        patch.object(REPEATS, "drifting", lambda machine, saved, step: 1 + step % 3),
        patch.object(REPEATS, "same", lambda *_: 0), patch.object(DRIFT, "leap", counted),
    ):  # fmt: skip
        yield taken


@given(st.one_of(balanced(900), two_alike(900)))
def test_fast_forward_changes_nothing_where_ports_are_almost_equally_busy(program: Program) -> None:
    assert not differences(compiled.simulate(program), compiled.simulate(program, fast_forward=False))


@settings(max_examples=max(10, settings.default.max_examples // 4))
@given(st.one_of(balanced(80), two_alike(80)))
def test_the_reference_agrees(program: Program) -> None:
    assert not differences(compiled.simulate(program), reference.simulate(program))


@given(st.one_of(balanced(120), two_alike(120), products(max_tiles=120), streams(max_repeats=4, max_tiles=120)))
def test_no_leap_is_wrong_whatever_is_followed(program: Program) -> None:
    with always_followed():
        found = INTERPRETED.simulate(program)
    assert not differences(found, compiled.simulate(program, fast_forward=False))


@pytest.mark.parametrize("name", HARD)
def test_no_leap_is_wrong_in_hard_programs(name: str) -> None:
    with always_followed():
        found = INTERPRETED.simulate(HARD[name])
    assert not differences(found, compiled.simulate(HARD[name], fast_forward=False))


def test_order_lasts_as_long_as_counted() -> None:
    check_gaps(INTERPRETED)
    check_events(INTERPRETED)


def test_leaps_are_taken_and_are_most_of_a_run() -> None:
    """Three boundaries, then as many periods as keep the order of events; a run of 1,500 tiles has 20 such spans."""
    program = almost_balanced(1522)
    with always_followed() as taken:
        assert not differences(INTERPRETED.simulate(program), compiled.simulate(program, fast_forward=False))
    assert sum(taken) > 1000
    compiled.simulate(program)
    counts = compiled.last_counts()
    assert counts["stages"] + counts["stages_skipped"] == 1522 * 5
    assert counts["stages"] <= 1200, "7,615 when every tile was played"
    assert not differences(compiled.simulate(program), reference.simulate(program))


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-20, 20), st.integers(0, 40))
def test_what_grows_evenly_adds_up(first: int, step: int, change: int, periods: int) -> None:
    """A counter at three boundaries, and as many periods after them that each add `change` more than the one before."""
    values = [first, first + step, first + 2 * step + change]
    for number in range(2, periods + 2):
        values.append(values[-1] + step + number * change)
    machine = INTERPRETED.stream.Stream(HARD["work on the way"], False, True)
    assert values[2] + machine.grown(*values[:3], periods) == values[-1]
