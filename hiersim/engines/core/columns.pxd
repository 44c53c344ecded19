# What other compiled modules use of columns.py.
cimport cython


cdef long long[::1] doubled(long long[::1] values)
cdef object array(long long[::1] values)
cdef long long entries(long long[::1] cells, long long end, long long[::1] pairs, long long count) noexcept


@cython.final
cdef class Index:
    cdef long long width, count
    cdef unsigned long long mask
    cdef long long[::1] places, keys, key
    cdef unsigned long long place(self, long long start, long long[::1] words) noexcept
    cdef long long find(self) noexcept
    cdef long long add(self) except -1


@cython.final
cdef class Sequences:
    cdef long long count
    cdef unsigned long long mask
    cdef long long[::1] places, mixed, first, words
    cdef long long add(self, long long[::1] words, long long length) except -1
