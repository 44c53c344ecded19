"""Thousands of seeded mutants of a small sound trace: either it is read, or a `TraceError` of one line comes out."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_traces import entries_of, good_rows, npy

from hiersim.config.load import load_design
from hiersim.errors import HiersimError, TraceError
from hiersim.frontends.load import load_trace
from hiersim.fusion.eager import eager
from hiersim.lowering.lower import lower
from hiersim.run import simulate

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 65, 2**31, 2**62, 2**63, -(2**63), 10**400, 0.5, 1e308, float("nan"), float("inf"),
    "", "x", "y", "w", "z", "gemm", "sync", "view", "\0", "\ud800", "é" * 50, [], {}, [[]], [None], ["x", "x"],
    {"tensor": "x"}, {"tensor": "x", "bytes": -1}, {"m": 1}, [1] * 70,
)  # fmt: skip
ROW_MUTANTS = 1200
BYTE_MUTANTS = 400
ARCHIVE_MUTANTS = 600
MOST_STAGES = 3000
"""A mutant with larger sizes is lowered but not played."""


def read_or_refused(path: Path) -> bool:
    """True when the trace was read; any error but a one-line `TraceError` fails the test."""
    try:
        trace = load_trace(path)
    except TraceError as error:
        assert "\n" not in str(error)
        assert str(path)[-20:] in str(error)
        return False
    try:
        tiny = load_design("tiny")
        if lower(eager(trace), tiny).stage_counts().sum() < MOST_STAGES:
            simulate(trace, tiny)
    except HiersimError as error:
        assert error.exit_code in (1, 2)
        assert "please report" not in str(error)
    return True


def mutated(value: Any, draw: random.Random) -> Any:
    """`value` with one place inside it changed."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(sorted(value))
        copy = dict(value)
        action = draw.randrange(6)
        if action == 0:
            del copy[key]
        elif action == 1:
            copy[key[:-1] + draw.choice("xyz")] = copy.pop(key)
        elif action == 2:
            copy[key] = draw.choice(ODD)
        else:
            copy[key] = mutated(copy[key], draw)
        return copy
    if isinstance(value, list) and value and draw.random() < 0.8:
        index = draw.randrange(len(value))
        return [*value[:index], mutated(value[index], draw), *value[index + draw.randrange(2) :]]
    return draw.choice(ODD)


def mutate_rows(rows: list[Any], draw: random.Random) -> list[Any]:
    """Drop, repeat, swap or change a row."""
    index, other = draw.randrange(len(rows)), draw.randrange(len(rows))
    action = draw.randrange(8)
    if action == 0:
        return rows[:index] + rows[index + 1 :]
    if action == 1:
        return [*rows[:index], rows[other], *rows[index:]]
    if action == 2:
        swapped = list(rows)
        swapped[index], swapped[other] = swapped[other], swapped[index]
        return swapped
    return [*rows[:index], mutated(rows[index], draw), *rows[index + 1 :]]


def mutate_bytes(data: bytes, draw: random.Random) -> bytes:
    """Flip, drop, repeat or insert some bytes."""
    at = draw.randrange(len(data))
    length = draw.choice((1, 1, 2, 8, 100))
    action = draw.randrange(4)
    if action == 0:
        return data[:at] + draw.randbytes(length) + data[at + length :]
    if action == 1:
        return data[:at] + data[at + length :]
    if action == 2:
        return data[:at] + data[at : at + length] * 2 + data[at + length :]
    return data[:at]


def mutate_column(data: bytes, draw: random.Random) -> bytes:
    """Change numbers, length, type or bytes of one column."""
    column = np.load(io.BytesIO(data)).astype(np.int64)
    action = draw.randrange(6)
    if action < 3 and len(column):
        column[draw.randrange(len(column))] = draw.choice((-1, 0, 1, 2, 3, 99, 2**31, 2**61, 2**63 - 1, -(2**63)))
    elif action == 3:
        column = np.append(column, 0)[: draw.randrange(len(column) + 2)]
    elif action == 4:
        return npy(column.astype(draw.choice((np.float32, np.bool_, np.uint16, np.int16))))
    else:
        return mutate_bytes(data, draw)
    return npy(column)


def survivors(count: int, seed: int, build: Callable[[random.Random], bytes], path: Path) -> int:
    """How many of `count` mutants are still sound."""
    draw = random.Random(seed)
    sound = 0
    for _ in range(count):
        path.write_bytes(build(draw))
        sound += read_or_refused(path)
    return sound


def test_mutants_of_rows_are_read_or_refused(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in good_rows().splitlines()]

    def build(draw: random.Random) -> bytes:
        mutant = mutate_rows(rows, draw)
        return "\n".join(json.dumps(row) for row in mutant).encode()

    assert 0 < survivors(ROW_MUTANTS, 1, build, tmp_path / "mutant.jsonl") < ROW_MUTANTS


@pytest.mark.parametrize("form", ["plain", "gzip"])
def test_mutants_of_text_are_read_or_refused(form: str, tmp_path: Path) -> None:
    text = good_rows().encode()
    data = gzip.compress(text, mtime=0) if form == "gzip" else text
    count = BYTE_MUTANTS // 2
    assert survivors(count, 2, lambda draw: mutate_bytes(data, draw), tmp_path / "mutant.jsonl.gz") < count


def test_mutants_of_archives_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "mutant.npz"
    entries = entries_of(path)
    whole = path.read_bytes()

    def build(draw: random.Random) -> bytes:
        if draw.random() < 0.3:
            return mutate_bytes(whole, draw)
        changed = dict(entries)
        name = draw.choice(sorted(entries))
        if name == "header.json":
            changed[name] = json.dumps(mutated(json.loads(entries[name]), draw)).encode()
        else:
            changed[name] = mutate_column(entries[name], draw)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for key, data in changed.items():
                archive.writestr(key, data)
        return buffer.getvalue()

    assert 0 < survivors(ARCHIVE_MUTANTS, 3, build, path) < ARCHIVE_MUTANTS
