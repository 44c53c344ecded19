"""Is hiersim as close to an H100 as it was? `pytest tests/fidelity --regenerate` takes today's errors as the bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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

Hold = Callable[[str, dict[str, float]], None]
DATA: Final = bundled.measurements() / "h100-sxm-2026-11-27"
EACH: Final = 5
"""Operators of each class that are replayed: spread over the cases in the order of their names."""


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


@pytest.mark.parametrize("file", ["kernels.jsonl.gz", "fusion.jsonl.gz"])
def test_operators_are_no_further_off(file: str, no_further_off: Hold) -> None:
    no_further_off(file, errors_of_operators(file))


def test_models_are_no_further_off(no_further_off: Hold) -> None:
    files = ("models-compiled-2.jsonl.gz", "models-compiled.jsonl.gz", "models-eager.jsonl.gz", "models-graph.jsonl.gz")
    no_further_off("models", errors_of_models(files))
