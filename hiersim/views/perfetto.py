"""Timelines as a Perfetto trace: protobuf (`.pftrace`) or Chrome JSON (`.json`, `.json.gz`).

Each run is a process, so that eager and fused stand side by side from the same zero. One lane each for the host, the
kernels, every port and every unit; slices of one lane never overlap. Counters show what the last tier holds by role,
and how fast each port moves bytes. Flows lead from a kernel to those that read what it wrote. One simulated picosecond
is written as one nanosecond of trace time, since the formats know nothing shorter; the process name says so. Field
numbers are those of Perfetto's trace_packet.proto and track_event.proto.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from hiersim.audit import audit
from hiersim.errors import HiersimError, SimulationError
from hiersim.lowering.host import entering
from hiersim.model.operators import IntArray
from hiersim.model.timeline import StageLog
from hiersim.results import Result, role_names
from hiersim.run import engine
from hiersim.units import TICKS_PER_SECOND
from hiersim.wire import put_bytes, put_fixed64, put_number

SCALE_NOTE: Final = "1 ns shown = 1 ps simulated"
_SLICE_BEGIN, _SLICE_END, _COUNTER = 1, 2, 4
_UNIT_SIZE_BYTES: Final = 3
_COUNTERS: Final = 1000
"""Ids of counter tracks begin here, behind those of lanes."""
_PER_RUN: Final = 2**32
"""Ids of tracks and flows of a run are told from those of the others by their upper half."""
_WINDOWS: Final = 2000
"""Of the makespan, for the bandwidth of ports."""
KERNELS: Final = "kernels"
_ROOT: Final = 1
_SEQUENCE: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One interval of a lane, in ticks."""

    name: str
    begin: int
    end: int
    kernel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A value that holds from each step to the next."""

    name: str
    unit: str
    steps: tuple[tuple[int, int], ...]
    """(tick, value)"""


def lanes(result: Result, log: StageLog | None = None) -> Iterator[tuple[str, list[Slice]]]:
    """Lanes from host to units, each with slices in order that do not overlap; `log` is `stage_log(result)` if at hand.

    Raises
    ------
    SimulationError
        When the log was not kept, and the run that makes it takes another time.
    """
    program, timeline = result.program, result.timeline
    names = program.kernel_names
    yield "host dispatch", list(_host(result))
    yield KERNELS, [_slice(names, k, timeline.start[k], timeline.end[k]) for k in range(len(names))]
    log = log or stage_log(result)
    resource = program.stage_resource[log.stage]
    for index, item in enumerate(program.resources):
        rows = np.flatnonzero(resource == index)
        rows = rows[np.argsort(log.grant[rows], kind="stable")]
        merged: list[Slice] = []
        for kernel, start, end in zip(
            log.kernel[rows].tolist(), log.grant[rows].tolist(), log.end[rows].tolist(), strict=True
        ):
            if merged and merged[-1].kernel == kernel and merged[-1].end == start:
                start = merged.pop().begin
            merged.append(_slice(names, kernel, start, end))
        yield f"{item.name} {'unit' if item.tier < 0 else 'port'}", merged


def _host(result: Result) -> Iterator[Slice]:
    """Launches; what enters a compiled region (guards, compilation) is a slice of its own before the kernel's."""
    program, begin = result.program, result.timeline.host_begin
    entered = entering(result.graph, result.design)
    owner = program.graph_kernel if program.graph_kernel is not None else np.arange(len(program))
    for k, name in enumerate(program.kernel_names):
        start, end = int(begin[k]), int(begin[k] + program.host_ticks[k])
        ticks = int(entered[owner[k]]) if owner[k] >= 0 else 0
        if ticks:
            yield Slice(name="enter compiled region", begin=start, end=start + ticks, kernel=k)
        yield Slice(name=name, begin=start + ticks, end=end, kernel=k)


def stage_log(result: Result) -> StageLog:
    """The log of the run; where it was not kept, that of the same program played again, and audited."""
    if result.timeline.log is not None:
        return result.timeline.log
    again = engine(result.engine_name)(result.program, keep_log=True)
    if again.makespan != result.makespan or again.log is None:
        raise SimulationError(
            f"engine '{result.engine_name}' took {result.makespan} ticks, and {again.makespan} when it kept its log; "
            "please report this"
        )
    audit(result.program, again, result.bounds)
    return again.log


def _slice(names: tuple[str, ...], kernel: int, begin: int, end: int) -> Slice:
    return Slice(name=names[kernel], begin=int(begin), end=int(end), kernel=kernel)


def write_timeline(source: Result | Sequence[Result], path: str | os.PathLike[str]) -> None:
    """Write the timeline of one run or of several, whole or not at all; the form follows the name.

    Raises
    ------
    HiersimError
        For a name that ends in none of the forms, or a folder that cannot be written.
    """
    target = Path(path)
    if target.name.endswith((".json", ".json.gz")):
        data = chrome_json(source)
        if target.suffix == ".gz":
            data = gzip.compress(data, mtime=0)
    elif target.suffix in (".pftrace", ".perfetto-trace", ".pb"):
        data = perfetto_trace(source)
    else:
        raise HiersimError(
            "has an unknown form", file=str(path), expected="a name that ends in .pftrace, .json or .json.gz"
        )
    write_whole(target, data)


def write_whole(target: Path, data: bytes) -> None:
    """Write a file so that it appears complete or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}-", delete=False) as handle:
            handle.write(data)
        os.chmod(handle.name, 0o644)
        os.replace(handle.name, target)
    except OSError as error:
        raise HiersimError(
            f"cannot be written: {error.strerror}", file=str(target), expected="a folder to write in"
        ) from None


def title(result: Result) -> str:
    """Name of the process in the trace."""
    return f"{result.trace.name} · {result.design.name} · {result.fusion} ({SCALE_NOTE})"


def perfetto_trace(source: Result | Sequence[Result]) -> bytes:
    """The timelines as a serialized `perfetto.protos.Trace`."""
    packets = bytearray()
    for process, result in enumerate(_runs(source), start=1):
        _process(packets, result, process)
    return bytes(packets)


def _runs(source: Result | Sequence[Result]) -> Sequence[Result]:
    return [source] if isinstance(source, Result) else source


def _process(packets: bytearray, result: Result, process: int) -> None:
    """One run; ids of its tracks and flows are told from those of others by their upper part."""
    first = process * _PER_RUN
    root = first + _ROOT
    about = put_number(1, process) + _text(6, title(result))
    _packet(packets, put_bytes(60, put_number(1, root) + _text(2, title(result)) + put_bytes(3, about)))
    leads, log = _flow_fields(result, first), stage_log(result)
    for number, (name, slices) in enumerate(lanes(result, log), start=root + 1):
        track = put_number(1, number) + _text(2, name) + put_number(5, root)
        _packet(packets, put_bytes(60, track))
        for item in slices:
            if item.end > item.begin:
                flows = leads.get(item.kernel, b"") if name == KERNELS else b""
                _packet(packets, _event(number, item.begin, _SLICE_BEGIN, item, flows))
                _packet(packets, _event(number, item.end, _SLICE_END, None))
    for number, counter in enumerate((*counters(result), *bandwidths(result, log)), start=first + _COUNTERS):
        unit = put_number(3, _UNIT_SIZE_BYTES) if counter.unit == "bytes" else _text(6, counter.unit)
        about = put_number(1, number) + _text(2, counter.name) + put_number(5, root) + put_bytes(8, unit)
        _packet(packets, put_bytes(60, about))
        for time, value in counter.steps:
            event = put_number(9, _COUNTER) + put_number(11, number) + put_number(30, value)
            _packet(packets, put_number(8, time) + put_bytes(11, event))


def _flow_fields(result: Result, first: int) -> dict[int, bytes]:
    """Kernel of the program → the flows that begin and end at its slice."""
    drawn = result.timeline.end > result.timeline.start
    fields: dict[int, bytes] = {}
    for number, (producer, consumer) in enumerate(flows(result), start=first):
        if drawn[producer] and drawn[consumer]:
            fields[producer] = fields.get(producer, b"") + put_fixed64(47, number)
            fields[consumer] = fields.get(consumer, b"") + put_fixed64(48, number)
    return fields


def flows(result: Result) -> list[tuple[int, int]]:
    """Kernels of the program that wrote last what a later one reads: (producer, consumer), in the consumers' order."""
    graph, places = result.graph, result.program.places.tolist()
    storage = graph.tensors.tensor_storage
    reads, writes = (storage[access.tensor].tolist() for access in (graph.reads, graph.writes))
    read_ptr, write_ptr = graph.reads.ptr.tolist(), graph.writes.ptr.tolist()
    writer: dict[int, int] = {}
    found: list[tuple[int, int]] = []
    for kernel, place in enumerate(places):
        read = reads[read_ptr[kernel] : read_ptr[kernel + 1]]
        found += [(places[row], place) for row in sorted({writer[item] for item in read if item in writer})]
        writer.update(dict.fromkeys(writes[write_ptr[kernel] : write_ptr[kernel + 1]], kernel))
    return found


def counters(result: Result) -> Iterator[Counter]:
    """Bytes live in the last tier by role wherever they change; roles without any are left out."""
    where = result.design.home.name
    live, start = result.live, result.timeline.start[result.program.places]
    columns = [*zip(role_names(), live.by_role.T, strict=True), ("saved activation", live.saved)]
    for name, column in columns:
        if column.any():
            changed = np.flatnonzero(np.diff(column, prepend=-1))
            steps = zip(start[changed].tolist(), column[changed].tolist(), strict=True)
            yield Counter(name=f"{where} live: {name}", unit="bytes", steps=tuple(steps))


def bandwidths(result: Result, log: StageLog | None = None, windows: int = _WINDOWS) -> Iterator[Counter]:
    """Bytes per second at each port, in equal windows of the makespan; each transfer is even over its service.

    Ports without limit and latency have no services, and no counter.
    """
    program, log = result.program, log or stage_log(result)
    width = max(-(-int(result.makespan) // windows), 1)
    edges = np.arange(0, int(result.makespan) + width, width)
    resource, size = program.stage_resource[log.stage], program.stage_bytes[log.stage]
    for index, item in enumerate(program.resources):
        rows = np.flatnonzero((resource == index) & (size > 0))
        if item.tier >= 0 and len(rows):
            moved = np.diff(_moved_until(edges, log.grant[rows], log.end[rows], size[rows]))
            rate = np.rint(moved * (TICKS_PER_SECOND / width)).astype(np.int64)
            changed = np.flatnonzero(np.diff(rate, prepend=-1))
            steps = [*zip(edges[changed].tolist(), rate[changed].tolist(), strict=True), (int(result.makespan), 0)]
            yield Counter(name=f"{item.name} bandwidth", unit="B/s", steps=tuple(steps))


def _moved_until(edges: IntArray, begin: IntArray, end: IntArray, size: IntArray) -> npt.NDArray[np.float64]:
    """Bytes moved before each edge; a port serves one transfer at a time, so that they are in order."""
    order = np.argsort(begin, kind="stable")
    times = np.stack((begin[order], end[order]), axis=1).ravel()
    done = np.cumsum(size[order])
    moved = np.stack((done - size[order], done), axis=1).ravel()
    return np.interp(edges, times, moved.astype(np.float64))


def _packet(packets: bytearray, body: bytes) -> None:
    packets += put_bytes(1, body + put_number(10, _SEQUENCE))


def _event(track: int, time: int, kind: int, item: Slice | None, flows: bytes = b"") -> bytes:
    body = put_number(9, kind) + put_number(11, track) + flows
    if item is not None:
        note = _text(10, "kernel") + put_number(4, item.kernel)
        body += _text(23, item.name) + put_bytes(4, note)
    return put_number(8, time) + put_bytes(11, body)


def _text(field: int, value: str) -> bytes:
    return put_bytes(field, value.encode())


def chrome_json(source: Result | Sequence[Result]) -> bytes:
    """The timelines as Chrome trace events (`ts` and `dur` in microseconds of trace time)."""
    events: list[dict[str, object]] = []
    results = _runs(source)
    for process, result in enumerate(results, start=1):
        events += _chrome_process(result, process)
    digests = {"inputs_sha256": results[0].inputs_sha256} if len(results) == 1 else {
        f"inputs_sha256 of {process}": result.inputs_sha256 for process, result in enumerate(results, start=1)
    }  # fmt: skip
    document = {"traceEvents": events, "otherData": {"scale": SCALE_NOTE, **digests}}
    return json.dumps(document, separators=(",", ":")).encode()


def _chrome_process(result: Result, process: int) -> Iterator[dict[str, object]]:
    yield _meta("process_name", process, 0, title(result))
    kernels, log = 0, stage_log(result)
    for number, (name, slices) in enumerate(lanes(result, log), start=1):
        yield _meta("thread_name", process, number, name)
        kernels = number if name == KERNELS else kernels
        for item in slices:
            yield {
                "ph": "X", "pid": process, "tid": number, "name": item.name, "ts": item.begin / 1000,
                "dur": (item.end - item.begin) / 1000, "args": {"kernel": item.kernel},
            }  # fmt: skip
    for counter in (*counters(result), *bandwidths(result, log)):
        for time, value in counter.steps:
            yield {"ph": "C", "pid": process, "name": counter.name, "ts": time / 1000, "args": {counter.unit: value}}
    start = result.timeline.start
    for number, (producer, consumer) in enumerate(flows(result), start=process * _PER_RUN):
        common = {"cat": "data", "name": "data", "pid": process, "tid": kernels, "id": number}
        yield {"ph": "s", "ts": int(start[producer]) / 1000, **common}
        yield {"ph": "f", "bp": "e", "ts": int(start[consumer]) / 1000, **common}


def _meta(name: str, process: int, lane: int, value: str) -> dict[str, object]:
    return {"ph": "M", "pid": process, "tid": lane, "name": name, "args": {"name": value}}
