"""Bytes of far tiers that are said explicitly: they replace what follows from LRU and nothing else."""

from __future__ import annotations

import dataclasses
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hiersim import bundled
from hiersim.config.load import load_design
from hiersim.frontends.load import load_trace
from hiersim.fusion.eager import eager
from hiersim.fusion.registry import policy
from hiersim.lowering.lower import lower
from hiersim.lowering.machine import Machine
from hiersim.lowering.replacement import bytes_beyond, cache_bytes
from hiersim.lowering.supply import BY_LRU, FarBytes, with_far_bytes
from hiersim.lowering.workload import Workload, prepare
from hiersim.model.design import Design, Management, Scope, Tier
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray, Role
from hiersim.model.program import Program
from hiersim.model.trace import Trace
from hiersim.testing.strategies import bytewise, designs, streaming_graphs, traces
from hiersim.units import Bytes, BytesPerSecond, Ticks


def assert_equal(one: Program, other: Program) -> None:
    for item in dataclasses.fields(Program):
        found, wanted = getattr(one, item.name), getattr(other, item.name)
        assert np.array_equal(found, wanted) if isinstance(wanted, np.ndarray) else found == wanted, item.name


def by_lru(workload: Workload, design: Design) -> FarBytes:
    """What LRU caches of `design` miss and write back, said explicitly."""
    figures = Machine(design).figures(workload.matrix_dtypes, workload.vector_dtypes)
    sizes = np.maximum.accumulate([tier.found_again for tier in design.shared_tiers[:-1]])
    assert figures.levels == len(sizes) + 1
    graph, profile = workload.graph, workload.profile
    read = [profile.read_misses(graph.reads.size, int(size)) for size in sizes]
    write = [profile.write_backs(len(graph), int(size)) for size in sizes]
    return FarBytes(read=columns(read, len(graph.reads.size)), write=columns(write, len(graph)))


def columns(levels: list[IntArray], rows: int) -> IntArray:
    return np.array(levels, np.int64).reshape(len(levels), rows).T


few = settings(max_examples=max(20, settings.default.max_examples // 4))


@few
@given(traces(), designs())
def test_bytes_left_to_lru_give_the_same_program(trace: Trace, design: Design) -> None:
    workload = prepare(eager(trace))
    told = by_lru(workload, design)
    untold = FarBytes(read=np.full_like(told.read, BY_LRU), write=np.full_like(told.write, BY_LRU))
    assert_equal(lower(workload.graph, design, with_far_bytes(workload, untold)), lower(workload.graph, design))


@few
@given(traces(), designs())
def test_the_bytes_of_lru_said_explicitly_give_the_same_program(trace: Trace, design: Design) -> None:
    workload = prepare(eager(trace))
    told = with_far_bytes(workload, by_lru(workload, design))
    assert_equal(lower(workload.graph, design, told), lower(workload.graph, design))
    again = with_far_bytes(told, by_lru(workload, design))
    assert np.array_equal(again.kernel_class, told.kernel_class)


@few
@given(traces(), designs())
def test_lru_caches_asked_for_their_bytes_say_those_of_the_closed_form(trace: Trace, design: Design) -> None:
    workload, caches = prepare(eager(trace)), design.shared_tiers[:-1]
    assert cache_bytes(workload, design) is None
    if caches:
        found, wanted = bytes_beyond(workload, caches), by_lru(workload, design)
        assert np.array_equal(found.read, wanted.read)
        assert np.array_equal(found.write, wanted.write)


@pytest.mark.parametrize("fusion", ["eager", "inductor"])
@pytest.mark.parametrize("name", sorted(bundled.traces()))
def test_bundled_traces_told_their_lru_bytes_run_the_same_program(name: str, fusion: str) -> None:
    trace, design = load_trace(name), load_design("h100-sxm").replace({"memory.hbm.capacity": "1 TB"})
    workload = prepare(policy(fusion)(trace, design))
    told = with_far_bytes(workload, by_lru(workload, design))
    assert told.classes.classes <= workload.classes.classes + 1
    assert_equal(lower(workload.graph, design, told), lower(workload.graph, design, workload))


@few
@given(streaming_graphs(), designs(), st.data())
def test_streams_move_at_each_tier_what_they_were_told(graph: KernelGraph, design: Design, data: st.DataObject) -> None:
    workload = prepare(graph)
    levels = len(design.shared_tiers) - 1
    read = np.array([[data.draw(st.integers(0, int(size))) for _ in range(levels)] for size in graph.reads.size])
    write = np.array([[data.draw(st.integers(0, 2000)) for _ in range(levels)] for _ in range(len(graph))])
    told = FarBytes(
        read=read.reshape(len(graph.reads.size), levels).astype(np.int64),
        write=write.reshape(len(graph), levels).astype(np.int64),
    )
    program = lower(graph, design, with_far_bytes(workload, told))
    moved_in, moved_out = program.traffic()
    if levels:
        assert moved_in[-levels:].tolist() == told.read.sum(axis=0).tolist()
        assert moved_out[-levels:].tolist() == told.write.sum(axis=0).tolist()


POOL = Tier(
    name="pool",
    scope=Scope.SHARED,
    management=Management.POOL,
    capacity=Bytes(1),
    bandwidth=BytesPerSecond(10**9),
    latency=Ticks(1000),
)


def beside(workload: Workload, design: Design, home: IntArray) -> tuple[Program, Program]:
    """On `design` with one cache and its home; and with a pool more, where the storages live whose `home` is 1.

    Reads, write-backs and panels that are read again go where the storage lives.
    """
    graph, alone = workload.graph, by_lru(workload, design)
    here = home[graph.tensors.tensor_storage[graph.reads.tensor]]
    place = np.stack([here, 1 - here], axis=1)
    part = alone.write[:, 0] // 3
    told = FarBytes(
        read=alone.read * place,
        write=np.stack([part, alone.write[:, 0] - part], axis=1),
        again=graph.reads.size[:, None] * place,
    )
    near = (*design.core_tiers, *design.shared_tiers[:-1])
    two = dataclasses.replace(design, memory=(*near, POOL, design.home, *design.host_tiers))
    return lower(graph, design, workload), lower(graph, two, with_far_bytes(workload, told))


def assert_shared(one: Program, two: Program) -> None:
    """The two last tiers move what the last one did, and nothing else has changed."""
    for before, after in zip(one.traffic(), two.traffic(), strict=True):
        assert after[:-2].tolist() == before[:-1].tolist()
        assert after[-2:].sum() == before[-1]


@few
@given(traces(), designs().map(bytewise), st.randoms(use_true_random=False))
def test_tiers_beside_each_other_share_what_one_would_move(trace: Trace, design: Design, random: Random) -> None:
    caches = design.shared_tiers[:-1]
    assume(caches)
    design = dataclasses.replace(design, memory=(*design.core_tiers, caches[0], design.home))
    workload = prepare(eager(trace))
    home = np.array([random.randint(0, 1) for _ in workload.graph.tensors.storage_bytes], np.int64)
    assert_shared(*beside(workload, design, home))


@pytest.mark.parametrize("name", ["gpt2-large-prefill", "resnet50-infer", "llama3-8b-prefill"])
def test_panels_that_are_read_again_come_from_where_they_live(name: str) -> None:
    """With 1 MiB of L2 operands are read several times; weights live in one pool, everything else in the other."""
    design = load_design("h100-sxm").replace({"memory.l2.capacity": "1 MiB"})
    workload = prepare(eager(load_trace(name)))
    tensors = workload.graph.tensors
    one, two = beside(workload, design, (tensors.storage_role == Role.WEIGHT).astype(np.int64))
    assert_shared(one, two)
    once = int(by_lru(workload, design).read.sum())
    assert one.traffic()[0][-1] > once, "some panels are read more than once"
    assert int(two.traffic()[0][-2:].min()) > 0
