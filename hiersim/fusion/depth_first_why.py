"""Why depth-first keeps two operators apart."""

from __future__ import annotations

from typing import Final

from hiersim.fusion.depth_first import candidates, grow, refusal
from hiersim.fusion.reasons import Reason, Verdict
from hiersim.fusion.sliding import MOST
from hiersim.fusion.sliding_chains import Chains
from hiersim.fusion.windows import counts
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.units import show_bytes

_REFUSED: Final = {"size": Reason.KERNEL_SIZE, "axis": Reason.LOOP_NEST, "cycle": Reason.CYCLE}


def why_not(trace: Trace, design: Design, one: int, other: int) -> Verdict:
    """Whether the policy puts two launching operators into one kernel on a design, and if not, the reason."""
    graph = trace.graph
    chains = Chains(graph, design)
    grown = grow(chains)
    first, second = grown.groups.group(one), grown.groups.group(other)
    if first == second:
        return Verdict(reason=None)
    for row in (one, other):
        if not chains.sliding.windows(row):
            return Verdict(reason=Reason.NOT_SLIDING, detail=f"operator {row} '{graph.operators.label(row)}'")
    if chains.segment[one] != chains.segment[other]:
        return Verdict(reason=Reason.HOST_SYNC)
    if other not in chains.users(one):
        return Verdict(reason=Reason.NOT_ADJACENT)
    if (one, other) not in candidates(chains):
        return Verdict(reason=Reason.PARTIAL_READ)
    refused = refusal(chains, grown, first, second)
    if refused is not None:
        return Verdict(reason=_REFUSED[refused], detail=f"{MOST} operators" if refused == "size" else "")
    rows = sorted([*grown.rows(first), *grown.rows(second)])
    if chains.plan(rows) is not None:
        return Verdict(reason=Reason.OTHER_FUSION_FIRST)
    groups = [group for group in (chains.group(rows, axis) for axis in chains.axes(rows)) if group is not None]
    if not groups:
        return Verdict(reason=Reason.PARTIAL_READ)
    least = min(group.needs(list(counts(group))[-1], again) for group in groups for again in (False, True))
    if least > chains.room:
        return Verdict(reason=Reason.WORKING_SET, detail=f"{show_bytes(least)} of {show_bytes(chains.room)}")
    return Verdict(reason=Reason.RECOMPUTATION)
