"""The plan of a fused chain: windows that slide over its operators while all that they need stays in the cores.

A group is run window by window. A window makes some rows of each result, and its producers supply the rows that the
taps need, so that neighbouring windows share a *halo*. Halos are kept or computed again (the "cached" and "recompute"
modes of depth-first scheduling, Mei et al., HPCA 2023, arXiv:2212.05344):

- **kept**: windows are as wide as the image. Of each value its last rows stay until they are not needed any more:
  `k - s` for k taps and a stride of s, more where a skip connection waits for a longer way. Room: weights, these rows
  of all values, and the most rows of one window that are alive at once.
- **computed again**: windows are tiles, cut along both sides. A tile makes all that its results need, with overlaps,
  and nothing stays but rows of what comes from memory, which is read once. Room: weights, these rows, and the most of
  one tile that is alive at once.

Keeping costs room, computing again costs FLOPs. The plan is the one of fewest windows that keeps its halos and fits;
where none does, that of fewest tiles which fit, if the points computed again take less time than moving the bytes that
stay in the cores (each would be written once and read once per user).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hiersim.fusion.sliding import Axis
from hiersim.fusion.sliding_group import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a group slides."""

    axis: Axis
    windows: int
    """Per image, or over the whole matrix; of tiles along each side."""
    again: bool
    """True where halos are computed again, False where they are kept or there are none."""
    needs: int
    """Bytes in the cores."""
    extra: tuple[int, ...]
    """Points that each member computes again, of one image."""


def plan(group: Group, room: int, bandwidth: float) -> Plan | None:
    """The plan in `room` bytes, beside a memory of `bandwidth` bytes a second; None where none fits or pays."""
    for windows in counts(group):
        needs = group.needs(windows, False)
        if needs <= room:
            return Plan(axis=group.axis, windows=windows, again=False, needs=needs, extra=(0,) * group.members)
    for windows in counts(group):
        needs = group.needs(windows, True)
        if needs <= room:
            extra = group.extra(windows)
            if not pays(group, extra, bandwidth):
                return None
            return Plan(axis=group.axis, windows=windows, again=True, needs=needs, extra=extra)
    return None


def pays(group: Group, extra: Sequence[int], bandwidth: float) -> bool:
    """Whether computing points again takes less time than moving what stays in the cores instead."""
    facts = zip(group.seconds(), extra, group.points(), strict=True)
    return sum(work * points / all_points for work, points, all_points in facts) * bandwidth < group.stays()


def counts(group: Group) -> Iterator[int]:
    """Numbers of windows to try: 1, 2, 4, … and one row of the coarsest value each."""
    most = group.coarsest()
    count = 1
    while count < most:
        yield count
        count *= 2
    yield most
