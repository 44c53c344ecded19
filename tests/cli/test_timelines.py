"""Timelines parse with Perfetto's own protos, and their lanes equal the simulation."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from hiersim.config.load import load_design
from hiersim.frontends.load import load_trace
from hiersim.results import Result
from hiersim.run import simulate
from hiersim.views.perfetto import SCALE_NOTE, chrome_json, write_timeline
from hiersim.views.series import timeline
from hiersim.views.series.timeline import CAUSES, bandwidths, flows


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
    assert busy[CAUSES] == result.makespan


def test_counters_show_the_live_bytes_of_each_role(result: Result, tmp_path: Path) -> None:
    protos = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    write_timeline(result, tmp_path / "run.pftrace")
    trace = protos.Trace()
    trace.ParseFromString((tmp_path / "run.pftrace").read_bytes())
    tracks = [p.track_descriptor for p in trace.packet if p.HasField("track_descriptor")]
    counters = {track.uuid: track for track in tracks if track.HasField("counter")}
    assert len({track.uuid for track in tracks}) == len(tracks)
    live = {uuid: track for uuid, track in counters.items() if " live: " in track.name}
    assert {track.counter.unit for track in live.values()} == {protos.CounterDescriptor.UNIT_SIZE_BYTES}
    names = {"weight", "activation", "input"}
    assert names <= {track.name.removeprefix("hbm live: ") for track in live.values()}
    most: dict[str, int] = defaultdict(int)
    for packet in trace.packet:
        event = packet.track_event
        if packet.HasField("track_event") and event.type == protos.TrackEvent.TYPE_COUNTER:
            if event.track_uuid not in live:
                continue
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


def test_bandwidth_counters_move_what_the_ports_moved(result: Result) -> None:
    found = {item.name: item.steps for item in bandwidths(result)}
    assert set(found) == {"l2 bandwidth", "hbm bandwidth"}
    for name, steps in found.items():
        tier = result.design.tier(name.split()[0])
        assert max(rate for _, rate in steps) <= tier.bandwidth * 1.0001
        moved = sum(
            rate * (after - before) for (before, rate), (after, _) in pairwise(steps)
        )  # fmt: skip
        assert moved / 10**12 == pytest.approx(sum(result.traffic[tier.name].values()), rel=1e-3)


def test_flows_lead_from_the_last_writer_to_each_reader(result: Result) -> None:
    tensors, graph = result.graph.tensors.tensor_storage, result.graph
    arrows = flows(result)
    assert arrows and len(set(arrows)) == len(arrows)
    for producer, consumer in arrows:
        assert producer < consumer and result.timeline.end[producer] <= result.timeline.start[consumer]
        wrote = set(tensors[graph.writes.tensor[graph.writes.ptr[producer] : graph.writes.ptr[producer + 1]]].tolist())
        read = set(tensors[graph.reads.tensor[graph.reads.ptr[consumer] : graph.reads.ptr[consumer + 1]]].tolist())
        later = graph.writes.tensor[graph.writes.ptr[producer + 1] : graph.writes.ptr[consumer]]
        assert (wrote & read) - set(tensors[later].tolist()), "what is read was not written again in between"


def test_runs_stand_side_by_side_in_one_file(result: Result, tmp_path: Path) -> None:
    protos = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    eager = simulate(result.trace, result.design, "eager")
    write_timeline([eager, result], tmp_path / "both.pftrace")
    trace = protos.Trace()
    trace.ParseFromString((tmp_path / "both.pftrace").read_bytes())
    tracks = {p.track_descriptor.uuid: p.track_descriptor for p in trace.packet if p.HasField("track_descriptor")}
    roots = [uuid for uuid, track in tracks.items() if track.HasField("process")]
    assert [tracks[uuid].process.process_name.split(" (")[0] for uuid in roots] == [
        f"resnet50-infer · a100-80gb-sxm · {name}" for name in ("eager", "inductor")
    ]
    busy: dict[tuple[int, str], int] = defaultdict(int)
    begins, ends = set(), set()
    for packet in trace.packet:
        event = packet.track_event
        if packet.HasField("track_event") and event.type != protos.TrackEvent.TYPE_COUNTER:
            track = tracks[event.track_uuid]
            sign = -1 if event.type == protos.TrackEvent.TYPE_SLICE_BEGIN else 1
            busy[roots.index(track.parent_uuid), track.name] += sign * packet.timestamp
            begins.update(event.flow_ids)
            ends.update(event.terminating_flow_ids)
    assert begins == ends and len(begins) == len(flows(eager)) + len(flows(result))
    for place, run in enumerate((eager, result)):
        assert busy[place, "kernels"] == int((run.timeline.end - run.timeline.start).sum())
        for index, resource in enumerate(run.program.resources):
            lane = f"{resource.name} {'unit' if resource.tier < 0 else 'port'}"
            assert busy[place, lane] == run.timeline.busy[index]
    document = json.loads(chrome_json([eager, result]))
    events = document["traceEvents"]
    assert {event["pid"] for event in events} == {1, 2}
    assert sum(event["ph"] == "s" for event in events) == sum(event["ph"] == "f" for event in events) == len(begins)
    assert document["otherData"]["inputs_sha256 of 2"] == result.inputs_sha256


def ledger_by_cause(result: Result) -> dict[str, int]:
    """The ledger of the cores, phases added up, by the names that slices have."""
    from hiersim.views.figures.bars import cause_words
    from hiersim.views.series.stalls import cause_ticks

    return {cause_words(cause): ticks for cause, ticks in cause_ticks(result.to_dict()["ledger"]).items()}


@pytest.fixture(scope="module")
def spilled() -> Result:
    """Weights in host memory, and copies beside the kernels."""
    return simulate(load_trace("llama3-70b-decode"), load_design("h100-sxm"))


@pytest.mark.parametrize("name", ["result", "spilled"])
def test_the_lane_of_causes_is_the_ledger(request: pytest.FixtureRequest, name: str) -> None:
    run: Result = request.getfixturevalue(name)
    slices = list(timeline.causes(run))
    assert slices[0].begin == 0 and slices[-1].end == run.makespan
    assert all(a.end == b.begin and a.begin < a.end for a, b in pairwise(slices)), "no gap, no overlap"
    total: dict[str, int] = defaultdict(int)
    for item in slices:
        total[item.name] += item.end - item.begin
    assert total == ledger_by_cause(run)
    ends = {item.kernel: item.end for item in slices}
    late = [abs(end - int(run.timeline.end[kernel])) for kernel, end in ends.items()]
    launch = max(int(run.program.host_ticks.max()), 10**7)
    assert max(late[:-1]) <= launch, "borders are those of kernels, but for launches of copies"


def test_counters_show_what_every_tier_holds(result: Result, spilled: Result) -> None:
    tpu = simulate(load_trace("resnet50-infer"), load_design("tpu-v4"))
    for run, tiers in ((result, {"l2", "hbm"}), (tpu, {"cmem", "hbm"}), (spilled, {"l2", "hbm", "dram"})):
        held: dict[str, dict[int, int]] = {}
        for counter in timeline.counters(run):
            tier = counter.name.split()[0]
            if not counter.name.endswith("saved activation"):
                for time, value in _every(counter.steps, run):
                    held.setdefault(tier, {})
                    held[tier][time] = held[tier].get(time, 0) + value
        assert set(held) == tiers
        for tier, values in held.items():
            most = max(values.values())
            assert 0 < most <= run.design.tier(tier).capacity
            assert most <= run.peak[tier] or tier == "l2"
    assert spilled.peak["dram"] == max(_total(spilled, "dram"))


def _every(steps: tuple[tuple[int, int], ...], run: Result) -> list[tuple[int, int]]:
    """The value at every kernel's start and end."""
    import numpy as np

    times = np.unique(np.concatenate((run.timeline.start, run.timeline.end)))
    place = np.searchsorted([time for time, _ in steps], times, side="right") - 1
    return [(int(time), steps[row][1]) for time, row in zip(times.tolist(), place.tolist(), strict=True) if row >= 0]


def _total(run: Result, tier: str) -> list[int]:
    from hiersim.lowering.held import held_bytes

    total: list[int] = held_bytes(run.graph, run.design, run.program)[tier].sum(axis=1).tolist()
    return total


def test_a_cache_holds_the_live_tensors_that_were_touched_last(result: Result) -> None:
    from hiersim.lowering.held import cached_in

    graph = result.graph
    whole = cached_in(graph, 10**15).sum(axis=1)
    assert (whole <= result.live.total).all() and whole.max() > 0.5 * result.live.total.max()
    before = None
    for capacity in (10**5, 10**6, 4 * 10**7, 10**15):
        held = cached_in(graph, capacity)
        total = held.sum(axis=1)
        assert (held >= 0).all() and total.max() <= capacity
        assert before is None or (total >= before).all(), "a larger cache holds no less"
        before = total
    moved = graph.writes.size[graph.writes.ptr[7] : graph.writes.ptr[8]].sum()
    assert cached_in(graph, 10**15)[7].sum() >= moved
