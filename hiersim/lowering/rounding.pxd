# The C side of rounding.py: the same functions, inline in every module that uses them.
cdef inline long long ceil_div(long long a, long long b) noexcept:
    return (a + b - 1) // b


cdef inline long long padded_to(long long length, long long native) noexcept:
    return (length + native - 1) // native * native
