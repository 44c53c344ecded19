"""Profiles of the PyTorch profiler: times kept exactly, shapes understood, nothing lost in silence."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imported import mutated, refused, same_work, survives
from profiles import ProfileWriter, mlp_profile

import hiersim as hs
from hiersim.frontends.archive import load_archive, save_trace
from hiersim.frontends.json_stream import elements
from hiersim.frontends.kineto.build import import_kineto
from hiersim.frontends.operator_list.build import import_table
from hiersim.model.operators import Flag, Kind, Phase
from hiersim.model.trace import Trace

US = 10**6


def read(profile: ProfileWriter | dict[str, Any] | list[Any], folder: Path, **options: Any) -> Trace:
    target = folder / "p.json"
    target.write_text(json.dumps(profile.whole() if isinstance(profile, ProfileWriter) else profile))
    return import_kineto(target, **options)


def test_times_are_those_of_the_profile(tmp_path: Path) -> None:
    trace = read(mlp_profile(), tmp_path)
    measured = trace.measured
    assert measured is not None
    assert measured.device == "Test GPU"
    assert measured.kernel_time == int(80.5 * US)
    assert measured.span == 100 * US
    assert measured.busy == 70 * US, "0-40.5 and 30-50 overlap, 80-100 stands alone"
    assert measured.idle_share == pytest.approx(0.30)
    assert measured.by_operator(3).tolist() == [int(40.5 * US), 20 * US, 20 * US]
    assert "device idle 30.0%" in trace.header.notes[0]


def test_operators_with_shapes_are_those_of_the_table(tmp_path: Path) -> None:
    trace = read(mlp_profile(), tmp_path)
    (tmp_path / "t.csv").write_text(
        "name,op,dtype,inputs,shape\n"
        "fc1,aten.addmm,fp32,b1:input:512 x:input:64x256 w1:input:256x512,64x512\n"
        "act,aten.relu,fp32,fc1,64x512\n"
        "fc2,aten.addmm,fp32,b2:input:128 act w2:input:512x128,64x128\n"
    )
    assert same_work(trace) == same_work(import_table(tmp_path / "t.csv"))
    assert trace.graph.operators.label(0) == "aten::addmm"


def test_a_profile_survives_the_compact_form_and_gzip(tmp_path: Path) -> None:
    trace = read(mlp_profile(), tmp_path)
    packed = tmp_path / "p.json.gz"
    packed.write_bytes(gzip.compress((tmp_path / "p.json").read_bytes()))
    again = import_kineto(packed)
    save_trace(again, tmp_path / "p.npz")
    loaded = load_archive(tmp_path / "p.npz")
    assert loaded.measured is not None and trace.measured is not None
    assert loaded.measured.duration.tolist() == trace.measured.duration.tolist()
    assert loaded.measured.strings == trace.measured.strings
    assert same_work(loaded) == same_work(trace)


def test_a_replay_prints_predicted_beside_measured(tmp_path: Path) -> None:
    trace = read(mlp_profile(), tmp_path)
    result = hs.simulate(trace, hs.load_design("a100-80gb-sxm"))
    found = result.to_dict()["measured"]
    assert found["kernel_time_s"] == pytest.approx(80.5e-6)
    rows = {row["operator"]: row for row in found["rows"]}
    assert rows["aten::addmm"]["operators"] == 2
    assert rows["aten::addmm"]["measured_ticks"] == int(60.5 * US)
    kernels = result.kernel_rows
    assert rows["aten::relu"]["predicted_ticks"] == kernels[1]["end_ticks"] - kernels[1]["start_ticks"]
    from hiersim.views.profile import profile_table

    table = profile_table(result)
    assert table is not None and table.row_count == 3
    assert hs.simulate(trace, hs.load_design("tiny"), fusion="pointwise").to_dict()["measured"]["rows"] == []


def test_measured_times_do_not_decide_a_result(tmp_path: Path) -> None:
    trace = read(mlp_profile(), tmp_path)
    bare = Trace(header=trace.header, graph=trace.graph)
    design = hs.load_design("tiny")
    assert hs.simulate(trace, design).inputs_sha256 == hs.simulate(bare, design).inputs_sha256


def test_kernels_without_shapes_are_counted_and_never_dropped(tmp_path: Path) -> None:
    profile = ProfileWriter()
    profile.operator("aten::mm", [], [(0, 10, 7), (20, 5, 7)])
    profile.operator("vendor::mystery", [[64, 64]], [(30, 5, 7)])
    profile.operator("aten::copy_", [], [(40, 5, 7)], category="gpu_memcpy", size=4096, kernel="Memcpy DtoD")
    profile.operator("aten::zero_", [], [(50, 5, 7)], category="gpu_memset", size=512, kernel="Memset (Device)")
    trace = read(profile, tmp_path)
    operators, notes = trace.graph.operators, "; ".join(trace.header.notes)
    assert operators.kind.tolist() == [Kind.OPAQUE, Kind.OPAQUE, Kind.COPY, Kind.COPY]
    assert trace.measured is not None and trace.measured.kernel_time == 20 * US
    assert "1 of 4 operators come without shapes" in notes
    assert "2 operators without a cost formula count as memory traffic only: aten::mm (1), vendor::mystery (1)" in notes
    size, ptr = trace.graph.reads.size.tolist(), trace.graph.reads.ptr.tolist()
    assert [sum(size[a:b]) for a, b in pairwise(ptr)] == [0, 64 * 64 * 4, 4096, 0]
    assert trace.graph.writes.size.tolist() == [64 * 64 * 4, 4096, 512]


def test_a_kernel_without_an_operator_is_one_of_its_own(tmp_path: Path) -> None:
    profile = mlp_profile()
    for event in profile.events:
        if event["cat"] == "cuda_runtime":
            event["args"]["correlation"] += 1000
        event["args"].pop("External id", None)
    trace = read(profile, tmp_path)
    assert len(trace.graph.operators) == 3
    assert "3 of 3 device events could not be traced to an operator" in "; ".join(trace.header.notes)


def test_external_ids_stand_in_for_correlations(tmp_path: Path) -> None:
    profile = mlp_profile()
    external = -1
    for event in profile.events:
        external = event["args"].get("External id", external)
        if event["cat"] == "kernel":
            event["args"]["External id"] = external
    profile.events = [event for event in profile.events if event["cat"] != "cuda_runtime"]
    trace = read(profile, tmp_path)
    assert trace.graph.operators.kind.tolist() == [Kind.GEMM, Kind.POINTWISE, Kind.GEMM]


def test_calls_without_correlation_are_joined_by_external_ids_of_their_own(tmp_path: Path) -> None:
    """As ROCm's profiles have it: an operator of another number carries the same external id as a launch."""
    profile = mlp_profile()
    for event in profile.events:
        if event["cat"] in ("cuda_runtime", "kernel"):
            event["args"]["External id"] = event["args"].pop("correlation")
        elif "Input Dims" in event["args"]:
            event["args"]["External id"] = 3 if event["name"] == "aten::relu" else 100
    trace = read(profile, tmp_path)
    assert trace.graph.operators.kind.tolist() == [Kind.GEMM, Kind.POINTWISE, Kind.GEMM]
    assert not any("could not be traced" in note for note in trace.header.notes)


def test_profiles_of_intel_gpus_have_queues_for_streams_and_no_properties(tmp_path: Path) -> None:
    profile = mlp_profile()
    for event in profile.events:
        event["cat"] = event["cat"].replace("cuda_runtime", "xpu_runtime")
        if event["cat"] == "kernel":
            event["args"] |= {"sycl queue": event["args"].pop("stream"), "l0 queue": "0x000055d08b8fc138"}
            event["tid"] = 0
    trace = read({**profile.whole(), "deviceProperties": []}, tmp_path)
    assert trace.graph.operators.kind.tolist() == [Kind.GEMM, Kind.POINTWISE, Kind.GEMM]
    assert trace.measured is not None and set(trace.measured.stream.tolist()) == {7, 20}


@pytest.mark.parametrize(
    ("kind", "size"),
    [("c10::Float8_e4m3fnuz", 1), ("c10::Float8_e8m0fnu", 1), ("BFloat16", 2), ("Half", 2), ("unsigned long int", 8)],
)
def test_element_types_have_their_size(kind: str, size: int, tmp_path: Path) -> None:
    profile = ProfileWriter()
    profile.operator("aten::relu", [[64, 512]], [(0, 20, 7)], types=[kind])
    graph = read(profile, tmp_path).graph
    assert graph.reads.size.tolist() == graph.writes.size.tolist() == [64 * 512 * size]


def test_an_element_type_that_is_new_is_named(tmp_path: Path) -> None:
    profile = ProfileWriter()
    profile.operator("aten::relu", [[64, 512], []], [(0, 20, 7)], types=["c10::posit16", "Scalar"])
    trace = read(profile, tmp_path)
    assert trace.graph.reads.size.tolist() == [64 * 512 * 4]
    assert "element types that are not known count as FP32: c10::posit16" in trace.header.notes


def test_a_list_of_tensors_has_the_type_of_what_came_before(tmp_path: Path) -> None:
    """A profile says `TensorList` where it says the type of single tensors."""
    profile = ProfileWriter()
    profile.operator("aten::relu", [[64, 512]], [(0, 20, 7)], types=["c10::BFloat16"])
    for sides in ([[64, 512], [64, 512]], [[3, 512], [3, 512]]):
        profile.operator("aten::cat", [sides, []], [(30, 20, 7)], types=["TensorList", "Scalar"], values=["", "0"])
    graph = read(profile, tmp_path).graph
    written = [int(graph.writes.size[graph.writes.ptr[row]]) for row in range(3)]
    assert written == [64 * 512 * 2, 128 * 512 * 2, 6 * 512 * 4], "FP32 where nothing of that shape was there"


def test_convolutions_find_their_result_and_their_gradients(tmp_path: Path) -> None:
    profile = ProfileWriter()
    x, w, y = [8, 64, 56, 56], [128, 64, 3, 3], [8, 128, 28, 28]
    none: list[int] = []
    profile.operator("aten::cudnn_convolution", [x, w, none, none, none, none], [(0, 5, 7)])
    profile.operator("aten::cudnn_batch_norm", [y, [128], [128], [128], [128], none, none, none], [(10, 5, 7)])
    backward = [x, y, w, none, none, none, none]
    profile.operator(
        "aten::cudnn_convolution_backward", backward, [(20, 5, 7)], around="autograd::engine::evaluate_function: X"
    )
    operators = read(profile, tmp_path).graph.operators
    flops = 2 * 8 * 28 * 28 * 128 * 64 * 9
    assert operators.kind.tolist() == [Kind.CONV, Kind.REDUCTION, Kind.CONV]
    assert operators.dims[:6].tolist() == [1, 8 * 28 * 28, 128, 64 * 9, 9, 4]
    assert operators.matrix_flops.tolist() == [flops, 0, 2 * flops]
    assert operators.phase.tolist() == [Phase.FORWARD, Phase.FORWARD, Phase.BACKWARD]


def test_concrete_inputs_decide_where_they_are_there(tmp_path: Path) -> None:
    profile = ProfileWriter()
    values = ["", "", "", "[2, 2]", "[3, 3]", "[1, 1]", "False", "[0, 0]", "1"]
    dims = [[4, 3, 224, 224], [64, 3, 7, 7], [], [], [], [], [], [], []]
    types = [
        "c10::BFloat16",
        "c10::BFloat16",
        "",
        "ScalarList",
        "ScalarList",
        "ScalarList",
        "Scalar",
        "ScalarList",
        "Scalar",
    ]
    profile.operator("aten::_convolution", dims, [(0, 5, 7)], types=types, values=values)
    profile.operator("aten::sum", [[16, 32], [], [], []], [(10, 5, 7)], values=["", "[1]", "False", ""])
    trace = read(profile, tmp_path)
    assert trace.graph.operators.dims[:6].tolist() == [1, 4 * 112 * 112, 64, 3 * 49, 49, 4]
    assert trace.graph.writes.size.tolist() == [4 * 64 * 112 * 112 * 2, 16 * 4]


def test_in_place_operators_write_what_they_read(tmp_path: Path) -> None:
    profile = ProfileWriter()
    profile.operator("aten::mul", [[64, 64], []], [(0, 5, 7)])
    profile.operator("aten::add_", [[64, 64], [64, 64], []], [(10, 5, 7)])
    profile.operator("aten::fill_", [[64, 64], []], [(20, 5, 7)])
    graph = read(profile, tmp_path).graph
    assert graph.operators.flags.tolist() == [0, Flag.MUTATES, Flag.MUTATES]
    storage = graph.tensors.tensor_storage
    assert len(set(storage[graph.writes.tensor].tolist())) == 1
    assert graph.reads.ptr.tolist() == [0, 1, 2, 2], "a fill overwrites"


def test_a_device_is_chosen_and_the_others_are_told(tmp_path: Path) -> None:
    profile = mlp_profile()
    [event for event in profile.events if event["cat"] == "kernel"][1]["args"]["device"] = 1
    trace = read(profile, tmp_path)
    assert len(trace.graph.operators) == 2
    assert "device 0 of 2" in "; ".join(trace.header.notes)
    assert len(read(profile, tmp_path, device=1).graph.operators) == 1
    with pytest.raises(hs.TraceError, match="has nothing on device 5"):
        read(profile, tmp_path, device=5)


def on_a_processor(shapes: bool = True) -> ProfileWriter:
    """Two linear layers of 100 us with the operators within them, an operator that no rule knows, and a view."""
    profile = ProfileWriter()
    for _ in range(2):
        start = profile.clock
        profile.operator("aten::addmm", [[512], [64, 256], [256, 512], [], []] if shapes else None, [])
        profile._event(
            "cpu_op", "aten::copy_", start + 10, 20, {"Input Dims": [[64, 512], [64, 512], []]} if shapes else {}
        )
    profile.operator("own::thing", [[64, 512]] if shapes else None, [])
    profile.operator("aten::view", [[64, 512], []] if shapes else None, [])
    return profile


@pytest.mark.parametrize("shapes", [True, False])
def test_a_profile_without_a_device_is_one_of_the_processor(shapes: bool, tmp_path: Path) -> None:
    trace = read(on_a_processor(shapes), tmp_path)
    table, measured = trace.graph.operators, trace.measured
    assert measured is not None
    assert measured.device == "CPU"
    assert [table.label(row) for row in range(len(table))] == ["aten::addmm", "aten::addmm", "own::thing"]
    assert measured.kernel_time == 3 * 98 * US, "what an operator calls is inside its time"
    assert measured.span == 298 * US
    assert measured.busy == measured.kernel_time
    assert int(table.matrix_flops.sum()) == (2 * 2 * 64 * 512 * 256 if shapes else 0)
    assert "no device" in trace.header.notes[1]


def test_launches_without_kernels_are_no_profile_of_a_processor(tmp_path: Path) -> None:
    for category in ("cuda_runtime", "mtia_runtime"):
        profile = on_a_processor()
        profile._event(category, "launch", profile.clock, 5, {"correlation": 1})
        with pytest.raises(hs.TraceError, match="holds no kernels of a device"):
            read(profile, tmp_path)


GOOD = json.dumps(mlp_profile().whole())
BROKEN = [
    ("", "is empty", "Chrome JSON"),
    ("hello", "begins with 'h'"),
    ("{}", "has no 'traceEvents'", "PyTorch profiler"),
    ('{"traceEvents": []}', "holds no kernels of a device", "ProfilerActivity.CUDA"),
    ('{"traceEvents": [1]}', "holds a int among its elements"),
    ('{"traceEvents": {}}', "has '{' where the list begins"),
    ('{"traceEvents": [}', "is no JSON"),
    (GOOD[: len(GOOD) // 2], "ends inside a value or is no JSON"),
    (GOOD + "x", "goes on after its end"),
    (GOOD.replace('"dur": 20', '"dur": -20'), "traceEvents[", "a time is -20"),
    (GOOD.replace('"dur": 20', '"dur": "soon"'), "is no event of a profiler"),
    (GOOD.replace('"dur": 20', '"dur": 1e999'), "a time is"),
    (GOOD.replace('"dur": 20', '"dur": NaN'), "a time is None"),
    (GOOD.replace('"dur": 20', '"dur": 90000000000000000'), "spans more than 26 days"),
    ('{"traceEvents": ' + "[" * 100_000, "nested too deeply"),
    ('{"traceEvents": [' + '{"ph": ' + "9" * 5000 + "}]}", "too many digits"),
    ('{"traceEvents": [{"ts": 1e+' + "9" * 40 + "}]}", "too many digits"),
    (" " * (2**21), "holds a megabyte of blanks"),
    (b"\x1f\x8b\x08garbage", "cannot be read"),
    (gzip.compress(GOOD.encode())[:-20], "cannot be read"),
    (b"\x00\xff" * 50, "begins with"),
]


@pytest.mark.parametrize(("text", "parts"), [(row[0], row[1:]) for row in BROKEN], ids=[row[1] for row in BROKEN])
def test_a_broken_profile_is_one_line(text: str | bytes, parts: tuple[str, ...], tmp_path: Path) -> None:
    refused(import_kineto, tmp_path / "broken.json", text, *parts)


def test_what_other_exporters_write_is_taken(tmp_path: Path) -> None:
    profile = mlp_profile()
    bare = [*profile.events, {"ph": "M", "name": "process_name"}, {"ph": "X"}, {"cat": 5, "ph": "X"}]
    assert len(read(bare, tmp_path).graph.operators) == 3, "a bare list"
    text = json.dumps(bare)[:-1] + ",\n]"
    (tmp_path / "comma.json").write_text(text)
    assert len(import_kineto(tmp_path / "comma.json").graph.operators) == 3, "a comma behind the last event"
    raw = json.dumps(profile.whole()).replace("kernel_of_aten::relu", "odd \x01 name").encode() + b"\n"
    (tmp_path / "raw.json").write_bytes(raw.replace(b"odd", b"\xff\xfe"))
    assert len(import_kineto(tmp_path / "raw.json").graph.operators) == 3, "bytes that are no UTF-8"


@given(
    values=st.lists(
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5), max_size=6
    )
)
def test_events_come_out_as_they_went_in(values: list[Any], tmp_path_factory: Any) -> None:
    target = tmp_path_factory.mktemp("stream") / "x.json"
    rows = [{"value": value} for value in values]
    target.write_text(json.dumps({"a": values, "traceEvents": rows, "z": 1}, indent=len(values)))
    head: dict[str, Any] = {}
    assert list(elements(target, "x", head, ("traceEvents",), "x")) == rows
    assert head == {"a": values, "z": 1}


SHAPES = st.lists(st.integers(0, 9), max_size=4)
NAMES = st.sampled_from(
    ["aten::mm", "aten::addmm", "aten::cudnn_convolution", "aten::convolution_backward", "aten::cat", "aten::sum",
     "aten::x", "aten::_softmax", "aten::native_layer_norm", "aten::embedding", "aten::index_put_",
     "aten::_foreach_add_", "aten::max_pool2d_with_indices", "aten::bmm", "aten::gather", "nccl:all_reduce",
     "aten::native_batch_norm"]
)  # fmt: skip


@given(data=st.data())
def test_any_operator_with_any_shapes_is_a_trace(data: st.DataObject, tmp_path_factory: Any) -> None:
    profile = ProfileWriter()
    for index in range(data.draw(st.integers(1, 5))):
        dims = data.draw(st.lists(SHAPES | st.lists(SHAPES, max_size=3), max_size=8))
        profile.operator(
            data.draw(NAMES), dims, [(10 * index, data.draw(st.integers(0, 30)), data.draw(st.integers(0, 2)))]
        )
    trace = read(profile, tmp_path_factory.mktemp("any"))
    assert trace.measured is not None and len(trace.measured) == len(trace.graph.operators)
    total = sum(event["dur"] for event in profile.events if event["cat"] == "kernel")
    assert trace.measured.kernel_time == total * US
    assert 0 <= trace.measured.busy <= min(trace.measured.span, trace.measured.kernel_time)


@given(data=st.data())
def test_no_profile_breaks_the_reader(data: st.DataObject, tmp_path_factory: Any) -> None:
    survives(import_kineto, tmp_path_factory.mktemp("fuzz") / "p.json", mutated(data, GOOD.encode()))


@pytest.mark.slow
def test_a_hundred_megabytes_are_read_within_a_gigabyte(tmp_path: Path) -> None:
    """Chunk by chunk: 8 000 times the profile of the MLP with the long call stacks that profilers write."""
    target = tmp_path / "large.json"
    stack = "x" * 2200
    with target.open("w") as stream:
        stream.write('{"traceEvents": [')
        for number in range(8_000):
            profile = mlp_profile()
            for event in profile.events:
                event["ts"] += number * 400
                if event["cat"] == "cpu_op":
                    event["args"]["Call stack"] = stack
                if "correlation" in event["args"]:
                    event["args"]["correlation"] += 10 * number
            stream.write(("," if number else "") + json.dumps(profile.events)[1:-1])
        stream.write("]}")
    assert target.stat().st_size > 100e6
    script = (  # VmHWM: a process inherits ru_maxrss from the one that started it
        "import re, sys; from pathlib import Path; from hiersim.frontends.kineto.build import import_kineto\n"
        "trace = import_kineto(sys.argv[1])\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1]\n"
        "print(len(trace.graph.operators), peak)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=True)
    operators, kilobytes = map(int, done.stdout.split())
    assert operators == 24_000
    assert kilobytes < 10**6
