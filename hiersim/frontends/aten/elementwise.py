"""Cost rules of work by element: computed, moved, looked up or scattered."""

from __future__ import annotations

from hiersim.frontends.aten.call import Call, Cost, Operand, Rule
from hiersim.model.operators import Kind


def pointwise(vector: int, special: int = 0) -> Rule:
    """`vector` FLOPs and `special` operations per element of the first result."""

    def rule(call: Call) -> Cost:
        return Cost(kind=Kind.POINTWISE, vector_flops=vector * call.size, special_ops=special * call.size)

    return rule


def scaled_add(call: Call) -> Cost:
    """add, sub, rsub: one FLOP, two where `alpha` scales the second operand."""
    alpha = call.arg(2, "alpha", 1)
    return Cost(kind=Kind.POINTWISE, vector_flops=call.size * (1 if alpha == 1 else 2))


def addc(call: Call) -> Cost:
    """addcmul, addcdiv: self + value * (a op b)."""
    value = call.arg(3, "value", 1)
    return Cost(kind=Kind.POINTWISE, vector_flops=call.size * (2 if value == 1 else 3))


def power(call: Call) -> Cost:
    """Small integer powers are multiplications; all others are special functions."""
    exponent = call.arg(1, "exponent")
    if isinstance(exponent, int | float) and exponent in (0, 1, 2, 3, 4):
        return Cost(kind=Kind.POINTWISE, vector_flops=call.size * max(0, int(exponent) - 1))
    return Cost(kind=Kind.POINTWISE, special_ops=call.size)


def clamp(call: Call) -> Cost:
    bounds = sum(call.arg(at, name) is not None for at, name in ((1, "min"), (2, "max")))
    return Cost(kind=Kind.POINTWISE, vector_flops=bounds * call.size)


def gelu(call: Call) -> Cost:
    tanh = call.arg(1, "approximate", "none") == "tanh"
    return pointwise(8 if tanh else 4, 1)(call)


def gelu_backward(call: Call) -> Cost:
    tanh = call.arg(2, "approximate", "none") == "tanh"
    return pointwise(17, 1)(call) if tanh else pointwise(9, 2)(call)


def moved(kind: Kind) -> Rule:
    """Moves data, computes nothing."""

    def rule(call: Call) -> Cost:
        return Cost(kind=kind)

    return rule


def scatter_add(source: int) -> Rule:
    """Accumulating scatter: one FLOP per element of the source."""

    def rule(call: Call) -> Cost:
        tensor = call.args[source]
        return Cost(kind=Kind.SCATTER, vector_flops=tensor.elements if isinstance(tensor, Operand) else 0)

    return rule


def index_put(call: Call) -> Cost:
    if not call.arg(3, "accumulate", False):
        return Cost(kind=Kind.SCATTER)
    return scatter_add(2)(call)


def embedding_backward(call: Call) -> Cost:
    """Five index tests per token and one addition per element of the gradient."""
    return Cost(kind=Kind.SCATTER, vector_flops=call.args[0].elements + 5 * call.args[1].elements)


def sampled(call: Call) -> Cost:
    """Bilinear samples at given places: four weights, four tests of the border and four products for each result."""
    return Cost(kind=Kind.GATHER, vector_flops=67 * call.size)


def interpolated_backward(work: int) -> Rule:
    """The gradient of an interpolation: `work` FLOPs for each element of the gradient that comes in."""

    def rule(call: Call) -> Cost:
        return Cost(kind=Kind.SCATTER, vector_flops=work * call.args[0].elements)

    return rule


def histogram(call: Call) -> Cost:
    """One addition per element, to where its value says."""
    return Cost(kind=Kind.SCATTER, vector_flops=call.args[0].elements)


def compared(call: Call) -> Cost:
    """Each value is compared with each of a few (`isin`)."""
    few = call.args[1]
    return Cost(
        kind=Kind.POINTWISE, vector_flops=call.size * (few.elements if isinstance(few, Operand) else 1)
    )  # fmt: skip


def binary_search(sorted_at: int, values_at: int) -> Rule:
    """One comparison for each halving of the sorted list, per value."""

    def rule(call: Call) -> Cost:
        boundaries = call.shape(sorted_at)[-1] if call.shape(sorted_at) else 0
        values = call.args[values_at]
        count = values.elements if isinstance(values, Operand) else 1
        return Cost(kind=Kind.POINTWISE, vector_flops=count * int(boundaries).bit_length())

    return rule
