"""From eager to compiled: which machine gains most, and why?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hiersim.config.load import load_design
from hiersim.decisions.studies import PLACES
from hiersim.decisions.studies.claims import Agreement, Claim, Study, Table
from hiersim.decisions.studies.figures import (
    GROUPS,
    in_percent,
    named,
    rank_correlation,
    ridge,
    run_all,
    saved_shares,
)
from hiersim.frontends.load import load_trace
from hiersim.results import Result

NAME: Final = "compilers"
TRACES: Final = ("gpt2-train", "gpt2-large-prefill", "bert-large-prefill", "llama3-8b-decode")
DESIGNS: Final = ("v100-pcie", "a100-80gb-sxm", "h100-sxm", "tpu-v4", "dojo-d1", "m1-max")
NEWEST, LAPTOP = "h100-sxm", "m1-max"
Pair = tuple[Result, ...]


def study() -> Study:
    """Four workloads on six machines, eager and in the kernels that TorchInductor made of them."""
    designs = [load_design(name) for name in DESIGNS]
    runs: dict[str, list[Pair]] = {}
    left: list[str] = []
    for name in TRACES:
        runs[name], missing = run_all(load_trace(name), designs, ("eager", "inductor"))
        left += [f"{name} does not run on {design}" for design in missing]
    return Study(
        name=NAME,
        question=PLACES[NAME],
        claims=(_who(runs), _follows(runs), _why(runs)),
        tables=tuple(
            Table(title=f"{trace}: what compiled kernels save, as shares of the eager time", rows=tuple(_rows(pairs)))
            for trace, pairs in runs.items()
        ),
        notes=(
            "the same captured kernels are replayed on every machine; compilers of others group a little otherwise",
            "hosts are those of the designs: Dojo's and the TPU's have no eager mode in practice, and their launch "
            "costs are assumptions",
            *left,
        ),
    )


def _speed(pair: Pair) -> float:
    return pair[0].makespan / pair[-1].makespan


def _who(runs: dict[str, list[Pair]]) -> Claim:
    """The newest GPU and the laptop at both ends."""
    order = {trace: sorted(pairs, key=_speed) for trace, pairs in runs.items()}
    text = "; ".join(
        f"{trace}: {pairs[-1][0].design.name} gains most ({_speed(pairs[-1]):.2f} x), "
        f"{pairs[0][0].design.name} least ({_speed(pairs[0]):.2f} x)"
        for trace, pairs in order.items()
    )
    return Claim(
        claim="the newest GPU gains most from a compiler, a laptop least",
        found=text,
        agrees=Agreement.of(
            (pairs[-1][0].design.name, pairs[0][0].design.name) == (NEWEST, LAPTOP) for pairs in order.values()
        ),
    )


def _follows(runs: dict[str, list[Pair]]) -> Claim:
    """Does the gain follow the ridge point?"""
    found = {
        trace: rank_correlation([ridge(pair[0].design) for pair in pairs], [_speed(pair) for pair in pairs])
        for trace, pairs in runs.items()
    }
    return Claim(
        claim="the more arithmetic a machine has per byte of far memory, the more a compiler returns",
        found=f"rank correlation of speed-up and ridge point: {named(found)}; Dojo has the highest ridge point, but "
        "idle cores and latency take a part of its time that no fusion returns",
        agrees=Agreement.of(value > 0.5 for value in found.values()),
    )


def _why(runs: dict[str, list[Pair]]) -> Claim:
    """What of the eager time goes away on the machine that gains most."""
    parts, memory = [], []
    for trace, pairs in runs.items():
        pair = max(pairs, key=_speed)
        saved = saved_shares(pair[0], pair[-1])
        top = max(GROUPS, key=lambda group: saved[f"{group}_saved"])
        memory.append(top in ("far_memory", "near_memory"))
        shown = {
            group.replace("_", " "): saved[f"{group}_saved"] for group in GROUPS if saved[f"{group}_saved"] > 0.005
        }
        parts.append(f"{trace} on {pair[0].design.name}: {in_percent(shown)}")
    return Claim(
        claim="what a compiler saves is memory traffic: intermediate results stay on the chip",
        found="of the eager time it takes away " + "; ".join(parts),
        agrees=Agreement.of(memory),
    )


def _rows(pairs: list[Pair]) -> Iterator[dict[str, object]]:
    for pair in sorted(pairs, key=lambda pair: -_speed(pair)):
        yield {
            "design": pair[0].design.name,
            "time_s": pair[-1].time,
            "speedup": _speed(pair),
            "ridge_point": ridge(pair[0].design),
            "stall_fraction": pair[0].stall_fraction,
            **saved_shares(pair[0], pair[-1]),
        }
