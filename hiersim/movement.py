"""Work, bytes and time of a run by class of operator, as Ivanov et al. classify what a training step is made of.

Data movement is all you need (MLSys 2021, arXiv:2007.00072): tensor contractions do nearly all arithmetic;
normalization (all that reduces: softmax, the norms, sums) and element-wise operators move most of the bytes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np

from hiersim.fusion.eager import take_operators, take_rows
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray, Kind, Phase
from hiersim.model.regions import Regions, calls_of, regions_of
from hiersim.model.trace import OperatorGraph, Trace
from hiersim.results import Result


class OperatorClass(Enum):
    """What sort of work a kernel is; of several the first."""

    CONTRACTION = "contraction"
    """Matrix products, convolutions, attention."""
    NORMALIZATION = "normalization"
    """Everything that reduces: softmax, norms, sums, and their backward."""
    ELEMENTWISE = "elementwise"
    """All else: activations, dropout, residual sums, biases, copies, gathers."""


CONTRACTIONS: Final = (Kind.GEMM, Kind.CONV, Kind.ATTENTION, Kind.FLASH)
CLASSES: Final = tuple(OperatorClass)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """What the operators and kernels of one class amount to."""

    operator_class: OperatorClass
    operators: int
    kernels: int
    flops: int
    """Of the class's operators, special functions as one each; of fused kernels each operator by its own class."""
    moved_bytes: int
    """What its kernels read and write outside themselves. A fused kernel is of the first class among its operators."""
    ticks: int
    """From the start to the end of its kernels."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        return {
            "operator_class": self.operator_class.value,
            "operators": self.operators,
            "kernels": self.kernels,
            "flops": self.flops,
            "moved_bytes": self.moved_bytes,
            "ticks": self.ticks,
        }


def operator_classes(kinds: IntArray) -> IntArray:
    """(N,) index in `CLASSES` of operators of those kinds."""
    found = np.full(len(kinds), CLASSES.index(OperatorClass.ELEMENTWISE), np.int64)
    found[kinds == Kind.REDUCTION] = CLASSES.index(OperatorClass.NORMALIZATION)
    found[np.isin(kinds, [int(kind) for kind in CONTRACTIONS])] = CLASSES.index(OperatorClass.CONTRACTION)
    return found


def kernel_bytes(graph: KernelGraph) -> IntArray:
    """(K,) bytes that each kernel reads and writes outside itself."""
    found = np.zeros(len(graph), np.int64)
    for access in (graph.reads, graph.writes):
        found += np.diff(np.concatenate(([0], np.cumsum(access.size)))[access.ptr])
    return found


def without_optimizer(trace: Trace) -> Trace:
    """Forward and backward of a training step alone, with what the optimizer reads of it as results.

    Kernels that compilers made of the whole step are left out, as they cannot be cut. A trace without an optimizer is
    returned as it is.
    """
    graph = trace.graph
    kept = graph.operators.phase != Phase.OPTIMIZER
    if bool(np.all(kept)):
        return trace
    tensors, rows = graph.tensors, np.flatnonzero(kept)
    readers, writers = np.repeat(kept, np.diff(graph.reads.ptr)), np.repeat(kept, np.diff(graph.writes.ptr))
    made = tensors.tensor_storage[graph.writes.tensor[writers]]
    read = tensors.tensor_storage[graph.reads.tensor[~readers]]
    output = tensors.storage_output.copy()
    output[np.intersect1d(made, read)] = 1
    last = np.maximum(np.cumsum(kept) - 1, 0)[np.maximum(tensors.storage_free, 0)]
    free = np.where((tensors.storage_free < 0) | (output == 1), -1, last)
    cut = OperatorGraph(
        tensors=dataclasses.replace(tensors, storage_output=output, storage_free=free),
        operators=take_operators(graph.operators, rows),
        reads=take_rows(graph.reads, rows),
        writes=take_rows(graph.writes, rows),
        regions=_regions(graph.regions, kept),
    )
    return Trace(header=trace.header, graph=cut)


def _regions(regions: Regions | None, kept: IntArray) -> Regions | None:
    """The calls of which all operators are kept, by their new numbers."""
    if regions is None:
        return None
    number = np.cumsum(kept) - 1
    calls = [
        dataclasses.replace(call, first=int(number[call.first]), last=int(number[call.last]))
        for call in calls_of(regions)
        if bool(np.all(kept[call.first : call.last + 1]))
    ]
    return regions_of(calls) if calls else None


def by_class(result: Result) -> tuple[ClassRow, ...]:
    """The classes of a run, in the order of `OperatorClass`; for forward and backward see `without_optimizer`."""
    graph = result.graph
    table, first = graph.operators, graph.operator_ptr[:-1]
    of_operator = operator_classes(table.kind)
    of_kernel = np.minimum.reduceat(of_operator, first)
    flops = table.matrix_flops - table.masked_flops + table.vector_flops + table.special_ops
    moved, ticks = kernel_bytes(graph), _ticks(result)
    rows = []
    for place, name in enumerate(CLASSES):
        operators, kernels = of_operator == place, of_kernel == place
        rows.append(
            ClassRow(
                operator_class=name,
                operators=int(operators.sum()),
                kernels=int(kernels.sum()),
                flops=int(flops[operators].sum()),
                moved_bytes=int(moved[kernels].sum()),
                ticks=int(ticks[kernels].sum()),
            )
        )
    return tuple(rows)


def _ticks(result: Result) -> IntArray:
    """(K,) how long each kernel of the graph ran; copies between tiers are none of them."""
    spans = result.timeline.end - result.timeline.start
    owner = result.program.graph_kernel
    if owner is None:
        return spans
    found = np.zeros(len(result.graph), np.int64)
    np.add.at(found, owner[owner >= 0], spans[owner >= 0])
    return found
