"""Depth-first: chains of convolutions and of products run window by window, as long as a window fits the cores.

Layer by layer, each result goes to memory and comes back. Depth first, a few rows pass through many layers before the
next ones do (fused-layer CNN accelerators, Alwani et al., MICRO 2016; DeFiNES, Mei et al., HPCA 2023), at the price of
halos between neighbouring windows. Groups grow along data, operator by operator, while `windows.plan` finds a plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from hiersim.fusion.build import kernel_graph
from hiersim.fusion.contraction import Contraction
from hiersim.fusion.halos import with_halos
from hiersim.fusion.partition import of_groups
from hiersim.fusion.patterns import distinct_pairs
from hiersim.fusion.pointwise import contracted, labels
from hiersim.fusion.sliding import MOST, Axis
from hiersim.fusion.sliding_chains import Chains, common
from hiersim.fusion.traits import whole_results
from hiersim.fusion.windows import Plan
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.trace import Trace

NAME: Final = "depth-first"


def depth_first(trace: Trace, design: Design) -> KernelGraph:
    """Chains that slide in windows which fit the cores' memory; all else alone.

    What tiles compute again are operators of their own, marked `recomputed`.

    Parameters
    ----------
    trace : Trace
        Whose operators are grouped.
    design : Design
        Whose cores hold the windows.

    Raises
    ------
    FusionError
        When nothing is launched.
    """
    found = grow(Chains(trace.graph, design))
    made = kernel_graph(trace, of_groups(trace.graph, labels(found.groups)), NAME)
    return with_halos(trace.graph, made, found.sliding())


@dataclass(frozen=True, slots=True, kw_only=True)
class Slide:
    """What a group of operators is, wherever in the graph it stands: equal groups share one."""

    number: int
    size: int
    axes: tuple[Axis, ...]
    plan: Plan | None
    """None of a single operator."""


@dataclass(slots=True, kw_only=True)
class Grown:
    """Groups, and how each slides."""

    groups: Contraction
    members: dict[int, list[int]] = field(default_factory=dict)
    """Operators of each group of several, by the group's name, in no order."""
    slides: dict[int, Slide] = field(default_factory=dict)
    """What these groups are."""

    def rows(self, name: int) -> list[int]:
        """Operators of a group, in issue order."""
        return sorted(self.members.get(name, [name]))

    @property
    def plans(self) -> dict[int, Plan]:
        """How groups of several operators slide."""
        return {name: slide.plan for name, slide in self.slides.items() if slide.plan is not None}

    def sliding(self) -> list[tuple[list[int], Plan]]:
        """Operators and plan of each group of several."""
        return [(self.rows(name), found) for name, found in self.plans.items()]


class Growth:
    """Groups as they grow. Whether two slide together is asked once for all that are equal and equally far apart."""

    def __init__(self, chains: Chains) -> None:
        self.chains = chains
        self.grown = Grown(groups=contracted(chains.graph, chains.links))
        self._singles: dict[int, Slide] = {}
        self._pairs: dict[tuple[int, int, int], Slide | None] = {}
        self._numbers = 0

    def slide(self, name: int) -> Slide:
        """What a group, or a single operator, is."""
        found = self.grown.slides.get(name)
        if found is None:
            kind = self.chains.kind[name]
            found = self._singles.get(kind)
            if found is None:
                axes = tuple(self.chains.sliding.windows(name))
                found = self._singles[kind] = Slide(number=self._number(), size=1, axes=axes, plan=None)
        return found

    def together(self, one: int, other: int) -> Slide | None:
        """What two groups are as one; None where they do not slide together."""
        first, second, members = self.slide(one), self.slide(other), self.grown.members
        begins = members[one][0] if one in members else one, members[other][0] if other in members else other
        key = (first.number, second.number, begins[1] - begins[0])
        if key in self._pairs:
            return self._pairs[key]
        found: Slide | None = None
        size, axes = first.size + second.size, common(first.axes, second.axes)
        if size <= MOST and axes:
            plan = self.chains.best(sorted([*members.get(one, [one]), *members.get(other, [other])]), axes)
            if plan is not None:
                found = Slide(number=self._number(), size=size, axes=axes, plan=plan)
        self._pairs[key] = found
        return found

    def merge(self, one: int, other: int, slide: Slide) -> None:
        """Make two groups one."""
        members, slides = self.grown.members, self.grown.slides
        name = self.grown.groups.merge(one, other)
        first, second = members.pop(one, None) or [one], members.pop(other, None) or [other]
        slides.pop(one, None)
        slides.pop(other, None)
        first += second  # the first of `one` stays in front: groups that grew alike begin alike
        members[name], slides[name] = first, slide

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers


def grow(chains: Chains) -> Grown:
    """Groups that grow along data, consumers in issue order and their nearest producers first."""
    growth = Growth(chains)
    groups = growth.grown.groups
    for producer, consumer in candidates(chains):
        one, other = groups.group(producer), groups.group(consumer)
        if one != other:
            found = growth.together(one, other)
            if found is not None and groups.can_merge(one, other):
                growth.merge(one, other, found)
    return growth.grown


def refusal(chains: Chains, grown: Grown, one: int, other: int) -> str | None:
    """Why two groups cannot be one, whatever room there is: `size`, `held`, `axis` or `cycle`."""
    rows = [*grown.rows(one), *grown.rows(other)]
    if len(rows) > MOST:
        return "size"
    if not chains.axes(rows):
        return "axis"
    return None if grown.groups.can_merge(one, other) else "cycle"


def candidates(chains: Chains) -> list[tuple[int, int]]:
    """(producer, consumer): both slide, and the consumer reads row by row just what the producer wrote."""
    graph, links = chains.graph, chains.links
    source, target = links.source, links.target
    segment, kind = np.array(chains.segment), chains.sliding.classes
    place = links.access - graph.reads.ptr[target]
    slides, sliding = chains.sliding.places()
    chosen = (
        (whole_results(graph, links) == 1)
        & (source != target)
        & (segment[source] == segment[target])
        & sliding[kind[source]]
        & (np.diff(graph.writes.ptr) > 0)[source]
        & slides[kind[target], np.minimum(place, slides.shape[1] - 1)]
    )
    count = len(graph.operators)
    consumer, nearest = distinct_pairs(target[chosen], count - 1 - source[chosen], count)
    return list(zip((count - 1 - nearest).tolist(), consumer.tolist(), strict=True))
