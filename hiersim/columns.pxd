# What other compiled modules use of columns.py.
cdef long long[::1] memory(long long length)
cdef long long[::1] column(long long length, long long value=*)
