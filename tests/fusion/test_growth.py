"""Does the work of TorchInductor's rules grow with the trace, and not with its square? In counts, not seconds."""

from __future__ import annotations

from itertools import pairwise

import pytest

from hiersim.fusion.inductor.policy import schedule
from hiersim.model.trace import Trace
from hiersim.testing.synthetic import layered_trace
from hiersim.testing.woven import woven_trace

SIZES = (1000, 2000, 4000)
DRAWS = 3
MOST = 30
"""Neighbours looked at for each operator. Searches from the later group alone look at 37 and 42 here."""


def work(trace: Trace) -> int:
    """Neighbours that all searches for a cycle looked at."""
    return schedule(trace.graph).scheduler.contraction.work()


@pytest.mark.parametrize("reach", [50, 300])
def test_searches_of_a_wide_graph_stay_near_their_groups(reach: int) -> None:
    counts = [sum(work(woven_trace(size, reach=reach, seed=seed)) for seed in range(DRAWS)) for size in SIZES]
    assert all(later <= 2.4 * earlier for earlier, later in pairwise(counts))
    assert 0 < counts[-1] <= MOST * DRAWS * SIZES[-1]


def test_layers_that_repeat_cost_the_same_each() -> None:
    counts = [work(layered_trace(layers)) for layers in (20, 40, 80)]
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0]) > 0
