"""The backward pass of a sketch: what PyTorch's autograd launches for the gradients of the calls written down.

Calls are walked from the last to the first. Each gives the gradients of what it read, by the formula that PyTorch has
for it; where a tensor was read twice they are added. A gradient is laid out as what it comes from: turned back by
`permute`, it is copied where a `view` needs it in order. Gradients of weights are added to what earlier steps left.

Two formulas launch more kernels than one would think. Softmax multiplies its result with the gradient first, in a
kernel of its own. Dropout that may be differentiated again widens its mask and scales it before it multiplies.

References
----------
PyTorch 2, tools/autograd/derivatives.yaml; torch/csrc/autograd/FunctionsManual.cpp:
`infinitely_differentiable_native_dropout_backward`, `pow_backward`; aten/src/ATen/native/cuda/SoftMax.cu:
`softmax_backward_cuda_out`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Final

from hiersim.frontends.aten import packet
from hiersim.frontends.published.sketch import Sheet, Sketch, Taken, turned

BACKWARD: Final = "backward"
Found = Sequence[Sheet | None]
"""Gradients of what a call read, in order; None where there is none."""
_TURNS: Final = frozenset(("permute", "transpose"))
_COPIES: Final = frozenset(("clone", "to", "type", "dropout", "getitem", "unsqueeze", "expand"))


def backward(sketch: Sketch, results: Sequence[Sheet]) -> None:
    """Write down the backward pass of all that `sketch` holds, from gradients of `results` that are given."""
    walk = _Walk(sketch)
    calls = tuple(sketch.taken)
    for call in calls:
        walk.follow(call)
    for sheet in results:
        walk.start(sheet)
    for call in reversed(calls):
        walk.take(call)


class _Walk:
    """Gradients so far, by the tensors that they are of."""

    def __init__(self, sketch: Sketch) -> None:
        self.sketch = sketch
        self.wanted: set[str] = set()
        """Tensors that depend on a weight, and weights."""
        self.gradients: dict[str, Sheet] = {}
        self.parts: dict[str, list[Sheet]] = {}
        """Gradients of parts of a tensor."""
        self.strided: set[str] = set()
        """Gradients that are not laid out in the order of their sides."""

    def follow(self, call: Taken) -> None:
        """Note which results have gradients."""
        if any(self.needs(sheet) for sheet in call.reads):
            self.wanted.add(call.writes[0].name)

    def needs(self, sheet: Sheet) -> bool:
        """Whether a gradient of `sheet` is asked for."""
        return sheet.name in self.wanted or self.sketch.role(sheet) == "weight"

    def start(self, sheet: Sheet) -> None:
        """Begin with a gradient that the caller gives."""
        if sheet.name in self.wanted:
            self.gradients[sheet.name] = self.sketch.given(f"{sheet.name}.grad", sheet.shape)

    def run(self, operator: str, reads: Sequence[Sheet], like: Sheet, **more: Any) -> Sheet:
        """A kernel of the backward pass, whose result has the shape of `like`."""
        return self.sketch.run(operator, reads, like.shape, phase=BACKWARD, **more)

    def view(self, of: Sheet, like: Sheet, operator: str = "aten.view.default") -> Sheet:
        return self.sketch.view(of, like.shape, operator=operator, phase=BACKWARD)

    def take(self, call: Taken) -> None:
        """Gradients of what `call` read, from that of its result."""
        gradient = self.of(call.writes[0])
        if gradient is None:
            return
        name = packet(call.operator)
        found = _FORMULAS[name](self, call, gradient) if name in _FORMULAS else self.through(call, gradient, name)
        for sheet, own in zip(call.reads, found, strict=True):
            if own is not None and self.needs(sheet):
                self.add(sheet, own)

    def of(self, sheet: Sheet) -> Sheet | None:
        """The whole gradient of a tensor; parts are put together first."""
        whole, parts = self.gradients.pop(sheet.name, None), self.parts.pop(sheet.name, [])
        if not parts:
            return whole
        joined = sum(prod(part.shape) for part in parts) == prod(sheet.shape)
        name = "aten.cat.default" if joined else "aten.slice_backward.default"
        together = self.run(name, parts, sheet)
        return together if whole is None else self.run("aten.add.Tensor", (whole, together), sheet)

    def add(self, sheet: Sheet, gradient: Sheet) -> None:
        """A further gradient of `sheet`; one of a weight joins those of earlier steps."""
        if self.sketch.role(sheet) == "weight":
            left = self.sketch.given(f"{gradient.name}.left", gradient.shape, "optimizer_state")
            self.run("aten.add_.Tensor", (left, gradient), gradient)
        elif prod(gradient.shape) < prod(sheet.shape):
            self.parts.setdefault(sheet.name, []).append(gradient)
        elif sheet.name in self.gradients:
            self.gradients[sheet.name] = self.run("aten.add.Tensor", (self.gradients[sheet.name], gradient), sheet)
        else:
            self.gradients[sheet.name] = gradient

    def through(self, call: Taken, gradient: Sheet, name: str) -> Found:
        """Views and copies hand on what comes."""
        of, result = call.reads[0], call.writes[0]
        if prod(result.shape) < prod(of.shape):
            return [gradient]  # a part
        if name in _TURNS:
            gradient = self.view(gradient, of, call.operator)
            self.strided.add(gradient.name)
            return [gradient]
        if name not in _COPIES and gradient.name in self.strided:
            gradient = self.run("aten.clone.default", (gradient,), gradient)
        if gradient.shape == of.shape:
            return [gradient]
        view = self.view(gradient, of)
        if gradient.name in self.strided:
            self.strided.add(view.name)
        return [view]


def _add(walk: _Walk, call: Taken, gradient: Sheet) -> Found:
    """What is repeated over a dimension gets a sum over it."""
    found: list[Sheet | None] = []
    for sheet in call.reads:
        repeated = prod(sheet.shape) < prod(gradient.shape) and walk.needs(sheet)
        arguments = (gradient, (0,), True)
        found.append(
            walk.run("aten.sum.dim_IntList", (gradient,), sheet, arguments=arguments) if repeated else gradient
        )
    return found


def _mul(walk: _Walk, call: Taken, gradient: Sheet) -> Found:
    if len(call.reads) == 1:
        return [walk.run("aten.mul.Tensor", (gradient,), gradient)]
    one, other = call.reads
    return [walk.run("aten.mul.Tensor", (gradient, factor), gradient) for factor in (other, one)]


def _div(walk: _Walk, call: Taken, gradient: Sheet) -> Found:
    rest = call.reads[1:]
    return [walk.run("aten.div.Tensor", (gradient, *rest), gradient), *(None for _ in rest)]


def _pow(walk: _Walk, call: Taken, gradient: Sheet) -> Found:
    """g · (n · x^(n-1)), each in a kernel."""
    power = walk.run("aten.pow.Tensor_Scalar", call.reads, gradient)
    scaled = walk.run("aten.mul.Tensor", (power,), gradient)
    return [walk.run("aten.mul.Tensor", (gradient, scaled), gradient)]


def _where(walk: _Walk, call: Taken, gradient: Sheet) -> Found:
    mask, _, *rest = call.reads
    return [None, walk.run("aten.where.self", (mask, gradient), gradient), *(None for _ in rest)]


def _tanh(walk: _Walk, call: Taken, gradient: Sheet) -> Found:
    return [walk.run("aten.tanh_backward.default", (gradient, call.writes[0]), gradient)]


def _gelu(walk: _Walk, call: Taken, gradient: Sheet) -> Found:
    return [walk.run("aten.gelu_backward.default", (gradient, *call.reads), gradient)]


def _softmax(walk: _Walk, call: Taken, gradient: Sheet) -> Found:
    result = call.writes[0]
    factor = walk.run("aten.mul.Tensor", (gradient, result), gradient)
    arguments = (factor, result, -1, result.dtype)
    return [walk.run("aten._softmax_backward_data.default", (factor, result), gradient, arguments=arguments)]


def _dropout(walk: _Walk, call: Taken, gradient: Sheet) -> Found:
    wide = walk.run("aten._to_copy.default", (call.writes[1],), gradient)
    scaled = walk.run("aten.mul.Tensor", (wide,), gradient)
    return [walk.run("aten.mul.Tensor", (gradient, scaled), gradient)]


def _norm(walk: _Walk, call: Taken, gradient: Sheet) -> Found:
    x, *affine = call.reads
    width = affine[0].shape
    arguments = (gradient, x, width, None, None, *affine, (True, True, True))
    operator = "aten.native_layer_norm_backward.default"
    more = [(sheet.shape, sheet.dtype) for sheet in affine]
    result = walk.run(operator, (gradient, x, affine[0]), x, arguments=arguments, more=more)
    return [result, *walk.sketch.taken[-1].writes[1:]]


def _mm(walk: _Walk, call: Taken, gradient: Sheet) -> Found:
    """Of both operands; of a batch, or of one product."""
    one, other = call.reads[-2:]
    first = (
        walk.run(call.operator.replace("addmm", "mm"), (gradient, other), one, arguments=(gradient, turned(other)))
        if walk.needs(one) else None
    )  # fmt: skip
    second = walk.run(
        call.operator.replace("addmm", "mm"), (one, gradient), other, arguments=(turned(one), gradient)
    )  # fmt: skip
    return [first, second]


def _addmm(walk: _Walk, call: Taken, gradient: Sheet) -> Found:
    bias = walk.run("aten.sum.dim_IntList", (gradient,), call.reads[0], arguments=(gradient, (0,), False))
    return [bias, *_mm(walk, call, gradient)]


def _embedding(walk: _Walk, call: Taken, gradient: Sheet) -> Found:
    """The whole table is filled with zeros, then rows are added to it."""
    table, index = call.reads
    arguments = (gradient, index, table.shape[0], -1, False)
    return [walk.run("aten.embedding_dense_backward.default", (gradient, index), table, arguments=arguments), None]


_FORMULAS: Final[Mapping[str, Callable[[_Walk, Taken, Sheet], Found]]] = {
    "add": _add, "mul": _mul, "div": _div, "pow": _pow, "where": _where, "tanh": _tanh, "gelu": _gelu,
    "_softmax": _softmax, "native_dropout": _dropout, "native_layer_norm": _norm, "mm": _mm, "bmm": _mm,
    "addmm": _addmm, "embedding": _embedding,
}  # fmt: skip
