"""The ledger of a run in words: rows of its entries, by engine."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from hiersim.model.operators import IntArray
from hiersim.model.timeline import ENGINES, WORK, column_meaning, ledger_width

MAIN_ENGINE: Final = "cores"


class LedgerRow(NamedTuple):
    """Ticks of one name on one engine."""

    engine: str
    entry: str
    tier: str | None
    phase: str | None
    ticks: int


def ledger_rows(tiers: tuple[str, ...], totals: IntArray) -> Iterable[LedgerRow]:
    """Entries with ticks, in the order of the engines and of the ledger's columns; see `Timeline.ledger_totals`."""
    names = _column_names(tiers)
    for engine, row in zip(ENGINES, totals.tolist(), strict=True):
        for name, ticks in zip(names, row, strict=True):
            if ticks:
                yield LedgerRow(engine, *name, ticks)


def stall_fraction(totals: IntArray, makespan: int) -> float:
    """Share of the makespan in which the cores wait."""
    if not makespan:
        return 0.0
    return 1 - int(totals[ENGINES.index(MAIN_ENGINE), : len(WORK)].sum()) / makespan


@lru_cache(maxsize=64)
def _column_names(tiers: tuple[str, ...]) -> tuple[tuple[str, str | None, str | None], ...]:
    """Entry, tier and phase of each ledger column, in words."""
    meanings = [column_meaning(column, len(tiers)) for column in range(ledger_width(len(tiers)))]
    return tuple(
        (
            entry.name.lower(),
            tiers[tier] if tier >= 0 else None,
            phase.name.lower() if phase is not None else None,
        )
        for entry, tier, phase in meanings
    )
