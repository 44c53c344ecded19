"""The policies `inductor` and `inductor-rules`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from hiersim.fusion.attention import merged
from hiersim.fusion.attention_chains import Chain
from hiersim.fusion.build import kernel_graph
from hiersim.fusion.contraction import Contraction
from hiersim.fusion.dependences import dependences
from hiersim.fusion.inductor.attention import calls, replaced
from hiersim.fusion.inductor.buffers import Buffers, lower
from hiersim.fusion.inductor.rules import LIBRARY, InductorRules, Part, parts
from hiersim.fusion.inductor.scheduler import Scheduler
from hiersim.fusion.inductor.singles import Singles, singles
from hiersim.fusion.marks import of_trace_alone
from hiersim.fusion.partition import check_launches, edges, flow, joined, launch_order, ordered
from hiersim.fusion.regions import segments
from hiersim.fusion.traits import traits
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray, csr
from hiersim.model.partition import Partition
from hiersim.model.trace import OperatorGraph, Trace

RULES: Final = "inductor (rules)"


@of_trace_alone
def inductor(trace: Trace, design: Design | None = None) -> KernelGraph:
    """What TorchInductor scheduled, where the trace carries it; else what its rules make of the eager operators.

    Raises
    ------
    FusionError
        When nothing is launched.
    """
    captured = trace.schedules.get("inductor")
    return inductor_rules(trace) if captured is None else captured


@of_trace_alone
def inductor_rules(trace: Trace, design: Design | None = None) -> KernelGraph:
    """What TorchInductor's rules make of the eager operators, whatever the trace carries.

    Raises
    ------
    FusionError
        When nothing is launched.
    """
    check_launches(trace)
    graph = trace.graph
    done = schedule(graph)
    kernels = replaced(done.partition, done.calls)
    made = kernel_graph(trace, kernels, RULES)
    if not done.calls:
        return made
    launched = ordered(graph, kernels, dependences(graph), trace.name)
    return merged(graph, made, launched, done.calls, library=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """Every step of the rules, for explanations."""

    buffers: Buffers
    scheduler: Scheduler
    """After all fusions."""
    begin: Callable[[], Scheduler]
    """The scheduler once more, before any fusion."""
    partition: Partition
    """Operators of `calls` each in a kernel of its own."""
    calls: list[Chain]
    """Written-out attention that becomes a call of a library."""


def partition(graph: OperatorGraph, rules: InductorRules | None = None) -> Partition:
    """The kernels of `inductor_rules`."""
    done = schedule(graph, rules)
    return replaced(done.partition, done.calls)


def schedule(graph: OperatorGraph, rules: InductorRules | None = None) -> Scheduled:
    """Lower the operators to stored results, and fuse those."""
    rules = rules or InductorRules()
    links, facts = dependences(graph), traits(graph)
    part, called = parts(graph, rules), calls(graph)
    part[[row for chain in called for row in chain.rows]] = Part.EXTERN
    buffers = lower(graph, links, facts, part, rules)
    single = _kernels(buffers)
    order = launch_order(graph, single, links, "")
    numbered = single.take(order)
    through = flow(graph, numbered, links, "")
    before, after = edges(graph, numbered, links, through)
    sums, reader = _readers_of_sums(buffers, numbered, through.owner)
    before, after = np.concatenate([before, sums]), np.concatenate([after, reader])
    heads = np.array(buffers.heads, np.int64)[order]
    alone = singles(buffers, facts, heads, segments(graph), graph.operators.phase, rules)
    begin = partial(_scheduler, buffers, alone, (before, after), rules)
    scheduler = begin()
    made = joined(numbered, scheduler.run())
    return Scheduled(buffers=buffers, scheduler=scheduler, begin=begin, partition=made, calls=called)


def _readers_of_sums(buffers: Buffers, numbered: Partition, owner: IntArray) -> tuple[IntArray, IntArray]:
    """Pairs of kernels, the second of which computes the last step of a norm whose sums the first one stores."""
    again = np.isin(numbered.operators, list(buffers.sums)) & (numbered.copy == 1)
    return owner[numbered.operators[again]], numbered.kernels()[again]


def _scheduler(
    buffers: Buffers, alone: Singles, pairs: tuple[IntArray, IntArray], rules: InductorRules
) -> Scheduler:  # fmt: skip
    """Every stored result on its own."""
    return Scheduler(buffers, alone, Contraction(len(alone), *pairs), rules)


def _kernels(buffers: Buffers) -> Partition:
    """Every stored result a kernel of its own, with all that is inlined into it."""
    ptr, operators = csr(buffers.rows)
    part = np.array(buffers.part, np.int64)[buffers.heads]
    return Partition(
        ptr=ptr,
        operators=operators,
        copy=_copies(operators),
        generated=(~np.isin(part, [int(item) for item in LIBRARY])).astype(np.int64),
        eager=(part == Part.EAGER).astype(np.int64),
    )


def _copies(operators: IntArray) -> IntArray:
    """(N,) 1 for all but the first row of each operator."""
    copy = np.ones(len(operators), np.int64)
    copy[np.unique(operators, return_index=True)[1]] = 0
    return copy
