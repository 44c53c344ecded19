"""Chakra execution traces: what is written comes back, what others write is understood, what is broken is named."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imported import mutated, refused, same_work, survives

import hiersim as hs
from hiersim import wire
from hiersim.frontends.chakra.build import OWN, import_chakra
from hiersim.frontends.chakra.read import read_chakra
from hiersim.frontends.chakra.schema import Arguments, Node, NodeType, attribute_of, literal, message_of, node_of
from hiersim.frontends.chakra.write import chakra_bytes, export_chakra
from hiersim.frontends.operator_list.build import import_table
from hiersim.frontends.row_writer import rows_of
from hiersim.model.operators import Kind
from hiersim.model.trace import Trace
from hiersim.testing.trace_strategies import traces

ADDMM = {
    "id": 5, "name": "aten::addmm", "type": "COMP_NODE", "ctrlDeps": ["4"], "startTimeMicros": "10",
    "durationMicros": "3", "attr": [{"name": "is_cpu_op", "boolVal": True}],
    "inputs": {
        "values": "[[1, 11, 0, 8, 4, 'cuda:0'], [2, 12, 0, 32, 4, 'cuda:0'], [3, 13, 0, 64, 4, 'cuda:0'], 1, 1]",
        "shapes": "[[8], [4, 8], [8, 8], [], []]",
        "types": "['Tensor(float)', 'Tensor(float)', 'Tensor(float)', 'Int', 'Int']",
    },
    "outputs": {
        "values": "[[4, 14, 0, 32, 4, 'cuda:0']]", "shapes": "[[4, 8]]", "types": "['Tensor(float)']",
    },
}  # fmt: skip
LINEAR = {"id": 4, "name": "aten::linear", "type": "COMP_NODE", "attr": [{"name": "is_cpu_op", "boolVal": True}]}
RELU = {
    "id": 6, "name": "aten::relu_", "dataDeps": ["5"], "type": "COMP_NODE",
    "attr": [{"name": "is_cpu_op", "boolVal": True}],
    "inputs": {
        "values": "[[4, 14, 0, 32, 4, 'cuda:0']]", "shapes": "[[4, 8]]", "types": "['Tensor(float)']",
    },
    "outputs": {
        "values": "[[4, 14, 0, 32, 4, 'cuda:0']]", "shapes": "[[4, 8]]", "types": "['Tensor(float)']",
    },
}  # fmt: skip


def read(rows: list[dict[str, Any]], folder: Path, key: str = "") -> Trace:
    """As the jsonizer writes them, one object after the other, or as a list under `key`."""
    target = folder / "t.json"
    target.write_text(json.dumps({key: rows}) if key else '{"version": "0.0.4"}' + "\n".join(map(json.dumps, rows)))
    return import_chakra(target)


def target_bytes(trace: Trace, target: Path) -> bytes:
    """The bytes of `trace` after another journey."""
    export_chakra(trace, target)
    return chakra_bytes(import_chakra(target))


@given(trace=traces())
def test_export_and_import_is_the_identity(trace: Trace, tmp_path_factory: Any) -> None:
    target = tmp_path_factory.mktemp("et") / "t.et.gz"
    export_chakra(trace, target)
    again = import_chakra(target)
    assert again.header == trace.header
    assert rows_of(again.graph) == rows_of(trace.graph)
    assert chakra_bytes(again) == target_bytes(again, target)


def test_a_bundled_model_comes_back_from_the_standard_fields_alone(tmp_path: Path) -> None:
    """Another tool that keeps only Chakra's own fields keeps products, traffic and the graph."""
    trace = hs.load_trace("resnet50-infer")
    export_chakra(trace, tmp_path / "own.et")
    found = read_chakra(tmp_path / "own.et")
    stripped = [wire.delimited(wire.put_bytes(1, b"0.0.4"))]
    for node in found.nodes:
        attributes = {key: value for key, value in node.attributes.items() if key != OWN}
        bare = Node(
            id=node.id, name=node.name, type=node.type, data_deps=node.data_deps, inputs=node.inputs,
            outputs=node.outputs, attributes=attributes,
        )  # fmt: skip
        stripped.append(wire.delimited(message_of(bare)))
    (tmp_path / "bare.et").write_bytes(b"".join(stripped))
    again = import_chakra(tmp_path / "bare.et")
    launching = trace.graph.operators.kind != Kind.VIEW
    assert len(again.graph.operators) >= int(launching.sum())
    for part in ("reads", "writes"):
        assert int(getattr(again.graph, part).size.sum()) == int(getattr(trace.graph, part).size.sum())
    gemm = again.graph.operators.kind == Kind.GEMM
    assert int(gemm.sum()) == int((trace.graph.operators.kind == Kind.GEMM).sum())


def test_nodes_of_the_jsonizer_are_operators_with_edges(tmp_path: Path) -> None:
    trace = read([LINEAR, ADDMM, RELU], tmp_path)
    (tmp_path / "t.csv").write_text(
        "name,op,dtype,inputs,shape\n"
        "fc,aten.addmm,fp32,b:input:8 x:input:4x8 w:input:8x8,4x8\n"
        "act,aten.relu,fp32,fc,4x8\n"
    )
    wanted = same_work(import_table(tmp_path / "t.csv"))
    found = same_work(trace)
    for key in ("kinds", "edges", "matrix", "vector", "read", "written"):
        assert found[key] == wanted[key], key
    assert trace.graph.operators.label(0) == "aten::addmm", "the innermost operator that a rule knows"


def test_device_nodes_are_measured(tmp_path: Path) -> None:
    kernel = {
        "id": 7, "name": "sgemm", "type": "COMP_NODE", "ctrlDeps": ["5"], "startTimeMicros": "20",
        "durationMicros": "30", "attr": [{"name": "is_cpu_op", "boolVal": False}],
    }  # fmt: skip
    collective = {
        "Id": 8, "Name": "ncclKernel", "NodeType": 7, "data_deps": [7], "runtime": 10, "is_cpu_op": False,
        "comm_size": 128, "start_time_micros": 60,
    }  # fmt: skip
    trace = read([LINEAR, ADDMM, kernel, collective], tmp_path)
    assert [trace.graph.operators.label(row) for row in range(2)] == ["aten::addmm", "ncclKernel"]
    assert trace.graph.operators.kind.tolist() == [Kind.GEMM, Kind.COMM]
    assert trace.graph.reads.size.tolist()[-1] == 128
    assert trace.measured is not None
    assert trace.measured.kernel_time == 40 * 10**6
    assert trace.measured.idle_share == pytest.approx(0.2)


def test_an_operator_that_the_converter_cut_at_its_launches_is_one(tmp_path: Path) -> None:
    parts = [{**ADDMM, "id": 10 + part, "name": f"aten::addmm({part})", "ctrlDeps": []} for part in range(3)]
    kernels = [
        {
            "id": 20 + part, "name": f"kernel{part}", "dataDeps": [10 + part], "ctrlDeps": [19 + part] if part else [],
            "durationMicros": 5, "attr": [{"name": "is_cpu_op", "boolVal": False}], "inputs": ADDMM["inputs"],
        }
        for part in range(3)
    ]  # fmt: skip
    trace = read([*parts, *kernels], tmp_path)
    assert len(trace.graph.operators) == 1
    assert int(trace.graph.operators.matrix_flops.sum()) == 2 * 4 * 8 * 8
    assert trace.measured is not None and trace.measured.kernel_time == 15 * 10**6


def test_every_json_spelling_is_the_same_trace(tmp_path: Path) -> None:
    lists = {
        side: {key: json.loads(text.replace("'", '"')) for key, text in ADDMM[side].items()}
        for side in ("inputs", "outputs")
    }
    pytorch = {
        **lists, "id": 5, "name": "aten::addmm", "ctrl_deps": 4,
        "attrs": [{"name": "tid", "type": "uint64", "value": 1}],
    }  # fmt: skip
    old = {
        "id": 5, "name": "aten::addmm", "parent": 4, "inputs": lists["inputs"]["values"],
        "input_shapes": lists["inputs"]["shapes"], "input_types": lists["inputs"]["types"],
        "outputs": lists["outputs"]["values"], "output_shapes": lists["outputs"]["shapes"],
        "output_types": lists["outputs"]["types"],
    }  # fmt: skip
    wanted = same_work(read([LINEAR, ADDMM], tmp_path))
    root = {"id": 4, "name": "[pytorch|profiler|execution_trace|thread]", "ctrl_deps": 4}
    assert same_work(read([root, pytorch], tmp_path, "nodes")) == wanted
    assert same_work(read([root, old], tmp_path, "nodes")) == wanted
    feeder = {"Id": 5, "Name": "aten::addmm", "NodeType": 4, **lists}
    assert same_work(read([feeder], tmp_path, "workload_graph")) == wanted


def test_dependences_decide_the_order_and_cycles_are_named_by_their_edges(tmp_path: Path) -> None:
    first = {**RELU, "id": 1, "dataDeps": ["5"]}
    trace = read([first, LINEAR, ADDMM], tmp_path)
    assert trace.graph.operators.label(0) == "aten::addmm"
    with pytest.raises(hs.TraceError, match=r"wait for each other: (1 -> 5 -> 1|5 -> 1 -> 5)"):
        read([{**first, "id": 1}, {**ADDMM, "dataDeps": ["1"]}], tmp_path)
    called = read([{**first, "id": 1}, {**ADDMM, "ctrlDeps": ["1"]}], tmp_path)
    assert "control dependences contradict" in "; ".join(called.header.notes)
    with pytest.raises(hs.TraceError, match="wait for each other: 6 -> 6"):
        read([{**RELU, "dataDeps": ["6"]}], tmp_path)
    lost = read([{**RELU, "dataDeps": ["77"]}], tmp_path)
    assert "1 dependences lead to nodes that could not be found" in "; ".join(lost.header.notes)


def test_attributes_of_every_type_are_decoded() -> None:
    """Against bytes made by hand from the wire format's specification."""
    assert attribute_of(b"\x0a\x01a\x1d\x00\x00\x80\x3f")[0] == "a"
    cases = [
        (b"\x19" + b"\x00" * 6 + b"\xf0\x3f", 1.0), (b"\x2d\x00\x00\x80\x3f", 1.0), 
        (b"\x38\xff" + b"\xff" * 8 + b"\x01", -1),
        (b"\x68\x05", 5), (b"\x78\x03", -2), (b"\x8d\x01\x03", 3), (b"\xd8\x01\x01", True), (b"\xea\x01\x02hi", "hi"),
        (b"\x52\x04\x0a\x02\x01\x02", (1, 2)), (b"\xf2\x01\x06\x0a\x01x\x0a\x01y", ("x", "y")),
        (b"\xc9\x01" + b"\xff" * 8, -1), (b"\x22\x0a\x0a\x08" + b"\x00" * 6 + b"\xf0\x3f", (1.0,)),
    ]  # fmt: skip
    for data, value in cases:
        if data == b"\x8d\x01\x03":
            data = b"\x9d\x01\x03\x00\x00\x00"  # fixed32 is field 19
        name, found = attribute_of(b"\x0a\x01a" + data)
        assert (name, found) == ("a", value), data


TEXTS = st.text(max_size=8)
NUMBERS = st.integers(0, 2**64 - 1)


@given(
    node=st.builds(
        Node, id=NUMBERS, name=TEXTS, type=st.sampled_from(NodeType),
        ctrl_deps=st.lists(NUMBERS, max_size=3).map(tuple),
        data_deps=st.lists(NUMBERS, max_size=3).map(tuple), start=NUMBERS, duration=NUMBERS,
        inputs=st.builds(
            Arguments, values=st.lists(st.integers() | st.lists(st.integers(), max_size=3), max_size=3).map(tuple),
            shapes=st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3).map(tuple),
            types=st.lists(st.sampled_from(["Tensor(float)", "Int"]), max_size=3).map(tuple),
        ),
        attributes=st.dictionaries(TEXTS, st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS, max_size=3),
    )
)  # fmt: skip
def test_a_node_survives_its_bytes(node: Node) -> None:
    again = node_of(message_of(node))
    assert again == node


BROKEN = [
    ("t.et", b"", "holds no nodes"),
    ("t.et", b"\x05abc", "is no Chakra trace: the file ends inside a message"),
    ("t.et", b"\xff" * 20, "a number has no end"),
    ("t.et", b"\xff\xff\xff\xff\x7f", "a message has"),
    ("t.et", b"\x00\x02\x00\x00", "message 1: is no Chakra trace: a field has number 0"),
    ("t.et", b"\x00\x02\x0f\x00", "a field has wire type 7"),
    ("t.et", b"\x00\x02\x12\x7f", "a field is longer than its message"),
    ("t.et", b"\x00\x02\x08\x01\x02\x08\x01", "has two nodes 1", "each id once"),
    ("t.et", b"\x1f\x8b\x08broken", "cannot be read"),
    ("t.json", b"", "is empty"),
    ("t.json", b"{}", "has no 'nodes'"),
    ("t.json", b'{"nodes": [{"name": "x"}]}', "nodes[0]: is no node: has no id"),
    ("t.json", b'{"nodes": [{"id": -1}]}', "nodes[0]: is no node: -1 is out of range"),
    ("t.json", b'{"nodes": [{"id": 1, "ctrl_deps": ["x"]}]}', "'x' is not a whole number"),
    ("t.json", b'{"nodes": [{"id": 1, "name": "## init ##"}]}', "holds nothing that runs"),
]


@pytest.mark.parametrize("case", BROKEN, ids=[f"{case[2]}" for case in BROKEN])
def test_a_broken_file_is_one_line(case: tuple[Any, ...], tmp_path: Path) -> None:
    refused(import_chakra, tmp_path / case[0], case[1], *case[2:])


def test_a_broken_own_row_is_told(tmp_path: Path) -> None:
    trace = hs.load_trace("docs/examples/relu.jsonl")
    data = chakra_bytes(trace)
    assert b'"kind"' in data
    refused(import_chakra, tmp_path / "t.et", data.replace(b'"kind"', b'"knid"'), "knid: is not a key")
    refused(hs.export_chakra.__get__(trace), tmp_path / "t.txt", b"", "a name that ends in .et")


GOOD = chakra_bytes(hs.load_trace("docs/examples/relu.jsonl"))
JSON = json.dumps({"nodes": [LINEAR, ADDMM, RELU]}).encode()


@given(data=st.data())
def test_no_file_breaks_the_reader(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    ending, whole = data.draw(st.sampled_from([("et", GOOD), ("json", JSON), ("et", gzip.compress(GOOD, mtime=0))]))
    survives(import_chakra, folder / f"t.{ending}", mutated(data, whole))


def test_text_that_is_no_list_is_none_and_python_does_not_warn_of_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert literal("[1, (2, 3)]") == (1, (2, 3))
        assert literal("[1, 0x1for x in 2") == literal("[1if 2 else 3]") == ()
