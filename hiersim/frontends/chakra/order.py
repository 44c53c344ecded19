"""An order in which every node comes after what it depends on."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Final

from hiersim.errors import TraceError
from hiersim.frontends.chakra.schema import Node

SHOWN: Final = 6
"""Edges of a cycle that its error names."""


def ordered(nodes: Sequence[Node], file: str) -> tuple[list[Node], list[str]]:
    """Nodes in dependence order, the smallest (start, id) first among those ready; and notes on what was not kept.

    Control dependences order as data dependences do. PyTorch's converter keeps an operator's caller there, which may
    itself wait for the data of that operator: then they only say who called whom, and data alone decide.

    Raises
    ------
    TraceError
        Nodes that wait for each other's data: the cycle, edge by edge.
    """
    notes: list[str] = []
    out, waits, lost = _sorted(nodes, with_control=True)
    if len(out) < len(nodes):
        out, waits, lost = _sorted(nodes, with_control=False)
        notes.append("control dependences contradict the data dependences and do not order the nodes")
    for node in nodes:
        if node.id in node.data_deps:  # PyTorch's root calls itself: that is no cycle
            raise _cycle([node.id], file)
    if len(out) < len(nodes):
        raise _cycle(_walk(waits, {node.id: node for node in nodes}), file)
    if lost:
        notes.append(f"{lost} dependences lead to nodes that could not be found in the file")
    return out, notes


def _sorted(nodes: Sequence[Node], *, with_control: bool) -> tuple[list[Node], dict[int, int], int]:
    """What could be ordered, for how many others each node still waits, and edges that lead nowhere."""
    by_id = {node.id: node for node in nodes}
    waits: dict[int, int] = {}
    followers: dict[int, list[int]] = {}
    lost = 0
    for node in nodes:
        deps = {*node.data_deps, *(node.ctrl_deps if with_control else ())} - {node.id}
        found = [dep for dep in deps if dep in by_id]
        lost += len(deps) - len(found)
        waits[node.id] = len(found)
        for dep in found:
            followers.setdefault(dep, []).append(node.id)
    ready = [(node.start, node.id) for node in nodes if waits[node.id] == 0]
    heapq.heapify(ready)
    out: list[Node] = []
    while ready:
        _, current = heapq.heappop(ready)
        out.append(by_id[current])
        for follower in followers.get(current, ()):
            waits[follower] -= 1
            if waits[follower] == 0:
                heapq.heappush(ready, (by_id[follower].start, follower))
    return out, waits, lost


def _walk(waits: Mapping[int, int], by_id: Mapping[int, Node]) -> list[int]:
    """A cycle among the nodes that still wait, in the direction of the edges."""
    stuck = {node for node, count in waits.items() if count > 0}
    path: list[int] = []
    place: dict[int, int] = {}
    current = min(stuck)
    while current not in place:
        place[current] = len(path)
        path.append(current)
        node = by_id[current]
        current = min(dep for dep in node.data_deps if dep in stuck)
    return path[place[current] :][::-1]


def _cycle(path: list[int], file: str) -> TraceError:
    """`5 -> 7 -> 5`: each edge leads from a node to one that needs its data."""
    shown = " -> ".join(map(str, [*path[:SHOWN], *(path[:1] if len(path) <= SHOWN else [])]))
    more = f" -> … ({len(path)} edges)" if len(path) > SHOWN else ""
    return TraceError(
        f"has nodes that wait for each other: {shown}{more}", file=file, key="data_deps",
        expected="a graph without cycles",
    )  # fmt: skip
