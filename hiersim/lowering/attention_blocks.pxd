# What other compiled modules use of attention_blocks.py.
from hiersim.lowering.panels cimport Panels


cdef class AttentionBlocks(Panels):
    # FLOPs at the anchor's rate; rows of queries and keys of one block
    cdef long long demand, side, key_block

    cdef long long cut_attention(self)
    cdef long long whole_blocks(self, long long inner, long long longest, long long queries, long long row_blocks)
    cdef long long fill_blocks(self, long long unasked)
    cdef long long with_softmax(self, long long products, long long softmax)
    cdef long long library_block(self, long long head)
    cdef long long attention_block(self, long long rows, long long keys, long long head)
    cdef long long attention_far(
        self, long long kv_total, long long kv_asked, long long row_blocks, long long pairs
    )
