# What other compiled modules use of drift.py.
from hiersim.engines.core.boundaries cimport Boundaries, Boundary


cdef class Drift(Boundaries):
    # an attempt: at which tile the last boundary was, how far they are apart, when the next attempt may begin
    cdef long long drift_step, drift_period, drift_wait, drift_vain
    # events of the first period
    cdef long long half

    cdef long long forget_drift(self) noexcept
    cdef long long begin_drift(self, long long active, long long step, long long period) except -1
    cdef long long next_boundary(self, long long active, long long step, long long most) except -1
    cdef long long periods(self, long long most) except -1
    cdef long long is_now(self, long long place) except -1
    cdef bint in_step(self, long long one, long long two, long long three) noexcept
    cdef long long same_events(self, long long most) noexcept
    cdef long long lasting(self, long long gap, long long rate) noexcept
    cdef long long ordered(self, Boundary third, long long count, long long most) noexcept
    cdef long long apart(self, Boundary third, long long one, long long other) noexcept
    cdef long long not_above(self, Boundary third, long long one, long long floor) noexcept
    cdef long long grown(self, long long one, long long two, long long three, long long times) noexcept
    cdef long long leap(self, long long active, long long times) except -1
    cdef long long find_due(self) noexcept
