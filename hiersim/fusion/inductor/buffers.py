"""Which results TorchInductor stores, and what is inlined into what (its lowering, `GraphLowering.run_node`).

A pointwise result is an expression until something asks for it in memory. Until then every user computes it again,
so that one operator may have rows in several kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from hiersim.fusion.dependences import Dependences
from hiersim.fusion.inductor.rules import InductorRules, Part, random, uses
from hiersim.fusion.partition import segments
from hiersim.fusion.traits import Traits, largest, same_order, whole_results
from hiersim.model.operators import PRODUCED, IntArray, Kind, Role
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
    loads: list[frozenset[int]]
    """(N,) reads of the operator's expression, as keys of `key_bytes`."""
    key_bytes: list[int]
    """Bytes behind each read key: a region of a storage in one version."""
    whole: list[int]
    """Per key: 1 where it is all that one operator wrote, in the order in which it was written."""
    made: list[set[int]]
    """(N,) keys under which others read what each operator writes."""
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


def read_keys(graph: OperatorGraph, links: Dependences, whole: IntArray) -> tuple[IntArray, IntArray]:
    """(A,) a number for what each read loads, equal where the same bytes of the same version are read; bytes by key.

    `whole` (A,) tells reads apart that see the whole of what was written, in its order.
    """
    reads, table = graph.reads, graph.tensors
    version = np.zeros(len(reads.tensor), np.int64)
    np.maximum.at(version, links.access, links.write + 1)
    tensor = reads.tensor
    columns = np.stack(
        [
            table.tensor_storage[tensor],
            version,
            table.tensor_offset[tensor],
            table.tensor_bytes[tensor],
            reads.size,
            whole,
        ]
    )
    _, first, key = np.unique(columns, axis=1, return_index=True, return_inverse=True)
    return key.reshape(-1).astype(np.int64), reads.size[first]


def lower(graph: OperatorGraph, links: Dependences, facts: Traits, part: IntArray, rules: InductorRules) -> Buffers:
    """Decide for every operator, in issue order, whether its result is stored."""
    count = len(graph.operators)
    whole = _whole(graph, links, facts)
    key, key_bytes = read_keys(graph, links, whole)
    forced = _forced(graph, links, part)
    inputs, users = _neighbours(links, count)
    buffers = Buffers(
        part=part.tolist(),
        stored=[Stored.NO] * count,
        loads=[frozenset()] * count,
        key_bytes=key_bytes.tolist(),
        whole=[0] * len(key_bytes),
        made=[set() for _ in range(count)],
        inputs=inputs,
        users=users,
    )
    for source, place in zip(links.source.tolist(), links.access.tolist(), strict=True):
        buffers.made[source].add(int(key[place]))
    for place, flag in zip(key.tolist(), whole.tolist(), strict=True):
        buffers.whole[place] = flag
    operations, written = _own_operations(graph, facts), _written_bytes(graph)
    writers = np.bincount(links.access, minlength=len(key))
    single = np.full(len(key), -1, np.int64)  # the one operator that a read sees, where there is one
    single[links.access] = links.source
    single[(writers != 1) | (links.initial == 1)] = -1
    ptr, producer, keys = graph.reads.ptr.tolist(), single.tolist(), key.tolist()
    times = uses(graph).tolist()
    biases = _biases(graph, keys)
    total = [0] * count  # operations of the whole expression
    for row in range(count):
        if buffers.part[row] == Part.NONE:
            continue
        loads: set[int] = set()
        total[row] = operations[row]
        for place in range(ptr[row], ptr[row + 1]):
            source = producer[place]
            if source >= 0 and source != row and not buffers.stored[source]:
                loads |= buffers.loads[source]
            else:
                loads.add(keys[place])
                loads |= biases.get(source, frozenset())
        total[row] += sum(total[source] for source in buffers.inputs[row] if not buffers.stored[source])
        buffers.loads[row] = frozenset(loads)
        fan = sum(times[user] for user in users[row])
        _decide(buffers, row, forced[row], fan, total[row] + len(loads), written[row], rules)
    _collect(buffers)
    return buffers


def _whole(graph: OperatorGraph, links: Dependences, facts: Traits) -> IntArray:
    """(A,) 1 for reads of the whole result of one operator, in the order in which it was written."""
    found = np.zeros(len(graph.reads.tensor), np.int64)
    astray = facts.outer | _across_channels(graph, facts)
    straight = (1 - astray[links.target]) & (1 - astray[links.source] * facts.normalises[links.source])
    found[links.access] = whole_results(graph, links) & same_order(graph, links) & straight
    return found


def _across_channels(graph: OperatorGraph, facts: Traits) -> IntArray:
    """(N,) 1 for norms of images in a model with convolutions: images lie channels last, a group of channels does not.

    The loops of such a norm run through memory in another order than those of what stands before and after it.
    """
    sides = largest(graph.reads, np.diff(graph.tensors.shape_ptr))
    convolves = bool(np.any(graph.operators.kind == Kind.CONV))
    found: IntArray = ((facts.normalises == 1) & (sides >= 4) & (facts.rows < facts.points) & convolves).astype(
        np.int64
    )
    return found & _groups_channels(graph)


def _groups_channels(graph: OperatorGraph) -> IntArray:
    """(N,) 1 for norms over channels and pixels together: group norm."""
    names = np.array(["group_norm" in text for text in graph.operators.strings], np.int64)
    found: IntArray = names[graph.operators.name]
    return found


def _decide(
    buffers: Buffers, row: int, forced: int, fan: int, operations: int, written: int, rules: InductorRules
) -> None:
    """Set `stored[row]`; inlining it saves its write and the reads of its users, each of which reads its loads."""
    loads, users = buffers.loads[row], len(buffers.users[row])
    moved = sum(buffers.key_bytes[key] for key in loads)
    saved = buffers.saved + (users + 1) * written - (users - 1) * moved
    reason = forced
    if not reason:
        if any(buffers.part[user] in (Part.EXTERN, Part.WINDOW) for user in buffers.users[row]):
            reason = Stored.USER
        elif fan > 1 and len(loads) > rules.realize_reads_threshold:
            reason = Stored.READS
        elif operations > rules.realize_opcount_threshold and (fan > 1 or len(loads) > 1):
            reason = Stored.OPERATIONS
        elif len(loads) > rules.realize_acc_reads_threshold:
            reason = Stored.ACCUMULATED
        elif users > 1 and saved < 0:
            reason = Stored.TRAFFIC
    buffers.stored[row] = int(reason)
    if not reason:
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
    several = np.bincount(links.source, minlength=count) > 1
    reason[stale & several] = Stored.OVERWRITTEN
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


def _neighbours(links: Dependences, count: int) -> tuple[list[list[int]], list[list[int]]]:
    """Producers and users of each operator, each once and in issue order, itself left out."""
    apart = links.source != links.target
    pairs = np.unique(np.stack([links.source[apart], links.target[apart]], axis=1), axis=0).tolist()
    inputs: list[list[int]] = [[] for _ in range(count)]
    users: list[list[int]] = [[] for _ in range(count)]
    for first, second in pairs:
        inputs[second].append(first)
        users[first].append(second)
    return inputs, users


def _biases(graph: OperatorGraph, keys: list[int]) -> dict[int, frozenset[int]]:
    """Convolutions with a bias, which whoever reads the result adds: cuDNN is called without it."""
    ptr, storage = graph.reads.ptr, graph.tensors.tensor_storage[graph.reads.tensor]
    sides = np.diff(graph.tensors.shape_ptr)[graph.reads.tensor]
    role = graph.tensors.storage_role[storage]
    found = {}
    for row in np.flatnonzero(graph.operators.kind == Kind.CONV).tolist():
        places = range(int(ptr[row]), int(ptr[row + 1]))
        bias = frozenset(keys[place] for place in places if sides[place] == 1 and role[place] == Role.WEIGHT)
        if bias:
            found[row] = bias
    return found


def _own_operations(graph: OperatorGraph, facts: Traits) -> list[int]:
    """(N,) about how many operations one element takes: arithmetic, special functions, one for a cast or a copy."""
    table = graph.operators
    work = table.vector_flops + table.special_ops
    found: list[int] = np.maximum(-(-work // np.maximum(facts.points, 1)), 1).tolist()
    return found


def _written_bytes(graph: OperatorGraph) -> list[int]:
    """(N,)"""
    total = np.concatenate([[0], np.cumsum(graph.writes.size)])[graph.writes.ptr]
    found: list[int] = np.diff(total).tolist()
    return found


def _collect(buffers: Buffers) -> None:
    """The rows of every stored result."""
    for row, stored in enumerate(buffers.stored):
        if not stored or buffers.part[row] == Part.NONE:
            continue
        seen, waiting = {row}, [row]
        if buffers.part[row] not in (Part.EXTERN, Part.EAGER):
            while waiting:
                for source in buffers.inputs[waiting.pop()]:
                    if not buffers.stored[source] and source not in seen:
                        seen.add(source)
                        waiting.append(source)
        buffers.heads.append(row)
        buffers.rows.append(sorted(seen))
