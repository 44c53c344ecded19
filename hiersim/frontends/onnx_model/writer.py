"""The nodes of an ONNX graph as operators of a draft."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Final

from hiersim.errors import TraceError, one_line
from hiersim.frontends.aten import cost_of
from hiersim.frontends.aten.call import Cost, Operand, Shape
from hiersim.frontends.draft import Draft, operand_of
from hiersim.frontends.onnx_model import rules
from hiersim.frontends.tables import Access, TensorKey
from hiersim.model.operators import DType, Kind, Role
from hiersim.units import LARGEST

DTYPES: Final[Mapping[int, DType]] = {
    1: DType.FP32, 2: DType.INT8, 3: DType.INT8, 4: DType.INT16, 5: DType.INT16, 6: DType.INT32, 7: DType.INT64,
    9: DType.BOOL, 10: DType.FP16, 11: DType.FP64, 12: DType.INT32, 13: DType.INT64, 14: DType.COMPLEX64,
    16: DType.BF16, 17: DType.FP8, 18: DType.FP8, 19: DType.FP8, 20: DType.FP8, 21: DType.FP4, 22: DType.FP4,
    23: DType.FP4,
}  # fmt: skip
"""ONNX element types; 4-bit integers take the place of 4-bit floats, which are as large."""
FLOATING: Final = (DType.FP64, DType.FP32, DType.FP16, DType.BF16, DType.FP8, DType.FP4)


def sound(dims: Any) -> bool:
    """Whether these are the sides of a tensor."""
    return all(side >= 0 for side in dims) and prod(dims) < LARGEST // 64


def inferred(model: Any, file: str) -> Any:
    """The model with the shapes that ONNX can infer."""
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # errors of a C++ library, by several classes
        raise TraceError(f"breaks ONNX's shape inference: {one_line(str(error))[:200]}", file=file) from None


class GraphWriter:
    """Nodes become operators of a draft."""

    def __init__(self, draft: Draft, graph: Any) -> None:
        self.draft = draft
        self.graph = graph
        self.types = {item.name: item.type.tensor_type for item in (*graph.value_info, *graph.output, *graph.input)}
        self.known: dict[str, TensorKey] = {}
        self.static: set[str] = set()
        """Names whose values are known before the run: weights, constants and what follows from them alone."""
        self.values: dict[str, float] = {}
        """Scalars among the constants."""
        self.nodes: list[Any] = []
        """The node of each operator of the draft."""
        self.unshaped = 0
        self.inputs: list[Any] = []
        for tensor in graph.initializer:
            self._constant(tensor.name, tensor)
        for item in graph.input:
            if item.name not in self.known:
                self.inputs.append(item)
                self.known[item.name] = draft.tensor(*self._type(item.name), Role.INPUT, item.name)

    def _constant(self, name: str, tensor: Any) -> None:
        dtype = DTYPES.get(tensor.data_type, DType.FP32)
        role = Role.WEIGHT if dtype in FLOATING and prod(tensor.dims) > 1 else Role.CONSTANT
        self.known[name] = self.draft.tensor(tuple(tensor.dims), dtype, role, name)
        self.static.add(name)
        if prod(tensor.dims) == 1:
            value = _value(tensor)
            if value is not None:
                self.values[name] = value

    def _type(self, name: str) -> tuple[Shape, DType]:
        """Shape and element type of a value; an unknown shape is empty and counted."""
        found = self.types.get(name)
        if found is None or not found.HasField("shape"):
            self.unshaped += 1
            return (0,), DType.FP32 if found is None else DTYPES.get(found.elem_type, DType.FP32)
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in found.shape.dim]
        if not sound(dims):
            self.unshaped += 1
            dims = [0]
        return tuple(dims), DTYPES.get(found.elem_type, DType.FP32)

    def take_all(self) -> None:
        """All nodes of the graph, in its order."""
        for node in self.graph.node:
            self.take(node)

    def results(self) -> list[TensorKey]:
        """The graph's results."""
        return [self.known[item.name] for item in self.graph.output if item.name in self.known]

    def take(self, node: Any) -> None:
        """One node."""
        import onnx

        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value" and sound(attribute.t.dims):
                    self._constant(node.output[0], attribute.t)
        if node.op_type in rules.SHAPES or all(name in self.static for name in node.input if name):
            self._known_before(node)
            return
        for name in node.input:
            if name and name not in self.known:
                raise self.draft.fault(
                    f"'{(node.name or node.op_type)[:60]}' reads '{name[:60]}', which nothing above it makes",
                    "graph.node", "nodes in an order in which they can run",
                )  # fmt: skip
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        inputs = [self.known[name] for name in node.input if name]
        outputs = [name for name in node.output if name]
        if node.op_type in rules.VIEWS and outputs:
            shape, _ = self._type(outputs[0])
            self.known[outputs[0]] = self.draft.view(inputs[0], shape if prod(shape) else inputs[0].shape)
            self.draft.operator(f"onnx.{node.op_type}", Cost(kind=Kind.VIEW), [], [], module=_module(node.name))
            self.nodes.append(node)
            return
        made = [self.draft.tensor(*self._type(name), name=name) for name in outputs]
        self.known.update(zip(outputs, made, strict=True))
        self._operator(node, attributes, inputs, made)

    def _known_before(self, node: Any) -> None:
        """Folded: what follows from constants alone is there from the start."""
        for name in node.output:
            if name and name not in self.known:
                source = next((self.known[item] for item in node.input if item in self.known), None)
                shape, dtype = self._type(name)
                same = source is not None and node.op_type != "Shape" and prod(shape) == prod(source.shape)
                if same and source is not None and source.dtype is dtype:
                    self.known[name] = self.draft.view(source, shape)
                else:
                    self.known[name] = self.draft.tensor(shape, dtype, Role.CONSTANT, name)
            self.static.add(name)

    def _operator(self, node: Any, attributes: dict[str, Any], inputs: list[TensorKey], made: list[TensorKey]) -> None:
        if node.op_type == "Pow" and len(node.input) > 1 and node.input[1] in self.values:
            attributes["exponent"] = self.values[node.input[1]]
        operands = tuple(operand_of(self.known[name]) if name else None for name in node.input)
        results = tuple(operand_of(key) for key in made)
        cost = self._cost(node.op_type, operands, results, attributes)
        reads = [(key, key.size) for key in inputs]
        if rules.gathers(node.op_type) and reads and made:
            reads[0] = (reads[0][0], min(reads[0][1], made[0].size))
        writes: list[Access] = [(key, key.size) for key in made]
        self.draft.operator(f"onnx.{node.op_type}", cost, reads, writes, module=_module(node.name))
        self.nodes.append(node)

    def _cost(
        self, kind: str, operands: tuple[Operand | None, ...], results: tuple[Operand, ...], attributes: dict[str, Any]
    ) -> Cost:
        try:
            found = rules.cost_call(kind, operands, results, attributes)
            return found if isinstance(found, Cost) else cost_of(found)
        except (IndexError, TypeError, ValueError, AttributeError, KeyError, AssertionError, ArithmeticError):
            return Cost(kind=Kind.OPAQUE)


def _module(name: str) -> str:
    """`/encoder/layer.0/attention/MatMul` lies in `encoder.layer.0.attention`."""
    return ".".join(part for part in name.split("/")[:-1] if part)


def _value(tensor: Any) -> float | None:
    from onnx import numpy_helper

    try:
        return float(numpy_helper.to_array(tensor).reshape(-1)[0])
    except Exception:  # external data that is absent, broken or of a type that NumPy lacks
        return None
