"""Attention that is written out, found in a graph: product, scale, mask, softmax, dropout, product; and its backward.

Forward is a softmax between two products that fit it, with element-wise operators on the way. Backward is what
autograd makes of that: the gradients of values and of weights, the softmax's backward with element-wise operators
around it, the gradients of queries and keys. Nobody else may read what lies between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiersim.fusion.dependences import Dependences, dependences
from hiersim.fusion.regions import segments
from hiersim.fusion.traits import Traits, traits, whole_results
from hiersim.model.networks import rows_of
from hiersim.model.operators import BoolArray, IntArray, Kind, Phase
from hiersim.model.trace import OperatorGraph


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Attention, written out."""

    scores: int
    """The product of queries and keys."""
    weigh: int
    """The product of weights and values."""
    rows: tuple[int, ...]
    """All operators of forward in issue order."""
    dims: tuple[int, ...]
    """Heads, queries, keys, head dimension; every pair of batch and head is a head."""
    backward: tuple[int, ...] = ()
    """All operators of backward in issue order; none where the model is not trained."""
    again: tuple[int, ...] = ()
    """What backward computes again instead of reading it: all of forward but the last product."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ways:
    """Who reads what, and what operators are, for one graph; plain lists, which are looked up one by one."""

    graph: OperatorGraph
    phases: list[int]
    products: list[bool]
    elementwise: list[bool]
    pointwise: list[bool]
    results: list[int]
    """Elements of the largest result."""
    rows: list[int]
    points: list[int]
    segment: list[int]
    dims_ptr: list[int]
    dims: list[int]
    reads: tuple[list[int], list[int]]
    """CSR: storages that each operator reads."""
    writes: tuple[list[int], list[int]]
    """CSR: storages that each operator writes."""
    producers: tuple[list[int], list[tuple[int, bool]]]
    """CSR: of each consumer (producer, whether it takes the whole result)."""
    consumers: tuple[list[int], list[tuple[int, bool]]]
    """CSR: of each producer (consumer, whether it takes the whole result)."""
    writers: tuple[list[int], list[int]]
    """CSR: operators that write each storage, in issue order."""
    kept: frozenset[int]
    """Operators that write a result of the model."""

    def phase(self, row: int) -> int:
        """Forward, backward or optimizer."""
        return self.phases[row]

    def sizes(self, row: int) -> tuple[int, ...]:
        """Its dims."""
        return tuple(self.dims[self.dims_ptr[row] : self.dims_ptr[row + 1]])

    def before(self, row: int) -> list[tuple[int, bool]]:
        """Producers of a row, and whether it takes all that they write."""
        ptr, pairs = self.producers
        return pairs[ptr[row] : ptr[row + 1]]

    def after(self, row: int) -> list[tuple[int, bool]]:
        """Consumers of a row, and whether they take all that it writes."""
        ptr, pairs = self.consumers
        return pairs[ptr[row] : ptr[row + 1]]

    def readers(self, row: int, phase: int | None = None) -> list[int]:
        """Who reads what a row writes, in that phase or in any."""
        return [other for other, _ in self.after(row) if phase is None or self.phases[other] == phase]


def chains(graph: OperatorGraph) -> list[Chain]:
    """Every attention that is written out, in issue order."""
    return [chain for chain, _ in chains_and_ways(graph)]


def chains_and_ways(graph: OperatorGraph) -> list[tuple[Chain, Ways]]:
    """The same, each with who reads what in the graph."""
    facts = traits(graph)
    rows = _softmaxes(graph, facts)
    if not rows:
        return []
    ways = _ways(graph, facts, dependences(graph))
    found = (_chain(ways, row) for row in rows)
    return [(chain, ways) for chain in found if chain is not None]


def _softmaxes(graph: OperatorGraph, facts: Traits) -> list[int]:
    """Rows of forward softmaxes."""
    softmax = np.array(["softmax" in text and "backward" not in text and "log" not in text
                        for text in graph.operators.strings], np.bool_)  # fmt: skip
    found: list[int] = np.flatnonzero(softmax[graph.operators.name] & (facts.normalises == 1)).tolist()
    return found


def _ways(graph: OperatorGraph, facts: Traits, links: Dependences) -> Ways:
    """Adjacency lists of the true dependences; a pair takes the whole result where all its reads do."""
    count = len(graph.operators)
    pairs, where = np.unique(links.source * max(count, 1) + links.target, return_inverse=True)
    takes = np.ones(len(pairs), np.int64)
    np.minimum.at(takes, where, whole_results(graph, links))
    first, second, whole = pairs // max(count, 1), pairs % max(count, 1), takes == 1
    by_consumer = np.argsort(second, kind="stable")
    written = graph.tensors.tensor_storage[graph.writes.tensor]
    by_storage = np.argsort(written, kind="stable")
    tensors = graph.tensors
    kept = rows_of(graph.writes)[tensors.storage_output[tensors.tensor_storage[graph.writes.tensor]] == 1]
    table, storage = graph.operators, tensors.tensor_storage
    return Ways(
        graph=graph,
        phases=table.phase.tolist(),
        products=(table.kind == Kind.GEMM).tolist(),
        elementwise=(facts.elementwise == 1).tolist(),
        pointwise=(table.kind == Kind.POINTWISE).tolist(),
        results=facts.results.tolist(),
        rows=facts.rows.tolist(),
        points=facts.points.tolist(),
        segment=segments(graph).tolist(),
        dims_ptr=table.dims_ptr.tolist(),
        dims=table.dims.tolist(),
        reads=(graph.reads.ptr.tolist(), storage[graph.reads.tensor].tolist()),
        writes=(graph.writes.ptr.tolist(), storage[graph.writes.tensor].tolist()),
        producers=_listed(second[by_consumer], count, first[by_consumer], whole[by_consumer]),
        consumers=_listed(first, count, second, whole),
        writers=(
            np.searchsorted(written[by_storage], np.arange(len(tensors.storage_bytes) + 1)).tolist(),
            rows_of(graph.writes)[by_storage].tolist(),
        ),
        kept=frozenset(kept.tolist()),
    )


def _listed(of: IntArray, count: int, other: IntArray, whole: BoolArray) -> tuple[list[int], list[tuple[int, bool]]]:
    """Pairs by their first side, which rises."""
    ptr: list[int] = np.searchsorted(of, np.arange(count + 1)).tolist()
    return ptr, list(zip(other.tolist(), whole.tolist(), strict=True))


def _chain(ways: Ways, softmax: int) -> Chain | None:
    """The attention around a softmax."""
    back, ahead = _back(ways, softmax, frozenset()), _ahead(ways, softmax)
    dims = _sizes(ways, softmax, back[-1], ahead[-1])
    if dims is None:
        return None
    rows = tuple(sorted({*back, *ahead}))
    inside = set(rows)
    open_rows = {other for row in rows if row != ahead[-1] for other in ways.readers(row)} - inside
    backward: tuple[int, ...] = ()
    if open_rows:
        backward = _backward(ways, softmax, ahead[-2], frozenset(rows), dims)
        stored = ahead[-1] in ways.kept or ways.readers(ahead[-1])
        if not open_rows <= set(backward) or not stored:
            return None
    again = tuple([row for row in rows if row != ahead[-1]]) if backward else ()
    chain = Chain(scores=back[-1], weigh=ahead[-1], rows=rows, dims=dims, backward=backward, again=again)
    return chain if _may_be_one(ways, chain) else None


def _back(ways: Ways, row: int, known: frozenset[int]) -> list[int]:
    """From a row along element-wise operators to the first producer that is none; of operands the largest."""
    found = [row]
    while True:
        last = found[-1]
        if len(found) > 1 and not ways.elementwise[last]:
            return found
        producers = [
            (ways.results[other], -other)
            for other, whole in ways.before(last)
            if whole and other not in known and ways.phase(other) == ways.phase(row)
        ]
        if not producers:
            return found
        found.append(-max(producers)[1])


def _ahead(ways: Ways, row: int) -> list[int]:
    """From a row along its only readers in the same phase to the first that is not element-wise."""
    found = [row]
    while len(found) == 1 or ways.elementwise[found[-1]]:
        readers = [pair for pair in ways.after(found[-1]) if ways.phase(pair[0]) == ways.phase(row)]
        if len(readers) != 1 or not readers[0][1]:
            return found
        found.append(readers[0][0])
    return found


def _sizes(ways: Ways, softmax: int, scores: int, weigh: int) -> tuple[int, ...] | None:
    """The dims of the attention, where both ends are products that fit the softmax."""
    if not ways.products[scores] or not ways.products[weigh]:
        return None
    batch, queries, keys, head = ways.sizes(scores)
    other, rows, width, inner = ways.sizes(weigh)
    same = (other, rows, inner, width) == (batch, queries, keys, head)
    whole = ways.rows[softmax] == batch * queries and ways.points[softmax] == batch * queries * keys
    return (batch, queries, keys, head) if same and whole else None


def _backward(
    ways: Ways, softmax: int, weights: int, forward: frozenset[int], dims: tuple[int, ...]
) -> tuple[int, ...]:
    """The operators of the backward pass in issue order; none where they are not those of attention."""
    names = ways.graph.operators
    steps = [row for row in ways.readers(softmax, Phase.BACKWARD) if "softmax_backward" in names.label(row)]
    if len(steps) != 1:
        return ()
    back, ahead = _back(ways, steps[0], forward), _to_products(ways, steps[0])
    values = [row for row in ways.readers(weights, Phase.BACKWARD) if _fits(ways, row, dims)]
    ends = [row for row in ways.readers(ahead[-1]) if _fits(ways, row, dims)]
    if len(values) != 1 or len(ends) != 2 or not _fits(ways, back[-1], dims):
        return ()
    inner = {*back, *ahead}
    found = {*inner, *values, *ends}
    if len(found) != len(inner) + 3 or any(set(ways.readers(row)) - found or row in ways.kept for row in inner):
        return ()
    return tuple(sorted(found | {row for end in ends for row in _scaled(ways, end)}))


def _to_products(ways: Ways, row: int) -> list[int]:
    """From the softmax's backward along only readers that are element-wise."""
    found = [row]
    while True:
        readers = ways.after(found[-1])
        if len(readers) != 1 or not readers[0][1] or not ways.elementwise[readers[0][0]]:
            return found
        found.append(readers[0][0])


def _fits(ways: Ways, row: int, dims: tuple[int, ...]) -> bool:
    """Whether a row is a product over the same heads, queries, keys and head dimension."""
    if not ways.products[row]:
        return False
    batch, *sides = ways.sizes(row)
    return batch == dims[0] and sorted(sides) == sorted(dims[1:])


def _scaled(ways: Ways, row: int) -> list[int]:
    """The only reader of a gradient, where it does no more than scale it."""
    readers = ways.after(row)
    if len(readers) != 1 or row in ways.kept or not readers[0][1]:
        return []
    other, reads = readers[0][0], ways.reads[0]
    alone = reads[other + 1] - reads[other] == 1 and ways.pointwise[other]
    return [other] if alone and ways.elementwise[other] and ways.phase(other) == ways.phase(row) else []


def _may_be_one(ways: Ways, chain: Chain) -> bool:
    """No result of the model lies inside, no host sync between, and what is read again is still what it was."""
    members = (*chain.rows, *chain.backward)
    if any(row in ways.kept for row in chain.rows if row != chain.weigh):
        return False
    if len({ways.segment[row] for row in members}) > 1:
        return False
    return not chain.backward or not _overwritten(ways, chain)


def _overwritten(ways: Ways, chain: Chain) -> bool:
    """Whether something that backward reads again, or results, is written between forward and backward."""
    (read_ptr, read), (write_ptr, written) = ways.reads, ways.writes
    inside = {*chain.again, chain.weigh}
    held = {storage for row in chain.again for storage in read[read_ptr[row] : read_ptr[row + 1]]}
    held -= {storage for row in chain.again for storage in written[write_ptr[row] : write_ptr[row + 1]]}
    held |= set(written[write_ptr[chain.weigh] : write_ptr[chain.weigh + 1]])
    low, high = min(inside), max(chain.backward)
    ptr, rows = ways.writers
    writers = (row for storage in held for row in rows[ptr[storage] : ptr[storage + 1]])
    return any(low <= row <= high and row not in inside for row in writers)
