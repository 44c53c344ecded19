"""The engines agree on every bundled trace and design that they can play in a test's time."""

from __future__ import annotations

import os

import pytest

from hiersim import bundled
from hiersim.config.load import load_design
from hiersim.engines import compiled, reference
from hiersim.errors import CapacityError
from hiersim.frontends.load import load_trace
from hiersim.lowering.lower import lower
from hiersim.model.program import Program
from hiersim.run import kernels_of
from hiersim.testing.contracts import differences

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
MOST_PLAYED = 10**8 if NIGHTLY else 10**6
"""Stages that the compiled engine plays without fast-forward: 10 s or 0.1 s."""
MOST_FOR_REFERENCE = 2 * 10**6 if NIGHTLY else 20_000
"""Stages that the reference engine plays: a minute or a second."""


DESIGNS = (
    "a100-40gb-pcie", "a100-80gb-sxm", "dojo-d1", "h100-sxm", "h200-sxm", "l4", "m1-max", "t4", "tiny", "tpu-v4",
    "v100-pcie",
)  # fmt: skip
"""Those whose tiers and units differ in kind; all of them at night."""


def programs_of(trace: str) -> dict[str, Program]:
    """The programs of one trace on designs that hold it, with every schedule that it carries."""
    loaded = load_trace(trace)
    found = {}
    for name in bundled.designs() if NIGHTLY else DESIGNS:
        for fusion in ("eager", *loaded.schedules):
            design = load_design(name)
            try:
                found[f"{name} {fusion}"] = lower(kernels_of(loaded, design, fusion), design)
            except CapacityError:
                continue
    return found


@pytest.mark.parametrize("trace", bundled.traces())
def test_engines_agree_on_bundled_traces(trace: str) -> None:
    played = 0
    for name, program in programs_of(trace).items():
        stages = int(program.stage_counts().sum())
        if stages > MOST_PLAYED:
            continue
        fast = compiled.simulate(program)
        assert not differences(fast, compiled.simulate(program, fast_forward=False)), name
        if stages <= MOST_FOR_REFERENCE:
            assert not differences(fast, reference.simulate(program)), name
        played += 1
    assert played or trace.startswith("llama3-70b"), "no design holds it in a test's time"
