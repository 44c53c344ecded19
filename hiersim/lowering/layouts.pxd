# What other compiled modules use of layouts.py.
from hiersim.lowering.nest_maker cimport NestMaker
from hiersim.lowering.sweep cimport Sweeper


cdef class Layouts(NestMaker):
    cdef Sweeper cutter

    cdef long long pause(self, long long ticks)
    cdef long long lay_out_before(self)
    cdef long long lay_out_after(self)
    cdef long long lay_out(self, long long squares, long long pause)
    cdef long long lay_out_tile(self, long long squares, long long active, long long count, bint last, long long pause)
