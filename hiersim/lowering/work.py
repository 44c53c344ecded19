"""What the kernels of one class ask of a machine: arithmetic by unit, bytes by tier, the operator that shapes tiles.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `work.pxd` declares what other compiled modules use.
"""

from __future__ import annotations

from collections.abc import Mapping

import cython
import numpy as np

from hiersim.lowering.columns import loaded
from hiersim.lowering.row_sums import FEW as FEWEST
from hiersim.lowering.row_sums import MANY as MOST
from hiersim.model.operators import DType, IntArray, Kind
from hiersim.units import TICKS_PER_SECOND
from hiersim.units import UNLIMITED as NO_LIMIT

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.exact import ceil_share, floor_share, total
    from cython.cimports.hiersim.lowering.figures import Figures
    from cython.cimports.libc.math import floor
else:
    from math import floor

    from hiersim.columns import column
    from hiersim.exact import ceil_share, floor_share, total
    from hiersim.lowering.figures import Figures

UNLIMITED = cython.declare(cython.longlong, NO_LIMIT)
SECOND = cython.declare(cython.longlong, TICKS_PER_SECOND)
FEW = cython.declare(cython.longlong, FEWEST)
MANY = cython.declare(cython.longlong, MOST)
GEMM = cython.declare(cython.longlong, int(Kind.GEMM))
CONV = cython.declare(cython.longlong, int(Kind.CONV))
FP32 = cython.declare(cython.longlong, int(DType.FP32))
INT32 = cython.declare(cython.longlong, int(DType.INT32))
ATTENTION = cython.declare(cython.longlong, int(Kind.ATTENTION))
FLASH = cython.declare(cython.longlong, int(Kind.FLASH))


@cython.cclass
class KernelClasses:
    """The distinct kernels of a graph, in flat columns; no design enters it. C classes, S shapes, T operator types.

    Kernels of one *shape* have equal operators and equal accesses; those of one *class* also reuse equally: `columns`
    has the fields of `work.pxd` by name. `class_read_ptr`, `chunk_ptr` (C + 1,), `piece_ptr`, `interval_ptr`,
    `shape_read_ptr` and `shape_type_ptr` are CSR; `type_dims` is (T, 7).

    Three columns may be there besides, for L far tiers: `far_read` (reads of all classes, L) and `far_write` (C, L) are
    the bytes that a far tier supplies and takes, -1 where LRU decides; `far_again` (reads of all classes, L) those of
    a further pass over the read, in which case the tiers hold different tensors and lie *beside* each other.
    """

    def __init__(self, columns: Mapping[str, IntArray]) -> None:
        self.arrays = columns
        self.class_shape, self.class_count = loaded(columns["class_shape"]), loaded(columns["class_count"])
        self.class_read_ptr, self.piece_ptr = loaded(columns["class_read_ptr"]), loaded(columns["piece_ptr"])
        self.piece_low, self.piece_high = loaded(columns["piece_low"]), loaded(columns["piece_high"])
        self.piece_bytes = loaded(columns["piece_bytes"])
        self.chunk_ptr, self.chunk_bytes = loaded(columns["chunk_ptr"]), loaded(columns["chunk_bytes"])
        self.chunk_flush, self.interval_ptr = loaded(columns["chunk_flush"]), loaded(columns["interval_ptr"])
        self.interval_low, self.interval_high = loaded(columns["interval_low"]), loaded(columns["interval_high"])
        self.shape_read_ptr, self.read_size = loaded(columns["shape_read_ptr"]), loaded(columns["read_size"])
        self.shape_write, self.shape_run = loaded(columns["shape_write"]), loaded(columns["shape_run"])
        self.read_bits = loaded(columns["read_bits"])
        self.read_pattern = loaded(columns["read_pattern"])
        self.shape_scattered = loaded(columns["shape_scattered"])
        self.scattered_pattern, self.shape_ordered = (
            loaded(columns["scattered_pattern"]),
            loaded(columns["shape_ordered"]),
        )
        self.shape_addressed, self.shape_shared = loaded(columns["shape_addressed"]), loaded(columns["shape_shared"])
        self.shape_evaluated = loaded(columns["shape_evaluated"])
        self.shape_accesses, self.shape_handled = loaded(columns["shape_accesses"]), loaded(columns["shape_handled"])
        self.shape_rows, self.shape_threads = loaded(columns["shape_rows"]), loaded(columns["shape_threads"])
        self.shape_near_waits = loaded(columns["shape_near_waits"])
        self.shape_steps, self.shape_step_bytes = loaded(columns["shape_steps"]), loaded(columns["shape_step_bytes"])
        self.shape_exchanges, self.shape_passes = loaded(columns["shape_exchanges"]), loaded(columns["shape_passes"])
        self.shape_links, self.shape_joined = loaded(columns["shape_links"]), loaded(columns["shape_joined"])
        self.shape_numbers = loaded(columns["shape_numbers"])
        self.shape_type_ptr, self.shape_type = loaded(columns["shape_type_ptr"]), loaded(columns["shape_type"])
        self.type_kind, self.type_dtype = loaded(columns["type_kind"]), loaded(columns["type_dtype"])
        self.type_element, self.type_matrix = loaded(columns["type_element"]), loaded(columns["type_matrix"])
        self.type_masked, self.type_vector = loaded(columns["type_masked"]), loaded(columns["type_vector"])
        self.type_special, self.type_dims = loaded(columns["type_special"]), loaded(columns["type_dims"])
        self.type_padded = loaded(columns["type_padded"])
        self.type_images, self.type_paged = loaded(columns["type_images"]), loaded(columns["type_paged"])
        self.explicit, self.beside = "far_read" in columns, "far_again" in columns
        self.far_read, self.far_write = loaded(columns.get("far_read", ())), loaded(columns.get("far_write", ()))
        self.far_again = loaded(columns.get("far_again", ()))
        self.classes, self.shapes = len(columns["class_shape"]), len(columns["shape_write"])
        self.types = len(columns["type_kind"])
        self.most_reads = int(np.diff(columns["shape_read_ptr"]).max(initial=0))


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def held(low: cython.double, high: cython.double, capacity: cython.double) -> cython.double:
    """Share of a block whose reuse distance runs from `low` to `high` that an LRU cache still holds."""
    if high > low:
        return min(max((capacity - low) / (high - low), 0.0), 1.0)
    return 1.0 if low <= capacity else 0.0


@cython.cclass
class Work:
    """One class at a time on one machine, ready for a tile rule; `look` chooses it, or `turn` and then `weigh`.

    `read_total` bytes are read; `near_read` move at the nearest shared tier, whole sectors where the kernel reads with
    a stride. `levels` counts the shared tiers beyond the nearest. `read_far` (reads, levels) are the bytes that each of
    them must supply (what nearer caches miss), `write_far` (levels,) those written back to it; both come from the LRU
    distances of the class unless the class says them explicitly. `vector_core_ticks` are the
    ticks of one core for everything that is not a contraction's matrix arithmetic; `anchor` is the operator type of
    the contraction that shapes the tiles, -1 where there is none. `overhead_ticks` are those of one core for
    addresses and for what special functions take beside their own unit, where cores run threads. `rows` are teams of
    threads: the rows of a reduction, each in `pieces`.
    """

    def __init__(self, classes: KernelClasses, figures: Figures) -> None:
        self.classes = classes
        self.figures = figures
        self.levels = figures.levels - 1
        assert not classes.explicit or len(classes.far_write) == classes.classes * self.levels
        self.read_far = column(classes.most_reads * self.levels)
        self.write_far = column(self.levels)
        self.type_vector_ticks, self.type_matrix_ticks = column(classes.types), column(classes.types)
        self.prepare()

    @cython.cfunc
    def prepare(self) -> cython.longlong:
        """Ticks of every operator type: of one core on the vector unit, of all cores on the matrix unit."""
        classes: KernelClasses = self.classes
        kind: cython.longlong
        for kind in range(classes.types):
            dtype: cython.longlong = classes.type_dtype[kind]
            flops: cython.longlong = classes.type_vector[kind]
            special: cython.longlong = classes.type_special[kind]
            if flops or special:
                self.type_vector_ticks[kind] = self.figures.vector_core_ticks(dtype, flops, special)
            if self.is_contraction(kind):
                rate: cython.longlong = self.figures.matrix_rate(dtype)
                if rate < UNLIMITED:
                    self.type_matrix_ticks[kind] = floor_share(classes.type_matrix[kind], SECOND, rate)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_contraction(self, kind_of: cython.longlong) -> cython.bint:
        """Whether operators of that type have matrix arithmetic that shapes tiles."""
        kind: cython.longlong = self.classes.type_kind[kind_of]
        return kind in (GEMM, CONV, ATTENTION, FLASH) and self.classes.type_matrix[kind_of] > 0

    @cython.cfunc
    def look(self, index: cython.longlong) -> cython.longlong:
        """Turn to class `index` and weigh its shape; its misses are not counted yet."""
        self.turn(index)
        return self.weigh()

    @cython.cfunc
    def turn(self, index: cython.longlong) -> cython.longlong:
        """Turn to class `index`, of whose shape only the reads are known yet."""
        classes: KernelClasses = self.classes
        self.shape = classes.class_shape[index]
        self.first_read = classes.shape_read_ptr[self.shape]
        self.first_far = classes.class_read_ptr[index] * self.levels
        self.reads = classes.shape_read_ptr[self.shape + 1] - self.first_read
        return 0

    @cython.cfunc
    def weigh(self) -> cython.longlong:
        """What the shape at hand asks for, whatever caches hold.

        The contraction that takes longest shapes the tiles; of equals the first with the most arithmetic.
        """
        classes: KernelClasses = self.classes
        shape: cython.longlong = self.shape
        self.anchor = -1
        self.write_size = classes.shape_write[shape]
        self.ordered = classes.shape_ordered[shape]
        self.scattered, self.scattered_pattern = classes.shape_scattered[shape], classes.scattered_pattern[shape]
        self.vector_core_ticks = self.read_total = 0
        place: cython.longlong
        for place in range(self.reads):
            self.read_total = total(self.read_total, classes.read_size[self.first_read + place])
        self.rows = self.passes = self.overhead_ticks = 0
        self.pieces = 1
        if self.figures.threads > 0:
            operations: cython.longlong = self.figures.address_operations(
                classes.shape_addressed[shape], classes.shape_shared[shape]
            )
            flops: cython.longlong = total(
                self.figures.function_flops(classes.shape_evaluated[shape]),
                self.figures.access_flops(classes.shape_accesses[shape], classes.shape_handled[shape]),
            )
            self.overhead_ticks = total(
                self.figures.vector_core_ticks(INT32, operations, 0), self.figures.vector_core_ticks(FP32, flops, 0)
            )
        if self.figures.threads > 0 and classes.shape_rows[shape] > 0:
            self.rows, self.passes = classes.shape_rows[shape], classes.shape_passes[shape]
            self.pieces = self.split(shape)
            self.rows *= self.pieces
        self.near_read = self.read_total
        run: cython.longlong = classes.shape_run[shape]
        if run > 0:
            self.near_read = ceil_share(self.read_total, self.figures.sectors(run), run)
        for place in range(classes.shape_type_ptr[shape], classes.shape_type_ptr[shape + 1]):
            kind: cython.longlong = classes.shape_type[place]
            self.vector_core_ticks = total(self.vector_core_ticks, self.type_vector_ticks[kind])
            if self.is_contraction(kind) and (self.anchor < 0 or self.outweighs(kind, self.anchor)):
                self.anchor = kind
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def split(self, shape: cython.longlong) -> cython.longlong:
        """Blocks that the numbers of a result are split over: as many as are resident, for a thread 16 to 256 each."""
        numbers: cython.longlong = self.classes.shape_numbers[shape]
        rows: cython.longlong = self.classes.shape_rows[shape]
        resident: cython.longlong = self.figures.cores * (self.figures.threads // self.classes.shape_threads[shape])
        if numbers == 0 or rows > resident:
            return 1
        return max(min((resident - 1) // rows + 1, (numbers - 1) // FEW + 1), (numbers - 1) // MANY + 1)

    @cython.cfunc
    @cython.exceptval(check=False)
    def outweighs(self, kind: cython.longlong, other: cython.longlong) -> cython.bint:
        """Whether a contraction takes longer than another; of equals, has more arithmetic."""
        if self.type_matrix_ticks[kind] != self.type_matrix_ticks[other]:
            return self.type_matrix_ticks[kind] > self.type_matrix_ticks[other]
        return self.classes.type_matrix[kind] > self.classes.type_matrix[other]

    @cython.cfunc
    @cython.exceptval(-1)
    def missing(self, index: cython.longlong, level: cython.longlong) -> cython.longlong:
        """Count what the cache at `level` misses of each read of class `index`, and what it writes back.

        Bytes that the class says explicitly go before what follows from LRU.
        """
        classes: KernelClasses = self.classes
        capacity: cython.double = float(self.figures.capacity(level))
        first: cython.longlong = classes.class_read_ptr[index]
        sizes: cython.longlong = classes.shape_read_ptr[classes.class_shape[index]]
        place: cython.longlong
        piece: cython.longlong
        for place in range(classes.class_read_ptr[index + 1] - first):
            hits: cython.longlong = 0
            for piece in range(classes.piece_ptr[first + place], classes.piece_ptr[first + place + 1]):
                low: cython.double = float(classes.piece_low[piece])
                share: cython.double = held(low, float(classes.piece_high[piece]), capacity)
                hits += cython.cast(cython.longlong, floor(share * float(classes.piece_bytes[piece])))
            self.read_far[place * self.levels + level] = classes.read_size[sizes + place] - hits
            if classes.explicit and classes.far_read[(first + place) * self.levels + level] >= 0:
                self.read_far[place * self.levels + level] = classes.far_read[(first + place) * self.levels + level]
        if classes.explicit and classes.far_write[index * self.levels + level] >= 0:
            self.write_far[level] = classes.far_write[index * self.levels + level]
        else:
            self.write_far[level] = self.write_back(index, self.figures.capacity(level))
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def write_back(self, index: cython.longlong, capacity: cython.longlong) -> cython.longlong:
        """Bytes that leave a cache of `capacity` for the next tier, of what a kernel of class `index` wrote."""
        classes: KernelClasses = self.classes
        chunk: cython.longlong
        place: cython.longlong
        leaving: cython.double = 0.0
        for chunk in range(classes.chunk_ptr[index], classes.chunk_ptr[index + 1]):
            lost: cython.double = 1.0
            if not classes.chunk_flush[chunk]:
                survives: cython.double = 1.0
                for place in range(classes.interval_ptr[chunk], classes.interval_ptr[chunk + 1]):
                    low: cython.double = float(classes.interval_low[place])
                    survives *= held(low, float(classes.interval_high[place]), float(capacity))
                lost = 1.0 - survives
            leaving += lost * float(classes.chunk_bytes[chunk])
        return cython.cast(cython.longlong, floor(leaving + 1e-6))

    @cython.cfunc
    @cython.exceptval(check=False)
    def read_size(self, index: cython.longlong) -> cython.longlong:
        """Bytes of a read; none where there is no such read."""
        return self.classes.read_size[self.first_read + index] if index >= 0 else 0

    @cython.cfunc
    def stored(self, index: cython.longlong, elements: cython.longlong, element: cython.longlong) -> cython.longlong:
        """Bytes of elements of a read that are `element` bytes wide in arithmetic: fewer where stored in fewer bits."""
        bits: cython.longlong = 8 * element
        if index >= 0:
            bits = min(bits, self.classes.read_bits[self.first_read + index])
        return ceil_share(elements, bits, 8)

    @cython.cfunc
    @cython.exceptval(check=False)
    def read_pattern(self, index: cython.longlong) -> cython.longlong:
        """Pattern of a read: 0 in order, else the number of a run length."""
        return self.classes.read_pattern[self.first_read + index]

    @cython.cfunc
    @cython.exceptval(check=False)
    def far(self, index: cython.longlong, level: cython.longlong) -> cython.longlong:
        """Bytes of a read that far tier `level` must supply."""
        return self.read_far[index * self.levels + level]

    @cython.cfunc
    @cython.exceptval(check=False)
    def again(self, index: cython.longlong, level: cython.longlong) -> cython.longlong:
        """Bytes of a read that far tier `level` supplies for each pass over it after the first."""
        if index >= 0 and self.classes.beside:
            return self.classes.far_again[self.first_far + index * self.levels + level]
        return self.read_size(index)

    @cython.cfunc
    def again_of(self, size: cython.longlong, level: cython.longlong) -> cython.longlong:
        """Of `size` bytes that are spread over all reads: those that far tier `level` supplies for a further pass.

        Rounded so that all tiers together supply `size`.
        """
        if not self.classes.beside:
            return size
        if self.read_total == 0:
            return 0
        before: cython.longlong = 0
        share: cython.longlong = 0
        place: cython.longlong
        index: cython.longlong
        for index in range(self.reads):
            for place in range(level):
                before = total(before, self.again(index, place))
            share = total(share, self.again(index, level))
        before = min(before, self.read_total)
        share = min(total(before, share), self.read_total)
        return floor_share(size, share, self.read_total) - floor_share(size, before, self.read_total)
