"""The L2 sweep has its knees at the working sets that `explain` names; infinite SRAM leaves the compulsory traffic."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from build import design_from, pointwise
from hiersim import bundled
from hiersim.config.load import load_design
from hiersim.explanation import Explanation, explain
from hiersim.frontends.load import load_trace
from hiersim.lowering.working_sets import reuses
from hiersim.lowering.workload import prepare
from hiersim.run import simulate

FUSIONS = ("eager", "inductor")
TRACE = "gpt2-large-prefill"
LARGEST = 12
"""Working sets that the command prints."""
RAMP = 0.025
"""Between the two ends of a write-back that has to survive several reuses, its share is not a straight line."""


@cache
def explained(fusion: str) -> Explanation:
    return explain(simulate(load_trace(TRACE), load_design("h100-sxm"), fusion))


@cache
def home_bytes(fusion: str, capacity: int) -> int:
    """HBM traffic of GPT-2-large on an H100 with that much L2."""
    design = load_design("h100-sxm").replace({"memory.l2.capacity": f"{capacity} B", "memory.l2.usable": 1.0})
    return int(simulate(load_trace(TRACE), design, fusion).home_bytes)


def capacities(fusion: str) -> list[int]:
    """Both sides of every named knee, and the middle of what lies between."""
    sets = explained(fusion).sets[:LARGEST]
    ends = sorted({item.begin_bytes - 1 for item in sets} | {item.held_bytes for item in sets})
    return sorted({*ends, *((low + high) // 2 for low, high in pairwise(ends)), 2 * ends[-1], 4 * ends[-1]})


@pytest.mark.parametrize("fusion", FUSIONS)
def test_traffic_falls_by_what_each_named_working_set_saves(fusion: str) -> None:
    """From just below the size where it begins to be served, to the size that holds it."""
    assert len(explained(fusion).sets) >= LARGEST
    for item in explained(fusion).sets[:LARGEST]:
        fall = home_bytes(fusion, item.begin_bytes - 1) - home_bytes(fusion, item.held_bytes)
        assert fall >= item.saved_bytes * (1 - 1e-6)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_traffic_is_flat_where_no_working_set_is_named(fusion: str) -> None:
    """Outside the ranges of all sets nothing falls at all; outside those of the printed ones, no more than the rest."""
    sets = explained(fusion).sets
    for named in (sets, sets[:LARGEST]):
        rest = sum(item.saved_bytes for item in sets if item not in named)
        gaps = flat_ranges([(item.begin_bytes, item.held_bytes) for item in named])
        assert len(gaps) >= 3
        fall = sum(home_bytes(fusion, low) - home_bytes(fusion, high) for low, high in gaps)
        assert 0 <= fall <= rest + 1e-6 * home_bytes(fusion, 1)
        assert rest < 0.25 * sum(item.saved_bytes for item in sets)


def flat_ranges(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The gaps between `ranges`, before the first and behind the last."""
    gaps, reached = [], 1
    for begin, held in sorted(ranges):
        if begin > reached:
            gaps.append((reached, begin - 1))
        reached = max(reached, held)
    return [*gaps, (reached, 2**40)]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_whole_sweep_is_compulsory_traffic_and_what_is_not_held(fusion: str) -> None:
    """At twenty and more capacities the simulated traffic is what the named reuses leave."""
    explanation = explained(fusion)
    result = explanation.result
    rows = reuses(prepare(result.graph), result.design)
    saved = sum(item.saved_bytes for item in explanation.sets)
    sweep = capacities(fusion)
    assert len(sweep) >= 20
    for capacity in (1, *sweep, 2**40):
        expected = result.bounds.compulsory_bytes + saved - float(rows.saved(capacity).sum())
        assert home_bytes(fusion, capacity) == pytest.approx(expected, rel=RAMP)
    assert home_bytes(fusion, 1) == result.bounds.compulsory_bytes + saved
    assert home_bytes(fusion, 2**40) == result.bounds.compulsory_bytes
    traffic = [home_bytes(fusion, capacity) for capacity in sweep]
    assert traffic == sorted(traffic, reverse=True)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_design_that_holds_a_set_saves_it_and_one_that_does_not_begin_does_not(fusion: str) -> None:
    explanation = explained(fusion)
    cache_bytes = int(explanation.result.design.tier("l2").capacity)
    for item, share in zip(explanation.sets, explanation.served["l2"], strict=True):
        assert 0 <= share <= 1
        assert (share == 1) == (item.held_bytes <= cache_bytes)
        assert share == 0 or item.begin_bytes <= cache_bytes


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("trace", bundled.traces())
def test_infinite_sram_leaves_exactly_the_compulsory_traffic(trace: str, fusion: str) -> None:
    """But for the rest of the sectors that lookups of a few bytes touch: one of a byte has none."""
    loaded = load_trace(trace)
    endless = {"memory.l2.capacity": "2 TB", "memory.hbm.capacity": "2 TB", "memory.hbm.granularity": "1 B"}
    design = load_design("h100-sxm").replace(endless)
    result = simulate(loaded, design, fusion)
    assert result.home_bytes == result.bounds.compulsory_bytes
    assert all(share == 1 for share in explain(result).served["l2"])


def test_two_operators_in_a_row_have_the_working_set_that_one_counts_by_hand(tmp_path: Path) -> None:
    """x → y → z: y is found if x, y and z fit up to the byte at hand, which is two vectors; a read and a write-back."""
    vector = 4 * 2**16
    design = design_from(
        compute__matrix=None,
        memory={
            "smem": {"scope": "core", "management": "scratchpad", "capacity": "256 KiB"},
            "l2": {"scope": "shared", "management": "cache", "capacity": "4 KiB", "bandwidth": "1 TB/s"},
            "dram": {"scope": "shared", "management": "scratchpad", "capacity": "64 GB", "bandwidth": "1 GB/s"},
        },
    )
    result = simulate(pointwise(2**16, tmp_path, chain=2), design)
    (only,) = explain(result).sets
    assert (only.begin_bytes, only.held_bytes, only.saved_bytes) == (2 * vector, 2 * vector, 2 * vector)
    assert sorted(part.reuse.value for part in only.parts) == ["read", "write-back"]
    assert {part.role for part in only.parts} == {"activation"}
    assert result.home_bytes == result.bounds.compulsory_bytes + 2 * vector
