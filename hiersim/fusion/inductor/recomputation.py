"""Which forward results a training step keeps for backward, and which it computes again there.

AOTAutograd cuts the joint graph of forward and backward where the fewest bytes cross (torch 2.13.0,
`torch/_functorch/partitioners.py`, `min_cut_rematerialization_partition`): every value may be saved at the price of
its bytes, and what is not saved is computed again from what is. Some values are never computed again: products and
all else that is no code per element, what a call of a library reads in backward, and what is used both before and
behind a call of a library (`ban_recompute_used_far_apart`).

Operators stand for the nodes that they are decomposed into. A norm or softmax is its sums, which are always saved,
and its last step, which is code per element.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np

from hiersim.fusion.dependences import Dependences
from hiersim.fusion.inductor.cut import Network, saved_by_cut
from hiersim.fusion.inductor.rules import InductorRules, Part, random
from hiersim.fusion.patterns import distinct_pairs
from hiersim.fusion.regions import segments
from hiersim.fusion.traits import Traits
from hiersim.model.networks import rows_of
from hiersim.model.operators import PRODUCED, BoolArray, IntArray, Phase
from hiersim.model.trace import OperatorGraph

_KEPT: Final = (
    "embedding", "constant_pad_nd", "roll", "flip", "cumsum", "cumprod", "logcumsumexp",
    "avg_pool2d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "upsample_nearest2d", "upsample_bilinear2d",
    "repeat_interleave", "slice_scatter", "select_scatter", "index_add", "index_copy", "index_put",
    "scatter", "scatter_add",
)  # fmt: skip
"""Code per element that is not in the partitioner's list of what may be computed again (`get_default_op_list`)."""
_CATS: Final = ("cat", "concat", "concatenate")
"""What anything may be fused into, and which is not computed again, unless it joins one tensor with itself."""
_STACK: Final = "stack"
"""The same of views that were made for it, of which none is another."""
NEARER: Final = 11, 10
"""Factor, as a fraction, by which a value costs more for each step that it is farther from backward."""
MOST_STEPS: Final = 100
"""Steps beyond which it costs no more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recomputation:
    """What becomes of the N results of a graph in backward."""

    saved: BoolArray
    """(N,) whether a forward result is kept for backward, as itself or for what is computed from it there."""
    again: BoolArray
    """(N,) whether backward computes a forward operator again."""


def recomputation(
    graph: OperatorGraph,
    links: Dependences,
    facts: Traits,
    part: IntArray,
    main: BoolArray,
    stale: BoolArray,
    pairs: tuple[IntArray, IntArray],
    rules: InductorRules,
) -> Recomputation:
    """Decide for all forward operators.

    Parameters
    ----------
    part : (N,)
        Values of `Part`.
    main : (W,)
        Writes that are results of their operators, and no sums beside one.
    stale : (N,)
        Operators that read what is overwritten before backward ends, which it could not compute again.
    pairs : (P,), (P,)
        Operators, the second of which reads the first's result, in rising order.
    """
    (one, other), phase, count = pairs, graph.operators.phase, len(part)
    kept = (phase[one] == Phase.FORWARD) & ((phase[other] == Phase.FORWARD) | (phase[other] == Phase.BACKWARD))
    one, other = one[kept], other[kept]
    across = phase[other] == Phase.BACKWARD
    needed = np.zeros(count, np.bool_)
    needed[one[across]] = True
    if not rules.recompute or not needed.any():
        return Recomputation(saved=needed, again=np.zeros(count, np.bool_))
    joins = _named(graph, (*_CATS, _STACK))
    plain = ~(joins & (_several_operands(graph) | _named(graph, (_STACK,)))) & ~_named(graph, _KEPT)
    fusible = plain & np.isin(part, [int(Part.POINTWISE), int(Part.REDUCTION)])
    fuses = fusible[one] & fusible[other] | joins[other]
    banned = ~_recomputable(graph, facts, part, plain) | stale | _outputs(graph, main)
    segment = segments(graph)
    banned[one[segment[one] != segment[other]]] = True
    if rules.ban_recompute_materialized_backward:
        banned[one[across & ~fuses]] = True
    if rules.ban_recompute_used_far_apart:
        banned[_far_apart(graph, links, (one[~across], other[~across], fuses[~across]))] = True
    materialised = ~fusible
    materialised[one[~fuses]] = True
    return _cut(graph, (one, other, across), banned, needed, materialised)


def _largest_write(graph: OperatorGraph) -> IntArray:
    """(N,) bytes of the largest write of each operator."""
    found = np.zeros(len(graph.operators), np.int64)
    np.maximum.at(found, rows_of(graph.writes), graph.writes.size)
    return found


def _named(graph: OperatorGraph, names: tuple[str, ...]) -> BoolArray:
    """(N,) whether an operator has one of some names."""
    short = [text.partition(".")[2].partition(".")[0].rstrip("_") for text in graph.operators.strings]
    found: BoolArray = np.array([name in names for name in short], np.bool_)[graph.operators.name]
    return found


def _several_operands(graph: OperatorGraph) -> BoolArray:
    """(N,) whether an operator reads several tensors; a tensor joined with itself is repeated by plain code."""
    row, _ = distinct_pairs(rows_of(graph.reads), graph.reads.tensor, len(graph.tensors.tensor_storage))
    found: BoolArray = np.bincount(row, minlength=len(graph.operators)) > 1
    return found


def _recomputable(graph: OperatorGraph, facts: Traits, part: IntArray, plain: BoolArray) -> BoolArray:
    """(N,) whether an operator may be computed again at all: code per element, or the last step of a norm."""
    norms = (part == Part.REDUCTION) & (facts.normalises == 1)
    found: BoolArray = ((part == Part.POINTWISE) | norms) & plain & (random(graph) == 0)
    return found


def _outputs(graph: OperatorGraph, main: BoolArray) -> BoolArray:
    """(N,) whether an operator writes what is kept anyway: a result of the model, or what was there before."""
    table = graph.tensors
    storage = table.tensor_storage[graph.writes.tensor]
    produced = np.isin(table.storage_role[storage], [int(role) for role in PRODUCED])
    kept = main & (~produced | (table.storage_output[storage] == 1))
    found = np.zeros(len(graph.operators), np.bool_)
    found[rows_of(graph.writes)[kept]] = True
    return found


def _far_apart(graph: OperatorGraph, links: Dependences, forward: tuple[IntArray, IntArray, BoolArray]) -> list[int]:
    """Operators that use a value behind something that does not fuse with an earlier user of it.

    Computing the value again for both would not let them share a kernel.
    """
    one, other, fuses = forward
    users: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for source, target, pair in zip(one.tolist(), other.tolist(), fuses.tolist(), strict=True):
        users[source].append((target, pair))
    found = list[int]()
    fusible = dict(zip(other.tolist(), fuses.tolist(), strict=True))
    apart = sorted(set(other[~fuses].tolist()))
    for used in (*users.values(), *_users_of_given(graph, links, fusible)):
        near, last = min(used)[0], max(used)[0]
        if bisect_right(apart, last) == bisect_left(apart, near):
            continue  # nothing on the way that does not fuse
        first = _first_unfusible(used, users)
        found += [row for row, pair in used if row > first and pair]
    return found


def _users_of_given(
    graph: OperatorGraph, links: Dependences, fusible: dict[int, bool]
) -> list[list[tuple[int, bool]]]:  # fmt: skip
    """Forward users of each storage that is there from the start."""
    storage = graph.tensors.tensor_storage[graph.reads.tensor]
    rows = rows_of(graph.reads)
    chosen = (links.initial == 1) & (graph.operators.phase[rows] == Phase.FORWARD)
    key, row = distinct_pairs(storage[chosen], rows[chosen], len(graph.operators))
    several = np.flatnonzero(np.bincount(key, minlength=1)[key] > 1) if len(key) else key
    found: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for name, user in zip(key[several].tolist(), row[several].tolist(), strict=True):
        found[name].append((user, fusible.get(user, False)))
    return list(found.values())


def _first_unfusible(used: list[tuple[int, bool]], users: dict[int, list[tuple[int, bool]]]) -> int:
    """The first operator behind some users that does not fuse with what it reads; the last of the users at most."""
    last = max(row for row, _ in used)
    waiting = [(row, True) for row, _ in used]
    heapq.heapify(waiting)
    known = set(waiting)
    while waiting:
        row, pair = heapq.heappop(waiting)
        if not pair:
            return row
        for item in users.get(row, ()):
            if item[0] <= last and item not in known:
                known.add(item)
                heapq.heappush(waiting, item)
    return last


def _cut(
    graph: OperatorGraph,
    pairs: tuple[IntArray, IntArray, BoolArray],
    banned: BoolArray,
    needed: BoolArray,
    materialised: BoolArray,
) -> Recomputation:
    """The cheapest values to save, part by part of the graph that hangs together."""
    one, other, across = pairs
    saved = needed & banned
    sources: dict[int, list[int]] = defaultdict(list)
    for source, target in zip(one[~across].tolist(), other[~across].tolist(), strict=True):
        sources[target].append(source)
    weight = _weights(graph, pairs, materialised)
    must, never = saved.tolist(), banned.tolist()
    again = np.zeros(len(saved), np.bool_)
    network = Network(wanted=np.flatnonzero(needed & ~banned).tolist(), sources={}, fixed=set(), weight=weight)
    waiting = list(network.wanted)
    while waiting:
        row = waiting.pop()
        if row in network.sources:
            continue
        if never[row]:
            network.fixed.add(row)
            network.sources[row] = []
            continue
        network.sources[row] = [source for source in sources[row] if not must[source]]
        waiting += network.sources[row]
    kept, repeated = saved_by_cut(network)
    saved[kept] = True
    again[repeated] = True
    return Recomputation(saved=saved, again=again)


def _weights(
    graph: OperatorGraph, pairs: tuple[IntArray, IntArray, BoolArray], materialised: BoolArray
) -> list[int]:  # fmt: skip
    """(N,) what saving each forward result costs (`get_node_weight`).

    Its bytes, a tenth more for each operator on the shortest way to backward; twice as much where nothing stores the
    result anyway.
    """
    far = MOST_STEPS + 1
    distance = [far] * len(materialised)
    for source, target, crosses in zip(*(column[::-1].tolist() for column in _by_source(*pairs)), strict=True):
        steps = 1 if crosses else distance[target] + 1
        if steps < distance[source]:
            distance[source] = steps
    size, stored = _largest_write(graph).tolist(), materialised.tolist()
    more, of = zip(*((NEARER[0] ** steps, NEARER[1] ** steps) for steps in range(MOST_STEPS + 1)), strict=True)
    steps = [min(far, MOST_STEPS) for far in distance]
    return [
        size[row] * more[steps[row]] // of[steps[row]] * (1 if stored[row] else 2) for row in range(len(size))
    ]  # fmt: skip


def _by_source(one: IntArray, other: IntArray, across: BoolArray) -> tuple[IntArray, IntArray, BoolArray]:
    """Pairs in rising order of the first."""
    order = np.argsort(one, kind="stable")
    return one[order], other[order], across[order]
