"""What the event core does inside is counted where it runs interpreted, and held exactly (docs/mutation.md).

A change of the core that moves these numbers moves its speed or its memory. `pytest tests/properties/test_core_work.py
--regenerate` writes them anew; say in the commit what they were moved by.
"""

from __future__ import annotations

import json

import pytest
from core_work import WORK, work
from hard_programs import HARD
from interpreted import interpreted_engine

INTERPRETED = interpreted_engine()


def test_work_calls_and_room_are_as_counted(request: pytest.FixtureRequest) -> None:
    found = {name: work(INTERPRETED, program) for name, program in HARD.items()}
    if request.config.getoption("--regenerate"):
        lines = (f"{json.dumps(name)}: {json.dumps(counts)}" for name, counts in found.items())
        WORK.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    wanted = json.loads(WORK.read_text())
    for name, counts in found.items():
        assert counts == wanted[name], name
    assert found.keys() == wanted.keys()
