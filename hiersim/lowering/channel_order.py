"""Whether a compiler puts the channels of a graph's convolutions last, so that none of them copies its tensors."""

from __future__ import annotations

from typing import Final

import numpy as np

from hiersim.model.operators import IntArray, OperatorTable, Phase

MOST_NODES: Final = 300
"""Of a graph with so many operators for each convolution no order is changed."""
SMALL: Final = 64
"""Channels, and filters, of a small convolution at most."""
SHARES: Final = (1.358, 0.783, 0.725, 0.823)
"""Time with channels last ÷ time as they lie, as the compiler has it: convolutions in groups of several channels, small
ones, those with half as many filters as channels and a window, all others."""


def puts_channels_last(operators: OperatorTable, convolutions: IntArray) -> bool:
    """What TorchInductor decides for all of a graph's `convolutions` (their places among the operators) at once.

    In inference channels go last where that is expected to save time, by FLOPs. In training they do unless one has
    groups of several channels, or half as many filters as channels, or all are small.

    References
    ----------
    PyTorch 2.1 and later, torch/_inductor/graph.py, `decide_layout_opt`.
    """
    if len(operators) >= MOST_NODES * len(convolutions):
        return False
    first = operators.dims_ptr[convolutions]
    groups, own, inner, window = (operators.dims[first + place] for place in (0, 2, 3, 4))
    filters, channels = own * groups, inner // np.maximum(window, 1)
    grouped = (groups > 1) & (channels > 1)
    small = (filters <= SMALL) & (channels <= SMALL)
    narrowing = (2 * filters <= channels) & (window > 1)
    if bool((operators.phase != Phase.FORWARD).any()):
        return not bool(grouped.any() or narrowing.any() or small.all())
    shares = np.select((grouped, small, narrowing), SHARES[:3], SHARES[3])
    flops = operators.matrix_flops[convolutions].astype(float)
    return bool((shares * flops).sum() <= flops.sum())
