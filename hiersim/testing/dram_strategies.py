"""Random `DramTimings`: any mix of slow rows, narrow windows, one or two command buses, many or few banks."""

from __future__ import annotations

from hypothesis import strategies as st

from hiersim.model.dram_timings import DramTimings
from hiersim.units import Bytes, Count, Ticks


@st.composite
def dram_timings(draw: st.DrawFn) -> DramTimings:
    """Sound timings of one channel, not of any real device."""
    clock = draw(st.sampled_from((300, 1000)))
    burst_bytes = draw(st.sampled_from((32, 64)))
    row_bytes = draw(st.sampled_from((1024, 8192)))

    def clocks(least: int, most: int) -> Ticks:
        return Ticks(clock * draw(st.integers(least, most)))

    burst = clocks(1, 8)
    return DramTimings(
        title="random timings",
        clock=Ticks(clock),
        burst_bytes=Bytes(burst_bytes),
        burst=burst,
        pseudo_channels=Count(draw(st.integers(1, 2))),
        command_buses=Count(draw(st.integers(1, 2))),
        row_command=clocks(1, 4),
        column_command=clocks(1, 2),
        bank_groups=Count(draw(st.sampled_from((1, 2, 4, 8)))),
        banks=Count(draw(st.integers(1, 8))),
        ranks=Count(draw(st.integers(1, 4))),
        row_bytes=Bytes(row_bytes),
        trcd=clocks(1, 50),
        trcd_write=clocks(1, 50),
        trp=clocks(1, 50),
        tras=clocks(1, 100),
        trtp=clocks(1, 20),
        tcl=clocks(1, 50),
        tcwl=clocks(1, 50),
        twr=clocks(1, 80),
        trrd=clocks(1, 12),
        tfaw=clocks(4, 64),
        tccd_s=Ticks(burst + clock * draw(st.integers(0, 2))),
        tccd_l=Ticks(burst + clock * draw(st.integers(0, 10))),
        tccd_l_write=Ticks(burst + clock * draw(st.integers(0, 40))),
        tccd_r=Ticks(burst + clock * draw(st.integers(0, 4))),
        twtr=clocks(1, 20),
        trtw=clocks(1, 40),
        trfc=clocks(50, 600),
        trefi=clocks(2000, 12000),
        interleave=Bytes(draw(st.sampled_from((burst_bytes, 256, 1024)))),
        window=Count(draw(st.integers(1, 128))),
    )
