"""Which data set a file belongs to: by its ending, its name, or the names of its columns."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from hiersim.errors import HiersimError
from hiersim.frontends import neusight
from hiersim.frontends.lines import lines
from hiersim.frontends.measured import Measured
from hiersim.frontends.published import (
    aiconfigurator,
    flashattention,
    kernelbench,
    liger,
    llmcompass,
    neusight_models,
    vidur,
)

Load = Callable[[Path], tuple[Measured, ...]]
"""Reads a file; one `Measured` for each device in it."""


class _Table(NamedTuple):
    """A data set whose CSV files are known by their columns."""

    columns: tuple[str, ...]
    load: Load


def _neusight(path: Path) -> tuple[Measured, ...]:
    return (neusight.load_neusight(path),)


_TABLES: Final = (
    _Table(neusight.NEEDED, _neusight),
    _Table(vidur.NEEDED, vidur.load),
    _Table(neusight_models.NEEDED, neusight_models.load),
    _Table(flashattention.NEEDED_TIMES, flashattention.load_times),
    _Table(flashattention.NEEDED_BYTES, flashattention.load_bytes),
    _Table(liger.NEEDED, liger.load),
    _Table(kernelbench.NEEDED, kernelbench.load),
)
CSV: Final = (".csv", ".csv.gz")


def published(path: Path) -> Load | None:
    """What reads `path`; None where no known data set has such files."""
    if path.name.endswith(aiconfigurator.ENDING):
        return aiconfigurator.load
    if not path.name.endswith(CSV):
        return None
    if llmcompass.NAME.fullmatch(path.name):
        return llmcompass.load
    names = _first_line(path)
    return next((table.load for table in _TABLES if names.issuperset(table.columns)), None)


def _first_line(path: Path) -> set[str]:
    """Names of the columns; none where there are none to read."""
    try:
        return {name.strip() for name in next(csv.reader(islice(lines(path, str(path)), 1)), [])}
    except (OSError, EOFError, zlib.error, csv.Error, HiersimError):
        return set()
