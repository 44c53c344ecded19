"""Prefill against decode: what does each want more of?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from hiersim.config.load import load_design
from hiersim.decisions.case import Case
from hiersim.decisions.studies import PLACES
from hiersim.decisions.studies.claims import Agreement, Claim, Study, Table
from hiersim.decisions.studies.figures import named, returns, ridge
from hiersim.frontends.load import load_trace
from hiersim.results import Result

NAME: Final = "serving"
PREFILL, DECODE, BATCH = "llama3-8b-prefill", "llama3-8b-decode", "llama3-8b-decode-b32"
TOKENS: Final = {PREFILL: 2048, DECODE: 1, BATCH: 32}
"""Of one run: 1 x 2048 tokens read, and one token for each of 1 and 32 sequences."""
DESIGNS: Final = ("a100-80gb-sxm", "h100-sxm", "h200-sxm")
POLICY: Final = "inductor"


def study() -> Study:
    """Llama-3-8B read and written, one sequence and 32, compiled, on three GPUs."""
    runs = {(name, design): _asked(name, design) for design in DESIGNS for name in TOKENS}
    return Study(
        name=NAME,
        question=PLACES[NAME],
        claims=(_prefill(runs), _decode(runs), _batch(runs)),
        tables=tuple(
            Table(title=f"{name}, {POLICY}: what 1 % more of each returns, in per cent", rows=tuple(_rows(runs, name)))
            for name in TOKENS
        ),
        notes=(
            "returns: all rates and times of one purse 1 % better at once (FLOPS; ports on the chip; HBM and beyond; "
            "launches); the four add up to 1 but for kinks",
            "the prompt is one of 2048 tokens; decode attends to 2048 positions and writes one token per sequence",
        ),
    )


class Asked(NamedTuple):
    """One run, and what more of each purse returns to it."""

    result: Result
    returns: dict[str, float]


Runs = dict[tuple[str, str], Asked]


def _asked(name: str, design: str) -> Asked:
    case = Case(trace=load_trace(name), design=load_design(design), fusion=POLICY)
    result = case.run()
    return Asked(result, returns(case, result))


def _returns(runs: Runs, name: str, key: str) -> dict[str, float]:
    return {design: runs[name, design].returns[f"{key}_return"] for design in DESIGNS}


def _prefill(runs: Runs) -> Claim:
    flops, far = _returns(runs, PREFILL, "flops"), _returns(runs, PREFILL, "far_memory")
    return Claim(
        claim="prefill is bound by compute",
        found=f"1 % more FLOPS returns {named(flops, '{:.2f} %')}, a 1 % better HBM {named(far, '{:.2f} %')}",
        agrees=Agreement.of(flops[design] > 0.5 for design in DESIGNS),
    )


def _decode(runs: Runs) -> Claim:
    flops, far = _returns(runs, DECODE, "flops"), _returns(runs, DECODE, "far_memory")
    return Claim(
        claim="decode is bound by memory bandwidth",
        found=f"a 1 % better HBM returns {named(far, '{:.2f} %')}, 1 % more FLOPS {named(flops, '{:.2f} %')}",
        agrees=Agreement.of(far[design] > 0.5 for design in DESIGNS),
    )


def _batch(runs: Runs) -> Claim:
    gain = {design: _tokens(runs, BATCH, design) / _tokens(runs, DECODE, design) for design in DESIGNS}
    far = _returns(runs, BATCH, "far_memory")
    return Claim(
        claim="batching makes decode cheap: weights are read once for all sequences",
        found=f"32 sequences give {named(gain, '{:.1f} x')} the tokens per second of one, and HBM still returns "
        f"{named(far, '{:.2f} %')} per 1 %",
        agrees=Agreement.of(value > 16 for value in gain.values()),
    )


def _tokens(runs: Runs, name: str, design: str) -> float:
    """Tokens per second."""
    return TOKENS[name] / runs[name, design].result.time


def _rows(runs: Runs, trace: str) -> Iterator[dict[str, object]]:
    for (name, design), (result, returned) in runs.items():
        if name == trace:
            yield {
                "design": design,
                "time_s": result.time,
                "tokens_per_second": _tokens(runs, name, design),
                "stall_fraction": result.stall_fraction,
                "matrix_utilization": result.utilization["matrix"],
                "arithmetic_intensity": sum(result.program.flops) / int(result.home_bytes),
                "ridge_point": ridge(result.design),
                **returned,
            }
