"""`Design`: compute, memory tiers, host and prices of one machine; validated and in base units.

Every field's type says its unit (see `hiersim.units`); `Design.replace` uses these types to read the text of
a what-if change. A value of None is unknown: using it is an error or a warning, never a guess.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from hiersim import units
from hiersim.errors import DesignError, HiersimError, UnitError, nearest
from hiersim.model.operators import DType
from hiersim.units import (
    Bytes,
    BytesPerSecond,
    Count,
    FlopsPerSecond,
    Hertz,
    PicojoulesPerByte,
    PicojoulesPerFlop,
    Share,
    Ticks,
    UsdPerGB,
)

LARGEST_ARRAY: Final = 65536
"""Most rows, columns or arrays of a systolic unit."""


class Scope(Enum):
    """Who reaches a tier: its own core, all cores, or only the copies that the host orders."""

    CORE = "core"
    SHARED = "shared"
    HOST = "host"
    """Kernels cannot address it: what lies there is copied to the device before they run."""


class Management(Enum):
    """Who decides what a tier holds: hardware replacement, or the program."""

    CACHE = "cache"
    SCRATCHPAD = "scratchpad"
    POOL = "pool"
    """Memory beside the last tier that kernels address: tensors live in one or the other."""


class Dataflow(Enum):
    """What stays in a systolic array while the rest streams through it."""

    WEIGHT_STATIONARY = "weight_stationary"
    OUTPUT_STATIONARY = "output_stationary"
    INPUT_STATIONARY = "input_stationary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Systolic:
    """Systolic arrays of multiply-adders. A cycle is what the unit's peak leaves for one multiply-add of each."""

    rows: Count
    columns: Count
    dataflow: Dataflow
    arrays: Count = Count(1)
    """Arrays of one core; they share the folds of a product."""
    overlap: bool = False
    """Whether the fill and drain of a fold hide behind the streams of its neighbours; else every fold shows them."""


class Replacement(Enum):
    """What a full cache lets go first."""

    LRU = "lru"
    """What was used longest ago."""
    BELADY = "belady"
    """What is needed furthest in the future: the bound of what any cache of the size can do."""


class Start(Enum):
    """What a cache holds before the first kernel."""

    COLD = "cold"
    """Nothing."""
    WARM = "warm"
    """What a run of the same kernels before this one left in it."""


class Arbitration(Enum):
    """Which kernel a port serves next when several wait."""

    FIFO = "fifo"
    """The one that asked first."""
    FAIR = "fair"
    """Kernels that wait get equal shares of the port's time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixUnit:
    """Tensor cores or systolic arrays, all cores together."""

    peak: Mapping[DType, FlopsPerSecond]
    """Dense peak per dtype."""
    tile: tuple[int, int, int]
    """Native tile (m, n, k): smaller problems are padded to it."""
    efficiency: Share = Share(1.0)
    """Share of the peak that a well-tuned inner loop sustains."""
    stand_in: Mapping[DType, DType] = field(default_factory=dict)
    """dtype that the unit lacks → dtype whose rate is used instead, with a warning."""
    systolic: Systolic | None = None
    """Given: fill and drain cost cycles, and the array's sides are those of the native tile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorUnit:
    """Scalar and SIMD arithmetic, all cores together."""

    peak: Mapping[DType, FlopsPerSecond]
    special: FlopsPerSecond
    """Special functions (exp, tanh, rsqrt, …) per second."""
    efficiency: Share = Share(1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """Cores and their units."""

    cores: Count
    clock: Hertz
    vector: VectorUnit
    matrix: MatrixUnit | None = None
    load_bandwidth: BytesPerSecond = BytesPerSecond(units.UNLIMITED)
    """What one core can load from the nearest shared tier."""
    buffer_depth: Count = Count(2)
    """Tiles in flight per core: 1 = none hidden, 2 = double buffering, …"""
    energy: PicojoulesPerFlop | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where bytes pass: a port that reads and writes share, or one for each."""

    name: str
    bandwidth: BytesPerSecond | None = None
    """Of one port that reads and writes share."""
    read_bandwidth: BytesPerSecond | None = None
    write_bandwidth: BytesPerSecond | None = None
    """Given together instead of `bandwidth`: two ports, full duplex."""
    efficiency: Share = Share(1.0)
    """Share of the bandwidth that streaming access achieves; in a file with `dram`, that of the preset if not given."""
    latency: Ticks = Ticks(0)
    """From the end of a transfer at the port to its arrival."""
    arbitration: Arbitration = Arbitration.FIFO
    """Of each port of a shared tier, a link, or a tier behind the device."""
    energy: PicojoulesPerByte | None = None

    @property
    def full_duplex(self) -> bool:
        """True when reads and writes have a port each."""
        return self.read_bandwidth is not None

    @property
    def has_port(self) -> bool:
        """True when moving data costs time here."""
        return self.bandwidth is not None or self.full_duplex


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier(Place):
    """One level of the memory hierarchy."""

    scope: Scope
    management: Management
    capacity: Bytes
    """Of one core's copy when the scope is `core`."""
    dram: str | None = None
    """DRAM preset whose timings say what other patterns achieve, in proportion to streaming."""
    granularity: Bytes = Bytes(1)
    """Smallest transfer: a sector or burst."""
    replacement: Replacement = Replacement.LRU
    """Of a shared cache."""
    start: Start = Start.COLD
    """Of a shared cache."""
    price: UsdPerGB | None = None
    price_as_of: str | None = None

    @property
    def is_shared_cache(self) -> bool:
        """True when hardware decides what it holds between kernels."""
        return self.scope is Scope.SHARED and self.management is Management.CACHE


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(Place):
    """What lies between two tiers: PCIe, NVLink-C2C. *Read* is towards the cores."""

    to: str
    """The farther one of the two tiers; all that goes to it and beyond it passes the link."""


class Order(Enum):
    """Which tensors a planner places first, that is, nearest."""

    DENSITY = "density"
    """Most bytes moved per byte of capacity; of equals the first touched."""
    FIRST_TOUCH = "first-touch"
    """In the order in which kernels touch them, as an allocator does that never looks ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How tensors find their home tier, and how those beyond the device come to the kernels."""

    order: Order = Order.DENSITY
    prefetch: Count = Count(2)
    """A copy to the device may begin when the kernel this many before its user has ended: 1 is on demand."""
    chunk: Bytes = Bytes(2**20)
    """Copies move this much at a time."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """Role (`kv_cache`) or name pattern (`layers.*.wq.weight`) → the tier that must be home; the first match counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The one thread that dispatches kernels."""

    launch_eager: Ticks = Ticks(0)
    """Thread time for one operator dispatched by the framework."""
    launch_compiled: Ticks = Ticks(0)
    """Thread time for one call from generated code."""
    launch_view: Ticks = Ticks(0)
    """Thread time for an operator that launches nothing."""
    latency: Ticks = Ticks(0)
    """From the end of a launch call to its arrival at the device."""
    start: Ticks = Ticks(0)
    """Device time between two dependent kernels."""
    queue: Count = Count(1024)
    """Launches that may wait for the device; the host blocks when it is full."""
    launch_graph: Ticks | None = None
    """Thread time for one replay of a captured graph of kernels (CUDA graph)."""
    graph_start: Ticks | None = None
    """Device time between two dependent kernels of one replay."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Design:
    """One machine. `memory` runs from the nearest tier to the farthest; every tensor has a home in it."""

    name: str
    title: str
    compute: Compute
    memory: tuple[Tier, ...]
    host: Host
    links: tuple[Link, ...] = ()
    placement: Placement = field(default_factory=Placement)
    sources: Mapping[str, str] = field(default_factory=dict)
    """Dotted path (or a prefix of it) → where the value comes from."""

    def __repr__(self) -> str:
        tiers = ", ".join(f"{tier.name} {units.show_capacity(tier.capacity)}" for tier in self.memory)
        return f"Design({self.name}: {self.compute.cores} cores, {tiers})"

    def tier(self, name: str) -> Tier:
        """The tier of that name."""
        for tier in self.memory:
            if tier.name == name:
                return tier
        raise DesignError(f"has no tier '{name}'", key="memory", expected=nearest(name, [t.name for t in self.memory]))

    @property
    def shared_tiers(self) -> tuple[Tier, ...]:
        """Tiers that all cores share, nearest first."""
        return tuple(tier for tier in self.memory if tier.scope is Scope.SHARED)

    @property
    def core_tiers(self) -> tuple[Tier, ...]:
        """Tiers of which every core has its own, nearest first."""
        return tuple(tier for tier in self.memory if tier.scope is Scope.CORE)

    @property
    def host_tiers(self) -> tuple[Tier, ...]:
        """Tiers behind the device, nearest first: reached by copies only."""
        return tuple(tier for tier in self.memory if tier.scope is Scope.HOST)

    @property
    def pools(self) -> tuple[Tier, ...]:
        """Shared tiers before the last in which tensors live, nearest first."""
        return tuple(tier for tier in self.shared_tiers[:-1] if tier.management is Management.POOL)

    @property
    def homes(self) -> tuple[Tier, ...]:
        """Tiers that tensors can live in, nearest first: pools, the device's last tier, and those behind it."""
        return (*self.pools, self.home, *self.host_tiers)

    @property
    def home(self) -> Tier:
        """The last tier that kernels address, where tensors live unless they are placed elsewhere."""
        return self.shared_tiers[-1]

    @property
    def places(self) -> tuple[Place, ...]:
        """Tiers, each with the link in front of it, nearest first."""
        before = {link.to: link for link in self.links}
        return tuple(place for tier in self.memory for place in (before.get(tier.name), tier) if place is not None)

    def replace(self, changes: Mapping[str, Any]) -> Design:
        """This design with some values changed and checked again.

        Parameters
        ----------
        changes : mapping of dotted path to value
            `{"memory.l2.capacity": "200 MiB", "memory.hbm.bandwidth": "2x"}`; text is read with its unit, a
            factor such as `2x` multiplies the present value, a number is in base units. A new `dram` preset
            brings its streaming efficiency, unless `efficiency` is given with it.

        Raises
        ------
        DesignError
            Unknown path, wrong unit, or a design that makes no sense afterwards.
        """
        design = self
        for path, value in changes.items():
            design = _replaced(design, path.split("."), path, value)
            if not any(word in path for word in ("name", "title")):
                kept = {key: text for key, text in design.sources.items() if key != path}
                design = dataclasses.replace(design, sources={**kept, path: f"set to {value}"})
        design = design.checked()
        names = [tier.name for tier in design.memory if f"memory.{tier.name}.dram" in changes]
        return _with_models(design, [name for name in names if f"memory.{name}.efficiency" not in changes])

    def checked(self) -> Design:
        """Itself, when it makes sense as a whole.

        Raises
        ------
        DesignError
            Naming the first path that does not; `others` holds the rest.
        """
        faults = [DesignError(problem, key=path, expected=expected) for path, problem, expected in _faults(self)]
        if faults:
            first = faults[0]
            raise DesignError(first.problem, key=first.key, expected=first.expected, others=faults[1:])
        return self


def _faults(design: Design) -> list[tuple[str, str, str]]:
    """What is wrong across fields: (path, problem, expected)."""
    faults: list[tuple[str, str, str]] = []
    names = [tier.name for tier in design.memory]
    scopes = [tier.scope for tier in design.memory]
    if not design.shared_tiers:
        faults.append(("memory", "has no shared tier", "at least one tier with 'scope: shared'"))
    if not design.core_tiers:
        faults.append(("memory", "has no tier in the cores", "at least one tier with 'scope: core'"))
    if scopes != sorted(scopes, key=list(Scope).index):
        order = "tiers from nearest to farthest: 'core', then 'shared', then 'host'"
        faults.append(("memory", "has a tier behind one of farther scope", order))
    for name in sorted({name for name in names if names.count(name) > 1}):
        faults.append((f"memory.{name}", "is there twice", "one tier of each name"))
    for tier in design.memory:
        faults.extend((f"memory.{tier.name}.{key}", *rest) for key, *rest in _tier_faults(tier))  # type: ignore[misc]
    if design.shared_tiers and design.home.management is not Management.SCRATCHPAD:
        what = f"is a {design.home.management.value} but the last tier"
        what += " that kernels address" if design.host_tiers else ""
        faults.append((f"memory.{design.home.name}.management", what, "scratchpad"))
    for tier in design.host_tiers:
        if tier.management is not Management.SCRATCHPAD:
            problem = f"is a {tier.management.value} behind the device"
            faults.append((f"memory.{tier.name}.management", problem, "scratchpad"))
    for tier in design.core_tiers:
        if tier.management is Management.POOL:
            faults.append((f"memory.{tier.name}.management", "is a pool in the cores", "cache or scratchpad"))
    faults.extend(_link_faults(design))
    faults.extend(_placement_faults(design))
    for tier in design.shared_tiers[:-1]:
        if tier.management is Management.SCRATCHPAD and tier.capacity > design.home.capacity:
            faults.append((f"memory.{tier.name}.capacity", "is larger than the last tier's", "a smaller size"))
    matrix = design.compute.matrix
    if matrix is not None:
        faults.extend(
            (f"compute.matrix.stand_in.{name.name.lower()}", f"'{target.name.lower()}' has no peak", "a dtype in peak")
            for name, target in matrix.stand_in.items()
            if target not in matrix.peak
        )
        faults.extend(_systolic_faults(matrix))
    if DType.FP32 not in design.compute.vector.peak:
        faults.append(("compute.vector.peak", "lacks fp32", "at least the fp32 rate"))
    return faults


def _systolic_faults(matrix: MatrixUnit) -> list[tuple[str, str, str]]:
    """The native tile lies on the array: two of its sides are the array's, by the dataflow."""
    unit = matrix.systolic
    if unit is None:
        return []
    faults = [
        (f"compute.matrix.systolic.{name}", "is not a number of that sort", "1 to 65536")
        for name in ("rows", "columns", "arrays")
        if not 0 < getattr(unit, name) <= LARGEST_ARRAY
    ]
    m, n, k = matrix.tile
    on_array = {
        Dataflow.WEIGHT_STATIONARY: (k, n),
        Dataflow.OUTPUT_STATIONARY: (m, n),
        Dataflow.INPUT_STATIONARY: (k, m),
    }[unit.dataflow]
    if on_array != (unit.rows, unit.columns):
        places = {
            Dataflow.WEIGHT_STATIONARY: "[any, columns, rows]",
            Dataflow.OUTPUT_STATIONARY: "[rows, columns, any]",
            Dataflow.INPUT_STATIONARY: "[columns, any, rows]",
        }
        problem = f"{list(matrix.tile)} does not lie on an array of {unit.rows} rows and {unit.columns} columns"
        faults.append(("compute.matrix.tile", problem, f"{places[unit.dataflow]} for {unit.dataflow.value}"))
    return faults


def _link_faults(design: Design) -> list[tuple[str, str, str]]:
    faults: list[tuple[str, str, str]] = []
    tiers = [tier.name for tier in design.memory]
    host = [tier.name for tier in design.host_tiers]
    for index, link in enumerate(design.links):
        path = f"links.{link.name}"
        faults.extend((f"{path}.{key}", *rest) for key, *rest in _port_faults(link))  # type: ignore[misc]
        if not link.has_port:
            faults.append((f"{path}.bandwidth", "is missing", "a bandwidth such as '64 GB/s', or 'unlimited'"))
        if link.name in tiers:
            faults.append((path, "has the name of a tier", "a name of its own"))
        if link.to not in host:
            problem = f"'{link.to}' is not a tier behind the device"
            faults.append((f"{path}.to", problem, nearest(link.to, host) if host else "a tier with 'scope: host'"))
        elif link.to in [other.to for other in design.links[:index]]:
            faults.append((f"{path}.to", f"'{link.to}' has a link already", "one link in front of each tier"))
    return faults


def _placement_faults(design: Design) -> list[tuple[str, str, str]]:
    homes = [tier.name for tier in design.homes] if design.shared_tiers else []
    placement = design.placement
    faults = [
        (f"placement.pins.{pattern}", f"'{name}' is not a tier that tensors can live in", nearest(name, homes))
        for pattern, name in placement.pins.items()
        if name not in homes
    ]
    if placement.chunk <= 0:
        faults.append(("placement.chunk", "is zero", "a size above zero"))
    return faults


def _port_faults(place: Place) -> list[tuple[str, str, str]]:
    faults = []
    both = place.read_bandwidth is not None and place.write_bandwidth is not None
    if (place.read_bandwidth is None) != (place.write_bandwidth is None):
        faults.append(("read_bandwidth", "is given without its partner", "read_bandwidth and write_bandwidth together"))
    if both and place.bandwidth is not None:
        faults.append(("bandwidth", "is given beside read_bandwidth and write_bandwidth", "one or the other"))
    return faults


def _tier_faults(tier: Tier) -> list[tuple[str, str, str]]:
    faults = _port_faults(tier)
    if tier.scope is not Scope.CORE and not tier.has_port:
        faults.append(("bandwidth", "is missing", "a bandwidth such as '3.35 TB/s', or 'unlimited'"))
    if tier.capacity <= 0:
        faults.append(("capacity", "is zero", "a size above zero"))
    if tier.arbitration is not Arbitration.FIFO and tier.scope is Scope.CORE:
        faults.append(("arbitration", "is given for a tier in the cores, which has no port to share", "scope: shared"))
    if tier.granularity <= 0:
        faults.append(("granularity", "is zero", "a size above zero"))
    if not tier.is_shared_cache:
        chosen: dict[str, Enum] = {"replacement": tier.replacement, "start": tier.start}
        usual = (Replacement.LRU, Start.COLD)
        faults.extend(
            (key, f"is {value.value} but the tier is not a shared cache", "scope: shared and management: cache")
            for key, value in chosen.items()
            if value not in usual
        )
    if tier.dram is not None:
        faults.extend(("dram", *rest) for rest in _dram_faults(tier, tier.dram))
    if tier.price is not None and tier.price_as_of is None:
        faults.append(("price", "has no date", "price_as_of: YYYY-MM"))
    return faults


def _dram_faults(tier: Tier, name: str) -> list[tuple[str, str]]:
    """What is wrong with a preset: (problem, expected)."""
    from hiersim.model.dram_presets import PRESETS  # most designs name none

    if name not in PRESETS:
        return [(f"'{name}' is not a DRAM preset", nearest(name, PRESETS))]
    if tier.scope is Scope.CORE:
        return [("is given for a tier in the cores", "a preset at a shared tier")]
    return []


def _with_models(design: Design, names: Collection[str]) -> Design:
    """`design` with the efficiency of these tiers' presets."""
    if not names:
        return design
    from hiersim.model.dram_tiers import with_models

    return with_models(design, names)


@cache
def field_types(owner: type[Any]) -> dict[str, Any]:
    """Field name → type of a design dataclass, with `| None` removed."""
    return {name: _without_none(hint) for name, hint in get_type_hints(owner).items()}


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def _replaced(value: Any, steps: list[str], path: str, text: Any) -> Any:
    """`value` with the leaf at `steps` changed; frozen values are copied along the way."""
    name, rest = steps[0], steps[1:]
    owner: Any = type(value)
    kinds = field_types(owner)
    if name not in kinds or name == "sources":
        done = path.split(".")[: -len(steps)]
        valid = [".".join([*done, key]) for key in kinds if key != "sources"]
        raise DesignError("is not a value of a design", key=path, expected=nearest(path, valid))
    kind, present = kinds[name], getattr(value, name)
    if kind in (tuple[Tier, ...], tuple[Link, ...]):
        return dataclasses.replace(value, **{name: _replaced_place(name, present, rest, path, text)})
    if rest and dataclasses.is_dataclass(kind):
        if present is None:
            raise DesignError(f"this design has no {name}", key=path)
        return dataclasses.replace(value, **{name: _replaced(present, rest, path, text)})
    if rest and name == "pins":  # patterns have dots of their own
        return dataclasses.replace(value, pins={**present, ".".join(rest): str(text)})
    if rest and get_origin(kind) is not None and len(rest) == 1 and name in ("peak", "stand_in"):
        return dataclasses.replace(value, **{name: _replaced_entry(name, present, rest[0], path, text)})
    if rest:
        raise DesignError(f"'{name}' has nothing inside", key=path)
    return dataclasses.replace(value, **{name: read_leaf(kind, text, path, present)})


def _replaced_place(kind: str, places: tuple[Any, ...], rest: list[str], path: str, text: Any) -> tuple[Any, ...]:
    """Tiers (`memory`) or `links` with one value changed."""
    names, one = [place.name for place in places], "tier" if kind == "memory" else "link"
    if len(rest) < 2 or rest[0] not in names:
        wanted = nearest(rest[0], names) if rest and names else f"a {one}: {', '.join(names) or 'there is none'}"
        form = f"{kind}.{one.upper()}.VALUE with {one.upper()} {wanted}"
        raise DesignError(f"names no value of a {one}", key=path, expected=form)
    return tuple(_replaced(place, rest[1:], path, text) if place.name == rest[0] else place for place in places)


def _replaced_entry(name: str, present: Mapping[DType, Any], key: str, path: str, text: Any) -> dict[DType, Any]:
    dtype = read_dtype(key, path)
    if name == "stand_in":
        return {**present, dtype: read_dtype(text, path)}
    return {**present, dtype: read_leaf(FlopsPerSecond, text, path, present.get(dtype))}


def read_dtype(text: Any, path: str) -> DType:
    """A dtype by its name in lower case."""
    names = {dtype.name.lower(): dtype for dtype in DType}
    if not isinstance(text, str) or text not in names:
        raise DesignError(f"{text!r} is not a dtype", key=path, expected=nearest(str(text), names))
    return names[text]


def read_leaf(kind: Any, value: Any, path: str, present: Any = None) -> Any:
    """One value of a design, from text with a unit or from a number in base units."""
    try:
        if kind in units.QUANTITIES:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            bare = number and not units.QUANTITIES[kind].bare
            return units.parse_change(kind, f"{value} {_base_unit(kind)}" if bare else value, present)
        if isinstance(kind, type) and issubclass(kind, Enum):
            if value in [item.value for item in kind]:
                return kind(value)
            raise UnitError(f"{value!r} is not valid", expected=" or ".join(item.value for item in kind))
        if kind == tuple[int, int, int]:
            return read_tile(value)
        if kind is bool:
            return read_switch(value)
        if kind is str and isinstance(value, str):
            return value
    except HiersimError as error:
        raise DesignError(error.problem, key=path, expected=error.expected) from None
    raise DesignError(f"{value!r} cannot be set here", key=path)


def _base_unit(kind: Any) -> str:
    """The unit that a bare number from Python stands for."""
    return units.QUANTITIES[kind].base


def read_switch(value: Any) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise UnitError(f"{value!r} is neither true nor false", expected="true or false")


def read_tile(value: Any) -> tuple[int, int, int]:
    """A native matrix tile (m, n, k)."""
    good = isinstance(value, list | tuple) and len(value) == 3
    if not good or not all(type(side) is int and 0 < side <= 65536 for side in value):
        raise UnitError(f"{value!r} is not a tile", expected="three whole numbers [m, n, k] of at least 1")
    return (value[0], value[1], value[2])
