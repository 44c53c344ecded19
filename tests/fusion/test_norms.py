"""What a norm hands on: its sums are stored, its last step is an expression that may be computed in other kernels."""

from __future__ import annotations

from itertools import pairwise

from hiersim.frontends.published.sketch import Sheet, Sketch
from hiersim.fusion.build import kernel_graph
from hiersim.fusion.inductor.policy import partition
from hiersim.model.operators import DType
from hiersim.model.trace import Trace

SHAPE = (8, 49, 64)
SIZE = 8 * 49 * 64 * 4
"""Bytes of the normalised tensor."""


def normed() -> tuple[Sketch, Sheet]:
    """A layer norm over rows of 64."""
    sketch = Sketch(DType.FP32)
    x, weight = sketch.given("x", SHAPE), sketch.given("weight", (64,), "weight")
    bias = sketch.given("bias", (64,), "weight")
    arguments = (x, (64,), weight, bias, 1e-5)
    return sketch, sketch.run("aten.native_layer_norm.default", (x, weight, bias), SHAPE, arguments=arguments)


def kernels(sketch: Sketch) -> tuple[Trace, list[list[int]]]:
    """The operators of each kernel."""
    trace = sketch.case(suite="s", name="n", params={}).trace()
    found = partition(trace.graph)
    return trace, [found.operators[begin:end].tolist() for begin, end in pairwise(found.ptr.tolist())]


def test_a_mean_over_other_rows_computes_the_last_step_itself() -> None:
    """Nothing but sums lies between both kernels: x is read twice, the result of the norm neither written nor read."""
    sketch, result = normed()
    sketch.run("aten.mean.dim", (result,), (8, 64), arguments=(result, (1,)))
    trace, found = kernels(sketch)
    assert found == [[0], [0, 1]]
    graph = kernel_graph(trace, partition(trace.graph), "rules")
    assert graph.reads.size.tolist().count(SIZE) == 2
    assert SIZE not in graph.writes.size.tolist()


def test_a_product_reads_the_result() -> None:
    sketch, result = normed()
    sketch.run("aten.mm.default", (result, sketch.given("w", (64, 32), "weight")), (8 * 49, 32))
    assert kernels(sketch)[1] == [[0], [1]]


def test_with_two_users_five_buffers_are_too_many_to_read_again() -> None:
    """Operand, weight, bias and two sums: more than `realize_reads_threshold`."""
    sketch, result = normed()
    for dim in (1, 1):
        sketch.run("aten.mean.dim", (result,), (8, 64), arguments=(result, (dim,)))
    assert kernels(sketch)[1][0] == [0]
    assert all(0 not in kernel for kernel in kernels(sketch)[1][1:])


def test_sums_come_before_whoever_takes_the_last_step() -> None:
    """The norm's kernel may not wait for what reads its sums: a later norm over the same operand stays apart."""
    sketch, result = normed()
    mean = sketch.run("aten.mean.dim", (result,), (8, 64), arguments=(result, (1,)))
    product = sketch.run("aten.mm.default", (mean, sketch.given("w", (64, 49 * 64), "weight")), (8, 49 * 64))
    x = sketch.taken[0].reads[0]
    total = sketch.run("aten.add.Tensor", (x, product), SHAPE)
    sketch.run("aten._softmax.default", (total,), SHAPE, arguments=(total, -1, False))
    assert kernels(sketch)[1][0] == [0]
