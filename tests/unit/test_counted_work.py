"""What the engines do is counted, and the counts are held: a machine that is slow or busy changes nothing here."""

from __future__ import annotations

from functools import cache

import pytest

from hiersim.config.load import load_design
from hiersim.engines import compiled, reference
from hiersim.frontends.load import load_trace
from hiersim.fusion.eager import eager
from hiersim.fusion.registry import policy
from hiersim.lowering.lower import lower
from hiersim.model.program import Program
from hiersim.model.trace import Trace
from hiersim.testing.synthetic import layered_trace, tile_program


def played(program: Program, *, fast_forward: bool = True) -> dict[str, int]:
    """Counted work of the compiled engine."""
    compiled.simulate(program, fast_forward=fast_forward)
    counts = compiled.last_counts()
    assert counts["stages"] + counts["stages_skipped"] == program.stage_counts().sum()
    return counts


def lowered(trace: Trace, fusion: str = "eager") -> Program:
    """The program of `trace` on an H100 with room for everything."""
    design = load_design("h100-sxm").replace({"memory.hbm.capacity": "10 TB"})
    return lower(policy(fusion)(trace, design), design)


@cache
def llama_layers(layers: int) -> Program:
    """Layers of Llama-3-70B's widths."""
    return lowered(layered_trace(layers, tokens=2048, width=8192, hidden=28_672, heads=64))


@pytest.mark.parametrize("contended", [False, True])
def test_without_fast_forward_every_stage_is_played(contended: bool) -> None:
    program = tile_program(300, kernels=4, nests=2, contended=contended)
    counts = played(program, fast_forward=False)
    assert counts["stages"] == program.stage_counts().sum() == 4 * 300 * 5
    assert counts["snapshots"] == counts["jumps"] == 0
    assert counts["steps"] <= 1.7 * counts["stages"], "one step for a service, fewer than one for an arrival"


@pytest.mark.parametrize("contended", [False, True])
@pytest.mark.parametrize("tiers", [1, 2, 4])
def test_work_does_not_grow_with_tiles(tiers: int, contended: bool) -> None:
    few, many = (played(tile_program(tiles, tiers=tiers, contended=contended)) for tiles in (10**3, 10**6))
    skipped = ("stages_skipped",)
    assert {k: v for k, v in few.items() if k not in skipped} == {k: v for k, v in many.items() if k not in skipped}
    assert many["stages"] <= 1000


def test_equal_kernels_are_played_a_few_times() -> None:
    few, many = (played(tile_program(20, kernels=kernels, contended=True)) for kernels in (10, 10_000))
    assert few["stages"] == many["stages"] <= 20 * 5 * 4


def test_work_does_not_grow_with_layers() -> None:
    few, many = llama_layers(8), llama_layers(80)
    assert len(few.depth) == len(many.depth) <= 9, "16 operators of a layer in 9 loop nests"
    assert played(few)["stages"] == played(many)["stages"] <= 4000
    assert played(few)["snapshots"] == played(many)["snapshots"] <= 1000


@pytest.mark.parametrize(
    ("name", "fusion", "most"),
    [
        ("llama3-70b-prefill", "eager", 3600),
        ("llama3-70b-prefill", "inductor", 3400),  # 3,771 without following what drifts
        ("llama3-70b-decode", "eager", 800),
        ("bert-large-prefill", "eager", 1100),
        ("gpt2-train", "eager", 7300),  # 16,999 without, most of them of two optimizer kernels
    ],
)
def test_real_models_cost_what_is_distinct_in_them(name: str, fusion: str, most: int) -> None:
    counts = played(lowered(load_trace(name), fusion))
    assert counts["stages"] <= most
    assert counts["stages_skipped"] > 10 * counts["stages"]


def test_copies_cost_what_is_distinct_in_them() -> None:
    """Chunks of a copy that repeat are skipped, however many a copy has; and a kernel beside them is played."""
    trace, counts = layered_trace(4, tokens=1, width=8192, hidden=28_672, heads=64), []
    for chunk in ("1 MB", "250 kB"):
        design = load_design("h100-sxm").replace({"memory.hbm.capacity": "2 GB", "placement.chunk": chunk})
        program = lower(eager(trace), design)
        assert program.graph_kernel is not None
        counts.append(played(program))
        copied = int((program.graph_kernel < 0).sum())
        assert copied > 20
    few, many = counts
    assert many["stages_skipped"] > 3 * few["stages_skipped"] > 0
    assert many["stages"] <= 1.2 * few["stages"]
    assert many["jumps"] >= copied


def test_the_reference_engine_takes_about_five_events_a_stage() -> None:
    program = tile_program(400, contended=True)
    machine = reference.Machine(program)
    machine.run()
    stages = len(machine.log.table().kernel)
    assert stages == program.stage_counts().sum()
    assert next(machine.env._eid) <= 5.1 * stages
