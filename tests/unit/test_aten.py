"""The cost rules of ATen operators, against sums done by hand. No torch."""

import pytest

from hiersim.frontends import aten
from hiersim.frontends.aten import Call, Operand, cost_of
from hiersim.model.operators import DIMS, DType, Kind


def tensor(*shape: int, dtype: DType = DType.BF16) -> Operand:
    return Operand(shape=shape, dtype=dtype)


def call(name: str, *args: object, out: Operand | tuple[Operand, ...] = (), **kwargs: object) -> Call:
    outputs = out if isinstance(out, tuple) else (out,)
    return Call(name=name, args=args, kwargs=kwargs, outputs=outputs)


def test_matrix_products() -> None:
    mm = cost_of(call("aten.mm.default", tensor(8, 16), tensor(16, 4), out=tensor(8, 4)))
    assert (mm.kind, mm.dims, mm.matrix_flops, mm.vector_flops) == (Kind.GEMM, (1, 8, 4, 16), 2 * 8 * 4 * 16, 0)
    addmm = cost_of(call("aten::addmm", tensor(4), tensor(8, 16), tensor(16, 4), out=tensor(8, 4)))
    assert (addmm.matrix_flops, addmm.vector_flops) == (mm.matrix_flops, 8 * 4)
    bmm = cost_of(call("bmm", tensor(3, 8, 16), tensor(3, 16, 4), out=tensor(3, 8, 4)))
    assert (bmm.dims, bmm.matrix_flops) == ((3, 8, 4, 16), 3 * mm.matrix_flops)


def test_convolution_is_the_implicit_gemm_of_one_group() -> None:
    args = (tensor(2, 8, 16, 16), tensor(12, 4, 3, 3), tensor(12), (2, 2), (1, 1), (1, 1), False, (0, 0), 2)
    cost = cost_of(call("aten.convolution.default", *args, out=tensor(2, 12, 8, 8)))
    assert cost.dims == (2, 2 * 64, 6, 4 * 9, 9, 4)
    assert cost.matrix_flops == 2 * 2 * 128 * 6 * 36
    assert cost.vector_flops == 2 * 12 * 64


@pytest.mark.parametrize(("queries", "keys"), [(4, 4), (1, 8), (3, 5), (5, 3)])
def test_causal_attention_masks_exactly_the_upper_triangle(queries: int, keys: int) -> None:
    q, k = tensor(2, 4, queries, 16), tensor(2, 2, keys, 16)
    name = "aten._scaled_dot_product_flash_attention.default"
    full = cost_of(call(name, q, k, k, 0.0, False, out=q))
    causal = cost_of(call(name, q, k, k, 0.0, True, out=q))
    masked = sum(key > query for query in range(queries) for key in range(keys))
    assert full.matrix_flops == causal.matrix_flops == 2 * 4 * queries * keys * 16 * 4
    assert (full.masked_flops, causal.masked_flops) == (0, 2 * 4 * masked * 16 * 4)
    scores = 2 * 4 * (queries * keys - masked)
    assert causal.special_ops == scores + 2 * 4 * queries
    assert causal.vector_flops == 4 * scores + 2 * 4 * queries * 16
    assert causal.dims == (2, 4, 2, queries, keys, 16, 1)


def test_pointwise_primitives() -> None:
    x = tensor(10)
    assert cost_of(call("aten.add.Tensor", x, x, out=x)).vector_flops == 10
    assert cost_of(call("aten.add_.Tensor", x, x, alpha=2, out=x)).vector_flops == 20
    assert cost_of(call("aten.pow.Tensor_Scalar", x, 2, out=x)).vector_flops == 10
    assert cost_of(call("aten.pow.Tensor_Scalar", x, 1.7, out=x)).special_ops == 10
    tanh = cost_of(call("aten.tanh.default", x, out=x))
    assert (tanh.vector_flops, tanh.special_ops) == (0, 10)
    copy = cost_of(call("aten._to_copy.default", x, out=x))
    assert (copy.kind, copy.vector_flops) == (Kind.COPY, 0)


def test_reductions_count_their_inputs() -> None:
    x = tensor(4, 128)
    mean = cost_of(call("aten.mean.dim", x, (-1,), True, out=tensor(4, 1)))
    assert (mean.dims, mean.vector_flops) == ((4, 128), 512 + 4)
    norm = cost_of(call("aten.native_layer_norm.default", x, (128,), tensor(128), tensor(128), 1e-5, out=(x,)))
    assert (norm.vector_flops, norm.special_ops, norm.dims) == (8 * 512 + 4, 4, (4, 128))
    softmax = cost_of(call("aten._softmax.default", x, -1, False, out=x))
    assert (softmax.vector_flops, softmax.special_ops) == (4 * 512, 512)


def test_a_fourier_transform_is_counted_as_radix_two_does_it() -> None:
    """Each of log2 n levels has n/2 butterflies, of a complex product (6) and two complex additions (4)."""
    points, rows = 1024, 3
    signal = tensor(rows, points, dtype=DType.COMPLEX64)
    whole = cost_of(call("aten._fft_c2c.default", signal, (1,), 0, True, out=signal))
    assert (whole.kind, whole.dims) == (Kind.REDUCTION, (rows, points))
    assert whole.vector_flops == rows * 10 * (points // 2) * 10
    half = tensor(rows, points // 2 + 1, dtype=DType.COMPLEX64)
    real = tensor(rows, points, dtype=DType.FP32)
    there = cost_of(call("aten._fft_r2c.default", real, (1,), 0, True, out=half))
    back = cost_of(call("aten._fft_c2r.default", half, (1,), 2, points, out=real))
    assert there.vector_flops == back.vector_flops == whole.vector_flops // 2
    plane = cost_of(call("aten._fft_c2c.default", signal, (0, 1), 0, True, out=signal))
    assert plane.dims == (1, rows * points)


def test_a_binary_search_halves_its_list() -> None:
    """7 boundaries leave 8 places: three comparisons."""
    values, boundaries, found = tensor(4, 5), tensor(7), tensor(4, 5, dtype=DType.INT64)
    for name, args in (("bucketize", (values, boundaries)), ("searchsorted", (boundaries, values))):
        assert cost_of(call(f"aten.{name}.Tensor", *args, out=found)).vector_flops == 20 * 3


def test_a_matrix_times_a_vector_is_sums_of_rows() -> None:
    """No matrix FLOPs: torch's counter counts none, and libraries run it on the vector unit."""
    cost = cost_of(call("aten.mv.default", tensor(6, 8), tensor(8), out=tensor(6)))
    assert (cost.kind, cost.dims, cost.vector_flops, cost.matrix_flops) == (Kind.REDUCTION, (6, 8), 2 * 6 * 8, 0)
    assert cost_of(call("aten.dot.default", tensor(8), tensor(8), out=tensor())).dims == (1, 8)


def test_membership_compares_each_with_each() -> None:
    cost = cost_of(call("aten.isin.Tensor_Tensor", tensor(4, 5), tensor(3), out=tensor(4, 5)))
    assert cost.vector_flops == 4 * 5 * 3


def test_substitution_takes_half_a_product_with_the_matrix() -> None:
    matrix, right = tensor(2, 8, 8), tensor(2, 8, 3)
    cost = cost_of(call("aten.linalg_solve_triangular.default", matrix, right, out=right))
    assert cost.vector_flops == 2 * 2 * 8 * 8 * 3 // 2


def test_adaptive_pooling_looks_at_each_element_once() -> None:
    cost = cost_of(call("aten.adaptive_max_pool2d.default", tensor(2, 8, 12, 12), (3, 3), out=tensor(2, 8, 3, 3)))
    assert (cost.kind, cost.dims, cost.vector_flops) == (Kind.REDUCTION, (144, 16), 2 * 8 * 144)


def test_a_multi_tensor_operator_is_the_sum_of_its_parts() -> None:
    tensors = (tensor(10), tensor(3, 4))
    cost = cost_of(call("aten._foreach_addcdiv_.ScalarList", tensors, tensors, tensors, (0.1, 0.2)))
    assert (cost.kind, cost.vector_flops) == (Kind.POINTWISE, 3 * 22)
    assert cost_of(call("aten._foreach_sqrt.default", tensors)).special_ops == 22


@pytest.mark.parametrize("name", ["mylib.fused_thing.default", "aten._no_such_operator.default", "aten._foreach_foo_"])
def test_unknown_operators_are_opaque(name: str) -> None:
    assert cost_of(call(name, tensor(4), out=tensor(4))).kind is Kind.OPAQUE


def test_a_known_operator_in_an_unknown_form_is_opaque() -> None:
    assert cost_of(call("aten.mm.default")).kind is Kind.OPAQUE


def test_names() -> None:
    assert aten.packet("aten.add_.Tensor") == aten.packet("aten::add_") == "add_"
    assert aten.functional("aten.add_.Tensor") == "add"
    assert aten.functional("prims.convert_element_type.default") == "convert_element_type"


def test_scatters_touch_what_they_write() -> None:
    cache, position, key = tensor(1, 8, 64, 16), tensor(1, dtype=DType.INT64), tensor(1, 8, 1, 16)
    assert aten.scattered_elements(call("aten.index_copy_.default", cache, 2, position, key, out=cache)) == 128
    assert not aten.accumulates(call("aten.index_put_.default", cache, (position,), key, out=cache))
    assert aten.accumulates(call("aten.index_put_.default", cache, (position,), key, True, out=cache))


def test_gathers_read_what_they_return() -> None:
    table, index = tensor(1000, 64), tensor(4, 8, dtype=DType.INT64)
    assert aten.gathered_elements(call("aten.embedding.default", table, index, out=tensor(4, 8, 64))) == 4 * 8 * 64
    scores, targets = tensor(4, 1000), tensor(4, dtype=DType.INT64)
    assert aten.gathered_elements(call("aten.nll_loss_forward.default", scores, targets, out=tensor())) == 4


def test_a_part_of_an_operator_costs_its_share() -> None:
    x = tensor(8, 64)
    whole = call("aten.mul.Tensor", x, x, out=x)
    cost, all_of_it = aten.limited(cost_of(whole), whole, 64)
    assert (cost.vector_flops, all_of_it) == (64, False)
    assert aten.limited(cost_of(whole), whole, 0) == (cost_of(whole), True)


def test_sixteen_bit_floats_are_computed_in_fp32_outside_matrix_units() -> None:
    assert aten.arithmetic_dtype(Kind.POINTWISE, (tensor(4),), ()) is DType.FP32
    assert aten.arithmetic_dtype(Kind.GEMM, (tensor(4),), ()) is DType.BF16
    assert aten.arithmetic_dtype(Kind.GATHER, (tensor(4), tensor(4, dtype=DType.INT64)), ()) is DType.BF16


def test_every_rule_gives_the_dims_of_its_kind() -> None:
    x = tensor(4, 8, 16, 16)
    for name in ("aten.sum.default", "aten.mul.Tensor", "aten.embedding.default", "aten.cat.default"):
        cost = cost_of(call(name, x, out=tensor(4)))
        assert len(cost.dims) == len(DIMS.get(cost.kind, ()))
