# What other compiled modules use of streams.py.
from hiersim.lowering.row_passes cimport RowPasses


cdef class Streams(RowPasses):
    cdef long long[::1] slow_loads, slow_stores
    cdef long long pace

    cdef long long stream(self)
    cdef long long gather(self)
    cdef long long pick(self, long long level)
    cdef long long store(self, long long level, long long size)
    cdef long long stream_tile(self, long long tiles, long long count, long long active, bint last)
