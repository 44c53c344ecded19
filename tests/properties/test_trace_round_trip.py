"""Writing and reading a trace gives the same trace, and writing is deterministic."""

from __future__ import annotations

import tempfile
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given

from hiersim.frontends.archive import load_archive, save_trace
from hiersim.frontends.rows import load_rows
from hiersim.fusion.eager import eager
from hiersim.model.trace import Trace
from hiersim.testing.strategies import traces

SAMPLE = Path(__file__).parent / "sample.jsonl"


def same(one: Any, two: Any) -> bool:
    """Equal field for field, column for column."""
    if isinstance(one, np.ndarray):
        return bool(one.dtype == two.dtype and np.array_equal(one, two))
    if is_dataclass(one):
        return type(one) is type(two) and all(same(getattr(one, f.name), getattr(two, f.name)) for f in fields(one))
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    return bool(one == two)


def with_schedule(trace: Trace) -> Trace:
    """The trace with a captured schedule beside it."""
    return Trace(header=trace.header, graph=trace.graph, schedules={"inductor": eager(trace)})


@given(traces())
def test_a_saved_trace_reads_back_as_itself(trace: Trace) -> None:
    whole = with_schedule(trace)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.npz"
        save_trace(whole, path)
        assert same(load_archive(path), whole)


@given(traces())
def test_saving_twice_gives_the_same_bytes(trace: Trace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "one.npz", Path(folder) / "two.npz"
        save_trace(with_schedule(trace), one)
        save_trace(load_archive(one), two)
        assert one.read_bytes() == two.read_bytes()


def test_a_readable_trace_survives_the_compact_form(tmp_path: Path) -> None:
    trace = load_rows(SAMPLE)
    save_trace(trace, tmp_path / "sample.npz")
    assert same(load_archive(tmp_path / "sample.npz"), trace)
