"""Which results TorchInductor stores, and what is inlined into what (its lowering, `GraphLowering.run_node`).

A pointwise result is an expression until something asks for it in memory. Until then every user computes it again,
so that one operator may have rows in several kernels. So is the last step of a norm or softmax, which is stored as
its sums; the operator then has rows in the kernel of the sums and in those of its users.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise

import numpy as np

from hiersim.fusion.dependences import Dependences
from hiersim.fusion.inductor.fans import fans
from hiersim.fusion.inductor.loads import Loads, loads
from hiersim.fusion.inductor.recomputation import Recomputation, recomputation
from hiersim.fusion.inductor.rules import LIBRARY, InductorRules, Part, random, uses
from hiersim.fusion.patterns import distinct_pairs
from hiersim.fusion.regions import segments
from hiersim.fusion.traits import Traits, main_results
from hiersim.model.networks import rows_of
from hiersim.model.operators import PRODUCED, BoolArray, IntArray, Phase
from hiersim.model.trace import OperatorGraph

SUMS = 2
"""Buffers that the last step of a norm or softmax loads beside its operands: mean and deviation, or maximum and sum."""
INLINED = (Part.POINTWISE, Part.WINDOW)
"""Parts that may stay expressions, but for the last step of a norm or softmax."""


class Stored(IntEnum):
    """Why a result is in memory; 0 where it is not."""

    NO = 0
    KIND = 1
    """A library call, a sum or a scatter: it has no other form."""
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

    Only where inlining as TorchInductor does it would move more bytes than eager mode altogether.

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
    """(N,) keys of what the operator's expression loads; none of a library call, into which nothing is fused."""
    loads: Loads
    """What the keys stand for."""
    inputs: list[list[int]]
    """(N,) producers of what each operator reads, nearest first."""
    sums: dict[int, frozenset[int]] = field(default_factory=dict)
    """Norms that are stored as their sums alone: what their last step, which is an expression, loads."""
    saved: int = 0
    """Bytes that inlining has saved against eager mode."""
    rows: list[list[int]] = field(default_factory=list)
    """Per stored result: the operator and all that is inlined into it, in issue order."""
    heads: list[int] = field(default_factory=list)
    """Per stored result: its operator."""


def lower(graph: OperatorGraph, links: Dependences, facts: Traits, part: IntArray, rules: InductorRules) -> Buffers:
    """Decide for every operator, in issue order, whether its result is stored.

    Where all that is computed again would move more bytes than inlining saves, results are stored one by one as soon as
    the balance turns.
    """
    main = main_results(graph, facts)
    one, other = _neighbours(links, main, len(part))
    whole = np.isin(part[other], [int(Part.EXTERN), int(Part.WINDOW)])
    stale = _stale(graph, part, backward=True)
    kept = recomputation(graph, links, facts, part, main, stale, (one, other), rules)
    known = _Graph(
        loads=loads(graph, links, facts, part, main, kept.saved, rules),
        forced=_forced(graph, links, part, facts, main, kept),
        own=_own_operations(graph, facts), written=_written_bytes(graph), ptr=graph.reads.ptr.tolist(),
        inputs=_inputs(one, other, len(part)),
        fan=_fans(graph, links, (one, other), facts, kept),
        readers=np.bincount(one, minlength=len(part)).tolist(),
        whole=(np.bincount(one, whole, len(part)) > 0).tolist(),
        launched=np.flatnonzero(part != Part.NONE).tolist(),
    )  # fmt: skip
    buffers = _lowered(known, part, rules, guarded=False)
    if buffers.saved < 0:
        buffers = _lowered(known, part, rules, guarded=True)
    _collect(buffers)
    return buffers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graph:
    """What lowering asks of a graph."""

    loads: Loads
    forced: list[int]
    own: list[int]
    written: list[int]
    ptr: list[int]
    inputs: list[list[int]]
    fan: list[int]
    """(N,) readers, those twice that use their operand twice."""
    readers: list[int]
    """(N,) operators that read what each writes."""
    whole: list[bool]
    """(N,) whether a library call or a window reads it."""
    launched: list[int]


def _lowered(known: _Graph, part: IntArray, rules: InductorRules, guarded: bool) -> Buffers:
    """Lower once; `guarded` says whether inlining must never have cost more bytes than it saved so far."""
    count, inputs = len(part), known.inputs
    stored, operations, forced, ptr = [0] * count, list(known.own), known.forced, known.ptr
    buffers = Buffers(part=part.tolist(), stored=stored, reads=[frozenset()] * count, loads=known.loads, inputs=inputs)
    called, part_of, made = set(map(int, LIBRARY)), buffers.part, known.loads.made_ptr
    for row in known.launched:
        if part_of[row] not in called:
            reads = buffers.reads[row] = _reads(buffers, row, ptr[row], ptr[row + 1])
        if forced[row]:
            stored[row] = forced[row]
            continue
        for source in inputs[row]:
            if not stored[source]:
                operations[row] += operations[source]
        if known.whole[row]:
            stored[row] = int(Stored.USER)
            continue
        norm = part_of[row] == Part.REDUCTION
        loaded = len(reads) + SUMS * norm
        stored[row] = _reason(loaded, known.fan[row], operations[row] + loaded, rules)
        if not stored[row]:
            _inline(buffers, row, known.readers[row], known.written[row], guarded)
        if norm and not stored[row]:
            buffers.sums[row] = reads.union(known.loads.made[made[row] : made[row + 1]])
    return buffers


def _reads(buffers: Buffers, row: int, begin: int, end: int) -> frozenset[int]:
    """What the expression of an operator loads, with all that is inlined into it."""
    known, stored = buffers.loads, buffers.stored
    found, sources = known.key[begin:end], known.source[begin:end]
    inlined = {source for source in sources if source >= 0 and not stored[source] and source != row}
    if inlined:
        found = [key for key, source in zip(found, sources, strict=True) if source not in inlined]
    if known.bias:
        for source in sources:
            if source in known.bias and source not in inlined:
                found.extend(known.bias[source])
    return frozenset(found).union(*[buffers.sums.get(source, buffers.reads[source]) for source in inlined])


def _reason(reads: int, fan: int, operations: int, rules: InductorRules) -> int:
    """Why a pointwise result is stored that need not be; 0 where it stays an expression.

    `reads` counts the buffers that the whole expression loads, `operations` what it computes; `fan` counts its users,
    those twice that use it twice.
    """
    if fan > 1 and reads > rules.realize_reads_threshold:
        return int(Stored.READS)
    if operations > rules.realize_opcount_threshold and (fan > 1 or reads > 1):
        return int(Stored.OPERATIONS)
    if reads > rules.realize_acc_reads_threshold:
        return int(Stored.ACCUMULATED)
    return 0


def _inline(buffers: Buffers, row: int, users: int, written: int, guarded: bool) -> None:
    """Keep an expression, unless it is guarded and would cost more bytes than all inlining has saved so far.

    It saves the write and the reads of the users; each user but the first reads again what the expression loads.
    """
    saved = buffers.saved + (users + 1) * written
    if users > 1:
        size = buffers.loads.size
        for key in buffers.reads[row]:
            saved -= (users - 1) * size[key]
        if saved < 0 and guarded:
            buffers.stored[row] = int(Stored.TRAFFIC)
            return
    buffers.saved = saved


def _fans(
    graph: OperatorGraph, links: Dependences, pairs: tuple[IntArray, IntArray], facts: Traits, kept: Recomputation
) -> list[int]:  # fmt: skip
    """(N,) users of each result, those twice that use it twice; in the graph, forward or backward, that has more.

    What backward computes again has the users there that read it, or are computed again as well.
    """
    (one, other), phase = pairs, graph.operators.phase
    times = np.maximum(uses(graph), 1 + facts.normalises)
    inside = phase[one] == phase[other]
    found = fans(graph, links, one, other, times)
    if not kept.again.any():
        return found
    own = np.array(fans(graph, links, one[inside], other[inside], times), np.int64)
    later = kept.again[one] & (~inside | kept.again[other])
    beyond = np.bincount(one[later], times[other[later]], len(phase)).astype(np.int64)
    result: list[int] = np.where(kept.again, np.maximum(own, beyond), found).tolist()
    return result


def _forced(
    graph: OperatorGraph, links: Dependences, part: IntArray, facts: Traits, main: BoolArray, kept_for: Recomputation
) -> list[int]:  # fmt: skip
    """(N,) the reason why a result is stored that follows from the graph alone; 0 where there is none."""
    count, table = len(graph.operators), graph.tensors
    reason = np.zeros(count, np.int64)
    rows = np.repeat(np.arange(count), np.diff(graph.writes.ptr))
    storage = table.tensor_storage[graph.writes.tensor]
    used = np.bincount(links.source, minlength=count) > 0
    segment, phase = segments(graph), graph.operators.phase
    last = np.full(len(table.storage_bytes), -1, np.int64)  # last writer of each storage
    np.maximum.at(last, storage, rows)
    reason[_stale(graph, part)] = Stored.OVERWRITTEN
    pieces = (np.bincount(links.access, minlength=len(graph.reads.tensor)) > 1) | (links.initial == 1)
    reason[links.source[pieces[links.access]]] = Stored.OVERWRITTEN
    border = (phase[links.source] != phase[links.target]) & ~kept_for.again[links.source]
    border |= segment[links.source] != segment[links.target]
    border &= main[links.write]
    reason[links.source[border]] = Stored.BORDER
    reason[kept_for.saved] = Stored.BORDER
    reason[random(graph) == 1] = Stored.RANDOM
    produced = np.isin(table.storage_role, [int(role) for role in PRODUCED])
    kept = ~produced[storage] | (table.storage_output[storage] == 1)
    reason[rows[kept & (last[storage] == rows) & main]] = Stored.OUTPUT
    reason[rows[~produced[storage] & main]] = Stored.OUTPUT
    reason[_several(graph)] = Stored.OVERWRITTEN
    reason[~used & (reason == 0)] = Stored.UNUSED
    norms = (part == Part.REDUCTION) & (facts.normalises == 1)
    reason[~np.isin(part, [int(item) for item in INLINED]) & ~(norms & (reason == 0))] = Stored.KIND
    found: list[int] = reason.tolist()
    return found


def _stale(graph: OperatorGraph, part: IntArray, backward: bool = False) -> BoolArray:
    """(N,) whether an operator reads what is overwritten before the last operator of its phase, or of backward.

    Expressions are computed again in no later phase: what the optimizer overwrites has been read by then.
    """
    count, reads = max(len(part), 1), rows_of(graph.reads)
    table, phase = graph.tensors, graph.operators.phase
    ends = np.full(int(phase.max(initial=0)) + 1, -1, np.int64)
    np.maximum.at(ends, phase, np.where(part == Part.NONE, -1, np.arange(len(part))))
    if backward:
        ends[:] = ends[: Phase.BACKWARD + 1].max()
    written = np.append(np.unique(table.tensor_storage[graph.writes.tensor] * count + rows_of(graph.writes)), -1)
    storage = table.tensor_storage[graph.reads.tensor]
    next_write = written[np.searchsorted(written[:-1], storage * count + reads, side="right")]
    late = (next_write // count == storage) & (next_write % count <= ends[phase[reads]])
    found = np.zeros(len(part), np.bool_)
    found[reads[late]] = True
    return found


def _several(graph: OperatorGraph) -> list[int]:
    """Operators that write into several storages where others wrote before.

    One that overwrites a single result is an expression as any other: the compiler sees graphs without side effects,
    and what it overwrites stays as it was until the last of them that is stored.
    """
    rows, storage = rows_of(graph.writes), graph.tensors.tensor_storage[graph.writes.tensor]
    order = np.lexsort((rows, storage))
    rows, storage = rows[order], storage[order]
    again = rows[np.flatnonzero((storage[1:] == storage[:-1]) & (rows[1:] != rows[:-1])) + 1]
    number, times = np.unique(again, return_counts=True)
    found: list[int] = number[times > 1].tolist()
    return found


def _neighbours(links: Dependences, main: BoolArray, count: int) -> tuple[IntArray, IntArray]:
    """Pairs of operators, the second of which reads the first's result; each once, in rising order."""
    apart = (links.source != links.target) & main[links.write]
    return distinct_pairs(links.source[apart], links.target[apart], count)


def _inputs(one: IntArray, other: IntArray, count: int) -> list[list[int]]:
    """For each operator, those whose results it reads, in issue order."""
    order = np.argsort(other, kind="stable")
    ptr, values = np.searchsorted(other[order], np.arange(count + 1)).tolist(), one[order].tolist()
    return [values[begin:end] for begin, end in pairwise(ptr)]


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
    called = set(map(int, LIBRARY))
    for row in [row for row, reason in enumerate(stored) if reason or row in buffers.sums]:
        found = [row]
        if part[row] not in called:
            inlined = [source for source in inputs[row] if not stored[source]]
            if inlined:
                found += _inlined(inlined, buffers)
        buffers.heads.append(row)
        buffers.rows.append(sorted(found) if len(found) > 1 else found)


def _inlined(rows: list[int], buffers: Buffers) -> list[int]:
    """Some expressions, and all that is inlined into them."""
    stored, inputs, seen, found = buffers.stored, buffers.inputs, set(rows), list(rows)
    for reader in found:  # which grows as it is gone through
        for source in inputs[reader]:
            if not stored[source] and source not in seen:
                seen.add(source)
                found.append(source)
    return found
