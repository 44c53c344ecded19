"""What a shared cache could hold at best: Belady's rule over streamed storages, the bound of every replacement policy.

A cache that knows what comes lets go first of what is needed furthest in the future, and never takes in what something
nearer would push out again. The blocks, touches and streams are those of the LRU profile (`residency.py`). An
*interval* of a block, from a touch to the next, is worth keeping as far as the next kernel reads it again, and as far
as it is dirty: dirty bytes that stay until they are overwritten are never written back. What is neither is dead and
leaves first. Each interval keeps a share of its bytes, spread evenly over the block, so that what a cache holds while
a kernel streams lies between what it held before and what it will hold after: a capacity that is respected between
any two kernels is respected at every moment.

MIN keeps by time of the next read, and of what is not read again by time of overwriting; dirty bytes only get room
that no read can use. It misses the fewest bytes of reads, where no kernel reads a byte twice. It does not move the
fewest: to keep what is dirty instead of what is clean saves a write-back for a miss, and which of them pays is
NP-complete to decide even for blocks of one size (Beckmann et al.). So the bound is the best of three: MIN; the same
rule by time of the next read *or* overwriting; and LRU. It therefore never moves more than LRU, and a policy that moves
still less may exist.

All three hold what a smaller cache holds, and more (they are stack algorithms: the order in which they let go does not
depend on the capacity), so that a larger cache never moves more bytes in all. It may miss more of a single read.

Belady: A study of replacement algorithms for a virtual-storage computer, IBM Systems Journal 5(2), 1966.
Mattson, Gecsei, Slutz, Traiger: Evaluation techniques for storage hierarchies, IBM Systems Journal 9(2), 1970.
Beckmann, Gibbons, Haeupler, McGuffey: Writeback-aware caching, APOCS 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hiersim.lowering.furthest import Sweep
from hiersim.lowering.residency import ReuseProfile
from hiersim.model.operators import IntArray

ROUNDING: Final = 1e-6
"""Of a byte: shares are IEEE doubles, and 1/3 of 3 bytes is one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BeladyProfile:
    """Reuse of a kernel graph under Belady's rule; answers what a `ReuseProfile` answers. N items of V intervals."""

    profile: ReuseProfile
    """What is counted: R reads and W dirty chunks."""
    read_weight: IntArray
    """(V,) bytes that the kernel at the end of the interval reads again."""
    dirty_weight: IntArray
    """(V,) dirty bytes beyond these."""
    nearest_read: Sweep
    """MIN: intervals that end in a read before all others, then by their end. Items: see `_items`."""
    nearest_use: Sweep
    """All intervals by their end."""

    @property
    def chunk_bytes(self) -> IntArray:
        """(W,) bytes of each dirty chunk."""
        return self.profile.chunk_bytes

    def read_misses(self, size: IntArray, capacity: int) -> IntArray:
        """(R,) bytes of each read that the cache does not hold."""
        return self.moved(size, 0, capacity)[0]

    def write_backs(self, kernels: int, capacity: int) -> IntArray:
        """(K,) bytes that leave the cache for the next tier, booked with the kernel that wrote them."""
        return self.moved(self.profile.by_read(self.profile.piece_bytes), kernels, capacity)[1]

    def moved(self, size: IntArray, kernels: int, capacity: int) -> tuple[IntArray, IntArray]:
        """(R,) bytes missed by reads of these sizes and (K,) bytes written back, under the best of the three rules."""
        kernels = max(kernels, int(self.profile.chunk_kernel.max(initial=-1)) + 1)
        found = [self._moved_by(sweep, size, kernels, capacity) for sweep in (self.nearest_read, self.nearest_use)]
        found.append((self.profile.read_misses(size, capacity), self.profile.write_backs(kernels, capacity)))
        return min(found, key=lambda pair: int(pair[0].sum()) + int(pair[1].sum()))  # of equals the first

    def _moved_by(self, sweep: Sweep, size: IntArray, kernels: int, capacity: int) -> tuple[IntArray, IntArray]:
        reread, dirty = self._kept(sweep.run(capacity))
        pieces = self.profile.piece_bytes
        share = _share(reread, self.read_weight)[self.profile.piece_interval]
        hits = np.minimum(np.floor(share * pieces + ROUNDING).astype(np.int64), pieces)
        share = _share(reread + dirty, self.read_weight + self.dirty_weight)
        return size - self.profile.by_read(hits), self._leaving(share, kernels)

    def _kept(self, kept: IntArray) -> tuple[IntArray, IntArray]:
        """(V,) kept bytes that are read again, and dirty ones beyond these, of what is kept of all items."""
        reread, dirty = np.zeros_like(self.read_weight), np.zeros_like(self.dirty_weight)
        read_items, dirty_items = np.flatnonzero(self.read_weight), np.flatnonzero(self.dirty_weight)
        reread[read_items], dirty[dirty_items] = kept[: len(read_items)], kept[len(read_items) :]
        return reread, dirty

    def _leaving(self, share: np.ndarray[tuple[int], np.dtype[np.float64]], kernels: int) -> IntArray:
        """(K,) bytes of dirty chunks that do not stay until they are overwritten; `share` (V,) of an interval stays.

        The same bytes of a block stay in every interval, as far as the shares allow: the least share survives.
        """
        profile = self.profile
        survives = np.ones(len(profile.chunk_bytes))
        filled = np.diff(profile.chunk_ptr) > 0
        if len(profile.chunk_intervals):
            least = np.minimum.reduceat(share[profile.chunk_intervals], profile.chunk_ptr[:-1][filled])
            survives[filled] = least
        size = profile.chunk_bytes
        stays = np.minimum(np.floor(survives * size + ROUNDING).astype(np.int64), size)
        total = np.zeros(kernels, np.int64)
        np.add.at(total, profile.chunk_kernel, np.where(profile.chunk_flush == 1, size, size - stays))
        return total


def belady(profile: ReuseProfile, counted: ReuseProfile | None = None) -> BeladyProfile:
    """Belady's rule over the intervals of `profile`.

    Parameters
    ----------
    profile : ReuseProfile
        Reuse of all that the cache sees.
    counted : ReuseProfile, optional
        The reads and dirty chunks to answer for, where they are not all: the second of two runs. Its intervals are
        numbered like those of `profile`.
    """
    counted = counted or profile
    read_weight, dirty_weight = _weights(profile)
    interval, weight, dirty = _items(read_weight, dirty_weight)
    first, last = profile.interval_first[interval], profile.interval_last[interval]
    return BeladyProfile(
        profile=counted,
        read_weight=read_weight,
        dirty_weight=dirty_weight,
        nearest_read=Sweep(first, last, weight, np.lexsort((last, dirty))),
        nearest_use=Sweep(first, last, weight, np.argsort(last, kind="stable")),
    )


def _weights(profile: ReuseProfile) -> tuple[IntArray, IntArray]:
    """(V,) bytes of each interval that are read again at its end, and bytes beyond these that stay dirty."""
    again, dirty = np.zeros_like(profile.interval_bytes), np.zeros_like(profile.interval_bytes)
    np.add.at(again, profile.piece_interval, profile.piece_bytes)
    again = np.minimum(again, profile.interval_bytes)  # a kernel may read the same bytes twice
    held = np.where(profile.chunk_flush == 1, 0, profile.chunk_bytes)
    np.add.at(dirty, profile.chunk_intervals, np.repeat(held, np.diff(profile.chunk_ptr)))
    return again, np.maximum(dirty - again, 0)


def _items(read_weight: IntArray, dirty_weight: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """(N,) interval, bytes and 1 where they are only dirty: intervals that are read again, then dirty ones."""
    rows = [np.flatnonzero(read_weight), np.flatnonzero(dirty_weight)]
    dirty = np.repeat(np.arange(2), [len(row) for row in rows])
    return np.concatenate(rows), np.concatenate([read_weight[rows[0]], dirty_weight[rows[1]]]), dirty


def _share(part: IntArray, whole: IntArray) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(part / np.maximum(whole, 1))
