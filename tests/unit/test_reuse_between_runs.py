"""What is kept with a trace is used again, never stale, and changes no result."""

from __future__ import annotations

import copy
import dataclasses
import gc
import hashlib
import json
import pickle
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

import hiersim as hs
from hiersim.fusion import registry
from hiersim.fusion.eager import eager
from hiersim.fusion.marks import of_trace_alone
from hiersim.model.kernels import KernelGraph
from hiersim.provenance import _feed, plain
from hiersim.run import kernels_of, simulate
from hiersim.version import __version__
from hiersim.views.series.timeline import stage_log

RELU = Path(__file__).parents[2] / "docs" / "examples" / "relu.jsonl"
CHANGE = {"memory.hbm.bandwidth": "3x", "memory.l2.capacity": "2 MiB"}


@pytest.fixture
def trace() -> hs.Trace:
    return hs.load_trace(RELU)


@pytest.fixture
def tiny() -> hs.Design:
    return hs.load_design("tiny")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Two policies that count their calls: `seeing` looks at the design, `blind` says that it does not."""
    calls: list[str] = []

    def seeing(trace: hs.Trace, design: hs.Design) -> KernelGraph:
        calls.append(f"seeing {design.name}")
        return eager(trace)

    @of_trace_alone
    def blind(trace: hs.Trace, design: hs.Design) -> KernelGraph:
        calls.append("blind")
        return eager(trace)

    found = {**registry.policies(), "seeing": seeing, "blind": blind}
    monkeypatch.setattr(registry, "policies", lambda: found)
    yield calls


def test_a_marked_policy_is_called_once_per_trace_and_others_every_time(
    trace: hs.Trace, tiny: hs.Design, counted: list[str]
) -> None:
    for fusion in ("blind", "seeing"):
        results = [simulate(trace, design, fusion).to_json() for design in (tiny, tiny.replace(CHANGE), tiny)]
        assert results[0] == results[2] != results[1]
    assert counted == ["blind", "seeing tiny", "seeing tiny", "seeing tiny"]
    simulate(hs.load_trace(RELU), tiny, "blind")
    assert counted.count("blind") == 2, "another trace has kernels of its own"


def test_kernels_are_shared_and_die_with_their_trace(tiny: hs.Design) -> None:
    trace = hs.load_trace(RELU)
    graph = kernels_of(trace, tiny, "eager")
    assert simulate(trace, tiny).graph is graph
    assert simulate(trace, tiny.replace(CHANGE)).graph is graph
    gone = weakref.ref(graph)
    del trace, graph
    gc.collect()
    assert gone() is None


def test_a_changed_design_gives_what_a_fresh_process_gives(trace: hs.Trace, tiny: hs.Design) -> None:
    simulate(trace, tiny)
    warm = simulate(trace, tiny.replace(CHANGE)).to_json()
    script = (
        f"import hiersim as hs; design = hs.load_design('tiny').replace({CHANGE!r}); "
        f"print(hs.simulate(hs.load_trace({str(RELU)!r}), design).to_json())"
    )
    fresh = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert fresh == warm + "\n"


def test_a_trace_that_was_replayed_cannot_change_under_what_is_kept(trace: hs.Trace, tiny: hs.Design) -> None:
    before = simulate(trace, tiny)
    with pytest.raises(ValueError, match="read-only"):
        trace.graph.operators.vector_flops[0] = 10**9
    with pytest.raises(ValueError, match="read-only"):
        before.graph.reads.size[0] = 0
    operators = dataclasses.replace(trace.graph.operators, vector_flops=trace.graph.operators.vector_flops * 1000)
    other = dataclasses.replace(trace, graph=dataclasses.replace(trace.graph, operators=operators))
    after = simulate(other, tiny)
    assert after.makespan > before.makespan
    assert after.inputs_sha256 != before.inputs_sha256


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_of_a_replayed_trace_give_the_same_result(trace: hs.Trace, tiny: hs.Design, again: object) -> None:
    before = simulate(trace, tiny)
    assert callable(again)
    assert simulate(again(trace), tiny).to_json() == before.to_json()


def test_the_hash_is_that_of_all_inputs_in_one_go(trace: hs.Trace, tiny: hs.Design) -> None:
    for design in (tiny, tiny.replace(CHANGE)):
        digest = hashlib.sha256()
        for part in ("header", "graph", "schedules", "groupings"):
            digest.update(part.encode() + b"\0")
            _feed(digest, getattr(trace, part))
        digest.update(json.dumps(plain(design), sort_keys=True).encode() + b"eagerstream" + __version__.encode())
        result = simulate(trace, design)
        assert result.inputs_sha256 == digest.hexdigest() == result.to_dict()["inputs_sha256"]


def test_the_log_is_kept_on_request_and_played_again_for_a_timeline(trace: hs.Trace, tiny: hs.Design) -> None:
    bare, kept = simulate(trace, tiny), simulate(trace, tiny, keep_log=True)
    assert bare.timeline.log is None
    assert kept.timeline.log is not None
    for item in dataclasses.fields(kept.timeline.log):
        assert (getattr(stage_log(bare), item.name) == getattr(kept.timeline.log, item.name)).all()
    assert stage_log(kept) is kept.timeline.log
    assert bare.to_json() == kept.to_json()


def test_a_timeline_of_another_makespan_is_refused(trace: hs.Trace, tiny: hs.Design) -> None:
    result = simulate(trace, tiny)
    odd = dataclasses.replace(result, timeline=dataclasses.replace(result.timeline, makespan=result.makespan + 1))
    with pytest.raises(hs.SimulationError, match="when it kept its log"):
        stage_log(odd)


def test_a_result_is_the_same_without_fast_forward(trace: hs.Trace, tiny: hs.Design) -> None:
    assert simulate(trace, tiny, fast_forward=False).to_json() == simulate(trace, tiny).to_json()
