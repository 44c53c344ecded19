"""Every registered engine keeps its promise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings

from hiersim.engines import reference
from hiersim.errors import SimulationError
from hiersim.model.program import Program
from hiersim.model.timeline import Timeline
from hiersim.run import engines
from hiersim.testing.contracts import EngineContract, differences
from hiersim.testing.strategies import programs

ENGINES = engines()

for _name, _simulate in ENGINES.items():
    _title = f"Test{_name.title().replace('-', '')}"
    globals()[_title] = type(_title, (EngineContract,), {"simulate": staticmethod(_simulate), "__module__": __name__})


def test_the_reference_is_registered_and_each_engine_has_its_suite() -> None:
    assert "reference" in ENGINES
    suites = [value for name, value in globals().items() if name.startswith("Test") and value.simulate]
    assert [suite.simulate for suite in suites] == list(ENGINES.values())


class Late(EngineContract):
    """An engine that ends one tick late; its name keeps pytest from collecting it."""

    @staticmethod
    def simulate(program: Program, *, keep_log: bool = False) -> Timeline:
        timeline = reference.simulate(program, keep_log=keep_log)
        return dataclasses.replace(timeline, makespan=timeline.makespan + 1)


LAWS = (
    "test_the_audit_accepts_every_run",
    "test_every_field_equals_the_reference",
    "test_the_ledger_adds_up_and_books_every_tick_of_a_unit_as_work",
)


@pytest.mark.parametrize("law", LAWS)
@settings(max_examples=5)
@given(programs(max_kernels=2))
def test_the_suite_refuses_an_engine_that_is_wrong(law: str, program: Program) -> None:
    with pytest.raises((AssertionError, SimulationError)):
        getattr(EngineContract, law).hypothesis.inner_test(Late(), program)


@settings(max_examples=20)
@given(programs(max_kernels=2))
def test_differences_are_found_in_every_field(program: Program) -> None:
    timeline = reference.simulate(program, keep_log=True)
    for item in dataclasses.fields(timeline):
        value = getattr(timeline, item.name)
        if isinstance(value, np.ndarray):
            changed = [value + 1, value.astype(np.int32), value[..., None]]
        elif isinstance(value, int):
            changed = [value + 1, float(value)]
        else:
            continue
        for other in changed:
            found = differences(timeline, dataclasses.replace(timeline, **{item.name: other}))
            assert [line.split("[")[0].split(":")[0] for line in found] == [item.name]
    assert differences(timeline, dataclasses.replace(timeline, log=None)) == ["log: kept by one only"]
