"""How often kernels evaluate special functions, which cores that run threads pay for beyond the slot of a unit.

A special-function unit gives 2^x, 1/x, 1/sqrt(x) and the like of a narrow range. exp, tanh, erf and division are
library code around it in FP32: reduce the range, choose coefficients, evaluate a polynomial, scale, correct (CUDA C++
Programming Guide, mathematical functions: full-range functions of at most 2 ulp), beside conversions of 16-bit
operands. `Constants.special_function` says what an evaluation costs.
"""

from __future__ import annotations

import numpy as np

from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import IntArray

MOST = 2**62 // 2048
"""Evaluations of an operator that are counted, so that sums stay inside 63 bits; each takes longer than a day."""


def evaluations(graph: KernelGraph) -> IntArray:
    """(K,) special functions that each kernel evaluates, as its operators count them.

    What library kernels evaluate beside that is counted with their rows.
    """
    kernel = np.repeat(np.arange(len(graph)), np.diff(graph.operator_ptr))
    found = np.zeros(len(graph), np.int64)
    np.add.at(found, kernel, np.minimum(graph.operators.special_ops, MOST))
    return found
