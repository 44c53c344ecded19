"""What special functions cost on cores that run threads, beyond the slot of their own unit: no design changes it.

A special-function unit gives 2^x, 1/x, 1/sqrt(x) and the like of a narrow range. exp, tanh, erf and division are
library code around it in FP32: reduce the range, choose coefficients, evaluate a polynomial, scale, correct (CUDA C++
Programming Guide, mathematical functions: full-range functions of at most 2 ulp), beside conversions of 16-bit
operands.
"""

from __future__ import annotations

import numpy as np

from hiersim.model.kernels import KernelGraph, Launch
from hiersim.model.operators import IntArray, Kind

EVALUATED = 28
"""FP32 FLOPs of one evaluation: about 14 instructions. Read off softmax of 4 096 FP16 columns on A100 by LLMCompass,
where two evaluations take 0.48 cycles of a core (52 FLOPs), and log-softmax and softmax of 4 096 to 16 384 BF16 columns
on the bundled H100 and H200, 0.23 and 0.35 cycles (51 and 79 FLOPs): plausible 25 to 40."""
MOST = 2**62 // (64 * EVALUATED)
"""Evaluations of an operator that are counted, so that sums stay inside 63 bits; each takes longer than a day."""


def function_flops(graph: KernelGraph) -> IntArray:
    """(K,) FLOPs that the special functions of each kernel cost.

    Softmax as a framework launches it evaluates its exponential for the sum, and again, or a division, for the result.
    """
    kernel = np.repeat(np.arange(len(graph)), np.diff(graph.operator_ptr))
    alone = (np.diff(graph.operator_ptr) == 1) & (graph.launch == Launch.EAGER)
    twice = alone[kernel] & (graph.operators.kind == Kind.REDUCTION)
    evaluations = np.minimum(graph.operators.special_ops, MOST) * np.where(twice, 2, 1)
    found = np.zeros(len(graph), np.int64)
    np.add.at(found, kernel, EVALUATED * evaluations)
    return found
