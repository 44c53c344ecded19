# The C side of exact.py: the same functions in 128 bits, where a compiler has them (GCC and Clang do).
cdef extern from *:
    """
    static CYTHON_INLINE long long hiersim_checked(unsigned __int128 value) {
        if (value >= ((unsigned __int128)1 << 62)) {
            PyErr_SetString(PyExc_OverflowError, "2^62 or more");
            return -1;
        }
        return (long long)value;
    }
    static CYTHON_INLINE long long hiersim_total(long long a, long long b) {
        return hiersim_checked((unsigned __int128)a + (unsigned __int128)b);
    }
    static CYTHON_INLINE long long hiersim_product(long long a, long long b) {
        return hiersim_checked((unsigned __int128)a * (unsigned __int128)b);
    }
    static CYTHON_INLINE long long hiersim_floor_share(long long a, long long b, long long c) {
        unsigned __int128 wide = (unsigned __int128)a * (unsigned __int128)b;
        if (!(unsigned long long)(wide >> 64))
            return hiersim_checked((unsigned long long)wide / (unsigned long long)c);
        return hiersim_checked(wide / (unsigned __int128)c);
    }
    static CYTHON_INLINE long long hiersim_ceil_share(long long a, long long b, long long c) {
        unsigned __int128 wide = (unsigned __int128)a * (unsigned __int128)b + (unsigned __int128)(c - 1);
        if (!(unsigned long long)(wide >> 64))
            return hiersim_checked((unsigned long long)wide / (unsigned long long)c);
        return hiersim_checked(wide / (unsigned __int128)c);
    }
    static CYTHON_INLINE long long hiersim_ceil_share3(long long a, long long b, long long c, long long d) {
        unsigned __int128 wide;
        if (__builtin_mul_overflow((unsigned __int128)a * (unsigned __int128)b, (unsigned __int128)c, &wide)
            || __builtin_add_overflow(wide, (unsigned __int128)(d - 1), &wide)) {
            PyErr_SetString(PyExc_OverflowError, "2^128 or more");
            return -1;
        }
        if (!(unsigned long long)(wide >> 64))
            return hiersim_checked((unsigned long long)wide / (unsigned long long)d);
        return hiersim_checked(wide / (unsigned __int128)d);
    }
    """
    long long total "hiersim_total"(long long a, long long b) except? -1
    long long product "hiersim_product"(long long a, long long b) except? -1
    long long floor_share "hiersim_floor_share"(long long a, long long b, long long c) except? -1
    long long ceil_share "hiersim_ceil_share"(long long a, long long b, long long c) except? -1
    long long ceil_share3 "hiersim_ceil_share3"(long long a, long long b, long long c, long long d) except? -1
