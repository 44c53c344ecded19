# What other compiled modules use of boundaries.py.
cimport cython
from hiersim.engines.core.book cimport Book


@cython.final
cdef class Boundary:
    cdef long long now, number, worked, computed, worked_computed, stages, time_count, shape_count
    # times relative to now, and what they belong to
    cdef long long[::1] times, shape
    cdef long long[::1] covered, worked_cover, busy, book


cdef class Boundaries(Book):
    # how many are noted, and the number of the tile that is next at the last
    cdef long long drift_phase, drift_number
    cdef list boundaries
    cdef Boundary boundary
    # what happened since the first, and when
    cdef long long events
    cdef long long[::1] event, event_time
    # a walk notes times, or moves them by `moved` and a shift each; `waits` marks grants: did the stage wait for it?
    cdef bint moving
    cdef long long time_count, shape_count, moved
    cdef long long[::1] shifts, order, waits

    cdef long long happens(self, long long kind, long long slot, long long stage) noexcept
    cdef long long time(self, long long value) noexcept
    cdef long long shape(self, long long value) noexcept
    cdef long long walk_tile(self, long long slot, long long active, long long stages) noexcept
    cdef long long walk(self, long long active) noexcept
    cdef long long note_boundary(self, long long active) except -1
    cdef long long make_room_for_times(self) except -1
