# What other compiled modules use of sweep.py.
from hiersim.lowering.contraction cimport Cutter


cdef class Sweeper(Cutter):
    # one block after another on each core; partial results that each farther tier takes
    cdef readonly bint serial
    cdef long long sweep_again, head_use, heads, keys_side
    cdef long long[::1] far_partials

    cdef long long cut_sweep(self)
    cdef long long sweep_far(self, long long again, long long sums)
    cdef long long missed(self, long long again, long long capacity)
