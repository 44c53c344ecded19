# What other compiled modules use of ahead.py.
from hiersim.engines.core.machine cimport Machine


cdef class Ahead(Machine):
    # whether tiles are ahead now
    cdef bint is_ahead
    # when the service of each resource frees a buffer, and of which kernel; for which one a unit computes
    cdef long long[::1] frees, frees_of, computes_for
    # the first of `frees`; when the first kernel ends or starts
    cdef long long next_free, stop_time
    # whether a tile may have a buffer and not be issued
    cdef bint may_issue

    cdef long long play_on(self) except -1
    cdef long long run_ahead(self) except -1
    cdef long long serve(self) except -1
    cdef long long find_begin(self, long long place) noexcept
    cdef long long ask_ahead(self, long long slot, long long place) except -1
    cdef long long begin_work(self, long long place, long long slot, long long stage) except -1
    cdef long long note_computed(self, long long place) noexcept
    cdef long long note_all_computed(self) noexcept
    cdef long long give_back(self, long long place, long long slot, long long marks, long long end) noexcept
    cdef long long complete_at(self, long long slot, long long time) noexcept
    cdef long long issue_ahead(self) except -1
    cdef long long free_buffers(self) noexcept
    cdef long long leave(self, long long place) except -1
    cdef long long let_go(self) except -1
    cdef long long end_all(self) noexcept
    cdef long long land_all(self, long long place) except -1
    cdef long long look_ahead(self) except -1
    cdef long long go_on(self, long long slot, long long place, long long arrival) except -1
    cdef long long put_back(self) except -1
    cdef long long come_back(self, long long slot, long long stage) noexcept
