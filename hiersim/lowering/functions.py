"""What special functions cost on cores that run threads, beyond the slot of their own unit: no design changes it.

A special-function unit gives 2^x, 1/x, 1/sqrt(x) and the like of a narrow range. exp, tanh, erf and division are
library code around it in FP32: reduce the range, choose coefficients, evaluate a polynomial, scale, correct (CUDA C++
Programming Guide, mathematical functions: full-range functions of at most 2 ulp), beside conversions of 16-bit
operands.
"""

from __future__ import annotations

import numpy as np

from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray

EVALUATED = 12
"""FP32 FLOPs of one evaluation: about six instructions beside the special-function unit. Softmax and log-softmax of one
row of 65 536 BF16 columns on the bundled H100 differ by 32 for an exponential and a division: plausible 12 to 20."""
LINK_CYCLES = 65
"""Cycles until a thread has the result of one: its instructions wait for each other, 4 cycles each, and about 20 for
the special-function unit (Jia et al., Dissecting the NVIDIA Volta GPU architecture via microbenchmarking, 2018); its
branches keep the next from beginning. Read off softmax and log-softmax of 64 to 1 024 FP32 columns, one warp for
each scheduler, 60 to 75."""
MOST = 2**62 // (64 * EVALUATED)
"""Evaluations of an operator that are counted, so that sums stay inside 63 bits; each takes longer than a day."""


HANDLED = 2
"""FP32 FLOPs of an element each time that a thread of a library's row kernel loads or stores it: a conversion."""
ACCESS = 12
"""The same of each access: load or store, address, bound, its share of a loop, six instructions (plausible 8 to 16).
Read off softmax and log-softmax of 64 to 65 536 columns and maxima on the bundled H100, and softmax of LLMCompass: a
row costs the same in BF16 as in FP32 where L2 holds it, and less the more elements an access has."""


def function_flops(graph: KernelGraph) -> IntArray:
    """(K,) FLOPs that the special functions of each kernel cost, as its operators count them.

    What library kernels evaluate beside that is counted with their rows.
    """
    kernel = np.repeat(np.arange(len(graph)), np.diff(graph.operator_ptr))
    found = np.zeros(len(graph), np.int64)
    np.add.at(found, kernel, EVALUATED * np.minimum(graph.operators.special_ops, MOST))
    return found


def row_flops(elements: int, handled: int, evaluated: int, wide: int) -> int:
    """FLOPs of `elements` elements of rows, `handled` times each, `wide` with an access; and of functions beside."""
    return min(elements, MOST) * (handled * (HANDLED * wide + ACCESS) + EVALUATED * evaluated * wide) // wide
