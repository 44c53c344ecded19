"""Do GPUs wait while a transformer is trained eagerly, and what does fusion return?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hiersim.config.load import load_design
from hiersim.decisions.studies import PLACES
from hiersim.decisions.studies.claims import Agreement, Claim, Study, Table
from hiersim.decisions.studies.figures import in_percent, shares, times, told
from hiersim.frontends.load import load_trace
from hiersim.results import Result
from hiersim.run import simulate

NAME: Final = "waiting"
TRACES: Final = ("gpt2-train", "gpt2-train-checkpointed")
DESIGNS: Final = ("v100-pcie", "a100-80gb-sxm", "h100-sxm")
POLICIES: Final = ("eager", "pointwise", "inductor")
LOW, HIGH = 0.40, 0.60


Runs = dict[tuple[str, str], list[Result]]


def study() -> Study:
    """Training of GPT-2 on three generations: eager, element-wise chains fused, and as TorchInductor compiles it."""
    runs = {
        (trace, design): [simulate(load_trace(trace), load_design(design), policy) for policy in POLICIES]
        for trace in TRACES
        for design in DESIGNS
    }
    return Study(
        name=NAME,
        question=PLACES[NAME],
        claims=(_waiting(runs), _given_back(runs)),
        tables=tuple(
            Table(title=f"{trace}: where the time of the cores goes", rows=tuple(_rows(runs, trace)))
            for trace in TRACES
        ),
        notes=(
            "waiting: the cores, as one engine, do no arithmetic; padding is no waiting, although nobody asked for it "
            "(eager products of the last layer have rows of 50257 logits, which are not aligned: they load element by "
            "element)",
            "a step is forward, backward and AdamW; its kernels follow each other without the framework's own gaps",
        ),
    )


def _waiting(runs: Runs) -> Claim:
    eager = {key: results[0].stall_fraction for key, results in runs.items()}
    return Claim(
        claim="GPUs wait 40 to 60 % of the time while a transformer is trained eagerly",
        found=f"the cores wait: {told(eager, in_percent)}",
        agrees=Agreement.of(LOW <= share <= HIGH for share in eager.values()),
    )


def _given_back(runs: Runs) -> Claim:
    """At least half of the waiting should be gone."""
    given = {key: 1 - _waits(results[-1]) / _waits(results[0]) for key, results in runs.items()}
    speed = {key: results[0].makespan / results[-1].makespan for key, results in runs.items()}
    return Claim(
        claim="fusion gives most of the waiting back",
        found=f"of the time that the cores wait, compiled kernels take away: {told(given, in_percent)}. Speed-up: "
        f"{told(speed, times)}",
        agrees=Agreement.of(share >= 0.5 for share in given.values()),
    )


def _waits(result: Result) -> float:
    """Ticks in which the cores wait."""
    return result.stall_fraction * result.makespan


def _rows(runs: Runs, trace: str) -> Iterator[dict[str, object]]:
    for (name, design), results in runs.items():
        for result in results if name == trace else ():
            yield {
                "design": design,
                "fusion": result.fusion.split()[0],
                "time_s": result.time,
                "speedup": results[0].makespan / result.makespan,
                "kernels": len(result.program),
                "stall_fraction": result.stall_fraction,
                **shares(result),
            }
