"""Cost rules of matrix work: products, convolutions, attention."""

from __future__ import annotations

from math import prod

from hiersim.frontends.aten.call import Call, Cost, Operand, Rule, Shape, spread_sides
from hiersim.model.operators import Kind


def _gemm(batch: int, m: int, n: int, k: int, vector: int = 0) -> Cost:
    return Cost(kind=Kind.GEMM, dims=(batch, m, n, k), matrix_flops=2 * batch * m * n * k, vector_flops=vector)


def product(first: int) -> Rule:
    """mm, bmm and their forms with an addend; the addend costs one FLOP per result."""

    def rule(call: Call) -> Cost:
        a, b = call.shape(first), call.shape(first + 1)
        batch = a[0] if len(a) == 3 else 1
        vector = batch * a[-2] * b[-1] if first else 0
        return _gemm(batch, a[-2], b[-1], a[-1], vector)

    return rule


def groups_in_use(call: Call) -> tuple[int, int]:
    """Groups that a grouped product works on, and rows of the dimension that it shares out among them.

    Which group a row belongs to is data. Balanced routing is assumed: the rows are spread evenly over as many groups
    as there are, or as there are rows.
    """
    a, b, groups = call.shape(0), call.shape(1), call.args[2]
    if len(a) == 3 and len(b) == 3:
        return a[0], a[0] * a[1]
    rows = b[-1] if len(a) == 3 else a[-1] if len(b) == 2 else a[0]
    count = groups.elements if isinstance(groups, Operand) else max(a[0], b[0])
    return max(1, min(count, rows)), rows


def grouped_product(call: Call) -> Cost:
    """Products of the groups of rows (2-D by 3-D), columns (3-D by 2-D) or inner elements (2-D by 2-D)."""
    a, b = call.shape(0), call.shape(1)
    used, rows = groups_in_use(call)
    m, k, n = a[-2], a[-1], b[-1]
    share = -(-rows // used)
    if len(a) == 3 and len(b) == 3:
        return _gemm(a[0], m, n, k)
    total, dims = 2 * m * n * k, (used, m, n, k)
    if len(a) == 2 and len(b) == 3:
        dims = (used, share, n, k)
    elif len(a) == 3:
        dims = (used, m, share, k)
    else:
        dims = (used, m, n, share)
    return Cost(kind=Kind.GEMM, dims=dims, matrix_flops=total)


def convolution(call: Call) -> Cost:
    """Implicit GEMM of one group; a bias costs one FLOP per result."""
    x, weight = call.shape(0), call.shape(1)
    bias, transposed = call.arg(2, "bias"), bool(call.arg(6, "transposed", False))
    vector = call.size if isinstance(bias, Operand) else 0
    geometry = _conv_geometry(x, weight, call.outputs[0].shape, call, transposed)
    groups, m, n, k, _, _ = geometry
    return Cost(kind=Kind.CONV, dims=geometry, matrix_flops=2 * groups * m * n * k, vector_flops=vector)


def _conv_geometry(x: Shape, weight: Shape, out: Shape, call: Call, transposed: bool, at: int = 3) -> Shape:
    groups = int(call.arg(at + 5, "groups", 1))
    stride = prod(spread_sides(call.arg(at, "stride", (1,)), len(weight) - 2))
    window = prod(weight[2:])
    pixels = x[0] * prod(x[2:]) if transposed else out[0] * prod(out[2:])
    outputs, inputs = (weight[1], weight[0] // groups) if transposed else (weight[0] // groups, weight[1])
    return (groups, pixels, outputs, inputs * window, window, stride)


def convolution_backward(call: Call) -> Cost:
    """Gradients of input, weight and bias: the forward product for each of the first two, one sum for the third."""
    grad, x, weight = call.shape(0), call.shape(1), call.shape(2)
    transposed, mask = bool(call.arg(7, "transposed", False)), call.arg(10, "output_mask", (True, True, False))
    geometry = _conv_geometry(x, weight, grad, call, transposed, at=4)
    groups, m, n, k, _, _ = geometry
    one = 2 * groups * m * n * k
    vector = prod(grad) if mask[2] else 0
    return Cost(kind=Kind.CONV, dims=geometry, matrix_flops=one * (int(mask[0]) + int(mask[1])), vector_flops=vector)


def _masked_pairs(queries: int, keys: int) -> int:
    """Query-key pairs that a causal mask (aligned at the first token) removes."""
    rows = min(queries, keys)
    return queries * keys - (rows * (rows + 1) // 2 + (queries - rows) * keys)


def attention_cost(q: Shape, k: Shape, v: Shape, causal: bool, *, backward: bool, bias: bool) -> Cost:
    """Fused attention.

    Per unmasked score forward: scale, maximum, subtract, sum, exp; per result one division; per row one log (the
    log-sum-exp kept for backward). Backward recomputes the scores: scale, subtract, exp, then subtract the row sum,
    multiply, scale; the row sums cost 2 per result.
    """
    batch, heads, queries, width = q
    keys, value_width, kv_heads = k[2], v[3], k[1]
    products = (3 * width + 2 * value_width) if backward else (width + value_width)
    matrix = 2 * batch * heads * queries * keys * products
    pairs = queries * keys
    masked = _masked_pairs(queries, keys) if causal else 0
    scores, rows = batch * heads * (pairs - masked), batch * heads * queries
    if backward:
        vector, special = 5 * scores + 2 * rows * value_width, scores
    else:
        vector, special = 4 * scores + rows * value_width, scores + rows
    return Cost(
        kind=Kind.ATTENTION,
        dims=(batch, heads, kv_heads, queries, keys, width, int(causal)),
        matrix_flops=matrix,
        masked_flops=matrix // pairs * masked if pairs else 0,
        vector_flops=vector + (scores if bias else 0),
        special_ops=special,
    )


def attention(causal_at: int, bias_at: int | None = None) -> Rule:
    def rule(call: Call) -> Cost:
        bias = bias_at is not None and isinstance(call.arg(bias_at, "attn_bias"), Operand)
        causal = bool(call.arg(causal_at, "is_causal", False))
        return attention_cost(call.shape(0), call.shape(1), call.shape(2), causal, backward=False, bias=bias)

    return rule


def attention_backward(causal_at: int, bias_at: int | None = None) -> Rule:
    def rule(call: Call) -> Cost:
        bias = bias_at is not None and isinstance(call.arg(bias_at, "attn_bias"), Operand)
        causal = bool(call.arg(causal_at, "is_causal", False))
        return attention_cost(call.shape(1), call.shape(2), call.shape(3), causal, backward=True, bias=bias)

    return rule
