# What other compiled modules use of machine.py.
from hiersim.engines.core.repeats cimport Repeats


cdef class Machine(Repeats):
    cdef long long until_done(self) except -1
    cdef long long advance(self) except -1
    cdef long long completions(self) except -1
    cdef long long find_next(self) noexcept
    cdef long long served(self, long long place) except -1
    cdef long long fly(self, long long slot, long long place, long long time) noexcept
    cdef long long land(self, long long slot) except -1
    cdef long long retire(self, long long slot, long long arrival) noexcept
    cdef long long enqueue(self, long long slot, long long place) noexcept
    cdef long long line_up(self, long long slot, long long place, long long active) noexcept
    cdef long long grants(self) except -1
    cdef long long choose(self, long long place) except -1
    cdef long long record(self, long long slot, long long stage) except -1
    cdef long long activate(self, long long kernel) except -1
    cdef long long enter_loop(self, long long active) noexcept
    cdef long long issue(self, long long active) except -1
    cdef long long next_tile(self, long long active) noexcept
    cdef long long finish(self, long long active) except -1
    cdef long long move_active(self, long long source, long long target) noexcept
    cdef long long makespan(self) except -1
