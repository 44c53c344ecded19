"""Did a prediction move? Golden figures of bundled traces; `pytest tests/golden --regenerate` writes them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hiersim.config.load import load_design
from hiersim.frontends.load import load_trace
from hiersim.run import simulate

GOLDEN = Path(__file__).with_suffix(".json")
CASES = [
    ("resnet50-infer", "v100-pcie"),
    ("bert-large-prefill", "h100-sxm"),
    ("gpt2-train", "a100-80gb-sxm"),
    ("llama3-8b-decode", "h100-sxm"),
    ("llama3-8b-decode", "tpu-v4"),
    ("mixtral-8x7b-decode", "h200"),
    ("dit-xl-infer", "h100-sxm"),
    ("bev-vision-infer", "l4"),
]


def figures(trace: str, design: str, fusion: str) -> dict[str, Any]:
    row = simulate(load_trace(trace), load_design(design), fusion).to_dict()
    keys = ("makespan_ticks", "kernels", "tiles", "flops", "traffic_bytes", "peak_bytes", "bounds", "ledger")
    return {key: row[key] for key in keys}


@pytest.mark.parametrize("fusion", ["eager", "inductor"])
@pytest.mark.parametrize(("trace", "design"), CASES)
def test_predictions_stay_where_they_were(trace: str, design: str, fusion: str, request: pytest.FixtureRequest) -> None:
    key = f"{trace} {design} {fusion}"
    found = figures(trace, design, fusion)
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if request.config.getoption("--regenerate"):
        golden[key] = found
        GOLDEN.write_text(json.dumps(golden, sort_keys=True, indent=1) + "\n")
    assert found == golden[key], "a prediction moved: say so in the changelog and regenerate"
