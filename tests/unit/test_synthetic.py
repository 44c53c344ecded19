"""Inputs of any size for benchmarks: sound, of the promised size, and the same as if written out row by row."""

from __future__ import annotations

import time

import numpy as np
import pytest

from hiersim.config.load import load_design
from hiersim.engines import reference
from hiersim.frontends.integrity import check_trace
from hiersim.fusion.registry import policy
from hiersim.model.networks import to_networkx
from hiersim.model.operators import Role
from hiersim.run import simulate
from hiersim.testing.contracts import check_policy
from hiersim.testing.synthetic import OPERATORS_PER_LAYER, STORAGES_PER_LAYER, layered_trace, tile_program
from hiersim.testing.woven import woven_trace


@pytest.mark.parametrize("layers", [1, 2, 7])
def test_layers_make_a_sound_trace(layers: int) -> None:
    trace = check_trace(layered_trace(layers, tokens=32, width=64, hidden=128, heads=4))
    assert len(trace.graph.operators) == OPERATORS_PER_LAYER * layers
    assert len(trace.graph.tensors.storage_bytes) == STORAGES_PER_LAYER * layers + 1
    assert trace.graph.tensors.storage_output.sum() == 1


def test_work_and_weights_follow_the_closed_forms() -> None:
    layers, tokens, width, hidden = 3, 32, 64, 128
    trace = layered_trace(layers, tokens=tokens, width=width, hidden=hidden, heads=4)
    products = 2 * tokens * (4 * width * width + 3 * width * hidden)
    assert trace.graph.operators.matrix_flops.sum() == layers * (products + 4 * tokens * tokens * width)
    tensors = trace.graph.tensors
    weights = tensors.storage_bytes[tensors.storage_role == Role.WEIGHT].sum()
    assert weights == layers * 2 * (4 * width * width + 3 * width * hidden + 2 * width)


def test_layers_hang_together_and_activations_are_freed() -> None:
    import networkx

    layers = 4
    trace = layered_trace(layers, tokens=8, width=16, hidden=32, heads=2)
    network = to_networkx(trace.graph)
    assert networkx.is_weakly_connected(network)
    assert networkx.dag_longest_path_length(network, weight=None) == 12 * layers - 1
    tensors = trace.graph.tensors
    kept = (tensors.storage_role == Role.ACTIVATION) & (tensors.storage_free < 0)
    assert kept.tolist().count(True) == 1, "only the output of the last layer stays"


def test_layers_cost_the_same_each() -> None:
    design = load_design("tiny")
    sizes = {"tokens": 32, "width": 64, "hidden": 128, "heads": 4}
    times = [simulate(layered_trace(layers, **sizes), design).timeline.makespan for layers in (4, 8, 12)]
    assert times[2] - times[1] == pytest.approx(times[1] - times[0], rel=0.01)


def test_a_million_operators_are_made_quickly() -> None:
    began = time.process_time()
    trace = layered_trace(62_500)
    assert len(trace.graph.operators) == 1_000_000
    assert time.process_time() - began < 6, "about one second where nobody else works"


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 64, 3)])
def test_sizes_that_make_no_layer_are_refused(sizes: tuple[int, int, int]) -> None:
    layers, width, heads = sizes
    with pytest.raises(ValueError):
        layered_trace(layers, width=width, heads=heads)


@pytest.mark.parametrize("contended", [False, True])
@pytest.mark.parametrize("tiers", [1, 2, 4])
def test_tiles_run_and_store_what_they_load(tiers: int, contended: bool) -> None:
    program = tile_program(20, kernels=3, tiers=tiers, contended=contended, nests=2)
    timeline = reference.simulate(program, keep_log=True)
    assert timeline.log is not None
    assert len(timeline.log.stage) == 3 * 20 * (2 * tiers + 1) == program.stage_counts().sum()
    read, write = program.traffic()
    assert read.tolist() == [0] + [4096 * 60] * tiers
    assert write.tolist() == [0] + [1024 * 60] * tiers
    assert timeline.ledger_totals.sum(axis=1).tolist() == [timeline.makespan] * 3


@pytest.mark.parametrize("contended", [False, True])
def test_only_contended_ports_reorder_tiles(contended: bool) -> None:
    """In a known order every resource serves tiles in the order of their numbers, stage by stage."""
    log = reference.simulate(tile_program(60, contended=contended), keep_log=True).log
    assert log is not None
    order = np.lexsort((log.stage, log.tile, log.grant))
    stages_of_port = tile_program(1, contended=contended).stage_resource[log.stage]
    swapped = 0
    for port in np.unique(stages_of_port).tolist():
        tiles = log.tile[order][stages_of_port[order] == port]
        swapped += int((np.diff(tiles) < 0).sum())
    assert (swapped > 0) == contended


@pytest.mark.parametrize("wrong", [{"tiles": 0}, {"tiers": 0}, {"depth": 0}, {"nests": 2}])
def test_programs_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        tile_program(**{"tiles": 1, **wrong})


@pytest.mark.parametrize("operators", [2, 50, 3000])
def test_a_woven_graph_is_sound_and_the_same_again(operators: int) -> None:
    trace, again = (check_trace(woven_trace(operators, reach=500, seed=7)) for _ in range(2))
    assert len(trace.graph.operators) == operators
    assert trace.graph.reads.tensor.tolist() == again.graph.reads.tensor.tolist()
    other = woven_trace(operators, reach=500, seed=8)
    assert operators == 2 or trace.graph.reads.tensor.tolist() != other.graph.reads.tensor.tolist()


def test_a_woven_graph_is_wide() -> None:
    """The longest way through it is a small part of its operators, and every policy groups it legally."""
    trace = woven_trace(2000, reach=400)
    depth: dict[int, int] = {}
    for first, second in sorted(to_networkx(trace.graph).edges, key=lambda edge: edge[1]):
        depth[second] = max(depth.get(second, 0), depth.get(first, 0) + 1)
    assert 10 < max(depth.values()) < 60
    for name in ("pointwise", "epilogue", "depth-first", "inductor-rules"):
        check_policy(trace, policy(name)(trace, load_design("tiny")))


@pytest.mark.parametrize("sizes", [{"operators": 1}, {"operators": 10, "reach": 0}, {"operators": 10, "rows": 0}])
def test_a_woven_graph_of_nothing_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        woven_trace(**sizes)
