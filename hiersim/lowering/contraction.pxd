# What other compiled modules use of contraction.py.
from hiersim.lowering.attention_blocks cimport AttentionBlocks


cdef class Cutter(AttentionBlocks):
    cdef long long cut(self)
    cdef long long measure_demand(self, long long dtype)
    cdef long long take_product(self, long long type_)
    cdef long long cut_product(self)
    cdef long long second_launch(self)
    cdef long long measure_width(self, bint convolution)
    cdef long long keep_panel(self)
    cdef long long count_extras(self)
    cdef long long turn(self)
    cdef long long partials(self)
    cdef long long nearest_read(self, long long size, long long taken)
    cdef long long find_operands(self, bint convolution)
