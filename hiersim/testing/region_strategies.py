"""Random compiled regions over the operators of a trace."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st

from hiersim.model.regions import Call, Shapes, regions_of
from hiersim.model.trace import Trace
from hiersim.testing.trace_strategies import traces

_KINDS = ("TENSOR_MATCH", "ID_MATCH", "GLOBAL_STATE")


@st.composite
def cut_traces(draw: st.DrawFn, max_operators: int = 8) -> Trace:
    """A trace whose operators are cut into at least one compiled region, with guards and perhaps a recompilation."""
    trace = draw(traces(max_operators=max_operators))
    count = len(trace.graph.operators)
    calls: list[Call] = []
    at = draw(st.integers(0, count - 1))
    while at < count:
        last = draw(st.integers(at, count - 1))
        calls.append(
            Call(
                name=draw(st.sampled_from(("forward", "resume_at_3"))),
                first=at,
                last=last,
                guards=draw(st.dictionaries(st.sampled_from(_KINDS), st.integers(1, 40))),
                reason=draw(st.sampled_from(("", "Unsupported builtin"))),
                line=draw(st.sampled_from(("", "model.py:3 in forward"))),
                shapes=draw(st.sampled_from(Shapes)),
                recompiled=draw(st.booleans()),
            )
        )
        at = last + draw(st.integers(1, 3))
    return dataclasses.replace(trace, graph=dataclasses.replace(trace.graph, regions=regions_of(calls)))
