"""How well a policy's kernel boundaries agree with those of a captured schedule, edge by edge.

An edge is a pair of operators, the second of which reads what the first wrote. It is cut where no kernel runs both.
Edges between forward and backward are no decision of fusion, and the optimizer is not compiled: both are left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from hiersim.fusion.correspondence import correspondence
from hiersim.fusion.dependences import dependences
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Phase
from hiersim.model.partition import Partition
from hiersim.model.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Edges by what the policy and the compiler do with them."""

    cut_by_both: int
    cut_by_policy: int
    """The compiler fuses them."""
    cut_by_compiler: int
    """The policy fuses them."""
    fused_by_both: int
    unmatched: int
    """Edges with an end that was not found in the captured schedule."""
    causes: tuple[tuple[str, int], ...]
    """Disagreements as `cut: producer -> consumer` (by the policy alone) or `fused: …`, most frequent first."""

    @property
    def edges(self) -> int:
        """Edges that were compared."""
        return self.cut_by_both + self.cut_by_policy + self.cut_by_compiler + self.fused_by_both

    @property
    def precision(self) -> float:
        """Share of the policy's boundaries that the compiler makes too."""
        return _share(self.cut_by_both, self.cut_by_both + self.cut_by_policy)

    @property
    def recall(self) -> float:
        """Share of the compiler's boundaries that the policy makes too."""
        return _share(self.cut_by_both, self.cut_by_both + self.cut_by_compiler)

    @property
    def fused_precision(self) -> float:
        """Share of the policy's fused edges that the compiler fuses too."""
        return _share(self.fused_by_both, self.fused_by_both + self.cut_by_compiler)

    @property
    def fused_recall(self) -> float:
        """Share of the compiler's fused edges that the policy fuses too."""
        return _share(self.fused_by_both, self.fused_by_both + self.cut_by_policy)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def agreement(trace: Trace, partition: Partition, schedule: KernelGraph) -> Agreement:
    """Compare `partition` of the eager operators with a captured schedule."""
    graph = trace.graph
    theirs = correspondence(trace, schedule).kernels
    mine: dict[int, set[int]] = {}
    for kernel, operator in zip(partition.kernels().tolist(), partition.operators.tolist(), strict=True):
        mine.setdefault(operator, set()).add(kernel)
    links = dependences(graph)
    counts: Counter[tuple[bool, bool]] = Counter()
    causes: Counter[str] = Counter()
    unmatched = 0
    phase = graph.operators.phase
    kept = (phase[links.source] == phase[links.target]) & (phase[links.source] != Phase.OPTIMIZER)
    kept &= links.source != links.target
    pairs = np.unique(np.stack([links.source[kept], links.target[kept]], axis=1), axis=0).tolist()
    for first, second in pairs:
        if first not in theirs or second not in theirs:
            unmatched += 1
            continue
        cut, their_cut = mine[first].isdisjoint(mine[second]), theirs[first].isdisjoint(theirs[second])
        counts[cut, their_cut] += 1
        if cut != their_cut:
            names = f"{graph.operators.label(first)} -> {graph.operators.label(second)}"
            causes[f"{'cut' if cut else 'fused'}: {names}"] += 1
    return Agreement(
        cut_by_both=counts[True, True],
        cut_by_policy=counts[True, False],
        cut_by_compiler=counts[False, True],
        fused_by_both=counts[False, False],
        unmatched=unmatched,
        causes=tuple(sorted(causes.items(), key=lambda item: (-item[1], item[0]))),
    )
