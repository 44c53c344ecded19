"""Groups of a wide random graph: what one window holds, against a plain walk over the operators of the trace."""

from __future__ import annotations

import pytest

import hiersim as hs
from hiersim.fusion.depth_first import grow
from hiersim.fusion.sliding import MOST, Axis
from hiersim.fusion.sliding_chains import Chains
from hiersim.model.trace import OperatorGraph
from hiersim.testing.woven import woven_trace


def held_at_once(graph: OperatorGraph, chains: Chains, rows: list[int], axis: Axis) -> int:
    """Bytes of all that is needed whole, and the most bytes of whole values between their making and last use."""
    size, whole, touched = graph.tensors.tensor_bytes, set[int](), list[list[int]]()
    for row in rows:
        sliding = chains.sliding.windows(row)[axis].sliding
        reads = chains.reads[chains.read_ptr[row] : chains.read_ptr[row + 1]]
        whole |= {tensor for place, tensor in enumerate(reads) if place not in sliding}
        made = int(graph.writes.tensor[graph.writes.ptr[row]])
        touched.append([*(reads[place] for place in sliding), made])
    alive = [
        {tensor for some in touched[: at + 1] for tensor in some} & {tensor for some in touched[at:] for tensor in some}
        for at in range(len(rows))
    ]
    return int(size[list(whole)].sum() + max(size[list(some)].sum() for some in alive))


@pytest.mark.parametrize(("operators", "reach"), [(60, 4), (400, 40), (1500, 300)])
def test_one_window_holds_what_is_alive_at_once(operators: int, reach: int) -> None:
    design = hs.load_design("h100-sxm")
    groups = 0
    for seed in range(4):
        graph = woven_trace(operators, reach=reach, seed=seed, rows=64, columns=48).graph
        chains = Chains(graph, design)
        for rows, plan in grow(chains).sliding():
            assert 2 <= len(rows) <= MOST
            assert (plan.windows, plan.again) == (1, False)  # the design has room for all of each group
            assert plan.needs == held_at_once(graph, chains, rows, plan.axis)
            groups += 1
    assert groups >= 4


@pytest.mark.parametrize("room", [200_000, 60_000, 20_000])
def test_less_room_takes_more_windows_and_no_more_bytes_than_there_are(room: int) -> None:
    """One row of 48 elements of two bytes takes little: what is needed whole, the weight and sums, decides."""
    design = hs.load_design("tiny").replace({"memory.smem.capacity": f"{room // 2} B"})
    graph = woven_trace(1500, reach=300, seed=1, rows=64, columns=48).graph
    chains = Chains(graph, design)
    plans = [(rows, plan) for rows, plan in grow(chains).sliding()]
    assert plans
    for rows, plan in plans:
        assert plan.needs <= room
        whole = held_at_once(graph, chains, rows, plan.axis)
        assert plan.windows > 1 or plan.needs == whole
        assert plan.windows == 1 or whole > room
