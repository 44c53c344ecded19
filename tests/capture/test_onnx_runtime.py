"""What ONNX Runtime makes of a graph: every operator once, in fewer kernels that move fewer bytes."""

from __future__ import annotations

import sys
from collections import Counter
from functools import cache
from math import prod
from pathlib import Path

import pytest
from click.testing import CliRunner

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
sys.path.insert(0, str(Path(__file__).parent))
import onnx_models  # noqa: E402

import hiersim as hs  # noqa: E402
from hiersim.cli.main import main  # noqa: E402
from hiersim.errors import HiersimError, MissingExtraError  # noqa: E402
from hiersim.frontends.draft import Draft  # noqa: E402
from hiersim.frontends.onnx_model.ort import with_schedule  # noqa: E402
from hiersim.frontends.onnx_model.writer import GraphWriter, inferred  # noqa: E402
from hiersim.lowering.workload import compulsory_bytes  # noqa: E402
from hiersim.model.kernels import KernelGraph  # noqa: E402
from hiersim.model.operators import DType, Kind, OperatorTable  # noqa: E402
from hiersim.model.trace import Trace, TraceHeader  # noqa: E402
from hiersim.testing.contracts import check_policy  # noqa: E402

pytestmark = pytest.mark.onnx
MODELS = {
    "encoder": onnx_models.encoder,
    "half": lambda: onnx_models.encoder(kind=onnx_models.HALF),
    "absent": lambda: onnx_models.encoder(absent=True),
    "network": onnx_models.network,
}


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("ort")

    @cache
    def imported(name: str, level: str) -> Trace:
        (folder / f"{name}.onnx").write_bytes(MODELS[name]())
        return hs.import_onnx(folder / f"{name}.onnx", runtime=level)

    return imported


def work(table: OperatorTable) -> tuple[int, int, int]:
    return int(table.matrix_flops.sum()), int(table.vector_flops.sum()), int(table.special_ops.sum())


def labels(table: OperatorTable) -> Counter[str]:
    return Counter(table.label(row) for row in range(len(table)) if table.kind[row] != Kind.VIEW)


def contents(kernels: KernelGraph) -> list[list[str]]:
    ends = kernels.operator_ptr
    return [[kernels.operators.label(row) for row in range(ends[at], ends[at + 1])] for at in range(len(kernels))]


@pytest.mark.parametrize("level", ["basic", "extended"])
@pytest.mark.parametrize("name", MODELS)
def test_every_operator_runs_once_and_no_kernel_asks_for_more(name: str, level: str, read) -> None:  # type: ignore[no-untyped-def]
    trace = read(name, level)
    graph, kernels = trace.graph, trace.schedules["ort"]
    assert work(kernels.operators) == work(graph.operators)
    assert labels(kernels.operators) == labels(graph.operators)
    assert len(kernels) < sum(labels(graph.operators).values())
    asked, before = (int(part.reads.size.sum() + part.writes.size.sum()) for part in (kernels, graph))
    assert asked < before
    eager, fused = (hs.simulate(trace, hs.load_design("h100-sxm"), fusion=policy) for policy in ("eager", "ort"))
    assert compulsory_bytes(kernels) <= eager.bounds.compulsory_bytes
    assert fused.time < eager.time
    if name != "network":  # there the statistics of normalisation are folded into weights
        check_policy(trace, kernels)
    assert "could not be mapped" not in " ".join(trace.header.notes)


def test_fused_nodes_hold_what_they_replace(read) -> None:  # type: ignore[no-untyped-def]
    """Layer normalisation with its skip is ten nodes, GELU five, a product takes its bias or its scale."""
    kernels = read("encoder", "extended").schedules["ort"]
    found = Counter(" ".join(name.removeprefix("onnx.") for name in row) for row in contents(kernels))
    norm = "ReduceMean Sub Pow ReduceMean Add Sqrt Div Mul Add"
    assert found[norm] == 1
    assert found[f"Add {norm}"] == 4
    assert found["Div Erf Add Mul Mul"] == 2
    assert found["MatMul Add"] == 12
    assert found["MatMul Div"] == 2
    convolutions = [row for row in contents(read("network", "extended").schedules["ort"]) if "onnx.Conv" in row]
    assert Counter(map(tuple, convolutions)) == {
        ("onnx.Conv", "onnx.BatchNormalization", "onnx.Relu"): 2,
        ("onnx.Conv", "onnx.BatchNormalization"): 1,
    }


def test_neither_data_nor_precision_decides_the_kernels(read) -> None:  # type: ignore[no-untyped-def]
    whole = contents(read("encoder", "extended").schedules["ort"])
    assert contents(read("absent", "extended").schedules["ort"]) == whole
    half = read("half", "extended")
    assert contents(half.schedules["ort"]) == whole
    table = half.schedules["ort"].tensors
    assert DType.FP32 not in table.tensor_dtype.tolist()


def test_attention_is_its_projections_and_one_kernel(tmp_path: Path) -> None:
    """The `Attention` node of the runtime: one packed product, then scores that are never stored."""
    model = onnx.load_model_from_string(onnx_models.encoder(layers=1))
    eager = GraphWriter(Draft("m.onnx"), inferred(model, "m.onnx").graph)
    eager.take_all()
    trace = eager.draft.finish(TraceHeader(name="m"), eager.results())
    nodes = {node.output[0]: node for node in model.graph.node}
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    last = next(node for node in model.graph.node if node.op_type == "Reshape" and node.input[1] == "shape_0_0_32")
    inside, front = set(), [last.output[0]]
    normed = next(node for node in model.graph.node if node.op_type == "MatMul").input[0]
    while front:
        name = front.pop()
        if name in nodes and name not in inside and name != normed and "mask" not in nodes[name].input:
            inside.add(name)
            front += nodes[name].input
    assert softmax.output[0] in inside
    packed = [onnx_models.helper.make_tensor(name, 1, sides, [0.0] * prod(sides))
              for name, sides in (("qkv.w", [32, 96]), ("qkv.b", [96]))]  # fmt: skip
    mask = next(node.output[0] for node in model.graph.node if node.op_type == "Unsqueeze")
    fused = onnx.helper.make_node(
        "Attention", [normed, "qkv.w", "qkv.b", mask], last.output, domain="com.microsoft", num_heads=4
    )
    kept = [
        fused if node is last else node for node in model.graph.node if node is last or node.output[0] not in inside
    ]
    better = onnx.ModelProto()
    better.CopyFrom(model)
    better.graph.ClearField("node")
    better.graph.node.extend(kept)
    better.graph.initializer.extend(packed)
    better.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))

    kernels = with_schedule(trace, eager, better).schedules["ort"]
    assert work(kernels.operators) == work(trace.graph.operators)
    at = kernels.names.index("Attention")
    ends, table = kernels.operator_ptr, kernels.operators
    assert contents(kernels)[at - 1] == ["onnx.MatMul", "onnx.Add", "onnx.Add", "onnx.Add"]
    assert table.dims[table.dims_ptr[ends[at - 1]] :][:4].tolist() == [1, 2 * 16, 3 * 32, 32]
    assert contents(kernels)[at] == ["onnx.Attention"]
    assert table.kind[ends[at]] == Kind.ATTENTION
    assert table.dims[table.dims_ptr[ends[at]] :][:7].tolist() == [2, 4, 4, 16, 16, 8, 0]
    scores = 2 * 4 * 16 * 16 * 4
    assert kernels.writes.size[kernels.writes.ptr[at]] == 2 * 16 * 32 * 4
    assert scores not in kernels.writes.size[kernels.writes.ptr[at - 1] : kernels.writes.ptr[at + 1]].tolist()


def test_what_the_runtime_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    g = onnx_models.Graph()
    g.nodes.append(onnx.helper.make_node("Frobnicate", ["x"], ["y"], domain="own"))
    value = onnx.helper.make_tensor_value_info
    path.write_bytes(g.whole([value("x", 1, [4])], [value("y", 1, [4])]))
    with pytest.raises(HiersimError, match=r"is refused by ONNX Runtime") as caught:
        hs.import_onnx(path, runtime="extended")
    assert "\n" not in str(caught.value)
    with pytest.raises(HiersimError, match=r"no level of optimisation .*basic or extended"):
        hs.import_onnx(path, runtime="much")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"hiersim\[ort\]"):
        hs.import_onnx(path, runtime="basic")


def test_a_trace_without_the_schedule_says_so() -> None:
    with pytest.raises(HiersimError, match="carries no captured 'ort' schedule"):
        hs.simulate(hs.load_trace("gpt2-large-prefill"), hs.load_design("tiny"), fusion="ort")


def test_the_command_asks_for_the_runtime_or_not(tmp_path: Path) -> None:
    model, plain, fused = (tmp_path / name for name in ("m.onnx", "plain.npz", "fused.npz"))
    model.write_bytes(onnx_models.network())
    for extra, target in (([], plain), (["--runtime", "basic"], fused)):
        done = CliRunner().invoke(main, ["import", "onnx", str(model), *extra, "-o", str(target)])
        assert done.exit_code == 0, done.output
    assert [sorted(hs.load_trace(str(target)).schedules) for target in (plain, fused)] == [[], ["ort"]]
    assert "--runtime basic" in hs.load_trace(str(fused)).header.command
