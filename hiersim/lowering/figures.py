"""What lowering needs to know of a machine, in integers.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results. `figures.pxd` declares what other compiled modules use.
"""

from __future__ import annotations

import cython

from hiersim.model.constants import Constants
from hiersim.model.operators import DType
from hiersim.model.program import Access
from hiersim.units import TICKS_PER_SECOND
from hiersim.units import UNLIMITED as NO_LIMIT

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.exact import ceil_share, ceil_share3, total
    from cython.cimports.hiersim.lowering.systolic import Arrays
else:
    from hiersim.columns import column
    from hiersim.exact import ceil_share, ceil_share3, total
    from hiersim.lowering.systolic import Arrays

UNLIMITED = cython.declare(cython.longlong, NO_LIMIT)
SECOND = cython.declare(cython.longlong, TICKS_PER_SECOND)
READ = cython.declare(cython.longlong, int(Access.READ))

LEVEL_FIELDS = 6
"""Per shared tier: capacity, read rate, write rate, latency, read port, write port."""
DTYPE_FIELDS = 6
"""Per dtype: unit and rate of matrix products, native tile (m, n, k), rate of element-wise work."""
LEVEL = cython.declare(cython.longlong, LEVEL_FIELDS)
DTYPE = cython.declare(cython.longlong, DTYPE_FIELDS)
PATTERN_FIELDS = 3
"""Per run length and shared tier: bytes of a run, bytes of its sectors, time of a byte in units of 1 / `SLOWNESS`."""
SLOWNESS_UNIT = 1 << 20
FIXED_UNIT = 1 << 20
"""Operations of a constant are counted in units of 1 / `FIXED`."""
PATTERN = cython.declare(cython.longlong, PATTERN_FIELDS)
SLOWNESS = cython.declare(cython.longlong, SLOWNESS_UNIT)
FIXED = cython.declare(cython.longlong, FIXED_UNIT)
FP32 = cython.declare(cython.longlong, int(DType.FP32))


def fixed(operations: float) -> int:
    """Operations in units of 1 / `FIXED_UNIT`, at least one."""
    return max(1, round(operations * FIXED_UNIT))


@cython.cfunc
def listed(values: list[int]) -> cython.longlong[::1]:
    """The column of a list."""
    filled: cython.longlong[::1] = column(len(values))
    index: cython.longlong
    for index in range(len(values)):
        filled[index] = values[index]
    return filled


@cython.cclass
class Figures:
    """What lowering needs to know of a machine, in integers: see `Machine.figures`.

    Rates are per second; a rate of `UNLIMITED` costs no time. `staging`, `accumulators` and `stream_buffer` are bytes
    of one core; `scratchpad` is what accumulators and operands share where a core has one tier, else zero;
    `buffer_limit` is the capacity of all cores' last tier together; the nearest cache moves whole sectors of `sector`
    bytes; `threads` are resident on one core, zero where rows have no teams, and `exchange` are the ticks of a sum over
    a block of them, `link` those of a special function that a thread waits for, `prologue` those of a library's product
    whatever its size; `arrays` are those of the matrix unit, without rows where it is not systolic. `asynchronous` says
    that the matrix unit works on while blocks are loaded and stored, `sustained` is the share of its peak that long
    products reach, in 1 / `FIXED`, `shared_blocking` says that products are blocked for the nearest shared tier too;
    one core loads `narrow_rate` accesses narrower than 16 B; blocks of batched products on the vector unit have no side
    below `batched_side`.
    `patterns` has `PATTERN_FIELDS` for each run length and each shared tier; pattern 0, and one that is not there, is
    access in order. `address`, `lookup`, `special_function`, `access` and `handling` are operations in units of
    1 / `FIXED`, `table_waits` such a number of latencies, `dependent_load` and `wait_bytes` as the design's constants
    have them.
    """

    def __init__(
        self, numbers: dict[str, int], levels: list[int], dtypes: list[int], arrays: Arrays, patterns: list[int],
        constants: Constants,
    ) -> None:  # fmt: skip
        self.arrays = arrays
        self.cores = numbers["cores"]
        self.depth = numbers["depth"]
        self.staging = numbers["staging"]
        self.accumulators = numbers["accumulators"]
        self.scratchpad = numbers["scratchpad"]
        self.stream_buffer = numbers["stream_buffer"]
        self.buffer_limit = numbers["buffer_limit"]
        self.load_rate = numbers["load_rate"]
        self.special_rate = numbers["special_rate"]
        self.sector = numbers["sector"]
        self.threads, self.exchange, self.link = numbers["threads"], numbers["exchange"], numbers["link"]
        self.prologue = numbers["prologue"]
        self.asynchronous, self.shared_blocking = numbers["asynchronous"], numbers["shared_blocking"]
        self.sustained = numbers["sustained"]
        self.narrow_rate, self.lookup_rate = numbers["narrow_rate"], numbers["lookup_rate"]
        self.batched_side = numbers["batched_side"]
        self.relaunch, self.window_set_up = numbers["relaunch"], numbers["window_set_up"]
        self.matrix_unit = numbers["matrix_unit"]
        self.vector_unit = numbers["vector_unit"]
        self.vector_unlimited = numbers["vector_unlimited"]
        self.dependent_load, self.wait_bytes = constants.dependent_load, float(constants.wait_bytes)
        self.address, self.lookup = fixed(constants.address), fixed(constants.lookup)
        self.table_waits = fixed(constants.table_waits)
        self.special_function = fixed(constants.special_function)
        self.access, self.handling = fixed(constants.access), fixed(constants.handling)
        self.level_table, self.dtype_table, self.pattern_table = listed(levels), listed(dtypes), listed(patterns)
        self.levels = len(levels) // LEVEL
        self.patterns = len(patterns) // (PATTERN * max(1, self.levels))

    @cython.cfunc
    @cython.exceptval(check=False)
    def capacity(self, level: cython.longlong) -> cython.longlong:
        return self.level_table[level * LEVEL]

    @cython.cfunc
    @cython.exceptval(check=False)
    def read_rate(self, level: cython.longlong) -> cython.longlong:
        return self.level_table[level * LEVEL + 1]

    @cython.cfunc
    @cython.exceptval(check=False)
    def latency(self, level: cython.longlong) -> cython.longlong:
        return self.level_table[level * LEVEL + 3]

    @cython.cfunc
    @cython.exceptval(check=False)
    def one_port(self, level: cython.longlong) -> cython.bint:
        """Whether reads and writes share a port."""
        return self.level_table[level * LEVEL + 4] == self.level_table[level * LEVEL + 5]

    @cython.cfunc
    @cython.exceptval(check=False)
    def sectors(self, run: cython.longlong) -> cython.longlong:
        """Bytes of the sectors of the nearest shared tier that a run of bytes at the begin of one touches."""
        return ((run - 1) // self.sector + 1) * self.sector

    @cython.cfunc
    @cython.exceptval(check=False)
    def unit(self, dtype: cython.longlong) -> cython.longlong:
        """Resource that does matrix products of `dtype`."""
        return self.dtype_table[dtype * DTYPE]

    @cython.cfunc
    @cython.exceptval(check=False)
    def matrix_rate(self, dtype: cython.longlong) -> cython.longlong:
        """Sustained FLOP/s of matrix products, all cores."""
        return self.dtype_table[dtype * DTYPE + 1]

    @cython.cfunc
    @cython.exceptval(check=False)
    def native(self, dtype: cython.longlong, side: cython.longlong) -> cython.longlong:
        """Native tile of matrix products: sides 0 (m), 1 (n), 2 (k)."""
        return self.dtype_table[dtype * DTYPE + 2 + side]

    @cython.cfunc
    @cython.exceptval(-1)
    def move_ticks(
        self, level: cython.longlong, access: cython.longlong, size: cython.longlong, active: cython.longlong
    ) -> cython.longlong:
        """Ticks to move `size` bytes through a port with `active` cores asking."""
        ticks: cython.longlong = self.port_ticks(level, access, size)
        return max(ticks, self.load_ticks(size, active)) if level == 0 else ticks

    @cython.cfunc
    @cython.exceptval(-1)
    def port_ticks(self, level: cython.longlong, access: cython.longlong, size: cython.longlong) -> cython.longlong:
        """Ticks to move `size` bytes through a port: bytes ÷ rate, rounded up."""
        rate: cython.longlong = self.level_table[level * LEVEL + (1 if access == READ else 2)]
        return ceil_share(size, SECOND, rate) if rate < UNLIMITED else 0

    @cython.cfunc
    @cython.exceptval(-1)
    def load_ticks(self, size: cython.longlong, active: cython.longlong) -> cython.longlong:
        """Ticks in which `active` cores load or store `size` bytes of the nearest shared tier."""
        if active > (UNLIMITED - 1) // self.load_rate:
            return 0
        return ceil_share(size, SECOND, self.load_rate * active)

    @cython.cfunc
    def fill_ticks(self) -> cython.longlong:
        """Ticks until something from the last shared tier is in a core: all latencies on its way."""
        ticks: cython.longlong = 0
        level: cython.longlong
        for level in range(self.levels):
            ticks = total(ticks, self.level_table[level * LEVEL + 3])
        return ticks

    @cython.cfunc
    @cython.exceptval(check=False)
    def write_time(self, level: cython.longlong, size: cython.double, active: cython.double) -> cython.double:
        """Seconds of a write, not rounded; for estimates."""
        rate: cython.longlong = self.level_table[level * LEVEL + 2]
        seconds: cython.double = size / float(rate) if rate < UNLIMITED else 0.0
        if level == 0 and float(self.load_rate) * active < float(UNLIMITED):
            seconds = max(seconds, size / (float(self.load_rate) * active))
        return seconds

    @cython.cfunc
    @cython.exceptval(-1)
    def fetched(self, pattern: cython.longlong, level: cython.longlong, size: cython.longlong) -> cython.longlong:
        """Bytes that move when `size` bytes are accessed in runs: whole sectors."""
        if pattern == 0 or pattern > self.patterns:
            return size
        first: cython.longlong = ((pattern - 1) * self.levels + level) * PATTERN
        return ceil_share(size, self.pattern_table[first + 1], self.pattern_table[first])

    @cython.cfunc
    @cython.exceptval(-1)
    def slowed(self, pattern: cython.longlong, level: cython.longlong, size: cython.longlong) -> cython.longlong:
        """Streamed bytes that would take as much longer as `size` bytes in runs do."""
        if pattern == 0 or pattern > self.patterns:
            return 0
        slow: cython.longlong = self.pattern_table[((pattern - 1) * self.levels + level) * PATTERN + 2]
        return ceil_share(size, slow - SLOWNESS, SLOWNESS)

    @cython.cfunc
    @cython.exceptval(-1)
    def address_operations(self, elements: cython.longlong, shared: cython.longlong) -> cython.longlong:
        """Integer operations for the addresses of so many elements, `shared` of which need one lookup (0: none)."""
        each: cython.longlong = self.address
        if shared > 0:
            each = max(each, self.lookup // shared)
        return ceil_share(elements, each, FIXED)

    @cython.cfunc
    @cython.exceptval(-1)
    def function_flops(self, evaluations: cython.longlong) -> cython.longlong:
        """FP32 FLOPs of so many special functions."""
        return ceil_share(evaluations, self.special_function, FIXED)

    @cython.cfunc
    @cython.exceptval(-1)
    def access_flops(self, accesses: cython.longlong, handled: cython.longlong) -> cython.longlong:
        """FP32 FLOPs of so many loads and stores of a row kernel, and of the elements that they bring and take."""
        return total(ceil_share(accesses, self.access, FIXED), ceil_share(handled, self.handling, FIXED))

    @cython.cfunc
    def tap_rate(self, window: cython.longlong) -> cython.longlong:
        """Taps per second that one core filters where each channel has a filter of its own, `window` taps a result.

        A tap loads and widens an element and a weight and multiplies; each result has an address.
        """
        rate: cython.longlong = self.dtype_table[FP32 * DTYPE + 5]
        if rate >= UNLIMITED or self.lookup_rate >= UNLIMITED:
            return UNLIMITED
        taps: cython.double = float(total(self.access_flops(2, 2), 2)) * float(self.cores) / float(rate)
        addresses: cython.double = float(self.address) / float(self.lookup) / float(self.lookup_rate)
        return max(1, cython.cast(cython.longlong, 1.0 / (taps + addresses / float(window))))

    @cython.cfunc
    @cython.exceptval(-1)
    def vector_core_ticks(
        self, dtype: cython.longlong, flops: cython.longlong, special: cython.longlong
    ) -> cython.longlong:
        """Ticks of one core for element-wise work; special functions take an issue slot and their own pipe.

        Rounded up once, for one core, so that dividing it among cores rounds no more than once again.
        """
        rate: cython.longlong = self.dtype_table[dtype * DTYPE + 5]
        ticks: cython.longlong = 0
        if rate < UNLIMITED:
            ticks = ceil_share3(total(flops, special), self.cores, SECOND, rate)
        if self.special_rate < UNLIMITED:
            ticks = max(ticks, ceil_share3(special, self.cores, SECOND, self.special_rate))
        return ticks

    @cython.cfunc
    @cython.exceptval(check=False)
    def read_time(self, level: cython.longlong, size: cython.double, active: cython.double) -> cython.double:
        """Seconds of a read, not rounded; for estimates."""
        rate: cython.longlong = self.level_table[level * LEVEL + 1]
        seconds: cython.double = 0.0
        if rate < UNLIMITED:
            seconds = size / float(rate)
        if level == 0:
            load: cython.double = float(self.load_rate) * active
            if load < float(UNLIMITED):
                seconds = max(seconds, size / load)
        return seconds
