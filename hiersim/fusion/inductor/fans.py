"""How many users TorchInductor counts of a value: the users of one node of its graph, views among them."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from hiersim.fusion.dependences import Dependences
from hiersim.model.operators import IntArray, Kind
from hiersim.model.trace import OperatorGraph

LISTS: Final = ("split", "split_with_sizes", "chunk", "unbind", "tensor_split", "unsafe_split", "unsafe_chunk")
"""Views that give a list of parts, of which nobody asks whether they are used again (`GraphLowering.run_node`)."""


def fans(graph: OperatorGraph, links: Dependences, one: IntArray, other: IntArray, times: IntArray) -> list[int]:
    """(N,) users of each operator's result, those twice that use it twice.

    A value that is split into a list of parts has one user, the split; what counts are the users of each part.

    Parameters
    ----------
    one, other : (P,)
        Pairs of operators, the second of which reads what the first writes, in rising order.
    times : (N,)
        How often an operator uses its operand.
    """
    found: list[int] = np.bincount(one, times[other], len(graph.operators)).astype(np.int64).tolist()
    for row, parts in _split_up(graph, links, one, other).items():
        users = Counter[int]()
        for offset, reader in parts:
            users[offset] += int(times[reader])
        found[row] = max(users.values())
    return found


def _split_up(
    graph: OperatorGraph, links: Dependences, one: IntArray, other: IntArray
) -> dict[int, set[tuple[int, int]]]:
    """Operators whose result is split into parts before anybody reads it → where each part begins, and its reader."""
    table, names = graph.operators, graph.operators.strings
    listed = np.array([text.partition(".")[2].partition(".")[0] in LISTS for text in names], np.bool_)
    at = np.flatnonzero(listed[table.name] & (table.kind == Kind.VIEW))
    if not len(at):
        return {}
    producers, begin = np.unique(one, return_index=True)
    first = np.minimum.reduceat(other, begin) if len(begin) else other
    chosen = np.zeros(len(table), np.bool_)
    chosen[producers[np.searchsorted(at, producers) < np.searchsorted(at, first)]] = True
    kept = np.flatnonzero(chosen[links.source] & (links.source != links.target))
    read = graph.reads.tensor[links.access[kept]]
    part = graph.reads.size[links.access[kept]] < graph.writes.size[links.write[kept]]
    found: dict[int, set[tuple[int, int]]] = {}
    whole = set(links.source[kept[~part]].tolist())
    offsets, rows, readers = graph.tensors.tensor_offset[read], links.source[kept], links.target[kept]
    for row, offset, reader in zip(rows.tolist(), offsets.tolist(), readers.tolist(), strict=True):
        if row not in whole:
            found.setdefault(row, set()).add((offset, reader))
    return found
