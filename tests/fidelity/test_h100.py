"""Is hiersim as close to an H100 as it was? `pytest tests/fidelity --regenerate` takes today's errors as the bar."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from hiersim import bundled
from hiersim.config.load import load_design
from hiersim.frontends.measured import Measured, MeasuredTime, load_measured
from hiersim.measure.constants import host_constants
from hiersim.validation.accuracy import Pair, accuracy
from hiersim.validation.models import replay_models
from hiersim.validation.operators import chosen_times, replay_operators, why_not
from hiersim.validation.protocol import CLOCKS
from hiersim.validation.rows import SHORT_S, Skips

BAR: Final = Path(__file__).with_suffix(".json")
DATA: Final = bundled.measurements() / "h100-sxm-2026-11-27"
EACH: Final = 5
"""Operators of each class that are replayed: spread over the cases in the order of their names."""
SLACK: Final = 0.02
"""How much further off a class may be than the bar, as a part of what was measured: 2 points."""


def silent(name: str, done: int, count: int) -> None:
    """No progress."""


def sample(measured: Measured) -> Measured:
    """A few times of every class; the choice depends on the file alone."""
    classes: dict[tuple[Any, ...], list[MeasuredTime]] = {}
    for (name, mode, cache), time in sorted(chosen_times(measured).items()):
        case = measured.cases[name]
        if time is not None and mode == "eager" and not why_not(case, mode, cache):
            classes.setdefault((case.suite, case.kind, time.median_s < SHORT_S, cache), []).append(time)
    picked: list[MeasuredTime] = []
    for times in classes.values():
        count = min(EACH, len(times))
        picked += [times[len(times) * i // count] for i in range(count)]
    return replace(measured, times=tuple(picked))


def errors_of_operators(file: str) -> dict[str, float]:
    found: dict[str, list[Pair]] = {}
    skips = Skips()
    for row in replay_operators(sample(load_measured(DATA / file)), load_design("h100-sxm"), CLOCKS, "", skips, silent):
        found.setdefault(f"{row.suite}: {row.group}", []).append(row.pair)
    assert skips.counts == {}, "an operator can no longer be replayed"
    return {name: round(accuracy(pairs).mape, 4) for name, pairs in sorted(found.items())}


def errors_of_models(files: tuple[str, ...]) -> dict[str, float]:
    host = host_constants(load_measured(DATA / "kernels.jsonl.gz"))
    found: dict[str, list[Pair]] = {}
    skips = Skips()
    for file in files:
        for row in replay_models(load_measured(DATA / file), load_design("h100-sxm"), host, "", skips, silent):
            found.setdefault(f"{row.mode}, kernels alone", []).append(row.device_time)
            found.setdefault(f"{row.mode}, end to end", []).append(row.wall)
    assert skips.counts == {}, "a model can no longer be replayed"
    return {name: round(accuracy(pairs).mape, 4) for name, pairs in sorted(found.items())}


def check(key: str, found: dict[str, float], request: pytest.FixtureRequest) -> None:
    bar = json.loads(BAR.read_text()) if BAR.exists() else {}
    if request.config.getoption("--regenerate"):
        bar[key] = found
        BAR.write_text(json.dumps(bar, sort_keys=True, indent=1) + "\n")
    assert set(found) == set(bar[key])
    further = {name: (error, bar[key][name]) for name, error in found.items() if error > bar[key][name] + SLACK}
    assert not further, "MAPE now and before: further from what an H100 was measured to take"


@pytest.mark.parametrize("file", ["kernels.jsonl.gz", "fusion.jsonl.gz"])
def test_operators_are_no_further_off(file: str, request: pytest.FixtureRequest) -> None:
    check(file, errors_of_operators(file), request)


def test_models_are_no_further_off(request: pytest.FixtureRequest) -> None:
    files = ("models-compiled-2.jsonl.gz", "models-compiled.jsonl.gz", "models-eager.jsonl.gz", "models-graph.jsonl.gz")
    check("models", errors_of_models(files), request)
