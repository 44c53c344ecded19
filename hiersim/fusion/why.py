"""Why two operators are in different kernels, asked of the policy that decided it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from hiersim.errors import FusionError, nearest
from hiersim.fusion import depth_first_why, epilogue, pointwise
from hiersim.fusion.attention_chains import chains
from hiersim.fusion.correspondence import correspondence
from hiersim.fusion.dependences import Dependences, dependences
from hiersim.fusion.inductor import why as rules
from hiersim.fusion.partition import launching
from hiersim.fusion.reasons import Reason, Verdict
from hiersim.fusion.regions import segments
from hiersim.fusion.traits import Traits, traits, whole_results
from hiersim.model.design import Design
from hiersim.model.operators import Kind
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph, Trace

Explainer = Callable[[Trace, int, int], Verdict]
PRODUCTS = (Kind.GEMM, Kind.CONV)
UNCOMPILED = ("eager", "attention")
"""Policies whose kernels the framework launches: graph breaks are no matter of theirs."""


def why_not(trace: Trace, policy: str, one: int, other: int, design: Design | None = None) -> Verdict:
    """Whether `policy` puts two operators of `trace` into one kernel, and if not, the reason.

    Parameters
    ----------
    trace : Trace
        The model run.
    policy : str
        A built-in policy: `eager`, `pointwise`, `epilogue`, `attention`, `inductor`, `inductor-rules`, `depth-first`.
    one, other : int
        Eager operators by index, in any order.
    design : Design, optional
        The machine, for policies whose kernels depend on it (`depth-first`).

    Raises
    ------
    FusionError
        When the policy gives no reasons.
    """
    explainers: dict[str, Explainer] = {
        "eager": _eager,
        "attention": _attention,
        "pointwise": _pointwise,
        "epilogue": _epilogue,
        "inductor-rules": rules.why_not,
        "inductor": _inductor,
    }
    if design is not None:
        explainers["depth-first"] = partial(_depth_first, design)
    if policy not in explainers:
        raise FusionError(f"policy '{policy}' gives no reasons", expected=nearest(policy, explainers))
    silent = set(range(len(trace.graph.operators))) - set(launching(trace.graph).tolist())
    if one in silent or other in silent:
        return Verdict(reason=Reason.LAUNCHES_NOTHING)
    captured = policy == "inductor" and "inductor" in trace.schedules
    apart = None if policy in UNCOMPILED or captured else _broken(trace.graph, min(one, other), max(one, other))
    return apart or explainers[policy](trace, min(one, other), max(one, other))


def _broken(graph: OperatorGraph, one: int, other: int) -> Verdict | None:
    """The graph break between two operators; None where one region has both, or a trace has no regions."""
    regions = graph.regions
    if regions is None or one == other:
        return None
    calls = regions.of_operators(len(graph.operators))
    first, second = int(calls[one]), int(calls[other])
    if first == second and first >= 0:
        return None
    if first < 0 or second < 0:
        row = one if first < 0 else other
        before = int(np.searchsorted(regions.first, row)) - 1
        detail = f"{_named(graph, row)} runs outside of compiled regions"
    else:
        before, detail = first, ""
    cause = _cause(graph, before) if before >= 0 else ""
    return Verdict(reason=Reason.GRAPH_BREAK, detail=", ".join(part for part in (detail, cause) if part))


def _cause(graph: OperatorGraph, call: int) -> str:
    """Why a call of a region ended, and where in the user's code."""
    assert graph.regions is not None
    words = graph.regions.strings
    reason, line = words[int(graph.regions.reason[call])], words[int(graph.regions.line[call])]
    return f"{reason} at {line}" if reason and line else reason or line


def _depth_first(design: Design, trace: Trace, one: int, other: int) -> Verdict:
    return depth_first_why.why_not(trace, design, one, other)


def find_operator(trace: Trace, word: str) -> int:
    """The eager operator of that index, name, or `module/name`, where there is only one.

    Raises
    ------
    FusionError
        With the nearest name, or the indices of all operators of that name.
    """
    table = trace.graph.operators
    if word.isascii() and word.isdigit() and len(word) < 10:
        if int(word) < len(table):
            return int(word)
        raise FusionError(f"there is no operator {word}", expected=f"an index from 0 to {len(table) - 1}")
    names: dict[str, list[int]] = {}
    for row in range(len(table)):
        label, module = table.label(row), table.strings[int(table.module[row])]
        for text in (label, f"{module}/{label}"):
            names.setdefault(text, []).append(row)
    if word not in names:
        raise FusionError(f"'{word}' is not an operator of trace '{trace.name}'", expected=nearest(word, names))
    rows = names[word]
    if len(rows) > 1:
        shown = ", ".join(map(str, rows[:6])) + (", …" if len(rows) > 6 else "")
        raise FusionError(f"{len(rows)} operators are '{word}'", expected=f"an index ({shown}) or MODULE/NAME")
    return rows[0]


def share_a_kernel(partition: Partition, one: int, other: int) -> bool:
    """True where some kernel runs both operators."""
    kernels = partition.kernels()
    where = [set(kernels[partition.operators == row].tolist()) for row in (one, other)]
    return bool(where[0] & where[1])


def _by_pointwise(trace: Trace) -> Partition:
    return pointwise.partition(trace.graph)


def _by_epilogue(trace: Trace) -> Partition:
    return epilogue.partition(trace.graph)


def _eager(trace: Trace, one: int, other: int) -> Verdict:
    return Verdict(reason=None if one == other else Reason.ONE_KERNEL_EACH)


def _attention(trace: Trace, one: int, other: int) -> Verdict:
    passes = [rows for chain in chains(trace.graph) for rows in (chain.rows, chain.backward)]
    found = any(one in rows and other in rows for rows in passes)
    return Verdict(reason=None if found or one == other else Reason.ONE_KERNEL_EACH)


def _pointwise(trace: Trace, one: int, other: int) -> Verdict:
    graph = trace.graph
    if share_a_kernel(trace.derived(_by_pointwise), one, other):
        return Verdict(reason=None)
    facts = traits(graph)
    for row in (one, other):
        if not facts.elementwise[row]:
            return Verdict(reason=Reason.NOT_ELEMENTWISE, detail=_named(graph, row))
    return _along_data(graph, facts, one, other)


def _epilogue(trace: Trace, one: int, other: int) -> Verdict:
    graph = trace.graph
    partition = trace.derived(_by_epilogue)
    if share_a_kernel(partition, one, other):
        return Verdict(reason=None)
    facts = traits(graph)
    if not facts.elementwise[other] and graph.operators.kind[other] not in PRODUCTS:
        return Verdict(reason=Reason.NOT_ELEMENTWISE, detail=_named(graph, other))
    products = [_products(graph, partition, row) for row in (one, other)]
    if all(products) and products[0] != products[1]:
        detail = " and ".join(_named(graph, product) for product in (*products[0], *products[1]))
        return Verdict(reason=Reason.TWO_PRODUCTS, detail=detail)
    if not facts.elementwise[other]:
        return Verdict(reason=Reason.NOT_ELEMENTWISE, detail=_named(graph, other))
    return _along_data(graph, facts, one, other)


def _products(graph: OperatorGraph, partition: Partition, row: int) -> list[int]:
    """Products in the kernel of an operator."""
    kernel = int(partition.kernels()[np.flatnonzero(partition.operators == row)[0]])
    members = partition.operators[partition.ptr[kernel] : partition.ptr[kernel + 1]].tolist()
    return [member for member in members if graph.operators.kind[member] in PRODUCTS]


def _along_data(graph: OperatorGraph, facts: Traits, one: int, other: int) -> Verdict:
    """Why a policy that fuses along data keeps apart two operators that it might fuse."""
    segment = segments(graph)
    if segment[one] != segment[other]:
        return Verdict(reason=Reason.HOST_SYNC)
    links = dependences(graph)
    between = np.flatnonzero((links.source == one) & (links.target == other))
    if not len(between):
        return Verdict(reason=Reason.NOT_ADJACENT)
    if facts.results[one] != facts.results[other]:
        return Verdict(reason=Reason.ELEMENT_COUNT, detail=f"{facts.results[one]} and {facts.results[other]} elements")
    if not np.any(whole_results(graph, links)[between]):
        return Verdict(reason=Reason.PARTIAL_READ)
    way = _third(links, one, other)
    if way is None:
        return Verdict(reason=Reason.OTHER_FUSION_FIRST)
    return Verdict(reason=Reason.CYCLE, detail=f"{_named(graph, way)} lies between them")


def _third(links: Dependences, one: int, other: int) -> int | None:
    """An operator that needs `one` and that `other` needs, or None."""
    source = np.concatenate([links.source, links.before])
    target = np.concatenate([links.target, links.after])
    inside = (source >= one) & (target <= other) & (source != target)
    reached = {one}
    for first, second in sorted(zip(source[inside].tolist(), target[inside].tolist(), strict=True)):
        if first in reached and not (first == one and second == other):
            reached.add(second)
    if other not in reached:
        return None
    before_other: list[int] = source[inside & (target == other)].tolist()
    return max(row for row in before_other if row in reached and row != one)


def _inductor(trace: Trace, one: int, other: int) -> Verdict:
    """What the captured schedule does, with the reason that the rules give; without a schedule, the rules."""
    by_rules = rules.why_not(trace, one, other)
    captured = trace.schedules.get("inductor")
    if captured is None:
        return by_rules
    where = correspondence(trace, captured).kernels
    if one not in where or other not in where:
        return by_rules
    if where[one] & where[other]:
        return Verdict(reason=None)
    return Verdict(reason=Reason.COMPILER) if by_rules.together else by_rules


def _named(graph: OperatorGraph, row: int) -> str:
    return f"operator {row} '{graph.operators.label(row)}'"
