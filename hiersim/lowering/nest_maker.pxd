# What other compiled modules use of nest_maker.py.
from hiersim.lowering.figures cimport Figures
from hiersim.lowering.stages cimport Sheet
from hiersim.lowering.work cimport KernelClasses, Work


cdef class NestMaker:
    cdef Work work
    cdef Sheet sheet
    cdef Figures figures
    cdef KernelClasses classes
    cdef long long levels
    cdef readonly long long buffers
    cdef long long[::1] loads, stores

    cdef long long hold(self, long long tiles, long long cores, long long kept, long long size)
    cdef long long part_of(self, long long amount, long long tiles, bint last) noexcept
    cdef long long idle_share(self, long long ticks, long long active) except? -1
