"""What a compiler expects of its kernels: read from HLO text, kept with the trace, shown, and without any effect."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import hiersim as hs
from hiersim.cli.main import main
from hiersim.frontends.archive import load_archive, save_trace
from hiersim.frontends.hlo.build import import_hlo
from hiersim.frontends.integrity import check_trace
from hiersim.model.trace import CompilerEstimate

HLO = """HloModule m

%half (p: f32[64,32]) -> f32[64,32] {
  %p = f32[64,32]{1,0} parameter(0)
  ROOT %t = f32[64,32]{1,0} tanh(%p)
}

ENTRY %main (x: f32[64,32]) -> f32[64,32] {
  %x = f32[64,32]{1,0} parameter(0)
  %one = f32[64,32]{1,0} fusion(%x), kind=kLoop, calls=%half, backend_config={"w":{"estimated_cycles":"900"}}
  %two = f32[64,32]{1,0} fusion(%one), kind=kLoop, calls=%half
  ROOT %three = f32[64,32]{1,0} fusion(%two), kind=kLoop, calls=%half, backend_config="{\\"estimated_cycles\\":100}"
}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "m.txt").write_text(HLO)
    return tmp_path / "m.txt"


def test_estimates_lie_beside_their_schedule_and_survive_a_file(file: Path, tmp_path: Path) -> None:
    trace = import_hlo(file)
    assert trace.estimates["xla"].cycles.tolist() == [900, -1, 100]
    save_trace(trace, tmp_path / "m.npz")
    assert load_archive(tmp_path / "m.npz").estimates["xla"].cycles.tolist() == [900, -1, 100]
    (tmp_path / "plain.txt").write_text(HLO.replace("estimated_cycles", "other"))
    assert import_hlo(tmp_path / "plain.txt").estimates == {}


def test_they_decide_nothing(file: Path) -> None:
    trace, design = import_hlo(file), hs.load_design("tiny")
    bare = replace(trace, estimates={})
    told, untold = (hs.simulate(item, design, fusion="xla").to_dict() for item in (trace, bare))
    assert told == untold


def test_they_are_shown_beside_the_prediction(file: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "m.npz")
    done = CliRunner().invoke(main, ["import", "hlo", str(file), "-o", target])
    assert "xla: its compiler expects 1,000 cycles of 2 of 3 kernels" in done.output
    words = ["explain", target, "-d", "tiny", "-f", "xla", "-q"]
    found = json.loads(CliRunner().invoke(main, [*words, "--json"]).output)["estimate"]
    assert [(row["name"], row["kernels"], row["estimated_cycles"]) for row in found["rows"]] == [
        ("one", 1, 900),
        ("three", 1, 100),
    ]
    assert found["estimated_cycles"] == 1000
    result = hs.simulate(import_hlo(file), hs.load_design("tiny"), fusion="xla")
    ticks = result.timeline.end - result.timeline.start
    wanted = [-(-int(ticks[at]) * int(result.design.compute.clock) // 10**12) for at in (0, 2)]
    assert [row["predicted_cycles"] for row in found["rows"]] == wanted
    shown = CliRunner().invoke(main, words).output
    assert "those that xla expected" in shown
    assert "1,000" in shown
    assert "estimate" not in json.loads(CliRunner().invoke(main, [*words[:4], "-f", "eager", "-q", "--json"]).output)


def test_estimates_that_fit_no_schedule_are_refused(file: Path) -> None:
    trace = import_hlo(file)
    for name, cycles, problem in (
        ("other", [1, 2, 3], "belongs to no schedule"),
        ("xla", [1, 2], r"has shape \(2,\)"),
        ("xla", [1, 2, -2], "is -2"),
    ):
        broken = {name: CompilerEstimate(cycles=np.array(cycles))}
        with pytest.raises(hs.TraceError, match=problem):
            check_trace(replace(trace, estimates=broken))
