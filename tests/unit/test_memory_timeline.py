"""What the last tier holds while each kernel runs: adds up, peaks where it must, and tells what checkpointing saves."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

import hiersim as hs
from hiersim.errors import MissingExtraError
from hiersim.fusion.eager import eager
from hiersim.lowering.live import live_bytes
from hiersim.lowering.placement import lifetimes, occupancy
from hiersim.model.operators import Flag, Phase, Role
from hiersim.model.trace import Trace
from hiersim.results import Result, role_names
from hiersim.testing.strategies import traces

RELU = Path(__file__).parents[2] / "docs" / "examples" / "relu.jsonl"
LAYERS, WIDTH, TOKENS, PARAMETERS = 12, 768, 8 * 1024, 124_439_808
"""GPT-2 small over 8 x 1024 tokens."""


@cache
def run(name: str, fusion: str) -> Result:
    return hs.simulate(hs.load_trace(name), hs.load_design("h100-sxm"), fusion)


@given(traces())
def test_roles_add_up_to_the_occupancy_and_never_below_zero(trace: Trace) -> None:
    graph = eager(trace)
    live = live_bytes(graph)
    assert np.array_equal(live.total, occupancy(graph))
    assert np.all(live.by_role >= 0)
    assert np.all((live.saved >= 0) & (live.saved <= live.by_role[:, Role.ACTIVATION]))
    assert live.peak_kernel == int(occupancy(graph).argmax())


@given(traces())
def test_each_kernel_holds_what_is_alive(trace: Trace) -> None:
    graph = eager(trace)
    life, live = lifetimes(graph), live_bytes(graph)
    for kernel in range(len(graph)):
        alive = (life.used == 1) & (life.first <= kernel) & (kernel <= life.last)
        for role in Role:
            chosen = alive & (graph.tensors.storage_role == role)
            assert live.by_role[kernel, role] == graph.tensors.storage_bytes[chosen].sum()


@pytest.mark.parametrize("fusion", ["eager", "inductor"])
def test_training_holds_weights_gradients_and_two_moments(fusion: str) -> None:
    result = run("gpt2-train", fusion)
    memory = result.to_dict()["peak_memory"]
    assert memory["largest"]["weight"] == memory["largest"]["gradient"] == 2 * PARAMETERS
    assert memory["largest"]["optimizer_state"] == 2 * 2 * PARAMETERS
    assert sum(size for role, size in memory["at_peak"].items() if role != "saved") == result.peak["hbm"]
    assert memory["kernel_name"] == result.graph.names[memory["kernel"]]
    assert all(memory["at_peak"][role] <= memory["largest"][role] for role in (*role_names(), "saved"))
    operators, first = result.graph.operators, result.graph.operator_ptr[:-1]
    phase = operators.phase[np.minimum(first, len(operators) - 1)]
    assert not np.any(result.live.saved[phase == Phase.OPTIMIZER])


@pytest.mark.parametrize("fusion", ["eager", "inductor"])
def test_checkpointing_trades_saved_activations_for_arithmetic(fusion: str) -> None:
    plain, again = run("gpt2-train", fusion), run("gpt2-train-checkpointed", fusion)
    before, after = (result.to_dict() for result in (plain, again))
    saved = [result["peak_memory"]["largest"]["saved"] for result in (before, after)]
    activations = [result["peak_memory"]["largest"]["activation"] for result in (before, after)]
    assert activations[1] < 0.75 * activations[0]
    assert saved[1] < 0.75 * saved[0]
    assert again.peak["hbm"] < plain.peak["hbm"]
    recomputed = {
        unit: after["recomputed_flops"][unit] - before["recomputed_flops"][unit] for unit in ("matrix", "vector")
    }
    assert after["flops"]["matrix"] - after["recomputed_flops"]["matrix"] == before["flops"]["matrix"]
    assert recomputed["matrix"] > 0
    assert recomputed["vector"] > 0


def test_eager_checkpoints_run_each_block_again_but_for_its_last_product() -> None:
    """Per token and block: 12 w² multiply-adds of weights less the last 4 w², and half of 2 · 2 · 1024 · w scores."""
    result = run("gpt2-train-checkpointed", "eager")
    products = LAYERS * TOKENS * 2 * (12 - 4) * WIDTH**2
    scores = LAYERS * 8 * 2 * 2 * (1024 * 1025 // 2) * WIDTH
    assert result.to_dict()["recomputed_flops"]["matrix"] == products + scores
    operators = result.trace.graph.operators
    again = (operators.flags & Flag.RECOMPUTED) > 0
    assert set(operators.phase[again].tolist()) == {Phase.BACKWARD}
    modules = {operators.strings[at] for at in operators.module[again].tolist()}
    assert {f"h.{layer}.attn" for layer in range(LAYERS)} <= modules
    assert all(module.startswith("h.") for module in modules)


def test_a_checkpointed_step_saves_the_input_of_each_block() -> None:
    """As the backward pass begins: beyond those, what the head and the loss saved, which no checkpoint covers."""
    live = [run(name, "eager").live for name in ("gpt2-train", "gpt2-train-checkpointed")]
    block = TOKENS * WIDTH * 2
    assert live[0].saved.max() - live[1].saved.max() > LAYERS * 20 * block
    uncovered = 50_257 * TOKENS * (2 + 4 + 4)
    assert LAYERS * block <= live[1].saved.max() <= uncovered + (LAYERS + 8) * block


def test_rows_say_the_same_and_give_a_frame() -> None:
    result = hs.simulate(hs.load_trace(RELU), hs.load_design("tiny"))
    rows = result.memory_rows
    assert [row["total_bytes"] for row in rows] == occupancy(result.graph).tolist()
    assert [row["start_ticks"] for row in rows] == result.timeline.start.tolist()
    assert max(row["total_bytes"] for row in rows) == result.peak["hbm"]
    try:
        frame = result.memory_timeline
    except MissingExtraError as error:
        assert "Result.memory_timeline needs pandas" in str(error)
    else:
        assert list(frame.columns) == list(rows[0])


def test_growing_caches_grow_in_the_timeline() -> None:
    trace = hs.variant(hs.load_trace("llama3-8b-decode"), tokens=2)
    live = live_bytes(eager(trace))
    assert np.all(live.by_role[:, Role.KV_CACHE] == 2049 * 131_072)
    assert not live.saved.any()
