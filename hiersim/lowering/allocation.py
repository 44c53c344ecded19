"""Addresses in a scratchpad: storages whose lives overlap must not, and what is left between them is reported.

Storages are placed by size, the largest first, each in the smallest gap between those already placed that are alive
at any time with it, and above them where no gap is large enough: best fit. Large storages are the hard ones to place;
what comes later fills what they leave, and of many rules this one came closest to the least for neural networks
(Pisarchyk and Lee). Of equal sizes the one that lives longest goes first, which loses least on the bundled models; when
that loses anything at all, the one that lives first is tried as well, under which storages of one size need no more
than the largest sum of what is alive at once. No plan needs less than that sum, and the least is NP-hard to find (Garey
and Johnson, problem SR2).

Pisarchyk, Lee: Efficient memory management for deep neural net inference, arXiv:2001.03288, 2020 (greedy by size for
offset calculation).
Garey, Johnson: Computers and intractability, 1979 (dynamic storage allocation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hiersim.lowering.offsets import Pad
from hiersim.model.operators import IntArray

UNPLACED: Final = -1
"""Instead of an address."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Allocation:
    """Where S storages lie in a scratchpad."""

    address: IntArray
    """(S,) offset of the first byte; `UNPLACED` where no gap below the capacity was large enough."""
    peak_bytes: int
    """The highest address in use, plus one."""
    live_peak_bytes: int
    """The largest sum of placed storages that are alive at once: no addresses could do with less."""
    fragmented: IntArray
    """Storages that were not placed although the free bytes suffice at all times: they are never in one piece."""

    @property
    def unplaced(self) -> IntArray:
        """Storages that have to live elsewhere; those that are not `fragmented` find too few free bytes."""
        return np.flatnonzero(self.address == UNPLACED)

    @property
    def fragmentation(self) -> float:
        """Share of the peak that is lost between storages: 1 - live peak ÷ peak."""
        return 1 - self.live_peak_bytes / self.peak_bytes if self.peak_bytes else 0.0


def allocate(first: IntArray, last: IntArray, size: IntArray, capacity: int) -> Allocation:
    """Addresses for storages in a scratchpad of `capacity` bytes.

    N log N for N storages of which few are alive at once, N² where each is alive with all others.

    Parameters
    ----------
    first, last : (S,) array of int
        Kernels between which each storage is alive, both included: `placement.lifetimes`.
    size : (S,) array of int
        Bytes, >= 0.
    capacity : int
        Bytes, >= 0.
    """
    assert len(first) == len(last) == len(size), "one life and one size for each storage"
    assert bool(np.all((first <= last) & (first >= 0) & (size >= 0))), "lives that end after they begin, and sizes"
    rows = np.argsort(first, kind="stable")
    pad = Pad(first[rows], last[rows], size[rows])
    best: Allocation | None = None
    for tie in (first - last, first):  # the longest life, the earliest
        address = np.empty(len(rows), np.int64)
        address[rows] = pad.place(np.lexsort((tie[rows], -size[rows])), capacity)
        found = _report(address, first, last, size, capacity)
        if best is None or _loss(found, size) < _loss(best, size):
            best = found
        if best.peak_bytes == best.live_peak_bytes and not len(best.unplaced):
            break
    assert best is not None
    return best


def _loss(allocation: Allocation, size: IntArray) -> tuple[int, int]:
    """What makes a plan worse: bytes without a place, then the peak."""
    return int(size[allocation.unplaced].sum()), allocation.peak_bytes


def _report(address: IntArray, first: IntArray, last: IntArray, size: IntArray, capacity: int) -> Allocation:
    placed = address != UNPLACED
    live = _alive(first[placed], last[placed], size[placed], int(last.max(initial=0)) + 1)
    return Allocation(
        address=address,
        peak_bytes=int((address + size)[placed].max(initial=0)),
        live_peak_bytes=int(live.max(initial=0)),
        fragmented=_fragmented(np.flatnonzero(~placed), first, last, capacity - size, live),
    )


def _alive(first: IntArray, last: IntArray, size: IntArray, kernels: int) -> IntArray:
    """(K,) bytes that are alive while each kernel runs."""
    change = np.zeros(kernels + 1, np.int64)
    np.add.at(change, first, size)
    np.subtract.at(change, last + 1, size)
    return np.cumsum(change[:-1])


def _fragmented(rows: IntArray, first: IntArray, last: IntArray, room: IntArray, live: IntArray) -> IntArray:
    """Of some storages those during whose life never more than `room` (S,) bytes are alive."""
    if not len(rows):
        return rows
    ends = np.stack([first[rows], last[rows] + 1], axis=1).reshape(-1)
    most = np.maximum.reduceat(np.append(live, 0), ends)[::2]
    return rows[most <= room[rows]]
