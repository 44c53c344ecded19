"""Written-out attention that TorchInductor replaces by a call of scaled_dot_product_attention before it fuses.

torch/_inductor/fx_passes/fuse_attention.py lists the forms. Taken here are those without dropout in a model that is not
trained: product, scale, softmax, product; and, from release 2.2 on, the same with a division as scale and a mask that
is added to it, as BERT has it (pattern 14). Others depend on how the mask was made, which shapes do not tell (D63).
From release 2.8 on, FP32 is left as it is unless TF32 is allowed (PyTorch pull request 151924).
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from hiersim.fusion.attention_chains import Chain, Ways, chains_and_ways
from hiersim.fusion.partition import joined
from hiersim.model.operators import DType, Kind
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph

NEWEST: Final = (2, 13)
"""The release whose forms a graph gets that names none."""
MASKED_SINCE: Final = (2, 2)
FP32_UNTIL: Final = (2, 8)


def calls(graph: OperatorGraph) -> list[Chain]:
    """Attention that becomes a call, with the copies around products that the call has no need of.

    A batched product has queries, keys, values and results copied into its layout. Forms that divide the scores know
    the permutations behind those copies and call with what was permuted (patterns 11 and 14); others keep the copies.
    """
    found = [(chain, ways) for chain, ways in chains_and_ways(graph) if is_known(graph, chain)]
    return [
        dataclasses.replace(chain, rows=tuple(sorted({*chain.rows, *_copies_of(ways, chain)})))
        if _divides(graph, chain)
        else chain
        for chain, ways in found
    ]


def replaced(partition: Partition, found: list[Chain]) -> Partition:
    """`partition` with each call in one kernel of a library; each of its operators has a kernel of its own before."""
    if not found:
        return partition
    count = int(partition.operators.max()) + 1
    kernel_of = np.full(count, -1)
    kernel_of[partition.operators] = partition.kernels()
    label = np.arange(len(partition))
    for chain in found:
        kernels = kernel_of[list(chain.rows)]
        label[kernels] = kernels.min()
    made = joined(partition, label)
    several = np.bincount(label, minlength=len(partition))[np.unique(label)] > 1
    # scores and weights stay inside
    return dataclasses.replace(made, generated=np.where(several, 1, made.generated))


def _copies_of(ways: Ways, chain: Chain) -> list[int]:
    """Copies that only a product of the chain reads, and then one that alone reads its result."""
    kind = ways.graph.operators.kind
    before = [
        row
        for end in (chain.scores, chain.weigh)
        for row, _ in ways.before(end)
        if kind[row] == Kind.COPY and ways.readers(row) == [end]
    ]
    readers = ways.readers(chain.weigh)
    after = [row for row in readers if kind[row] == Kind.COPY and len(readers) == 1]
    return before + after if before else []


def is_known(graph: OperatorGraph, chain: Chain) -> bool:
    """Whether the chain is one of the forms that the graph's release of PyTorch replaces."""
    release, table = graph.release or NEWEST, graph.operators
    if chain.backward or (table.dtype[chain.scores] == DType.FP32 and release >= FP32_UNTIL):
        return False
    between, steps = len(chain.rows) - 2, _steps(graph, chain)
    if len(steps) != between - 1:
        return False
    operands = [_reads(graph, row) for row in steps]
    if operands in ([], [1]):
        return True
    adds = operands == [1, 2] and _name(graph, steps[1]).startswith("add")
    return adds and _divides(graph, chain) and release >= MASKED_SINCE


def _steps(graph: OperatorGraph, chain: Chain) -> list[int]:
    """Element-wise operators between the products."""
    return [row for row in chain.rows if graph.operators.kind[row] == Kind.POINTWISE]


def _divides(graph: OperatorGraph, chain: Chain) -> bool:
    """Whether the scale of the scores is a division."""
    steps = _steps(graph, chain)
    return bool(steps) and _name(graph, steps[0]).startswith("div")


def _name(graph: OperatorGraph, row: int) -> str:
    """The operator's name without its library."""
    return graph.operators.label(row).partition(".")[2]


def _reads(graph: OperatorGraph, row: int) -> int:
    return int(graph.reads.ptr[row + 1] - graph.reads.ptr[row])
