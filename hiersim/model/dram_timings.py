"""One channel of a DRAM: its organisation, its JEDEC timings, and what its controller does with them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from hiersim.units import TICKS_PER_SECOND, Bytes, BytesPerSecond, Count, Ticks


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
    """Reads of another rank or stack id; writes follow each other at tCCD_S whatever their rank."""
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
