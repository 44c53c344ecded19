"""Kernel classes: equal rows are found, and what they hold is what the kernels are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiersim.config.load import load_design
from hiersim.frontends.load import load_trace
from hiersim.fusion.registry import policy
from hiersim.lowering import classes
from hiersim.lowering.classes import Column, Ragged, equal_rows
from hiersim.lowering.lower import compulsory_bytes, lower
from hiersim.lowering.workload import prepare
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import PRODUCED, csr
from hiersim.testing.strategies import traces

NUMBERS = st.sampled_from((0, 1, 2, -1, 2**62))
ROWS = st.lists(st.tuples(NUMBERS, st.lists(NUMBERS, max_size=2), st.lists(NUMBERS, max_size=2)), max_size=12)


def columns_of(rows: list[tuple[int, list[int], list[int]]]) -> list[Column]:
    ragged = [Ragged(*csr([row[index] for row in rows])) for index in (1, 2)]
    return [np.array([row[0] for row in rows], np.int64), *ragged]


def classes_of(rows: list[tuple[int, list[int], list[int]]]) -> tuple[list[int], list[int]]:
    """By comparing every row with every other."""
    first = [next(other for other in range(len(rows)) if rows[other] == row) for row in rows]
    kept = sorted(set(first))
    return [kept.index(row) for row in first], kept


@given(ROWS)
def test_equal_rows_are_those_with_equal_content(rows: list[tuple[int, list[int], list[int]]]) -> None:
    label, first = equal_rows(columns_of(rows))
    assert (label.tolist(), first.tolist()) == classes_of(rows)


@given(ROWS)
def test_a_hash_that_tells_nothing_apart_changes_nothing(rows: list[tuple[int, list[int], list[int]]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classes, "_hashes", lambda column, seed: np.zeros(len(rows), np.uint64))
        label, first = equal_rows(columns_of(rows))
    assert (label.tolist(), first.tolist()) == classes_of(rows)


def graph_of(name: str, fusion: str = "eager") -> KernelGraph:
    return policy(fusion)(load_trace(name), load_design("h100-sxm"))


@pytest.mark.parametrize("name", ["gpt2-large-prefill", "llama3-8b-prefill", "llama3-8b-decode"])
def test_a_model_of_many_layers_has_few_classes(name: str) -> None:
    workload = prepare(graph_of(name))
    assert workload.classes.classes * 15 < len(workload)
    assert workload.classes.shapes <= workload.classes.classes


def test_a_workload_serves_every_design() -> None:
    graph = graph_of("gpt2-train", "inductor")
    workload = prepare(graph)
    for name in ("h100-sxm", "l4", "a100-80gb-sxm", "h100-sxm"):
        ready, fresh = lower(graph, load_design(name), workload), lower(graph, load_design(name))
        assert np.array_equal(ready.nest, fresh.nest)
        assert np.array_equal(ready.stage_ticks, fresh.stage_ticks)
        assert np.array_equal(ready.stage_bytes, fresh.stage_bytes)


def compulsory_one_by_one(graph: KernelGraph) -> int:
    """Storage by storage, kernel by kernel."""
    table = graph.tensors
    storage_of = table.tensor_storage
    total = 0
    for storage in range(len(table.storage_bytes)):
        read = written = largest = 0
        for kernel in range(len(graph)):
            for access, is_write in ((graph.reads, False), (graph.writes, True)):
                for index in range(int(access.ptr[kernel]), int(access.ptr[kernel + 1])):
                    size = int(access.size[index])
                    if int(storage_of[access.tensor[index]]) != storage:
                        continue
                    if is_write:
                        written, largest = written + size, max(largest, size)
                    else:
                        read = max(read, size - written)
        total += read * (int(table.storage_role[storage]) not in [int(role) for role in PRODUCED])
        total += largest * int(table.storage_output[storage] == 1)
    return total


@given(traces(max_operators=8))
def test_compulsory_bytes_are_those_of_each_storage_alone(trace: object) -> None:
    graph = policy("eager")(trace, load_design("tiny"))  # type: ignore[arg-type]
    assert compulsory_bytes(graph) == compulsory_one_by_one(graph)
