"""One perceptron written five ways is one graph: the operators, what they are made from, their work and their bytes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hiersim as hs
from hiersim.fusion.eager import eager
from hiersim.lowering.workload import compulsory_bytes
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Kind

ROWS, INNER, HIDDEN, OUTER = 64, 256, 512, 128
BYTES = 4
CSV = f"""name,kind,dims,shape,dtype,inputs
fc1,gemm,m={ROWS} n={HIDDEN} k={INNER},,fp32,x:input w1:weight b1:weight:{HIDDEN}
act,pointwise,,{ROWS}x{HIDDEN},fp32,fc1
fc2,gemm,m={ROWS} n={OUTER} k={HIDDEN},,fp32,act w2:weight b2:weight:{OUTER}
"""
TORCH = f"""import torch
def build():
    layers = torch.nn.Linear({INNER}, {HIDDEN}), torch.nn.ReLU(), torch.nn.Linear({HIDDEN}, {OUTER})
    return torch.nn.Sequential(*layers).eval(), (torch.empty({ROWS}, {INNER}),)
"""
JAX = f"""import jax
from jax import ShapeDtypeStruct
def shape(*sizes): return ShapeDtypeStruct(sizes, "float32")
def forward(params, x):
    hidden = jax.nn.relu(x @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]
def build():
    params = dict(w1=shape({INNER}, {HIDDEN}), b1=shape({HIDDEN}), w2=shape({HIDDEN}, {OUTER}), b2=shape({OUTER}))
    return forward, (params, shape({ROWS}, {INNER}))
"""


def from_csv(folder: Path, _: Any) -> KernelGraph:
    (folder / "mlp.csv").write_text(CSV)
    return eager(hs.import_table(folder / "mlp.csv"))


def from_onnx(folder: Path, _: Any) -> KernelGraph:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("Gemm", ["a", "w2", "b2"], ["y"], transB=1),
    ]
    sides = {"w1": (HIDDEN, INNER), "b1": (HIDDEN,), "w2": (OUTER, HIDDEN), "b2": (OUTER,)}
    weights = [onnx.TensorProto(name=name, data_type=kind, dims=shape) for name, shape in sides.items()]
    ends = [helper.make_tensor_value_info(name, kind, [ROWS, side]) for name, side in (("x", INNER), ("y", OUTER))]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], weights))
    (folder / "mlp.onnx").write_bytes(model.SerializeToString())
    return eager(hs.import_onnx(folder / "mlp.onnx"))


def from_torch(folder: Path, process: Any, mode: str = "eager") -> KernelGraph:
    pytest.importorskip("torch")
    from hiersim.frontends.pytorch.capture import capture_torch

    (folder / "mlp_in_torch.py").write_text(TORCH)
    trace = capture_torch("mlp_in_torch:build", mode, process=process)
    return trace.schedules["inductor"] if mode == "inductor" else eager(trace)


def from_inductor(folder: Path, process: Any) -> KernelGraph:
    return from_torch(folder, process, "inductor")


def from_jax(folder: Path, _: Any) -> KernelGraph:
    pytest.importorskip("jax")
    from hiersim.frontends.jax_capture import capture_jax

    (folder / "mlp_in_jax.py").write_text(JAX)
    return eager(capture_jax("mlp_in_jax:build"))


def made_from(graph: KernelGraph) -> list[Any]:
    """Each output as what it is made from: products and element-wise work down to what was there before.

    A bias is part of its product, whether one operator adds it or a second one does.
    """
    table = graph.operators
    made: dict[int, Any] = {}
    for kernel in range(len(graph)):
        held = [made.get(storage, ("given", size)) for storage, size in accesses(graph, graph.reads, kernel)]
        for row in range(graph.operator_ptr[kernel], graph.operator_ptr[kernel + 1]):
            kind = Kind(int(table.kind[row]))
            product, given = ([item for item in held if (item[0] == "given") is there] for there in (False, True))
            if kind is Kind.POINTWISE and len(product) == len(given) == 1:
                held = [(product[0][0], ordered(*product[0][1], *given))]
            else:
                dims = table.dims[table.dims_ptr[row] : table.dims_ptr[row + 1]].tolist()
                held = [((kind.name, *dims), ordered(*held))]
        made |= {storage: held[0] for storage, _ in accesses(graph, graph.writes, kernel)}
    return [item for storage, item in made.items() if graph.tensors.storage_output[storage]]


def ordered(*items: Any) -> tuple[Any, ...]:
    """Operands without their order."""
    return tuple(sorted(items, key=repr))


def accesses(graph: KernelGraph, part: Any, kernel: int) -> list[tuple[int, int]]:
    """Storages and bytes that a kernel touches."""
    begin, end = part.ptr[kernel], part.ptr[kernel + 1]
    storages = graph.tensors.tensor_storage[part.tensor[begin:end]]
    return list(zip(storages.tolist(), part.size[begin:end].tolist(), strict=True))


WAYS = [
    pytest.param(from_csv, id="csv"),
    pytest.param(from_onnx, id="onnx", marks=pytest.mark.onnx),
    pytest.param(from_torch, id="torch", marks=pytest.mark.torch),
    pytest.param(from_inductor, id="inductor", marks=pytest.mark.torch),
    pytest.param(from_jax, id="jax", marks=pytest.mark.jax),
]


@pytest.mark.parametrize("way", WAYS)
def test_one_mlp_is_one_graph(
    way: Callable[[Path, Any], KernelGraph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(sys.path)}")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    graph = way(tmp_path, process)
    x, w1, b1, w2, b2 = (
        ("given", BYTES * size) for size in (ROWS * INNER, INNER * HIDDEN, HIDDEN, HIDDEN * OUTER, OUTER)
    )
    hidden = (("GEMM", 1, ROWS, HIDDEN, INNER), ordered(x, w1, b1))
    active = (("POINTWISE",), (hidden,))
    result = (("GEMM", 1, ROWS, OUTER, HIDDEN), ordered(active, w2, b2))
    assert made_from(graph) == [result]
    assert graph.operators.matrix_flops.sum() == 2 * ROWS * HIDDEN * (INNER + OUTER)
    assert graph.operators.vector_flops.sum() == 2 * ROWS * HIDDEN + ROWS * OUTER
    assert graph.operators.special_ops.sum() == 0
    assert compulsory_bytes(graph) == BYTES * (
        ROWS * INNER + HIDDEN * (INNER + 1) + OUTER * (HIDDEN + 1) + ROWS * OUTER
    )
