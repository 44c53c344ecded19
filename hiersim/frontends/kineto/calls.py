"""A profiled operator as a call that the ATen cost rules understand, with the shapes of its results.

A profile records the shapes of arguments, not of results; newer ones record plain arguments as texts too
(`Concrete Inputs`). Results follow from the operator's definition; where that needs an argument which the profile
does not hold (the stride of a convolution), they follow from the next operator that takes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any, Final

from hiersim.frontends.aten import cost_of, functional
from hiersim.frontends.aten.call import Call, Operand, Shape, words
from hiersim.frontends.aten.rules import RULES
from hiersim.frontends.kineto.arguments import operands, sides_of, tensors
from hiersim.frontends.kineto.events import HostOp
from hiersim.model.operators import DType, Kind

_SAME: Final = {
    "cudnn_batch_norm_backward": "native_batch_norm_backward", "miopen_batch_norm": "cudnn_batch_norm",
    "miopen_batch_norm_backward": "native_batch_norm_backward", "batch_norm_backward": "native_batch_norm_backward",
    "batch_norm": "native_batch_norm", "layer_norm": "native_layer_norm", "softmax": "_softmax",
    "log_softmax": "_log_softmax", "max_pool2d": "max_pool2d_with_indices",
}  # fmt: skip
"""Operators of one backend, and composite ones -> those with the same cost and the same first arguments."""
_COMPOSITE_CONVOLUTIONS: Final = ("conv1d", "conv2d", "conv3d")
_CONVOLUTIONS: Final = (
    "cudnn_convolution", "miopen_convolution", "thnn_conv2d", "_conv_depthwise2d", "mkldnn_convolution",
    "cudnn_convolution_transpose",
)  # fmt: skip
_CONVOLUTIONS_BACKWARD: Final = (
    "cudnn_convolution_backward", "miopen_convolution_backward", "thnn_conv2d_backward", "mkldnn_convolution_backward",
)  # fmt: skip
_POOLS: Final = ("max_pool2d_with_indices", "avg_pool2d", "max_pool2d", "_adaptive_avg_pool2d", "adaptive_avg_pool2d")
LOOK_AHEAD: Final = 24
"""Operators after a convolution or pooling among which one must take its result."""


def known(operator: HostOp) -> bool:
    """True where a cost rule can speak about the operator."""
    return bool(operator.dims) and ruled(operator.name)


def ruled(name: str) -> bool:
    """True where there is a cost rule for operators of that name."""
    name = functional(name)
    return (
        name in RULES or name in _SAME or name in _CONVOLUTIONS or name in _CONVOLUTIONS_BACKWARD
        or name.startswith("_foreach_") or name in _COMPOSITE_CONVOLUTIONS
        or name in ("linear", "matmul", "scaled_dot_product_attention")
    )  # fmt: skip


def as_call(operator: HostOp, later: Iterable[HostOp], inside: Iterable[str] = ()) -> Call:
    """The call under the name and with the arguments that its rule expects; results filled in.

    `later` are the operators that the host issues afterwards, `inside` the names of those within this one.
    """
    name, args = functional(operator.name), operands(operator)
    if name in _COMPOSITES:
        return _COMPOSITES[name](args)
    if name in _CONVOLUTIONS or name in _COMPOSITE_CONVOLUTIONS or name in ("convolution", "_convolution"):
        return _convolution(name, args, later)
    if name in _CONVOLUTIONS_BACKWARD or name == "convolution_backward":
        return _convolution_backward(name, args, tuple(inside))
    renamed = _SAME.get(name, operator.name)
    call = Call(name=renamed, args=_completed(name, args))
    return Call(name=renamed, args=call.args, outputs=_results(renamed, call, later))


def _completed(name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Plain arguments that a rule needs and the profile does not hold, at their usual values."""
    filled = list(args)

    def put(position: int, value: Any) -> None:
        if position < len(filled) and filled[position] is None:
            filled[position] = value

    if "softmax" in name:
        put(1 if "backward" not in name else 2, -1)
    elif name in ("native_layer_norm", "_fused_rms_norm") and args and isinstance(args[0], Operand):
        put(1, args[0].shape[-1:])
    elif name == "native_layer_norm_backward" and len(args) > 1 and isinstance(args[1], Operand):
        put(2, args[1].shape[-1:])
        put(7, (True, True, True))
    elif name in ("cudnn_batch_norm", "miopen_batch_norm"):
        put(5, True)
    elif name in _POOLS and len(args) > 1:
        put(1, (3, 3) if name.startswith("max") else (2, 2))
    return tuple(filled)


def _convolution(name: str, args: tuple[Any, ...], later: Iterable[HostOp]) -> Call:
    """Every forward convolution as `aten.convolution`; groups from the channels, strides from the result."""
    x, weight = args[0], args[1]
    full = name in ("convolution", "_convolution")
    transposed = bool(args[6]) if full and len(args) > 6 else "transpose" in name
    full = full or name in _COMPOSITE_CONVOLUTIONS
    bias = args[2] if len(args) > 2 and isinstance(args[2], Operand) else None
    stride, padding, dilation = (args[3:6] + (None,) * 3)[:3] if full else _backend(args)
    channels = weight.shape[1] if transposed else weight.shape[0]
    groups = max(1, x.shape[1] // max(1, weight.shape[0 if transposed else 1]))
    out = None
    if all(isinstance(item, tuple) for item in (stride, padding, dilation)) and not transposed:
        out = _convolved(x.shape, weight.shape, stride, padding, dilation)
    out = out or _taken((x.shape[0], channels), len(x.shape), later) or (x.shape[0], channels, *x.shape[2:])
    if not isinstance(stride, tuple):
        stride = _strides(x.shape, out)
    result = Operand(shape=out, dtype=x.dtype)
    return Call(
        name="aten.convolution", args=(x, weight, bias, stride, (), (), transposed, (), groups), outputs=(result,)
    )


def _backend(args: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """(stride, padding, dilation) of `cudnn_convolution(x, weight, [bias], padding, stride, dilation, …)`."""
    plain = [item for item in args[2:] if not isinstance(item, Operand)]
    padding, stride, dilation = (*plain[:3], None, None, None)[:3]
    return stride, padding, dilation


def _convolved(x: Shape, weight: Shape, stride: Any, padding: Any, dilation: Any) -> Shape | None:
    spatial = len(x) - 2
    each = [item * spatial if len(item) == 1 else item for item in (stride, padding, dilation)]
    if any(len(item) != spatial for item in each) or any(side < 1 for side in each[0]):
        return None
    sides = [
        (size + 2 * pad - wide * (taps - 1) - 1) // step + 1
        for size, taps, step, pad, wide in zip(x[2:], weight[2:], *each, strict=True)
    ]
    return (x[0], weight[0], *map(int, sides)) if all(side >= 0 for side in sides) else None


def _strides(x: Shape, out: Shape) -> Shape:
    return tuple(max(1, round(a / b)) if b else 1 for a, b in zip(x[2:], out[2:], strict=False)) or (1,)


def _taken(lead: Shape, sides: int, later: Iterable[HostOp]) -> Shape | None:
    """Shape of the first argument among the next operators that begins with `lead` and has so many sides."""
    for operator in later:
        for dims in operator.dims:
            shape = sides_of(dims)
            if shape is not None and len(shape) == sides and shape[: len(lead)] == lead:
                return shape
    return None


def _convolution_backward(name: str, args: tuple[Any, ...], inside: tuple[str, ...]) -> Call:
    """Every backward convolution as `aten.convolution_backward(grad, x, weight, …)`."""
    if name == "convolution_backward":
        grad, x, weight = args[:3]
        mask = args[10] if len(args) > 10 and isinstance(args[10], tuple) else (True, True, False)
    else:
        x, grad, weight = args[:3]
        mask = (True, True, False)
        parts = [name.endswith(("backward_input", "backward_weight")) for name in inside]
        if any(parts):  # one operator per gradient: the first layer needs none for its input
            mask = (*(any(name.endswith(end) for name in inside) for end in ("_input", "_weight")), False)
    groups = max(1, x.shape[1] // max(1, weight.shape[1]))
    stride = _strides(x.shape, grad.shape)
    outputs = tuple(operand for operand, wanted in zip((x, weight), mask, strict=False) if wanted)
    return Call(
        name="aten.convolution_backward", args=(grad, x, weight, None, stride, (), (), False, (), groups, mask),
        outputs=outputs,
    )  # fmt: skip


def _linear(args: tuple[Any, ...]) -> Call:
    """`x @ weight.T + bias` over all leading sides of x."""
    x, weight = args[:2]
    rows = x.elements // max(1, x.shape[-1])
    a, b = Operand(shape=(rows, x.shape[-1]), dtype=x.dtype), Operand(shape=weight.shape[::-1], dtype=weight.dtype)
    out = (Operand(shape=(*x.shape[:-1], weight.shape[0]), dtype=x.dtype),)
    bias = args[2] if len(args) > 2 and isinstance(args[2], Operand) else None
    if bias is None:
        return Call(name="aten.mm", args=(a, b), outputs=out)
    return Call(name="aten.addmm", args=(bias, a, b), outputs=out)


def product(a: Operand, b: Operand) -> Call:
    """A matrix product with broadcasting; leading sides of `a` fold into rows where `b` is a plain matrix."""
    left = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    lead = broadcast([left[:-2], right[:-2]]) if left[:-2] or right[:-2] else ()
    shape = (*lead, *((left[-2],) if len(a.shape) > 1 else ()), *((right[-1],) if len(b.shape) > 1 else ()))
    out = (Operand(shape=shape, dtype=a.dtype),)
    if len(right) == 2:
        rows = prod(left[:-1])
        folded = Operand(shape=(rows, left[-1]), dtype=a.dtype), Operand(shape=right, dtype=b.dtype)
        return Call(name="aten.mm", args=folded, outputs=out)
    batch = prod(lead)
    sides = (
        Operand(shape=(batch, *left[-2:]), dtype=a.dtype),
        Operand(shape=(batch, *right[-2:]), dtype=b.dtype),
    )
    return Call(name="aten.bmm", args=sides, outputs=out)


def _attention(args: tuple[Any, ...]) -> Call:
    """`scaled_dot_product_attention(q, k, v, mask, dropout, is_causal)`, as one fused kernel."""
    q, k, v = args[:3]
    causal = bool(args[5]) if len(args) > 5 else False
    out = (Operand(shape=(*q.shape[:-1], v.shape[-1]), dtype=q.dtype),)
    return Call(name="aten._scaled_dot_product_flash_attention", args=(q, k, v, 0.0, causal), outputs=out)


_COMPOSITES: Final[Mapping[str, Callable[[tuple[Any, ...]], Call]]] = {
    "linear": _linear, "matmul": lambda args: product(args[0], args[1]), "scaled_dot_product_attention": _attention,
}  # fmt: skip


# --- results ---------------------------------------------------------------------------------------


def _results(name: str, call: Call, later: Iterable[HostOp]) -> tuple[Operand, ...]:
    """Shapes of the results; in doubt one tensor like the largest argument."""
    packet = functional(name)
    inputs = tensors(call.args)
    if not inputs:
        return ()
    special = _SPECIAL.get(packet)
    if special is not None:
        found = special(call)
        if found is not None:
            return found
    if packet in _POOLS:
        lead = inputs[0].shape[:2]
        shape = _taken(lead, len(inputs[0].shape), later) or inputs[0].shape
        return (Operand(shape=shape, dtype=inputs[0].dtype),)
    if in_place(name):
        return (inputs[0],)
    kind = cost_of(Call(name=name, args=call.args, outputs=(inputs[0],))).kind
    if kind is Kind.POINTWISE:
        shape = broadcast([item.shape for item in inputs])
        largest = max(inputs, key=lambda item: item.elements)
        boolean = packet in ("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not", "isnan")
        return (Operand(shape=shape, dtype=DType.BOOL if boolean else largest.dtype),)
    if kind in (Kind.COPY, Kind.SORT, Kind.REDUCTION, Kind.SCATTER):
        return (inputs[0],)
    return (max(inputs, key=lambda item: item.elements),)


def in_place(name: str) -> bool:
    """True for `add_`, `_foreach_add_`, `copy_`: the first argument is written."""
    return name.endswith("_") and not name.endswith("__")


def broadcast(shapes: list[Shape]) -> Shape:
    """The common shape; that with most elements where there is none."""
    length = max(map(len, shapes))
    sides: list[int] = []
    for index in range(-length, 0):
        found = {shape[index] for shape in shapes if len(shape) >= -index} - {1}
        if len(found) > 1:
            return max(shapes, key=prod)
        sides.append(found.pop() if found else 1)
    return tuple(sides)


Result = Callable[[Call], tuple[Operand, ...] | None]


def _product(first: int) -> Result:
    def result(call: Call) -> tuple[Operand, ...] | None:
        a, b = call.args[first], call.args[first + 1]
        if len(a.shape) not in (2, 3) or len(a.shape) != len(b.shape):
            return None
        return (Operand(shape=(*a.shape[:-1], b.shape[-1]), dtype=a.dtype),)

    return result


def _like(*positions: int) -> Result:
    def result(call: Call) -> tuple[Operand, ...] | None:
        return tuple(call.args[at] for at in positions if at < len(call.args) and isinstance(call.args[at], Operand))

    return result


def _reduced(call: Call) -> tuple[Operand, ...] | None:
    """Sides named by `dim` go away; without `dim` all of them."""
    x, dims = call.args[0], call.arg(1, "dim")
    if not isinstance(x, Operand):
        return None
    sides = len(x.shape)
    chosen = (
        {int(dim) % sides for dim in (dims if isinstance(dims, tuple) else (dims,)) if dim is not None} if sides else {}
    )
    kept = tuple(side for index, side in enumerate(x.shape) if index not in chosen) if chosen else ()
    return (Operand(shape=kept, dtype=x.dtype),)


def _embedded(call: Call) -> tuple[Operand, ...] | None:
    table, indices = call.args[0], call.args[1]
    return (Operand(shape=(*indices.shape, *table.shape[1:]), dtype=table.dtype),)


def _concatenated(call: Call) -> tuple[Operand, ...] | None:
    parts = [item for item in call.args[0] if isinstance(item, Operand)] if isinstance(call.args[0], tuple) else []
    if not parts:
        return None
    dim = call.arg(1, "dim")
    sides = list(parts[0].shape)
    if not sides:
        return (Operand(shape=(len(parts),), dtype=parts[0].dtype),)
    at = dim % len(sides) if isinstance(dim, int) else _differing(parts)
    if any(len(part.shape) != len(sides) for part in parts):
        return (Operand(shape=(sum(part.elements for part in parts),), dtype=parts[0].dtype),)
    sides[at] = sum(part.shape[at] for part in parts)
    return (Operand(shape=tuple(sides), dtype=parts[0].dtype),)


def _differing(parts: list[Operand]) -> int:
    """The first side in which the parts differ; the last one where all are alike."""
    sides = min(len(part.shape) for part in parts)
    differing = (index for index in range(sides) if len({part.shape[index] for part in parts}) > 1)
    return next(differing, max(0, sides - 1))


def _attended(call: Call) -> tuple[Operand, ...] | None:
    q, v = call.args[0], call.args[2]
    return (Operand(shape=(*q.shape[:-1], v.shape[-1]), dtype=q.dtype),)


def _scalar(call: Call) -> tuple[Operand, ...] | None:
    return (Operand(shape=(), dtype=call.args[0].dtype),)


def _selected(call: Call) -> tuple[Operand, ...] | None:
    x, dim, index = call.args[0], call.args[1], call.args[2]
    at = dim % len(x.shape) if isinstance(dim, int) and x.shape else 0
    sides = (*x.shape[:at], index.elements, *x.shape[at + 1 :])
    return (Operand(shape=sides, dtype=x.dtype),)


_SPECIAL: Final[Mapping[str, Result]] = {
    "mm": _product(0), "bmm": _product(0), "addmm": _product(1), "baddbmm": _product(1), "_scaled_mm": _product(0),
    "_addmm_activation": _product(1), "embedding": _embedded, "cat": _concatenated, "nll_loss_forward": _scalar,
    "native_layer_norm_backward": _like(1, 5, 6), "native_batch_norm_backward": _like(0, 2, 2),
    "max_pool2d_with_indices_backward": _like(1),
    "nll_loss_backward": _like(1), "mse_loss_backward": _like(1), "copy": _like(0),
    "_scaled_dot_product_flash_attention": _attended, "_scaled_dot_product_efficient_attention": _attended,
    "_scaled_dot_product_cudnn_attention": _attended,
    "_scaled_dot_product_flash_attention_backward": _like(1, 2, 3),
    "_scaled_dot_product_efficient_attention_backward": _like(1, 2, 3),
    "gather": _like(2), "index_select": _selected,
    **{
        name: _reduced
        for name in words("sum mean amax amin max min prod argmax argmin any all var std linalg_vector_norm")
    },
}  # fmt: skip
