"""The NeuSight data set as measured times: what each row means, and one line for every fault."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from hiersim.errors import MeasurementError
from hiersim.frontends.neusight import load_neusight
from hiersim.model.operators import Kind
from hiersim.validation.validate import validate

HEAD = "op,device,dtype,B,M,N,K,latency_ms,split,H"
BMM = "bmm,Tesla T4,float32,8,96,128,64,0.5,test,"
LINEAR = "linear,Tesla T4,float16,2,512,1024,256,1.5,train,"
ADD = "add,Tesla T4,float32,1024,,,,0.25,test,4096"
GELU = "gelu,Tesla T4,float32,1024,,,,0.25,test,4096"
SOFTMAX = "softmax,Tesla T4,float32,1024,,,,0.3,test,4096"
NORM = "ln,Tesla T4,float32,1024,,,,0.3,test,4096"
SHORT = "relu,Tesla T4,float32,8,,,,0.03,train,64"


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join((HEAD, *rows)) + "\n")
    return path


def test_rows_become_operators_with_their_sizes(tmp_path: Path) -> None:
    found = load_neusight(write(tmp_path / "a.csv", BMM, LINEAR, ADD, SOFTMAX, NORM))
    bmm, linear, add, softmax, norm = found.cases.values()
    assert bmm.case == "bmm test/bmm/fp32/b=8,m=96,n=64,k=128", "the column N is the inner dimension"
    assert (bmm.kind, bmm.flops) == (Kind.GEMM, {"matrix": 2 * 8 * 96 * 128 * 64})
    assert (bmm.read_bytes, bmm.written_bytes) == (4 * 8 * 128 * (96 + 64), 4 * 8 * 96 * 64)
    assert bmm.rows[-1]["dims"] == {"batch": 8, "m": 96, "n": 64, "k": 128}
    assert (linear.dtype, linear.suite) == ("fp16", "linear train")
    assert linear.read_bytes == 2 * 1024 * (2 * 512 + 256), "the weight is read once for all of the batch"
    assert linear.flops["matrix"] == 2 * 2 * 512 * 1024 * 256
    assert (add.read_bytes, add.written_bytes) == (2 * 4 * 1024 * 4096, 4 * 1024 * 4096)
    assert softmax.kind is Kind.REDUCTION
    assert norm.read_bytes == 4 * (1024 * 4096 + 2 * 4096)
    assert [time.median_s for time in found.times] == pytest.approx([5e-4, 1.5e-3, 2.5e-4, 3e-4, 3e-4])
    assert {(time.clock, time.cache, time.mode) for time in found.times} == {("wall", "warm", "eager")}


@pytest.mark.parametrize("row", [BMM, LINEAR, ADD, GELU, SOFTMAX, NORM])
def test_the_trace_of_a_row_has_the_same_work(row: str, tmp_path: Path) -> None:
    (case,) = load_neusight(write(tmp_path / "a.csv", row)).cases.values()
    graph = case.trace().graph
    assert int(graph.operators.matrix_flops.sum()) == case.flops.get("matrix", 0)
    assert int(graph.operators.vector_flops.sum()) == case.flops.get("vector", 0)
    assert int(graph.operators.special_ops.sum()) == case.flops.get("special", 0)
    assert int(graph.tensors.storage_bytes.sum()) == case.read_bytes + case.written_bytes
    if case.kind is Kind.GEMM:
        batch, m, n, k = graph.operators.dims[:4].tolist()
        assert 2 * batch * m * n * k == case.flops["matrix"]


def test_short_times_are_the_hosts_and_left_out(tmp_path: Path) -> None:
    found = validate(write(tmp_path / "a.csv", ADD, SHORT))
    assert found.machines == (("Tesla T4", "t4"),)
    assert [row.suite for row in found.operators] == ["pointwise test"]
    assert found.skipped == {"not measured: below 200 us, which is the host's launch": 1}


def test_the_same_operator_may_be_there_twice(tmp_path: Path) -> None:
    found = load_neusight(write(tmp_path / "a.csv", BMM, BMM, BMM))
    assert [name.rpartition(",")[2] for name in found.cases] == ["k=128", "again=2", "again=3"]
    assert len(found.times) == 3


def test_gzip_is_read_too(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.csv", BMM, ADD)
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert load_neusight(packed) == load_neusight(plain)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("a.csv:1", "op", "is missing")),
        (HEAD.replace("latency_ms", "latency"), ("a.csv:1", "latency_ms", "is missing")),
        (HEAD, ("holds no rows",)),
        (f"{HEAD}\n{BMM}\n{BMM},1", ("a.csv:3", "11 columns", "10")),
        (f"{HEAD}\n{BMM}\n{BMM.replace('T4', 'P4')}", ("a.csv:3", "device", "'Tesla T4'")),
        (f"{HEAD}\n{BMM.replace('float32', 'float23')}", ("a.csv:2", "dtype", "'float32'")),
        (f"{HEAD}\n{ADD.replace('add', 'addd')}", ("a.csv:2", "op", "'add'")),
        (f"{HEAD}\n{BMM.replace('96', '0')}", ("a.csv:2", "M", "'0' is no size")),
        (f"{HEAD}\n{BMM.replace('96', '9.5')}", ("a.csv:2", "M", "'9.5'")),
        (f"{HEAD}\n{BMM.replace('96', '-9')}", ("a.csv:2", "M", "'-9'")),
        (f"{HEAD}\n{ADD.removesuffix('4096')}", ("a.csv:2", "H", "'' is no size")),
        (f"{HEAD}\n{BMM.replace('0.5', 'nan')}", ("a.csv:2", "latency_ms", "'nan'")),
        (f"{HEAD}\n{BMM.replace('0.5', '-1')}", ("a.csv:2", "latency_ms", "above 0")),
        (f"{HEAD}\n{BMM.replace('0.5', 'fast')}", ("a.csv:2", "latency_ms", "'fast'")),
    ],
)
def test_every_fault_names_its_line(text: str, words: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(MeasurementError) as error:
        load_neusight(path)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\x1f\x8b\x08\x00broken", b"op,device\x00,dtype\n"])
def test_what_is_no_text_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(MeasurementError, match=r"a\.csv"):
        load_neusight(path)
    with pytest.raises(MeasurementError, match="cannot be read"):
        load_neusight(tmp_path / "none.csv")
