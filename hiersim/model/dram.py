"""How much of its peak bandwidth a DRAM channel achieves, by access pattern: closed forms over JEDEC timings.

One channel has a data bus, a command bus (shared with the pseudo channels beside it), and banks in bank groups and
ranks. A *visit* opens a row of one bank, moves some bursts and closes it. At saturation a visit takes the longest of

- its bursts on the data bus, spaced by tCCD_S, tCCD_L or tCCD_R, with their part of the bus turnarounds,
- the distance of activations: tRRD, a quarter of tFAW, or what the command bus leaves,
- the row cycle of one bank divided by the banks that a window of waiting requests keeps busy,

and refresh takes its share of everything. All inputs are whole ticks (ps) and bytes; results are shares of the peak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from hiersim.units import TICKS_PER_SECOND, Bytes, BytesPerSecond, Count, Share, Ticks

WRITE_BATCH: Final = 0.6
"""Part of the window that is written in one go: from a high mark of 80 % down to a low one of 20 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DramTimings:
    """One channel (or pseudo channel, where a channel has two) of a DRAM, in JEDEC's names.

    Times are in ticks of 1 ps, sizes in bytes. What a standard calls by one name for reads and writes is one field.
    """

    title: str
    clock: Ticks
    """Period of the command clock."""
    burst_bytes: Bytes
    """Data of one column access: the smallest transfer."""
    burst: Ticks
    """Data bus time of one column access."""
    pseudo_channels: Count
    """Channels that share one command bus."""
    command_buses: Count
    """1: row and column commands share a bus; 2: each has its own."""
    row_command: Ticks
    """Bus time of one activation and one precharge."""
    column_command: Ticks
    """Bus time of one read or write command."""
    bank_groups: Count
    """Of one rank."""
    banks: Count
    """Of one bank group."""
    ranks: Count
    """Ranks, or stack ids, that share the data bus."""
    row_bytes: Bytes
    """What one activation opens (the page)."""
    trcd: Ticks
    """From an activation to a read."""
    trcd_write: Ticks
    """From an activation to a write."""
    trp: Ticks
    tras: Ticks
    trtp: Ticks
    tcl: Ticks
    """Read latency; limits no bandwidth."""
    tcwl: Ticks
    twr: Ticks
    trrd: Ticks
    """tRRD_S: activations of different bank groups."""
    tfaw: Ticks
    """Window in which four activations may start."""
    tccd_s: Ticks
    tccd_l: Ticks
    """Reads of one bank group."""
    tccd_l_write: Ticks
    """Writes to one bank group."""
    tccd_r: Ticks
    """Column accesses to another rank or stack id."""
    twtr: Ticks
    """tWTR_S: from the last write data to a read."""
    trtw: Ticks
    """From a read command to a write command."""
    trfc: Ticks
    """All-bank refresh."""
    trefi: Ticks
    """Mean distance of all-bank refreshes."""
    interleave: Bytes
    """Consecutive bytes in one row before the next bank group or channel takes over: the address mapping."""
    window: Count
    """Requests of one channel among which the controller chooses (its read queue, and its write queue)."""

    @property
    def bandwidth(self) -> BytesPerSecond:
        """Peak of one channel."""
        return BytesPerSecond(self.burst_bytes * TICKS_PER_SECOND // self.burst)

    @property
    def all_banks(self) -> int:
        """Banks of one channel."""
        return self.bank_groups * self.banks * self.ranks

    def faults(self) -> list[str]:
        """Names of the values that cannot be: all times and counts are at least 1, and sizes fit each other."""
        wrong = [item.name for item in fields(self) if item.type in _WHOLE and getattr(self, item.name) < 1]
        wrong += ["trefi"] * (self.trefi <= self.trfc + self.trp + self.trcd)
        wrong += ["row_bytes"] * (self.row_bytes < self.burst_bytes)
        wrong += ["interleave"] * (not self.burst_bytes <= self.interleave <= self.row_bytes)
        wrong += ["tccd_s"] * (self.tccd_s < self.burst)
        return wrong


_WHOLE: Final = frozenset({"Ticks", "Bytes", "Count"})


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
    """Bus time of a burst ÷ distance of column accesses (bank groups, ranks, column commands)."""
    turnaround: float
    """Time that the bus does not lose by turning between reads and writes."""
    rows: float
    """Time that the bus does not wait for activations and row cycles."""
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
    turn = _turnaround(timings, access)
    data = visit.bursts * (column + turn)
    return Achieved(
        refresh=1.0 - refresh_ticks(timings) / timings.trefi,
        columns=timings.burst / column,
        turnaround=column / (column + turn),
        rows=_rows_share(timings, access, visit, data),
        sectors=1.0 if access.run is None else access.run / moved,
    )


def refresh_ticks(timings: DramTimings) -> int:
    """Bus time lost to one all-bank refresh: close all rows after the last access, refresh, open the next row."""
    lost = timings.trtp + timings.trp + timings.trfc + timings.trcd - timings.tccd_s
    return min(lost, timings.trefi - 1)


def activation_ticks(timings: DramTimings, bursts: float = 1.0) -> float:
    """Least distance of two activations of one channel, each followed by `bursts` column accesses."""
    commands = timings.row_command + (bursts * timings.column_command if timings.command_buses == 1 else 0)
    return max(timings.trrd, timings.tfaw / 4, timings.pseudo_channels * commands)


def row_cycle_ticks(timings: DramTimings, bursts: float, write_share: float) -> float:
    """Mean time for which a visit with `bursts` accesses occupies its bank, from activation to activation."""
    more = bursts - 1
    read = max(timings.tras, timings.trcd + more * timings.tccd_l + timings.trtp) + timings.trp
    last = timings.trcd_write + more * timings.tccd_l_write + timings.tcwl + timings.burst
    write = last + timings.twr + timings.trp
    return (1 - write_share) * read + write_share * max(write, timings.tras + timings.trp)


def busy_banks(banks: int, waiting: float) -> float:
    """Banks that are busy when `waiting` visits to random banks wait for their bank, on the mean.

    Each bank is a queue with random arrivals and a constant service: at utilization r, r² ÷ 2(1 - r) visits wait
    (Pollaczek and Khinchine). With `waiting` ÷ `banks` = a of them at each, r = sqrt(a² + 2a) - a.
    """
    each = waiting / banks
    return banks * (math.sqrt(each * each + 2 * each) - each)


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
    """Mean distance of column accesses: bank groups alternate as far as the window reaches, ranks as runs do."""
    groups, seen = float(timings.bank_groups), max(1.0, timings.window / visit.block)  # blocks in the window
    if access.run is None or access.stride:
        groups = min(groups, seen)  # in turn
    else:
        groups *= 1 - (1 - 1 / groups) ** seen  # distinct ones of `seen` random draws
    least = float(timings.tccd_s)
    if timings.command_buses == 2:
        least = max(least, float(timings.pseudo_channels * timings.column_command))
    read, write = (max(least, distance / groups) for distance in (timings.tccd_l, timings.tccd_l_write))
    distance = (1 - access.write_share) * read + access.write_share * write
    if access.run is not None and timings.ranks > 1:
        others = timings.window / visit.run  # runs in the window beside the one that is served
        switches = (1 - 1 / timings.ranks) * others / (1 + others)
        distance += switches * max(0, timings.tccd_r - timings.tccd_s)
    return distance


def _turnaround(timings: DramTimings, access: Access) -> float:
    """Bus time lost per burst by turning from reads to writes and back.

    Writes go in batches of `WRITE_BATCH` of the window and those that arrive before the next read. Where runs open rows
    of their own, the first write of a batch also waits for its row; that of the first read is hidden behind tWTR.
    """
    writes = access.write_share
    if not 0 < writes < 1:
        return 0.0
    opening = 0 if access.run is None else timings.trp + timings.trcd_write
    to_write = max(timings.trtw, opening)
    to_read = timings.tcwl + timings.burst + timings.twtr
    batch = (WRITE_BATCH * timings.window + writes / (1 - writes)) / writes
    return max(0.0, to_write + to_read - 2 * timings.tccd_s) / batch


def _rows_share(timings: DramTimings, access: Access, visit: _Visit, data: float) -> float:
    """Part of the time in which rows do not keep the data bus waiting; `data` is the bus time of one visit."""
    opening = activation_ticks(timings, visit.bursts)
    if access.run is None or access.stride:
        return data / max(data, opening)  # the next rows are known: their banks are opened ahead in turn
    waiting = max(timings.window / visit.bursts, 2.0 * timings.bank_groups)  # a long run, and the next: a row per group
    cycle = row_cycle_ticks(timings, visit.block, access.write_share)
    opening = max(opening, cycle / busy_banks(timings.all_banks, waiting))
    return data / max(data, opening) * busy_share(min(data, opening) / max(data, opening), waiting)


def busy_share(ratio: float, jobs: float) -> float:
    """Utilization of the slower of two stations that `jobs` jobs visit in turn; `ratio` of their mean times, <= 1.

    For random times (1 - r^n) ÷ (1 - r^(n + 1)), n ÷ (n + 1) for equal ones: Gordon and Newell, Closed queuing
    systems with exponential servers, Operations Research 15 (1967).
    """
    if ratio >= 1.0:
        return jobs / (jobs + 1)
    return (1.0 - math.pow(ratio, jobs)) / (1.0 - math.pow(ratio, jobs + 1))
