# What other compiled modules use of row_passes.py.
from hiersim.lowering.nest_maker cimport NestMaker


cdef class RowPasses(NestMaker):
    cdef long long resident_rows(self)
    cdef double rows_in_use(self)
    cdef long long read_again(self, long long level)
    cdef long long row_ticks(self, long long active)
    cdef double row_wait(self)
    cdef double joining(self)
    cdef double closed(self, double rows, double service, double wait)
    cdef long long core_ticks(self, long long active)
    cdef long long tier_ticks(self)
