"""DRAM timings by name, one channel each, with the source of every value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hiersim.errors import DesignError, nearest
from hiersim.model.dram_timings import DramTimings
from hiersim.units import Bytes, Count, Ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class DramPreset:
    """Timings of one device, and where each comes from."""

    timings: DramTimings
    sources: Mapping[str, str]
    """Field of the timings → its source."""


def dram_preset(name: str) -> DramPreset:
    """The preset of that name.

    Raises
    ------
    DesignError
        With the nearest valid name.
    """
    if name not in PRESETS:
        raise DesignError(f"'{name}' is not a DRAM preset", expected=nearest(name, PRESETS))
    return PRESETS[name]


MAPPING: Final = (
    "assumption: four column accesses before the next bank group has its turn, as in Minimalist Open-page "
    "(Kaseridis, Stuecheli, John, MICRO 2011)"
)
WINDOW: Final = (
    "assumption: 32 reads and 32 writes per channel, the default queues of DRAMsim3 (trans_queue_size) and of "
    "Ramulator 2.1 (read_buffer_size)"
)
_CONTROLLER: Final = {MAPPING: "interleave", WINDOW: "window"}
_ORGANISATION: Final = (
    "title clock burst_bytes burst pseudo_channels command_buses row_command column_command bank_groups banks ranks "
    "row_bytes"
)


def _sources(*groups: Mapping[str, str]) -> Mapping[str, str]:
    """Field → source, from source → fields."""
    return MappingProxyType({name: text for group in groups for text, names in group.items() for name in names.split()})


_HBM2_ROWS: Final = (
    "JESD235D leaves it to the vendor; as in the public models of 2 Gb/s parts: DRAMsim3 HBM2_8Gb_x128 and Ramulator "
    "2.1 HBM2_2000Mbps"
)
_HBM2: Final = {
    "JESD235D: pseudo channel mode, BL4, four bank groups of four banks, row and column buses": _ORGANISATION,
    _HBM2_ROWS: "trcd trp tras tcl twr trrd twtr",
    "as in Ramulator 2.1 HBM2_2000Mbps; JESD235D leaves it to the vendor": "trcd_write trtp tcwl tfaw",
    "JESD235D: 2 and 4 clocks; no penalty between stack ids is modelled": "tccd_s tccd_l tccd_l_write tccd_r",
    "JESD235D: RL + BL/4 + 2 clocks of turnaround - WL": "trtw",
    "JESD235D: 8 Gb per channel": "trfc",
    "JESD235D: 3.9 us": "trefi",
}

HBM2: Final = DramPreset(
    timings=DramTimings(
        title="HBM2 at 2 Gb/s, 8 Gb per channel, one pseudo channel",
        clock=Ticks(1000),
        burst_bytes=Bytes(32),
        burst=Ticks(2000),
        pseudo_channels=Count(2),
        command_buses=Count(2),
        row_command=Ticks(3000),
        column_command=Ticks(1000),
        bank_groups=Count(4),
        banks=Count(4),
        ranks=Count(1),
        row_bytes=Bytes(1024),
        trcd=Ticks(14000),
        trcd_write=Ticks(12000),
        trp=Ticks(14000),
        tras=Ticks(34000),
        trtp=Ticks(5000),
        tcl=Ticks(14000),
        tcwl=Ticks(5000),
        twr=Ticks(16000),
        trrd=Ticks(4000),
        tfaw=Ticks(15000),
        tccd_s=Ticks(2000),
        tccd_l=Ticks(4000),
        tccd_l_write=Ticks(4000),
        tccd_r=Ticks(2000),
        twtr=Ticks(6000),
        trtw=Ticks(13000),
        trfc=Ticks(350000),
        trefi=Ticks(3900000),
        interleave=Bytes(128),
        window=Count(32),
    ),
    sources=_sources(_HBM2, _CONTROLLER),
)

_HBM2E_ROWS: Final = "assumption: the array of HBM2 in time (preset hbm2); JESD235D leaves it to the vendor"
HBM2E: Final = DramPreset(
    timings=DramTimings(
        title="HBM2e at 3.2 Gb/s, 16 Gb per channel, one pseudo channel",
        clock=Ticks(625),
        burst_bytes=Bytes(32),
        burst=Ticks(1250),
        pseudo_channels=Count(2),
        command_buses=Count(2),
        row_command=Ticks(1875),
        column_command=Ticks(625),
        bank_groups=Count(4),
        banks=Count(4),
        ranks=Count(2),
        row_bytes=Bytes(1024),
        trcd=Ticks(14375),
        trcd_write=Ticks(12500),
        trp=Ticks(14375),
        tras=Ticks(34375),
        trtp=Ticks(5000),
        tcl=Ticks(14375),
        tcwl=Ticks(5000),
        twr=Ticks(16250),
        trrd=Ticks(4375),
        tfaw=Ticks(15000),
        tccd_s=Ticks(1250),
        tccd_l=Ticks(2500),
        tccd_l_write=Ticks(2500),
        tccd_r=Ticks(1875),
        twtr=Ticks(6250),
        trtw=Ticks(11875),
        trfc=Ticks(350000),
        trefi=Ticks(3900000),
        interleave=Bytes(128),
        window=Count(32),
    ),
    sources=_sources(
        {
            "JESD235D: pseudo channel mode at 3.2 Gb/s, BL4, row and column buses; 8-high stacks have two stack "
            "ids": _ORGANISATION,
            _HBM2E_ROWS: "trcd trcd_write trp tras trtp tcl tcwl twr trrd tfaw twtr",
            "JESD235D: 2 and 4 clocks, one more to another stack id": "tccd_s tccd_l tccd_l_write tccd_r",
            "JESD235D: RL + BL/4 + 2 clocks of turnaround - WL": "trtw",
            "assumption: as 8 Gb per pseudo channel (preset hbm2); STREAM triad on A100 80 GB reaches 0.88 of the "
            "peak (RRZE-HPC/gpu-benches, gpu-stream)": "trfc",
            "JESD235D: 3.9 us": "trefi",
        },
        _CONTROLLER,
    ),
)

_HBM3: Final = {
    "JESD238A: pseudo channels of 32 bits, BL8, four bank groups of four banks, two stack ids of an 8-high stack, "
    "row and column buses": _ORGANISATION,
    "JESD238A leaves it to the vendor; as in the public model Ramulator 2.1 HBM3_6400Mbps": (
        "trcd trcd_write trp tras trtp tcl tcwl twr trrd tfaw twtr trtw"
    ),
    "JESD238A: 2 clocks, 4 in one bank group, 3 to another stack id": "tccd_s tccd_l tccd_l_write tccd_r",
    "JESD238A: 3.9 us": "trefi",
}

HBM3: Final = DramPreset(
    timings=DramTimings(
        title="HBM3 at 6.4 Gb/s, 8 Gb per channel, one pseudo channel",
        clock=Ticks(625),
        burst_bytes=Bytes(32),
        burst=Ticks(1250),
        pseudo_channels=Count(2),
        command_buses=Count(2),
        row_command=Ticks(1250),
        column_command=Ticks(625),
        bank_groups=Count(4),
        banks=Count(4),
        ranks=Count(2),
        row_bytes=Bytes(1024),
        trcd=Ticks(19375),
        trcd_write=Ticks(9375),
        trp=Ticks(16250),
        tras=Ticks(28125),
        trtp=Ticks(5625),
        tcl=Ticks(12500),
        tcwl=Ticks(6250),
        twr=Ticks(20625),
        trrd=Ticks(2500),
        tfaw=Ticks(15000),
        tccd_s=Ticks(1250),
        tccd_l=Ticks(2500),
        tccd_l_write=Ticks(2500),
        tccd_r=Ticks(1875),
        twtr=Ticks(4375),
        trtw=Ticks(12500),
        trfc=Ticks(350000),
        trefi=Ticks(3900000),
        interleave=Bytes(128),
        window=Count(32),
    ),
    sources=_sources(_HBM3, {"JESD238A: tRFCab of 8 Gb per channel": "trfc"}, _CONTROLLER),
)

HBM3E: Final = DramPreset(
    timings=DramTimings(
        title="HBM3e at 8 Gb/s, 16 Gb per channel, one pseudo channel",
        clock=Ticks(500),
        burst_bytes=Bytes(32),
        burst=Ticks(1000),
        pseudo_channels=Count(2),
        command_buses=Count(2),
        row_command=Ticks(1000),
        column_command=Ticks(500),
        bank_groups=Count(4),
        banks=Count(4),
        ranks=Count(2),
        row_bytes=Bytes(1024),
        trcd=Ticks(19500),
        trcd_write=Ticks(9500),
        trp=Ticks(16500),
        tras=Ticks(28500),
        trtp=Ticks(6000),
        tcl=Ticks(12500),
        tcwl=Ticks(6500),
        twr=Ticks(21000),
        trrd=Ticks(2500),
        tfaw=Ticks(15000),
        tccd_s=Ticks(1000),
        tccd_l=Ticks(2000),
        tccd_l_write=Ticks(2000),
        tccd_r=Ticks(1500),
        twtr=Ticks(4500),
        trtw=Ticks(12500),
        trfc=Ticks(450000),
        trefi=Ticks(3900000),
        interleave=Bytes(128),
        window=Count(32),
    ),
    sources=_sources(
        {
            "JESD238A at 8 Gb/s per pin: pseudo channels of 32 bits, BL8, two stack ids of an 8-high stack": (
                _ORGANISATION
            ),
            "assumption: the array of HBM3 in time (preset hbm3), rounded up to clocks": (
                "trcd trcd_write trp tras trtp tcl tcwl twr trrd tfaw twtr trtw"
            ),
            "JESD238A: 2 clocks, 4 in one bank group, 3 to another stack id": "tccd_s tccd_l tccd_l_write tccd_r",
            "assumption: tRFCab of 16 Gb per channel (JESD238A), for stacks of 24 Gb dies too": "trfc",
            "JESD238A: 3.9 us": "trefi",
        },
        _CONTROLLER,
    ),
)

GDDR6: Final = DramPreset(
    timings=DramTimings(
        title="GDDR6 at 14 Gb/s, 8 Gb, one channel of 16 bits",
        clock=Ticks(570),
        burst_bytes=Bytes(32),
        burst=Ticks(1140),
        pseudo_channels=Count(1),
        command_buses=Count(1),
        row_command=Ticks(1140),
        column_command=Ticks(570),
        bank_groups=Count(4),
        banks=Count(4),
        ranks=Count(1),
        row_bytes=Bytes(2048),
        trcd=Ticks(15390),
        trcd_write=Ticks(9120),
        trp=Ticks(15390),
        tras=Ticks(30210),
        trtp=Ticks(2280),
        tcl=Ticks(13680),
        tcwl=Ticks(3420),
        twr=Ticks(15390),
        trrd=Ticks(4560),
        tfaw=Ticks(16530),
        tccd_s=Ticks(1140),
        tccd_l=Ticks(2280),
        tccd_l_write=Ticks(2280),
        tccd_r=Ticks(1140),
        twtr=Ticks(5130),
        trtw=Ticks(14250),
        trfc=Ticks(120270),
        trefi=Ticks(1899810),
        interleave=Bytes(128),
        window=Count(64),
    ),
    sources=_sources(
        {
            "JESD250C: 16 bits, BL16, four bank groups of four banks, one command bus, 2 KB pages": _ORGANISATION,
            "Samsung GDDR6 8 Gb data sheet at 14 Gb/s and 1.35 V, as quoted by Ramulator 2.1 (GDDR6_14000_1350mV)": (
                "trcd trcd_write trp tras trtp tcl tcwl twr trrd tfaw tccd_s tccd_l tccd_l_write tccd_r twtr trfc trefi"
            ),
            "JESD250C: RL + one clock of turnaround": "trtw",
            MAPPING: "interleave",
            "assumption: 64 reads and 64 writes per channel, 2 KiB each": "window",
        },
    ),
)

LPDDR5: Final = DramPreset(
    timings=DramTimings(
        title="LPDDR5-6400, 8 Gb, one channel of 16 bits in bank group mode",
        clock=Ticks(1250),
        burst_bytes=Bytes(32),
        burst=Ticks(2500),
        pseudo_channels=Count(1),
        command_buses=Count(1),
        row_command=Ticks(3750),
        column_command=Ticks(1250),
        bank_groups=Count(4),
        banks=Count(4),
        ranks=Count(1),
        row_bytes=Bytes(2048),
        trcd=Ticks(18000),
        trcd_write=Ticks(18000),
        trp=Ticks(18000),
        tras=Ticks(42000),
        trtp=Ticks(7500),
        tcl=Ticks(21250),
        tcwl=Ticks(11250),
        twr=Ticks(34000),
        trrd=Ticks(5000),
        tfaw=Ticks(20000),
        tccd_s=Ticks(2500),
        tccd_l=Ticks(5000),
        tccd_l_write=Ticks(5000),
        tccd_r=Ticks(2500),
        twtr=Ticks(6250),
        trtw=Ticks(15000),
        trfc=Ticks(210000),
        trefi=Ticks(3906000),
        interleave=Bytes(128),
        window=Count(32),
    ),
    sources=_sources(
        {
            "JESD209-5B: BL16, bank group mode, one command bus with ACT-1 and ACT-2, 2 KB pages": _ORGANISATION,
            "JESD209-5B: core timings at 6400 MT/s, CK 800 MHz, bank group mode": (
                "trcd trcd_write trp tras trtp tcl tcwl twr trrd tfaw tccd_s tccd_l tccd_l_write tccd_r twtr"
            ),
            "JESD209-5B: RL + BL/n + 2 clocks of turnaround - WL": "trtw",
            "JESD209-5B: tRFCab of 8 Gb, tREFI 3.906 us": "trfc trefi",
        },
        _CONTROLLER,
    ),
)

DDR4: Final = DramPreset(
    timings=DramTimings(
        title="DDR4-3200AA, 8 Gb x8, one channel of 64 bits, one rank",
        clock=Ticks(625),
        burst_bytes=Bytes(64),
        burst=Ticks(2500),
        pseudo_channels=Count(1),
        command_buses=Count(1),
        row_command=Ticks(1250),
        column_command=Ticks(625),
        bank_groups=Count(4),
        banks=Count(4),
        ranks=Count(1),
        row_bytes=Bytes(8192),
        trcd=Ticks(13750),
        trcd_write=Ticks(13750),
        trp=Ticks(13750),
        tras=Ticks(32000),
        trtp=Ticks(7500),
        tcl=Ticks(13750),
        tcwl=Ticks(10000),
        twr=Ticks(15000),
        trrd=Ticks(2500),
        tfaw=Ticks(21000),
        tccd_s=Ticks(2500),
        tccd_l=Ticks(5000),
        tccd_l_write=Ticks(5000),
        tccd_r=Ticks(3750),
        twtr=Ticks(2500),
        trtw=Ticks(7500),
        trfc=Ticks(350000),
        trefi=Ticks(7800000),
        interleave=Bytes(256),
        window=Count(32),
    ),
    sources=_sources(
        {
            "JESD79-4C: x8, BL8, four bank groups of four banks, 1 KB pages of eight devices": _ORGANISATION,
            "JESD79-4C: speed bin DDR4-3200AA (22-22-22)": "trcd trcd_write trp tras tcl",
            "JESD79-4C: 3200 MT/s with 1 KB pages": "trtp tcwl twr trrd tfaw tccd_s tccd_l tccd_l_write twtr",
            "JESD79-4C: BL/2 + 2 clocks to another rank": "tccd_r",
            "JESD79-4C: CL + BL/2 + 2 clocks of turnaround - CWL": "trtw",
            "JESD79-4C: tRFC1 of 8 Gb, tREFI 7.8 us": "trfc trefi",
        },
        _CONTROLLER,
    ),
)

DDR5: Final = DramPreset(
    timings=DramTimings(
        title="DDR5-4800B, 16 Gb x8, one subchannel of 32 bits, one rank",
        clock=Ticks(416),
        burst_bytes=Bytes(64),
        burst=Ticks(3328),
        pseudo_channels=Count(1),
        command_buses=Count(1),
        row_command=Ticks(1248),
        column_command=Ticks(832),
        bank_groups=Count(8),
        banks=Count(4),
        ranks=Count(1),
        row_bytes=Bytes(4096),
        trcd=Ticks(16224),
        trcd_write=Ticks(16224),
        trp=Ticks(16224),
        tras=Ticks(32000),
        trtp=Ticks(7500),
        tcl=Ticks(16640),
        tcwl=Ticks(15808),
        twr=Ticks(30000),
        trrd=Ticks(3328),
        tfaw=Ticks(13333),
        tccd_s=Ticks(3328),
        tccd_l=Ticks(5000),
        tccd_l_write=Ticks(20000),
        tccd_r=Ticks(4160),
        twtr=Ticks(2500),
        trtw=Ticks(5824),
        trfc=Ticks(295000),
        trefi=Ticks(3900000),
        interleave=Bytes(256),
        window=Count(32),
    ),
    sources=_sources(
        {
            "JESD79-5B: x8, BL16, eight bank groups of four banks, 1 KB pages of four devices, commands of two "
            "clocks": _ORGANISATION,
            "JESD79-5B: speed bin DDR5-4800B (40-39-39)": "trcd trcd_write trp tras tcl",
            "JESD79-5B: 4800 MT/s with 1 KB pages": "trtp tcwl twr trrd tfaw tccd_s tccd_l tccd_l_write twtr",
            "JESD79-5B: BL/2 + 2 clocks to another rank": "tccd_r",
            "JESD79-5B: CL + BL/2 + 2 clocks of turnaround and 2 of preamble - CWL": "trtw",
            "JESD79-5B: tRFC1 of 16 Gb, tREFI1 3.9 us": "trfc trefi",
        },
        _CONTROLLER,
    ),
)

PRESETS: Final[Mapping[str, DramPreset]] = MappingProxyType(
    {
        "ddr4": DDR4,
        "ddr5": DDR5,
        "gddr6": GDDR6,
        "hbm2": HBM2,
        "hbm2e": HBM2E,
        "hbm3": HBM3,
        "hbm3e": HBM3E,
        "lpddr5": LPDDR5,
    }
)
