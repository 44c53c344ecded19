"""How much of its peak bandwidth a DRAM channel achieves, by access pattern: closed forms over JEDEC timings.

One channel has a data bus, a command bus (shared with the pseudo channels beside it), and banks in bank groups and
ranks. A *visit* opens a row of one bank, moves some bursts and closes it. At saturation a visit takes the longest of

- its bursts on the data bus, spaced by tCCD_S, tCCD_L or tCCD_R,
- the distance of activations: tRRD, a quarter of tFAW, or what the command bus leaves,
- where rows are anywhere, what a window of waiting requests gets out of banks, bank groups and bus (`dram_queues.py`),

turns between reads and writes come on top, and refresh takes its share of everything. All inputs are whole ticks (ps)
and bytes; results are shares of the peak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from hiersim.model.dram_queues import RandomVisits, activation_ticks
from hiersim.model.dram_timings import DramTimings
from hiersim.units import Bytes, Share

WRITE_MARKS: Final = (0.2, 0.8)
"""Writes go in batches: the controller begins when they fill so much of their queue, and ends when so few are left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A pattern of accesses to one tier."""

    run: Bytes | None = None
    """Contiguous bytes at each place; None: everything in order."""
    alignment: Bytes | None = None
    """Runs begin at multiples of it; None: at any sector."""
    stride: Bytes | None = None
    """Distance of the places when it is constant; None: they are anywhere."""
    write_share: float = 0.0
    """Part of the bytes that is written, mixed with the reads."""


STREAM: Final = Access()


@dataclass(frozen=True, slots=True, kw_only=True)
class Achieved:
    """What a pattern achieves, as the product of its factors; each is in (0, 1]."""

    refresh: float
    """Time that all-bank refresh leaves."""
    columns: float
    """Bus time of a burst ÷ distance of column accesses (bank groups met in turn, ranks, column commands)."""
    turnaround: float
    """Time that the bus does not lose by turning between reads and writes."""
    rows: float
    """Time that the bus does not wait for activations, row cycles and bank groups met at random."""
    sectors: float
    """Bytes asked for ÷ bytes moved, which are whole sectors."""

    @property
    def moved(self) -> Share:
        """Share of the peak at which whole sectors move."""
        return Share(self.refresh * self.columns * self.turnaround * self.rows)

    @property
    def share(self) -> Share:
        """Share of the peak at which the bytes that were asked for arrive."""
        return Share(self.moved * self.sectors)

    def factors(self) -> Mapping[str, float]:
        """Factors by name."""
        return {item.name: float(getattr(self, item.name)) for item in fields(self)}


def achieved(timings: DramTimings, access: Access = STREAM, channels: int = 1, sector: int = 1) -> Achieved:
    """What `access` achieves on `channels` equal channels.

    Parameters
    ----------
    timings : DramTimings
        One channel.
    access : Access
        The pattern.
    channels : int
        Channels between which consecutive `interleave` blocks alternate.
    sector : int
        Smallest transfer of the tier in bytes; a burst is never split either.

    Returns
    -------
    Achieved
        The factors; `share` never falls when the run grows by whole sectors within `interleave`-mapped rows.
    """
    sector = max(sector, int(timings.burst_bytes))
    moved = _fetched(access, sector)
    visit = _visit(timings, access, moved, channels, sector)
    column = _column_distance(timings, access, visit)
    interval = _visit_ticks(timings, access, visit, visit.bursts * column)
    return Achieved(
        refresh=1.0 - refresh_ticks(timings) / timings.trefi,
        columns=timings.burst / column,
        turnaround=interval / (interval + visit.bursts * _turnaround(timings, access)),
        rows=visit.bursts * column / interval,
        sectors=1.0 if access.run is None else access.run / moved,
    )


def refresh_ticks(timings: DramTimings) -> int:
    """Bus time lost to one all-bank refresh: close all rows after the last access, refresh, open the next row."""
    lost = timings.trtp + timings.trp + timings.trfc + timings.trcd - timings.tccd_s
    return min(lost, timings.trefi - 1)


def _fetched(access: Access, sector: int) -> int:
    """Bytes that are moved for each run: whole sectors, those between close places once."""
    if access.run is None:
        return sector
    whole = -(-int(access.run) // sector) * sector
    return max(int(access.run), min(whole, int(access.stride))) if access.stride else whole


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    """One row while it is open, in column accesses."""

    bursts: float
    """In all."""
    block: float
    """One after the other, before the next row has its turn."""
    run: float
    """Of the whole run in one channel, whatever its rows."""


def _visit(timings: DramTimings, access: Access, moved: int, channels: int, sector: int) -> _Visit:
    """The visits of a run.

    A run of r bytes that begins at multiples of a touches 1 + (r - a) ÷ interleave blocks; consecutive blocks lie in
    different rows until all channels and bank groups have had their turn. Places of a constant stride share rows.
    """
    burst, row = int(timings.burst_bytes), int(timings.row_bytes)
    block = timings.interleave / burst
    if access.run is None:
        return _Visit(bursts=row / burst, block=block, run=math.inf)
    whole = -(-moved // burst) * burst
    start = math.gcd(max(sector, int(access.alignment or sector)), int(timings.interleave), whole)
    blocks = 1 + (whole - start) / timings.interleave
    rows = max(min(blocks, channels * timings.bank_groups), whole / row, 1.0)
    run = max(whole / burst / channels, 1.0)
    bursts = whole / burst / rows
    if access.stride:
        bursts = max(bursts, row / max(access.stride, moved) * moved / burst)
        run = math.inf
    bursts = min(bursts, row / burst)
    return _Visit(bursts=bursts, block=min(block, bursts), run=run)


def _column_distance(timings: DramTimings, access: Access, visit: _Visit) -> float:
    """Mean distance of column accesses on the data bus.

    Places in order meet the bank groups in turn, as far as the window reaches. Runs that are anywhere wait for their
    group as they wait for their bank, which is part of `rows`; what they lose here is the change of rank between reads.
    """
    least = float(timings.tccd_s)
    if timings.command_buses == 2:
        least = max(least, float(timings.pseudo_channels * timings.column_command))
    if access.run is None or access.stride:
        groups = min(float(timings.bank_groups), max(1.0, timings.window / visit.block))
        read, write = (max(least, distance / groups) for distance in (timings.tccd_l, timings.tccd_l_write))
    else:
        others = timings.window / visit.run  # runs in the window beside the one that is served
        switches = (1 - 1 / timings.ranks) * others / (1 + others)
        read, write = least + switches * max(0, timings.tccd_r - timings.tccd_s), least
    return (1 - access.write_share) * read + access.write_share * write


def _turnaround(timings: DramTimings, access: Access) -> float:
    """Bus time lost per burst by turning from reads to writes and back.

    Writes go in batches between the two marks of their queue, with those that arrive before the next read.
    """
    writes = access.write_share
    if not 0 < writes < 1:
        return 0.0
    low, high = WRITE_MARKS
    batch = ((high - low) * timings.window + writes / (1 - writes)) / writes
    return max(0.0, timings.trtw + timings.tcwl + timings.burst + timings.twtr - 2 * timings.tccd_s) / batch


def _visit_ticks(timings: DramTimings, access: Access, visit: _Visit, data: float) -> float:
    """Mean time between visits, without the turns; `data` is the bus time of one.

    Where the next rows are known, their banks are opened ahead in turn. Else a window of w requests touches
    (w + r - 1) ÷ r runs of r on the mean. Beside reads, writes are served while their queue empties from mark to mark.
    """
    if access.run is None or access.stride:
        return max(data, activation_ticks(timings, visit.bursts))
    writes, rest = access.write_share, max(visit.run, visit.bursts) - 1
    total = 0.0
    if writes < 1:
        column = _column_distance(timings, replace(access, write_share=0.0), visit)
        reads = RandomVisits(timings=timings, bursts=visit.bursts, column=column, write=False)
        total += (1 - writes) * reads.interval(timings.window + rest)
    if writes > 0:
        column = _column_distance(timings, replace(access, write_share=1.0), visit)
        waiting = timings.window * (sum(WRITE_MARKS) / 2 if writes < 1 else 1.0)
        total += writes * RandomVisits(timings=timings, bursts=visit.bursts, column=column, write=True).interval(
            waiting + rest
        )
    return total
