# What other compiled modules use of contraction.py.
from hiersim.lowering.stages cimport Figures
from hiersim.lowering.systolic cimport Arrays
from hiersim.lowering.work cimport KernelClasses, Work


cdef class Cutter:
    cdef Work work
    cdef Figures figures
    cdef KernelClasses classes
    cdef Arrays arrays
    cdef bint systolic
    cdef long long block_m, block_n, head
    # the product at hand, and the tile chosen for it
    cdef long long batch, m, n, k, element, dtype, operand_a, operand_b
    cdef readonly long long tile_m, tile_n, tile_k, split
    cdef long long read_a, read_b
    # candidates of a tile choice
    cdef long long candidates, rooms
    cdef long long[::1] sides
    cdef double[::1] seconds
    cdef long long[::1] chosen
    # the shape: what `tiling` makes of it
    cdef readonly long long unit, blocks, steps, inner, step_size, padded, flops_per_inner, core_rate, useful_ticks
    cdef readonly long long step_bytes, near_loads, extra_near, partial_bytes, inner_vector
    cdef long long demand
    cdef long long[::1] far_loads, extra_far
    cdef long long cut(self)
    cdef long long step_ticks(self, long long length, bint ends, bint last)
    cdef long long cycles(self, long long length, bint ends, bint last)
    cdef long long block_side(self, long long tile, long long extent, long long side)
    cdef long long take_product(self, long long type_)
    cdef long long measure_demand(self, long long dtype)
    cdef long long cut_product(self)
    cdef long long count_extras(self)
    cdef long long find_operands(self, bint convolution)
    cdef long long nearest_read(self, long long size, long long taken)
    cdef long long turn(self)
    cdef long long partials(self)
    cdef long long count_far_loads(self)
    cdef long long again(self, long long capacity)
    cdef long long again_from(self, long long level)
    cdef long long kv_in_use, kv_again
    cdef long long passes(self, long long capacity)
    cdef long long passes_a, passes_b
    cdef long long choose(self)
    cdef long long list_candidates(self)
    cdef long long add_candidate(self, long long m, long long n, long long k, long long split)
    cdef long long take_best(self)
    cdef bint is_better(self, long long one, long long other)
    cdef long long longest(self, long long native)
    cdef double near_elements(self, long long place)
    cdef long long list_even_candidates(self)
    cdef long long add_with_split(self, long long m, long long n, long long k)
    cdef long long add_least(self)
    cdef long long inner_step(self, long long room)
    cdef double estimate(self, long long m, long long n, long long k, long long split)
    cdef long long cut_attention(self)
    cdef long long side, key_block
    cdef long long attention_block(self, long long rows, long long keys, long long head)
    cdef long long attention_far(self, long long kv_total, long long row_blocks, long long pairs)


cdef long long ceil_div(long long a, long long b)
