"""Values that a fused kernel needs whole while it runs, beside the memory of the cores that would have to hold them.

Inside a kernel, element-wise users and reductions along rows take a value as it is made. Others (a second product, a
transposed view) need all of it. No policy of this package makes a kernel whose values do not fit; a grouping may.
"""

from __future__ import annotations

import numpy as np

from hiersim.fusion.build import partition_of
from hiersim.fusion.dependences import dependences
from hiersim.fusion.kernel_bytes import held, is_product
from hiersim.fusion.room import room
from hiersim.fusion.traits import traits
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray
from hiersim.model.trace import OperatorGraph, Trace
from hiersim.units import show_bytes


def held_bytes(graph: OperatorGraph, kernels: KernelGraph) -> IntArray:
    """(K,) bytes of values that each kernel holds whole; zeros where its operators are not the trace's own."""
    partition = kernels.derived(partition_of)
    found = np.zeros(len(kernels), np.int64)
    if partition is None:
        return found
    values, product = held(graph, dependences(graph), traits(graph)), is_product(graph)
    rows, ptr = partition.operators.tolist(), partition.ptr.tolist()
    for kernel in np.flatnonzero(np.diff(partition.ptr) > 1).tolist():
        members = frozenset(rows[ptr[kernel] : ptr[kernel + 1]])
        alone = sum(product[row] for row in members) < 2
        for row in members:
            for size, users, whole in values[row]:
                if members & (whole if alone else users):
                    found[kernel] += size
    return found


def warnings_of(trace: Trace, kernels: KernelGraph, design: Design) -> tuple[str, ...]:
    """What to say of kernels whose values do not fit the cores of a design."""
    most = room(design)
    values = held_bytes(trace.graph, kernels)
    over = np.flatnonzero(values > most)
    if not len(over):
        return ()
    worst = int(values.argmax())
    return (
        f"{len(over)} fused kernels need values whole that the cores' memory ({show_bytes(most)}) cannot hold, such as "
        f"{show_bytes(int(values[worst]))} in kernel {worst} '{kernels.names[worst]}': they would spill, which costs "
        "nothing here; fusion may lose",
    )
