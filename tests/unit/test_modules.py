"""Grouping of kernels by the module that issued them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiersim.config.load import load_design
from hiersim.frontends.load import load_trace
from hiersim.model.timeline import Entry
from hiersim.modules import grouped, layer_of
from hiersim.run import simulate


@pytest.mark.parametrize(
    ("path", "below", "merge", "layer"),
    [
        ("model.layers.7.self_attn.q_proj", 0, False, "model.layers.7"),
        ("model.layers.7.self_attn.q_proj", 1, False, "model.layers.7.self_attn"),
        ("model.layers.7.self_attn.q_proj", 1, True, "model.layers.*.self_attn"),
        ("stages.2.blocks.5.conv1", 1, True, "stages.*.blocks"),
        ("stages.2.blocks.5.conv1", 2, True, "stages.*.blocks.*"),
        ("lm_head", 1, True, "lm_head"),
        ("", 3, True, ""),
    ],
)
def test_layers_are_the_first_numbered_part(path: str, below: int, merge: bool, layer: str) -> None:
    assert layer_of(path, below, merge) == layer


PATHS = st.lists(st.sampled_from(["layers", "0", "1", "attn", "mlp", "12"]), max_size=5).map(".".join)
KERNEL = st.fixed_dictionaries(
    {
        "module": PATHS,
        "operators": st.integers(0, 9),
        "start_ticks": st.integers(0, 99),
        "end_ticks": st.integers(0, 99),
        "useful_ticks": st.integers(0, 10**15),
        "dispatch_ticks": st.integers(0, 10**15),
    }
)


@given(st.lists(KERNEL, max_size=20), st.integers(0, 3), st.booleans())
def test_groups_keep_every_kernel_and_every_tick(kernels: list[dict[str, int]], below: int, merge: bool) -> None:
    rows = grouped(kernels, below, merge)
    assert len({row["module"] for row in rows}) == len(rows)
    assert sum(row["kernels"] for row in rows) == len(kernels)
    for key in ("operators", "useful_ticks", "dispatch_ticks"):
        assert sum(row.get(key, 0) for row in rows) == sum(kernel[key] for kernel in kernels)
    assert all("start_ticks" not in row and "end_ticks" not in row for row in rows)


@pytest.mark.parametrize("fusion", ["eager", "inductor"])
def test_layers_of_a_model_add_up_to_its_makespan(fusion: str) -> None:
    result = simulate(load_trace("llama3-8b-decode"), load_design("h100-sxm"), fusion)
    rows = {row["module"]: row for row in result.module_rows()}
    entries = [entry.name.lower() + "_ticks" for entry in Entry]
    assert sum(row[key] for row in rows.values() for key in entries) == result.to_dict()["makespan_ticks"]
    assert {f"layers.{index}" for index in range(32)} <= set(rows)
    middle = [sum(rows[f"layers.{index}"][key] for key in entries) for index in range(2, 30)]
    assert max(middle) <= 1.25 * min(middle)  # every other layer adds an old residual again
    parts = {row["module"] for row in result.module_rows(below=1, merge=True)}
    assert {"layers.*.self_attn", "layers.*.mlp", "lm_head"} <= parts
