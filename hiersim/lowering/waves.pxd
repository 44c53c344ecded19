# What other compiled modules use of waves.py.
from hiersim.lowering.layouts cimport Layouts


cdef class Waves(Layouts):
    cdef long long[::1] extra, left

    cdef long long contraction(self)
    cdef long long hand_out(self)
    cdef long long take(self, long long place, long long share, long long whole, long long times)
    cdef long long wave(self, long long active, long long waves, bint last)
    cdef long long part(self, long long active, long long length, long long whole, long long waves)
    cdef long long rest(self)
    cdef long long step_work(self, long long active, long long length, long long whole, bint ends, bint last)
    cdef long long straggle(self, long long whole)
    cdef long long between(self, long long active)
    cdef long long arrival(self, long long active)
    cdef long long epilogue(self, long long active)
