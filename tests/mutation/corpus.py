"""What a mutant is tried on: programs with the outcome that all unmutated engines agree on, and counted work.

The programs are of the kinds that `tests/properties/test_engines_agree.py`, `tests/properties/test_drift.py` and
`tests/unit/test_counted_work.py` make: random ones by the same strategies, with fixed seeds, and synthetic ones by
the same functions; and all of `tests/properties/hard_programs.py` and `tests/unit/test_event_core.py`. Nothing is
tried here that those tests do not try; they try many more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Final

from drifting_programs import two_alike
from hard_programs import HARD
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy
from plain_engine import play
from test_event_core import ORDERS, stores

from hiersim.engines import compiled, reference
from hiersim.model.program import Program
from hiersim.model.timeline import Timeline
from hiersim.testing.contracts import differences, outcome
from hiersim.testing.strategies import products, programs, streams
from hiersim.testing.synthetic import tile_program

TIMES: Final = ("host_begin", "launched", "ready", "start", "end")
KINDS: Final[tuple[tuple[str, SearchStrategy[Program], int, int], ...]] = (
    ("dag", programs(), 70, 250),
    ("stream", streams(), 90, 400),
    ("deep stream", streams(max_repeats=60, max_tiles=2000), 24, 1500),
    ("any needs", programs(max_kernels=6, max_tiles=96, any_needs=True), 36, 150),
    ("product", products(max_tiles=400), 30, 2000),
    ("drift", two_alike(120), 24, 600),
    ("large dag", programs(), 16, 1500),
    ("large stream", streams(), 16, 1500),
)
"""Name, strategy, how many, stages at most; the large ones have at least 250."""


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A program, and what must come out."""

    name: str
    program: Program
    wanted: Timeline | str

    @property
    def bare(self) -> Timeline | str:
        """The outcome without its log."""
        return self.wanted if isinstance(self.wanted, str) else dataclasses.replace(self.wanted, log=None)


def cases() -> list[Case]:
    """The corpus, cheap cases first."""
    found = [case for number, kind in enumerate(KINDS) for case in _random(number, *kind)]
    found += [_case(name, program) for name, program in (*_synthetic(), *HARD.items())]
    return sorted(found, key=lambda case: _stages(case.program))


def _stages(program: Program) -> int:
    return int(program.stage_counts().sum())


def _random(number: int, name: str, strategy: SearchStrategy[Program], count: int, most: int) -> Iterable[Case]:
    """`count` programs of one strategy; the seed is the number of the kind."""
    least = 250 if name.startswith("large") else 0
    chosen: list[Program] = []

    @seed(number)
    @settings(
        max_examples=12 * count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def collect(program: Program) -> None:
        if len(chosen) < count and least <= _stages(program) <= most:
            chosen.append(program)

    collect()
    assert len(chosen) == count, f"{name}: {len(chosen)} of {count} programs"
    return [_case(f"{name} {index}", program) for index, program in enumerate(chosen)]


def _synthetic() -> Iterable[tuple[str, Program]]:
    """Uniform tiles: what repeats must be skipped, and what is long must be remembered."""
    for contended in (False, True):
        for tiers in (1, 2, 4):
            program = tile_program(300, tiers=tiers, contended=contended)
            yield f"{tiers} tiers, {'one port' if contended else 'two ports'} each", program
    for index, order in enumerate(ORDERS):
        yield f"backlog of stores {index}", stores(order, (70, 5, 120))
    yield "stores in turn", stores([1, 2] * 40)
    yield "two nests in turn", tile_program(40, kernels=12, nests=2, contended=True)
    yield "many buffers", tile_program(200, depth=70, contended=True)


def _case(name: str, program: Program) -> Case:
    """The outcome, on which the reference, the compiled and, for small programs, the plain engine agree."""
    wanted = outcome(reference.simulate, program, keep_log=True)
    found = outcome(compiled.simulate, program, keep_log=True)
    if isinstance(wanted, str) or isinstance(found, str):
        assert wanted == found, name
        return Case(name, program, wanted)
    assert not differences(wanted, found), name
    if _stages(program) <= 400:
        plain = play(program)
        assert all(
            getattr(wanted, time).tolist() == [getattr(kernel, time) for kernel in plain.kernels] for time in TIMES
        ), name
        assert wanted.busy.tolist() == plain.busy and wanted.makespan == plain.makespan, name
    return Case(name, program, wanted)


def check_compiled(engine: Any, case: Case) -> list[str]:
    """What the compiled engine does otherwise, in any of its modes; it stops at the first."""
    total = _stages(case.program)
    for options in ({}, {"keep_log": True}):  # with a log, nothing is skipped either
        found = outcome(engine.simulate, case.program, **options)
        unequal = compare(found, case.wanted if "keep_log" in options else case.bare)
        counts = engine.last_counts()
        if not unequal and not isinstance(found, str):
            if counts["stages"] + counts["stages_skipped"] != total:
                unequal = ["stages played and skipped"]
            if counts["kernels_played"] + counts["kernels_remembered"] != len(case.program):
                unequal = ["kernels played and remembered"]
        if unequal:
            return unequal
    return []


def check_reference(engine: Any, case: Case) -> list[str]:
    """What the reference engine does otherwise."""
    return compare(outcome(engine.simulate, case.program, keep_log=True), case.wanted)


def compare(found: Timeline | str, wanted: Timeline | str) -> list[str]:
    """Differences of two outcomes."""
    if isinstance(found, Timeline) and isinstance(wanted, Timeline):
        return differences(found, wanted)
    return [] if found == wanted else ["another outcome"]
