"""A `Design` as lowering sees it: integer rates, ports and buffers, with the choices that need a dtype made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hiersim.errors import DesignError
from hiersim.lowering.stages import DTYPE_FIELDS, Figures
from hiersim.model.design import Design, Tier
from hiersim.model.operators import BITS, DType
from hiersim.model.program import Resource
from hiersim.units import UNLIMITED

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
        self.tiers = design.memory
        self.shared = design.shared_tiers
        self.first_shared = len(self.tiers) - len(self.shared)
        self.resources, self.ports = _resources(design, self.first_shared)
        self.warnings: dict[str, None] = {}
        self._rates: dict[DType, Rate] = {}

    @property
    def buffer_tier(self) -> int:
        """Index of the core tier that holds tiles in flight: the farthest of the cores' tiers."""
        return self.first_shared - 1

    @property
    def buffer_limit(self) -> int:
        """Bytes of all cores' tiers that hold tiles in flight."""
        return min(int(self.tiers[self.buffer_tier].capacity) * self.cores, UNLIMITED)

    def figures(self, matrix: Iterable[DType], vector: Iterable[DType]) -> Figures:
        """This machine in integers, for graphs with matrix products and element-wise work of these dtypes.

        Raises
        ------
        DesignError
            When no unit of this design has a rate for one of them.
        """
        compute = self.design.compute
        nearest, buffers = int(self.tiers[0].capacity), int(self.tiers[self.buffer_tier].capacity)
        units = len(self.resources)
        numbers = {
            "cores": self.cores,
            "depth": int(compute.buffer_depth),
            "staging": buffers if self.first_shared > 1 else buffers // 2,
            "accumulators": nearest // 2,
            "stream_buffer": max(1, nearest // STREAM_SHARE),
            "buffer_limit": self.buffer_limit,
            "load_rate": int(compute.load_bandwidth),
            "special_rate": int(compute.vector.special),
            "matrix_unit": units - 2,
            "vector_unit": units - 1,
            "vector_unlimited": int(self.vector_unlimited),
        }
        levels: list[int] = []
        held = 0  # a cache that is smaller than a nearer one holds nothing that the nearer one does not
        for tier, ports in zip(self.shared, self.ports, strict=True):
            held = max(held, int(tier.capacity))
            levels += (held, *_bandwidths(tier), int(tier.latency), *ports)
        return Figures(numbers, levels, self._dtype_table(matrix, vector, units))

    def _dtype_table(self, matrix: Iterable[DType], vector: Iterable[DType], units: int) -> list[int]:
        """Per dtype: unit, rate and native tile of matrix products, rate of element-wise work; zeros if not asked."""
        table = [0] * (DTYPE_FIELDS * len(DType))
        for dtype in matrix:
            rate = self.matrix_rate(dtype)
            first = DTYPE_FIELDS * dtype
            unit = units - 2 if rate.unit == MATRIX else units - 1
            table[first : first + 5] = (unit, rate.sustained, *rate.tile)
        for dtype in vector:
            efficiency = self.design.compute.vector.efficiency
            table[DTYPE_FIELDS * dtype + 5] = _derated(self.vector_peak(dtype), efficiency)
        return table

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

    def vector_peak(self, dtype: DType) -> int:
        """Datasheet FLOP/s of the vector unit for `dtype`."""
        vector = self.design.compute.vector
        return int(vector.peak.get(dtype, vector.peak[DType.FP32]))

    def warn(self, text: str) -> None:
        """Keep a warning once."""
        self.warnings[text] = None


def _label(dtype: DType) -> str:
    return dtype.name.lower()


def _derated(rate: int, efficiency: float) -> int:
    return rate if rate >= UNLIMITED else max(1, int(rate * efficiency))


def _bandwidths(tier: Tier) -> tuple[int, int]:
    """Achievable (read, write) bytes per second."""
    read, write = (tier.read_bandwidth, tier.write_bandwidth) if tier.full_duplex else (tier.bandwidth, tier.bandwidth)
    return _derated(int(read or UNLIMITED), tier.efficiency), _derated(int(write or UNLIMITED), tier.efficiency)


def _resources(design: Design, first_shared: int) -> tuple[tuple[Resource, ...], list[tuple[int, int]]]:
    """Ports of the shared tiers, then units; and the (read, write) ports of each shared tier."""
    resources: list[Resource] = []
    ports: list[tuple[int, int]] = []
    for index, tier in enumerate(design.memory[first_shared:], first_shared):
        place = len(resources)
        if tier.full_duplex:
            resources.append(Resource(name=tier.name + ".read", tier=index))
            resources.append(Resource(name=tier.name + ".write", tier=index))
        else:
            resources.append(Resource(name=tier.name, tier=index))
        ports.append((place, len(resources) - 1))
    resources.append(Resource(name=MATRIX, tier=-1))
    resources.append(Resource(name=VECTOR, tier=-1))
    return tuple(resources), ports
