# What other compiled modules use of words.py.
from hiersim.engines.core.drift cimport Drift


cdef class Words(Drift):
    # the state that was written down last
    cdef long long[::1] words
    cdef long long word_count

    cdef long long put_back(self) except -1
    cdef long long put(self, long long value) noexcept
    cdef long long make_room(self) except -1
    cdef long long put_tile(self, long long slot, long long kernel, long long number, long long stages) noexcept
    cdef bint few_tiles(self) noexcept
    cdef long long write_down(self, long long kernel, long long number, long long limit) except -1
