"""`hiersim validate` as a user calls it, on part of the bundled measurements."""

from __future__ import annotations

import json
from typing import Any

from hiersim import bundled


def test_predictions_stand_beside_bundled_measurements(hiersim: Any) -> None:
    done = hiersim("validate", "--match", "add_row/bf16/rows=128", "--worst", "2")
    assert done.returncode == 0, done.stderr
    for word in (
        "h100-sxm beside NVIDIA H100 80GB HBM3",
        "MAPE",
        "roofline",
        "pointwise, below 50 us, cold",
        "worst 2",
    ):
        assert word in done.stdout
    assert done.stderr == ""


def test_json_of_one_file_is_the_same_for_any_hash_seed(hiersim: Any) -> None:
    file = bundled.measurements() / "h100-sxm-2026-11-27" / "fusion.jsonl.gz"
    command = ("validate", "--data", str(file), "--match", "rms_norm/", "--json")
    first, second = (hiersim(*command, PYTHONHASHSEED=seed) for seed in ("1", "4242"))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    found = json.loads(first.stdout)
    assert {row["suite"] for row in found["rows"]} == {"fusion"}
    assert sum(row["n"] for row in found["rows"]) == found["totals"][-1]["n"] == 16
    assert len(found["speed_ups"]) == 8
    assert found["skipped"] == []
