"""One result as one flat row of columns, and back: what a table can hold, losing nothing.

A column is named by the keys that lead to it in the JSON form (`traffic_bytes.hbm.read`); entries of the ledger by
engine, entry, tier and phase (`ledger.cores.bandwidth.hbm.steady`). Lists without a fixed form are kept as JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from hiersim.errors import HiersimError, one_line
from hiersim.model.metrics import METRICS
from hiersim.model.timeline import ENGINES, Entry, LedgerPhase

Row = dict[str, Any]
POINT: Final = "point"
"""Number of a row's point in its grid."""
ERROR, ERROR_CLASS = "error", "error_class"
"""What a point that could not be run says instead of figures."""
RAN: Final = {"trace": "result.trace", "fusion": "result.fusion"}
"""Keys of a result that an axis has as well: the axis says what was asked for, these say what was run."""
JSON_TEXT: Final = ("placement", "measured", "error_band", "warnings")
FLOAT: Final = (
    "time_s", "utilization", "stall_fraction", "bandwidth_share", "memory_cost_usd", "energy_j", "cost", "silicon",
)  # fmt: skip
TEXT: Final = (
    "result", "engine", "version", "inputs_sha256", "launch", "home_tier", ERROR, ERROR_CLASS, *JSON_TEXT,
)  # fmt: skip
"""First keys of columns of numbers with a fraction, and of text; the rest are whole numbers."""
TEXT_COLUMNS: Final = ("peak_memory.kernel_name", "cost.basis", "cost.item_unit", "silicon.process")
WHOLE_COLUMNS: Final = ("cost.items", "silicon.sram_bytes")
"""Columns that differ from others of their key."""
NULLABLE: Final = ("memory_cost_usd", "energy_j", "cycles", "cost")
"""Where a result says null: the design gives no figure. Elsewhere an empty cell is a key that the result lacks."""
SILICON: Final = "silicon"
"""A table of a result, or null where the node of the design is unknown: then it has no columns."""
LEFT_OUT: Final = ("schema", "design", "set")
"""Keys that the sweep knows by itself."""
SEPARATOR: Final = "."


_COMPACT: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def flat(result: Mapping[str, Any]) -> Row:
    """The JSON form of a result as one row."""
    row: Row = {}
    for key, value in result.items():
        if key in LEFT_OUT or (key == SILICON and value is None):
            continue
        if key == "ledger":
            for entry in value:
                row[_ledger_column(entry["engine"], entry["entry"], entry["tier"], entry["phase"])] = entry["ticks"]
        elif key in JSON_TEXT:
            row[key] = _COMPACT(value)
        elif isinstance(value, dict):
            _spread(row, key, value)
        else:
            row[RAN.get(key, key)] = value
    return row


def _spread(row: Row, path: str, table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        name = f"{path}{SEPARATOR}{key}"
        if isinstance(value, dict):
            _spread(row, name, value)
        else:
            row[name] = value


@lru_cache(maxsize=4096)
def _ledger_column(engine: str, entry: str, tier: str | None, phase: str | None) -> str:
    """The column of a ledger entry: engine, entry, and the tier and phase to blame where there are any."""
    return SEPARATOR.join(part for part in ("ledger", engine, entry, tier, phase) if part is not None)


def failed(error: HiersimError) -> Row:
    """The row of a point that could not be run."""
    return {ERROR: one_line(str(error)), ERROR_CLASS: type(error).__name__}


def expanded(row: Mapping[str, Any], places: Iterable[str]) -> dict[str, Any]:
    """The JSON form that `flat` made a row of, but for the keys that the sweep knows by itself.

    Parameters
    ----------
    row : mapping
        Columns and cells; None where a cell is empty.
    places : iterable of str
        Tiers and links of the row's design, nearest first.
    """
    names = {column: key for key, column in RAN.items()}
    result: dict[str, Any] = {}
    ledger: list[dict[str, Any]] = []
    for column, value in row.items():
        key = column.partition(SEPARATOR)[0]
        if value is None and not (key in NULLABLE and _has(row, column)):
            continue
        if key == "ledger":
            ledger += [_ledger_entry(column, value)] if value else []  # a table says zero, a result says nothing
        elif column in JSON_TEXT:
            result[column] = json.loads(value)
        elif column in names:
            result[names[column]] = value
        else:
            _put(result, column.split(SEPARATOR), value)
    if ERROR not in result:
        order = {place: rank for rank, place in enumerate(places)}
        result["ledger"] = sorted(ledger, key=lambda entry: _ledger_rank(entry, order))
        result.setdefault(SILICON, None)
    return result


def _has(row: Mapping[str, Any], column: str) -> bool:
    """True where the result of `row` has this key, though it says null: its design has the tier or link."""
    if row.get(ERROR) is not None:
        return False
    key, _, name = column.partition(SEPARATOR)
    if key == "memory_cost_usd":
        return name == "total" or row.get(f"peak_bytes.{name}") is not None
    if key == "energy_j":
        return name in ("total", "compute") or row.get(f"traffic_bytes.{name}.read") is not None
    return True


def _put(result: dict[str, Any], steps: list[str], value: Any) -> None:
    for step in steps[:-1]:
        result = result.setdefault(step, {})
    result[steps[-1]] = value


def _ledger_entry(column: str, ticks: int) -> dict[str, Any]:
    _, engine, entry, *blamed = column.split(SEPARATOR)
    tier, phase = blamed if blamed else (None, None)
    return {"engine": engine, "entry": entry, "tier": tier, "phase": phase, "ticks": ticks}


def _ledger_rank(entry: Mapping[str, Any], places: Mapping[str, int]) -> tuple[int, ...]:
    """Where an entry stands in a result: by engine, then in the order of the ledger's columns."""
    blamed = (places[entry["tier"]], int(LedgerPhase[entry["phase"].upper()])) if entry["tier"] else ()
    return (ENGINES.index(entry["engine"]), int(Entry[entry["entry"].upper()]), *blamed)


def kind_of(column: str) -> type:
    """`int`, `float` or `str`: what a column of results holds."""
    key = column.partition(SEPARATOR)[0]
    if key in TEXT or column in TEXT_COLUMNS:
        return str
    return float if key in FLOAT and column not in WHOLE_COLUMNS else int


def word_of(column: str) -> str:
    """The word of the glossary that says what a column of results is."""
    if column in RAN.values():
        return column.partition(SEPARATOR)[2]
    for part in column.split(SEPARATOR)[:2]:
        if part in METRICS and METRICS[part].unit != "-":
            return part
    return column.partition(SEPARATOR)[0]


def unit_of(column: str) -> str:
    """Unit of a column of results; empty for text and plain numbers."""
    word = METRICS.get(word_of(column))
    unit = word.unit if word else ""
    return "ps" if unit == "ticks" else "" if unit == "-" or kind_of(column) is str else unit


def ordered(columns: Iterable[str]) -> list[str]:
    """Columns of results in the order of the glossary, of one word as they came."""
    ranks = {word: rank for rank, word in enumerate(METRICS)}
    last = {ERROR: len(ranks) + 1, ERROR_CLASS: len(ranks) + 2}

    def rank(column: str) -> int:
        if column in last:
            return last[column]
        key = RAN_KEYS.get(column, column).partition(SEPARATOR)[0]
        return ranks.get(key, len(ranks))

    return sorted(columns, key=rank)


RAN_KEYS: Final = {column: key for key, column in RAN.items()}
