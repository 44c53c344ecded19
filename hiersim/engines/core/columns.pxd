# What other compiled modules use of columns.py.
cimport cython


cdef long long[::1] doubled(long long[::1] values)
cdef object array(long long[::1] values)
cdef object frozen(long long[::1] values, long long length)
cdef long long words_in(object kept) except -1


@cython.final
cdef class Index:
    cdef long long width, count
    cdef unsigned long long mask
    cdef long long[::1] places, keys, key
    cdef unsigned long long place(self, long long start, long long[::1] words) noexcept
    cdef long long find(self) noexcept
    cdef long long add(self) except -1
