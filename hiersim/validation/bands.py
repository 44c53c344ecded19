"""Bands from a validation: what `hiersim.error_bands` reads, with where the figures are from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from statistics import median
from typing import Any, Final

from hiersim.error_bands import (
    MODES,
    POOL,
    SHORT_TICKS,
    TYPED,
    VERSION,
    Band,
    Whole,
    class_name_of,
    error_of,
    worst_of,
)
from hiersim.model.operators import DType, Kind
from hiersim.units import TICKS_PER_SECOND
from hiersim.validation.accuracy import Pair, accuracy
from hiersim.validation.devices import BLIND
from hiersim.validation.rows import ModelRow
from hiersim.validation.validate import Validation

LEAST: Final = 3
"""A class with fewer rows has no band of its own."""
COVERAGE: Final = 0.8
"""Share of models that a band shall hold: with some twenty measured runs more can hardly be told."""
BUSY: Final = 0.6
"""Models whose device worked for a larger share of the time say little of the host."""


def bands_of(validation: Validation) -> tuple[Band, ...]:
    """Errors per design and class, and of all designs together; a class by what the replay takes."""
    found: dict[tuple[str, str], list[Pair]] = {}
    for design, name, pair in _pairs(validation):
        for where in (design, POOL):
            found.setdefault((where, name), []).append(pair)
    return tuple(
        _band(design, name, pairs) for (design, name), pairs in sorted(found.items()) if len(pairs) >= LEAST
    )  # fmt: skip


def bands_text(validation: Validation) -> str:
    """The file of bands; the same validation gives the same bytes."""
    head: dict[str, Any] = {
        "version": VERSION,
        "hiersim": validation.version,
        "files": list(validation.files),
        "measured_on": list(validation.dates),
        "machines": [list(machine) for machine in validation.machines],
    }
    head["hosts"] = hosts_of(validation)
    whole = whole_of(validation)
    head["whole"] = None if whole is None else asdict(whole)
    rows = ",\n  ".join(json.dumps(asdict(_rounded(band))) for band in bands_of(validation))
    return f'{json.dumps(head, indent=1)[:-2]},\n "bands": [\n  {rows}\n ]\n}}\n'


def whole_of(validation: Validation) -> Whole | None:
    """What models ask for beyond the errors of their operators; None where too few were measured to tell.

    Of n runs the factor is the ceil((n + 1) x coverage)-th smallest of their errors, each over the sum of its classes'
    errors. Runs of devices that nothing is chosen on are left out, so that the coverage can be checked there.
    """
    table = {(band.design, band.name): band for band in bands_of(validation)}
    runs = [row for row in validation.models if row.device not in BLIND and row.parts] if table else []
    scores = sorted(score_of(table, row) for row in runs)
    rank = math.ceil((len(scores) + 1) * COVERAGE)
    if not 0 < rank <= len(scores):
        return None
    return Whole(coverage=COVERAGE, n=len(scores), factor=math.ceil(100 * scores[rank - 1] - 1e-9) / 100)


def score_of(table: Mapping[tuple[str, str], Band], row: ModelRow) -> float:
    """How far off a model's kernels are, in sums of their classes' errors: below the factor, the band holds it."""
    known = [(part.share, error_of(table, row.design, part.name) or worst_of(table)) for part in row.parts]
    relative = math.fsum(share * band.mape for share, band in known)
    error = abs(1 / row.device_time.ratio - 1)  # the band lies around the prediction
    return error / relative if relative else math.inf


def _pairs(validation: Validation) -> Iterator[tuple[str, str, Pair]]:
    """Design, class, and prediction beside measurement of single kernels."""
    kinds = {kind.name.lower(): kind for kind in Kind}
    for row in validation.operators:
        if row.kernels == 1 and row.kind in kinds:
            kind = Kind.ATTENTION if row.kind == "flash" else kinds[row.kind]
            dtype = DType[row.dtype.upper()] if kind in TYPED else None
            short = row.pair.predicted * TICKS_PER_SECOND < SHORT_TICKS
            yield row.design, class_name_of(kind, dtype, short), row.pair


def hosts_of(validation: Validation) -> list[dict[str, Any]]:
    """Seconds per launch of measured models that the host decided: their median, by who launched."""
    found: dict[str, list[float]] = {mode: [] for mode in MODES}
    for row in validation.models:
        if row.mode in found and row.device_time.measured < BUSY * row.wall.measured:
            found[row.mode].append(row.wall.measured / row.launches)
    return [
        {"mode": mode, "n": len(seconds), "launch_s": float(f"{median(seconds):.3g}")}
        for mode, seconds in found.items()
        if seconds
    ]


def _band(design: str, name: str, pairs: list[Pair]) -> Band:
    errors = accuracy(pairs)
    times = [pair.predicted for pair in pairs]
    return Band(
        design=design, name=name, n=errors.n, mape=errors.mape, p90=errors.p90, geo=errors.geo, shortest_s=min(times),
        longest_s=max(times),
    )  # fmt: skip


def _rounded(band: Band) -> Band:
    """Three digits: more would say that the last ones mean something."""
    values = {name: float(f"{getattr(band, name):.3g}") for name in ("mape", "p90", "geo", "shortest_s", "longest_s")}
    return Band(design=band.design, name=band.name, n=band.n, **values)
