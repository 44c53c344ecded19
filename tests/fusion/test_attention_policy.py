"""Written-out attention is recognised, fused where it fits, and its blocks follow the cores' memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import hiersim as hs
from hiersim.fusion.attention import LABEL, attention, grouped
from hiersim.fusion.attention_chains import chains
from hiersim.fusion.build import kernel_graph
from hiersim.fusion.dependences import dependences
from hiersim.fusion.eager import eager
from hiersim.fusion.partition import ordered
from hiersim.model.design import Design
from hiersim.model.operators import Kind
from hiersim.model.trace import Trace
from hiersim.run import replay
from hiersim.testing.contracts import asked_bytes, check_policy
from hiersim.testing.legality import check_legal

CAPTURED = Path(__file__).parent / "captured"
H100 = hs.load_design("h100-sxm")


def with_core_memory(size: str) -> Design:
    """An H100 whose shared memory has that size, and whose registers hold nothing."""
    return H100.replace({f"memory.{tier.name}.capacity": size for tier in H100.core_tiers})


@pytest.fixture(scope="module")
def t5() -> Trace:
    return hs.load_trace(str(CAPTURED / "t5.npz"))


@pytest.mark.parametrize(("name", "dims"), [("t5", (64, 512, 512, 64)), ("swin", (3072, 49, 49, 32))])
def test_every_layer_is_recognised(name: str, dims: tuple[int, ...]) -> None:
    trace = hs.load_trace(str(CAPTURED / f"{name}.npz"))
    found = chains(trace.graph)
    assert [chain.dims for chain in found] == [dims, dims]
    graph = attention(trace, H100)
    check_policy(trace, graph)
    assert graph.names.count(LABEL) == 2
    assert graph.policy == "attention"
    partition, kept = grouped(trace.graph, found)
    assert kept == found
    rows = ordered(trace.graph, partition, dependences(trace.graph), name).operators.tolist()
    check_legal(trace, kernel_graph(trace, partition, "attention"), rows)


def test_nothing_of_the_size_of_the_scores_is_moved(t5: Trace) -> None:
    graph = attention(t5, H100)
    scores = 64 * 512 * 512
    for kernel in np.flatnonzero(graph.operators.kind == Kind.FLASH).tolist():
        moved = [*graph.writes.size[graph.writes.ptr[kernel] : graph.writes.ptr[kernel + 1]].tolist()]
        moved += graph.reads.size[graph.reads.ptr[kernel] : graph.reads.ptr[kernel + 1]].tolist()
        assert 2 * scores > max(moved)
    assert asked_bytes(graph) < 0.5 * asked_bytes(eager(t5))


def test_the_work_is_the_same(t5: Trace) -> None:
    plain, fused = eager(t5).operators, attention(t5, H100).operators
    for column in ("matrix_flops", "masked_flops", "vector_flops", "special_ops"):
        assert getattr(plain, column).sum() == getattr(fused, column).sum()


def test_blocks_follow_the_memory_of_a_core(t5: Trace) -> None:
    """Keys and values are read once per block of queries: more memory, larger blocks, fewer bytes from the L2."""
    read = []
    for size in ("16 KiB", "64 KiB", "256 KiB"):
        design = with_core_memory(size)
        read.append(replay(t5, attention(t5, design), design).traffic["l2"]["read"])
    assert read[0] > read[1] > read[2]


def test_where_no_block_fits_it_is_not_fused(t5: Trace) -> None:
    small = with_core_memory("2 KiB")
    assert attention(t5, small).names == eager(t5).names
    assert LABEL in attention(t5, with_core_memory("16 KiB")).names


def test_scores_that_somebody_else_needs_are_stored(t5: Trace) -> None:
    """A softmax whose weights are a result of the model is left alone."""
    (row, *_) = [row for row, text in enumerate(map(t5.graph.operators.label, range(60))) if "softmax" in text]
    tensors = t5.graph.tensors
    storage = tensors.tensor_storage[t5.graph.writes.tensor[t5.graph.writes.ptr[row]]]
    output, free = tensors.storage_output.copy(), tensors.storage_free.copy()
    output[storage], free[storage] = 1, -1
    graph = dataclasses.replace(
        t5.graph, tensors=dataclasses.replace(tensors, storage_output=output, storage_free=free)
    )
    assert len(chains(graph)) == len(chains(t5.graph)) - 1


def test_attention_that_is_one_operator_already_is_left_alone() -> None:
    trace = hs.load_trace("bert-large-prefill")
    assert chains(trace.graph) == []
    assert attention(trace, H100).names == eager(trace).names
