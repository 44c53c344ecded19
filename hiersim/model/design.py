"""`Design`: compute, memory tiers, host and prices of one machine; validated and in base units.

Every field's type says its unit (see `hiersim.units`); `design_changes` uses these types to read the text of a what-if
change, `design_faults` tells what makes no sense together. A value of None is unknown: using it is an error or a
warning, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from hiersim import units
from hiersim.errors import DesignError, nearest
from hiersim.model.compute import Compute
from hiersim.model.constants import Constants
from hiersim.presenting import drawn_by
from hiersim.units import (
    Bytes,
    BytesPerSecond,
    Count,
    PicojoulesPerByte,
    Share,
    SquareMillimetres,
    Ticks,
    Usd,
    UsdPerGB,
)


class Scope(Enum):
    """Who reaches a tier: its own core, all cores, or only the copies that the host orders."""

    CORE = "core"
    SHARED = "shared"
    HOST = "host"
    """Kernels cannot address it: what lies there is copied to the device before they run."""


_CORE, _SHARED = Scope.CORE, Scope.SHARED
"""Before Python 3.12 it takes long to look up a member of an enum."""


class Management(Enum):
    """Who decides what a tier holds: hardware replacement, or the program."""

    CACHE = "cache"
    SCRATCHPAD = "scratchpad"
    POOL = "pool"
    """Memory beside the last tier that kernels address: tensors live in one or the other."""


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
    usable: Share = Share(1.0)
    """Of a cache: the share of its capacity up to which data is found again, as if by LRU. Sets fill unevenly."""
    granularity: Bytes = Bytes(1)
    """Smallest transfer: a sector or burst."""
    replacement: Replacement = Replacement.LRU
    """Of a shared cache."""
    start: Start = Start.COLD
    """Of a shared cache."""
    kind: str | None = None
    """What the price book calls this memory (`hbm3`, `sram`): its price and energy, where the file gives none."""
    process: str | None = None
    """Node that its SRAM is made in, when that is not the device's."""
    price: UsdPerGB | None = None
    price_as_of: str | None = None

    @property
    def found_again(self) -> int:
        """Bytes of a cache up to which data is found again."""
        return int(self.capacity * self.usable) if self.usable < 1 else int(self.capacity)

    @property
    def is_shared_cache(self) -> bool:
        """True when hardware decides what it holds between kernels."""
        return self.scope is _SHARED and self.management is Management.CACHE


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
    SPREAD = "spread"
    """Like `density`, but of equals those that go are evenly spread over the run, so that copies always have work."""


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
    library_call: Ticks = Ticks(0)
    """Thread time beside the launch where a library is called, which picks its kernel then: products, convolutions,
    attention."""
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
    region_entry: Ticks | None = None
    """Thread time to enter a compiled region, beside its guards and its launches."""
    guard: Ticks | None = None
    """Thread time to check one guard."""
    recompile: Ticks | None = None
    """Thread time to compile a region again, whatever it holds."""
    recompile_operator: Ticks | None = None
    """Thread time to compile a region again, for each operator in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What is known of the product itself. Nothing of it ever decides a time."""

    year: int | None = None
    """Of its introduction."""
    family: str | None = None
    """Whose it is and which generation: `NVIDIA Hopper`."""
    process: str | None = None
    """Node that its compute die is made in, as the price book calls it: `5nm`."""
    die_area: SquareMillimetres | None = None
    """Of one die."""
    dies: Count = Count(1)
    """Dies of this area in the package."""
    price: Usd | None = None
    """Of the whole device, as sold."""
    price_as_of: str | None = None


class Reach(NamedTuple):
    """The tiers of a design by who reaches them, each nearest first; and all places that bytes pass."""

    core: tuple[Tier, ...]
    shared: tuple[Tier, ...]
    host: tuple[Tier, ...]
    pools: tuple[Tier, ...]
    homes: tuple[Tier, ...]
    places: tuple[Place, ...]


class Sorted:
    """Keeps the `Reach` of a design once it was asked for; a copy starts without it."""

    __slots__ = ("_reach",)
    _reach: Reach


def _reach_of(memory: tuple[Tier, ...], links: tuple[Link, ...]) -> Reach:
    core: list[Tier] = []
    shared: list[Tier] = []
    host: list[Tier] = []
    places: list[Place] = []
    before = {link.to: link for link in links}
    for tier in memory:
        scope = tier.scope
        (core if scope is _CORE else shared if scope is _SHARED else host).append(tier)
        if tier.name in before:
            places.append(before[tier.name])
        places.append(tier)
    pools = tuple([tier for tier in shared[:-1] if tier.management is Management.POOL])
    homes = (*pools, *shared[-1:], *host)
    return Reach(tuple(core), tuple(shared), tuple(host), pools, homes, tuple(places))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Design(Sorted):
    """One machine. `memory` runs from the nearest tier to the farthest; every tensor has a home in it."""

    name: str
    title: str
    compute: Compute
    memory: tuple[Tier, ...]
    host: Host
    links: tuple[Link, ...] = ()
    placement: Placement = field(default_factory=Placement)
    device: Device = field(default_factory=Device)
    constants: Constants = field(default_factory=Constants)
    sources: Mapping[str, str] = field(default_factory=dict)
    """Dotted path (or a prefix of it) → where the value comes from."""

    def __repr__(self) -> str:
        tiers = ", ".join(f"{tier.name} {units.show_capacity(tier.capacity)}" for tier in self.memory)
        return f"Design({self.name}: {self.compute.cores} cores, {tiers})"

    _repr_html_ = drawn_by("hiersim.views.notebook:design_html", "The design as a notebook shows it: tiers to scale.")

    def tier(self, name: str) -> Tier:
        """The tier of that name."""
        for tier in self.memory:
            if tier.name == name:
                return tier
        raise DesignError(f"has no tier '{name}'", key="memory", expected=nearest(name, [t.name for t in self.memory]))

    @property
    def reach(self) -> Reach:
        """Its tiers by who reaches them."""
        try:
            return self._reach
        except AttributeError:
            object.__setattr__(self, "_reach", _reach_of(self.memory, self.links))
            return self._reach

    @property
    def shared_tiers(self) -> tuple[Tier, ...]:
        """Tiers that all cores share, nearest first."""
        return self.reach.shared

    @property
    def core_tiers(self) -> tuple[Tier, ...]:
        """Tiers of which every core has its own, nearest first."""
        return self.reach.core

    @property
    def host_tiers(self) -> tuple[Tier, ...]:
        """Tiers behind the device, nearest first: reached by copies only."""
        return self.reach.host

    @property
    def pools(self) -> tuple[Tier, ...]:
        """Shared tiers before the last in which tensors live, nearest first."""
        return self.reach.pools

    @property
    def homes(self) -> tuple[Tier, ...]:
        """Tiers that tensors can live in, nearest first: pools, the device's last tier, and those behind it."""
        return self.reach.homes

    @property
    def home(self) -> Tier:
        """The last tier that kernels address, where tensors live unless they are placed elsewhere."""
        return self.reach.shared[-1]

    @property
    def places(self) -> tuple[Place, ...]:
        """Tiers, each with the link in front of it, nearest first."""
        return self.reach.places

    @property
    def ridge_point(self) -> float | None:
        """FLOP per byte above which arithmetic is the bound: highest peak of 16 bits or more over the home tier's rate.

        Datasheet values. None where either is unlimited.
        """
        peaks = [self.compute.vector.peak, *([self.compute.matrix.peak] if self.compute.matrix else [])]
        wide = [int(rate) for peak in peaks for dtype, rate in peak.items() if dtype.name in ("BF16", "FP16", "FP32")]
        rate = self.home.bandwidth if self.home.bandwidth is not None else self.home.read_bandwidth
        known = rate is not None and rate < units.UNLIMITED and max(wide, default=units.UNLIMITED) < units.UNLIMITED
        return max(wide) / int(rate) if known and rate is not None else None

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
        from hiersim.model.design_changes import changed  # which imports this module

        return changed(self, changes)

    def checked(self) -> Design:
        """Itself, when it makes sense as a whole.

        Raises
        ------
        DesignError
            Naming the first path that does not; `others` holds the rest.
        """
        from hiersim.model.design_faults import check  # which imports this module

        check(self)
        return self
