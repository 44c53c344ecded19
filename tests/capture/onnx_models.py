"""ONNX models written node by node, for the tests of what ONNX Runtime makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
_NUMPY = {FLOAT: np.float32, HALF: np.float16}


class Graph:
    """Nodes in order, with weights made at first sight."""

    def __init__(self, kind: int = FLOAT, absent: bool = False) -> None:
        self.kind, self.absent = kind, absent
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}

    def node(self, op: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Append a node; returns the name of its result."""
        name = out or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"/{name}", **attributes))
        return name

    def weight(self, name: str, *shape: int) -> str:
        """A weight: seeded numbers, or data in a file that is not there."""
        if self.absent and shape:
            tensor = onnx.TensorProto(
                name=name, data_type=self.kind, dims=shape, data_location=onnx.TensorProto.EXTERNAL
            )
            tensor.external_data.add(key="location", value="weights.bin")
            self.weights[name] = tensor
        else:
            values = np.random.default_rng(len(self.weights)).normal(size=shape).astype(_NUMPY[self.kind])
            self.weights[name] = numpy_helper.from_array(values, name)
        return name

    def number(self, value: float) -> str:
        """A scalar in the graph's element type."""
        name = f"number_{value}"
        self.weights[name] = numpy_helper.from_array(np.array(value, _NUMPY[self.kind]), name)
        return name

    def shape(self, *sides: int) -> str:
        """A shape, as Reshape takes it."""
        name = "shape_" + "_".join(map(str, sides))
        self.weights[name] = numpy_helper.from_array(np.array(sides, np.int64), name)
        return name

    def linear(self, x: str, name: str, inner: int, outer: int) -> str:
        """A product with a weight, and its bias."""
        return self.node(
            "Add", self.node("MatMul", x, self.weight(name, inner, outer)), self.weight(f"{name}.b", outer)
        )

    def norm(self, x: str, name: str, width: int) -> str:
        """Layer normalisation, node by node as exporters wrote it before opset 17."""
        centred = self.node("Sub", x, self.node("ReduceMean", x, axes=[-1]))
        variance = self.node("ReduceMean", self.node("Pow", centred, self.number(2.0)), axes=[-1])
        scaled = self.node("Div", centred, self.node("Sqrt", self.node("Add", variance, self.number(1e-5))))
        scaled = self.node("Mul", scaled, self.weight(f"{name}.g", width))
        return self.node("Add", scaled, self.weight(f"{name}.b", width))

    def whole(self, inputs: list[Any], outputs: list[Any]) -> bytes:
        """The model."""
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, list(self.weights.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
        data: bytes = model.SerializeToString()
        return data


def encoder(
    layers: int = 2, batch: int = 2, tokens: int = 16, width: int = 32, heads: int = 4, kind: int = FLOAT,
    absent: bool = False,
) -> bytes:  # fmt: skip
    """Post-norm encoder layers as BERT's exporters write them: attention, its mask and GELU node by node."""
    g = Graph(kind, absent)
    mask = g.node("Unsqueeze", g.node("Unsqueeze", "mask", axes=[1]), axes=[2])
    mask = g.node("Cast", mask, to=kind)
    mask = g.node("Mul", g.node("Sub", g.number(1.0), mask), g.number(-10000.0))
    x = g.norm("x", "first", width)
    for layer in range(layers):
        name = f"layer{layer}."
        q, k, v = (
            g.node("Reshape", g.linear(x, name + part, width, width), g.shape(0, 0, heads, width // heads))
            for part in "qkv"
        )
        scores = g.node("MatMul", g.node("Transpose", q, perm=[0, 2, 1, 3]), g.node("Transpose", k, perm=[0, 2, 3, 1]))
        scores = g.node("Add", g.node("Div", scores, g.number((width // heads) ** 0.5)), mask)
        held = g.node("MatMul", g.node("Softmax", scores, axis=3), g.node("Transpose", v, perm=[0, 2, 1, 3]))
        held = g.node("Reshape", g.node("Transpose", held, perm=[0, 2, 1, 3]), g.shape(0, 0, width))
        x = g.norm(g.node("Add", g.linear(held, name + "o", width, width), x), name + "n1", width)
        h = g.linear(x, name + "f1", width, 4 * width)
        half = g.node("Erf", g.node("Div", h, g.number(2**0.5)))
        h = g.node("Mul", g.node("Mul", h, g.node("Add", half, g.number(1.0))), g.number(0.5))
        x = g.norm(g.node("Add", g.linear(h, name + "f2", 4 * width, width), x), name + "n2", width)
    g.node("Identity", x, out="y")
    inputs = [
        helper.make_tensor_value_info("x", kind, [batch, tokens, width]),
        helper.make_tensor_value_info("mask", onnx.TensorProto.INT64, [batch, tokens]),
    ]
    return g.whole(inputs, [helper.make_tensor_value_info("y", kind, [batch, tokens, width])])


def network(images: int = 2, size: int = 16) -> bytes:
    """Convolutions with batch normalisation and ReLU, one of them beside a shortcut, and a classifier."""
    g = Graph()

    def convolve(x: str, name: str, inputs: int, outputs: int) -> str:
        y = g.node("Conv", x, g.weight(name, outputs, inputs, 3, 3), pads=[1, 1, 1, 1])
        moments = [g.weight(f"{name}.{part}", outputs) for part in "gbm"]
        variance = numpy_helper.from_array(np.ones(outputs, np.float32), f"{name}.v")
        g.weights[variance.name] = variance
        return g.node("BatchNormalization", y, *moments, variance.name)

    x = g.node("Relu", convolve("x", "c1", 3, 8))
    y = g.node("Relu", convolve(x, "c2", 8, 8))
    x = g.node("Relu", g.node("Add", convolve(y, "c3", 8, 8), x))
    x = g.node("Flatten", g.node("GlobalAveragePool", x))
    g.node("Gemm", x, g.weight("head", 10, 8), g.weight("head.b", 10), transB=1, out="y")
    inputs = [helper.make_tensor_value_info("x", FLOAT, [images, 3, size, size])]
    return g.whole(inputs, [helper.make_tensor_value_info("y", FLOAT, [images, 10])])
