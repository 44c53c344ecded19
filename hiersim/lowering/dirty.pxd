# What reuse.py uses of dirty.py.


cdef class DirtyChunks:
    cdef long long kernels, chunks
    cdef long long[::1] newest, pieces, under
    cdef long long[::1] write, kernel, block, low, size, last, first, count

    cdef void cut(self, long long block, long long place)
    cdef void overwrite(self, long long block, long long kernel, long long write, long long size, long long touches)
    cdef long long end(self, long long block)
    cdef void close(self, long long block, long long touches)
    cdef long long _new(self, long long block, long long kernel, long long write, long long low, long long size)
    cdef void _split(self, long long chunk, long long place)
