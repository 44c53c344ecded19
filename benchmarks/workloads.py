"""What is run: bundled traces, one design with room for all of them, and changes of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import count

from hiersim.config.load import load_design
from hiersim.frontends.load import load_trace
from hiersim.fusion.registry import policy
from hiersim.lowering.lower import lower
from hiersim.model.design import Design
from hiersim.model.program import Program
from hiersim.model.trace import Trace

LARGE = "10 TB"


@cache
def roomy(capacity: str = "160 GB") -> Design:
    """An H100 whose HBM holds every bundled trace; the 141 GB of Llama-3-70B fit no bundled design."""
    return load_design("h100-sxm").replace({"memory.hbm.capacity": capacity})


@cache
def trace_of(name: str) -> Trace:
    """A bundled trace, read once."""
    return load_trace(name)


@cache
def real_program(name: str, fusion: str) -> Program:
    """A bundled trace lowered onto `roomy()`."""
    trace, design = trace_of(name), roomy()
    return lower(policy(fusion)(trace, design), design)


def changes() -> Iterator[dict[str, str]]:
    """Changes of a design that never repeat: bandwidth of HBM, capacity of L2 and peak rate in turn."""
    for turn in count(1):
        step = 1 + turn / 1000
        yield {"memory.hbm.bandwidth": f"{step:.3f}x"}
        yield {"memory.l2.capacity": f"{step:.3f}x"}
        yield {"compute.matrix.peak.bf16": f"{step:.3f}x", "compute.vector.peak.fp32": f"{step:.3f}x"}
