"""Results as `run --json` and `compare --json` wrote them, read back and checked before a word is said about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hiersim.errors import HiersimError
from hiersim.model.timeline import Entry
from hiersim.results import MAIN_ENGINE, SCHEMA

MOST_BYTES: Final = 256 * 10**6
"""A file of results is thousands of times smaller."""
INSIDE: Final = "results.json"
"""What `hiersim demo` leaves in its folder."""

Whole = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
Share = Annotated[float, Field(ge=0, le=1.0001, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=4096)]


class _Form(BaseModel):
    """Keys that are not asked for are kept: the form may grow."""

    model_config = ConfigDict(extra="allow", frozen=True)


class _LedgerRow(_Form):
    engine: Name
    entry: Literal[
        "useful", "padding", "tail", "dispatch", "dependency", "capacity", "bandwidth", "latency", "contention"
    ]
    tier: Name | None
    phase: Name | None
    ticks: Whole


class _Moved(_Form):
    read: Whole
    write: Whole


class _Bounds(_Form):
    compute_ticks: Whole
    link_ticks: dict[Name, Whole]
    critical_path_ticks: Whole
    compulsory_bytes: Whole


class _Placed(_Form):
    tier: Name
    role: Name
    tensors: Whole
    bytes: Whole


class _Saved(_Form):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    trace: Name
    design: Name
    fusion: Name
    launch: Name = "stream"
    engine: Name
    version: Name
    inputs_sha256: Name
    set: dict[Name, Name] = {}
    makespan_ticks: Whole
    time_s: Amount
    operators: Whole
    kernels: Whole
    tiles: Whole
    flops: dict[Name, Whole]
    utilization: dict[Name, Amount]
    stall_fraction: Share
    ledger: list[_LedgerRow]
    home_tier: Name
    traffic_bytes: dict[Name, _Moved]
    peak_bytes: dict[Name, Whole]
    bounds: _Bounds
    memory_cost_usd: dict[Name, Amount | None]
    energy_j: dict[Name, Amount | None]
    placement: list[_Placed] = []
    warnings: list[Name] = []


assert SCHEMA == 1 and len(Entry) == 9  # what the form above says of them

Facts = Mapping[str, Any]


def read_results(path: Path) -> list[Facts]:
    """The results in a file, or in the `results.json` of a folder.

    Raises
    ------
    HiersimError
        A file that cannot be read, is no JSON, or holds no results; a ledger that does not add up.
    """
    file = path / INSIDE if path.is_dir() else path
    document = _document(file)
    rows = document.get("rows", [document]) if isinstance(document, dict) else None
    if not isinstance(rows, list) or not rows:
        raise HiersimError("holds no results", file=str(file), expected="what 'hiersim compare --json' prints")
    return [checked(row, str(file), "" if len(rows) == 1 else f"rows.{index}") for index, row in enumerate(rows)]


def _document(file: Path) -> Any:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise HiersimError("is too large", file=str(file), expected=f"at most {MOST_BYTES // 10**6} MB of results")
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise HiersimError(
            f"cannot be read: {error.strerror}",
            file=str(file),
            expected="results that 'hiersim compare --json' printed",
        ) from None
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 faults are values that make no sense
        line = getattr(error, "lineno", None)
        raise HiersimError("is not JSON", file=str(file), line=line, expected="a JSON object of results") from None


def checked(row: Any, file: str, where: str) -> Facts:
    """A result, when it has the form of one and its ledger adds up; `where` in the file it stands is for the error."""
    try:
        _Saved.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(step) for step in (where, *first["loc"]) if step != "")
        raise HiersimError(
            f"is no result: {first['msg'][:1].lower()}{first['msg'][1:]}", file=file, key=key or None,
            expected="what 'hiersim run --json' prints",
        ) from None  # fmt: skip
    total = sum(entry["ticks"] for entry in row["ledger"] if entry["engine"] == MAIN_ENGINE)
    if total != row["makespan_ticks"]:
        raise HiersimError(
            f"the ledger of the cores adds up to {total} ticks", file=str(file), key=f"{where}.ledger".lstrip("."),
            expected=f"the makespan, {row['makespan_ticks']}",
        )  # fmt: skip
    facts: Facts = row
    return facts
