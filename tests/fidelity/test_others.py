"""Is hiersim as close as it was to a second card, to compiled operators, and to what compilation gains?

`pytest tests/fidelity --regenerate` takes today's errors as the bar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from benchmarks.fidelity_history import PAGE, ROOT, table_of
from hiersim import bundled
from hiersim.config.load import load_design
from hiersim.frontends.measured import Measured, load_measured
from hiersim.validation.accuracy import Pair, accuracy
from hiersim.validation.operators import replay_operators, why_not
from hiersim.validation.protocol import CLOCKS
from hiersim.validation.rows import OperatorRow, Skips
from hiersim.validation.sample import sampled
from hiersim.validation.validate import Validation

Hold = Callable[[str, dict[str, float]], None]
EACH: Final = 2
"""Operators of each class of the second card."""


def rows_of(measured: Measured, design: str) -> list[OperatorRow]:
    skips = Skips()
    times = tuple(
        time for time in measured.times if not why_not(measured.cases[time.case], time.mode, time.cache)
    )  # fmt: skip
    found = replay_operators(
        replace(measured, times=times), load_design(design), CLOCKS, "", skips, lambda *told: None
    )  # fmt: skip
    rows = list(found)
    assert skips.counts == {}, "an operator can no longer be replayed"
    return rows


def errors(named: Iterable[tuple[str, Pair]]) -> dict[str, float]:
    found: dict[str, list[Pair]] = {}
    for name, pair in named:
        found.setdefault(name, []).append(pair)
    return {name: round(accuracy(pairs).mape, 4) for name, pairs in sorted(found.items())}


def test_a_second_card_is_no_further_off(no_further_off: Hold) -> None:
    measured = load_measured(bundled.measurements() / "h200-sxm-2026-11-27" / "kernels.jsonl.gz")
    rows = rows_of(sampled(measured, EACH), "h200-sxm")
    no_further_off("H200", errors((f"{row.suite}: {row.kind}, {row.cache}", row.pair) for row in rows))


def test_compiled_operators_are_no_further_off_nor_are_their_gains(
    no_further_off: Hold,
) -> None:
    rows = rows_of(load_measured(bundled.measurements() / "h100-sxm-2026-11-27" / "fusion.jsonl.gz"), "h100-sxm")
    compiled = [row for row in rows if row.mode == "compiled"]
    gains = Validation(files=(), dates=(), version="", operators=tuple(rows)).speed_ups
    found = errors((row.group, row.pair) for row in compiled) | errors(("gain", row.pair) for row in gains)
    no_further_off("compiled", found)


def test_the_history_finds_the_table_of_the_page() -> None:
    counts, found = table_of((ROOT / PAGE).read_text())
    assert set(counts) == set(found) > {"gemm", "reduction", "all"}
    assert sum(count for suite, count in counts.items() if suite != "all") == counts["all"]
