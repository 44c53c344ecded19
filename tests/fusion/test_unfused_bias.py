"""Is the bias of a product in full precision read by whoever reads the product, as TorchInductor takes them apart?"""

from __future__ import annotations

import pytest

from hiersim.frontends.published.sketch import Sketch
from hiersim.fusion.inductor.buffers import Stored
from hiersim.fusion.inductor.policy import schedule
from hiersim.model.operators import DType

SIDE = 64
NORM = "aten.native_layer_norm.default"


def residuals(dtype: DType, layers: int) -> list[Stored]:
    """Why each sum of a residual stream is in memory, where a layer adds a product with bias to it."""
    sketch = Sketch(dtype)
    x, weight, bias = sketch.given("x", (SIDE, SIDE)), sketch.given("w", (SIDE,), "weight"), sketch.given("b", (SIDE,))
    for layer in range(layers):
        normed = sketch.run(NORM, (x, weight, bias), x.shape, arguments=(x, (SIDE,), weight, bias))
        matrix, own = (
            sketch.given(f"{name}{layer}", shape, "weight") for name, shape in (("m", x.shape), ("c", (SIDE,)))
        )
        x = sketch.run(
            "aten.add.Tensor", (x, sketch.run("aten.addmm.default", (own, normed, matrix), x.shape)), x.shape
        )
    sketch.run(NORM, (x, weight, bias), x.shape, arguments=(x, (SIDE,), weight, bias))
    graph = sketch.case(suite="s", name="n", params={}).trace().graph
    stored = schedule(graph).buffers.stored
    sums = [row for row in range(len(graph.operators)) if graph.operators.label(row) == "aten.add.Tensor"]
    return [Stored(stored[row]) for row in sums]


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [(DType.FP32, [Stored.NO, Stored.READS, Stored.NO, Stored.READS]), (DType.BF16, [Stored.NO] * 3 + [Stored.READS])],
)
def test_sums_of_a_residual_stream_load_biases_in_full_precision(dtype: DType, stored: list[Stored]) -> None:
    """More than four buffers: two for each product of FP32, and what the stream begins with."""
    assert residuals(dtype, 5)[:4] == stored
