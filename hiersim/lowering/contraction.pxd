# What other compiled modules use of contraction.py.
from hiersim.lowering.panels cimport Panels


cdef class Cutter(Panels):
    # FLOPs at the anchor's rate; rows of queries and keys of one block of attention
    cdef long long demand, side, key_block

    cdef long long cut(self)
    cdef long long measure_demand(self, long long dtype)
    cdef long long take_product(self, long long type_)
    cdef long long cut_product(self)
    cdef long long measure_width(self, bint convolution)
    cdef long long keep_panel(self)
    cdef long long count_extras(self)
    cdef long long turn(self)
    cdef long long partials(self)
    cdef long long nearest_read(self, long long size, long long taken)
    cdef long long find_operands(self, bint convolution)
    cdef long long cut_attention(self)
    cdef long long whole_blocks(self, long long inner, long long longest, long long queries, long long row_blocks)
    cdef long long fill_blocks(self, long long unasked)
    cdef long long with_softmax(self, long long products, long long softmax)
    cdef long long library_block(self, long long head)
    cdef long long attention_block(self, long long rows, long long keys, long long head)
    cdef long long attention_far(self, long long kv_total, long long row_blocks, long long pairs)
