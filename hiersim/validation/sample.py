"""A part of a large file of measured times: so many of each class, chosen by their names alone."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Final

from hiersim.frontends.measured import Case, Measured, MeasuredTime
from hiersim.validation.rows import SHORT_S

HASHED: Final = "hiersim sample"


def sampled(measured: Measured, count: int, match: str = "") -> Measured:
    """`measured` with at most `count` cases of each class: suite, kind, dtype, below or above 50 us, cache, mode.

    A case is taken or left with all that was measured of it, by the hash of its name: neither the order of rows nor
    other cases decide, so that a larger sample contains a smaller one. Only cases whose name contains `match` count;
    what holds no operators (launches, copies between memories) stays.
    """
    classes: dict[tuple[object, ...], set[str]] = {}
    for time in measured.times:
        if match not in time.case or not measured.cases[time.case].rows:
            continue
        classes.setdefault(_class(measured.cases[time.case], time), set()).add(time.case)
    taken: set[str] = set()
    for names in classes.values():
        taken.update(sorted(names, key=_rank)[:count])
    kept = (time for time in measured.times if time.case in taken or not measured.cases[time.case].rows)
    return replace(measured, times=tuple(kept))


def _class(case: Case, time: MeasuredTime) -> tuple[object, ...]:
    return case.suite, case.kind, case.dtype, time.median_s < SHORT_S, time.cache, time.mode


def _rank(name: str) -> bytes:
    return sha256(f"{HASHED} {name}".encode()).digest()
