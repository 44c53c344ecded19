"""The cost rule of each ATen operator; `hiersim.frontends.aten` states what the rules count.

`RULES` maps a functional packet (`add`, never `add_`) to a function of the call.
"""

from __future__ import annotations

from typing import Final

from hiersim.frontends.aten.call import Rule, words
from hiersim.frontends.aten.contractions import (
    attention,
    attention_backward,
    convolution,
    convolution_backward,
    grouped_product,
    product,
)
from hiersim.frontends.aten.elementwise import (
    addc,
    binary_search,
    clamp,
    compared,
    embedding_backward,
    gelu,
    gelu_backward,
    histogram,
    index_put,
    interpolated_backward,
    moved,
    pointwise,
    power,
    sampled,
    scaled_add,
    scatter_add,
)
from hiersim.frontends.aten.reductions import (
    batch_norm,
    batch_norm_backward,
    fourier,
    group_norm,
    group_norm_backward,
    layer_norm,
    layer_norm_backward,
    logsumexp,
    nll_loss,
    nll_loss_backward,
    online_softmax,
    pool,
    pool_backward,
    reduction,
    rms_norm,
    softmax,
    triangular_solve,
    weight_norm,
)
from hiersim.model.operators import Kind

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
    "slice_backward select_backward slice_scatter select_scatter lift_fresh_copy eye linspace reflection_pad1d "
    "reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d pixel_shuffle "
    "pixel_unshuffle upsample_nearest1d upsample_nearest2d upsample_nearest3d bernoulli normal uniform random rand "
    "randn rand_like randn_like randint randint_like randperm "
    "native_dropout_mask inductor_seeds inductor_lookup_seed inductor_random device_put select_copy"
)

RULES: Final[dict[str, Rule]] = {
    **{name: pointwise(1) for name in _ONE},
    **{name: pointwise(0, 1) for name in _SPECIAL},
    **{name: moved(Kind.COPY) for name in _COPIES},
    "mm": product(0), "bmm": product(0), "addmm": product(1), "baddbmm": product(1), "_addmm_activation": product(1),
    "_scaled_mm": product(0), "_grouped_mm": grouped_product,
    "convolution": convolution, "_convolution": convolution,
    "convolution_backward": convolution_backward,
    "_scaled_dot_product_flash_attention": attention(4),
    "_scaled_dot_product_efficient_attention": attention(6, bias_at=3),
    "_scaled_dot_product_cudnn_attention": attention(6, bias_at=3),
    "_scaled_dot_product_flash_attention_backward": attention_backward(11),
    "_scaled_dot_product_efficient_attention_backward": attention_backward(10, bias_at=4),
    "add": scaled_add, "sub": scaled_add, "rsub": scaled_add, "pow": power, "clamp": clamp,
    "addcmul": addc, "addcdiv": addc, "lerp": pointwise(3), "fma": pointwise(2),
    "gelu": gelu, "gelu_backward": gelu_backward,
    "silu": pointwise(3, 1), "silu_backward": pointwise(5, 1),
    "tanh_backward": pointwise(3), "sigmoid_backward": pointwise(3), "threshold_backward": pointwise(2),
    "hardswish_backward": pointwise(7), "hardsigmoid": pointwise(4), "hardsigmoid_backward": pointwise(5),
    "hardtanh": pointwise(2), "glu": pointwise(1, 1), "mish": pointwise(3, 3), "elu_backward": pointwise(7, 1),
    "leaky_relu_backward": pointwise(3), "native_dropout_backward": pointwise(2),
    "softplus_backward": pointwise(7, 1), "log_sigmoid_backward": pointwise(10, 1), "mish_backward": pointwise(8, 4),
    "hardtanh_backward": pointwise(4), "_prelu_kernel": pointwise(3), "celu": pointwise(2, 1),
    "grid_sampler_2d": sampled, "upsample_linear1d": pointwise(4), "avg_pool2d_backward": pool_backward,
    "upsample_bilinear2d_backward": interpolated_backward(8), "upsample_bicubic2d_backward": interpolated_backward(32),
    "native_group_norm_backward": group_norm_backward,
    "polar": pointwise(2, 2), "upsample_bicubic2d": pointwise(46), "upsample_bilinear2d": pointwise(9),
    "_weight_norm_interface": weight_norm, "logsumexp": logsumexp,
    "isin": compared, "histc": histogram, "bincount": histogram,
    "log_sigmoid_forward": pointwise(4, 2), "max_pool2d_with_indices_backward": scatter_add(0),
    "upsample_nearest2d_backward": scatter_add(0),
    "hardswish": pointwise(5), "elu": pointwise(5, 1), "leaky_relu": pointwise(3), "softplus": pointwise(2, 2),
    "native_dropout": pointwise(3),
    "embedding": moved(Kind.GATHER), "index": moved(Kind.GATHER), "_unsafe_index": moved(Kind.GATHER),
    "index_select": moved(Kind.GATHER), "gather": moved(Kind.GATHER), "take": moved(Kind.GATHER),
    "index_copy": moved(Kind.SCATTER), "scatter": moved(Kind.SCATTER), "index_fill": moved(Kind.SCATTER),
    "masked_scatter": moved(Kind.SCATTER),
    "index_put": index_put, "_index_put_impl": index_put, "_unsafe_index_put": index_put,
    "_unsafe_masked_index_put_accumulate": scatter_add(3),
    "scatter_add": scatter_add(3), "index_add": scatter_add(3), "scatter_reduce": scatter_add(3),
    "embedding_dense_backward": embedding_backward,
    "sum": reduction(1), "mean": reduction(1, 1), "amax": reduction(1), "amin": reduction(1), "max": reduction(1),
    "min": reduction(1), "prod": reduction(1), "argmax": reduction(1), "argmin": reduction(1), "any": reduction(1),
    "all": reduction(1), "var_mean": reduction(4), "var": reduction(4), "std": reduction(4),
    "linalg_vector_norm": reduction(2), "cumsum": reduction(1), "cumprod": reduction(1),
    "cummax": reduction(1), "cummin": reduction(1), "mv": reduction(2), "dot": reduction(2), "vdot": reduction(2),
    "nonzero": reduction(1), "_is_all_true": reduction(1), "_is_any_true": reduction(1),
    "_adaptive_avg_pool2d": reduction(1, 1), "_adaptive_avg_pool3d": reduction(1, 1),
    "adaptive_max_pool2d": reduction(1), "adaptive_max_pool3d": reduction(1),
    "_fft_r2c": fourier, "_fft_c2r": fourier, "_fft_c2c": fourier,
    "linalg_solve_triangular": triangular_solve,
    "_softmax": softmax(4, 1), "_safe_softmax": softmax(4, 1), "_log_softmax": softmax(4, 1, log_per_row=1),
    "_softmax_backward_data": softmax(5, 0), "_log_softmax_backward_data": softmax(3, 1),
    "prepare_softmax_online": online_softmax,
    "native_layer_norm": layer_norm, "native_layer_norm_backward": layer_norm_backward,
    "_fused_rms_norm": rms_norm, "native_group_norm": group_norm,
    "native_batch_norm": batch_norm(5), "cudnn_batch_norm": batch_norm(5),
    "_native_batch_norm_legit_no_training": batch_norm(None), "native_batch_norm_backward": batch_norm_backward,
    "nll_loss_forward": nll_loss, "nll_loss_backward": nll_loss_backward,
    "mse_loss": reduction(3, 1), "mse_loss_backward": pointwise(3),
    "max_pool2d_with_indices": pool, "avg_pool2d": pool, "_low_memory_max_pool_with_offsets": pool,
    "max_pool3d_with_indices": pool, "avg_pool3d": pool,
    "_low_memory_max_pool_offsets_to_indices": moved(Kind.COPY), "im2col": moved(Kind.COPY), "col2im": scatter_add(0),
    "bucketize": binary_search(1, 0), "searchsorted": binary_search(0, 1),
    "sort": moved(Kind.SORT), "topk": moved(Kind.SORT), "argsort": moved(Kind.SORT),
}  # fmt: skip
