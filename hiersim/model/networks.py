"""Operators and kernels as a networkx graph: for cycles, for drawing, and for people who think in graphs.

networkx is imported when it is used; hot paths stay with the flat columns.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import numpy as np

from hiersim.model.operators import PRODUCED, Accesses, IntArray, Kind, TensorTable

if TYPE_CHECKING:
    import networkx

    from hiersim.model.kernels import KernelGraph
    from hiersim.model.trace import OperatorGraph


def rows_of(access: Accesses) -> IntArray:
    """(A,) the row that each access belongs to."""
    return np.repeat(np.arange(len(access.ptr) - 1), np.diff(access.ptr))


def dependences(tensors: TensorTable, reads: Accesses, writes: Accesses) -> dict[tuple[int, int], int]:
    """(writer, reader) → bytes, for tensors that are made on the way.

    The writer is the last one before the reader; where none is before it, the first one after it, so that
    an impossible order shows as an edge that points back.
    """
    writers: dict[int, list[int]] = {}
    for row, storage in zip(rows_of(writes).tolist(), tensors.tensor_storage[writes.tensor].tolist(), strict=True):
        writers.setdefault(storage, []).append(row)
    produced = set(np.flatnonzero(np.isin(tensors.storage_role, [int(role) for role in PRODUCED])).tolist())
    edges: dict[tuple[int, int], int] = {}
    storages = tensors.tensor_storage[reads.tensor].tolist()
    for row, storage, size in zip(rows_of(reads).tolist(), storages, reads.size.tolist(), strict=True):
        if storage in produced and storage in writers:
            before = bisect_left(writers[storage], row)
            writer = writers[storage][max(before - 1, 0)]
            edges[writer, row] = edges.get((writer, row), 0) + size
    return edges


def to_networkx(graph: OperatorGraph | KernelGraph) -> networkx.DiGraph[int]:
    """The rows of `graph` as nodes with `name` (and `kind` of an operator), its dependences as edges with `bytes`."""
    import networkx

    network: Any = networkx.DiGraph()
    names = getattr(graph, "names", None)
    for row in range(len(graph.reads.ptr) - 1):
        if names is not None:
            network.add_node(row, name=names[row])
        else:
            kind = Kind(int(graph.operators.kind[row])).name.lower()
            network.add_node(row, name=graph.operators.label(row), kind=kind)
    for (writer, reader), size in dependences(graph.tensors, graph.reads, graph.writes).items():
        network.add_edge(writer, reader, bytes=size)
    return network


def find_cycle(tensors: TensorTable, reads: Accesses, writes: Accesses, row: int) -> list[int]:
    """Rows of a cycle of dependences through `row`, in order; empty when there is none."""
    import networkx

    network: Any = networkx.DiGraph(list(dependences(tensors, reads, writes)))
    if row not in network:
        return []
    back = networkx.single_target_shortest_path(network, row)
    ways = [back[after] for after in network.successors(row) if after in back]
    return [row, *min(ways, key=len)] if ways else []
