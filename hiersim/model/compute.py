"""What a design computes with: cores, their matrix and vector units, and systolic arrays; in base units.

`design` holds the rest of a machine: memory, links, host, device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from hiersim.model.operators import DType
from hiersim.units import (
    UNLIMITED,
    BytesPerSecond,
    Count,
    FlopsPerSecond,
    Hertz,
    PicojoulesPerFlop,
    Share,
    Ticks,
)


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


class Blocking(Enum):
    """Which memories the blocks of a matrix product are shaped for."""

    CORES = "cores"
    """The cores': near-square waves of blocks, whose sums stay in the cores, as the kernels of GPU libraries do."""
    SHARED = "shared"
    """The nearest shared tier's as well: rectangles of blocks that fit it, whose sums may wait there while the inner
    dimension is done in panels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixUnit:
    """Tensor cores or systolic arrays, all cores together."""

    peak: Mapping[DType, FlopsPerSecond]
    """Dense peak per dtype."""
    tile: tuple[int, int, int]
    """Native tile (m, n, k): smaller problems are padded to it."""
    efficiency: Share = Share(1.0)
    """Share of the peak that a well-tuned inner loop sustains."""
    asynchronous: bool = False
    """Whether a core loads the next block's operands and stores the last block's results while the unit works."""
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
    batched_side: Count | None = None
    """Least side of a block in which the library of this device cuts batches of products; None: as single products."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """Cores and their units."""

    cores: Count
    clock: Hertz
    vector: VectorUnit
    matrix: MatrixUnit | None = None
    load_bandwidth: BytesPerSecond = BytesPerSecond(UNLIMITED)
    """What one core can load from the nearest shared tier."""
    buffer_depth: Count = Count(2)
    """Tiles in flight per core: 1 = none hidden, 2 = double buffering, …"""
    blocking: Blocking = Blocking.CORES
    """Of matrix products: what the kernels of this machine are written to do."""
    threads: Count | None = None
    """Threads that are resident on one core; None: rows of a reduction are not given to teams of threads."""
    start_up: Ticks = Ticks(0)
    """What a kernel takes on the device beside its work: its blocks are launched, its last writes are confirmed."""
    exchange: Ticks = Ticks(0)
    """From the sums that the threads of a block have to their total, which all of them know: barriers included."""
    window_set_up: Ticks = Ticks(0)
    """What a library's kernel that gathers the windows of a convolution, or attends, takes before its first block,
    beside `start_up`."""
    energy: PicojoulesPerFlop | None = None
