"""`Partition`: which operators of a trace share a kernel, before anything is said of bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiersim.model.operators import IntArray, gather


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Partition:
    """K kernels of operators, N rows in all; an operator that is computed again has a row in each kernel that does.

    Within a kernel, operators are in issue order.
    """

    ptr: IntArray
    """(K + 1,)"""
    operators: IntArray
    """(N,) operators of kernel `k` at `ptr[k]:ptr[k + 1]`."""
    copy: IntArray
    """(N,) 1 where the kernel computes again what the operator's own kernel computes; its results stay inside."""
    generated: IntArray
    """(K,) 1 for code made for these operators: it drops results that nobody reads. A library call writes all."""
    eager: IntArray
    """(K,) 1 where the framework launches the kernel, operator by operator."""

    def __len__(self) -> int:
        return len(self.ptr) - 1

    def kernels(self) -> IntArray:
        """(N,) the kernel of each row."""
        return np.repeat(np.arange(len(self)), np.diff(self.ptr))

    def take(self, order: IntArray) -> Partition:
        """The kernels in another order."""
        ptr, operators = gather(self.ptr, order, self.operators)
        copy = gather(self.ptr, order, self.copy)[1]
        return Partition(
            ptr=ptr, operators=operators, copy=copy, generated=self.generated[order], eager=self.eager[order]
        )
