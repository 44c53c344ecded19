"""How long policies take over large traces: layers that repeat, and a wide graph in which nothing does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.measure import Figure, side_by_side
from benchmarks.workloads import LARGE, roomy
from hiersim.fusion.registry import policy
from hiersim.model.trace import Trace
from hiersim.testing.synthetic import OPERATORS_PER_LAYER, layered_trace
from hiersim.testing.woven import woven_trace

POLICIES = ("eager", "pointwise", "epilogue", "attention", "depth-first", "inductor-rules")
MOST = 10**5
TRACES: dict[str, Callable[[int], Trace]] = {
    "transformer layers": lambda operators: layered_trace(operators // OPERATORS_PER_LAYER),
    "a wide random graph": woven_trace,
}


def large_traces(repeats: int, largest: int) -> Iterator[Figure]:
    """Every policy but `optimal` over 10^5 operators, or `largest` where that is fewer."""
    operators = min(MOST, largest)
    for label, make in TRACES.items():
        trace, design = make(operators), roomy(LARGE)
        for name in POLICIES:
            fuse = policy(name)
            sample = side_by_side({"": lambda: fuse(trace, design)}, min(repeats, 3))[""]  # noqa: B023
            yield Figure(
                group="fusing", name=f"{operators} operators, {label}: {name}", unit="operators", work=operators,
                sample=sample, facts={"kernels": len(fuse(trace, design))},
            )  # fmt: skip
