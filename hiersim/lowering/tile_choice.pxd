# What other compiled modules use of tile_choice.py.
from hiersim.lowering.tile_estimate cimport TileEstimate


cdef class TileChoice(TileEstimate):
    # tiles that fit: four sides (m, n, k, split), which operand is kept, and an estimated time of each
    cdef long long candidates, rooms
    cdef long long[::1] sides, keeps
    cdef double[::1] seconds
    cdef double least
    # sides that blocks may have, and seconds to load the operands where blocks are single elements
    cdef long long[::1] heights, widths
    cdef double loading
    # four sides per operator type, and which operand is kept
    cdef long long[::1] chosen, chosen_kept

    cdef long long choose(self)
    cdef long long list_candidates(self)
    cdef long long list_sides(self, long long[::1] sides, long long native, long long extent, long long most)
    cdef long long add_block(self, long long m, long long n) except -1
    cdef long long forget(self)
    cdef bint loads_too_long(self, long long m, long long n) noexcept
    cdef long long batched_side(self) noexcept
    cdef bint is_too_small(self, long long m, long long n) noexcept
    cdef long long next_side(self, long long count) noexcept
    cdef long long list_even_candidates(self)
    cdef long long add_kept(self, long long m, long long n, long long left, long long kept)
    cdef long long add_with_split(self, long long m, long long n, long long k) except -1
    cdef long long add_least(self)
    cdef long long longest(self, long long native) noexcept
    cdef long long inner_step(self, long long room) noexcept
    cdef long long add_candidate(self, long long m, long long n, long long k, long long split, long long kept) except -1
    cdef long long take_best(self)
    cdef bint is_better(self, long long one, long long other)
    cdef double near_elements(self, long long index)
