"""Captured: the kernels that a compiler really made, as the trace carries them."""

from __future__ import annotations

from hiersim.errors import FusionError
from hiersim.fusion.marks import of_trace_alone
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.trace import Trace


def captured(trace: Trace, compiler: str) -> KernelGraph:
    """The schedule of `compiler` (`inductor`, `ort`, `xla`).

    Raises
    ------
    FusionError
        When the trace carries none.
    """
    if compiler not in trace.schedules:
        have = ", ".join(sorted(trace.schedules)) or "none"
        raise FusionError(
            f"trace '{trace.name}' carries no captured '{compiler}' schedule",
            expected=f"a trace with one (here: {have}); such as the bundled ones; --fusion eager needs none",
        )
    return trace.schedules[compiler]


@of_trace_alone
def xla(trace: Trace, design: Design | None = None) -> KernelGraph:
    """What XLA emitted."""
    return captured(trace, "xla")


@of_trace_alone
def ort(trace: Trace, design: Design | None = None) -> KernelGraph:
    """What ONNX Runtime's optimiser made of the graph."""
    return captured(trace, "ort")
