"""Which operators can go over their operands row by row, and how many rows of an operand a row of the result needs.

An image (images, channels, height, width) slides along its height, one image after the other; a matrix along its rows,
and images too, each being a row. A convolution or pooling of k x k taps and stride s needs `(r - 1)·s + k` rows for `r`
of its own; a product, an element-wise operator and a reduction along rows need as many as they make. What is no row of
the same axis (weights, biases, scalars) is needed whole. Traces say neither padding nor dilation: the padding is the
one that gives the sizes, dilation is taken to be 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt, prod
from typing import Final

import numpy as np

from hiersim.fusion.patterns import classes, sequences
from hiersim.fusion.traits import Traits
from hiersim.model.operators import Accesses, BoolArray, IntArray, Kind
from hiersim.model.trace import OperatorGraph

Axis = tuple[str, int]
"""`("image", images)` or `("rows", rows)`: what operators must share to slide together."""
IMAGE: Final = "image"
ROWS: Final = "rows"
MOST: Final = 48
"""Operators that slide in one group."""
_SIDES: Final = 4
"""Of an image: (images, channels, height, width)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How one operator slides along one axis."""

    length: int
    """Rows of its result: of one image, or of the whole matrix."""
    units: int
    """Images that it goes over one after the other; 1 for a matrix."""
    taps: int = 1
    stride: int = 1
    padding: int = 0
    sliding: tuple[int, ...] = ()
    """Places among its reads that slide; all others are needed whole."""
    before: int = 0
    """Rows of what slides; those of the result where there are no taps."""
    width: int = 1
    """Columns of a row of its result, which tiles may cut; 1 where they do not."""
    width_before: int = 1
    """Columns of what slides."""

    def needs(self, count: int, of: int) -> int:
        """Rows or columns of the operand, which has `of` of them, for so many of the result."""
        return min((count - 1) * self.stride + self.taps, of)

    def range_of(self, begin: int, end: int, of: int) -> tuple[int, int]:
        """Rows or columns of the operand, which has `of` of them, for those from `begin` to `end` of the result."""
        first = begin * self.stride - self.padding
        last = (end - 1) * self.stride + self.taps - self.padding
        return max(first, 0), min(last, of)


class Sliding:
    """The windows of all operators of a graph, by axis; equal operators are looked at once."""

    def __init__(self, graph: OperatorGraph, facts: Traits) -> None:
        table, operators = graph.tensors, graph.operators
        self._graph, self._facts = graph, facts
        self._pools = _pools(graph)
        self._along = (facts.reduces == 1) & (facts.outer == 0)
        shape = sequences(table.shape_ptr, table.shape)
        self.classes: IntArray = classes(
            operators.kind, sequences(graph.reads.ptr, shape[graph.reads.tensor]),
            sequences(graph.writes.ptr, shape[graph.writes.tensor]), sequences(operators.dims_ptr, operators.dims),
            facts.elementwise, self._along.astype(np.int64), self._pools.astype(np.int64), facts.rows,
        )  # fmt: skip
        """(N,) a number that operators share which slide alike."""
        self._class = self.classes.tolist()
        self._found = [self._look_up(row) for row in np.unique(self.classes, return_index=True)[1].tolist()]

    def windows(self, row: int) -> dict[Axis, Window]:
        """How an operator slides, by axis; empty where it does not. Equal operators share one answer."""
        found: dict[Axis, Window] = self._found[self._class[row]]
        return found

    def by_class(self) -> list[dict[Axis, Window]]:
        """`windows` of the operators of each class."""
        return self._found

    def places(self) -> tuple[BoolArray, BoolArray]:
        """Of each class, by place among the reads, whether it slides along some axis; and whether the class slides."""
        most = 1 + max((place for found in self._found for at in found.values() for place in at.sliding), default=0)
        slides = np.zeros((len(self._found), most + 1), np.bool_)  # the last column is every place behind
        for number, found in enumerate(self._found):
            for window in found.values():
                slides[number, list(window.sliding)] = True
        return slides, np.array([bool(found) for found in self._found], np.bool_)

    def _look_up(self, row: int) -> dict[Axis, Window]:
        graph = self._graph
        reads, writes = (tuple(_shapes(graph, access, row)) for access in (graph.reads, graph.writes))
        dims = tuple(graph.operators.dims[graph.operators.dims_ptr[row] : graph.operators.dims_ptr[row + 1]].tolist())
        return self._windows(row, reads, writes, dims)

    def _windows(
        self, row: int, reads: tuple[tuple[int, ...], ...], writes: tuple[tuple[int, ...], ...], dims: tuple[int, ...]
    ) -> dict[Axis, Window]:
        if not reads or not writes or not all(map(prod, writes)):
            return {}
        kind = self._graph.operators.kind[row]
        if kind == Kind.CONV:
            return _taps(reads, writes[0], isqrt(dims[4]), isqrt(dims[5]), dims[4], dims[5])
        if self._pools[row]:
            return _taps(reads, writes[0], isqrt(dims[1]), 0, dims[1], 0)
        if kind == Kind.GEMM:
            return _product(reads, dims)
        if self._facts.elementwise[row]:
            return _same(reads, writes[0])
        if self._along[row]:
            return _reduction(reads[0], int(self._facts.rows[row]))
        return {}


def _shapes(graph: OperatorGraph, access: Accesses, row: int) -> list[tuple[int, ...]]:
    """Of what a row touches."""
    table = graph.tensors
    touched = access.tensor[access.ptr[row] : access.ptr[row + 1]].tolist()
    return [tuple(table.shape[table.shape_ptr[at] : table.shape_ptr[at + 1]].tolist()) for at in touched]


def _pools(graph: OperatorGraph) -> BoolArray:
    """(N,) True for pooling over windows of an image."""
    name = ["pool2d" in text and "backward" not in text and "adaptive" not in text for text in graph.operators.strings]
    pools: BoolArray = np.array(name, np.bool_)[graph.operators.name] & (graph.operators.kind == Kind.REDUCTION)
    return pools


def _taps(
    reads: tuple[tuple[int, ...], ...], out: tuple[int, ...], taps: int, stride: int, all_taps: int, all_strides: int
) -> dict[Axis, Window]:
    """A convolution or pooling with a square window; a stride of 0 is the one that the sizes tell."""
    image = reads[0]
    if len(image) != _SIDES or len(out) != _SIDES or image[0] != out[0] or taps * taps != all_taps:
        return {}
    stride = stride or max(1, round(image[2] / out[2]))
    if all_strides and stride * stride != all_strides:
        return {}
    for padding in range(taps // 2 + 1):
        sides = [(side + 2 * padding - taps) // stride + 1 for side in image[2:]]
        if sides == list(out[2:]):
            window = Window(
                length=out[2], units=out[0], taps=taps, stride=stride, padding=padding, sliding=(0,), before=image[2],
                width=out[3], width_before=image[3],
            )  # fmt: skip
            whole = Window(length=out[0], units=1, sliding=(0,), before=out[0])
            return {(IMAGE, out[0]): window, (ROWS, out[0]): whole}
    return {}


def _product(reads: tuple[tuple[int, ...], ...], dims: tuple[int, ...]) -> dict[Axis, Window]:
    """A product of one matrix goes over the rows of its left operand: the first one of that size."""
    batch, m, n, k = dims
    left = [place for place, shape in enumerate(reads) if prod(shape) == m * k and len(shape) > 1]
    right = [place for place, shape in enumerate(reads) if prod(shape) == n * k and len(shape) > 1]
    if batch != 1 or not left or not [place for place in right if place != left[0]]:
        return {}
    # addmm has its bias first: one of m x n elements slides as well
    first = left[0]
    added = [place for place, shape in enumerate(reads) if place < first and prod(shape) == m * n and n > 1]
    return {(ROWS, m): Window(length=m, units=1, sliding=(*added, first), before=m)}


def _same(reads: tuple[tuple[int, ...], ...], out: tuple[int, ...]) -> dict[Axis, Window]:
    """An element-wise operator goes with whatever axis its result has."""
    sliding = tuple(place for place, shape in enumerate(reads) if shape == out)
    if not sliding:
        return {}
    found: dict[Axis, Window] = {}
    if len(out) == _SIDES:
        found[IMAGE, out[0]] = Window(
            length=out[2], units=out[0], sliding=sliding, before=out[2], width=out[3], width_before=out[3]
        )
    for rows in _prefixes(out):
        found[ROWS, rows] = Window(length=rows, units=1, sliding=sliding, before=rows)
    return found


def _reduction(shape: tuple[int, ...], rows: int) -> dict[Axis, Window]:
    """A reduction along rows goes over them."""
    axes = [count for count in _prefixes(shape) if count <= rows and rows % count == 0]
    return {(ROWS, count): Window(length=count, units=1, sliding=(0,), before=count) for count in axes}


def _prefixes(shape: tuple[int, ...]) -> list[int]:
    """Products of the leading sides of a shape: how many rows it has, as one may see it."""
    found, count = [], 1
    for side in shape:
        count *= side
        if count > 1:
            found.append(count)
    return list(dict.fromkeys(found))
