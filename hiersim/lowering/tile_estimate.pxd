# What other compiled modules use of tile_estimate.py.
from hiersim.lowering.blocks cimport Blocks


cdef long long common(long long one, long long other)


cdef class TileEstimate(Blocks):
    cdef long long passes_by_blocks(self, long long m, long long n, long long operand) noexcept
    cdef long long passes_by_cores(self, long long m, long long n, long long operand) noexcept
    cdef long long near_passes(self, long long m, long long n, long long kept, long long operand)
    cdef double estimate(self, long long m, long long n, long long k, long long split, long long kept) except -1.0
    cdef double kept_share(self, long long m, long long n, long long kept) noexcept
