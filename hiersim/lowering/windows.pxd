# What other compiled modules use of windows.py.
from hiersim.lowering.tile_choice cimport TileChoice


cdef class Windows(TileChoice):
    cdef readonly bint gathered, laid_out, direct, packed, spread
    cdef long long groups, padded_own, padded_filters, cleared
    # launches before the product, bytes before and after, squares of 32 x 32 elements, ticks before its first block
    cdef readonly long long layouts, read_before, written_before, after
    cdef long long squares_before, squares_after, set_up
    cdef long long[::1] far_before, lost_before, lost_after, far_weight

    cdef long long plan_convolution(self)
    cdef bint takes_rows(self, long long images)
    cdef long long pack_groups(self, long long window, long long own)
    cdef long long widen_channels(self, long long window, long long own)
    cdef long long lay_out(self, long long images, long long window, long long own, long long filters, bint compiled)
    cdef long long lost(self, long long level, long long size, long long earlier, long long later)
    cdef long long asked(self)
    cdef long long square_ticks(self, long long squares, long long active)
