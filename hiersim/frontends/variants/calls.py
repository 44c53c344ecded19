"""Compiled regions of decode steps one after the other: which calls find a compiled version, and which compile again.

TorchDynamo keeps the versions that it compiled of a region, each with the guards under which it holds. A call with
sizes that none suits is compiled again; by default (`Shapes.AUTOMATIC`) for any size from then on. A region of which
`RECOMPILE_LIMIT` versions are kept is not compiled any more: such calls run eagerly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from hiersim.model.operators import IntArray
from hiersim.model.regions import Call, Regions, Shapes, calls_of, regions_of
from hiersim.model.trace import OperatorGraph

RECOMPILE_LIMIT: Final = 8
"""`torch._dynamo.config.recompile_limit` of torch 2.13: versions of one region."""


@dataclass(slots=True)
class _Versions:
    """What is compiled of one region."""

    sizes: set[bytes] = field(default_factory=set)
    any_size: bool = False
    count: int = 0


def in_turn(steps: Sequence[OperatorGraph]) -> Regions | None:
    """The calls of all steps; those that would need one version more than the limit are left out.

    The first step finds its regions compiled, unless the trace says otherwise.
    """
    first = steps[0].regions
    if first is None:
        return None
    calls, versions = list[Call](), dict[str, _Versions]()
    rows = len(steps[0].operators)
    for number, step in enumerate(steps):
        for call in calls_of(first):
            known = versions.setdefault(call.name, _Versions())
            sizes = _sizes(step, call)
            if _suits(known, sizes):
                recompiled = False
            elif known.count == RECOMPILE_LIMIT:
                continue
            else:
                recompiled = call.recompiled if number == 0 else True
                _compile(known, call, sizes)
            at = number * rows
            calls.append(dataclasses.replace(call, first=call.first + at, last=call.last + at, recompiled=recompiled))
    return regions_of(calls) if calls else None


def _suits(known: _Versions, sizes: bytes) -> bool:
    return known.any_size or sizes in known.sizes


def _compile(known: _Versions, call: Call, sizes: bytes) -> None:
    """Keep one version more; it holds for any size where the region is compiled so, or has seen a second one."""
    known.count += 1
    known.sizes.add(sizes)
    known.any_size = call.shapes is Shapes.DYNAMIC or (call.shapes is Shapes.AUTOMATIC and known.count > 1)


def _sizes(graph: OperatorGraph, call: Call) -> bytes:
    """All sizes that the operators of a call see."""
    begin, end = call.first, call.last + 1
    parts: list[IntArray] = []
    for access in (graph.reads, graph.writes):
        tensors = access.tensor[access.ptr[begin] : access.ptr[end]]
        parts += [graph.tensors.tensor_bytes[tensors], access.size[access.ptr[begin] : access.ptr[end]]]
    table = graph.operators
    parts.append(table.dims[table.dims_ptr[begin] : table.dims_ptr[end]])
    return b"".join(part.tobytes() for part in parts)
