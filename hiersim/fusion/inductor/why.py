"""Why TorchInductor's rules keep two operators apart."""

from __future__ import annotations

from typing import Final

from hiersim.fusion.inductor.policy import Scheduled, schedule
from hiersim.fusion.inductor.rules import Part
from hiersim.fusion.inductor.scheduler import Group, Scheduler
from hiersim.fusion.reasons import Reason, Verdict
from hiersim.model.trace import Trace

REPLACED: Final = "which is replaced by one call of scaled_dot_product_attention"


def why_not(trace: Trace, one: int, other: int) -> Verdict:
    """Whether the rules put two launching operators into one kernel, and if not, the reason."""
    done: Scheduled = trace.derived(_scheduled)
    parts = [done.buffers.part[row] for row in (one, other)]
    places = [_buffers_of(done, row) for row in (one, other)]
    called = trace.derived(_called)
    if one in called or other in called:
        return _beside_a_call(trace, called, one, other)
    final = [{done.scheduler.contraction.group(number) for number in numbers} for numbers in places]
    if final[0] & final[1]:
        return Verdict(reason=None)
    if Part.EAGER in parts:
        return Verdict(reason=Reason.NOT_COMPILED)
    fresh: Scheduler = trace.derived(_fresh)
    pairs = sorted((abs(first - second), first, second) for first in places[0] for second in places[1])
    verdicts = [_alone(fresh, first, second) for _, first, second in pairs[:64]]
    open_ = [pair for pair, verdict in zip(pairs, verdicts, strict=False) if verdict.together]
    if not open_:
        return verdicts[0]
    return _merged(done.scheduler, *open_[0][1:])


def _called(trace: Trace) -> dict[int, int]:
    """Operators of written-out attention that a call of a library replaces, each with the first one of its pattern."""
    return {row: chain.rows[0] for chain in trace.derived(_scheduled).calls for row in chain.rows}


def _beside_a_call(trace: Trace, called: dict[int, int], one: int, other: int) -> Verdict:
    """Of two operators, at least one of which is part of an attention that is called from a library."""
    if one in called and other in called and called[one] == called[other]:
        return Verdict(reason=None, detail=f"both are part of written-out attention, {REPLACED}")
    row = one if one in called else other
    name = f"operator {row} '{trace.graph.operators.label(row)}'"
    return Verdict(reason=Reason.LIBRARY_CALL, detail=f"{name} is part of written-out attention, {REPLACED}")


def _scheduled(trace: Trace) -> Scheduled:
    return schedule(trace.graph)


def _fresh(trace: Trace) -> Scheduler:
    return trace.derived(_scheduled).begin()


def _buffers_of(done: Scheduled, row: int) -> list[int]:
    """Numbers of the stored results that compute an operator."""
    rows = zip(done.buffers.heads, done.buffers.rows, strict=True)
    return sorted(done.scheduler.number[head] for head, members in rows if row in members)


def _alone(fresh: Scheduler, first: int, second: int) -> Verdict:
    """Why two stored results do not suit each other, before any fusion; no reason where they do."""
    reason = fresh.mismatch(first, second)
    return Verdict(reason=reason, detail=_detail(fresh, reason, fresh.of(first), fresh.of(second)))


def _merged(scheduler: Scheduler, first: int, second: int) -> Verdict:
    """Why two stored results that suit each other are apart after all fusions."""
    groups = scheduler.contraction.group(first), scheduler.contraction.group(second)
    reason = scheduler.refusal(*groups)
    if reason is Reason.CYCLE or reason is Reason.KERNEL_SIZE:
        return Verdict(reason=reason, detail=_detail(scheduler, reason, *(scheduler.of(name) for name in groups)))
    detail = "" if reason is None else f"what they are fused with: {reason.value}"
    return Verdict(reason=Reason.OTHER_FUSION_FIRST, detail=detail)


def _detail(scheduler: Scheduler, reason: Reason | None, one: Group, other: Group) -> str:
    """The numbers behind a reason."""
    if reason is Reason.LOOP_NEST:
        return f"{one.points} x {one.inner} and {other.points} x {other.inner} points"
    if reason is Reason.LITTLE_SHARED_DATA:
        return f"{scheduler.shared_bytes(one, other)} bytes"
    if reason is Reason.DISTANCE:
        return f"{max(one.last, other.last) - min(one.first, other.first)} stored results"
    if reason is Reason.KERNEL_SIZE:
        return f"{one.buffers} and {other.buffers} buffers"
    return ""
