"""Every fusion policy keeps its promise, on random traces and on every bundled one."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given

from hiersim import bundled
from hiersim.config.load import load_design
from hiersim.frontends.load import load_trace
from hiersim.fusion.eager import eager
from hiersim.fusion.registry import policies
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.testing.contracts import PolicyContract, asked_bytes, check_eager
from hiersim.testing.strategies import traces

TRACES = {name: load_trace(name) for name in bundled.traces()}
H100 = load_design("h100-sxm")
CAPTURED = ("inductor", "xla")
"""Policies that read a schedule which the trace carries."""


def _suite(name: str) -> type[PolicyContract]:
    def cases() -> Iterable[tuple[Trace, Design]]:
        """The bundled traces that the policy allows."""
        for trace in TRACES.values():
            if name not in CAPTURED or name in trace.schedules:
                yield trace, H100

    members = {"policy": staticmethod(policies()[name]), "cases": staticmethod(cases), "__module__": __name__}
    return type(f"Test{name.title().replace('-', '')}", (PolicyContract,), members)


globals().update({suite.__name__: suite for suite in map(_suite, policies())})


def test_built_in_policies_have_their_suites_and_every_trace_its_captured_schedule() -> None:
    assert {"TestEager", "TestInductor", "TestXla"} <= set(globals())
    assert all("inductor" in trace.schedules for trace in TRACES.values())


@given(traces())
def test_eager_runs_every_launching_operator_once(trace: Trace) -> None:
    check_eager(trace, eager(trace))


@pytest.mark.parametrize("name", TRACES)
def test_eager_runs_every_launching_operator_of_a_bundled_trace_once(name: str) -> None:
    check_eager(TRACES[name], eager(TRACES[name]))


@pytest.mark.parametrize("name", TRACES)
def test_captured_kernels_ask_for_fewer_bytes(name: str) -> None:
    """Law 10, on the bytes that kernels ask for."""
    trace = TRACES[name]
    assert asked_bytes(policies()["inductor"](trace, H100)) < asked_bytes(eager(trace))
