"""A profile of the PyTorch profiler becomes a trace with measured times.

One operator per host operator that launched something, in issue order: the innermost around the launch that a cost
rule knows, else the innermost. Tensors have no identity in a profile: an operand is the latest result of its shape
and type, or else something that was there from the start (deviation D48).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from hiersim.errors import TraceError, one_line
from hiersim.frontends import aten
from hiersim.frontends.aten.call import Call, Cost, Operand, Shape
from hiersim.frontends.draft import Draft
from hiersim.frontends.integrity import check_trace
from hiersim.frontends.kineto import arguments, calls
from hiersim.frontends.kineto.events import DeviceEvent, HostOp, Profile, innermost, read_profile
from hiersim.frontends.kineto.processor import DEVICE, take_processor
from hiersim.frontends.tables import Access, TensorKey
from hiersim.model.operators import BITS, DType, Flag, Kind, Phase, Role
from hiersim.model.profile import Activity, DeviceProfile
from hiersim.model.trace import Trace, TraceHeader
from hiersim.units import LARGEST, show_ticks

MAX_DEPTH: Final = 64
"""Operators around a launch that are looked at."""
_COLLECTIVES: Final = ("nccl", "rccl", "c10d::", "record_param_comms")


@dataclass(slots=True)
class _Group:
    """Everything on the device that one operator launched."""

    operator: HostOp | None
    issued: int
    events: list[DeviceEvent] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.operator.name if self.operator else self.events[0].name


def import_kineto(path: str | os.PathLike[str], *, name: str = "", device: int | None = None) -> Trace:
    """Read a profile (`.json`, `.json.gz`) as a trace with measured times.

    Parameters
    ----------
    path : path
        What `torch.profiler` exports, with or without `record_shapes`.
    name : str
        Name of the trace; default: that of the file.
    device : int, optional
        Index of the device to take; default: the one on which most ran.

    Raises
    ------
    TraceError
        Not a profile, cut off, or nothing on that device.
    """
    file = str(path)
    profile = read_profile(Path(path), file)
    if not profile.device:
        take_processor(profile, file)
    chosen, others = _device(profile, device, file)
    groups = list(_groups(profile, chosen, file))
    writer = _Writer(Draft(file), profile)
    for group in groups:
        writer.take(group)
    measured = _measured(groups, str(_device_name(profile, chosen)), file)
    notes = [*_notes(profile, groups, writer, measured)]
    if others:
        notes.append(f"device {chosen} of {others + 1}; what ran on the others is left out")
    header = TraceHeader(
        name=name or Path(path).name.partition(".")[0] or "profile",
        workload="a profile",
        producer="hiersim import kineto",
        command=f"hiersim import kineto {Path(path).name}",
        notes=tuple(notes),
    )
    trace = writer.draft.finish(header)
    return check_trace(Trace(header=trace.header, graph=trace.graph, measured=measured), file)


def _device(profile: Profile, wanted: int | None, file: str) -> tuple[int, int]:
    """The device to take, and how many others there are."""
    counted = Counter(event.device for event in profile.device)
    chosen = max(counted, key=lambda device: (counted[device], -device)) if wanted is None else wanted
    if chosen not in counted:
        have = ", ".join(map(str, sorted(counted)[:12]))
        raise TraceError(f"has nothing on device {chosen}", file=file, key="--device", expected=f"one of {have}")
    return chosen, len(counted) - 1


def _device_name(profile: Profile, device: int) -> str:
    if profile.on_host:
        return DEVICE
    properties = profile.head.get("deviceProperties")
    for entry in properties if isinstance(properties, list) else []:
        if isinstance(entry, dict) and entry.get("id") == device and isinstance(entry.get("name"), str):
            return one_line(entry["name"])
    return ""


def _groups(profile: Profile, device: int, file: str) -> Iterator[_Group]:
    """Device events by the operator that stands for them, in issue order."""
    found: dict[int, _Group] = {}
    for index, (event, operator, issued) in enumerate(innermost(profile, file)):
        if event.device != device:
            continue
        chosen = _speaking(operator)
        key = id(chosen) if chosen is not None else -1 - index
        group = found.setdefault(key, _Group(chosen, issued))
        group.issued = min(group.issued, issued)
        group.events.append(event)
    yield from sorted(found.values(), key=lambda group: (group.issued, group.events[0].start, group.name))


def _speaking(operator: HostOp | None) -> HostOp | None:
    """The innermost operator that a cost rule knows, else the innermost that is no annotation and no module."""
    candidate, depth = operator, 0
    while candidate is not None and depth < MAX_DEPTH:
        if calls.known(candidate):
            return candidate
        candidate, depth = candidate.parent, depth + 1
    while operator is not None and operator.module:
        operator = operator.parent
    return operator


def _measured(groups: list[_Group], device: str, file: str) -> DeviceProfile:
    rows = [(event.start, event.stream, row, event) for row, group in enumerate(groups) for event in group.events]
    rows.sort(key=lambda entry: (entry[0], entry[1], entry[2], entry[3].correlation))
    first = rows[0][0]
    if any(entry[0] - first + entry[3].duration >= LARGEST // 2 for entry in rows):
        raise TraceError("spans more than 26 days", file=file, expected="times of one profile")
    strings: dict[str, int] = {}
    names = [strings.setdefault(one_line(entry[3].name), len(strings)) for entry in rows]

    def column(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array(values, np.int64)

    return DeviceProfile(
        device=device, strings=tuple(strings), name=column(names),
        activity=column([int(entry[3].activity) for entry in rows]), operator=column([entry[2] for entry in rows]),
        start=column([entry[0] - first for entry in rows]), duration=column([entry[3].duration for entry in rows]),
        stream=column([entry[1] for entry in rows]),
    )  # fmt: skip


def _notes(profile: Profile, groups: list[_Group], writer: _Writer, measured: DeviceProfile) -> Iterator[str]:
    kernels = int((measured.activity == Activity.KERNEL).sum())
    yield (
        f"measured: {kernels} kernels, {len(measured) - kernels} copies and fills; kernel time "
        f"{show_ticks(measured.kernel_time)} of {show_ticks(measured.span)}, device idle {measured.idle_share:.1%}"
    )
    if profile.on_host:
        yield "the profile has no device: operators of the processor, each with what it calls, on its threads"
    lost = sum(len(group.events) for group in groups if group.operator is None)
    if lost:
        yield f"{lost} of {len(measured)} device events could not be traced to an operator"
    if writer.new_types:
        names = ", ".join(one_line(name) for name in sorted(writer.new_types)[:12])
        yield f"element types that are not known count as FP32: {names}"
    if writer.shapeless:
        yield (
            f"{writer.shapeless} of {len(groups)} operators come without shapes: only their launch is predicted "
            "(profile with record_shapes=True)"
        )


class _Writer:
    """Groups become operators of a draft."""

    def __init__(self, draft: Draft, profile: Profile) -> None:
        self.draft = draft
        self.latest: dict[tuple[Shape, DType], TensorKey] = {}
        """The tensor that an operand of this shape and type is taken for."""
        self.types: dict[Shape, DType] = {}
        """The type that tensors of a shape last had."""
        self.new_types: set[str] = set()
        """Element types that are not known, and count as FP32."""
        self.shapeless = 0
        self.places = {
            id(operator): (operators, index)
            for operators in profile.threads.values()
            for index, operator in enumerate(operators)
        }

    def take(self, group: _Group) -> None:
        """One operator."""
        operator = group.operator
        if operator is not None and operator.dims:
            arguments.with_list_types(operator, self.types)
            self.new_types |= arguments.new_types(operator)
            try:
                self._shaped(group, operator)
                return
            except (IndexError, TypeError, ValueError, AttributeError, KeyError, ArithmeticError):
                pass  # called in a form that no rule knows: see below
            if self._unknown(group, operator):
                return
        self._plain(group)

    def _plain(self, group: _Group) -> None:
        """Without shapes: copies and fills say their bytes, kernels nothing."""
        moved = [event for event in group.events if event.activity is not Activity.KERNEL]
        if len(moved) == len(group.events):
            reads, writes = self._moved(moved)
            self._append(group, Cost(kind=Kind.COPY), reads, writes)
            return
        self.shapeless += 1
        kind = Kind.COMM if _collective(group) else Kind.OPAQUE
        self._append(group, Cost(kind=kind), [], [])

    def _moved(self, events: list[DeviceEvent]) -> tuple[list[Access], list[Access]]:
        """What copies and fills read and write in the device's memory."""
        size = sum(event.size for event in events)
        if not 0 < size < LARGEST:
            return [], []
        key = self.operand(Operand(shape=(size,), dtype=DType.INT8))
        names = " ".join(event.name for event in events)
        reads = [] if "HtoD" in names or events[0].activity is Activity.MEMSET else [(key, size)]
        writes = [] if "DtoH" in names else [(self.result(Operand(shape=(size,), dtype=DType.INT8)), size)]
        return reads, writes

    def _unknown(self, group: _Group, operator: HostOp) -> bool:
        """Memory traffic of all operands, and one result like the largest; False where there are none."""
        inputs = arguments.tensors(arguments.operands(operator))
        if not inputs:
            return False
        largest = max(inputs, key=lambda item: item.elements)
        reads = self.whole([self.operand(item) for item in inputs])
        kind = Kind.COMM if _collective(group) else Kind.OPAQUE
        self._append(group, Cost(kind=kind), reads, self.whole([self.result(largest)]))
        return True

    def _shaped(self, group: _Group, operator: HostOp) -> None:
        if not calls.known(operator):
            raise ValueError("no rule")
        call = calls.as_call(operator, self._later(operator), self._inside(operator))
        cost = aten.cost_of(call)
        if cost.kind is Kind.OPAQUE:
            raise ValueError("no rule for this form")
        mutates = calls.in_place(operator.name)
        reads = self._reads(call, mutates, group)
        targets = call.args[0] if mutates and call.args else ()
        kept = [targets] if isinstance(targets, Operand) else [item for item in targets if isinstance(item, Operand)]
        if mutates:
            written = [(key, self._part(call, key)) for key in map(self.operand, kept)]
        else:
            written = self.whole([self.result(item) for item in call.outputs])
        if any("DtoH" in event.name for event in group.events):
            written = []
        self._append(group, cost, reads, written, Flag.MUTATES if mutates else Flag.NONE)

    def _later(self, operator: HostOp) -> Iterator[HostOp]:
        """The next operators of the thread, those inside this one left out."""
        operators, index = self.places[id(operator)]
        after = islice(operators, index + 1, index + 1 + calls.LOOK_AHEAD)
        return (other for other in after if other.start >= operator.end)

    def _inside(self, operator: HostOp) -> Iterator[str]:
        """Names of the operators within this one."""
        operators, index = self.places[id(operator)]
        for other in islice(operators, index + 1, index + 1 + calls.LOOK_AHEAD):
            if other.start >= operator.end:
                return
            yield other.name

    def _part(self, call: Call, key: TensorKey) -> int:
        """Bytes that the in-place form writes."""
        if aten.functional(call.name) in aten.PARTIAL_WRITES:
            return min(key.size, aten.scattered_elements(call) * BITS[key.dtype] // 8)
        return key.size

    def _reads(self, call: Call, mutates: bool, group: _Group) -> list[Access]:
        name = aten.functional(call.name)
        if name in aten.SHAPE_ONLY or any("HtoD" in event.name for event in group.events):
            return []
        table = call.args[aten.TABLE_READS[name]] if name in aten.TABLE_READS else None
        skipped = mutates and (name in aten.OVERWRITES or (name in aten.PARTIAL_WRITES and not aten.accumulates(call)))
        found: list[Access] = []
        for place, item in enumerate(arguments.tensors(call.args)):
            if place == 0 and skipped:
                continue
            key = self.operand(item)
            size = key.size
            if item is table:
                size = min(size, aten.gathered_elements(call) * BITS[key.dtype] // 8)
            elif place == 0 and mutates:
                size = self._part(call, key)
            found.append((key, size))
        return found

    def whole(self, keys: list[TensorKey]) -> list[Access]:
        """Accesses to all of each."""
        return [(key, key.size) for key in keys]

    def operand(self, item: Operand) -> TensorKey:
        """The latest tensor of that shape and type."""
        found = self.latest.get((item.shape, item.dtype))
        if found is None:
            found = self.draft.tensor(item.shape, item.dtype, Role.INPUT)
            self.latest[item.shape, item.dtype] = found
        self.types[item.shape] = item.dtype
        return found

    def result(self, item: Operand) -> TensorKey:
        """A new tensor, taken for whatever has its shape and type from now on."""
        found = self.draft.tensor(item.shape, item.dtype)
        self.latest[item.shape, item.dtype] = found
        self.types[item.shape] = item.dtype
        return found

    def _append(
        self, group: _Group, cost: Cost, reads: list[Access], writes: list[Access], flags: Flag = Flag.NONE
    ) -> None:
        phase, module = _context(group.operator)
        self.draft.operator(group.name, cost, reads, writes, module=module, phase=phase, flags=flags)


def _collective(group: _Group) -> bool:
    names = (group.name, *(event.name for event in group.events))
    return any(name.startswith(_COLLECTIVES) for name in names)


def _context(operator: HostOp | None) -> tuple[Phase, str]:
    """Phase and module path, as the operators around tell."""
    phase, modules, depth = Phase.FORWARD, [], 0
    while operator is not None and depth < MAX_DEPTH:
        if operator.module:
            modules.append(operator.name.removeprefix("nn.Module: "))
        elif operator.name.startswith("Optimizer.step"):
            phase = Phase.OPTIMIZER
        elif operator.name.startswith("autograd::engine::evaluate_function"):
            phase = Phase.BACKWARD
        operator, depth = operator.parent, depth + 1
    return phase, ".".join(reversed(modules))
