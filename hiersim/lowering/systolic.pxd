# What other compiled modules use of systolic.py.
cdef class Arrays:
    cdef readonly long long rows, columns, count, dataflow
    cdef readonly bint overlap
    cdef long long macs(self)
    cdef long long fill(self)
    cdef long long once(self)
    cdef long long folds(self, long long m, long long n, long long k)
    cdef long long fold_cycles(self, long long streamed)
    cdef long long cycles(self, long long m, long long n, long long k)
    cdef bint keeps(self, long long m, long long n)
    cdef long long step(self, long long m, long long n, long long length)
    cdef long long end(self, long long m, long long n, long long inner)
    cdef long long block(self, long long m, long long n, long long inner, long long size)
