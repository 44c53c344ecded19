"""Counted work, held to the bounds of `tests/unit/test_counted_work.py`: a mutant that only loses speed dies here."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from core_work import WORK, check_events, check_gaps, work
from corpus import HARD
from hard_programs import PLAYED

from hiersim.config.load import load_design
from hiersim.engines import compiled
from hiersim.frontends.load import load_trace
from hiersim.fusion.registry import policy
from hiersim.lowering.lower import lower
from hiersim.model.program import Program
from hiersim.model.timeline import Timeline
from hiersim.model.trace import Trace
from hiersim.testing.contracts import differences, outcome
from hiersim.testing.synthetic import layered_trace, tile_program


def lowered(trace: Trace) -> Program:
    """The program of `trace` on an H100 with room for everything."""
    design = load_design("h100-sxm").replace({"memory.hbm.capacity": "10 TB"})
    return lower(policy("eager")(trace, design), design)


@cache
def tiles(count: int, **options: Any) -> Program:
    return tile_program(count, **options)


@cache
def layers(count: int) -> Program:
    return lowered(layered_trace(count, tokens=2048, width=8192, hidden=28_672, heads=64))


@cache
def model(name: str) -> Program:
    return lowered(load_trace(name))


@cache
def wanted(make: Callable[..., Program], *arguments: Any, **options: Any) -> Timeline:
    """What the unmutated engine says, before the first mutant is made; that it is right is tested elsewhere."""
    return compiled.simulate(make(*arguments, **options))


def run(engine: Any, make: Callable[..., Program], *arguments: Any, **options: Any) -> dict[str, int]:
    """Counted work of one run, whose outcome must be right."""
    program = make(*arguments, **options)
    found = outcome(engine.simulate, program)
    assert isinstance(found, Timeline) and not differences(found, wanted(make, *arguments, **options))
    counts: dict[str, int] = engine.last_counts()
    assert counts["stages"] + counts["stages_skipped"] == program.stage_counts().sum()
    return counts


def without_skipped(counts: dict[str, int]) -> dict[str, int]:
    """What is the same for any number of tiles."""
    return {name: count for name, count in counts.items() if name != "stages_skipped"}


def every_stage_is_played_without_fast_forward(engine: Any) -> None:
    for contended in (False, True):
        program = tiles(300, kernels=4, nests=2, contended=contended)
        engine.simulate(program, fast_forward=False)
        counts = engine.last_counts()
        assert counts["stages"] == 4 * 300 * 5
        assert counts["snapshots"] == counts["jumps"] == 0
        assert counts["steps"] <= 1.7 * counts["stages"]


def work_does_not_grow_with_tiles(engine: Any) -> None:
    for tiers in (1, 2, 4):
        for contended in (False, True):
            few = run(engine, tiles, 10**3, tiers=tiers, contended=contended)
            assert few["stages"] <= 1000
            many = run(engine, tiles, 10**6, tiers=tiers, contended=contended)
            assert without_skipped(few) == without_skipped(many)


def equal_kernels_are_played_a_few_times(engine: Any) -> None:
    few = run(engine, tiles, 20, kernels=10, contended=True)
    assert few["stages"] <= 20 * 5 * 4
    assert few["stages"] == run(engine, tiles, 20, kernels=10_000, contended=True)["stages"]


def work_does_not_grow_with_layers(engine: Any) -> None:
    few = run(engine, layers, 8)
    assert few["stages"] <= 4000 and few["snapshots"] <= 1000
    many = run(engine, layers, 80)
    assert (few["stages"], few["snapshots"]) == (many["stages"], many["snapshots"])


def a_real_model_costs_what_is_distinct_in_it(engine: Any) -> None:
    counts = run(engine, model, "bert-large-prefill")
    assert counts["stages"] <= 2000
    assert counts["stages_skipped"] > 10 * counts["stages"]


def what_repeats_is_skipped(engine: Any) -> None:
    """As `tests/properties/test_hard_programs.py`."""
    for name, played in PLAYED.items():
        engine.simulate(HARD[name])
        counts = engine.last_counts()
        assert (counts["stages"], counts["snapshots"]) == played


def the_reference_takes_about_five_events_a_stage(engine: Any) -> None:
    program = tiles(400, contended=True)
    machine = engine.Machine(program)
    machine.run()
    stages = len(machine.log.table().kernel)
    assert stages == program.stage_counts().sum()
    assert next(machine.env._eid) <= 5.1 * stages


def the_reference_refuses_what_it_cannot_log(engine: Any) -> None:
    assert "cannot play" in str(outcome(engine.simulate, tiles(10**9)))
    assert engine.simulate(tiles(10)).log is None


def any_glance_gives_the_same(engine: Any) -> None:
    """As `tests/properties/test_any_glance.py`: every state is compared with the one before."""
    if engine.compiled():
        return  # its methods cannot be replaced; mutants run interpreted
    kind = next(kind for kind in engine.stream.Stream.__mro__ if kind.__name__ == "Repeats")
    kept, kind.glance = kind.glance, lambda machine, active: 1
    try:
        program = on_a_t4()
        assert not differences(engine.simulate(program), compiled.simulate(program, fast_forward=False))
    finally:
        kind.glance = kept


def order_lasts_as_long_as_counted(engine: Any) -> None:
    """As `tests/properties/test_drift.py`."""
    if not engine.compiled():
        check_gaps(engine)
        check_events(engine)


def counts_of(name: str) -> Callable[[Any], None]:
    """As `tests/properties/test_core_work.py`, for one program."""

    def gate(engine: Any) -> None:
        assert engine.compiled() or work(engine, HARD[name]) == counted_before()[name]

    gate.__name__ = f"counts of {name}"
    return gate


@cache
def counted_before() -> dict[str, Any]:
    """The counts that are pinned."""
    found: dict[str, Any] = json.loads(WORK.read_text())
    return found


@cache
def on_a_t4() -> Program:
    return lower(policy("eager")(load_trace("gpt2-large-prefill"), None), load_design("t4"))


COMPILED: Final = (
    *(counts_of(name) for name in sorted(HARD, key=lambda name: int(HARD[name].stage_counts().sum()))),
    order_lasts_as_long_as_counted,
    any_glance_gives_the_same,
    every_stage_is_played_without_fast_forward,
    work_does_not_grow_with_tiles,
    equal_kernels_are_played_a_few_times,
    work_does_not_grow_with_layers,
    a_real_model_costs_what_is_distinct_in_it,
    what_repeats_is_skipped,
)
REFERENCE: Final = (the_reference_takes_about_five_events_a_stage, the_reference_refuses_what_it_cannot_log)
