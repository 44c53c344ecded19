# What other compiled modules use of queues.py.
from hiersim.engines.core.repeats cimport Repeats


cdef class Queues(Repeats):
    cdef long long insert(self, long long slot, long long place) noexcept
    cdef long long enqueue(self, long long slot, long long place) noexcept
    cdef long long line_up(self, long long slot, long long place, long long active) noexcept
    cdef long long choose(self, long long place) except -1
    cdef long long fly(self, long long slot, long long place, long long time) noexcept
    cdef long long end_flight(self, long long place) noexcept
    cdef long long retire(self, long long slot, long long arrival) noexcept
