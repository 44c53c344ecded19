"""Every fusion policy keeps its promise, on random traces and on every bundled one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from hiersim import bundled
from hiersim.config.load import load_design
from hiersim.errors import FusionError
from hiersim.frontends.load import load_trace
from hiersim.fusion import epilogue, pointwise
from hiersim.fusion.build import kernel_graph
from hiersim.fusion.dependences import dependences
from hiersim.fusion.eager import eager
from hiersim.fusion.inductor import policy as rules
from hiersim.fusion.partition import launching, of_groups, ordered
from hiersim.fusion.registry import BUILT_IN, GROUP, policies
from hiersim.lowering.placement import occupancy
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.trace import Trace
from hiersim.run import kernels_of
from hiersim.testing.contracts import (
    PolicyContract,
    asked_bytes,
    check_eager,
    check_policy,
    check_regions,
    inherited,
)
from hiersim.testing.legality import check_legal
from hiersim.testing.strategies import cut_traces, dags, traces

TRACES = {name: load_trace(name) for name in bundled.traces()}
H100 = load_design("h100-sxm")
REPLAYED = ("ort", "xla")
"""Policies without rules: the schedule is in the trace, or they refuse it."""
SEARCHED = 1500
"""Operators of the largest bundled trace that is searched for its optimum."""
PARTITIONS = {"pointwise": pointwise.partition, "epilogue": epilogue.partition, "inductor-rules": rules.partition}


def neighbours(trace: Trace, design: Design) -> KernelGraph:
    """Two operators a kernel where the design has more than one shared tier, else one: it looks at the design."""
    size = 1 + (len(design.shared_tiers) > 1)
    group = np.zeros(len(trace.graph.operators), np.int64)
    rows = launching(trace.graph)
    group[rows] = np.arange(len(rows)) // size
    return kernel_graph(trace, of_groups(trace.graph, group), "neighbours")


def _suite(name: str) -> type[PolicyContract]:
    def cases() -> Iterable[tuple[Trace, Design]]:
        """The bundled traces that the policy allows."""
        for trace in TRACES.values():
            searched = name == "optimal" and len(trace.graph.operators) > SEARCHED
            if not searched and (name not in REPLAYED or name in trace.schedules):
                yield trace, H100

    members = {"policy": staticmethod(policies()[name]), "cases": staticmethod(cases), "__module__": __name__}
    if name in BUILT_IN:  # all of them on the same random traces, below: drawing a trace costs more than fusing it
        members["test_random_traces_keep_the_laws_or_are_refused"] = None
        members["test_no_kernel_spans_a_graph_break"] = None
    return type(f"Test{name.title().replace('-', '')}", (PolicyContract,), members)


globals().update({suite.__name__: suite for suite in map(_suite, policies())})


class TestOutside(PolicyContract):
    """A policy that is no part of hiersim, under the contract that is made for it."""

    policy = staticmethod(neighbours)


def test_every_built_in_policy_is_an_entry_point_and_has_a_suite() -> None:
    """Others register in the same way: the public path is the plug-in path."""
    with (Path(__file__).parents[2] / "pyproject.toml").open("rb") as file:
        points = tomllib.load(file)["project"]["entry-points"][GROUP]
    assert points == BUILT_IN
    assert {f"Test{name.title().replace('-', '')}" for name in BUILT_IN} <= set(globals())
    assert all("inductor" in trace.schedules for trace in TRACES.values())


def test_a_policy_from_outside_is_found_and_a_broken_one_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside_policy.py").write_text("from hiersim.fusion.pointwise import pointwise as policy\n")
    metadata = tmp_path / "outside-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[{GROUP}]\noutside = outside_policy:policy\nbroken = no_such_module:policy\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(UserWarning, match="fusion policy 'broken' of no_such_module:policy cannot be loaded"):
        found = policies.__wrapped__()
    assert set(BUILT_IN) | {"outside"} <= set(found)
    assert "broken" not in found
    check_policy(TRACES["bert-large-prefill"], found["outside"](TRACES["bert-large-prefill"], H100))


@inherited
@given(st.one_of(dags(), dags(), traces(max_operators=8)))
def test_random_traces_keep_the_laws_under_every_policy(trace: Trace) -> None:
    """Law 10: covered once, convex, aliases respected, FLOPs kept, no more bytes asked for; or refused by name."""
    for name in BUILT_IN:
        try:
            graph = policies()[name](trace, H100)
        except FusionError as error:
            assert name in REPLAYED
            assert trace.name in str(error)
            continue
        check_policy(trace, graph)
        assert graph.policy.startswith("inductor" if name.startswith("inductor") else name)
        if name in PARTITIONS:
            partition = PARTITIONS[name](trace.graph)
            rows = ordered(trace.graph, partition, dependences(trace.graph), trace.name).operators
            check_legal(trace, graph, rows.tolist())
            event(f"{name} fuses" if len(graph) < len(launching(trace.graph)) else f"{name} finds nothing")


@inherited
@given(cut_traces())
def test_no_policy_fuses_across_a_graph_break(trace: Trace) -> None:
    """Laws 7 and 10 hold with regions as well; each region with compiled kernels is entered once."""
    for name in BUILT_IN:
        if name not in REPLAYED:
            graph = policies()[name](trace, H100)
            check_policy(trace, graph)
            check_regions(trace, graph)


@inherited
@given(st.one_of(dags(), traces(max_operators=8), cut_traces()))
def test_with_the_guard_no_policy_needs_more_memory_than_eager_mode(trace: Trace) -> None:
    most = int(occupancy(eager(trace)).max())
    for name in BUILT_IN:
        if name in (*REPLAYED, "eager"):
            continue
        free, kept = kernels_of(trace, H100, name), kernels_of(trace, H100, name, keep_peak=True)
        check_policy(trace, kept)
        assert int(occupancy(kept).max()) <= most
        event(f"{name} {'needs more' if int(occupancy(free).max()) > most else 'needs no more'}")


@inherited
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
