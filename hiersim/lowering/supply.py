"""What far tiers supply and take where that does not follow from LRU: bytes that are said explicitly.

The far tiers are the shared tiers beyond the nearest, from near to far: far tier `l` supplies what the shared tier
before it does not hold and takes what is written back from there. Without more, both follow from the LRU reuse
distances of a kernel class and the capacity of the tier before. Whoever knows better (another replacement policy, a
plan of where each tensor lives) says the bytes, kernel by kernel; kernels that are told different bytes are no longer
one class.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np

from hiersim.lowering.classes import Column, Ragged, equal_rows
from hiersim.lowering.work import KernelClasses
from hiersim.lowering.workload import Workload
from hiersim.model.operators import IntArray

BY_LRU: Final = -1
"""Instead of a number of bytes: what follows from LRU."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FarBytes:
    """Bytes of R reads (in the order of `graph.reads`) and K kernels at L far tiers."""

    read: IntArray
    """(R, L) bytes of each read that the tier supplies, at most the read's own; or `BY_LRU`."""
    write: IntArray
    """(K, L) bytes of each kernel's writes that the tier takes; or `BY_LRU`."""
    again: IntArray | None = None
    """(R, L) bytes of each read that the tier supplies for a *further* pass over it (an operand panel that the cache
    before it could not keep), at most the read's own.

    None: all of them, at every tier; a tier then stands behind the one before it and supplies no more than that was
    asked for. Given: the tiers stand beside each other, each is home to tensors of its own, and none limits another.
    """


def with_far_bytes(workload: Workload, far: FarBytes) -> Workload:
    """`workload` with kernel classes that say what far tiers supply and take; its old classes are split as needed."""
    graph, old = workload.graph, workload.classes
    levels = _checked(workload, far)
    ptr = graph.reads.ptr * levels
    rows: list[Column] = [workload.kernel_class, Ragged(ptr, far.read.reshape(-1)), *far.write.T]
    if far.again is not None:
        rows.append(Ragged(ptr, far.again.reshape(-1)))
    label, first = equal_rows(rows)
    columns = _reuse_of(old, workload.kernel_class[first])
    columns["class_count"] = np.bincount(label, minlength=len(first)).astype(np.int64)
    columns["far_read"] = Ragged(ptr, far.read.reshape(-1)).rows(first).values
    columns["far_write"] = far.write[first].reshape(-1)
    if far.again is not None:
        columns["far_again"] = Ragged(ptr, far.again.reshape(-1)).rows(first).values
    kept = {name: values for name, values in old.arrays.items() if not name.startswith("far_")}
    return dataclasses.replace(workload, kernel_class=label, classes=KernelClasses({**kept, **columns}))


def _checked(workload: Workload, far: FarBytes) -> int:
    """How many far tiers there are; compiled code reads the columns without looking at their length again."""
    reads, (kernels, levels) = workload.graph.reads, far.write.shape
    assert kernels == len(workload), "a row of written bytes for each kernel"
    for column, least in ((far.read, BY_LRU), (far.again, 0)):
        if column is not None:
            assert column.shape == (len(reads.tensor), levels), "a row of read bytes for each read"
            assert bool(np.all((column >= least) & (column <= reads.size[:, None]))), "no more than the read asks for"
    assert bool(np.all(far.write >= BY_LRU))
    return levels


def _reuse_of(classes: KernelClasses, chosen: IntArray) -> dict[str, IntArray]:
    """The shape and LRU reuse of the chosen classes, one after the other, as columns of `KernelClasses`."""
    old = classes.arrays
    columns = {"class_shape": old["class_shape"][chosen]}
    pieces = Ragged(old["class_read_ptr"], np.diff(old["piece_ptr"])).rows(chosen)
    columns["class_read_ptr"] = pieces.ptr
    columns["piece_ptr"] = np.concatenate(([0], np.cumsum(pieces.values)))
    for name in ("piece_low", "piece_high", "piece_bytes"):
        columns[name] = Ragged(old["piece_ptr"][old["class_read_ptr"]], old[name]).rows(chosen).values
    places = np.arange(len(old["chunk_bytes"]), dtype=np.int64)
    chunks = Ragged(old["chunk_ptr"], places).rows(chosen)
    columns["chunk_ptr"] = chunks.ptr
    columns["chunk_bytes"], columns["chunk_flush"] = (
        old[name][chunks.values] for name in ("chunk_bytes", "chunk_flush")
    )
    for name in ("interval_low", "interval_high"):
        lists = Ragged(old["interval_ptr"], old[name]).rows(chunks.values)
        columns[name], columns["interval_ptr"] = lists.values, lists.ptr
    return columns
