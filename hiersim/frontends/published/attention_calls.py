"""The calls of attention that FlashAttention's authors time, operator by operator, views and gradients included.

`attention_ref` of the benchmark that came with their code takes queries, keys and values out of one packed tensor,
divides the keys by the root of the head dimension, and multiplies with `einsum`, which copies what is no batch of
matrices as it lies: keys are transposed element by element. Each call adds its gradient to
those of the calls before, which nobody clears; a call of both passes draws the gradient of its results first.

References
----------
HazyResearch/flash-attention (BSD-3), benchmarks/benchmark_flash_attention.py and benchmarks/utils.py, May 2022.
PyTorch 1.12, aten/src/ATen/native: Linear.cpp (`einsum`, `sumproduct_pair`), cuda/Shape.cu (`cat` copies what is not
contiguous part by part), cuda/SoftMax.cu (a kernel of its own multiplies the gradient by the weights).
"""

from __future__ import annotations

from math import prod, sqrt
from typing import Final

from hiersim.frontends.aten.call import Cost, Shape
from hiersim.frontends.published.sketch import Sheet, Sketch, turned
from hiersim.model.operators import DType, Kind

FORWARD: Final = "forward"
BACKWARD: Final = "backward"


def reference_call(dtype: DType, batch: int, heads: int, length: int, head: int, *, passes: str) -> Sketch:
    """`attention_ref` without mask and dropout: forward (`fwd`), backward (`bwd`) or both (`fwd+bwd`)."""
    call = _Reference(Sketch(dtype), batch, heads, length, head)
    if passes == "bwd":
        call.begin_backward()
    else:
        call.forward()
    if passes == "fwd+bwd":
        call.gradient = drawn(call.sketch, call.tokens)
    if passes != "fwd":
        call.backward()
    return call.sketch


def drawn(sketch: Sketch, shape: Shape) -> Sheet:
    """The gradient of the results of a call of both passes: normal numbers, drawn for each call."""
    return sketch.run("aten.randn_like.default", (), shape, name="do")


def added(sketch: Sketch, parts: tuple[Sheet, ...]) -> Sheet:
    """Parts of a packed gradient, which one kernel adds to what earlier calls left."""
    shape = (len(parts), *parts[0].shape)
    left = sketch.given("left", shape, "optimizer_state")
    cost = Cost(kind=Kind.POINTWISE, vector_flops=prod(shape))
    return sketch.run("aten.add_.Tensor", (left, *parts), shape, cost=cost, name="sum", phase=BACKWARD)


class _Reference:
    """`attention_ref` and its gradients, written into a sketch."""

    query: Sheet
    """Copied head by head, as all of these; keys are (heads, head dimension, keys)."""
    key: Sheet
    value: Sheet
    weights: Sheet
    gradient: Sheet
    """Of the results, token by token."""

    def __init__(self, sketch: Sketch, batch: int, heads: int, length: int, head: int) -> None:
        self.sketch, self.batch, self.heads, self.length, self.head = sketch, batch, heads, length, head

    @property
    def tokens(self) -> Shape:
        """Sides of queries, keys, values and results outside: token by token."""
        return (self.batch, self.length, self.heads, self.head)

    @property
    def rows(self) -> Shape:
        """Sides of queries and values head by head."""
        return (self.batch * self.heads, self.length, self.head)

    @property
    def columns(self) -> Shape:
        """Sides of keys, transposed."""
        return (self.batch * self.heads, self.head, self.length)

    @property
    def square(self) -> Shape:
        """Sides of scores and weights."""
        return (self.batch * self.heads, self.length, self.length)

    def forward(self) -> None:
        """The result is a view of what the last product writes."""
        q, k, v = (self.sketch.given(name, self.tokens) for name in "qkv")
        self.seen(q, self.tokens, "unbind")
        k = self.sketch.run("aten.div.Tensor", (k,), self.tokens, arguments=(k, sqrt(self.head)), name="ks")
        for sheet in (q, k):
            self.seen(sheet, self.tokens, "unsqueeze permute")
        self.query = self.copied(q, (self.batch, self.heads, self.length, self.head), self.rows, "qc")
        self.key = self.copied(k, (self.batch, self.heads, self.head, self.length), self.columns, "kc")
        scores = self.product(self.query, self.key, self.square, "s")
        self.seen(scores, self.square, "view permute view")
        softmax = (scores, -1, False)
        self.weights = self.sketch.run("aten._softmax.default", (scores,), self.square, arguments=softmax, name="p")
        self.seen(self.weights, self.square, "unsqueeze permute")
        self.seen(v, self.tokens, "unsqueeze permute")
        self.seen(self.weights, self.square, "permute view")
        self.value = self.copied(v, (self.batch, self.heads, self.length, self.head), self.rows, "vc")
        result = self.product(self.weights, self.value, self.rows, "o")
        self.seen(result, self.rows, "view permute view")

    def begin_backward(self) -> None:
        """What forward left, and the gradient of its results."""
        self.query, self.value = (self.sketch.given(name, self.rows) for name in ("qc", "vc"))
        self.key, self.weights = self.sketch.given("kc", self.columns), self.sketch.given("p", self.square)
        self.gradient = self.sketch.given("do", self.tokens)

    def backward(self) -> None:
        """What autograd makes of it, to the packed gradient that joins those of earlier calls."""
        back, softmax = BACKWARD, "aten._softmax_backward_data.default"
        above = self.seen(self.gradient, self.rows, "view permute view", back)
        self.seen(self.weights, self.square, "transpose", back)
        dv = self.product(turned(self.weights), above, self.rows, "dv", back)
        self.seen(self.value, self.rows, "transpose", back)
        dw = self.product(above, turned(self.value), self.square, "dw", back)
        self.seen(dv, self.rows, "view permute permute squeeze", back)
        self.seen(dw, self.square, "view permute permute squeeze", back)
        dm = self.sketch.run("aten.mul.Tensor", (dw, self.weights), self.square, name="dm", phase=back)
        step = (dm, self.weights, -1, self.sketch.dtype)
        ds = self.sketch.run(softmax, step[:2], self.square, arguments=step, name="ds", phase=back)
        self.seen(ds, self.square, "view permute view", back)
        self.seen(self.query, self.rows, "transpose", back)
        dk = self.product(turned(self.query), ds, self.columns, "gk", back)
        self.seen(self.key, self.columns, "transpose", back)
        dq = self.product(ds, turned(self.key), self.rows, "gq", back)
        for sheet in (dk, dq):
            self.seen(sheet, sheet.shape, "view permute permute squeeze", back)
        scale = (dk, sqrt(self.head))
        dk = self.sketch.run("aten.div.Tensor", (dk,), dk.shape, arguments=scale, name="gks", phase=back)
        parts = [self.gathered(sheet, name) for sheet, name in ((dq, "dq"), (dk, "dk"), (dv, "dvs"))]
        added(self.sketch, tuple(parts))

    def seen(self, sheet: Sheet, shape: Shape, views: str, phase: str = FORWARD) -> Sheet:
        """The tensor after some views; the last one has this shape."""
        for place, view in enumerate(views.split()):
            name = f"{sheet.name}.{view}{place}{phase[0]}"
            sheet = self.sketch.view(sheet, shape, name, f"aten.{view}.default", phase)
        return sheet

    def copied(self, sheet: Sheet, sides: Shape, shape: Shape, name: str) -> Sheet:
        """Permuted and copied, then seen as a batch of matrices."""
        view = self.sketch.view(sheet, sheet.shape, f"{name}.permute", "aten.permute.default")
        copy = self.sketch.run("aten.clone.default", (view,), sides, name=f"{name}.copy")
        return self.sketch.view(copy, shape, name, "aten._unsafe_view.default")

    def gathered(self, sheet: Sheet, name: str) -> Sheet:
        """A gradient, copied token by token to its place in the packed one."""
        sides = (self.batch, self.heads, *sheet.shape[1:])
        view = self.sketch.view(sheet, sides, f"{name}.view", "aten.narrow.default", BACKWARD)
        return self.sketch.run("aten.copy_.default", (view,), self.tokens, name=name, phase=BACKWARD)

    def product(self, left: Sheet, right: Sheet, shape: Shape, name: str, phase: str = FORWARD) -> Sheet:
        """A batch of products; operands that are `turned` are read as they lie."""
        return self.sketch.run("aten.bmm.default", (left, right), shape, name=name, phase=phase)
