"""Cost rules of work by row or window: sums, softmax, normalisation, losses, pooling."""

from __future__ import annotations

from math import log2, prod

from hiersim.frontends.aten.call import Call, Cost, Operand, Rule, Shape, spread_sides
from hiersim.model.operators import Kind


def _reduction_dims(call: Call, rows: int | None = None) -> Shape:
    rows = max(1, call.size) if rows is None else rows
    return (rows, max(1, call.args[0].elements // max(1, rows)))


def reduction(per_input: int, per_output: int = 0) -> Rule:
    def rule(call: Call) -> Cost:
        vector = per_input * call.args[0].elements + per_output * call.size
        return Cost(kind=Kind.REDUCTION, dims=_reduction_dims(call), vector_flops=vector)

    return rule


def _rows(call: Call, dim: int) -> int:
    shape = call.shape(0)
    return prod(shape) // max(1, shape[dim]) if shape else 1


def softmax(vector: int, special: int, log_per_row: int = 0) -> Rule:
    """Softmax family: per element of the first operand, and a logarithm per row."""

    def rule(call: Call) -> Cost:
        elements = call.args[0].elements
        dim = call.arg(1, "dim") if isinstance(call.arg(1, "dim"), int) else call.arg(2, "dim")
        rows = _rows(call, int(dim))
        return Cost(
            kind=Kind.REDUCTION,
            dims=_reduction_dims(call, rows),
            vector_flops=vector * elements,
            special_ops=special * elements + log_per_row * rows,
        )

    return rule


def online_softmax(call: Call) -> Cost:
    """Maximum, exp and sum in one pass; the subtraction is counted by the node that Inductor keeps beside it."""
    rows = _rows(call, int(call.args[1]))
    elements = call.args[0].elements
    dims = _reduction_dims(call, rows)
    return Cost(kind=Kind.REDUCTION, dims=dims, vector_flops=2 * elements, special_ops=elements)


def layer_norm(call: Call) -> Cost:
    """var_mean 4, subtract, scale, and one each for weight and bias; add and rsqrt per row."""
    elements, affine = call.args[0].elements, sum(isinstance(call.args[at], Operand) for at in (2, 3))
    rows = elements // max(1, prod(call.args[1]))
    return Cost(
        kind=Kind.REDUCTION,
        dims=_reduction_dims(call, rows),
        vector_flops=(6 + affine) * elements + rows,
        special_ops=rows,
    )


def layer_norm_backward(call: Call) -> Cost:
    """Ten per element for the input, one for the weight's factor, two for its gradient, one for the bias's."""
    elements, mask = call.args[0].elements, call.arg(7, "output_mask", (True, True, True))
    weight = isinstance(call.args[5], Operand)
    rows = elements // max(1, prod(call.args[2]))
    work = 10 + int(weight) + 2 * int(bool(mask[1])) + int(bool(mask[2]))
    return Cost(kind=Kind.REDUCTION, dims=_reduction_dims(call, rows), vector_flops=work * elements + rows)


def rms_norm(call: Call) -> Cost:
    """Square, sum, scale, and one for the weight; mean, epsilon and rsqrt per row."""
    elements, affine = call.args[0].elements, int(isinstance(call.args[2], Operand))
    rows = elements // max(1, prod(call.args[1]))
    return Cost(
        kind=Kind.REDUCTION,
        dims=_reduction_dims(call, rows),
        vector_flops=(3 + affine) * elements + 2 * rows,
        special_ops=rows,
    )


def group_norm(call: Call) -> Cost:
    elements, affine = call.args[0].elements, sum(isinstance(call.args[at], Operand) for at in (1, 2))
    rows = int(call.args[3]) * int(call.args[6])
    return Cost(
        kind=Kind.REDUCTION,
        dims=_reduction_dims(call, rows),
        vector_flops=(6 + affine) * elements + rows,
        special_ops=rows,
    )


def batch_norm(training_at: int | None) -> Rule:
    """Inference: 2 + affine per element and a few per channel. Training: statistics, normalisation, running updates."""

    def rule(call: Call) -> Cost:
        elements, channels = call.args[0].elements, call.shape(0)[1]
        affine = sum(isinstance(call.args[at], Operand) for at in (1, 2))
        if training_at is None or not call.args[training_at]:
            vector = (2 + affine) * elements + 2 * channels
            return Cost(kind=Kind.POINTWISE, vector_flops=vector, special_ops=2 * channels)
        return Cost(
            kind=Kind.REDUCTION,
            dims=_reduction_dims(call, channels),
            vector_flops=(6 + affine) * elements + 8 * channels,
            special_ops=channels,
        )

    return rule


def batch_norm_backward(call: Call) -> Cost:
    elements, channels = call.args[0].elements, call.shape(0)[1]
    dims = (channels, max(1, elements // channels))
    return Cost(kind=Kind.REDUCTION, dims=dims, vector_flops=9 * elements + 6 * channels)


def nll_loss(call: Call) -> Cost:
    """Six tests and selections per target and two sums, then one division for the mean."""
    targets = call.args[1].elements
    return Cost(kind=Kind.REDUCTION, dims=(1, targets), vector_flops=8 * targets + 1)


def nll_loss_backward(call: Call) -> Cost:
    targets = call.args[2].elements
    return Cost(kind=Kind.POINTWISE, vector_flops=call.size + 4 * targets + 1)


def pool(call: Call) -> Cost:
    """One comparison or addition per tap and result."""
    window = prod(spread_sides(call.args[1], max(1, len(call.shape(0)) - 2)))
    return Cost(kind=Kind.REDUCTION, dims=(max(1, call.size), window), vector_flops=window * call.size)


def pool_backward(call: Call) -> Cost:
    """One addition per tap and element of the gradient."""
    window = prod(spread_sides(call.args[2], max(1, len(call.shape(0)) - 2)))
    return Cost(kind=Kind.SCATTER, vector_flops=window * call.args[0].elements)


def group_norm_backward(call: Call) -> Cost:
    """Two sums of two operations each and three operations for the result, per element."""
    elements, rows = call.args[0].elements, int(call.args[5]) * int(call.args[8])
    return Cost(kind=Kind.REDUCTION, dims=_reduction_dims(call, rows), vector_flops=7 * elements)


def weight_norm(call: Call) -> Cost:
    """v * g / ||v||: square and sum per element, root and division per row, product per element."""
    elements, rows = call.args[0].elements, call.args[1].elements
    dims = _reduction_dims(call, rows)
    return Cost(kind=Kind.REDUCTION, dims=dims, vector_flops=3 * elements + rows, special_ops=rows)


def logsumexp(call: Call) -> Cost:
    """Maximum, subtract and sum per element, with one exp; a logarithm, an addition and three tests per row."""
    elements, rows = call.args[0].elements, max(1, call.size)
    dims = _reduction_dims(call, rows)
    vector, special = 3 * elements + 4 * rows, elements + rows
    return Cost(kind=Kind.REDUCTION, dims=dims, vector_flops=vector, special_ops=special)


def fourier(call: Call) -> Cost:
    """Fast Fourier transform over n points: 5 n log2 n for complex numbers, half of that where one side is real.

    The operation count of the radix-2 algorithm of Cooley and Tukey, by which benchmarks of FFTs state their FLOP/s
    (https://www.fftw.org/speed/method.html).
    """
    whole = max(call.args[0], *call.outputs, key=lambda item: item.elements)
    points = max(1, prod(whole.shape[dim] for dim in call.args[1]))
    real = any(not item.dtype.name.startswith("COMPLEX") for item in (call.args[0], *call.outputs))
    work = (2.5 if real else 5.0) * whole.elements * log2(points)
    dims = (max(1, whole.elements // points), points)
    return Cost(kind=Kind.REDUCTION, dims=dims, vector_flops=round(work))


def triangular_solve(call: Call) -> Cost:
    """Substitution: per unknown a product and a sum for each of those before it, on average half of n."""
    points = call.shape(0)[-1]
    return Cost(kind=Kind.REDUCTION, dims=(max(1, call.size), points), vector_flops=call.size * points)
