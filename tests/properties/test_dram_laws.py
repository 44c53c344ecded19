"""What must hold of the DRAM model for any timings and pattern: bounds and directions."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from hiersim.model.dram import Access, achieved
from hiersim.model.dram_presets import PRESETS
from hiersim.model.dram_timings import DramTimings
from hiersim.testing.strategies import dram_timings
from hiersim.units import Bytes, Ticks

presets = st.sampled_from(sorted(PRESETS)).map(lambda name: PRESETS[name].timings)
channels = st.sampled_from((1, 2, 8, 80))
SLACK = 0.01
"""A point: longer runs leave fewer visits in the window than shorter ones."""


@st.composite
def accesses(draw: st.DrawFn) -> Access:
    run = draw(st.none() | st.integers(1, 1 << 16))
    stride = None if run is None else draw(st.none() | st.integers(run, 1 << 20))
    alignment = draw(st.sampled_from((None, 32, 64, 256)))
    share = draw(st.sampled_from((0.0, 0.1, 0.5, 0.9, 1.0)))
    return Access(run=run, stride=stride, alignment=alignment, write_share=share)  # type: ignore[arg-type]


@given(timings=dram_timings(), access=accesses(), channels=channels, sector=st.sampled_from((1, 32, 128, 4096)))
def test_every_factor_is_a_share(timings: DramTimings, access: Access, channels: int, sector: int) -> None:
    found = achieved(timings, access, channels, sector)
    assert all(0 < value <= 1 for value in found.factors().values())
    assert 0 < found.share <= found.moved <= 1


@given(
    timings=presets, channels=channels, alignment=st.sampled_from((64, 128, 256)), count=st.integers(1, 256),
    more=st.integers(1, 64),
)  # fmt: skip
def test_longer_runs_are_never_slower(
    timings: DramTimings, channels: int, alignment: int, count: int, more: int
) -> None:
    short, long = (Access(run=Bytes(size * alignment), alignment=Bytes(alignment)) for size in (count, count + more))
    assert achieved(timings, long, channels).share >= achieved(timings, short, channels).share - SLACK
    assert achieved(timings, long, channels).share <= achieved(timings).share + SLACK


@given(timings=dram_timings(), access=accesses(), name=st.sampled_from(("trfc", "tfaw", "trrd", "trtw", "twtr", "twr")))
def test_a_slower_timing_never_helps(timings: DramTimings, access: Access, name: str) -> None:
    slower = dataclasses.replace(timings, **{name: Ticks(getattr(timings, name) * 2)})
    if not slower.faults():
        # a longer wait for the bus hides activations, but the time of a visit never falls
        assert achieved(slower, access).share <= achieved(timings, access).share + SLACK


@given(timings=dram_timings(), access=accesses(), factor=st.sampled_from((2, 5)))
def test_time_has_no_scale_of_its_own(timings: DramTimings, access: Access, factor: int) -> None:
    """All times × k: every share stays."""
    scaled = {
        item.name: Ticks(getattr(timings, item.name) * factor)
        for item in dataclasses.fields(timings)
        if item.type == "Ticks"
    }
    assert abs(achieved(dataclasses.replace(timings, **scaled), access).share - achieved(timings, access).share) < 1e-9
