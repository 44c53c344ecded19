# What other compiled modules use of panels.py.
from hiersim.lowering.windows cimport Windows


cdef class Panels(Windows):
    # the tile before the shared tier is looked at; of the schedule that was tried last: its bytes from the last tier
    # and at the nearest
    cdef long long own_m, own_n, asked_last, asked_near
    # of the best schedule so far: cuts of both sides, length of a panel, and its bytes
    cdef long long best_tall, best_wide, best_length, best_last, best_near

    cdef long long block_for_shared(self)
    cdef double scan(self, long long most, double bound)
    cdef double consider(self, long long tall, long long wide, long long length, long long most, double bound)
    cdef double try_schedule(self, long long tall, long long wide, long long length)
    cdef double seconds_at_ports(self)
    cdef double port_time(self, long long level, double reads, double writes)
    cdef bint fit_wave(self)
    cdef bint fit_panels(self, long long length)
    cdef bint fits_between(self, long long high, long long wide)
    cdef long long group_side(self, long long tile, long long blocks, long long extent)
