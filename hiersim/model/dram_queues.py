"""Rows that are anywhere: what a controller's window of waiting requests gets out of banks, bank groups and the bus.

A *visit* brings some requests to one row of a random bank. It waits for its bank, which is busy with the visit before
it until that has recovered; precharge and activation follow, then its turn in the bank group and on the bus. Visits are
drawn at random and served in a constant time, so that each station is a queue of Pollaczek and Khinchine: at
utilization u, a service of s waits u · s ÷ 2(1 - u), and u² ÷ 2(1 - u) wait on the mean. The window is a closed system:
what waits in it is what it holds. That fixes the one unknown, the mean time between visits.

- Behind a station of constant service a faster one never waits, and a slower one only for what is left to wait
  (Friedman, Reduction methods for tandem queuing systems, Operations Research 13, 1965): activations, then the bus.
- Who waits for a group or for the bus finds it busy with *other* banks, and holds its own bank meanwhile.
- The controller takes a visit's first request out of its window when it opens the row; the others leave with their
  bursts. So a visit that waits for its bank fills more of the window than one that moves data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hiersim.model.dram_timings import DramTimings

STEPS = 48
"""Halvings of the interval that is searched: to the last bits of a float."""


def activation_ticks(timings: DramTimings, bursts: float = 1.0) -> float:
    """Least distance of two activations of one channel, each followed by `bursts` column accesses."""
    commands = timings.row_command + (bursts * timings.column_command if timings.command_buses == 1 else 0)
    return max(timings.trrd, timings.tfaw / 4, timings.pseudo_channels * commands)


def row_cycle_ticks(timings: DramTimings, bursts: float, write: bool) -> float:
    """Time for which a visit with `bursts` accesses occupies its bank, from activation to activation."""
    more = max(bursts - 1, 0.0)
    if write:
        open_ = timings.trcd_write + more * timings.tccd_l_write + timings.tcwl + timings.burst + timings.twr
    else:
        open_ = timings.trcd + more * timings.tccd_l + timings.trtp
    return max(timings.tras, open_) + timings.trp


def queueing_ticks(service: float, interval: float) -> float:
    """Mean wait for a constant `service` that is asked for at random, every `interval` on the mean."""
    used = service / interval
    return used * service / 2 / (1 - used) if used < 1 else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomVisits:
    """Visits to random rows, all reads or all writes."""

    timings: DramTimings
    bursts: float
    """Requests of one visit."""
    column: float
    """Distance of column accesses on the bus, in ticks."""
    write: bool

    def interval(self, window: float) -> float:
        """Mean time between visits, in ticks, while `window` requests wait."""
        low = self.least
        if self.waiting(low * (1 + 1e-9)) <= window:
            return low
        high = 2 * low
        while self.waiting(high) > window:
            low, high = high, 2 * high
        for _ in range(STEPS):
            middle = (low + high) / 2
            if self.waiting(middle) > window:
                low = middle
            else:
                high = middle
        return high

    @property
    def least(self) -> float:
        """The interval of an endless window: that of the busiest station."""
        timings = self.timings
        banks = row_cycle_ticks(timings, self.bursts, self.write) / timings.all_banks
        groups = self._group_ticks / (timings.bank_groups * timings.ranks)
        return max(self.bursts * self.column, activation_ticks(timings, self.bursts), groups, banks)

    @property
    def _group_ticks(self) -> float:
        """For which a visit occupies its bank group."""
        return self.bursts * (self.timings.tccd_l_write if self.write else self.timings.tccd_l)

    def waiting(self, interval: float) -> float:
        """Requests in the window, on the mean, if a visit comes every `interval` ticks; falls with it."""
        timings, data, more = self.timings, self.bursts * self.column, max(self.bursts - 1, 0.0)
        activation = queueing_ticks(activation_ticks(timings, self.bursts), interval)
        groups, others = timings.bank_groups * timings.ranks, 1 - 1 / timings.banks
        group = queueing_ticks(self._group_ticks, groups * interval) * others if others else 0.0
        bus = queueing_ticks(data, interval) / self.bursts  # for the first burst: those of other visits come between
        if math.isinf(activation + group + bus):
            return math.inf
        column = max(0.0, bus - activation) + group
        used = (row_cycle_ticks(timings, self.bursts, self.write) + column) / timings.all_banks / interval
        if used >= 1:
            return math.inf
        opening = timings.trcd_write if self.write else timings.trcd
        closed = timings.all_banks * used * used / 2 / (1 - used) + (timings.trp + activation) / interval
        opened = (opening + column + max(data, self._group_ticks) / 2) / interval
        return self.bursts * closed + more * opened
