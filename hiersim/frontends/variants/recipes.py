"""What composite operators consist of, and which operators are one primitive under several names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hiersim.model.operators import Kind


@dataclass(frozen=True, slots=True)
class Step:
    """One primitive of a recipe."""

    name: str
    reads: tuple[str, ...]
    """`in0`, `in1`, … are the operator's operands in order; other names are what earlier steps make."""
    into: str
    """`out0`, `out1`, … are the operator's results in order; any other name is made on the way."""
    like: str = "in0"
    """Whose shape it makes on the way, or `rows`: that of `in0` with the last side reduced."""
    kind: Kind = Kind.POINTWISE
    vector: int = 0
    """Share of the operator's vector FLOPs, per point of the loop."""
    special: int = 0
    """Share of its special functions, per element that is made."""
    across: bool = False
    """A reduction over rows, where the operator reduces columns."""
    narrow: bool = False
    """Made on the way in the element type of `in0`, also where that is half precision."""


Recipe = Callable[[int], "tuple[Step, ...] | None"]


def primitive(label: str) -> str:
    """The bare name of an operator: `aten._softmax.default` → `_softmax`, `aten.relu_.default` → `relu`."""
    parts = label.split(".")
    name = parts[1] if len(parts) > 1 else label
    return name.rstrip("_") if not name.startswith("__") else name


def _point(name: str, reads: tuple[str, ...], into: str, like: str = "in0", special: int = 0) -> Step:
    return Step(name, reads, into, like, vector=1 - special, special=special)


def _sum(reads: str, into: str, name: str = "sum") -> Step:
    return Step(name, (reads,), into, "rows", Kind.REDUCTION, vector=1)


def _only(count: int, *steps: Step) -> Recipe:
    """A recipe for operators of that many operands."""
    return lambda operands: steps if operands == count else None


def _layer_norm(operands: int) -> tuple[Step, ...] | None:
    """Mean and variance, and weight and bias where there are any."""
    if not 1 <= operands <= 3:
        return None
    steps = [
        _sum("in0", "total"), _point("div", ("total",), "out1"), _point("sub", ("in0", "out1"), "centred"),
        _point("mul", ("centred",), "squares"), _sum("squares", "spread"),
        _point("div", ("spread",), "variance", "rows"), _point("add", ("variance",), "shifted", "rows"),
        _point("rsqrt", ("shifted",), "out2", special=1),
    ]  # fmt: skip
    names = ["mul", "mul", "add"][:operands]
    value = "centred"
    for place, name in enumerate(names):
        into = "out0" if place == len(names) - 1 else f"scaled{place}"
        steps.append(_point(name, (value, "out2" if place == 0 else f"in{place}"), into))
        value = into
    return tuple(steps)


def _layer_norm_backward(operands: int) -> tuple[Step, ...] | None:
    """Operands are the gradient, the input, mean and reciprocal deviation, weight and bias."""
    if operands != 6:
        return None
    return (
        _point("sub", ("in1", "in2"), "centred"), _point("mul", ("centred", "in3"), "normal"),
        _point("mul", ("in0", "in4"), "weighted"), _sum("weighted", "first"),
        _point("mul", ("weighted", "normal"), "product"), _sum("product", "second"),
        _point("mul", ("normal", "second"), "along"), _point("sub", ("weighted", "first"), "level"),
        _point("sub", ("level", "along"), "slope"), _point("mul", ("slope", "in3"), "out0"),
        _point("mul", ("in0", "normal"), "per_weight"),
        Step("sum", ("per_weight",), "out1", kind=Kind.REDUCTION, vector=1, across=True),
        Step("sum", ("in0",), "out2", kind=Kind.REDUCTION, vector=1, across=True),
    )  # fmt: skip


def _with_bias(kind: Kind, bias: int, name: str) -> Recipe:
    """A product whose operand number `bias` is added to its result."""

    def recipe(operands: int) -> tuple[Step, ...] | None:
        if operands != 3:
            return None
        others = tuple(f"in{place}" for place in range(3) if place != bias)
        return (
            Step(name, others, "product", "out0", kind, narrow=True),
            _point("add", ("product", f"in{bias}"), "out0"),
        )

    return recipe


RECIPES: Final[dict[str, Recipe]] = {
    "_softmax": _only(
        1, _sum("in0", "most", "amax"), _point("sub", ("in0", "most"), "shifted"),
        _point("exp", ("shifted",), "powers", special=1), _sum("powers", "total"),
        _point("div", ("powers", "total"), "out0"),
    ),
    "_log_softmax": _only(
        1, _sum("in0", "most", "amax"), _point("sub", ("in0", "most"), "shifted"),
        _point("exp", ("shifted",), "powers", special=1), _sum("powers", "total"),
        _point("log", ("total",), "level", "rows", special=1), _point("sub", ("shifted", "level"), "out0"),
    ),
    "_softmax_backward_data": _only(
        2, _point("mul", ("in0", "in1"), "product"), _sum("product", "total"),
        _point("mul", ("in1", "total"), "level"), _point("sub", ("product", "level"), "out0"),
    ),
    "_log_softmax_backward_data": _only(
        2, _point("exp", ("in1",), "powers", special=1), _sum("in0", "total"),
        _point("mul", ("powers", "total"), "level"), _point("sub", ("in0", "level"), "out0"),
    ),
    "native_layer_norm": _layer_norm,
    "native_layer_norm_backward": _layer_norm_backward,
    "native_batch_norm": _only(
        5, Step("add", ("in4",), "shifted", "in4", vector=1),
        _point("rsqrt", ("shifted",), "scale", "in4", special=1), _point("sub", ("in0", "in3"), "centred"),
        _point("mul", ("centred", "scale"), "normal"), _point("mul", ("normal", "in1"), "scaled"),
        _point("add", ("scaled", "in2"), "out0"),
    ),
    "gelu": _only(
        1, _point("mul", ("in0",), "inner"), _point("erf", ("inner",), "share", special=1),
        _point("add", ("share",), "shifted"), _point("mul", ("in0",), "half"),
        _point("mul", ("half", "shifted"), "out0"),
    ),
    "silu": _only(
        1, _point("neg", ("in0",), "minus"), _point("exp", ("minus",), "power", special=1),
        _point("add", ("power",), "shifted"), _point("div", ("in0", "shifted"), "out0"),
    ),
    "sigmoid": _only(
        1, _point("neg", ("in0",), "minus"), _point("exp", ("minus",), "power", special=1),
        _point("add", ("power",), "shifted"), _point("reciprocal", ("shifted",), "out0"),
    ),
    "tanh_backward": _only(
        2, _point("mul", ("in1",), "square"), _point("sub", ("square",), "slope"),
        _point("mul", ("in0", "slope"), "out0"),
    ),
    "threshold_backward": _only(2, _point("le", ("in1",), "low"), _point("where", ("low", "in0"), "out0")),
    "mean": _only(
        1, Step("sum", ("in0",), "total", "out0", Kind.REDUCTION, vector=1),
        _point("div", ("total",), "out0"),
    ),
    "addmm": _with_bias(Kind.GEMM, 0, "matmul"),
    "baddbmm": _with_bias(Kind.GEMM, 0, "matmul"),
    "convolution": _with_bias(Kind.CONV, 2, "convolution"),
}  # fmt: skip
"""By bare name: what an operator of that many operands consists of; None where it has others than expected."""

WIDENED: Final = (
    "_softmax", "_log_softmax", "native_layer_norm", "native_batch_norm", "gelu", "silu", "sigmoid", "mean",
)  # fmt: skip
"""Recipes that run in FP32 where `in0` and `out0` are in half precision."""

_SAME: Final[dict[str, tuple[str, ...]]] = {
    "add": ("add", "_foreach_add"),
    "sub": ("sub", "rsub", "_foreach_sub"),
    "mul": ("mul", "_foreach_mul"),
    "div": ("div", "_foreach_div"),
    "neg": ("neg", "_foreach_neg"),
    "pow": ("pow", "_foreach_pow"),
    "sqrt": ("sqrt", "_foreach_sqrt"),
    "rsqrt": ("rsqrt",),
    "exp": ("exp",),
    "log": ("log",),
    "tanh": ("tanh",),
    "sin": ("sin",),
    "cos": ("cos",),
    "erf": ("erf",),
    "maximum": ("relu", "maximum", "clamp_min"),
    "where": ("where", "masked_fill"),
    "eq": ("eq",),
    "lt": ("lt",),
    "gt": ("gt",),
    "le": ("le",),
    "ge": ("ge",),
    "floor_div": ("floor_divide",),
    "convert_element_type": ("_to_copy",),
    "clone": ("clone", "copy", "contiguous"),
    "cat": ("cat",),
    "iota": ("arange",),
    "full": ("ones_like", "zeros_like", "full", "full_like", "zeros", "ones"),
    "sum": ("sum",),
    "matmul": ("mm", "bmm"),
    "convolution": ("convolution",),
    "take": ("embedding", "index", "index_select", "gather"),
}
ALIKE: Final = {name: f"prims.{one}" for one, names in _SAME.items() for name in names}
"""The primitive that an operator is, by its bare name."""
