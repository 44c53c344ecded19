# The numbers of constants.py, known to the C compiler; tests/unit/test_core_constants.py holds them to be equal.
cdef extern from "<limits.h>":
    const long long INFINITY "LLONG_MAX"

cdef enum:
    NONE = -1
    N_ENGINES = 3
    CORES = 0
    PHASES = 3
    FILL = 0
    STEADY = 1
    DRAIN = 2
    USEFUL = 0
    PADDING = 1
    TAIL = 2
    DISPATCH = 3
    DEPENDENCY = 4
    CAPACITY = 5
    BANDWIDTH = 6
    LATENCY = 7
    CONTENTION = 8
    COMPUTE = 1
    LOG_WIDTH = 7
    LOOK = 1048575
    LAST = 1
    COMPLETES = 2
    RELEASES = 4
    COMPUTES = 8
    LEAVES = 16
    SET_UP = 1
    COMPUTED = 2
    OFF = 0
    TRACED = 1
    BROKEN = 2
    STEP = 0
    ISSUED = 1
    GRANTED = 2
    SERVED = 3
    LANDED = 4
    KINDS = 5
