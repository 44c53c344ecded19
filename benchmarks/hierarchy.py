"""Stages a second with the whole hierarchy on (caches, spills, prefetch, copies, fair ports), and of plain programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from benchmarks.engines import counted, differences, players
from benchmarks.measure import Figure, Line, Sample, Skipped, side_by_side
from benchmarks.workloads import roomy, trace_of
from hiersim.config.load import load_design
from hiersim.fusion.registry import policy
from hiersim.lowering.lower import lower
from hiersim.model.design import Design
from hiersim.model.program import Program
from hiersim.testing.synthetic import tile_program

GROUP = "hierarchy"
PLAIN = "1 kernel, 4 tiers, contended"
"""What the others are compared with: nothing but loads, stores and arithmetic."""
MODEL = "llama3-70b-decode"
SPILLED: Mapping[str, Mapping[str, str]] = {
    "64 GB in host DRAM": {},
    "64 GB in host DRAM, spread, 24 kernels ahead": {"placement.order": "spread", "placement.prefetch": "24"},
    "16 GB of host DRAM, the rest on NVMe": {"memory.dram.capacity": "16 GB"},
    "64 GB in host DRAM, fair ports": {
        f"{place}.arbitration": "fair" for place in ("memory.l2", "memory.hbm", "memory.dram", "links.pcie")
    },
}
"""Changes of an H100 with host DRAM and a drive behind it, on which Llama-3-70B does not fit."""
CACHED: Mapping[str, Mapping[str, str]] = {
    "gpt2-train, LRU": {},
    "gpt2-train, Belady, warm": {"memory.l2.replacement": "belady", "memory.l2.start": "warm"},
}


def programs() -> Iterator[tuple[str, Program]]:
    """Programs by what they switch on, the plain one first."""
    yield PLAIN, tile_program(50_000, tiers=4, contended=True, depth=16)
    yield "80 kernels, 4 tiers, contended", tile_program(600, tiers=4, contended=True, depth=16, kernels=80, nests=80)
    yield f"{MODEL}, all in HBM", _lowered(MODEL, roomy())
    for name, changes in SPILLED.items():
        yield f"{MODEL}, {name}", _lowered(MODEL, load_design("h100-sxm").replace(changes))
    for name, changes in CACHED.items():
        yield name, _lowered("gpt2-train", roomy().replace(changes))


def with_everything_on(repeats: int) -> Iterator[Line]:
    """The compiled engine on all of them in turn, with fast-forward and without.

    Where every stage is played, rates over that of the plain program.
    """
    made = dict(programs())
    for name in ("compiled", "compiled + fast-forward"):
        play = players().get(name)
        if play is None:
            yield Skipped(group=GROUP, name=name, why="there is no compiled engine")
            continue
        samples = side_by_side({label: partial(play, program) for label, program in made.items()}, repeats)
        plain = _rate(made[PLAIN], samples[PLAIN])
        for label, program in made.items():
            wrong = differences(play(program), players()["compiled"](program))
            if wrong:
                yield Skipped(group=GROUP, name=f"{label}: {name}", why=f"not equal without fast-forward: {wrong}")
                continue
            beside = {"of_plain": _rate(program, samples[label]) / plain} if name == "compiled" else {}  # all is played
            yield Figure(
                group=GROUP, name=f"{label}: {name}", unit="stages", work=_stages(program), sample=samples[label],
                counts=counted(name, program),
                facts={"kernels": len(program), "copies": _copies(program), **beside},
            )  # fmt: skip


def _lowered(name: str, design: Design) -> Program:
    trace = trace_of(name)
    return lower(policy("eager")(trace, design), design)


def _stages(program: Program) -> int:
    return int(program.stage_counts().sum())


def _copies(program: Program) -> int:
    """Kernels that are copies between the device and what lies behind it."""
    return 0 if program.graph_kernel is None else int(np.count_nonzero(program.graph_kernel < 0))


def _rate(program: Program, sample: Sample) -> float:
    return _stages(program) / max(sample.median, 1e-12)
