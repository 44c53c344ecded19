"""A `Design` as lowering sees it: integer rates, ports and buffers, with the choices that need a dtype made."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from hiersim.errors import DesignError
from hiersim.model.design import Design, Tier
from hiersim.model.operators import BITS, DType
from hiersim.model.program import Access, Resource
from hiersim.units import TICKS_PER_SECOND, UNLIMITED, ceil_div

MATRIX: Final = "matrix"
VECTOR: Final = "vector"
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


class Machine:
    """Resources and rates of one design."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.cores = int(design.compute.cores)
        self.depth = int(design.compute.buffer_depth)
        self.tiers = design.memory
        self.shared = design.shared_tiers
        self.first_shared = len(design.core_tiers)
        self.resources, self._port = _resources(design)
        names = [resource.name for resource in self.resources]
        self.unit: dict[str, int] = {name: names.index(name) for name in (MATRIX, VECTOR)}
        self.warnings: dict[str, None] = {}
        self.bandwidth = [self._bandwidths(tier) for tier in self.shared]

    @staticmethod
    def _bandwidths(tier: Tier) -> tuple[int, int]:
        """Achievable (read, write) bytes per second."""
        pair = (tier.read_bandwidth, tier.write_bandwidth) if tier.full_duplex else (tier.bandwidth, tier.bandwidth)
        return tuple(_derated(int(rate or UNLIMITED), tier.efficiency) for rate in pair)  # type: ignore[return-value]

    def port(self, level: int, access: Access) -> int:
        """Resource index of the port of shared tier `level` (0 = nearest)."""
        return self._port[level, access]

    @property
    def buffer_tier(self) -> int:
        """Index of the core tier that holds tiles in flight: the farthest of the cores' tiers."""
        return self.first_shared - 1

    @property
    def staging(self) -> int:
        """Bytes per core for tiles in flight."""
        tier = self.tiers[self.buffer_tier]
        return int(tier.capacity) if self.first_shared > 1 else int(tier.capacity) // 2

    @property
    def accumulators(self) -> int:
        """Bytes per core for partial sums: half of the nearest tier."""
        return int(self.tiers[0].capacity) // 2

    @property
    def stream_buffer(self) -> int:
        """Bytes per core that a streaming kernel has in flight."""
        return max(1, int(self.tiers[0].capacity) // STREAM_SHARE)

    def matrix_rate(self, dtype: DType) -> Rate:
        """The unit that does matrix products of `dtype`, and its rate.

        Raises
        ------
        DesignError
            When no unit of this design has a rate for it.
        """
        compute = self.design.compute
        if compute.matrix is not None:
            unit = compute.matrix
            target = dtype if dtype in unit.peak else unit.stand_in.get(dtype)
            if target is not None:
                if target is not dtype:
                    self.warn(f"{self.design.name} has no {_label(dtype)} matrix rate: {_label(target)} stands in")
                peak = int(unit.peak[target])
                return Rate(unit=MATRIX, sustained=_derated(peak, unit.efficiency), peak=peak, tile=unit.tile)
        for target in (dtype, DType.FP32):
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

    def vector_core_ticks(self, dtype: DType, flops: int, special: int) -> int:
        """Ticks of one core for element-wise work; special functions take an issue slot and their own pipe.

        Rounded up once, for one core, so that dividing it among cores rounds no more than once again.
        """
        vector = self.design.compute.vector
        peak = int(vector.peak.get(dtype, vector.peak[DType.FP32]))
        plain = _ticks((flops + special) * self.cores, _derated(peak, vector.efficiency))
        return max(plain, _ticks(special * self.cores, int(vector.special)))

    def vector_peak(self, dtype: DType) -> int:
        """Datasheet FLOP/s of the vector unit for `dtype`."""
        vector = self.design.compute.vector
        return int(vector.peak.get(dtype, vector.peak[DType.FP32]))

    def read_ticks(self, level: int, size: int, active: int, access: Access = Access.READ) -> int:
        """Ticks to move `size` bytes through the port of shared tier `level` with `active` cores asking."""
        ticks = _ticks(size, self.bandwidth[level][0 if access is Access.READ else 1])
        if level == 0 and self.design.compute.load_bandwidth < UNLIMITED:
            ticks = max(ticks, _ticks(size, int(self.design.compute.load_bandwidth) * active))
        return ticks

    def read_time(self, level: int, size: int, active: int) -> Fraction:
        """Seconds of `read_ticks`, not rounded."""
        rates = [self.bandwidth[level][0]]
        if level == 0:
            rates.append(int(self.design.compute.load_bandwidth) * active)
        return max(Fraction(size, rate) if rate < UNLIMITED else Fraction(0) for rate in rates)

    def warn(self, text: str) -> None:
        """Keep a warning once."""
        self.warnings[text] = None


def _label(dtype: DType) -> str:
    return dtype.name.lower()


def _derated(rate: int, efficiency: float) -> int:
    return rate if rate >= UNLIMITED else max(1, int(rate * efficiency))


def _ticks(amount: int, per_second: int) -> int:
    return 0 if per_second >= UNLIMITED or amount <= 0 else ceil_div(amount * TICKS_PER_SECOND, per_second)


def _resources(design: Design) -> tuple[tuple[Resource, ...], dict[tuple[int, Access], int]]:
    """Ports of the shared tiers, then units."""
    resources: list[Resource] = []
    port: dict[tuple[int, Access], int] = {}
    offset = len(design.core_tiers)
    for level, tier in enumerate(design.shared_tiers):
        for access, suffix in ((Access.READ, ".read"), (Access.WRITE, ".write")):
            if tier.full_duplex or access is Access.READ:
                resources.append(Resource(name=tier.name + (suffix if tier.full_duplex else ""), tier=offset + level))
            port[level, access] = len(resources) - 1
    resources.append(Resource(name=MATRIX, tier=-1))
    resources.append(Resource(name=VECTOR, tier=-1))
    return tuple(resources), port
