"""Composite operators become small ones: the idea of PrimTorch, as a `Trace` → `Trace`.

Softmax, norms, activations, losses and products with a bias are written as the few operations that they consist of,
and all element-wise operators that do the same get one name, in place or not, for tensors or numbers. Arithmetic is
shared out among the parts and adds up to what it was; what is read from and written to the model's own tensors is the
same. What has no recipe, or other operands than its recipe, stays as it is.

The recipes follow the decompositions of PyTorch 2.13 (`torch/_decomp/decompositions.py`, `torch/_refs`), without the
views and with one name for a conversion. Half precision is widened to FP32 inside, as they do.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Final

import numpy as np

from hiersim.frontends.variants.recipes import ALIKE, RECIPES, WIDENED, Step, primitive
from hiersim.model.operators import BITS, Accesses, DType, IntArray, Kind, OperatorTable, Role, TensorTable, csr
from hiersim.model.regions import Regions, calls_of, regions_of
from hiersim.model.trace import OperatorGraph, Trace

WORK: Final = ("matrix_flops", "masked_flops", "vector_flops", "special_ops")
_HALF: Final = (DType.FP16, DType.BF16)


def primitives(trace: Trace) -> Trace:
    """`trace` in primitive operators; captured schedules and groupings, which hold others, are left out.

    FLOPs of each kind and the compulsory bytes are those of `trace`.
    """
    draft = _Draft(trace.graph)
    for row in range(len(trace.graph.operators)):
        draft.take(row)
    note = "in primitive operators"
    header = dataclasses.replace(trace.header, notes=(*trace.header.notes, note))
    return Trace(header=header, graph=draft.finish())


def distinct_operators(trace: Trace) -> Counter[str]:
    """How often each operator that launches something runs, by name."""
    table = trace.graph.operators
    launches = ~np.isin(table.kind, [int(Kind.VIEW), int(Kind.SYNC)])
    return Counter(table.strings[name] for name in table.name[launches].tolist())


@dataclass(slots=True)
class _Draft:
    """A graph under construction."""

    graph: OperatorGraph
    strings: list[str] = field(init=False)
    """Texts of the old graph, which may hold one twice, and those of new operators behind them."""
    number: dict[str, int] = field(init=False)
    rows: list[tuple[int, ...]] = field(default_factory=list)
    """Name, module, kind, phase, flags, dtype and the four kinds of work."""
    dims: list[list[int]] = field(default_factory=list)
    reads: list[list[tuple[int, int]]] = field(default_factory=list)
    writes: list[list[tuple[int, int]]] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    """(N,) the last new row of each old one."""
    storage: list[tuple[int, int]] = field(default_factory=list)
    """Bytes of each new storage, and the row that frees it."""
    tensors: list[tuple[int, int, list[int]]] = field(default_factory=list)
    """Storage, dtype and shape of each new tensor."""

    def __post_init__(self) -> None:
        self.strings = list(self.graph.operators.strings)
        self.number = {text: index for index, text in enumerate(self.strings)}

    def take(self, row: int) -> None:
        """One operator: as its recipe says, or with another name, or as it is."""
        table = self.graph.operators
        label = table.label(row)
        known = RECIPES.get(primitive(label))
        steps = known(len(self._span(self.graph.reads, row))) if known else None
        if steps is None or not self._suits(steps, row):
            self._keep(row, ALIKE.get(primitive(label), label))
        else:
            self._decompose(row, self._widened(steps, row) if primitive(label) in WIDENED else steps)
        self.last.append(len(self.rows) - 1)

    def _span(self, access: Accesses, row: int) -> list[tuple[int, int]]:
        span = slice(int(access.ptr[row]), int(access.ptr[row + 1]))
        return list(zip(access.tensor[span].tolist(), access.size[span].tolist(), strict=True))

    def _suits(self, steps: tuple[Step, ...], row: int) -> bool:
        """Whether an operator has the operands and results of a recipe, all of them whole."""
        reads, writes = self._span(self.graph.reads, row), self._span(self.graph.writes, row)
        whole = all(size == self.graph.tensors.tensor_bytes[tensor] for tensor, size in (*reads, *writes))
        made = sum(step.into.startswith("out") for step in steps)
        kinds = {step.kind for step in steps} - {Kind.POINTWISE} or {Kind.POINTWISE}
        return whole and made == len(writes) and self.graph.operators.kind[row] in kinds

    def _dtype(self, row: int) -> DType:
        reads = self._span(self.graph.reads, row)
        return DType(int(self.graph.tensors.tensor_dtype[reads[0][0]]))

    def _widened(self, steps: tuple[Step, ...], row: int) -> tuple[Step, ...]:
        """A recipe in FP32 for operands in half precision: converted first, and the result at the end."""
        if self._dtype(row) not in _HALF:
            return steps
        rename = {"in0": "wide", "out0": "narrow"}
        inner = [
            dataclasses.replace(
                step, reads=tuple(rename.get(name, name) for name in step.reads), into=rename.get(step.into, step.into)
            )
            for step in steps
        ]
        first = Step("convert_element_type", ("in0",), "wide", kind=Kind.COPY)
        return (first, *inner, Step("convert_element_type", ("narrow",), "out0", kind=Kind.COPY))

    def _keep(self, row: int, label: str) -> None:
        """The operator as it is, under another name."""
        table = self.graph.operators
        columns = (getattr(table, name)[row] for name in ("module", "kind", "phase", "flags", "dtype", *WORK))
        self.rows.append((self._text(label), *(int(value) for value in columns)))
        self.dims.append(table.dims[table.dims_ptr[row] : table.dims_ptr[row + 1]].tolist())
        self.reads.append(self._span(self.graph.reads, row))
        self.writes.append(self._span(self.graph.writes, row))

    def _text(self, text: str) -> int:
        found = self.number.setdefault(text, len(self.strings))
        if found == len(self.strings):
            self.strings.append(text)
        return found

    def _decompose(self, row: int, steps: tuple[Step, ...]) -> None:
        """The steps of a recipe, with its work shared out."""
        table = self.graph.operators
        names: dict[str, tuple[int, int]] = {}
        for number, access in enumerate(self._span(self.graph.reads, row)):
            names[f"in{number}"] = access
        for number, access in enumerate(self._span(self.graph.writes, row)):
            names[f"out{number}"] = access
        counts = [self._elements(step, names) for step in steps]
        work = self._work(row, steps, counts)
        own = table.dims[table.dims_ptr[row] : table.dims_ptr[row + 1]].tolist()
        plain = (int(table.module[row]), int(table.phase[row]), int(table.flags[row]), int(table.dtype[row]))
        half = self._dtype(row)
        for step, shape, done in zip(steps, counts, work, strict=True):
            if step.into not in names:
                names[step.into] = self._new(shape, half if step.narrow else self._inside(row), len(self.rows))
            for name in step.reads:
                self._touched(names[name][0])
            self.rows.append((self._text(f"prims.{step.name}"), plain[0], int(step.kind), *plain[1:], *done))
            self.dims.append(_dims_of(step, own))
            self.reads.append(list(dict.fromkeys(names[name] for name in step.reads)))
            self.writes.append([names[step.into]])

    def _inside(self, row: int) -> DType:
        """Element type of what a recipe makes on its way."""
        dtype = self._dtype(row)
        return DType.FP32 if dtype in _HALF else dtype

    def _shape(self, tensor: int) -> list[int]:
        table, known = self.graph.tensors, len(self.graph.tensors.tensor_storage)
        if tensor >= known:
            return self.tensors[tensor - known][2]
        found: list[int] = table.shape[table.shape_ptr[tensor] : table.shape_ptr[tensor + 1]].tolist()
        return found

    def _elements(self, step: Step, names: Mapping[str, tuple[int, int]]) -> list[int]:
        """Shape of what a step makes."""
        if step.into in names:
            return self._shape(names[step.into][0])
        return _rows(self._shape(names["in0"][0])) if step.like == "rows" else self._shape(names[step.like][0])

    def _new(self, shape: list[int], dtype: DType, row: int) -> tuple[int, int]:
        """A tensor of its own storage; what made it and who reads it."""
        size = -(-prod(shape) * BITS[dtype] // 8)
        self.storage.append((size, row))
        self.tensors.append((len(self.graph.tensors.storage_bytes) + len(self.storage) - 1, int(dtype), shape))
        return len(self.graph.tensors.tensor_storage) + len(self.tensors) - 1, size

    def _touched(self, tensor: int) -> None:
        """A new tensor is read by the row that comes next."""
        number = tensor - len(self.graph.tensors.tensor_storage)
        if number >= 0:
            self.storage[number] = (self.storage[number][0], len(self.rows))

    def _work(self, row: int, steps: tuple[Step, ...], shapes: list[list[int]]) -> list[tuple[int, ...]]:
        """(matrix, masked, vector, special) of each step; they add up to those of the operator."""
        table = self.graph.operators
        product = [int(step.kind in (Kind.GEMM, Kind.CONV)) for step in steps]
        elements = [max(prod(shape), 1) for shape in shapes]
        reduced = max(elements)
        points = [
            reduced if step.kind is Kind.REDUCTION else count for step, count in zip(steps, elements, strict=True)
        ]
        vector = [step.vector * count for step, count in zip(steps, points, strict=True)]
        special = [step.special * count for step, count in zip(steps, elements, strict=True)]
        weights = (product, product, vector, special)
        shares = [_shared(int(getattr(table, name)[row]), weight) for name, weight in zip(WORK, weights, strict=True)]
        return list(zip(*shares, strict=True))

    def finish(self) -> OperatorGraph:
        """The graph, when all operators were taken."""
        columns = np.array(self.rows, np.int64).T
        names = ("name", "module", "kind", "phase", "flags", "dtype", *WORK)
        ptr, dims = csr(self.dims)
        operators = OperatorTable(
            strings=tuple(self.strings), dims_ptr=ptr, dims=dims, **dict(zip(names, columns, strict=True))
        )
        accesses = []
        for lists in (self.reads, self.writes):
            at, tensor = csr([[tensor for tensor, _ in row] for row in lists])
            accesses.append(Accesses(ptr=at, tensor=tensor, size=csr([[size for _, size in row] for row in lists])[1]))
        return OperatorGraph(
            tensors=self._tables(), operators=operators, reads=accesses[0], writes=accesses[1], regions=self._regions()
        )

    def _regions(self) -> Regions | None:
        """The calls of regions by their new operators."""
        if self.graph.regions is None:
            return None
        first = [0, *(last + 1 for last in self.last)]
        calls = calls_of(self.graph.regions)
        return regions_of(
            [dataclasses.replace(call, first=first[call.first], last=self.last[call.last]) for call in calls]
        )

    def _tables(self) -> TensorTable:
        """Tensors as they were, with those that recipes make behind them."""
        table, last = self.graph.tensors, np.array(self.last, np.int64)
        free = np.where(table.storage_free < 0, -1, last[np.maximum(table.storage_free, 0)])
        made = np.array(self.storage, np.int64).reshape(-1, 2)
        storage = [entry[0] for entry in self.tensors]
        dtype = [entry[1] for entry in self.tensors]
        ptr, shape = csr([entry[2] for entry in self.tensors])
        count = len(made)

        def joined(column: IntArray, more: object) -> IntArray:
            return np.concatenate([column, np.array(more, np.int64).reshape(-1)])

        return TensorTable(
            storage_names=(*table.storage_names, *("",) * count),
            storage_bytes=joined(table.storage_bytes, made[:, 0]),
            storage_role=joined(table.storage_role, [int(Role.ACTIVATION)] * count),
            storage_free=joined(free, made[:, 1]),
            storage_output=joined(table.storage_output, [0] * count),
            tensor_storage=joined(table.tensor_storage, storage),
            tensor_dtype=joined(table.tensor_dtype, dtype),
            tensor_bytes=joined(table.tensor_bytes, made[:, 0]),
            tensor_offset=joined(table.tensor_offset, [0] * count),
            shape_ptr=joined(table.shape_ptr, ptr[1:] + len(table.shape)),
            shape=joined(table.shape, shape),
        )


def _shared(total: int, weights: list[int]) -> list[int]:
    """`total` in whole parts as the weights are, to the last unit; all of it in the last part where all are 0."""
    whole = sum(weights)
    if not whole:
        return [*[0] * (len(weights) - 1), total]
    ends = np.cumsum([0, *weights]).tolist()
    places = [total * end // whole for end in ends]
    return [after - before for before, after in pairwise(places)]


def _rows(shape: list[int]) -> list[int]:
    """The shape that a reduction over the last side leaves."""
    return [*shape[:-1], 1] if shape else []


def _dims_of(step: Step, own: list[int]) -> list[int]:
    """Sizes of a step's loops; a reduction over rows instead of columns has them the other way round."""
    if step.kind is Kind.REDUCTION:
        return own[::-1] if step.across else own
    return own if step.kind in (Kind.GEMM, Kind.CONV) else []
