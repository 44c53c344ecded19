"""Did a prediction of the library move? One small trace on every bundled design; `--regenerate` writes it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hiersim import bundled
from hiersim.config.load import load_design
from hiersim.errors import CapacityError
from hiersim.frontends.load import load_trace
from hiersim.run import simulate

GOLDEN = Path(__file__).with_suffix(".json")
TRACE = "resnet50-infer"


def figures(name: str) -> dict[str, Any]:
    result = simulate(load_trace(TRACE), load_design(name), "inductor")
    return {
        "makespan_ticks": result.makespan,
        "home_bytes": result.home_bytes,
        "utilization": round(result.utilization["overall"], 4),
        "stall_fraction": round(result.stall_fraction, 4),
    }


@pytest.mark.parametrize("name", bundled.designs())
def test_predictions_of_the_library_stay_where_they_were(name: str, request: pytest.FixtureRequest) -> None:
    found = figures(name)
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if request.config.getoption("--regenerate"):
        golden[name] = found
        GOLDEN.write_text(json.dumps(golden, sort_keys=True, indent=1) + "\n")
    assert found == golden[name], "a prediction moved: say so in the changelog and regenerate"


@pytest.mark.parametrize(("trace", "name"), [("gpt2-large-prefill", "groq-lpu"), ("llama3-8b-decode", "m1")])
def test_what_does_not_fit_is_refused_by_name(trace: str, name: str) -> None:
    with pytest.raises(CapacityError, match=r"do not fit tier '(sram|lpddr)' of (groq-lpu|m1)"):
        simulate(load_trace(trace), load_design(name))


def test_the_memory_wall_shows() -> None:
    """Peaks grow faster than bandwidths, and the share of the time that waits grows with them."""
    years = [load_design(f"memory-wall-{year}") for year in (2016, 2017, 2020, 2022, 2024)]
    waits = [simulate(load_trace(TRACE), design, "inductor").stall_fraction for design in years]
    assert waits[0] < waits[-1] - 0.3
    first, last = years[0], years[-1]
    assert last.compute.matrix is not None and first.home.bandwidth and last.home.bandwidth
    flops = max(last.compute.matrix.peak.values()) / max(first.compute.vector.peak.values())
    assert flops > 10 * last.home.bandwidth / first.home.bandwidth
