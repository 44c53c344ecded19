"""A timeline as a Perfetto trace: protobuf (`.pftrace`) or Chrome JSON (`.json`, `.json.gz`).

One lane each for the host, the kernels, every port and every unit; slices of one lane never overlap. Counters show what
the last tier holds by role. One
simulated picosecond is written as one nanosecond of trace time, since the formats know nothing shorter; the
process name says so. Field numbers are those of Perfetto's trace_packet.proto and track_event.proto.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from hiersim.audit import audit
from hiersim.errors import HiersimError, SimulationError
from hiersim.lowering.host import entering
from hiersim.model.timeline import StageLog
from hiersim.results import Result, role_names
from hiersim.run import engine
from hiersim.wire import put_bytes, put_number

SCALE_NOTE: Final = "1 ns shown = 1 ps simulated"
_SLICE_BEGIN, _SLICE_END, _COUNTER = 1, 2, 4
_UNIT_SIZE_BYTES: Final = 3
_COUNTERS: Final = 1000
"""Ids of counter tracks begin here, behind those of lanes."""
_PROCESS: Final = 1
_ROOT: Final = 1
_SEQUENCE: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One interval of a lane, in ticks."""

    name: str
    begin: int
    end: int
    kernel: int


def lanes(result: Result) -> Iterator[tuple[str, list[Slice]]]:
    """Lanes from host to units, each with slices in order that do not overlap.

    Raises
    ------
    SimulationError
        When the log was not kept, and the run that makes it takes another time.
    """
    program, timeline = result.program, result.timeline
    names = program.kernel_names
    yield "host dispatch", list(_host(result))
    yield "kernels", [_slice(names, k, timeline.start[k], timeline.end[k]) for k in range(len(names))]
    log = stage_log(result)
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


def write_timeline(result: Result, path: str | os.PathLike[str]) -> None:
    """Write the timeline, whole or not at all; the form follows the name.

    Raises
    ------
    HiersimError
        For a name that ends in none of the forms, or a folder that cannot be written.
    """
    target = Path(path)
    if target.name.endswith((".json", ".json.gz")):
        data = chrome_json(result)
        if target.suffix == ".gz":
            data = gzip.compress(data, mtime=0)
    elif target.suffix in (".pftrace", ".perfetto-trace", ".pb"):
        data = perfetto_trace(result)
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


def perfetto_trace(result: Result) -> bytes:
    """The timeline as a serialized `perfetto.protos.Trace`."""
    packets = bytearray()
    process = put_number(1, _PROCESS) + _text(6, title(result))
    root = put_number(1, _ROOT) + _text(2, title(result)) + put_bytes(3, process)
    _packet(packets, put_bytes(60, root))
    for number, (name, slices) in enumerate(lanes(result), start=2):
        track = put_number(1, number) + _text(2, name) + put_number(5, _ROOT)
        _packet(packets, put_bytes(60, track))
        for item in slices:
            if item.end > item.begin:
                _packet(packets, _event(number, item.begin, _SLICE_BEGIN, item))
                _packet(packets, _event(number, item.end, _SLICE_END, None))
    for number, (name, steps) in enumerate(counters(result), start=_COUNTERS):
        counter = put_bytes(8, put_number(3, _UNIT_SIZE_BYTES))
        _packet(packets, put_bytes(60, put_number(1, number) + _text(2, name) + put_number(5, _ROOT) + counter))
        for time, value in steps:
            event = put_number(9, _COUNTER) + put_number(11, number) + put_number(30, value)
            _packet(packets, put_number(8, time) + put_bytes(11, event))
    return bytes(packets)


def counters(result: Result) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Bytes live in the last tier by role, as (tick, bytes) wherever they change; roles without any are left out."""
    where = result.design.home.name
    live, start = result.live, result.timeline.start[result.program.places]
    columns = [*zip(role_names(), live.by_role.T, strict=True), ("saved activation", live.saved)]
    for name, column in columns:
        if column.any():
            changed = np.flatnonzero(np.diff(column, prepend=-1))
            steps = zip(start[changed].tolist(), column[changed].tolist(), strict=True)
            yield f"{where} live: {name}", list(steps)


def _packet(packets: bytearray, body: bytes) -> None:
    packets += put_bytes(1, body + put_number(10, _SEQUENCE))


def _event(track: int, time: int, kind: int, item: Slice | None) -> bytes:
    body = put_number(9, kind) + put_number(11, track)
    if item is not None:
        note = _text(10, "kernel") + put_number(4, item.kernel)
        body += _text(23, item.name) + put_bytes(4, note)
    return put_number(8, time) + put_bytes(11, body)


def _text(field: int, value: str) -> bytes:
    return put_bytes(field, value.encode())


def chrome_json(result: Result) -> bytes:
    """The timeline as Chrome trace events (`ts` and `dur` in microseconds of trace time)."""
    events: list[dict[str, object]] = [_meta("process_name", 0, title(result))]
    for number, (name, slices) in enumerate(lanes(result), start=1):
        events.append(_meta("thread_name", number, name))
        events.extend(
            {
                "ph": "X", "pid": 1, "tid": number, "name": item.name, "ts": item.begin / 1000,
                "dur": (item.end - item.begin) / 1000, "args": {"kernel": item.kernel},
            }
            for item in slices
        )  # fmt: skip
    for name, steps in counters(result):
        events.extend(
            {"ph": "C", "pid": 1, "name": name, "ts": time / 1000, "args": {"bytes": value}} for time, value in steps
        )
    document = {"traceEvents": events, "otherData": {"scale": SCALE_NOTE, "inputs_sha256": result.inputs_sha256}}
    return json.dumps(document, separators=(",", ":")).encode()


def _meta(name: str, lane: int, value: str) -> dict[str, object]:
    return {"ph": "M", "pid": 1, "tid": lane, "name": name, "args": {"name": value}}
