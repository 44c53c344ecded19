"""Timelines parse with Perfetto's own protos, and their lanes equal the simulation."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from pathlib import Path

import pytest

from hiersim.config.load import load_design
from hiersim.frontends.load import load_trace
from hiersim.results import Result
from hiersim.run import simulate
from hiersim.views.perfetto import SCALE_NOTE, write_timeline


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(load_trace("resnet50-infer"), load_design("a100-80gb-sxm"), "inductor")


def test_perfetto_protos_read_every_slice(result: Result, tmp_path: Path) -> None:
    protos = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    write_timeline(result, tmp_path / "run.pftrace")
    trace = protos.Trace()
    trace.ParseFromString((tmp_path / "run.pftrace").read_bytes())
    names = {p.track_descriptor.uuid: p.track_descriptor.name for p in trace.packet if p.HasField("track_descriptor")}
    assert SCALE_NOTE in next(iter(names.values()))
    busy: dict[str, int] = defaultdict(int)
    open_since: dict[int, int] = {}
    for packet in trace.packet:
        if packet.HasField("track_event"):
            track = packet.track_event.track_uuid
            if packet.track_event.type == protos.TrackEvent.TYPE_SLICE_BEGIN:
                assert track not in open_since, "slices of a lane do not overlap"
                open_since[track] = packet.timestamp
            elif packet.track_event.type == protos.TrackEvent.TYPE_SLICE_END:
                busy[names[track]] += packet.timestamp - open_since.pop(track)
    assert not open_since
    for index, resource in enumerate(result.program.resources):
        lane = f"{resource.name} {'unit' if resource.tier < 0 else 'port'}"
        assert busy[lane] == result.timeline.busy[index]
    assert busy["kernels"] == int((result.timeline.end - result.timeline.start).sum())
    assert busy["host dispatch"] == int(result.program.host_ticks.sum())


def test_counters_show_the_live_bytes_of_each_role(result: Result, tmp_path: Path) -> None:
    protos = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    write_timeline(result, tmp_path / "run.pftrace")
    trace = protos.Trace()
    trace.ParseFromString((tmp_path / "run.pftrace").read_bytes())
    tracks = [p.track_descriptor for p in trace.packet if p.HasField("track_descriptor")]
    counters = {track.uuid: track for track in tracks if track.HasField("counter")}
    assert len({track.uuid for track in tracks}) == len(tracks)
    assert {track.counter.unit for track in counters.values()} == {protos.CounterDescriptor.UNIT_SIZE_BYTES}
    names = {"weight", "activation", "input"}
    assert names <= {track.name.removeprefix("hbm live: ") for track in counters.values()}
    most: dict[str, int] = defaultdict(int)
    for packet in trace.packet:
        event = packet.track_event
        if packet.HasField("track_event") and event.type == protos.TrackEvent.TYPE_COUNTER:
            most[counters[event.track_uuid].name] = max(most[counters[event.track_uuid].name], event.counter_value)
    largest = result.to_dict()["peak_memory"]["largest"]
    assert most == {f"hbm live: {role}": size for role, size in largest.items() if size}


def test_chrome_json_holds_the_same_slices(result: Result, tmp_path: Path) -> None:
    write_timeline(result, tmp_path / "run.json.gz")
    document = json.loads(gzip.decompress((tmp_path / "run.json.gz").read_bytes()))
    lanes = {e["tid"]: e["args"]["name"] for e in document["traceEvents"] if e["name"] == "thread_name"}
    total: dict[str, float] = defaultdict(float)
    for event in document["traceEvents"]:
        if event["ph"] == "X":
            total[lanes[event["tid"]]] += event["dur"]
    values = [
        e["args"]["bytes"] for e in document["traceEvents"] if e["ph"] == "C" and e["name"].endswith("activation")
    ]
    assert max(values) == result.to_dict()["peak_memory"]["largest"]["activation"]
    assert round(total["matrix unit"] * 1000) == result.timeline.busy[result.program.units[0]]
    assert document["otherData"]["inputs_sha256"] == result.inputs_sha256
