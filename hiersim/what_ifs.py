"""What a run would gain from a better part: the same kernels replayed on designs in which one value is changed.

Nothing is estimated: every figure is the makespan of a replay. Kernels stay those of the run; a policy that looks at
the design might make others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from hiersim.cost import memory_cost
from hiersim.errors import HiersimError
from hiersim.model.design import Design, Place
from hiersim.model.operators import DType
from hiersim.results import Result
from hiersim.run import replay
from hiersim.units import UNLIMITED

FACTOR: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """One value of a design made better and worse by the same factor."""

    name: str
    """What is changed, in words: `hbm bandwidth`."""
    tier: str | None
    better: Mapping[str, str]
    """The change as `--set` takes it."""
    worse: Mapping[str, str]
    makespan: int
    """Of the run as it is, ticks."""
    better_makespan: int
    worse_makespan: int | None
    """None where the worse design cannot hold the model."""
    cost_usd: float | None
    """What a larger capacity costs more; None where it has no price, and for all that is no capacity."""

    @property
    def returned(self) -> float:
        """Share of the makespan that the better part gives back; negative where it costs time."""
        return 1 - self.better_makespan / self.makespan if self.makespan else 0.0

    @property
    def lost(self) -> float | None:
        """Share of the makespan that the worse part adds."""
        if self.worse_makespan is None:
            return None
        return self.worse_makespan / self.makespan - 1 if self.makespan else 0.0


def what_ifs(result: Result) -> tuple[WhatIf, ...]:
    """Every part of the design of `result` made `FACTOR` times as good, and as bad; what returns most first.

    Parts that the run does not use are left out: places that no bytes pass, and dtypes that nothing computes in.
    """
    found = []
    for part in parts_of(result):
        better, worse = part.changes(FACTOR), part.changes(1 / FACTOR)
        faster = _replayed(result, better)
        if faster is not None:
            slower = _replayed(result, worse)
            found.append(
                WhatIf(
                    name=part.name,
                    tier=part.tier,
                    better=better,
                    worse=worse,
                    makespan=int(result.makespan),
                    better_makespan=int(faster.makespan),
                    worse_makespan=None if slower is None else int(slower.makespan),
                    cost_usd=_extra_cost(result.design, faster.design),
                )
            )
    return tuple(sorted(found, key=lambda item: (item.better_makespan, item.name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What can be better or worse: values of a design that change together."""

    name: str
    tier: str | None
    paths: tuple[str, ...]
    less: bool = False
    """Whether less of it is better: latencies, launches."""

    def changes(self, factor: float) -> dict[str, str]:
        """The part so many times as good, as `Design.replace` and `--set` take it."""
        times = 1 / factor if self.less else factor
        return {path: f"{times:.6f}".rstrip("0").rstrip(".") + "x" for path in self.paths}


def parts_of(result: Result) -> list[Part]:
    """The parts of its design that a run uses: places that bytes pass, peaks of its dtypes, launches."""
    used = {name for name, ways in result.traffic.items() if ways["read"] + ways["write"]}
    parts = _parts(result.design, _dtypes(result))
    return [part for part in parts if part.tier is None or part.tier in used]


def _dtypes(result: Result) -> set[DType]:
    """dtypes that the run computes in, and those whose rate stands in for them: of a vector unit that of FP32."""
    used = {DType(value) for value in np.unique(result.graph.operators.dtype).tolist()}
    compute = result.design.compute
    instead = {} if compute.matrix is None else compute.matrix.stand_in
    lacking = {DType.FP32} if used - set(compute.vector.peak) else set()
    return used | lacking | {instead[dtype] for dtype in used if dtype in instead}


def _parts(design: Design, dtypes: set[DType]) -> Iterator[Part]:
    """Every part of a design that can be scaled."""
    for tier in (*design.shared_tiers, *design.host_tiers):
        path = f"memory.{tier.name}"
        if tier.is_shared_cache:
            yield Part(name=f"{tier.name} capacity", tier=tier.name, paths=(f"{path}.capacity",))
        yield from _rates(tier, "memory")
        if tier.latency:
            yield Part(name=f"{tier.name} latency", tier=tier.name, paths=(f"{path}.latency",), less=True)
    for link in design.links:
        yield from _rates(link, "links")
    for unit in ("matrix", "vector"):
        found = getattr(design.compute, unit)
        peaks = {} if found is None else found.peak
        known = [dtype.name.lower() for dtype, rate in peaks.items() if dtype in dtypes and rate < UNLIMITED]
        if known:
            paths = tuple(f"compute.{unit}.peak.{dtype}" for dtype in known)
            yield Part(name=f"{unit} peak", tier=None, paths=paths)
    launching = ("launch_eager", "launch_compiled", "launch_view", "library_call")
    host = [name for name in launching if getattr(design.host, name)]
    if host:
        yield Part(name="host launches", tier=None, paths=tuple(f"host.{name}" for name in host), less=True)


def _rates(place: Place, table: str) -> Iterator[Part]:
    """The bandwidth of a tier or link, of both its ports where it has two."""
    fields = ("bandwidth", "read_bandwidth", "write_bandwidth")
    keys = [field for field in fields if 0 < (getattr(place, field) or 0) < UNLIMITED]
    if keys:
        paths = tuple(f"{table}.{place.name}.{key}" for key in keys)
        yield Part(name=f"{place.name} bandwidth", tier=place.name, paths=paths)


def _replayed(result: Result, changes: Mapping[str, str]) -> Result | None:
    """The same kernels on the changed design; None where that design makes no sense or cannot hold the model."""
    try:
        design = result.design.replace(changes)
        return replay(
            result.trace, result.graph, design, engine_name=result.engine_name, changes=changes, launch=result.launch
        )
    except HiersimError:
        return None


def _extra_cost(before: Design, after: Design) -> float | None:
    """Dollars of memory that the change adds; None where no capacity grows (rates have no price) or none is known."""
    grown = [new for old, new in zip(before.memory, after.memory, strict=True) if old.capacity != new.capacity]
    if not grown or any(tier.price is None for tier in grown):
        return None
    return (memory_cost(after)["total"] or 0.0) - (memory_cost(before)["total"] or 0.0)
