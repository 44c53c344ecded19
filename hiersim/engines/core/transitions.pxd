# What other compiled modules use of transitions.py.
from hiersim.engines.core.columns cimport Index, Sequences
from hiersim.engines.core.landmarks cimport Landmarks


cdef class Transitions(Landmarks):
    # transitions between states at ends of kernels
    cdef Index transitions
    cdef long long[::1] t_of_key, t_next, t_length, t_computed, t_reached, t_used, t_stages, t_busy, t_first, t_last
    # pairs of a place in the book and its ticks
    cdef long long[::1] cells
    cdef long long cell_count, t_count
    # distinct rows of the ledger
    cdef Index row_keys
    cdef long long[::1] row_of_key, scratch, pairs, ledger_row, late
    cdef Sequences rows
    cdef long long transition(self, long long since) except -1
    cdef long long write_cells(self, long long known) except -1
    cdef long long row_id(self, long long known, long long following) except -1
    cdef long long add_to_scratch(self, long long known, long long begin) noexcept
    cdef long long row_like_scratch(self) except -1
