"""A `Design` as lowering sees it: integer rates, ports and buffers, with the choices that need a dtype made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hiersim.errors import DesignError
from hiersim.lowering.figures import DTYPE_FIELDS, FIXED_UNIT, SLOWNESS_UNIT, Figures, fixed
from hiersim.lowering.systolic import Arrays
from hiersim.model.compute import Blocking
from hiersim.model.design import Arbitration, Design, Management, Place
from hiersim.model.dram_tiers import row_access, sector_bytes, slowdown
from hiersim.model.operators import BITS, DType
from hiersim.model.program import Access, Resource
from hiersim.units import TICKS_PER_SECOND, UNLIMITED

FP32, INT32 = DType.FP32, DType.INT32
POOL: Final = Management.POOL
FAIR: Final = Arbitration.FAIR
"""Before Python 3.12 it takes long to look up a member of an enum."""
MATRIX: Final = "matrix"
VECTOR: Final = "vector"
UNITS: Final = (Resource(name=MATRIX, tier=-1), Resource(name=VECTOR, tier=-1))
VECTOR_TILE: Final = (8, 8, 8)
"""Register blocking of a matrix product on the vector unit."""
STREAM_SHARE: Final = 4
"""A streaming kernel keeps 1/4 of its registers (or scratchpad) full of loads in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast one unit does matrix arithmetic of one dtype, all cores together."""

    unit: str
    sustained: int
    """FLOP/s after efficiency."""
    peak: int
    tile: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One direction of a place, as copies use it."""

    place: int
    """Index into `Machine.places`."""
    resource: int
    access: Access
    rate: int
    """Achievable bytes per second."""
    latency: int


class Machine:
    """Resources and rates of one design; `beyond`: how many of the tiers behind the device are in use.

    `places` are what bytes pass: tiers and links, nearest first, as far as they are in use.
    """

    def __init__(self, design: Design, beyond: int = 0) -> None:
        self.design = design
        self.cores = int(design.compute.cores)
        self.shared = design.shared_tiers
        self.first_shared = len(design.core_tiers)
        self.home_place = self.first_shared + len(self.shared) - 1
        self.tiers = design.memory[: self.home_place + 1]
        farthest = (self.tiers + design.host_tiers[:beyond])[-1]
        self.places = design.places[: 1 + [place is farthest for place in design.places].index(True)]
        self.resources, ports = _resources(self.places, self.first_shared)
        self.ports = ports[: len(self.shared)]
        self._place_ports = ports
        self.warnings: dict[str, None] = {}
        self._rates: dict[DType, Rate] = {}

    def home_rows(self) -> list[int]:
        """Indices among the places of the tiers that tensors live in, as far as they are in use."""
        names = [place.name for place in self.places]
        return [names.index(tier.name) for tier in self.design.homes if tier.name in names]

    def route(self, tier: int, inward: bool) -> tuple[Port, ...]:
        """Ports that a copy passes between the device and the `tier`-th tier behind it, in the order of its way."""
        links = {link.to for link in self.design.links}
        way: list[Port] = []
        near = self.home_place
        for host in self.design.host_tiers[:tier]:
            link = [self._port(near + 1, Access.READ if inward else Access.WRITE)] if host.name in links else []
            far = near + len(link) + 1
            hop = (far, near) if inward else (near, far)
            ends = [self._port(hop[0], Access.READ), *link, self._port(hop[1], Access.WRITE)]
            way = [*ends, *way] if inward else [*way, *ends]
            near = far
        return tuple(way)

    def _port(self, place: int, access: Access) -> Port:
        read, write = self._place_ports[place - self.first_shared]
        rates = _bandwidths(self.places[place])
        inward = access is Access.READ
        return Port(
            place=place, resource=read if inward else write, access=access, rate=rates[0 if inward else 1],
            latency=int(self.places[place].latency),
        )  # fmt: skip

    @property
    def buffer_tier(self) -> int:
        """Index of the core tier that holds tiles in flight: the farthest of the cores' tiers."""
        return self.first_shared - 1

    @property
    def buffer_limit(self) -> int:
        """Bytes of all cores' tiers that hold tiles in flight."""
        return min(int(self.tiers[self.buffer_tier].capacity) * self.cores, UNLIMITED)

    @property
    def sector(self) -> int:
        """Bytes that the nearest shared tier moves at once for a core that asks for fewer.

        One where a program manages it: there whole tiles are moved, and transposed in the core.
        """
        nearest = self.shared[0]
        return int(nearest.granularity) if nearest.management is Management.CACHE else 1

    def figures(
        self,
        matrix: Iterable[DType],
        vector: Iterable[DType],
        runs: Iterable[int] = (),
        free: Mapping[str, int] = MappingProxyType({}),
    ) -> Figures:
        """This machine in integers, for graphs with matrix products and element-wise work of these dtypes.

        `runs` are the lengths in bytes of what such a graph gathers and scatters; `free` are the bytes of planned
        scratchpads, by name, that hold no tensor and so can hold operand panels.

        Raises
        ------
        DesignError
            When no unit of this design has a rate for one of them.
        """
        compute, constants = self.design.compute, self.design.constants
        nearest, buffers = int(self.tiers[0].capacity), int(self.tiers[self.buffer_tier].capacity)
        units, addresses = len(self.resources), self._element_rate(INT32)
        numbers = {
            "cores": self.cores,
            "depth": int(compute.buffer_depth),
            "staging": buffers if self.first_shared > 1 else buffers // 2,
            "accumulators": nearest // 2,
            "scratchpad": nearest if self.first_shared == 1 else 0,
            "stream_buffer": max(1, nearest // STREAM_SHARE),
            "buffer_limit": self.buffer_limit,
            "load_rate": int(compute.load_bandwidth),
            "special_rate": int(compute.vector.special),
            "sector": self.sector,
            "threads": int(compute.threads or 0),
            "exchange": int(compute.exchange),
            "link": round(constants.link * TICKS_PER_SECOND / int(compute.clock)),
            "prologue": round(constants.prologue * TICKS_PER_SECOND / int(compute.clock)),
            "narrow_rate": max(1, min(UNLIMITED, round(constants.narrow_loads * int(compute.clock)))),
            "lookup_rate": max(1, min(UNLIMITED, addresses * FIXED_UNIT // fixed(constants.lookup) // self.cores)),
            "relaunch": int(compute.start_up) + int(self.design.host.start),
            "batched_side": int(compute.vector.batched_side or 0),
            "window_set_up": int(compute.window_set_up),
            "asynchronous": int(compute.matrix is not None and compute.matrix.asynchronous),
            "sustained": fixed(compute.matrix.efficiency if compute.matrix is not None else 1.0),
            "shared_blocking": int(compute.blocking is Blocking.SHARED),
            "matrix_unit": units - 2,
            "vector_unit": units - 1,
            "vector_unlimited": int(self.vector_unlimited),
        }
        levels: list[int] = []
        held = 0  # a cache that is smaller than a nearer one holds nothing that the nearer one does not
        for tier, ports in zip(self.shared, self.ports, strict=True):
            if tier.management is not POOL:
                held = max(held, free.get(tier.name, tier.found_again))
            levels += (held, *_bandwidths(tier), int(tier.latency), *ports)
        arrays = Arrays(compute.matrix.systolic if compute.matrix else None)
        patterns = [number for run in runs for number in self._pattern(run)]
        rates = self._dtype_table(matrix, (*vector, FP32, INT32), units)
        return Figures(numbers, levels, rates, arrays, patterns, constants)

    def _pattern(self, run: int) -> list[int]:
        """By shared tier: bytes of a run, bytes of its sectors, and how much longer a byte takes than in a stream."""
        access = row_access(run)
        numbers: list[int] = []
        for tier in self.shared:
            slow = SLOWNESS_UNIT if tier.dram is None else round(slowdown(tier, access) * SLOWNESS_UNIT)
            numbers += (run, sector_bytes(tier, run), slow)
        return numbers

    def _dtype_table(self, matrix: Iterable[DType], vector: Iterable[DType], units: int) -> list[int]:
        """Per dtype: unit, rate and native tile of matrix products, rate of element-wise work; zeros if not asked."""
        table = [0] * (DTYPE_FIELDS * len(DType))
        for dtype in matrix:
            rate = self.matrix_rate(dtype)
            first = DTYPE_FIELDS * dtype
            unit = units - 2 if rate.unit == MATRIX else units - 1
            table[first : first + 5] = (unit, rate.sustained, *rate.tile)
        for dtype in dict.fromkeys(vector):
            table[DTYPE_FIELDS * dtype + 5] = self._element_rate(dtype)
        return table

    def _element_rate(self, dtype: DType) -> int:
        """Sustained FLOP/s of element-wise work, all cores together."""
        return _derated(self.vector_peak(dtype), self.design.compute.vector.efficiency)

    def matrix_rate(self, dtype: DType) -> Rate:
        """The unit that does matrix products of `dtype`, and its rate.

        Raises
        ------
        DesignError
            When no unit of this design has a rate for it.
        """
        if dtype not in self._rates:
            self._rates[dtype] = self._matrix_rate(dtype)
        return self._rates[dtype]

    def _matrix_rate(self, dtype: DType) -> Rate:
        compute = self.design.compute
        if compute.matrix is not None:
            unit = compute.matrix
            target = dtype if dtype in unit.peak else unit.stand_in.get(dtype)
            if target is not None:
                if target is not dtype:
                    self.warn(f"{self.design.name} has no {_label(dtype)} matrix rate: {_label(target)} stands in")
                peak = int(unit.peak[target])
                return Rate(unit=MATRIX, sustained=_derated(peak, unit.efficiency), peak=peak, tile=unit.tile)
        for target in (dtype, FP32):
            if target in compute.vector.peak and BITS[dtype] <= BITS[target]:
                if target is not dtype:
                    self.warn(f"{self.design.name} has no {_label(dtype)} matrix rate: the vector unit runs it as fp32")
                peak = int(compute.vector.peak[target])
                sustained = _derated(peak, compute.vector.efficiency)
                return Rate(unit=VECTOR, sustained=sustained, peak=peak, tile=VECTOR_TILE)
        raise DesignError(
            f"has no rate for {_label(dtype)} matrix products", file=self.design.name, key="compute.matrix.peak",
            expected=f"a rate for {_label(dtype)}, or a stand_in",
        )  # fmt: skip

    @property
    def vector_unlimited(self) -> bool:
        """True when element-wise work costs no time."""
        vector = self.design.compute.vector
        return vector.special >= UNLIMITED and all(rate >= UNLIMITED for rate in vector.peak.values())

    def vector_peak(self, dtype: DType) -> int:
        """Datasheet FLOP/s of the vector unit for `dtype`; of cores that run threads, half of FP32's for integers.

        Of the lanes of such a core that compute FP32, half or all compute integers: CUDA C++ Programming Guide,
        throughput of native arithmetic instructions. A design says which.
        """
        peak = self.design.compute.vector.peak
        if dtype == INT32 and dtype not in peak and self.design.compute.threads:
            return int(peak[FP32]) // 2
        return int(peak.get(dtype, peak[FP32]))

    def warn(self, text: str) -> None:
        """Keep a warning once."""
        self.warnings[text] = None


def _label(dtype: DType) -> str:
    return dtype.name.lower()


def _derated(rate: int, efficiency: float) -> int:
    return rate if rate >= UNLIMITED else max(1, int(rate * efficiency))


def _bandwidths(place: Place) -> tuple[int, int]:
    """Achievable (read, write) bytes per second."""
    if not place.full_duplex:
        rate = _derated(int(place.bandwidth or UNLIMITED), place.efficiency)
        return rate, rate
    read, write = (
        _derated(int(rate or UNLIMITED), place.efficiency) for rate in (place.read_bandwidth, place.write_bandwidth)
    )
    return read, write


def _resources(places: tuple[Place, ...], first: int) -> tuple[tuple[Resource, ...], list[tuple[int, int]]]:
    """Ports of the places from `first` on, then units; and the (read, write) ports of each place."""
    resources: list[Resource] = []
    ports: list[tuple[int, int]] = []
    for index, place in enumerate(places[first:], first):
        port = len(resources)
        fair = place.arbitration is FAIR
        if place.full_duplex:
            resources.append(Resource(name=place.name + ".read", tier=index, fair=fair))
            resources.append(Resource(name=place.name + ".write", tier=index, fair=fair))
        else:
            resources.append(Resource(name=place.name, tier=index, fair=fair))
        ports.append((port, len(resources) - 1))
    return (*resources, *UNITS), ports
