"""`Regions`: which operators a tracing compiler (TorchDynamo) put into one graph, what it checks before, why it ended.

A compiled function runs as regions and what lies between them. A *region* is a graph that was compiled as a whole; a
call enters it after its *guards* (what the compiler assumed of its inputs) were checked. Between two regions is a
*graph break*: Python that could not be traced, with the operators that it runs eagerly. Where no compiled version of
a region suits its inputs, it is compiled again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from hiersim.model.operators import IntArray


class Shapes(IntEnum):
    """What a region does when sizes change between two calls."""

    STATIC = 0
    """Every new size is compiled for itself (`dynamic=False`)."""
    AUTOMATIC = 1
    """The first other size is compiled once more, for any size (`dynamic=None`, the default)."""
    DYNAMIC = 2
    """Compiled for any size from the start (`dynamic=True`)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regions:
    """R calls of compiled regions in issue order; operators in none of them run eagerly."""

    strings: tuple[str, ...]
    """Interned texts; the first is empty."""
    name: IntArray
    """(R,) index into `strings`: the region that is called. Calls of equal name share their compiled versions."""
    first: IntArray
    """(R,) its first operator."""
    last: IntArray
    """(R,) its last operator."""
    shapes: IntArray
    """(R,) values of `Shapes`."""
    recompiled: IntArray
    """(R,) 1 where this call compiles the region again."""
    reason: IntArray
    """(R,) index into `strings`: why the region ends, when that is a graph break; empty where its function returns."""
    line: IntArray
    """(R,) index into `strings`: the line of the user's code that breaks, `model.py:33 in forward`."""
    guard_ptr: IntArray
    """(R + 1,)"""
    guard_kind: IntArray
    """Index into `strings`: `TENSOR_MATCH`, `ID_MATCH`, …"""
    guard_count: IntArray
    """Guards of that kind that are checked before the call."""

    def __len__(self) -> int:
        return len(self.first)

    @property
    def guards(self) -> IntArray:
        """(R,) guards before each call."""
        sums = np.concatenate([[0], np.cumsum(self.guard_count)])
        found: IntArray = np.diff(sums[self.guard_ptr])
        return found

    def kinds(self, region: int) -> dict[str, int]:
        """Guards before a call by kind."""
        span = slice(int(self.guard_ptr[region]), int(self.guard_ptr[region + 1]))
        pairs = zip(self.guard_kind[span].tolist(), self.guard_count[span].tolist(), strict=True)
        return {self.strings[kind]: count for kind, count in pairs}

    def of_operators(self, count: int) -> IntArray:
        """(count,) the call that each operator of the trace belongs to; -1 where it runs eagerly."""
        found: IntArray = np.full(count, -1, np.int64)
        for call, (first, last) in enumerate(zip(self.first.tolist(), self.last.tolist(), strict=True)):
            found[first : last + 1] = call
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a region in words, as rows and captures have it."""

    name: str
    first: int
    last: int
    guards: Mapping[str, int]
    reason: str = ""
    line: str = ""
    shapes: Shapes = Shapes.AUTOMATIC
    recompiled: bool = False


def regions_of(calls: list[Call]) -> Regions:
    """The columns of calls in issue order."""
    strings: dict[str, int] = {"": 0}

    def text(word: str) -> int:
        return strings.setdefault(word, len(strings))

    columns = {
        "name": [text(call.name) for call in calls],
        "first": [call.first for call in calls],
        "last": [call.last for call in calls],
        "shapes": [int(call.shapes) for call in calls],
        "recompiled": [int(call.recompiled) for call in calls],
        "reason": [text(call.reason) for call in calls],
        "line": [text(call.line) for call in calls],
        "guard_ptr": [0, *np.cumsum([len(call.guards) for call in calls]).tolist()],
        "guard_kind": [text(kind) for call in calls for kind in call.guards],
        "guard_count": [count for call in calls for count in call.guards.values()],
    }
    return Regions(strings=tuple(strings), **{name: np.array(values, np.int64) for name, values in columns.items()})


def calls_of(regions: Regions) -> list[Call]:
    """The inverse of `regions_of`."""
    words = regions.strings
    return [
        Call(
            name=words[int(regions.name[row])],
            first=int(regions.first[row]),
            last=int(regions.last[row]),
            guards=regions.kinds(row),
            reason=words[int(regions.reason[row])],
            line=words[int(regions.line[row])],
            shapes=Shapes(int(regions.shapes[row])),
            recompiled=bool(regions.recompiled[row]),
        )
        for row in range(len(regions))
    ]
