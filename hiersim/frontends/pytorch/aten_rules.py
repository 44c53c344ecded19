"""The cost rule of each ATen operator; `hiersim.frontends.pytorch.aten` states what the rules count.

`RULES` maps a functional packet (`add`, never `add_`) to a function of the call.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

from hiersim.frontends.pytorch.aten_call import Call, Cost, Operand, Rule, Shape, words
from hiersim.model.operators import Kind

# --- matrix work -----------------------------------------------------------------------------------


def _gemm(batch: int, m: int, n: int, k: int, vector: int = 0) -> Cost:
    return Cost(kind=Kind.GEMM, dims=(batch, m, n, k), matrix_flops=2 * batch * m * n * k, vector_flops=vector)


def _matmul(first: int) -> Rule:
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


def _grouped_product(call: Call) -> Cost:
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


def _convolution(call: Call) -> Cost:
    """Implicit GEMM of one group; a bias costs one FLOP per result."""
    x, weight = call.shape(0), call.shape(1)
    bias, transposed = call.arg(2, "bias"), bool(call.arg(6, "transposed", False))
    vector = call.size if isinstance(bias, Operand) else 0
    geometry = _conv_geometry(x, weight, call.outputs[0].shape, call, transposed)
    groups, m, n, k, _, _ = geometry
    return Cost(kind=Kind.CONV, dims=geometry, matrix_flops=2 * groups * m * n * k, vector_flops=vector)


def _conv_geometry(x: Shape, weight: Shape, out: Shape, call: Call, transposed: bool, at: int = 3) -> Shape:
    groups = int(call.arg(at + 5, "groups", 1))
    stride = prod(_tuple(call.arg(at, "stride", (1,)), len(weight) - 2))
    window = prod(weight[2:])
    pixels = x[0] * prod(x[2:]) if transposed else out[0] * prod(out[2:])
    outputs, inputs = (weight[1], weight[0] // groups) if transposed else (weight[0] // groups, weight[1])
    return (groups, pixels, outputs, inputs * window, window, stride)


def _tuple(value: Any, length: int) -> Shape:
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return values * length if len(values) == 1 else values


def _convolution_backward(call: Call) -> Cost:
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


def _attention(causal_at: int, bias_at: int | None = None) -> Rule:
    def rule(call: Call) -> Cost:
        bias = bias_at is not None and isinstance(call.arg(bias_at, "attn_bias"), Operand)
        causal = bool(call.arg(causal_at, "is_causal", False))
        return attention_cost(call.shape(0), call.shape(1), call.shape(2), causal, backward=False, bias=bias)

    return rule


def _attention_backward(causal_at: int, bias_at: int | None = None) -> Rule:
    def rule(call: Call) -> Cost:
        bias = bias_at is not None and isinstance(call.arg(bias_at, "attn_bias"), Operand)
        causal = bool(call.arg(causal_at, "is_causal", False))
        return attention_cost(call.shape(1), call.shape(2), call.shape(3), causal, backward=True, bias=bias)

    return rule


# --- pointwise work --------------------------------------------------------------------------------


def _pointwise(vector: int, special: int = 0) -> Rule:
    """`vector` FLOPs and `special` operations per element of the first result."""

    def rule(call: Call) -> Cost:
        return Cost(kind=Kind.POINTWISE, vector_flops=vector * call.size, special_ops=special * call.size)

    return rule


def _scaled_add(call: Call) -> Cost:
    """add, sub, rsub: one FLOP, two where `alpha` scales the second operand."""
    alpha = call.arg(2, "alpha", 1)
    return Cost(kind=Kind.POINTWISE, vector_flops=call.size * (1 if alpha == 1 else 2))


def _addc(call: Call) -> Cost:
    """addcmul, addcdiv: self + value * (a op b)."""
    value = call.arg(3, "value", 1)
    return Cost(kind=Kind.POINTWISE, vector_flops=call.size * (2 if value == 1 else 3))


def _power(call: Call) -> Cost:
    """Small integer powers are multiplications; all others are special functions."""
    exponent = call.arg(1, "exponent")
    if isinstance(exponent, int | float) and exponent in (0, 1, 2, 3, 4):
        return Cost(kind=Kind.POINTWISE, vector_flops=call.size * max(0, int(exponent) - 1))
    return Cost(kind=Kind.POINTWISE, special_ops=call.size)


def _clamp(call: Call) -> Cost:
    bounds = sum(call.arg(at, name) is not None for at, name in ((1, "min"), (2, "max")))
    return Cost(kind=Kind.POINTWISE, vector_flops=bounds * call.size)


def _gelu(call: Call) -> Cost:
    tanh = call.arg(1, "approximate", "none") == "tanh"
    return _pointwise(8 if tanh else 4, 1)(call)


def _gelu_backward(call: Call) -> Cost:
    tanh = call.arg(2, "approximate", "none") == "tanh"
    return _pointwise(17, 1)(call) if tanh else _pointwise(9, 2)(call)


def _plain(kind: Kind) -> Rule:
    """Moves data, computes nothing."""

    def rule(call: Call) -> Cost:
        return Cost(kind=kind)

    return rule


def _scatter_add(source: int) -> Rule:
    """Accumulating scatter: one FLOP per element of the source."""

    def rule(call: Call) -> Cost:
        tensor = call.args[source]
        return Cost(kind=Kind.SCATTER, vector_flops=tensor.elements if isinstance(tensor, Operand) else 0)

    return rule


def _index_put(call: Call) -> Cost:
    if not call.arg(3, "accumulate", False):
        return Cost(kind=Kind.SCATTER)
    return _scatter_add(2)(call)


def _embedding_backward(call: Call) -> Cost:
    """Five index tests per token and one addition per element of the gradient."""
    return Cost(kind=Kind.SCATTER, vector_flops=call.args[0].elements + 5 * call.args[1].elements)


# --- reductions ------------------------------------------------------------------------------------


def _reduction_dims(call: Call, rows: int | None = None) -> Shape:
    rows = max(1, call.size) if rows is None else rows
    return (rows, max(1, call.args[0].elements // max(1, rows)))


def _reduction(per_input: int, per_output: int = 0) -> Rule:
    def rule(call: Call) -> Cost:
        vector = per_input * call.args[0].elements + per_output * call.size
        return Cost(kind=Kind.REDUCTION, dims=_reduction_dims(call), vector_flops=vector)

    return rule


def _rows(call: Call, dim: int) -> int:
    shape = call.shape(0)
    return prod(shape) // max(1, shape[dim]) if shape else 1


def _softmax(vector: int, special: int, log_per_row: int = 0) -> Rule:
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


def _online_softmax(call: Call) -> Cost:
    """Maximum, exp and sum in one pass; the subtraction is counted by the node that Inductor keeps beside it."""
    rows = _rows(call, int(call.args[1]))
    elements = call.args[0].elements
    dims = _reduction_dims(call, rows)
    return Cost(kind=Kind.REDUCTION, dims=dims, vector_flops=2 * elements, special_ops=elements)


def _layer_norm(call: Call) -> Cost:
    """var_mean 4, subtract, scale, and one each for weight and bias; add and rsqrt per row."""
    elements, affine = call.args[0].elements, sum(isinstance(call.args[at], Operand) for at in (2, 3))
    rows = elements // max(1, prod(call.args[1]))
    return Cost(
        kind=Kind.REDUCTION,
        dims=_reduction_dims(call, rows),
        vector_flops=(6 + affine) * elements + rows,
        special_ops=rows,
    )


def _layer_norm_backward(call: Call) -> Cost:
    """Ten per element for the input, one for the weight's factor, two for its gradient, one for the bias's."""
    elements, mask = call.args[0].elements, call.arg(7, "output_mask", (True, True, True))
    weight = isinstance(call.args[5], Operand)
    rows = elements // max(1, prod(call.args[2]))
    work = 10 + int(weight) + 2 * int(bool(mask[1])) + int(bool(mask[2]))
    return Cost(kind=Kind.REDUCTION, dims=_reduction_dims(call, rows), vector_flops=work * elements + rows)


def _rms_norm(call: Call) -> Cost:
    """Square, sum, scale, and one for the weight; mean, epsilon and rsqrt per row."""
    elements, affine = call.args[0].elements, int(isinstance(call.args[2], Operand))
    rows = elements // max(1, prod(call.args[1]))
    return Cost(
        kind=Kind.REDUCTION,
        dims=_reduction_dims(call, rows),
        vector_flops=(3 + affine) * elements + 2 * rows,
        special_ops=rows,
    )


def _group_norm(call: Call) -> Cost:
    elements, affine = call.args[0].elements, sum(isinstance(call.args[at], Operand) for at in (1, 2))
    rows = int(call.args[3]) * int(call.args[6])
    return Cost(
        kind=Kind.REDUCTION,
        dims=_reduction_dims(call, rows),
        vector_flops=(6 + affine) * elements + rows,
        special_ops=rows,
    )


def _batch_norm(training_at: int | None) -> Rule:
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


def _batch_norm_backward(call: Call) -> Cost:
    elements, channels = call.args[0].elements, call.shape(0)[1]
    dims = (channels, max(1, elements // channels))
    return Cost(kind=Kind.REDUCTION, dims=dims, vector_flops=9 * elements + 6 * channels)


def _nll_loss(call: Call) -> Cost:
    """Six tests and selections per target and two sums, then one division for the mean."""
    targets = call.args[1].elements
    return Cost(kind=Kind.REDUCTION, dims=(1, targets), vector_flops=8 * targets + 1)


def _nll_loss_backward(call: Call) -> Cost:
    targets = call.args[2].elements
    return Cost(kind=Kind.POINTWISE, vector_flops=call.size + 4 * targets + 1)


def _pool(call: Call) -> Cost:
    """One comparison or addition per tap and result."""
    window = prod(_tuple(call.args[1], max(1, len(call.shape(0)) - 2)))
    return Cost(kind=Kind.REDUCTION, dims=(max(1, call.size), window), vector_flops=window * call.size)


def _sampled(call: Call) -> Cost:
    """Bilinear samples at given places: four weights, four tests of the border and four products for each result."""
    return Cost(kind=Kind.GATHER, vector_flops=67 * call.size)


def _spread(work: int) -> Rule:
    """The gradient of an interpolation: `work` FLOPs for each element of the gradient that comes in."""

    def rule(call: Call) -> Cost:
        return Cost(kind=Kind.SCATTER, vector_flops=work * call.args[0].elements)

    return rule


def _pool_backward(call: Call) -> Cost:
    """One addition per tap and element of the gradient."""
    window = prod(_tuple(call.args[2], max(1, len(call.shape(0)) - 2)))
    return Cost(kind=Kind.SCATTER, vector_flops=window * call.args[0].elements)


def _group_norm_backward(call: Call) -> Cost:
    """Two sums of two operations each and three operations for the result, per element."""
    elements, rows = call.args[0].elements, int(call.args[5]) * int(call.args[8])
    return Cost(kind=Kind.REDUCTION, dims=_reduction_dims(call, rows), vector_flops=7 * elements)


def _histogram(call: Call) -> Cost:
    """One addition per element, to where its value says."""
    return Cost(kind=Kind.SCATTER, vector_flops=call.args[0].elements)


def _weight_norm(call: Call) -> Cost:
    """v * g / ||v||: square and sum per element, root and division per row, product per element."""
    elements, rows = call.args[0].elements, call.args[1].elements
    dims = _reduction_dims(call, rows)
    return Cost(kind=Kind.REDUCTION, dims=dims, vector_flops=3 * elements + rows, special_ops=rows)


def _logsumexp(call: Call) -> Cost:
    """Maximum, subtract and sum per element, with one exp; a logarithm, an addition and three tests per row."""
    elements, rows = call.args[0].elements, max(1, call.size)
    dims = _reduction_dims(call, rows)
    vector, special = 3 * elements + 4 * rows, elements + rows
    return Cost(kind=Kind.REDUCTION, dims=dims, vector_flops=vector, special_ops=special)


_ONE: Final = words(
    "mul div neg abs sign maximum minimum clamp_min clamp_max eq ne lt le gt ge where masked_fill logical_and "
    "logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor floor ceil round trunc fmod "
    "remainder floor_divide square relu isnan isinf isfinite true_divide heaviside tril triu bitwise_left_shift "
    "bitwise_right_shift fmax fmin"
)
_SPECIAL: Final = words(
    "exp exp2 expm1 log log2 log10 log1p tanh erf erfc sigmoid rsqrt sqrt sin cos tan reciprocal asin acos atan atan2 "
    "sinh cosh erfinv lgamma digamma logit"
)
_COPIES: Final = words(
    "copy _to_copy clone cat stack constant_pad_nd fill zero zeros ones full zeros_like ones_like full_like new_zeros "
    "new_ones new_full arange scalar_tensor repeat flip roll convert_element_type iota contiguous _unsafe_masked_index "
    "slice_backward select_backward slice_scatter select_scatter lift_fresh_copy eye linspace reflection_pad2d "
    "replication_pad2d pixel_shuffle pixel_unshuffle upsample_nearest2d bernoulli normal uniform random rand randn "
    "native_dropout_mask inductor_seeds inductor_lookup_seed inductor_random device_put select_copy"
)

RULES: Final[dict[str, Rule]] = {
    **{name: _pointwise(1) for name in _ONE},
    **{name: _pointwise(0, 1) for name in _SPECIAL},
    **{name: _plain(Kind.COPY) for name in _COPIES},
    "mm": _matmul(0), "bmm": _matmul(0), "addmm": _matmul(1), "baddbmm": _matmul(1), "_addmm_activation": _matmul(1),
    "_scaled_mm": _matmul(0), "_grouped_mm": _grouped_product,
    "convolution": _convolution, "_convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "_scaled_dot_product_flash_attention": _attention(4),
    "_scaled_dot_product_efficient_attention": _attention(6, bias_at=3),
    "_scaled_dot_product_cudnn_attention": _attention(6, bias_at=3),
    "_scaled_dot_product_flash_attention_backward": _attention_backward(11),
    "_scaled_dot_product_efficient_attention_backward": _attention_backward(10, bias_at=4),
    "add": _scaled_add, "sub": _scaled_add, "rsub": _scaled_add, "pow": _power, "clamp": _clamp,
    "addcmul": _addc, "addcdiv": _addc, "lerp": _pointwise(3), "fma": _pointwise(2),
    "gelu": _gelu, "gelu_backward": _gelu_backward,
    "silu": _pointwise(3, 1), "silu_backward": _pointwise(5, 1),
    "tanh_backward": _pointwise(3), "sigmoid_backward": _pointwise(3), "threshold_backward": _pointwise(2),
    "hardswish_backward": _pointwise(7), "hardsigmoid": _pointwise(4), "hardsigmoid_backward": _pointwise(5),
    "hardtanh": _pointwise(2), "mish": _pointwise(3, 3), "elu_backward": _pointwise(7, 1),
    "leaky_relu_backward": _pointwise(3), "native_dropout_backward": _pointwise(2),
    "softplus_backward": _pointwise(7, 1), "log_sigmoid_backward": _pointwise(10, 1), "mish_backward": _pointwise(8, 4),
    "hardtanh_backward": _pointwise(4), "_prelu_kernel": _pointwise(3), "celu": _pointwise(2, 1),
    "grid_sampler_2d": _sampled, "upsample_linear1d": _pointwise(4), "avg_pool2d_backward": _pool_backward,
    "upsample_bilinear2d_backward": _spread(8), "upsample_bicubic2d_backward": _spread(32),
    "native_group_norm_backward": _group_norm_backward,
    "polar": _pointwise(2, 2), "upsample_bicubic2d": _pointwise(46), "upsample_bilinear2d": _pointwise(9),
    "_weight_norm_interface": _weight_norm, "logsumexp": _logsumexp,
    "histc": _histogram, "bincount": _histogram,
    "log_sigmoid_forward": _pointwise(4, 2), "max_pool2d_with_indices_backward": _scatter_add(0),
    "upsample_nearest2d_backward": _scatter_add(0),
    "hardswish": _pointwise(5), "elu": _pointwise(5, 1), "leaky_relu": _pointwise(3), "softplus": _pointwise(2, 2),
    "native_dropout": _pointwise(3),
    "embedding": _plain(Kind.GATHER), "index": _plain(Kind.GATHER), "_unsafe_index": _plain(Kind.GATHER),
    "index_select": _plain(Kind.GATHER), "gather": _plain(Kind.GATHER), "take": _plain(Kind.GATHER),
    "index_copy": _plain(Kind.SCATTER), "scatter": _plain(Kind.SCATTER), "index_fill": _plain(Kind.SCATTER),
    "masked_scatter": _plain(Kind.SCATTER),
    "index_put": _index_put, "_index_put_impl": _index_put, "_unsafe_index_put": _index_put,
    "_unsafe_masked_index_put_accumulate": _scatter_add(3),
    "scatter_add": _scatter_add(3), "index_add": _scatter_add(3), "scatter_reduce": _scatter_add(3),
    "embedding_dense_backward": _embedding_backward,
    "sum": _reduction(1), "mean": _reduction(1, 1), "amax": _reduction(1), "amin": _reduction(1), "max": _reduction(1),
    "min": _reduction(1), "prod": _reduction(1), "argmax": _reduction(1), "argmin": _reduction(1), "any": _reduction(1),
    "all": _reduction(1), "var_mean": _reduction(4), "var": _reduction(4), "std": _reduction(4),
    "linalg_vector_norm": _reduction(2), "cumsum": _reduction(1), "cumprod": _reduction(1),
    "_adaptive_avg_pool2d": _reduction(1, 1),
    "_softmax": _softmax(4, 1), "_log_softmax": _softmax(4, 1, log_per_row=1),
    "_softmax_backward_data": _softmax(5, 0), "_log_softmax_backward_data": _softmax(3, 1),
    "prepare_softmax_online": _online_softmax,
    "native_layer_norm": _layer_norm, "native_layer_norm_backward": _layer_norm_backward,
    "_fused_rms_norm": _rms_norm, "native_group_norm": _group_norm,
    "native_batch_norm": _batch_norm(5), "cudnn_batch_norm": _batch_norm(5),
    "_native_batch_norm_legit_no_training": _batch_norm(None), "native_batch_norm_backward": _batch_norm_backward,
    "nll_loss_forward": _nll_loss, "nll_loss_backward": _nll_loss_backward,
    "mse_loss": _reduction(3, 1), "mse_loss_backward": _pointwise(3),
    "max_pool2d_with_indices": _pool, "avg_pool2d": _pool, "_low_memory_max_pool_with_offsets": _pool,
    "_low_memory_max_pool_offsets_to_indices": _plain(Kind.COPY),
    "sort": _plain(Kind.SORT), "topk": _plain(Kind.SORT), "argsort": _plain(Kind.SORT),
}  # fmt: skip
