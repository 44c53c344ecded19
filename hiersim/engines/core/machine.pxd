# What other compiled modules use of machine.py.
from hiersim.engines.core.queues cimport Queues


cdef class Machine(Queues):
    cdef long long advance(self) except -1
    cdef long long completions(self) except -1
    cdef long long find_next(self) noexcept
    cdef long long served(self, long long place) except -1
    cdef long long land(self, long long slot) except -1
    cdef long long grants(self) except -1
    cdef long long record(self, long long slot, long long stage) except -1
    cdef long long activate(self, long long kernel) except -1
    cdef long long enter_loop(self, long long active) noexcept
    cdef long long issue(self, long long active) except -1
    cdef long long issue_one(self, long long active) except -1
    cdef long long take_slot(self, long long active, long long kind) except -1
    cdef long long next_tile(self, long long active) noexcept
    cdef long long finish(self, long long active) except -1
    cdef long long move_active(self, long long source, long long target) noexcept
    cdef long long makespan(self) except -1
