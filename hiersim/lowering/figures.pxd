# What other compiled modules use of figures.py.
from hiersim.lowering.systolic cimport Arrays


cdef class Figures:
    cdef readonly long long cores, depth, staging, accumulators, scratchpad, stream_buffer, buffer_limit
    cdef readonly long long threads, exchange, link, prologue
    cdef readonly long long load_rate, special_rate, sector, matrix_unit, vector_unit, vector_unlimited, levels, patterns
    cdef readonly long long asynchronous, shared_blocking, narrow_rate, lookup_rate, relaunch, window_set_up, batched_side
    cdef readonly long long sustained, table_waits
    cdef readonly double dependent_load, wait_bytes
    cdef readonly long long address, lookup, special_function, access, handling
    cdef readonly Arrays arrays
    cdef long long[::1] level_table
    cdef long long[::1] dtype_table
    cdef long long[::1] pattern_table
    cdef long long capacity(self, long long level) noexcept
    cdef long long read_rate(self, long long level) noexcept
    cdef long long latency(self, long long level) noexcept
    cdef bint one_port(self, long long level) noexcept
    cdef long long matrix_rate(self, long long dtype) noexcept
    cdef long long native(self, long long dtype, long long side) noexcept
    cdef long long sectors(self, long long run) noexcept
    cdef long long unit(self, long long dtype) noexcept
    cdef long long move_ticks(self, long long level, long long access, long long size, long long active) except? -1
    cdef long long port_ticks(self, long long level, long long access, long long size) except? -1
    cdef long long load_ticks(self, long long size, long long active) except? -1
    cdef long long fill_ticks(self)
    cdef double write_time(self, long long level, double size, double active) noexcept
    cdef long long fetched(self, long long pattern, long long level, long long size) except? -1
    cdef long long slowed(self, long long pattern, long long level, long long size) except? -1
    cdef long long address_operations(self, long long elements, long long shared) except? -1
    cdef long long function_flops(self, long long evaluations) except? -1
    cdef long long access_flops(self, long long accesses, long long handled) except? -1
    cdef long long tap_rate(self, long long window)
    cdef long long vector_core_ticks(self, long long dtype, long long flops, long long special) except? -1
    cdef double read_time(self, long long level, double size, double active) noexcept
