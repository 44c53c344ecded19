# What other compiled modules use of repeats.py.
cimport cython
from hiersim.engines.core.words cimport Words


@cython.final
cdef class Saved:
    # valid: 0 nothing saved, 1 saved, 2 nothing more to gain in this loop
    cdef long long valid
    # `first`: since when glances are those of one run; `missed`: an equal glance was of another state
    cdef long long first
    cdef bint missed
    cdef long long glance, step, due, now, number, worked, computed, worked_computed, stages, size, period
    # glances of the last steps, at their number modulo 16
    cdef long long[::1] glances
    cdef long long[::1] words, covered, worked_cover, busy, book


cdef class Repeats(Words):
    # fast-forward of tile loops: the words of the present state, and a saved state of each level
    cdef Saved saved_run, saved_loop

    cdef long long checkpoint(self, long long active) except -1
    cdef bint is_looked_at(self, long long active) noexcept
    cdef long long look(self, long long active, long long level, Saved saved, long long step) except -1
    cdef long long save_if_due(self, long long active, Saved saved, long long step, long long glance) except -1
    cdef long long follow(self, long long active, Saved saved, long long step, long long left) except -1
    cdef long long history(self) noexcept
    cdef long long drifting(self, Saved saved, long long step) noexcept
    cdef long long glance(self, long long active) noexcept
    cdef long long describe_loop(self, long long active) except -1
    cdef long long same(self, long long active, Saved saved) except -1
    cdef bint in_one_piece(self, long long place, long long time) noexcept
    cdef long long save(self, long long active, Saved saved) except -1
    cdef long long jump(
        self, long long active, long long level, Saved saved, long long times, long long period
    ) except -1
    cdef long long shift(self, long long moved, long long tiles) noexcept
    cdef long long shift_tile(self, long long slot, long long moved, long long tiles) noexcept
