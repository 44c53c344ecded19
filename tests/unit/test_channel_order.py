"""Whether a compiler puts channels last: the sums that decide it."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest

from hiersim.lowering.channel_order import MOST_NODES, puts_channels_last
from hiersim.model.operators import IntArray, OperatorTable, Phase

SIZES: Final = {  # groups, places, filters of a group, inner, window, stride
    "plain": (1, 4096, 128, 128 * 9, 9, 1),
    "grouped": (8, 4096, 24, 24 * 9, 9, 1),
    "depthwise": (128, 4096, 1, 9, 9, 1),
    "small": (1, 4096, 64, 64 * 9, 9, 1),
    "narrowing": (1, 4096, 64, 128 * 9, 9, 1),
}


def table(kinds: dict[str, int], others: int = 0, phase: Phase = Phase.FORWARD) -> tuple[OperatorTable, IntArray]:
    """Convolutions with so many FLOPs each, and `others` operators behind them, of which the last has a phase."""
    zeros = np.zeros(len(kinds) + others, np.int64)
    flops, phases = zeros.copy(), zeros.copy()
    flops[: len(kinds)] = list(kinds.values())
    phases[-1] = phase
    sizes = [SIZES[kind] for kind in kinds]
    lengths = [len(size) for size in sizes] + [0] * others
    operators = OperatorTable(
        strings=("",), name=zeros, module=zeros, kind=zeros, phase=phases, flags=zeros, dtype=zeros,
        matrix_flops=flops, masked_flops=zeros, vector_flops=zeros, special_ops=zeros,
        dims_ptr=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        dims=np.array([side for size in sizes for side in size], np.int64),
    )  # fmt: skip
    return operators, np.arange(len(kinds))


@pytest.mark.parametrize(
    ("kinds", "last"),
    [
        ({"plain": 1}, True),
        ({"grouped": 1}, False),
        ({"grouped": 330, "plain": 670}, True),  # 0.33 x 1.358 + 0.67 x 0.823 = 0.9996
        ({"grouped": 340, "plain": 660}, False),
        ({"grouped": 370, "small": 630}, True),  # 0.9957
        ({"grouped": 434, "narrowing": 566}, True),  # 0.9997
        ({"grouped": 436, "narrowing": 564}, False),
        ({"depthwise": 1}, True),
    ],
)
def test_in_inference_the_expected_time_decides(kinds: dict[str, int], last: bool) -> None:
    assert puts_channels_last(*table(kinds)) == last


@pytest.mark.parametrize(
    ("kinds", "last"),
    [
        ({"plain": 1, "small": 1}, True),
        ({"plain": 1000, "grouped": 1}, False),
        ({"plain": 1000, "narrowing": 1}, False),
        ({"small": 1}, False),
    ],
)
def test_in_training_one_that_loses_keeps_all_as_they_lie(kinds: dict[str, int], last: bool) -> None:
    assert puts_channels_last(*table(kinds, 1, Phase.BACKWARD)) == last


def test_a_graph_with_few_convolutions_keeps_its_order() -> None:
    assert puts_channels_last(*table({"plain": 1}, MOST_NODES - 2))
    assert not puts_channels_last(*table({"plain": 1}, MOST_NODES - 1))
