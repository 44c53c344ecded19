"""Timelines as a Perfetto trace: protobuf (`.pftrace`) or Chrome JSON (`.json`, `.json.gz`).

Each run is a process, so that eager and fused stand side by side from the same zero. One lane each for the host, the
kernels, the causes of the ledger, every port and every unit; slices of one lane never overlap. Counters show what each
tier holds by role, and how fast each port moves bytes. Flows lead from a kernel to those that read what it wrote. One
simulated picosecond is written as one nanosecond of trace time, since the formats know nothing shorter; the process
name says so. Field numbers are those of Perfetto's trace_packet.proto and track_event.proto.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from hiersim.errors import HiersimError
from hiersim.results import Result
from hiersim.views.series.timeline import KERNELS, Slice, bandwidths, counters, flows, lanes, stage_log
from hiersim.wire import put_bytes, put_fixed64, put_number

SCALE_NOTE: Final = "1 ns shown = 1 ps simulated"
_SLICE_BEGIN, _SLICE_END, _COUNTER = 1, 2, 4
_UNIT_SIZE_BYTES: Final = 3
_COUNTERS: Final = 1000
"""Ids of counter tracks begin here, behind those of lanes."""
_PER_RUN: Final = 2**32
"""Ids of tracks and flows of a run are told from those of the others by their upper half."""
_ROOT: Final = 1
_SEQUENCE: Final = 1


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
