"""Written-out attention that TorchInductor replaces by a call of scaled_dot_product_attention before it fuses.

torch/_inductor/fx_passes/fuse_attention.py lists the forms. Taken here are the first ones, of release 2.1: product,
scale, softmax, product, without mask and dropout, in a model that is not trained. Forms with masks came later and
depend on how the mask was made, which shapes do not tell (D63).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from hiersim.fusion.attention_chains import Chain, chains
from hiersim.fusion.partition import joined
from hiersim.model.operators import Kind
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph

MOST_ROWS = 4
"""Two products, a scale and softmax."""


def replaced(graph: OperatorGraph, partition: Partition) -> tuple[Partition, list[Chain]]:
    """`partition` with each attention in one kernel of a library, and what these are.

    A chain stays as it is where its operators share a kernel with others.
    """
    found = [chain for chain in chains(graph) if is_plain(graph, chain)]
    kernel_of = np.full(len(graph.operators), -1)
    kernel_of[partition.operators] = partition.kernels()
    sizes, label, kept = np.diff(partition.ptr), np.arange(len(partition)), list[Chain]()
    for chain in found:
        kernels = np.unique(kernel_of[list(chain.rows)])
        if int(sizes[kernels].sum()) == len(chain.rows):
            label[kernels] = kernels[0]
            kept.append(chain)
    if not kept:
        return partition, kept
    made = joined(partition, label)
    several = np.bincount(label, minlength=len(partition))[np.unique(label)] > 1
    # scores and weights stay inside
    return dataclasses.replace(made, generated=np.where(several, 1, made.generated)), kept


def is_plain(graph: OperatorGraph, chain: Chain) -> bool:
    """Whether nothing but a scale lies between both products and softmax."""
    between = set(chain.rows) - {chain.scores, chain.weigh}
    if chain.backward or len(chain.rows) > MOST_ROWS:
        return False
    inside = [row for row in between if graph.operators.kind[row] == Kind.POINTWISE]
    return len(inside) == len(between) - 1 and all(_reads(graph, row) == 1 for row in inside)


def _reads(graph: OperatorGraph, row: int) -> int:
    return int(graph.reads.ptr[row + 1] - graph.reads.ptr[row])
