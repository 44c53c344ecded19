"""Storages cut where views begin and end, so that a part of a storage is an object of its own to who follows its bytes.

A trace knows where a view begins and how many bytes it touches, not its strides. So views are laid out: of the views of
a storage, or inside a larger view that begins before them, those that fit beside each other lie side by side in order
of their offsets (the queries, keys and values of one product, whose rows alternate, as well as one half and the other);
else each lies where it begins (overlapping windows). Whoever touches less than a view touches its first bytes.

Only storages of which kernels touch parts beside each other are cut, or one kernel several parts: of parts within each
other the smaller one might as well be the beginning of the larger, as long as each kernel touches one of them. Freed
memory is reused by storages of equal size: all of these are cut alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from hiersim.lowering.classes import Ragged
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED, Accesses, BoolArray, IntArray, TensorTable

MOST_PIECES: Final = 32
"""A storage with more of them is cut at so many places only, evenly chosen."""
MOST_VIEWS: Final = 64
"""Of more views of a storage, each lies where it begins."""


class View(NamedTuple):
    """Some bytes of a storage."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pieces:
    """A kernel graph whose storages are pieces of those of another, R reads and W writes there."""

    graph: KernelGraph
    """One access for each piece that an access of the other graph touches, one behind the other."""
    read_ptr: IntArray
    """CSR (R + 1,) of its reads by those of the other graph."""
    write_of: IntArray
    """The write of the other graph that each of its writes is a part of."""
    storage_of: IntArray
    """The storage that each piece is of."""
    kind: IntArray
    """Pieces of one kind take each other's place in reused memory: equal size of the storage, equal place in it."""


def numbered(values: IntArray) -> IntArray:
    """The number of each value among those that differ, ascending (np.unique would import masked arrays)."""
    order = np.argsort(values, kind="stable")
    number = np.zeros(len(order), np.int64)
    number[order[1:]] = np.cumsum(np.diff(values[order]) > 0)
    return number


def cut(graph: KernelGraph) -> Pieces | None:
    """The pieces of a graph; None where kernels touch no two parts of a storage beside each other or at once."""
    table = graph.tensors
    touched = np.zeros(len(table.tensor_storage), bool)
    touched[graph.reads.tensor] = touched[graph.writes.tensor] = True
    room = table.storage_bytes[table.tensor_storage]
    parts = np.flatnonzero(touched & (table.tensor_bytes < room))
    at_once = _touched_at_once(graph, parts)
    uneven = _differ(table, parts) | at_once
    if not uneven.any():
        return None
    kind = numbered(table.storage_bytes)
    shared = np.isin(table.storage_role, [int(role) for role in PRODUCED])
    kind = np.where(shared, kind, len(kind) + np.arange(len(kind)))  # what is there from the start shares with nobody
    begin = np.zeros(len(touched), np.int64)
    places = _placed(table, parts[uneven[table.tensor_storage[parts]]], begin, at_once)
    cuts: dict[int, set[int]] = {}
    for storage, ends in places.items():
        cuts.setdefault(int(kind[storage]), set()).update(ends)
    return _pieces(graph, kind, begin, {key: _fewer(sorted(ends)) for key, ends in cuts.items()}) if cuts else None


def _differ(table: TensorTable, tensors: IntArray) -> BoolArray:
    """(S,) whether some tensors of a storage begin at different places."""
    storage, value = table.tensor_storage[tensors], table.tensor_offset[tensors]
    some = np.zeros(len(table.storage_bytes), np.int64)
    some[storage] = value
    differ = np.zeros(len(some), bool)
    differ[storage[some[storage] != value]] = True
    return differ


def _touched_at_once(graph: KernelGraph, parts: IntArray) -> BoolArray:
    """(S,) whether one kernel touches two views of a storage that are not the same bytes."""
    table = graph.tensors
    found = np.zeros(len(table.storage_bytes), bool)
    sides = (graph.reads, graph.writes)
    kernel = np.concatenate([np.repeat(np.arange(len(graph)), np.diff(side.ptr)) for side in sides])
    tensor = np.concatenate([side.tensor for side in sides])
    found[table.tensor_storage[parts]] = True  # of the others every view is all of it
    kept = found[table.tensor_storage[tensor]]
    kernel, tensor = kernel[kept], tensor[kept]
    storage = table.tensor_storage[tensor]
    order = np.lexsort((storage, kernel))
    kernel, tensor, storage = kernel[order], tensor[order], storage[order]
    same = (np.diff(kernel) == 0) & (np.diff(storage) == 0)
    other = (np.diff(table.tensor_offset[tensor]) != 0) | (np.diff(table.tensor_bytes[tensor]) != 0)
    found[:] = False
    found[storage[1:][same & other]] = True
    return found


def _placed(table: TensorTable, tensors: IntArray, begin: IntArray, at_once: BoolArray) -> dict[int, set[int]]:
    """Where the pieces of each storage end, of those with parts beside each other or touched at once.

    Sets where the tensors `begin`.
    """
    views: dict[int, list[tuple[int, View]]] = {}
    columns = (tensors, table.tensor_storage[tensors], table.tensor_offset[tensors], table.tensor_bytes[tensors])
    for tensor, storage, offset, size in zip(*(column.tolist() for column in columns), strict=True):
        views.setdefault(storage, []).append((tensor, View(offset, size)))
    known: dict[tuple[int, frozenset[View]], dict[View, int]] = {}
    found: dict[int, set[int]] = {}
    for storage, some in views.items():
        key = int(table.storage_bytes[storage]), frozenset(view for _, view in some)
        if key not in known:
            known[key] = layout(key[1], key[0])
        places = known[key]
        if at_once[storage] or _beside_each_other(places):
            begin[[tensor for tensor, _ in some]] = [places[view] for _, view in some]
            found[storage] = {0, key[0]}.union(*((at, min(at + view.size, key[0])) for view, at in places.items()))
    return found


def _beside_each_other(places: dict[View, int]) -> bool:
    """Whether some view is not within all that are larger."""
    spans = sorted((view.size, begin) for view, begin in places.items())
    return any(begin < around or begin + size > around + room for (size, begin), (room, around) in pairwise(spans))


def _fewer(cuts: list[int]) -> list[int]:
    """At most so many cuts that no storage has more than `MOST_PIECES`."""
    if len(cuts) <= MOST_PIECES + 1:
        return cuts
    return [cuts[index * (len(cuts) - 1) // MOST_PIECES] for index in range(MOST_PIECES + 1)]


def layout(views: Iterable[View], room: int) -> dict[View, int]:
    """Where each of the distinct `views` of a storage of `room` bytes begins."""
    order = sorted(views, key=lambda view: (-view.size, view.offset))
    if len(order) > MOST_VIEWS:
        return {view: max(0, min(view.offset, room - view.size)) for view in order}
    inside: dict[View | None, list[View]] = {}
    for view in order:
        around = [
            other for other in order
            if other.size > view.size and other.offset <= view.offset < other.offset + other.size
        ]  # fmt: skip
        nearest = max(around, key=lambda other: (other.offset, -other.size)) if around else None
        inside.setdefault(nearest, []).append(view)
    found: dict[View, int] = {}
    for around_ in (None, *order):  # the larger ones come first
        if around_ in inside:
            start, least, most = (found[around_], around_.offset, around_.size) if around_ else (0, 0, room)
            for view, begin in _beside(sorted(inside[around_]), least, most).items():
                found[view] = start + begin
    return found


def _beside(views: list[View], least: int, room: int) -> dict[View, int]:
    """Where views within `room` bytes that begin at `least` begin, from there: beside each other if they fit."""
    left = sum(view.size for view in views)
    if left > room:
        return {view: max(0, min(view.offset - least, room - view.size)) for view in views}
    found, reached = {}, 0
    for view in views:
        found[view] = min(max(view.offset - least, reached), room - left)
        reached = found[view] + view.size
        left -= view.size
    return found


def _pieces(graph: KernelGraph, kind: IntArray, begin: IntArray, cuts: dict[int, list[int]]) -> Pieces:
    """Storages cut at the `cuts` of their `kind`; the views that kernels touch `begin` there."""
    table = graph.tensors
    ends = [cuts.get(key, [0, room]) for key, room in zip(kind.tolist(), table.storage_bytes.tolist(), strict=True)]
    ptr = np.cumsum([0, *(len(row) - 1 for row in ends)]).astype(np.int64)
    whole = np.diff(ptr) == 1
    low, high = (np.array([place for row in ends for place in row[part]], np.int64) for part in _SIDES)
    storage_of = np.repeat(np.arange(len(ends)), np.diff(ptr))
    number = np.arange(len(storage_of)) - ptr[storage_of]
    first = _first_accesses(graph)
    sides, parts = [], Ragged(ptr, np.arange(len(storage_of))).rows(table.tensor_storage)
    for side, access in enumerate((graph.reads, graph.writes)):
        spread = parts.rows(access.tensor)
        row, piece = np.repeat(np.arange(len(access.tensor)), spread.lengths), spread.values
        at = begin[access.tensor[row]]
        size = np.minimum(at + access.size[row], high[piece]) - np.maximum(at, low[piece])
        size = np.where(whole[storage_of[piece]], access.size[row], np.maximum(size, 0))
        # the first access to a storage touches no bytes of its other pieces, but all are allocated together
        kept = (
            (size > 0) | (first[side][row] & ~whole[storage_of[piece]]) | (number[piece] == 0) & (access.size[row] == 0)
        )
        row, piece = row[kept], piece[kept]
        by_access = np.searchsorted(row, np.arange(len(access.tensor) + 1)).astype(np.int64)
        tensor = parts.ptr[access.tensor[row]] + number[piece]
        sides.append((Accesses(ptr=by_access[access.ptr], tensor=tensor, size=size[kept]), by_access, row))
    origin = np.repeat(np.arange(len(table.tensor_storage)), parts.lengths)
    tensors = dataclasses.replace(
        table,
        storage_names=tuple(table.storage_names[storage] for storage in storage_of.tolist()),
        storage_bytes=np.where(whole[storage_of], table.storage_bytes[storage_of], high - low),
        storage_role=table.storage_role[storage_of],
        storage_free=table.storage_free[storage_of],
        storage_output=table.storage_output[storage_of],
        tensor_storage=parts.values,
        tensor_dtype=table.tensor_dtype[origin],
        tensor_bytes=table.tensor_bytes[origin],
        tensor_offset=np.zeros(len(origin), np.int64),
        shape_ptr=np.zeros(len(origin) + 1, np.int64),
        shape=np.zeros(0, np.int64),
    )
    return Pieces(
        graph=dataclasses.replace(graph, tensors=tensors, reads=sides[0][0], writes=sides[1][0]),
        read_ptr=sides[0][1],
        write_of=sides[1][2],
        storage_of=storage_of,
        kind=numbered(kind[storage_of] * (MOST_PIECES + 1) + number),
    )


_SIDES: Final = (slice(None, -1), slice(1, None))


def _first_accesses(graph: KernelGraph) -> tuple[BoolArray, BoolArray]:
    """Which reads and which writes are the first access to their storage; kernels read before they write."""
    sides = (graph.reads, graph.writes)
    storage = [graph.tensors.tensor_storage[access.tensor] for access in sides]
    turn = [2 * np.repeat(np.arange(len(graph)), np.diff(access.ptr)) + side for side, access in enumerate(sides)]
    order = np.argsort(np.concatenate(turn), kind="stable")
    first = np.zeros(len(order), bool)
    seen = np.full(len(graph.tensors.storage_bytes), len(order), np.int64)
    np.minimum.at(seen, np.concatenate(storage)[order], np.arange(len(order)))
    first[order[seen[seen < len(order)]]] = True
    return first[: len(storage[0])], first[len(storage[0]) :]
