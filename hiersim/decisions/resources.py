"""What one can buy more of: every rate, time, capacity and count of a design, and designs with another amount of it.

A resource is *better* by a factor when a rate, capacity or count is multiplied by it, or a time divided by it.
Unlimited rates and times of zero are no resources: nothing can be bought there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from hiersim import units
from hiersim.errors import HiersimError, nearest
from hiersim.lowering.host import GRAPH
from hiersim.model.design import Design, Link, Place, Tier
from hiersim.units import UNLIMITED


class Sense(Enum):
    """What kind of amount a resource is."""

    RATE = "rate"
    TIME = "time"
    """Less is better."""
    CAPACITY = "capacity"
    COUNT = "count"


_PORTS: Final = ("bandwidth", "read_bandwidth", "write_bandwidth")
_STREAM: Final = (
    "launch_eager", "launch_compiled", "launch_view", "library_call", "latency", "start", "region_entry", "guard",
    "recompile", "recompile_operator",
)  # fmt: skip
_REPLAY: Final = (*_STREAM, "launch_graph", "graph_start")
_PRINT: Final = {Sense.TIME: units.show_ticks, Sense.CAPACITY: units.show_capacity}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One amount of a design, in base units. Peaks of one unit's dtypes are one; so are cores with all they have."""

    path: str
    """Dotted path of the value, or of what its `leaves` have in common."""
    sense: Sense
    value: int
    """The largest of the leaves."""
    leaves: Mapping[str, int]
    """Dotted path → present value, of all that change together."""
    whole: bool = False
    """The value is a small whole number: it changes by one at least."""

    @property
    def scales_time(self) -> bool:
        """True for rates and times: with all of them better by k, a run takes 1/k of its time."""
        return self.sense in (Sense.RATE, Sense.TIME)

    def better(self, factor: float) -> tuple[dict[str, int], float]:
        """Values of the design at which this is better by about `factor`, and by how much it is after rounding.

        Of a factor that rounds to no change at all, the least change.
        """
        goal = 1 / factor if self.sense is Sense.TIME else factor
        anchor = next(iter(self.leaves))
        value = self.leaves[anchor]
        new = max(1, round(value * goal))
        if new == value:
            new = max(1, value + (1 if goal > 1 else -1))
        changes = {anchor: new}
        for path, amount in list(self.leaves.items())[1:]:
            changes[path] = max(1, (amount * new + value // 2) // value)
        return changes, value / new if self.sense is Sense.TIME else new / value

    def of(self, dtype: str) -> int:
        """The value for one dtype, where each has its own; else the value."""
        return self.leaves.get(f"{self.path}.{dtype}", self.value)

    def show(self, value: int | None = None) -> str:
        """The present amount, or another one, with its unit."""
        amount = self.value if value is None else value
        if self.sense in _PRINT:
            return _PRINT[self.sense](amount)
        if self.sense is Sense.COUNT:
            return str(amount)
        if self.path == "compute.clock":
            return units.show_frequency(amount)
        return (units.show_bandwidth if self.path.endswith("bandwidth") else units.show_rate)(amount)


def resources(design: Design, launch: str = "stream") -> tuple[Resource, ...]:
    """Every resource of `design` that a run with this launch mode may depend on: compute, memory, links, host."""
    return tuple([*_of_compute(design), *_of_places(design), *_of_host(design, launch)])


def resource(design: Design, path: str, launch: str = "stream") -> Resource:
    """The resource at `path`.

    Raises
    ------
    HiersimError
        With the nearest valid path.
    """
    found = {item.path: item for item in resources(design, launch)}
    if path not in found:
        raise HiersimError(f"'{path}' is not a resource of {design.name}", expected=nearest(path, found))
    return found[path]


def _one(path: str, sense: Sense, value: Any, *, whole: bool = False) -> Iterator[Resource]:
    """The resource of a single value, when there is one to change."""
    if value is not None and 0 < int(value) < UNLIMITED:
        yield Resource(path=path, sense=sense, value=int(value), leaves={path: int(value)}, whole=whole)


def _peaks(path: str, peaks: Mapping[Any, int]) -> dict[str, int]:
    return {f"{path}.{dtype.name.lower()}": int(peak) for dtype, peak in peaks.items() if peak < UNLIMITED}


def _together(path: str, leaves: Mapping[str, int]) -> Iterator[Resource]:
    if leaves:
        ordered = dict(sorted(leaves.items(), key=lambda item: (-item[1], item[0])))
        yield Resource(path=path, sense=Sense.RATE, value=max(leaves.values()), leaves=ordered)


def _of_compute(design: Design) -> Iterator[Resource]:
    compute = design.compute
    matrix = _peaks("compute.matrix.peak", compute.matrix.peak) if compute.matrix is not None else {}
    vector = _peaks("compute.vector.peak", compute.vector.peak)
    special = {"compute.vector.special": int(compute.vector.special)} if compute.vector.special < UNLIMITED else {}
    yield Resource(
        path="compute.cores", sense=Sense.COUNT, value=int(compute.cores), whole=True,
        leaves={"compute.cores": int(compute.cores), **matrix, **vector, **special},
    )  # fmt: skip
    yield from _together("compute.matrix.peak", matrix)
    yield from _together("compute.vector.peak", vector)
    yield from _together("compute.vector.special", special)
    yield from _one("compute.clock", Sense.RATE, compute.clock)
    yield from _one("compute.load_bandwidth", Sense.RATE, compute.load_bandwidth)
    yield from _one("compute.start_up", Sense.TIME, compute.start_up)
    yield from _one("compute.exchange", Sense.TIME, compute.exchange)
    yield from _one("compute.window_set_up", Sense.TIME, compute.window_set_up)
    yield from _one("compute.buffer_depth", Sense.COUNT, compute.buffer_depth, whole=True)


def _of_places(design: Design) -> Iterator[Resource]:
    for place in design.places:
        path = f"{'links' if isinstance(place, Link) else 'memory'}.{place.name}"
        yield from _of_ports(place, path)
        yield from _one(f"{path}.latency", Sense.TIME, place.latency)
        if isinstance(place, Tier):
            yield from _one(f"{path}.capacity", Sense.CAPACITY, place.capacity)


def _of_ports(place: Place, path: str) -> Iterator[Resource]:
    for name in _PORTS:
        yield from _one(f"{path}.{name}", Sense.RATE, getattr(place, name))


def _of_host(design: Design, launch: str) -> Iterator[Resource]:
    for name in _REPLAY if launch == GRAPH else _STREAM:
        yield from _one(f"host.{name}", Sense.TIME, getattr(design.host, name))
    yield from _one("host.queue", Sense.COUNT, design.host.queue, whole=True)
    if design.host_tiers:
        yield from _one("placement.prefetch", Sense.COUNT, design.placement.prefetch, whole=True)
