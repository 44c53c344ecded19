# What other compiled modules use of sliding_group.py.
cdef class Group:
    cdef public object axis
    cdef public long long members, values, units
    cdef long long[::1] value, held, leaves, taps, stride, padding, source_ptr, source
    cdef double[::1] work
    cdef long long[::1] row_bytes, length, width, ratio
    cdef long long[::1] step, first, second, size, last, seen

    cdef int begin(self, object axis, long long members, long long sources) except -1
    cdef long long new_value(self, long long row_bytes, long long length, long long width) noexcept
    cdef bint connect(self) except -1
    cdef bint _equal(self) noexcept
    cdef void take_steps(self, long long windows, long long[::1] of) noexcept
    cdef void need(self, long long windows, long long[::1] of, long long[::1] found) noexcept
    cdef void keep(self, long long windows) noexcept
    cdef long long alive(self) noexcept
    cdef void compute(self, long long windows, long long[::1] of, long long[::1] found) noexcept
