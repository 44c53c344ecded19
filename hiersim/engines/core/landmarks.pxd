# What other compiled modules use of landmarks.py.
from hiersim.engines.core.ahead cimport Ahead
from hiersim.engines.core.columns cimport Sequences


cdef class Landmarks(Ahead):
    cdef Sequences states
    cdef bint is_idle(self) noexcept
    cdef long long state(self, long long kernel) except? -1
    cdef long long read_words(self, long long known) except -1
    cdef long long restore(self, long long kernel, long long known) except -1
    cdef long long take(self) noexcept
    cdef long long take_tile(self, long long kernel) except -1
    cdef long long restore_resource(self, long long place, long long kernel) except -1
