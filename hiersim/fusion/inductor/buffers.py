"""Which results TorchInductor stores, and what is inlined into what (its lowering, `GraphLowering.run_node`).

A pointwise result is an expression until something asks for it in memory. Until then every user computes it again,
so that one operator may have rows in several kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from hiersim.fusion.dependences import Dependences
from hiersim.fusion.inductor.loads import Loads, loads
from hiersim.fusion.inductor.rules import InductorRules, Part, random, uses
from hiersim.fusion.patterns import distinct_pairs
from hiersim.fusion.regions import segments
from hiersim.fusion.traits import Traits
from hiersim.model.networks import rows_of
from hiersim.model.operators import PRODUCED, IntArray
from hiersim.model.trace import OperatorGraph

INLINED = (Part.POINTWISE, Part.WINDOW)
"""Parts that may stay expressions."""


class Stored(IntEnum):
    """Why a result is in memory; 0 where it is not."""

    NO = 0
    KIND = 1
    """A library call, a reduction or a scatter: it has no other form."""
    OUTPUT = 2
    """It is a result of the model, or was there before: a parameter, a cache."""
    USER = 3
    """A library call or a window reads it."""
    READS = 4
    """It has several users and reads more buffers than `realize_reads_threshold`."""
    OPERATIONS = 5
    """It takes more operations than `realize_opcount_threshold`."""
    ACCUMULATED = 6
    """It reads more buffers than `realize_acc_reads_threshold`."""
    TRAFFIC = 7
    """Computing it again for each user would move more bytes than all inlining has saved against eager mode so far.

    TorchInductor has no such rule; it keeps the promise that a fused run asks for no more bytes than an eager one."""
    RANDOM = 8
    OVERWRITTEN = 9
    """What it reads, or its own storage, is overwritten or written piece by piece."""
    BORDER = 10
    """A user is beyond a host sync or in another phase."""
    UNUSED = 11
    """Nobody reads it."""


@dataclass(slots=True, kw_only=True)
class Buffers:
    """The result of lowering: what is stored, why, and what each stored result inlines."""

    part: list[int]
    """(N,) values of `Part`."""
    stored: list[int]
    """(N,) values of `Stored`."""
    reads: list[frozenset[int]]
    """(N,) keys of what the operator's expression loads."""
    loads: Loads
    """What the keys stand for."""
    inputs: list[list[int]]
    """(N,) producers of what each operator reads, nearest first."""
    users: list[list[int]]
    """(N,) readers of what each operator writes."""
    saved: int = 0
    """Bytes that inlining has saved against eager mode."""
    rows: list[list[int]] = field(default_factory=list)
    """Per stored result: the operator and all that is inlined into it, in issue order."""
    heads: list[int] = field(default_factory=list)
    """Per stored result: its operator."""


def lower(graph: OperatorGraph, links: Dependences, facts: Traits, part: IntArray, rules: InductorRules) -> Buffers:
    """Decide for every operator, in issue order, whether its result is stored."""
    count = len(graph.operators)
    inputs, users = _neighbours(links, count)
    buffers = Buffers(
        part=part.tolist(),
        stored=[0] * count,
        reads=[frozenset()] * count,
        loads=loads(graph, links, facts),
        inputs=inputs,
        users=users,
    )
    forced, operations, written = _forced(graph, links, part), _own_operations(graph, facts), _written_bytes(graph)
    ptr, times = graph.reads.ptr.tolist(), uses(graph).tolist()
    previous = _overwritten(graph)
    overwrites = [row in previous for row in range(count)]  # or has such an operator in its expression
    for row in np.flatnonzero(part != Part.NONE).tolist():
        for source in inputs[row]:
            if not buffers.stored[source]:
                operations[row] += operations[source]
                overwrites[row] |= overwrites[source]
        reads = buffers.reads[row] = _reads(buffers, row, ptr[row], ptr[row + 1])
        if forced[row]:
            buffers.stored[row] = forced[row]
            continue
        if overwrites[row] and (len(users[row]) > 1 or _over_stored(buffers, previous, row)):
            buffers.stored[row] = int(Stored.OVERWRITTEN)
            continue
        fan = sum([times[user] for user in users[row]])
        buffers.stored[row] = _reason(buffers, row, fan, operations[row] + len(reads), rules)
        if not buffers.stored[row]:
            _inline(buffers, row, written[row])
    _collect(buffers)
    return buffers


def _over_stored(buffers: Buffers, previous: dict[int, int], row: int) -> bool:
    """Whether an operator overwrites a result that is in memory."""
    return row in previous and (previous[row] < 0 or bool(buffers.stored[previous[row]]))


def _reads(buffers: Buffers, row: int, begin: int, end: int) -> frozenset[int]:
    """What the expression of an operator loads, with all that is inlined into it."""
    known, stored, inlined = buffers.loads, buffers.stored, []
    found = known.key[begin:end]
    for place, source in enumerate(known.source[begin:end]):
        if source >= 0:
            if not stored[source] and source != row:
                inlined.append((place, source))
            elif source in known.bias:
                found.extend(known.bias[source])
    if not inlined:
        return frozenset(found)
    skipped = {place for place, _ in inlined}
    kept = [key for place, key in enumerate(found) if place not in skipped]
    return frozenset(kept).union(*[buffers.reads[source] for _, source in inlined])


def _reason(buffers: Buffers, row: int, fan: int, operations: int, rules: InductorRules) -> int:
    """Why a pointwise result is stored that need not be; 0 where it stays an expression.

    `fan` counts its users, those twice that use it twice; `operations` those of the whole expression.
    """
    reads, part = buffers.reads[row], buffers.part
    for user in buffers.users[row]:
        if part[user] == Part.EXTERN or part[user] == Part.WINDOW:
            return int(Stored.USER)
    if fan > 1 and len(reads) > rules.realize_reads_threshold:
        return int(Stored.READS)
    if operations > rules.realize_opcount_threshold and (fan > 1 or len(reads) > 1):
        return int(Stored.OPERATIONS)
    if len(reads) > rules.realize_acc_reads_threshold:
        return int(Stored.ACCUMULATED)
    return 0


def _inline(buffers: Buffers, row: int, written: int) -> None:
    """Keep an expression, unless that would cost more bytes than all inlining has saved so far.

    It saves the write and the reads of the users; each user but the first reads again what the expression loads.
    """
    users = len(buffers.users[row])
    saved = buffers.saved + (users + 1) * written
    if users > 1:
        size = buffers.loads.size
        for key in buffers.reads[row]:
            saved -= (users - 1) * size[key]
        if saved < 0:
            buffers.stored[row] = int(Stored.TRAFFIC)
            return
    buffers.saved = saved


def _forced(graph: OperatorGraph, links: Dependences, part: IntArray) -> list[int]:
    """(N,) the reason why a result is stored that follows from the graph alone; 0 where there is none."""
    count, table = len(graph.operators), graph.tensors
    reason = np.zeros(count, np.int64)
    rows = np.repeat(np.arange(count), np.diff(graph.writes.ptr))
    storage = table.tensor_storage[graph.writes.tensor]
    used = np.bincount(links.source, minlength=count) > 0
    segment, phase = segments(graph), graph.operators.phase
    last = np.full(len(table.storage_bytes), -1, np.int64)  # last writer of each storage
    np.maximum.at(last, storage, rows)
    read_row = np.repeat(np.arange(count), np.diff(graph.reads.ptr))
    stale = np.zeros(count, np.bool_)
    late = last[table.tensor_storage[graph.reads.tensor]] > read_row
    stale[read_row[late]] = True
    reason[stale] = Stored.OVERWRITTEN
    pieces = (np.bincount(links.access, minlength=len(graph.reads.tensor)) > 1) | (links.initial == 1)
    reason[links.source[pieces[links.access]]] = Stored.OVERWRITTEN
    border = (segment[links.source] != segment[links.target]) | (phase[links.source] != phase[links.target])
    reason[links.source[border]] = Stored.BORDER
    reason[random(graph) == 1] = Stored.RANDOM
    produced = np.isin(table.storage_role, [int(role) for role in PRODUCED])
    kept = ~produced[storage] | (table.storage_output[storage] == 1)
    reason[rows[kept & (last[storage] == rows)]] = Stored.OUTPUT
    reason[rows[~produced[storage]]] = Stored.OUTPUT
    reason[~used & (reason == 0)] = Stored.UNUSED
    reason[~np.isin(part, [int(item) for item in INLINED])] = Stored.KIND
    found: list[int] = reason.tolist()
    return found


def _overwritten(graph: OperatorGraph) -> dict[int, int]:
    """Operators that write where another one wrote before, and that operator; -1 where there are several storages."""
    rows, storage = rows_of(graph.writes), graph.tensors.tensor_storage[graph.writes.tensor]
    order = np.lexsort((rows, storage))
    rows, storage = rows[order], storage[order]
    again = np.flatnonzero((storage[1:] == storage[:-1]) & (rows[1:] != rows[:-1])) + 1
    found: dict[int, int] = {}
    for row, before in zip(rows[again].tolist(), rows[again - 1].tolist(), strict=True):
        found[row] = -1 if row in found else before
    return found


def _neighbours(links: Dependences, count: int) -> tuple[list[list[int]], list[list[int]]]:
    """Producers and users of each operator, each once and in issue order, itself left out."""
    apart = links.source != links.target
    first, second = distinct_pairs(links.source[apart], links.target[apart], count)
    order = np.argsort(second, kind="stable")
    return _lists(second[order], first[order], count), _lists(first, second, count)


def _lists(of: IntArray, other: IntArray, count: int) -> list[list[int]]:
    """For each number below `count`, in rising order in `of`, what stands beside it."""
    ptr, values = np.searchsorted(of, np.arange(count + 1)).tolist(), other.tolist()
    return [values[ptr[row] : ptr[row + 1]] for row in range(count)]


def _own_operations(graph: OperatorGraph, facts: Traits) -> list[int]:
    """(N,) about how many operations one element takes: arithmetic, special functions, one for a cast or a copy."""
    table = graph.operators
    work = table.vector_flops + table.special_ops
    found: list[int] = np.maximum(-(-work // np.maximum(facts.points, 1)), 1).tolist()
    return found


def _written_bytes(graph: OperatorGraph) -> list[int]:
    """(N,) bytes that each operator writes."""
    total = np.concatenate([[0], np.cumsum(graph.writes.size)])[graph.writes.ptr]
    found: list[int] = np.diff(total).tolist()
    return found


def _collect(buffers: Buffers) -> None:
    """The rows of every stored result."""
    stored, inputs, part = buffers.stored, buffers.inputs, buffers.part
    for row in [row for row, reason in enumerate(stored) if reason]:
        seen, waiting = {row}, [row]
        if part[row] not in (Part.EXTERN, Part.EAGER):
            while waiting:
                for source in inputs[waiting.pop()]:
                    if not stored[source] and source not in seen:
                        seen.add(source)
                        waiting.append(source)
        buffers.heads.append(row)
        buffers.rows.append(sorted(seen))
