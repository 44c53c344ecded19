"""The Pareto front against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiersim.sweeps.pareto import pareto_front

CELL = st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.0, -1.0, float("inf"), float("nan")])
SETS = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=12),
        st.lists(st.sampled_from(["lower", "higher"]), min_size=width, max_size=width),
    )
)


def dominates(one: list[float], other: list[float], better: list[str]) -> bool:
    """Nowhere worse and somewhere better."""
    signs = [1 if way == "lower" else -1 for way in better]
    pairs = [(sign * a, sign * b) for sign, a, b in zip(signs, one, other, strict=True)]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@given(SETS)
def test_the_front_is_what_nobody_dominates(drawn: tuple[list[list[float]], list[str]]) -> None:
    rows, better = drawn
    expected = [
        not any(np.isnan(row)) and not any(dominates(other, row, better) for other in rows) for row in rows
    ]  # fmt: skip
    values = np.array(rows, np.float64).reshape(len(rows), len(better))
    assert pareto_front(values, better).tolist() == expected


@pytest.mark.parametrize("objectives", [1, 2, 3, 5])
def test_random_sets_in_many_dimensions(objectives: int) -> None:
    values = np.random.default_rng(objectives).random((300, objectives)).round(1)
    better = ["lower", "higher"] * 2 + ["lower"]
    signed = values * np.array([1 if way == "lower" else -1 for way in better[:objectives]])
    worse = (signed[:, None] >= signed[None]).all(axis=2) & (signed[:, None] > signed[None]).any(axis=2)
    assert pareto_front(values, better[:objectives]).tolist() == (~worse.any(axis=1)).tolist()


def test_directions_are_checked() -> None:
    for better in (["lower"], ["lower", "less"]):
        with pytest.raises(ValueError, match="objectives"):
            pareto_front([[1, 2]], better)
