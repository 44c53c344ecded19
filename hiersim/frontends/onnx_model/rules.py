"""An ONNX node as a call that the ATen cost rules understand.

The counts are those of `hiersim.frontends.aten`, so that one model captured from PyTorch and exported to ONNX
does the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, Final

from hiersim.frontends.aten.call import Call, Cost, Operand, Shape, words
from hiersim.frontends.aten.contractions import attention_cost
from hiersim.frontends.aten.rules import RULES
from hiersim.frontends.kineto.calls import product
from hiersim.model.operators import Kind

Inputs = tuple[Operand | None, ...]
"""Operands in order; None where an optional one is left out."""
Rule = Callable[[Inputs, tuple[Operand, ...], Mapping[str, Any]], Call | Cost]

VIEWS: Final = frozenset(words("Reshape Flatten Squeeze Unsqueeze Identity Dropout"))
"""Nodes whose result is their first input, seen otherwise (dropout: in inference)."""
SHAPES: Final = frozenset(words("Shape Size Constant"))
"""Nodes that launch nothing: their result is known before the run."""
_POINTWISE: Final = {
    **{name: name.lower() for name in words("Add Sub Mul Div Relu Sigmoid Tanh Erf Exp Log Sqrt Abs Neg Reciprocal")},
    **{name: name.lower() for name in words("Floor Ceil Round Sign Sin Cos Tan Asin Acos Atan Sinh Cosh Where Gelu")},
    **{name: name.lower() for name in words("HardSwish HardSigmoid Elu Softplus Mish IsNaN IsInf Trilu")},
    "Max": "maximum", "Min": "minimum", "Equal": "eq", "Greater": "gt", "Less": "lt", "GreaterOrEqual": "ge",
    "LessOrEqual": "le", "And": "logical_and", "Or": "logical_or", "Not": "logical_not", "Xor": "logical_xor",
    "LeakyRelu": "leaky_relu", "PRelu": "leaky_relu", "Mod": "remainder", "Swish": "silu", "Silu": "silu",
    "QuickGelu": "silu", "BiasGelu": "gelu", "FastGelu": "gelu", "Selu": "elu", "Celu": "elu", "Trilu": "tril",
    "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or", "BitwiseNot": "bitwise_not",
}  # fmt: skip
_REDUCTIONS: Final = {
    "ReduceSum": "sum", "ReduceMean": "mean", "ReduceMax": "amax", "ReduceMin": "amin", "ReduceProd": "prod",
    "ReduceL2": "linalg_vector_norm", "ReduceL1": "sum", "ReduceSumSquare": "linalg_vector_norm", "ArgMax": "argmax",
    "ArgMin": "argmin", "CumSum": "cumsum", "GlobalAveragePool": "mean", "GlobalMaxPool": "amax",
}  # fmt: skip
_COPIES: Final = frozenset(
    words(
        "Cast CastLike Concat Split Slice Pad Expand Tile Transpose Resize Upsample ConstantOfShape Range EyeLike "
        "DepthToSpace SpaceToDepth ReverseSequence RandomNormal RandomUniform RandomNormalLike RandomUniformLike "
        "ReorderInput ReorderOutput Bernoulli CenterCropPad OneHot"
    )
)
_GATHERS: Final = frozenset(words("Gather GatherND GatherElements GridSample Compress RoiAlign"))
_SCATTERS: Final = frozenset(words("Scatter ScatterElements ScatterND TensorScatter"))
_SORTS: Final = frozenset(words("TopK Unique NonMaxSuppression"))


def cost_call(kind: str, inputs: Inputs, outputs: tuple[Operand, ...], attributes: Mapping[str, Any]) -> Call | Cost:
    """What a node of type `kind` costs: a call with an ATen rule, or a cost; OPAQUE where nothing is known."""
    if kind in _SPECIAL:
        return _SPECIAL[kind](inputs, outputs, attributes)
    name = _POINTWISE.get(kind) or _REDUCTIONS.get(kind)
    if name is not None and name in RULES:
        return Call(name=f"aten.{name}", args=tuple(item for item in inputs if item is not None), outputs=outputs[:1])
    for kinds, found in ((_COPIES, Kind.COPY), (_GATHERS, Kind.GATHER), (_SCATTERS, Kind.SCATTER), (_SORTS, Kind.SORT)):
        if kind in kinds:
            return Cost(kind=found)
    return Cost(kind=Kind.OPAQUE)


def gathers(kind: str) -> bool:
    """True where only the gathered part of the first input is read."""
    return kind in _GATHERS


def _given(inputs: Inputs, at: int) -> Operand | None:
    return inputs[at] if at < len(inputs) else None


def _first(inputs: Inputs) -> Operand:
    x = inputs[0]
    if x is None:
        raise ValueError("the first input is missing")
    return x


def _swapped(operand: Operand, swap: Any) -> Operand:
    return Operand(shape=(*operand.shape[:-2], *operand.shape[-2:][::-1]), dtype=operand.dtype) if swap else operand


def _gemm(inputs: Inputs, outputs: tuple[Operand, ...], attributes: Mapping[str, Any]) -> Call:
    a, b, c = _first(inputs), inputs[1], _given(inputs, 2)
    assert b is not None
    a, b = _swapped(a, attributes.get("transA")), _swapped(b, attributes.get("transB"))
    if c is None:
        return Call(name="aten.mm", args=(a, b), outputs=outputs)
    return Call(name="aten.addmm", args=(c, a, b), outputs=outputs)


def _matmul(inputs: Inputs, outputs: tuple[Operand, ...], attributes: Mapping[str, Any]) -> Call:
    a, b = _first(inputs), inputs[1]
    assert b is not None
    return product(_swapped(a, attributes.get("transA")), _swapped(b, attributes.get("transB")))


def _conv(transposed: bool) -> Rule:
    def rule(inputs: Inputs, outputs: tuple[Operand, ...], attributes: Mapping[str, Any]) -> Call:
        x, weight = _first(inputs), inputs[1]
        assert weight is not None
        stride = tuple(attributes.get("strides", ())) or (1,) * (len(weight.shape) - 2)
        groups = int(attributes.get("group", 1))
        args = (x, weight, _given(inputs, 2), stride, (), (), transposed, (), groups)
        return Call(name="aten.convolution", args=args, outputs=outputs)

    return rule


def _axis(name: str) -> Rule:
    def rule(inputs: Inputs, outputs: tuple[Operand, ...], attributes: Mapping[str, Any]) -> Call:
        return Call(name=name, args=(_first(inputs), int(attributes.get("axis", -1))), outputs=outputs[:1])

    return rule


def _normalized(name: str, added: int = 0) -> Rule:
    """Layer and RMS normalisation; `added` inputs are summed up before it (SkipLayerNormalization)."""

    def rule(inputs: Inputs, outputs: tuple[Operand, ...], attributes: Mapping[str, Any]) -> Call | Cost:
        from hiersim.frontends.aten import cost_of

        x, axis = _first(inputs), int(attributes.get("axis", -1))
        shape: Shape = x.shape[axis if axis >= 0 else len(x.shape) + axis :]
        rest = inputs[1 + added :]
        call = Call(name=name, args=(x, shape, _given(rest, 0), _given(rest, 1)), outputs=outputs[:1])
        if not added:
            return call
        cost = cost_of(call)
        return Cost(
            kind=cost.kind, dims=cost.dims, vector_flops=cost.vector_flops + added * x.elements,
            special_ops=cost.special_ops,
        )  # fmt: skip

    return rule


def _batch_norm(inputs: Inputs, outputs: tuple[Operand, ...], attributes: Mapping[str, Any]) -> Call:
    return Call(name="aten._native_batch_norm_legit_no_training", args=tuple(inputs), outputs=outputs[:1])


def _group_norm(inputs: Inputs, outputs: tuple[Operand, ...], attributes: Mapping[str, Any]) -> Call:
    x = _first(inputs)
    groups = int(attributes.get("num_groups", x.shape[1]))
    args = (x, _given(inputs, 1), _given(inputs, 2), x.shape[0], x.shape[1], prod(x.shape[2:]), groups)
    return Call(name="aten.native_group_norm", args=args, outputs=outputs[:1])


def _pool(name: str) -> Rule:
    def rule(inputs: Inputs, outputs: tuple[Operand, ...], attributes: Mapping[str, Any]) -> Call:
        window = tuple(attributes.get("kernel_shape", (1,)))
        return Call(name=name, args=(_first(inputs), window), outputs=outputs[:1])

    return rule


def _clip(inputs: Inputs, outputs: tuple[Operand, ...], attributes: Mapping[str, Any]) -> Call:
    bounds = [_given(inputs, at) for at in (1, 2)]
    given = [
        item if item is not None else attributes.get(name) for item, name in zip(bounds, ("min", "max"), strict=True)
    ]
    return Call(name="aten.clamp", args=(_first(inputs), *given), outputs=outputs)


def _power(inputs: Inputs, outputs: tuple[Operand, ...], attributes: Mapping[str, Any]) -> Call:
    """`exponent` is there where the second input is a constant."""
    exponent = attributes.get("exponent", inputs[1])
    return Call(name="aten.pow", args=(_first(inputs), exponent), outputs=outputs)


def _gelu(inputs: Inputs, outputs: tuple[Operand, ...], attributes: Mapping[str, Any]) -> Call:
    approximate = attributes.get("approximate", b"none")
    text = approximate.decode() if isinstance(approximate, bytes) else str(approximate)
    return Call(name="aten.gelu", args=(_first(inputs), text), outputs=outputs)


def _attention(inputs: Inputs, outputs: tuple[Operand, ...], attributes: Mapping[str, Any]) -> Cost:
    """The `Attention` of opset 23: (batch, heads, sequence, width), or heads folded into the width."""
    sides = []
    for place, name in ((0, "q_num_heads"), (1, "kv_num_heads"), (2, "kv_num_heads")):
        operand = inputs[place]
        assert operand is not None
        shape = operand.shape
        if len(shape) == 3:
            heads = int(attributes[name])
            shape = (shape[0], heads, shape[1], shape[2] // heads)
        sides.append(shape)
    causal = bool(attributes.get("is_causal", 0))
    q, k, v = sides
    return attention_cost(q, k, v, causal, backward=False, bias=_given(inputs, 3) is not None)


_SPECIAL: Final[Mapping[str, Rule]] = {
    "Gemm": _gemm, "FusedGemm": _gemm, "MatMul": _matmul, "FusedMatMul": _matmul, "Conv": _conv(False),
    "FusedConv": _conv(False), "ConvTranspose": _conv(True), "Softmax": _axis("aten._softmax"),
    "LogSoftmax": _axis("aten._log_softmax"), "LayerNormalization": _normalized("aten.native_layer_norm"),
    "RMSNormalization": _normalized("aten._fused_rms_norm"),
    "SimplifiedLayerNormalization": _normalized("aten._fused_rms_norm"),
    "SkipLayerNormalization": _normalized("aten.native_layer_norm", 1),
    "SkipSimplifiedLayerNormalization": _normalized("aten._fused_rms_norm", 1),
    "BatchNormalization": _batch_norm, "GroupNormalization": _group_norm, "InstanceNormalization": _group_norm,
    "MaxPool": _pool("aten.max_pool2d_with_indices"), "AveragePool": _pool("aten.avg_pool2d"), "Clip": _clip,
    "Pow": _power, "Gelu": _gelu, "Attention": _attention,
}  # fmt: skip
