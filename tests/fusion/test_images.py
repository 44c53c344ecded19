"""How operators on images share kernels where convolutions lay them out channels last."""

from __future__ import annotations

from itertools import pairwise

import pytest

from hiersim.frontends.aten.call import Cost
from hiersim.frontends.published.sketch import Sheet, Sketch
from hiersim.fusion.inductor.policy import partition
from hiersim.model.operators import DType, Kind

IMAGES, CHANNELS, SIDE = 2, 8, 16


class Network:
    """Operators between convolutions."""

    def __init__(self, side: int = SIDE) -> None:
        self.side, self.shape = side, (IMAGES, CHANNELS, side, side)
        self.sketch = Sketch(DType.FP32)
        self.x = self.convolution(self.sketch.given("x", self.shape))

    def convolution(self, x: Sheet) -> Sheet:
        weight = self.sketch.given(f"{x.name}.weight", (CHANNELS, CHANNELS, 1, 1), "weight")
        points = IMAGES * self.side**2
        cost = Cost(kind=Kind.CONV, dims=(1, points, CHANNELS, CHANNELS, 1, 1), matrix_flops=2 * points * CHANNELS**2)
        return self.sketch.run("aten.convolution.default", (x, weight), self.shape, cost=cost)

    def norm(self, x: Sheet, groups: int) -> Sheet:
        scale, shift = (self.sketch.given(f"{x.name}.{name}", (CHANNELS,), "weight") for name in ("scale", "shift"))
        arguments = (x, scale, shift, IMAGES, CHANNELS, self.side**2, groups, 1e-5)
        return self.sketch.run("aten.native_group_norm.default", (x, scale, shift), self.shape, arguments=arguments)

    def code(self, name: str, *reads: Sheet) -> Sheet:
        return self.sketch.run(f"aten.{name}.Tensor", reads, self.shape)

    def kernels(self) -> list[list[int]]:
        trace = self.sketch.case(suite="s", name="n", params={}).trace()
        found = partition(trace.graph)
        return [found.operators[begin:end].tolist() for begin, end in pairwise(found.ptr.tolist())]


@pytest.mark.parametrize(("side", "groups", "together"), [(16, 1, True), (32, 1, True), (16, 2, False), (33, 1, False)])
def test_one_group_is_a_whole_image_in_the_order_of_memory(side: int, groups: int, together: bool) -> None:
    """It is normalised where its operand is made; some of the channels are not contiguous, nor parts of a long sum.

    8 x 32 x 32 elements are as many as one block takes.
    """
    net = Network(side)
    root = net.code("sqrt", net.x)
    net.convolution(root)
    net.convolution(net.norm(root, groups))
    assert any({1, 3} <= set(kernel) for kernel in net.kernels()) is together


def test_a_pooled_image_is_handed_on_and_its_operand_is_not() -> None:
    """A window reads neighbours of a point, which another kernel has stored; who reads its result reads the point."""
    net = Network()
    root = net.code("sqrt", net.x)
    pooled = net.sketch.run(
        "aten.avg_pool2d.default", (root,), net.shape, arguments=(root, [3, 3], [1, 1], [1, 1], False, False)
    )
    net.convolution(pooled)
    net.convolution(net.code("sub", pooled, root))
    kernels = net.kernels()
    assert any({2, 4} <= set(kernel) for kernel in kernels)
    assert not any({1, 2} <= set(kernel) for kernel in kernels)
