"""Operators that are a few kernels each: traced and lowered together, and played one by one.

Thousands of operators of a data set differ in their sizes alone. The rows of those with as many kernels become one
trace, which is checked, cut into kernels and lowered in one pass (`lowering.calls`); each is then a run of its own,
with its bounds and its audit. What does not suit, or cannot be lowered, is left to a replay by itself, which says what
is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from hiersim.audit import audit
from hiersim.bounds import bounds
from hiersim.errors import HiersimError
from hiersim.frontends.measured import Case
from hiersim.frontends.rows import trace_of
from hiersim.fusion.eager import eager
from hiersim.lowering.calls import Calls, are_apart, takes_calls
from hiersim.model.design import Design
from hiersim.model.operators import HOST_ONLY
from hiersim.model.program import Program
from hiersim.model.trace import Trace, TraceHeader
from hiersim.run import DEFAULT_ENGINE, engine
from hiersim.tally import tally

NO_NAME: Final = ""
_HOST_KINDS: Final = tuple(kind.name.lower() for kind in HOST_ONLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a validation takes from a replay."""

    makespan: int
    """Ticks."""
    kernels: int
    compute_ticks: int
    """Useful FLOPs at datasheet peak."""


def kernels_of_call(case: Case) -> int:
    """How many kernels the rows of a case are, where they can be a call: each operator is one, and tensors are apart.

    0 where they cannot: with views, with what is done to the host, or with tensors that nobody touches.
    """
    tensors = [row for row in case.rows if "tensor" in row]
    others = [row for row in case.rows if "tensor" not in row]
    if case.fusion or any("operator" not in row or "frees" in row or row.get("kind") in _HOST_KINDS for row in others):
        return 0
    names = [row["tensor"] for row in tensors]
    touched = {name for row in others for key in ("reads", "writes") for name in _names(row.get(key, []))}
    if not all(isinstance(name, str) and name for name in names) or any("storage" in row for row in tensors):
        return 0
    return len(others) if touched == set(names) and len(touched) == len(names) else 0


def _names(entries: Any) -> list[str]:
    """The tensors of a list of accesses; what is none has a name that no tensor has."""
    if not isinstance(entries, list):
        return [NO_NAME]
    found = [entry.get("tensor") if isinstance(entry, Mapping) else entry for entry in entries]
    return [name if isinstance(name, str) else NO_NAME for name in found]


def calls_of(cases: Sequence[Case], kernels: int, release: tuple[int, int] | None) -> Calls | None:
    """The calls of some cases of so many `kernels_of_call`; None where they are no trace together."""
    rows = [row for place, case in enumerate(cases) for row in _renamed(case.rows, f"{place} ")]
    try:
        trace = trace_of(TraceHeader(name="calls"), rows, "", 0)
        graph = _of_release(trace, release).derived(eager)
        whole = len(graph) == kernels * len(cases) and are_apart(graph, kernels)
        return Calls(graph, kernels) if whole else None
    except HiersimError:
        return None


def _renamed(rows: Sequence[Mapping[str, Any]], mark: str) -> list[dict[str, Any]]:
    """The rows with tensors of names that no other case has."""
    found = []
    for row in rows:
        if "tensor" in row:
            found.append({**row, "tensor": mark + row["tensor"]})
        else:
            sides = {key: [_marked(entry, mark) for entry in row.get(key, ())] for key in ("reads", "writes")}
            found.append({**row, **sides})
    return found


def _marked(entry: Any, mark: str) -> Any:
    return {**entry, "tensor": mark + entry["tensor"]} if isinstance(entry, Mapping) else mark + entry


def _of_release(trace: Trace, release: tuple[int, int] | None) -> Trace:
    return replace(trace, graph=replace(trace.graph, release=release)) if release else trace


def play(calls: Calls, design: Design, wanted: Sequence[int]) -> list[Played | None]:
    """The `wanted` calls on `design`, played and audited one by one; None where one has to be replayed by itself."""
    if not takes_calls(design):
        return [None] * len(wanted)
    try:
        programs = list(calls.programs(design))
        return [_played(programs[call], design) for call in wanted]
    except HiersimError:
        return [None] * len(wanted)


def _played(program: Program | None, design: Design) -> Played | None:
    if program is None:
        return None
    timeline, sums = engine(DEFAULT_ENGINE)(program), tally(program)
    limits = bounds(program, design, sums)
    audit(program, timeline, limits, sums)
    return Played(makespan=timeline.makespan, kernels=len(program), compute_ticks=limits.compute_ticks)
