"""`Timeline`: what happened when a program ran, and where every tick of it went."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from hiersim.model.operators import IntArray


class Entry(IntEnum):
    """Names of ticks in the ledger. The first three are work, the rest is waiting."""

    USEFUL = 0
    PADDING = 1
    TAIL = 2
    DISPATCH = 3
    DEPENDENCY = 4
    CAPACITY = 5
    BANDWIDTH = 6
    LATENCY = 7
    CONTENTION = 8


WORK: Final = (Entry.USEFUL, Entry.PADDING, Entry.TAIL)
BLAMED: Final = (Entry.CAPACITY, Entry.BANDWIDTH, Entry.LATENCY, Entry.CONTENTION)
"""Entries that blame a tier and have a phase."""


class LedgerPhase(IntEnum):
    """Where in its kernel a tile waits: before the first compute, between two, after the last."""

    FILL = 0
    STEADY = 1
    DRAIN = 2


ENGINES: Final = ("cores", "matrix", "vector")
"""Compute engines of the ledger; `cores` works while any unit does, and is the main one."""


def ledger_width(tiers: int) -> int:
    """Columns of a ledger for that many tiers."""
    return len(WORK) + 2 + len(BLAMED) * tiers * len(LedgerPhase)


def ledger_column(entry: Entry, tier: int = -1, phase: LedgerPhase = LedgerPhase.STEADY, *, tiers: int) -> int:
    """Column of an entry; `tier` and `phase` matter for blamed entries only."""
    if entry < Entry.CAPACITY:
        return int(entry)
    return int(Entry.CAPACITY) + ((entry - Entry.CAPACITY) * tiers + tier) * len(LedgerPhase) + int(phase)


def column_meaning(column: int, tiers: int) -> tuple[Entry, int, LedgerPhase | None]:
    """Inverse of `ledger_column`: entry, tier (-1 where none) and phase (None where none)."""
    if column < Entry.CAPACITY:
        return Entry(column), -1, None
    rest, phase = divmod(column - int(Entry.CAPACITY), len(LedgerPhase))
    kind, tier = divmod(rest, tiers)
    return Entry(int(Entry.CAPACITY) + kind), tier, LedgerPhase(phase)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StageLog:
    """Every stage that ran, in order of (kernel, tile, stage). Columns (N,)."""

    kernel: IntArray
    tile: IntArray
    stage: IntArray
    """Index into the program's stage columns."""
    request: IntArray
    grant: IntArray
    end: IntArray
    """End of the service; the data arrives `stage_latency` later."""
    buffer: IntArray
    """When the tile got its buffer."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """Times in ticks from the start of the run. K kernels, R resources."""

    engine: str
    makespan: int
    host_begin: IntArray
    """(K,) the host begins to launch the kernel."""
    launched: IntArray
    """(K,) the launch has arrived at the device."""
    ready: IntArray
    """(K,) all kernels that it needs have ended."""
    start: IntArray
    """(K,) its tiles may ask for buffers."""
    end: IntArray
    """(K,) its results have arrived."""
    busy: IntArray
    """(R,) ticks in service, per resource."""
    ledger_rows: IntArray
    """(D, engines, columns): the distinct ledgers of kernels, in the order in which kernels first have them."""
    ledger_row: IntArray
    """(K,) which of them is the kernel's."""
    log: StageLog | None = None
    """Only where the engine was asked to keep it."""

    @property
    def ledger(self) -> IntArray:
        """(engines, K, columns): ticks by engine of `ENGINES`, kernel and ledger column."""
        return self.ledger_rows[self.ledger_row].swapaxes(0, 1)

    @property
    def ledger_totals(self) -> IntArray:
        """(engines, columns): ticks of all kernels."""
        distinct, engines, columns = self.ledger_rows.shape
        counts = np.bincount(self.ledger_row, minlength=distinct)
        totals = counts @ self.ledger_rows.reshape(distinct, engines * columns)
        return np.asarray(totals.reshape(engines, columns), np.int64)


def distinct_ledgers(ledger: IntArray) -> dict[str, IntArray]:
    """The two ledger columns of a `Timeline` from a dense ledger (engines, K, columns)."""
    engines, kernels, columns = ledger.shape
    flat = np.ascontiguousarray(ledger.swapaxes(0, 1)).reshape(kernels, engines * columns)
    known: dict[bytes, int] = {}
    row = [known.setdefault(entries.tobytes(), len(known)) for entries in flat]
    rows = np.frombuffer(b"".join(known), np.int64).reshape(-1, engines, columns)
    return {"ledger_rows": rows, "ledger_row": np.array(row, np.int64)}
