"""Traffic behind a shared cache against its capacity: where the curve falls, a working set has found room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hiersim.explanation import explain
from hiersim.lowering.working_sets import WorkingSet, reuses
from hiersim.lowering.workload import prepare
from hiersim.results import Result
from hiersim.views.explanation import capacity as cache_size
from hiersim.views.explanation import largest_part
from hiersim.views.tables import written

POINTS_PER_OCTAVE: Final = 8
LEAST: Final = 2**17
"""The curve begins here, or at half the smallest working set if that is less than the smallest cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knee:
    """A named working set."""

    held_bytes: int
    saved_bytes: int
    name: str
    served: float | None
    """Share of its savings that the design's cache gives; None where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knees:
    """The curve, its knees and where the design stands."""

    home: str
    cache: str | None
    capacity: int | None
    """Up to which the design's last shared cache finds data again."""
    capacities: tuple[int, ...]
    traffic: tuple[int, ...]
    """Bytes at the home tier behind a single cache of each capacity."""
    least: int
    """Compulsory bytes."""
    knees: tuple[Knee, ...]
    """The largest savings first."""

    @property
    def cache_words(self) -> str:
        """What the design's cache finds again; where it has one."""
        return f"{written(self.cache or '')} finds {cache_size(self.capacity or 0)} again"

    def traffic_at(self, capacity: int) -> int:
        """The curve at any capacity."""
        return int(np.interp(capacity, self.capacities, self.traffic))


def knees(result: Result, most: int = 6) -> Knees | None:
    """The curve of one run; None where nothing is used twice."""
    explained = explain(result)
    if not explained.sets:
        return None
    rows = reuses(result.graph.derived(prepare), result.design)
    caches = [tier for tier in result.design.shared_tiers[:-1] if tier.is_shared_cache]
    cache = caches[-1] if caches else None
    capacities = _grid(explained.sets, cache.found_again if cache else None)
    total, least = int(rows.size.sum()), result.bounds.compulsory_bytes
    saved = [round(float(rows.saved(capacity).sum())) for capacity in capacities]
    served = explained.served.get(cache.name) if cache else None
    return Knees(
        home=result.design.home.name,
        cache=cache.name if cache else None,
        capacity=cache.found_again if cache else None,
        capacities=tuple(capacities),
        traffic=tuple(least + total - amount for amount in saved),
        least=least,
        knees=tuple(
            Knee(
                held_bytes=item.held_bytes,
                saved_bytes=item.saved_bytes,
                name=largest_part(item),
                served=served[place] if served else None,
            )
            for place, item in enumerate(explained.sets[:most])
        ),
    )


def _grid(sets: tuple[WorkingSet, ...], capacity: int | None) -> list[int]:
    """Capacities on a geometric grid, with the ends of every working set among them, where the curve bends."""
    ends = [size for item in sets for size in (item.begin_bytes, item.held_bytes) if size > 0]
    low = min(LEAST, capacity or LEAST)
    high = max(2 * max(ends), 2 * low, 2 * (capacity or 0))
    steps = int(np.ceil(np.log2(high / low) * POINTS_PER_OCTAVE))
    grid = np.geomspace(low, high, steps + 1).astype(np.int64).tolist()
    bends = [edge for end in ends for edge in (end - 1, end) if low <= edge <= high]
    return sorted({*grid, *bends, *([capacity] if capacity else [])})
