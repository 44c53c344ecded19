# What other compiled modules use of stages.py.
from hiersim.lowering.figures cimport Figures


cdef class Sheet:
    cdef Figures figures
    cdef readonly long long nests, loops, bodies, stages
    cdef long long rooms, stage_rooms, most_stages
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
    cdef long long clear(self) noexcept
    cdef long long begin(self)
    cdef long long open_loop(self, long long repeat) noexcept
    cdef long long close_loop(self) noexcept
    cdef long long add_work(self, long long unit, long long ticks, long long useful, long long tail) noexcept
    cdef long long add_set_up(self, long long unit, long long ticks) noexcept
    cdef long long add_waiting(self, long long ticks) noexcept
    cdef long long add_tile(self, long long count, long long active) except? -1
    cdef long long compute(self) except? -1
    cdef long long move(self, long long level, long long access, long long size, long long active) except? -1
    cdef long long slow_ticks(self, long long level, long long access, long long size) except? -1
    cdef long long stage(
        self, long long resource, long long access, long long ticks, long long latency, long long size
    ) except? -1
    cdef long long finish(self)
    cdef long long content_hash(self, long long nest) noexcept
    cdef bint equal(self, long long one, long long other) noexcept
    cdef bint same_tile(self, long long one, long long other) noexcept
