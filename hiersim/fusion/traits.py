"""What fusion policies ask of an operator: its loop nest, whether it works element by element, what it hands on."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from hiersim.fusion.dependences import Dependences
from hiersim.fusion.patterns import classes, sequences
from hiersim.model.networks import rows_of
from hiersim.model.operators import Accesses, BoolArray, IntArray, Kind, TensorTable
from hiersim.model.trace import OperatorGraph


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traits:
    """Facts about the N operators of a graph, each (N,)."""

    points: IntArray
    """Points of the loop nest: elements of the largest result; of a reduction, elements that it reduces."""
    results: IntArray
    """Elements of the largest result."""
    operands: IntArray
    """Elements of the largest operand."""
    rows: IntArray
    """Rows of a reduction; else `points`."""
    reduces: IntArray
    """1 for reductions."""
    elementwise: IntArray
    """1 where each element of the result needs one element of each operand, or a broadcast one."""
    outer: IntArray
    """1 for reductions over leading sides, such as the sum of a bias's gradient: memory is not read in its order."""
    normalises: IntArray
    """1 for reductions whose result has the shape of what they reduce: softmax, the norms."""


def elements(tensors: TensorTable) -> IntArray:
    """(T,) elements of each tensor by its shape; at most 2^62."""
    count = np.ones(len(tensors.tensor_storage), np.float64)
    filled = np.diff(tensors.shape_ptr) > 0
    if len(tensors.shape):
        shape = tensors.shape.astype(np.float64)
        count[filled] = np.multiply.reduceat(shape, tensors.shape_ptr[:-1][filled])
    found: IntArray = np.minimum(count, 2.0**62).astype(np.int64)
    return found


def largest(access: Accesses, values: IntArray) -> IntArray:
    """(N,) the largest value among the tensors that each row touches; 0 where it touches none."""
    found: IntArray = np.zeros(len(access.ptr) - 1, np.int64)
    np.maximum.at(found, rows_of(access), values[access.tensor])
    return found


def main_results(graph: OperatorGraph, facts: Traits) -> BoolArray:
    """(W,) whether a write is the result of its operator; not what a norm, or its backward, writes beside it.

    These are means, deviations, and gradients of weights and biases: much smaller, and stored whatever becomes of the
    result.
    """
    size = graph.writes.size
    rows = rows_of(graph.writes)
    largest_of = np.zeros(len(graph.operators), np.int64)
    np.maximum.at(largest_of, rows, size)
    found: BoolArray = (size == largest_of[rows]) | (facts.normalises[rows] == 0)
    return found


def traits(graph: OperatorGraph) -> Traits:
    """The traits of all operators of `graph`."""
    operators = graph.operators
    count = elements(graph.tensors)
    results, operands = largest(graph.writes, count), largest(graph.reads, count)
    reduces = operators.kind == Kind.REDUCTION
    points, rows = results.copy(), results.copy()
    at = operators.dims_ptr[:-1][reduces]
    rows[reduces] = operators.dims[at]
    columns = operators.dims[at + 1].astype(np.float64)
    points[reduces] = np.minimum(rows[reduces] * columns, 2.0**62).astype(np.int64)
    one_read = np.diff(graph.reads.ptr) == 1
    casts = (operators.kind == Kind.COPY) & one_read & (operands == results)
    elementwise = ((operators.kind == Kind.POINTWISE) & (operands <= results)) | casts
    return Traits(
        points=points,
        results=results,
        operands=operands,
        rows=rows,
        reduces=reduces.astype(np.int64),
        elementwise=(elementwise & (results > 0)).astype(np.int64),
        outer=_outer(graph, reduces),
        normalises=(reduces & (results == points) & (rows < points)).astype(np.int64),
    )


def _outer(graph: OperatorGraph, reduces: BoolArray) -> IntArray:
    """(N,) 1 where the sides that are left are the trailing ones of what is reduced, and not the leading ones."""
    found: IntArray = np.zeros(len(reduces), np.int64)
    shape = sequences(graph.tensors.shape_ptr, graph.tensors.shape)
    kind = classes(*(sequences(access.ptr, shape[access.tensor]) for access in (graph.reads, graph.writes)))
    rows = np.flatnonzero(reduces)
    _, first, alike = np.unique(kind[rows], return_index=True, return_inverse=True)
    outer = np.zeros(len(first), np.int64)
    for place, row in enumerate(rows[first].tolist()):
        whole, left = (_widest(graph.tensors, access, row) for access in (graph.reads, graph.writes))
        outer[place] = 0 < len(left) < len(whole) and whole[-len(left) :] == left and whole[: len(left)] != left
    found[rows] = outer[alike]
    return found


def _widest(table: TensorTable, access: Accesses, row: int) -> list[int]:
    """Sides of the tensor with the most elements that a row touches, without those of 1."""
    tensors = access.tensor[access.ptr[row] : access.ptr[row + 1]].tolist()
    shapes = [table.shape[table.shape_ptr[tensor] : table.shape_ptr[tensor + 1]].tolist() for tensor in tensors]
    return [side for side in max(shapes, key=prod, default=[]) if side != 1]


def whole_results(graph: OperatorGraph, links: Dependences) -> IntArray:
    """(E,) 1 for true dependences in which the reader reads just what the writer wrote, in whatever shape."""
    table = graph.tensors
    read, written = graph.reads.tensor[links.access], graph.writes.tensor[links.write]
    same = (table.tensor_offset[read] == table.tensor_offset[written]) & (
        table.tensor_bytes[read] == table.tensor_bytes[written]
    )
    count = elements(table)
    moved = (graph.reads.size[links.access] == graph.writes.size[links.write]) & (count[read] == count[written])
    found: IntArray = (same & moved).astype(np.int64)
    return found


def same_order(graph: OperatorGraph, links: Dependences) -> IntArray:
    """(E,) 1 where the reader sees the elements in the writer's order, as far as shapes tell.

    A shape that splits or joins sides of another has the same order; one that does neither is a transposed view.
    """
    table = graph.tensors
    read, written = graph.reads.tensor[links.access], graph.writes.tensor[links.write]
    ptr, shape = table.shape_ptr.tolist(), table.shape.tolist()
    known: dict[tuple[int, int], int] = {}
    found = np.ones(len(read), np.int64)
    for edge in np.flatnonzero(read != written).tolist():
        pair = (int(read[edge]), int(written[edge]))
        if pair not in known:
            one, other = (_borders(shape[ptr[tensor] : ptr[tensor + 1]]) for tensor in pair)
            known[pair] = int(one <= other or other <= one)
        found[edge] = known[pair]
    return found


def _borders(shape: list[int]) -> set[int]:
    """Elements before each side of a shape: where its rows, planes and so on begin."""
    borders, count = set(), 1
    for side in shape:
        count *= side
        borders.add(count)
    return borders - {1, count}
