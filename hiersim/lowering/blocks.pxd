# What other compiled modules use of blocks.py.
from hiersim.lowering.figures cimport Figures
from hiersim.lowering.systolic cimport Arrays
from hiersim.lowering.work cimport KernelClasses, Work


cdef class Blocks:
    cdef Work work
    cdef Figures figures
    cdef KernelClasses classes
    cdef Arrays arrays
    cdef bint systolic, asynchronous, exposed, in_turn, paged
    cdef long long longest_inner
    cdef long long fill, width, access_rate
    cdef long long block_m, block_n, head
    # the product at hand, its tile, and its operands among the reads
    cdef long long batch, m, n, k, element, dtype, operand_a, operand_b
    cdef readonly long long tile_m, tile_n, tile_k, split
    cdef long long read_a, read_b, passes_a, passes_b
    # 1 or 2: a panel of the first or second operand stays in the cores; how often each is read from the nearest tier
    cdef readonly long long kept, kept_bytes
    cdef long long near_a, near_b
    # parts of the inner dimension that run one after the other, and the rectangle of blocks that fits a shared tier
    cdef readonly long long panels
    cdef long long held_rows, held_columns, held_room
    # attention: keys and values in use at a time, and those that are read again when they do not fit
    cdef long long kv_in_use, kv_again
    # the shape: what `tiling` makes of it
    cdef readonly long long unit, blocks, steps, inner, step_size, padded, flops_per_inner, core_rate, useful_ticks
    cdef readonly long long step_bytes, near_loads, extra_near, partial_bytes, inner_vector
    cdef readonly long long padded_vector, stages, second
    cdef long long[::1] far_loads, extra_far

    cdef long long step_ticks(self, long long length, bint ends, bint last)
    cdef long long cycles(self, long long length, bint ends, bint last)
    cdef long long narrow_accesses(self, long long m, long long n) noexcept
    cdef long long residents(self, long long m, long long n) noexcept
    cdef long long block_side(self, long long tile, long long extent, long long side) noexcept
    cdef long long count_far_loads(self)
    cdef long long again_from(self, long long level)
    cdef long long again(self, long long capacity)
    cdef long long passes(self, long long capacity)
