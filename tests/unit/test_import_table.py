"""Tables of operators: what a row means, what a wrong one is told, and that CSV and YAML say the same."""

from __future__ import annotations

import csv
import io
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imported import mutated, refused, same_work, survives

from hiersim.frontends.aten.contractions import attention_cost
from hiersim.frontends.operator_list.build import import_table
from hiersim.frontends.operator_list.reader import COLUMNS
from hiersim.model.operators import Kind, Role
from hiersim.model.trace import Trace
from hiersim.views.traces import trace_facts

MLP = """name,kind,dims,shape,dtype,inputs
fc1,gemm,m=64 n=512 k=256,,fp32,x:input w1:weight b1:weight:512
act,pointwise,,64x512,fp32,fc1
fc2,gemm,m=64 n=128 k=512,,fp32,act w2:weight b2:weight:128
"""
YAML = """name: mlp
dtype: fp32
operators:
- {name: fc1, kind: gemm, dims: {m: 64, n: 512, k: 256}, inputs: ["x:input", "w1:weight", "b1:weight:512"]}
- name: act
  kind: elementwise
  shape: [64, 512]
  inputs: fc1
- {name: fc2, kind: linear, dims: m=64 n=128 k=512, inputs: "act w2:weight b2:weight:128"}
"""


def read(text: str, folder: Path, name: str = "mlp.csv", **options: Any) -> Trace:
    (folder / name).write_text(text)
    return import_table(folder / name, **options)


def test_a_table_is_the_model_it_describes(tmp_path: Path) -> None:
    trace = read(MLP, tmp_path)
    graph = trace.graph
    assert trace.name == "mlp"
    assert graph.operators.kind.tolist() == [Kind.GEMM, Kind.POINTWISE, Kind.GEMM]
    assert graph.operators.matrix_flops.tolist() == [2 * 64 * 512 * 256, 0, 2 * 64 * 128 * 512]
    assert graph.operators.vector_flops.tolist() == [64 * 512, 64 * 512, 64 * 128]
    weights = graph.tensors.storage_role == Role.WEIGHT
    assert int(graph.tensors.storage_bytes[weights].sum()) == 4 * (256 * 512 + 512 + 512 * 128 + 128)
    assert int(graph.tensors.storage_output.sum()) == 1
    assert same_work(trace)["compulsory"] == 4 * (64 * 256 + 256 * 512 + 512 + 512 * 128 + 128 + 64 * 128)


def test_csv_yaml_and_aten_names_say_the_same(tmp_path: Path) -> None:
    aten = (
        "name;op;dtype;inputs;shape\n"
        "fc1;aten.addmm;fp32;b1:weight:512 x:input:64x256 w1:weight:256x512;64x512\n"
        "act;aten.relu;fp32;fc1;64x512\n"
        "fc2;aten.addmm;fp32;b2:weight:128 act w2:weight:512x128;64x128\n"
    )
    wanted = same_work(read(MLP, tmp_path))
    assert same_work(read(YAML, tmp_path, "mlp.yaml")) == wanted
    assert same_work(read(aten, tmp_path, "aten.csv")) == wanted


def test_count_repeats_a_row_with_weights_of_its_own(tmp_path: Path) -> None:
    trace = read("name,kind,dims,inputs,count\nfc,gemm,m=4 n=8 k=8,x:input w:weight,24\n", tmp_path)
    assert len(trace.graph.operators) == 24
    assert trace_facts(trace)["weight_bytes"] == 24 * 8 * 8 * 2
    inputs = trace.graph.tensors.storage_role == Role.INPUT
    assert int(inputs.sum()) == 1


def test_attention_reductions_gathers_and_views(tmp_path: Path) -> None:
    table = (
        "name,kind,dims,shape,inputs\n"
        "a,attention,batch=2 heads=4 queries=16 keys=16 head_dim=8 causal=1,,\n"
        "s,reduction,rows=128 columns=8,2x4x16x1,a\n"
        "v,view,,128x1,s\n"
        "e,gather,,16x4,table:weight:1000x4 ids:input:16\n"
        "p,pointwise,,128x1,v\n"
    )
    trace = read(table, tmp_path)
    operators = trace.graph.operators
    q = (2, 4, 16, 8)
    wanted = attention_cost(q, q, q, True, backward=False, bias=False)
    assert (operators.matrix_flops[0], operators.masked_flops[0]) == (wanted.matrix_flops, wanted.masked_flops)
    assert operators.vector_flops[1] == 128 * 8
    gathered = trace.graph.reads.size[trace.graph.reads.ptr[3]]
    assert gathered == 16 * 4 * 2, "a gather reads what it takes and not its table"
    storage = trace.graph.tensors.tensor_storage
    assert storage[trace.graph.reads.tensor[trace.graph.reads.ptr[4]]] == storage[trace.graph.writes.tensor[1]]


BROKEN = [
    ("", "is empty", "a heading with name"),
    ("kind,dims\ngemm,m=1\n", ":1: has no column 'name'"),
    ("name,knid\nfc,gemm\n", ":1: 'knid' is not a column", "'kind'"),
    ("name,name\na,b\n", ":1: name: is there twice"),
    ("name,kind,dims\nfc,gem,m=1 n=1 k=1\n", ":2: kind: 'gem' is not a kind", "'gemm'"),
    ("name,kind,dims\nfc,,m=1 n=1 k=1\n", ":2: kind: is missing", "one of gemm"),
    ("name,kind,dims\n,gemm,m=1 n=1 k=1\n", ":2: name: '' is no name"),
    ("name,kind,dims\na b,gemm,m=1 n=1 k=1\n", ":2: name: 'a b' is no name"),
    ("name,kind,dims\nfc,gemm,m=1 n=1 k=1\nfc,gemm,m=1 n=1 k=1\n", ":3: name: 'fc' is there already"),
    ("name,kind,dims\nfc,gemm,m=1 n=1\n", ":2: dims: k is missing", "batch=… m=… n=… k=…"),
    ("name,kind,dims\nfc,gemm,m=1 n=1 q=1\n", ":2: dims: 'q=1' is no size of a gemm"),
    ("name,kind,dims\nfc,gemm,m=1 n=1 k=1 k=2\n", ":2: dims: k is there twice"),
    ("name,kind,dims\nfc,gemm,m=1.5 n=1 k=1\n", ":2: dims.m: '1.5' is not a whole number"),
    ("name,kind,dims\nfc,gemm,m=-1 n=1 k=1\n", ":2: dims.m: '-1' is not a whole number", "0 … 2^62"),
    ("name,kind,dims\nfc,gemm,m=9999999999999999999 n=1 k=1\n", "dims.m", "is not a whole number"),
    ("name,kind,dims\nfc,gemm,m=4000000000 n=4000000000 k=4000000000\n", ":2:", "too large", "2^62"),
    ("name,kind,dims\nfc,pointwise,m=1\n", ":2: dims: 'm=1' is no size of a pointwise"),
    ("name,kind,shape\nfc,pointwise,\n", ":2: shape: is missing", "64x512"),
    ("name,kind,shape\nfc,pointwise,64*a\n", ":2: shape: '64*a' is no shape"),
    ("name,kind,shape,dtype\nfc,pointwise,4,bf61\n", ":2: dtype: 'bf61' is not a dtype", "'bf16'"),
    ("name,kind,shape,inputs\nfc,pointwise,4,y\n", ":2: inputs: there is no 'y' above", "y:input"),
    ("name,kind,shape,inputs\na,pointwise,4,x:inptu:4\n", ":2: role: 'inptu' is not a role", "'input'"),
    ("name,kind,shape,inputs\na,pointwise,4,x:input\n", ":2: inputs: 'x' has no shape", "x:input:64x512"),
    ("name,kind,shape,inputs\na,pointwise,4,x:input:4:5\n", ":2: inputs: 'x:input:4:5' is no input"),
    (
        "name,kind,dims,inputs\na,gemm,m=2 n=2 k=2,x:input:2x3 w:weight\n",
        ":2: inputs: input 1 is 2 x 3",
        "2 x 2, as dims",
    ),
    ("name,kind,dims,inputs\na,gemm,m=2 n=2 k=2,x:input\n", ":2: inputs: has 1", "at least 2"),
    ("name,op,shape\na,aten.geluu,4\n", ":2: op: 'aten.geluu' has no cost rule", "'gelu'"),
    ("name,op,shape\na,aten.addmm,4\n", ":2: op: 'aten.addmm' does not suit"),
    ("name,kind,shape\na,pointwise,4,5\n", ":2: has 4 cells", "3, as in the heading"),
    ('name,kind,shape\n"a,pointwise,4\n', "is no CSV", "quoted cells that end"),
    ("name,kind,shape,count\na,pointwise,4,0\n", ":2: count: '0' is not a whole number", "1 …"),
    ("name,kind,shape,count\na,pointwise,4,9999999\n", ":2: count: 9999999 is too many"),
    ("name,kind,shape,count\na,pointwise,4,9\nb,pointwise,4,49994\n", ":3: count: 49994 is too many"),
    ("name,kind,shape,flops\na,pointwise,4,x\n", ":2: flops: 'x' is not a whole number"),
    ("name,kind,shape,phase\na,pointwise,4,foreward\n", ":2: phase: 'foreward' is not a phase", "'forward'"),
    ("name,kind,shape\n", "holds no operators"),
    ("name,kind\na\0b,gemm\n", ":2:"),
]


@pytest.mark.parametrize(("text", "parts"), [(row[0], row[1:]) for row in BROKEN], ids=[row[1] for row in BROKEN])
def test_a_wrong_table_is_told_line_and_column(text: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    refused(import_table, tmp_path / "broken.csv", text, *parts)


BROKEN_YAML = [
    ("", "holds no list of operators"),
    ("name: x\n", "holds no list of operators"),
    ("a: [1\n", "is no YAML"),
    ("- {name: a, kind: copy, shape: 4}\n- [1]\n", ":2: is no table of keys"),
    ("- {name: a, kind: copy, shape: 4}\n-\n name: b\n knid: copy\n", ":4: 'knid' is not a column", "'kind'"),
    ("- {name: a, name: b}\n", "is there twice"),
    ("- &a {name: a, kind: copy, shape: 4}\n- *a\n", "is an alias"),
    ("- {name: a, kind: copy, shape: [[4]]}\n", "shape: is nested"),
    ("nmae: x\noperators: []\n", ":1: nmae: is not a key", "'name'"),
    ("dtype: bf61\noperators:\n- {name: a, kind: copy, shape: 4}\n", "dtype: 'bf61' is not a dtype"),
    ("- !!python/object/apply:os.system [ls]\n", "is no table of keys"),
    ("[" * 5000, "is no YAML"),
    ("- {name: a, kind: gemm, dims: {m: 1, n: 1}}\n", ":1: dims: k is missing"),
]


@pytest.mark.parametrize(("text", "parts"), [(row[0], row[1:]) for row in BROKEN_YAML])
def test_a_wrong_yaml_table_is_told_where(text: str, parts: tuple[str, ...], tmp_path: Path) -> None:
    refused(import_table, tmp_path / "broken.yaml", text, *parts)


def test_no_file_no_text_and_too_much_of_it(tmp_path: Path) -> None:
    refused(import_table, tmp_path / "latin.csv", b"name,kind\n\xff,gemm\n", ":2: is not UTF-8")
    refused(import_table, tmp_path / "large.yaml", b"# " + b"x" * 2**18, "is larger than 256 KiB", "as CSV")
    with pytest.raises(Exception, match="cannot be read: No such file"):
        import_table(tmp_path / "none.csv")


SIZES = st.integers(1, 300)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, str]]:
    """Rows that chain products and pointwise operators."""
    rows: list[dict[str, str]] = []
    last, sides = "", (0, 0)
    for index in range(draw(st.integers(1, 6))):
        name, again = f"r{index}", bool(last) and draw(st.booleans())
        if again and draw(st.booleans()):
            shape = "x".join(map(str, sides))
            rows.append({"name": name, "kind": "pointwise", "shape": shape, "inputs": last, "dtype": "fp16"})
        else:
            m, k = sides if again else (draw(SIZES), draw(SIZES))
            n = draw(SIZES)
            source = last if again else f"x{index}:input"
            row = {"kind": "gemm", "dims": f"m={m} n={n} k={k}", "inputs": f"{source} w{index}:weight", "dtype": "fp16"}
            rows.append({"name": name, **row})
            sides = (m, n)
        last = name
    return rows


@given(rows=tables())
def test_any_table_comes_back_in_both_forms(
    rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    target = io.StringIO()
    writer = csv.DictWriter(target, list(COLUMNS))
    writer.writeheader()
    writer.writerows(rows)
    trace = read(target.getvalue(), folder, "t.csv")
    listed = "".join(f"- {{{', '.join(f'{key}: {value!r}' for key, value in row.items())}}}\n" for row in rows)
    assert same_work(read(listed, folder, "t.yaml")) == same_work(trace)
    dims = [[int(word.partition("=")[2]) for word in row["dims"].split()] for row in rows if "dims" in row]
    assert int(trace.graph.operators.matrix_flops.sum()) == sum(2 * prod(sides) for sides in dims)
    names = [
        trace.graph.tensors.storage_names[index]
        for index in trace.graph.tensors.tensor_storage[trace.graph.writes.tensor]
    ]
    assert names == [row["name"] for row in rows]


@given(data=st.data())
def test_no_table_breaks_the_reader(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    ending, text = data.draw(st.sampled_from([(".csv", MLP), (".yaml", YAML)]))
    survives(import_table, folder / f"t{ending}", mutated(data, text.encode()))
