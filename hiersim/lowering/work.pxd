# What other compiled modules use of work.py.
from hiersim.lowering.figures cimport Figures


cdef double held(double low, double high, double capacity)


cdef class KernelClasses:
    cdef readonly long long classes, shapes, types, most_reads
    cdef readonly bint explicit, beside
    cdef readonly object arrays
    cdef long long[::1] class_shape, class_count
    cdef long long[::1] class_read_ptr, piece_ptr, piece_low, piece_high, piece_bytes
    cdef long long[::1] chunk_ptr, chunk_bytes, chunk_flush, interval_ptr, interval_low, interval_high
    cdef long long[::1] shape_read_ptr, read_size, read_bits, shape_write, shape_type_ptr, shape_type
    cdef long long[::1] read_pattern, shape_scattered, scattered_pattern, shape_ordered
    cdef long long[::1] type_kind, type_dtype, type_element, type_matrix, type_masked, type_vector, type_special, type_padded
    cdef long long[::1] type_images, type_paged
    cdef long long[::1] type_dims, shape_run, shape_addressed, shape_shared
    cdef long long[::1] shape_evaluated, shape_accesses, shape_handled
    cdef long long[::1] shape_rows, shape_threads, shape_near_waits, shape_steps, shape_step_bytes
    cdef long long[::1] shape_exchanges, shape_passes, shape_links, shape_numbers, shape_joined
    cdef long long[::1] far_read, far_write, far_again


cdef class Work:
    cdef KernelClasses classes
    cdef Figures figures
    cdef readonly long long levels, shape, anchor, reads, write_size, read_total, vector_core_ticks
    cdef readonly long long near_read
    cdef readonly long long scattered, scattered_pattern, ordered
    cdef readonly long long rows, passes, pieces, overhead_ticks
    cdef long long first_read, first_far
    cdef long long[::1] read_far, write_far
    cdef long long[::1] type_vector_ticks, type_matrix_ticks
    cdef long long split(self, long long shape) noexcept
    cdef long long look(self, long long index)
    cdef long long turn(self, long long index)
    cdef long long weigh(self)
    cdef long long missing(self, long long index, long long level) except? -1
    cdef long long write_back(self, long long index, long long capacity) except? -1
    cdef long long prepare(self)
    cdef long long read_size(self, long long index) noexcept
    cdef long long stored(self, long long index, long long elements, long long element)
    cdef long long read_pattern(self, long long index) noexcept
    cdef long long far(self, long long index, long long level) noexcept
    cdef long long again(self, long long index, long long level) noexcept
    cdef long long again_of(self, long long size, long long level)
    cdef bint outweighs(self, long long kind, long long other) noexcept
    cdef bint is_contraction(self, long long kind_of) noexcept
