# What other compiled modules use of book.py.
from hiersim.engines.core.state cimport State


cdef class Book(State):
    cdef long long row(self, long long kernel) noexcept
    cdef long long name(self, long long entry, long long tier, long long phase) noexcept
    cdef long long work(self, long long place, long long slot, long long stage) except -1
    cdef long long account(
        self, long long engine, long long slot, long long kernel, long long stage, long long end
    ) except -1
    cdef long long account_alike(self, long long engine, long long kernel, long long stage, long long end) noexcept
    cdef long long labour(self, long long row, long long stage, long long begin, long long end) noexcept
    cdef long long progress(self, long long stage) noexcept
    cdef long long gap(self, long long engine, long long slot, long long begin, long long phase) except -1
    cdef long long dependency(self, long long engine, long long kernel, long long begin, long long worked) noexcept
    cdef long long describe(
        self, long long slot, long long last, long long begin, long long end, long long phase
    ) except -1
    cdef long long piece(self, long long begin, long long end, long long name) except -1
    cdef long long paced(
        self, long long place, long long name, long long begin, long long end, long long kernel, long long phase
    ) except -1
    cdef long long drained(self, long long piece, long long worked) except -1
    cdef long long worked_until(self, long long time) noexcept
    cdef long long trailing(self, long long makespan) except -1
