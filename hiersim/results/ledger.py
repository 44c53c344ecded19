"""The ledger of a run in words: rows of its entries, by engine."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from hiersim.model.timeline import ENGINES, Timeline, column_meaning, ledger_width

MAIN_ENGINE: Final = "cores"


class LedgerRow(NamedTuple):
    """Ticks of one name on one engine."""

    engine: str
    entry: str
    tier: str | None
    phase: str | None
    ticks: int


def ledger_rows(tiers: tuple[str, ...], timeline: Timeline) -> Iterable[LedgerRow]:
    """Entries with ticks, in the order of the engines and of the ledger's columns."""
    names = _column_names(tiers)
    for engine, totals in zip(ENGINES, timeline.ledger_totals.tolist(), strict=True):
        for name, ticks in zip(names, totals, strict=True):
            if ticks:
                yield LedgerRow(engine, *name, ticks)


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
