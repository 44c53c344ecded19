"""A result survives its way into the row of a sweep and back, key for key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hiersim as hs
from hiersim.sweeps.rows import expanded, flat, kind_of

TRACE = Path(__file__).parents[2] / "docs" / "examples" / "relu.jsonl"


@pytest.mark.parametrize("design", ["tiny", "h100-sxm", "m1-max"])
def test_a_row_holds_a_result_without_loss(design: str) -> None:
    result = hs.simulate(hs.load_trace(TRACE), hs.load_design(design))
    whole = result.to_dict()
    row = flat(whole)
    for column, value in row.items():
        kinds = (int, float) if kind_of(column) is float else (kind_of(column),)
        assert value is None or isinstance(value, kinds), f"{column} is {value!r}"
    back = expanded(row, [place.name for place in result.design.places])
    assert json.loads(json.dumps({**whole, **back})) == json.loads(json.dumps(whole))
    assert set(whole) - set(back) == {"schema", "design", "set"}
