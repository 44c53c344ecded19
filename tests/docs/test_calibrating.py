"""Commands of the pages on measurements are spelled right, and the files they name say what the pages say."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import hiersim as hs
from hiersim.cli.main import main
from hiersim.frontends.measured import load_measured

DOCS = Path(__file__).parents[2] / "docs"
CPU = DOCS / "examples" / "cpu-core"


def commands() -> list[str]:
    found = []
    for name in ("calibrating.md", "fidelity.md"):
        text = (DOCS / name).read_text().replace("\\\n", " ")
        found += re.findall(
            r"^    (?:\w+=\S+ )?(hiersim (?:calibrate|validate|measure) .+?)(?:  +#.*)?$", text, re.MULTILINE
        )
    return sorted(set(found))


@pytest.mark.parametrize("command", commands())
def test_every_option_exists(command: str) -> None:
    words = re.findall(r'"[^"]*"|\S+', command)[1:]
    context = click.Context(main)
    found = main.get_command(context, words.pop(0))
    if isinstance(found, click.Group):
        found = found.get_command(context, words.pop(0))
    assert found is not None
    found.make_context("x", words, resilient_parsing=False)


def test_durations_on_a_cpu_add_up_to_the_wall_time() -> None:
    measured = load_measured(CPU / "small_transformer.jsonl.gz")
    summaries = {row.mode: row for row in measured.summaries}
    assert set(summaries) == {"eager", "compiled"}
    for row in summaries.values():
        assert row.coverage == pytest.approx(1, abs=0.1)
    own = {time.mode: time for time in measured.times if time.clock == "processor"}
    assert own["eager"].median_s / own["compiled"].median_s == pytest.approx(1.42, abs=0.005)
    assert own["eager"].min_s / own["compiled"].min_s == pytest.approx(1.20, abs=0.005)


def test_the_fit_is_to_processor_times() -> None:
    """The fit is to processor times, which are at most wall times but for what reading them costs."""
    measured = load_measured(CPU / "gemm.jsonl.gz")
    times = {(time.clock, time.case): time.min_s for time in measured.times if time.cache == "warm"}
    pairs = [(own, times["wall", case]) for (clock, case), own in times.items() if clock == "processor"]
    assert pairs and all(own <= 1.01 * wall for own, wall in pairs)
    assert 0.68 < hs.load_design(CPU / "calibrated.yaml").compute.vector.efficiency < 0.77


def test_the_fitted_core_says_where_its_values_are_from() -> None:
    design = hs.load_design(CPU / "calibrated.yaml")
    assert "gemm.jsonl.gz (sha256 " in design.sources["compute.vector.efficiency"]
    assert design.tier("dram") == hs.load_design(CPU / "cpu-core.yaml").tier("dram")
