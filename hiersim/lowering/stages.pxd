# What other compiled modules use of stages.py.
from hiersim.lowering.systolic cimport Arrays


cdef class Figures:
    cdef readonly long long cores, depth, staging, accumulators, scratchpad, stream_buffer, buffer_limit
    cdef readonly long long threads, exchange
    cdef readonly long long load_rate, special_rate, sector, matrix_unit, vector_unit, vector_unlimited, levels, patterns
    cdef readonly long long asynchronous, narrow_rate, lookup_rate, relaunch, window_set_up
    cdef readonly Arrays arrays
    cdef long long[::1] level_table
    cdef long long[::1] dtype_table
    cdef long long[::1] pattern_table
    cdef long long capacity(self, long long level)
    cdef long long read_rate(self, long long level)
    cdef long long latency(self, long long level)
    cdef bint one_port(self, long long level)
    cdef long long matrix_rate(self, long long dtype)
    cdef long long native(self, long long dtype, long long side)
    cdef long long sectors(self, long long run)
    cdef long long unit(self, long long dtype)
    cdef long long move_ticks(self, long long level, long long access, long long size, long long active)
    cdef long long fill_ticks(self)
    cdef double write_time(self, long long level, double size, double active)
    cdef long long fetched(self, long long pattern, long long level, long long size)
    cdef long long slowed(self, long long pattern, long long level, long long size)
    cdef long long vector_core_ticks(self, long long dtype, long long flops, long long special)
    cdef double read_time(self, long long level, double size, double active)


cdef class Sheet:
    cdef Figures figures
    cdef readonly long long nests, loops, bodies, stages
    cdef long long rooms
    cdef public object arrays
    cdef long long[::1] loop_ptr, loop_repeat, body_ptr, body_count, stage_ptr, release, cells
    cdef long long[::1] nest_hash, nest_depth, slots
    cdef long long[::1] reads, writes, free, slow_reads, slow_writes
    cdef bint slow
    cdef long long pace, depth
    cdef long long works
    cdef long long[::1] work_cells
    cdef readonly long long ticks, moved
    cdef long long times
    cdef long long clear(self)
    cdef long long begin(self)
    cdef long long open_loop(self, long long repeat)
    cdef long long close_loop(self)
    cdef long long add_work(self, long long unit, long long ticks, long long useful, long long tail)
    cdef long long add_tile(self, long long count, long long active)
    cdef long long compute(self)
    cdef long long move(self, long long level, long long access, long long size, long long active)
    cdef long long slow_ticks(self, long long level, long long access, long long size)
    cdef long long stage(self, long long resource, long long access, long long ticks, long long latency, long long size)
    cdef long long finish(self)
    cdef long long content_hash(self, long long nest)
    cdef bint equal(self, long long one, long long other)
    cdef bint same_tile(self, long long one, long long other)
