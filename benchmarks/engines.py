"""The engines on the same programs: stages a second, and how the cost grows with tiles and tiers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.limits import bare_loop
from benchmarks.measure import Figure, Line, Sample, Skipped, exponent, side_by_side
from benchmarks.workloads import real_program
from hiersim.engines import reference
from hiersim.model.program import Program
from hiersim.model.timeline import Timeline
from hiersim.testing.synthetic import tile_program

Play = Callable[[Program], Timeline]
REFERENCE_STAGES = 60_000
"""About a second of the reference engine."""


def players() -> dict[str, Play]:
    """Engines by name, the reference first; the compiled one where it can be imported."""
    found: dict[str, Play] = {"reference": reference.simulate}
    try:
        simulate = import_module("hiersim.engines.compiled").simulate
    except (ImportError, AttributeError):
        return found
    found["compiled"] = partial(simulate, fast_forward=False)
    found["compiled + fast-forward"] = partial(simulate, fast_forward=True)
    return found


def counted(player: str, program: Program) -> dict[str, int]:
    """Counted work of one run: events of SimPy, or what the compiled engine counts."""
    if player == "reference":
        machine = reference.Machine(program)
        machine.run()
        return {"stages": len(machine.log.table().stage), "simpy_events": next(machine.env._eid)}
    players()[player](program)
    module = import_module("hiersim.engines.compiled")
    counts: Callable[[], Mapping[str, int]] | None = getattr(module, "last_counts", None)
    return {name: int(value) for name, value in (counts() if counts else {}).items()}


def differences(timeline: Timeline, wanted: Timeline) -> str:
    """Names of the fields in which two timelines differ; empty when they are equal."""
    columns = ("host_begin", "launched", "ready", "start", "end", "busy", "ledger")
    unequal = [name for name in columns if not np.array_equal(getattr(timeline, name), getattr(wanted, name))]
    return ", ".join([*(["makespan"] if timeline.makespan != wanted.makespan else []), *unequal])


def same_programs(repeats: int) -> Iterator[Line]:
    """Every engine on the same small programs, in turn; and the bare loops in C. Who is wrong is not timed."""
    programs = {
        "1 kernel, known order": tile_program(8_000),
        "1 kernel, contended": tile_program(8_000, contended=True),
        "1 kernel, 4 tiers, contended": tile_program(4_000, tiers=4, contended=True, depth=16),
        "80 kernels, contended": tile_program(100, kernels=80, nests=80, contended=True),
        "resnet50-infer, eager": real_program("resnet50-infer", "eager"),
        "bert-large-prefill, eager": real_program("bert-large-prefill", "eager"),
    }
    for label, program in programs.items():
        yield from _same_program(label, program, repeats)


def _same_program(label: str, program: Program, repeats: int) -> Iterator[Line]:
    stages = int(program.stage_counts().sum())
    timelines = {name: play(program) for name, play in players().items()}
    wrong = {name: differences(timeline, timelines["reference"]) for name, timeline in timelines.items()}
    for name, fields in wrong.items():
        if fields:
            yield Skipped(group="engines", name=f"{label}: {name}", why=f"not equal to the reference: {fields}")
    engines = {name: partial(play, program) for name, play in players().items() if not wrong[name]}
    makespan = timelines["reference"].makespan
    loops: dict[str, Callable[[], object]] = {}
    for name in ("events", "known"):
        loop = bare_loop(name, program) if len(program) == 1 else None
        if loop and loop() == makespan:  # the recurrence is right in a known order only
            loops[f"C, {name}, makespan only"] = loop
    samples = side_by_side({**engines, **loops}, repeats)
    for name, sample in samples.items():
        counts = counted(name, program) if name in engines else {}
        yield Figure(
            group="engines", name=f"{label}: {name}", unit="stages", work=stages, sample=sample, counts=counts,
            facts={
                "kernels": len(program),
                "times_reference": samples["reference"].median / max(sample.median, 1e-12),
                "makespan_ticks": makespan,
            },
        )  # fmt: skip


def large_programs(repeats: int) -> Iterator[Figure]:
    """Engines and bare loops on programs too large for the reference."""
    fast = {name: play for name, play in players().items() if name != "reference"}
    for label, contended in (("known order", False), ("contended", True)):
        program = tile_program(200_000, contended=contended)
        stages = int(program.stage_counts().sum())
        tasks: dict[str, Callable[[], object]] = {name: partial(play, program) for name, play in fast.items()}
        for name in ("events", "known") if not contended else ("events",):
            loop = bare_loop(name, program)
            if loop:
                tasks[f"C, {name}, makespan only"] = loop
        samples = side_by_side(tasks, repeats)
        bare = samples.get("C, events, makespan only")
        for name, sample in samples.items():
            yield Figure(
                group="engines, large", name=f"1 kernel of 200 000 tiles, {label}: {name}", unit="stages", work=stages,
                sample=sample, counts=counted(name, program) if name in fast else {},
                facts={"times_c_events": sample.median / bare.median} if bare else {},
            )  # fmt: skip


def by_tiles(repeats: int, largest: int) -> Iterator[Figure]:
    """10^2 … `largest` tiles in one kernel; the exponent is in the last line of each engine."""
    for contended in (False, True):
        label = "contended" if contended else "known order"
        programs = {tiles: tile_program(tiles, contended=contended) for tiles in _decades(100, largest)}
        yield from _growth("tiles", f"one kernel, {label}", programs, repeats)


def by_tiers(repeats: int) -> Iterator[Figure]:
    """1 … 6 tiers with contended ports, 2000 tiles."""
    programs = {tiers: tile_program(2_000, tiers=tiers, contended=True) for tiers in (1, 2, 3, 4, 6)}
    yield from _growth("tiers", "2000 tiles, contended", programs, repeats)


def by_kernels(repeats: int) -> Iterator[Figure]:
    """10 … 10 000 equal kernels of 20 tiles."""
    programs = {kernels: tile_program(20, kernels=kernels, contended=True) for kernels in _decades(10, 10_000)}
    yield from _growth("kernels", "20 tiles each, one loop nest", programs, repeats)


def _growth(what: str, label: str, programs: Mapping[int, Program], repeats: int) -> Iterator[Figure]:
    """Seconds of every engine over the sizes, each with the exponent of all its sizes."""
    for name, play in players().items():
        kept = {
            size: program
            for size, program in programs.items()
            if name != "reference" or int(program.stage_counts().sum()) <= REFERENCE_STAGES
        }
        samples = side_by_side({str(size): partial(play, p) for size, p in kept.items()}, repeats)
        slope = exponent(list(kept), [samples[str(size)].median for size in kept])
        for size, program in kept.items():
            yield Figure(
                group=f"by {what}", name=f"{label}: {name}: {size} {what}", unit="stages",
                work=int(program.stage_counts().sum()), sample=samples[str(size)], counts=counted(name, program),
                facts=_slope(slope, samples, list(kept)),
            )  # fmt: skip


def _slope(slope: float, samples: Mapping[str, Sample], sizes: list[int]) -> dict[str, Any]:
    first, last = samples[str(sizes[0])].median, samples[str(sizes[-1])].median
    return {"exponent": round(slope, 3), "last_over_first": last / first}


def _decades(first: int, last: int) -> list[int]:
    sizes = [first]
    while sizes[-1] * 10 <= last:
        sizes.append(sizes[-1] * 10)
    return sizes
