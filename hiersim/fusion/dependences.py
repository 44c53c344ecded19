"""Who must run before whom in an operator graph: true, anti and output dependences through storages.

A storage is what may alias: two tensors of one storage may share bytes, whatever their shapes say, so that
dependences are kept by storage. An operator reads before it writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hiersim.model.networks import rows_of
from hiersim.model.operators import PRODUCED, IntArray
from hiersim.model.trace import OperatorGraph

MOST_WRITERS: Final = 8
"""Partial writers that one read is followed back to; with more of them, the read counts as one from memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dependences:
    """Dependences of the N operators of a graph; E true ones, O others.

    A read sees the last write that covers the whole storage and every partial one after it.
    """

    source: IntArray
    """(E,) operator that writes."""
    target: IntArray
    """(E,) operator that reads what `source` wrote."""
    access: IntArray
    """(E,) index of the read in `graph.reads`; in the order of `access`, writers from first to last."""
    write: IntArray
    """(E,) index of the write in `graph.writes`."""
    initial: IntArray
    """(A,) 1 where a read may see what was in the storage before the first operator."""
    kept: IntArray
    """(W,) 1 where a write must reach memory whoever reads it: too many partial writers to follow."""
    before: IntArray
    """(O,) operator that reads, or writes, what `after` overwrites."""
    before_access: IntArray
    """(O,) index of its access in `graph.reads`, or in `graph.writes` where `before_writes`."""
    before_writes: IntArray
    """(O,)"""
    after: IntArray
    """(O,)"""
    after_write: IntArray
    """(O,) index of the later write in `graph.writes`."""


def dependences(graph: OperatorGraph) -> Dependences:
    """The dependences of `graph`; vectorised, in O(A log A) of its A accesses."""
    tensors = graph.tensors
    reads, writes = len(graph.reads.tensor), len(graph.writes.tensor)
    storage = np.concatenate([tensors.tensor_storage[graph.reads.tensor], tensors.tensor_storage[graph.writes.tensor]])
    row = np.concatenate([rows_of(graph.reads), rows_of(graph.writes)])
    is_write = np.repeat([0, 1], [reads, writes])
    index = np.concatenate([np.arange(reads), np.arange(writes)])
    size = np.concatenate([graph.reads.size, graph.writes.size])
    order = np.lexsort((index, is_write, row, storage))
    storage, row, is_write, index, size = (column[order] for column in (storage, row, is_write, index, size))
    place = np.arange(len(order))
    start = np.searchsorted(storage, storage)  # first event of the same storage
    number = np.cumsum(is_write) - is_write  # writes before this event, all storages together
    first = number[start] if len(start) else number
    whole = (is_write == 1) & (size >= tensors.storage_bytes[storage])
    latest = np.maximum.accumulate(np.where(whole, place, -1)) if len(place) else place
    latest = np.concatenate([[-1], latest[:-1]])[: len(place)]  # before this event
    covered = latest >= start
    low = np.where(covered, number[np.maximum(latest, 0)], first)

    writer, write = row[is_write == 1], index[is_write == 1]
    seen = np.flatnonzero(is_write == 0)
    seen = seen[np.argsort(index[seen], kind="stable")]
    begin, end = low[seen], number[seen]
    cut = np.maximum(begin, end - MOST_WRITERS)
    counts = end - cut
    edge_access = np.repeat(np.arange(reads), counts)
    ordinal = np.repeat(cut - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
    produced = np.isin(tensors.storage_role, [int(role) for role in PRODUCED])
    initial = (~covered[seen] & ~produced[storage[seen]]) | (cut > begin)
    kept = np.zeros(writes + 1, np.int64)
    np.add.at(kept, begin[cut > begin], 1)
    np.add.at(kept, cut[cut > begin], -1)
    keep = np.zeros(writes, np.int64)
    keep[write] = np.cumsum(kept)[:-1] > 0
    earlier, later = _order_only(storage, row, is_write)
    return Dependences(
        source=writer[ordinal],
        target=rows_of(graph.reads)[edge_access],
        access=edge_access,
        write=write[ordinal],
        initial=initial.astype(np.int64),
        kept=keep,
        before=row[earlier],
        before_access=index[earlier],
        before_writes=is_write[earlier],
        after=row[later],
        after_write=index[later],
    )


def _order_only(storage: IntArray, row: IntArray, is_write: IntArray) -> tuple[IntArray, IntArray]:
    """Pairs of events: whatever touched a storage since its last write, and the next write."""
    place = np.arange(len(row))
    is_next = np.where(is_write == 1, place, len(place))
    following = np.minimum.accumulate(is_next[::-1])[::-1] if len(place) else place  # next write at or after
    following = np.append(following, len(place))[1:]  # strictly after
    inside = following < len(place)
    at = np.minimum(following, max(len(place) - 1, 0))
    pair = inside & (storage[at] == storage) & (row[at] != row) if len(place) else inside
    return np.flatnonzero(pair), at[pair]
