"""ONNX models: shapes, costs and constants understood; the same model in every form is the same graph."""

from __future__ import annotations

import json
import sys
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from imported import mutated, refused, same_work, survives
from profiles import ProfileWriter

import hiersim as hs
from hiersim.frontends.aten import cost_of
from hiersim.frontends.aten.call import Call, Operand
from hiersim.model.operators import Kind, Role
from hiersim.model.trace import Trace

onnx = pytest.importorskip("onnx")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT
pytestmark = pytest.mark.onnx


def absent(name: str, *shape: int, kind: int = FLOAT) -> Any:
    """An initializer whose data lies in a file that is not there."""
    tensor = onnx.TensorProto(name=name, data_type=kind, dims=shape, data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def numbers(name: str, *values: int) -> Any:
    return helper.make_tensor(name, onnx.TensorProto.INT64, [len(values)], values)


def value(name: str, *shape: int | str, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: list[Any]) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid(*own) for own in (("", 20), ("own", 1))]
    ).SerializeToString()
    return data


def read(data: bytes, folder: Path, **options: Any) -> Trace:
    (folder / "m.onnx").write_bytes(data)
    return hs.import_onnx(folder / "m.onnx", **options)


def mlp(rows: int | str = 64) -> bytes:
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="/net/fc1/Gemm", transB=1),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("Gemm", ["a", "w2", "b2"], ["y"], transB=1),
    ]
    weights = [absent("w1", 512, 256), absent("b1", 512), absent("w2", 128, 512), absent("b2", 128)]
    return model(nodes, [value("x", rows, 256)], [value("y", rows, 128)], weights)


def test_one_mlp_in_every_form_is_one_graph(tmp_path: Path) -> None:
    """ONNX, CSV, YAML, Chakra, PyTorch eager and its inductor graph: one DAG, one count of FLOPs and bytes."""
    (tmp_path / "m.csv").write_text(
        "name,kind,dims,shape,dtype,inputs\n"
        "fc1,gemm,m=64 n=512 k=256,,fp32,x:input w1:weight b1:weight:512\n"
        "act,pointwise,,64x512,fp32,fc1\n"
        "fc2,gemm,m=64 n=128 k=512,,fp32,act w2:weight b2:weight:128\n"
    )
    from_onnx = read(mlp(), tmp_path)
    wanted = same_work(from_onnx)
    assert wanted["matrix"] == 2 * 64 * 512 * (256 + 128)
    assert wanted["compulsory"] == 4 * (64 * 256 + 512 * 257 + 128 * 513 + 64 * 128)
    assert same_work(hs.import_table(tmp_path / "m.csv")) == wanted
    hs.export_chakra(from_onnx, tmp_path / "m.et")
    assert same_work(hs.import_chakra(tmp_path / "m.et")) == wanted
    profile = ProfileWriter()
    profile.operator("aten::addmm", [[512], [64, 256], [256, 512], [], []], [(0, 5, 7)])
    profile.operator("aten::relu", [[64, 512]], [(10, 5, 7)])
    profile.operator("aten::addmm", [[128], [64, 512], [512, 128], [], []], [(20, 5, 7)])
    (tmp_path / "p.json").write_text(json.dumps(profile.whole()))
    assert same_work(hs.import_kineto(tmp_path / "p.json")) == wanted


def test_weights_are_weights_and_shapes_are_not_operators(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "wt"], ["h"]),
        helper.make_node("Shape", ["h"], ["s"]),
        helper.make_node("Reshape", ["h", "shape"], ["r"]),
        helper.make_node("Softmax", ["r"], ["y"], axis=-1),
    ]
    inputs, weights = [value("x", 2, 8, 16)], [absent("w", 32, 16), numbers("shape", 16, 32)]
    graph = read(model(nodes, inputs, [value("y", 16, 32)], weights), tmp_path).graph
    assert graph.operators.kind.tolist() == [Kind.GEMM, Kind.VIEW, Kind.REDUCTION]
    assert graph.operators.dims[:4].tolist() == [1, 16, 32, 16]
    roles = graph.tensors.storage_role[graph.tensors.tensor_storage[graph.reads.tensor]].tolist()
    assert roles == [Role.INPUT, Role.WEIGHT, Role.ACTIVATION]
    softmax = cost_of(Call(name="_softmax", args=(Operand(shape=(16, 32)), -1), outputs=(Operand(shape=(16, 32)),)))
    assert graph.operators.special_ops[2] == softmax.special_ops


def test_convolutions_pools_norms_and_gathers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2], pads=[3, 3, 3, 3]),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"]),
        helper.make_node("MaxPool", ["n"], ["p"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["p"], ["y"]),
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("LayerNormalization", ["e", "lg", "lb"], ["z"]),
    ]
    weights = [absent("w", 64, 3, 7, 7), *(absent(name, 64) for name in "gbmv"), absent("table", 1000, 8)]
    weights += [absent("lg", 8), absent("lb", 8)]
    inputs = [value("x", 4, 3, 224, 224), value("ids", 2, 5, kind=onnx.TensorProto.INT64)]
    trace = read(model(nodes, inputs, [value("y", 4, 64, 1, 1), value("z", 2, 5, 8)], weights), tmp_path)
    operators, reads = trace.graph.operators, trace.graph.reads
    kinds = [Kind.CONV, Kind.POINTWISE, Kind.REDUCTION, Kind.REDUCTION, Kind.GATHER, Kind.REDUCTION]
    assert operators.kind.tolist() == kinds
    assert operators.dims[:6].tolist() == [1, 4 * 112 * 112, 64, 147, 49, 4]
    assert reads.size[reads.ptr[4]] == 2 * 5 * 8 * 4, "a gather reads what it takes"


def test_symbolic_sides_need_values(tmp_path: Path) -> None:
    with pytest.raises(hs.TraceError, match=r"side 0 of input 'x' has no value \(expected --side rows=8\)"):
        read(mlp("rows"), tmp_path)
    with pytest.raises(hs.TraceError, match=r"'row' is no side of an input \(expected 'rows'\)"):
        read(mlp("rows"), tmp_path, sides={"row": 8, "rows": 64})
    assert same_work(read(mlp("rows"), tmp_path, sides={"rows": 64})) == same_work(read(mlp(), tmp_path))


def test_unknown_nodes_are_counted_as_traffic(tmp_path: Path) -> None:
    nodes = [helper.make_node("Frobnicate", ["x"], ["y"], domain="own"), helper.make_node("Det", ["x"], ["z"])]
    trace = read(model(nodes, [value("x", 4, 4)], [value("y", 4, 4), value("z")], []), tmp_path)
    assert trace.graph.operators.kind.tolist() == [Kind.OPAQUE, Kind.OPAQUE]
    assert trace.graph.reads.size.tolist() == [64, 64]
    assert "2 operators without a cost formula" in "; ".join(trace.header.notes)


BROKEN = [
    (b"", "holds no nodes"),
    (b"hello, this is no model", "is no ONNX model"),
    (mlp()[:40], "is no ONNX model"),
    (model([helper.make_node("Relu", ["q"], ["y"])], [value("x", 4)], [value("y", 4)], []), "reads 'q', which nothing"),
    (model([helper.make_node("Relu", ["x"], ["y"])], [value("x", 4)], [value("y", 4)], [absent("w", -4)]), "no size"),
]


@pytest.mark.parametrize("case", BROKEN, ids=[case[1] for case in BROKEN])
def test_a_broken_model_is_one_line(case: tuple[bytes, str], tmp_path: Path) -> None:
    refused(hs.import_onnx, tmp_path / "broken.onnx", *case)


@given(
    shapes=st.lists(st.lists(st.integers(1, 9), max_size=4), min_size=1, max_size=4),
    kind=st.sampled_from(["Add", "Mul"]),
)
def test_broadcasting_counts_each_result_once(shapes: list[list[int]], kind: str, tmp_path_factory: Any) -> None:
    """A chain of binary operators on shapes that broadcast: one FLOP per element of each result."""
    full = [9] * 4
    sides = [[side if side == 9 or index % 2 else 1 for index, side in enumerate(shape)] for shape in shapes]
    sides = [[9 if side > 4 else 1 for side in shape] for shape in sides]
    nodes = [helper.make_node(kind, [f"t{at - 1}" if at else "x", f"i{at}"], [f"t{at}"]) for at in range(len(sides))]
    inputs = [value("x", *full), *(value(f"i{at}", *shape) for at, shape in enumerate(sides))]
    data = model(nodes, inputs, [value(f"t{len(sides) - 1}", *full)], [])
    operators = read(data, tmp_path_factory.mktemp("onnx")).graph.operators
    assert operators.vector_flops.tolist() == [prod(full)] * len(sides)


@given(data=st.data())
def test_no_model_breaks_the_reader(data: st.DataObject, tmp_path_factory: Any) -> None:
    survives(hs.import_onnx, tmp_path_factory.mktemp("fuzz") / "m.onnx", mutated(data, mlp()))
