"""P100 to B200: did the bottleneck move from compute to memory?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from hiersim.config.load import load_design
from hiersim.decisions.case import Case
from hiersim.decisions.studies import PLACES
from hiersim.decisions.studies.claims import Agreement, Claim, Study, Table
from hiersim.decisions.studies.figures import PURSES, named, returns, ridge
from hiersim.frontends.load import load_trace
from hiersim.results import Result

NAME: Final = "generations"
DESIGNS: Final = ("p100-sxm", "v100-sxm", "a100-80gb-sxm", "h100-sxm", "b200")
RUNS: Final = (("gpt2-train", "eager"), ("gpt2-large-prefill", "eager"), ("gpt2-large-prefill", "inductor"))


class Asked(NamedTuple):
    """One run on one generation."""

    result: Result
    returns: dict[str, float]


Series = dict[str, Asked]


def study() -> Study:
    """Training and prefill of GPT-2 on five generations: what would have made each of them faster?"""
    found = {run: {design: _asked(*run, design) for design in DESIGNS} for run in RUNS}
    return Study(
        name=NAME,
        question=PLACES[NAME],
        claims=(_moved(found), _faster(found)),
        tables=tuple(
            Table(title=f"{trace}, {fusion}: what 1 % more of each returns, in per cent", rows=tuple(_rows(series)))
            for (trace, fusion), series in found.items()
        ),
        notes=(
            "returns: all rates and times of one purse 1 % better at once (FLOPS; ports on the chip; HBM and beyond; "
            "launches); the four add up to 1 but for kinks",
            "the P100 has no matrix unit, and the V100 no BF16: what they run instead is said by their designs",
            "the L2 bandwidth of the B200 is derived from that of the H200 by cores and clock; that the L2 is the "
            "limit there rests on this",
        ),
    )


def _asked(trace: str, fusion: str, design: str) -> Asked:
    case = Case(trace=load_trace(trace), design=load_design(design), fusion=fusion)
    result = case.run()
    return Asked(result, returns(case, result))


def _memory(asked: Asked) -> float:
    """What better memory of all kinds returns."""
    return asked.returns["near_memory_return"] + asked.returns["far_memory_return"]


def _most(asked: Asked) -> str:
    """The purse that returns most."""
    return max(PURSES, key=lambda purse: asked.returns[f"{purse}_return"])


def _moved(found: dict[tuple[str, str], Series]) -> Claim:
    """FLOPS first, memory last; and less for FLOPS with every generation."""
    told, cases = [], []
    for (trace, fusion), series in found.items():
        flops = {design: asked.returns["flops_return"] for design, asked in series.items()}
        largest = {design: _most(asked).replace("_", " ") for design, asked in series.items()}
        first, last = series[DESIGNS[0]], series[DESIGNS[-1]]
        cases += [flops[DESIGNS[0]] > _memory(first), flops[DESIGNS[-1]] < _memory(last)]
        cases.append(list(flops.values()) == sorted(flops.values(), reverse=True))
        words = ", ".join(f"{design} {purse}" for design, purse in largest.items())
        told.append(f"{trace}, {fusion}: FLOPS return {named(flops)}; most returns {words}")
    return Claim(
        claim="from P100 to B200 the bottleneck moved from compute to memory",
        found="; ".join(told),
        agrees=Agreement.of(cases),
    )


def _faster(found: dict[tuple[str, str], Series]) -> Claim:
    """Speed against peak, first to last."""
    told, cases = [], []
    for (trace, fusion), series in found.items():
        first, last = series[DESIGNS[0]].result, series[DESIGNS[-1]].result
        speed = first.makespan / last.makespan
        peak = _peak(last) / _peak(first)
        cases.append(speed < peak)
        told.append(f"{trace}, {fusion}: {speed:.0f} x the speed with {peak:.0f} x the peak")
    return Claim(
        claim="FLOPS grew faster than what models get of them",
        found="; ".join(told),
        agrees=Agreement.of(cases),
    )


def _peak(result: Result) -> float:
    home = result.design.home
    return ridge(result.design) * int(home.bandwidth or home.read_bandwidth or 0)


def _rows(series: Series) -> Iterator[dict[str, object]]:
    for design, (result, returned) in series.items():
        yield {
            "design": design,
            "year": result.design.device.year,
            "time_s": result.time,
            "ridge_point": ridge(result.design),
            "stall_fraction": result.stall_fraction,
            **returned,
        }
