"""A Chakra execution trace becomes a trace: tensors by their storage ids, operators by the ATen cost rules.

Where the file has device nodes (`is_cpu_op` false), each operator on the host that caused some is one operator, and
their durations are its measured time. Where it has none, the innermost nodes that do something are the operators.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np

from hiersim.errors import TraceError, one_line
from hiersim.frontends import aten
from hiersim.frontends.archive import read_header
from hiersim.frontends.aten.call import Call, Cost, Operand, Shape
from hiersim.frontends.chakra.order import ordered
from hiersim.frontends.chakra.read import File, read_chakra
from hiersim.frontends.chakra.schema import Arguments, Node, NodeType
from hiersim.frontends.draft import Draft, bytes_of
from hiersim.frontends.integrity import check_trace
from hiersim.frontends.kineto import arguments, calls
from hiersim.frontends.kineto.events import HostOp
from hiersim.frontends.rows import trace_of
from hiersim.frontends.tables import Access, TensorKey
from hiersim.model.operators import BITS, DType, Flag, Kind, Phase, Role
from hiersim.model.profile import Activity, DeviceProfile
from hiersim.model.trace import Trace, TraceHeader
from hiersim.units import LARGEST

OWN: Final = "hiersim.row"
"""Attribute of a node: the operator as a row of the readable trace form. In the metadata: header and tensors."""
TICKS_PER_MICROSECOND: Final = 10**6
MAX_DEPTH: Final = 64
_COMMUNICATION: Final = (NodeType.COMM_COLL_NODE, NodeType.COMM_SEND_NODE, NodeType.COMM_RECV_NODE)
_MEMORY: Final = (NodeType.MEM_LOAD_NODE, NodeType.MEM_STORE_NODE)
_NUMBERED: Final = re.compile(r"\(\d+\)$")


def import_chakra(path: str | os.PathLike[str], *, name: str = "") -> Trace:
    """Read a Chakra execution trace (`.et`, `.json`) as a trace.

    Parameters
    ----------
    path : path
        Protobuf or JSON, plain or gzip; of any version of the schema.
    name : str
        Name of the trace; default: that of the file, or the one it was exported under.

    Raises
    ------
    TraceError
        Not such a file, or nodes that wait for each other (the cycle is named).
    """
    file = str(path)
    found = read_chakra(path)
    nodes, told = ordered(found.nodes, file)
    if OWN in found.attributes:
        return _own(found, file, name)
    writer = _Writer(Draft(file), nodes)
    for group in _groups(nodes):
        writer.take(group)
    if not writer.rows:
        raise TraceError("holds nothing that runs", file=file, expected="nodes that compute or communicate")
    measured = _measured(writer.rows)
    header = TraceHeader(
        name=name or Path(path).name.partition(".")[0] or "chakra",
        workload="an execution trace",
        producer="hiersim import chakra",
        command=f"hiersim import chakra {Path(path).name}",
        notes=tuple(_notes(found, writer, told, measured)),
    )
    trace = writer.draft.finish(header)
    return check_trace(Trace(header=trace.header, graph=trace.graph, measured=measured), file)


def _own(found: File, file: str, name: str) -> Trace:
    """What `hiersim export chakra` wrote: every row is there."""
    try:
        head = json.loads(found.attributes[OWN])
        rows = [json.loads(node.attributes[OWN]) for node in found.nodes if OWN in node.attributes]
        header, first = head["header"], head["tensors"]
        if not all(isinstance(row, dict) for row in (*first, *rows)):
            raise ValueError("rows are no objects")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TraceError(f"holds a broken {OWN}: {one_line(str(error))}", file=file, key=OWN) from None
    if name:
        header = {**header, "name": name}
    trace = trace_of(read_header(header, file), [*first, *rows], file, 1)
    if head.get("frees") is not False:
        return trace
    tensors = trace.graph.tensors  # rows that free nothing would be given lifetimes
    kept = replace(tensors, storage_free=np.full(len(tensors.storage_bytes), -1, np.int64))
    return Trace(header=trace.header, graph=replace(trace.graph, tensors=kept))


def _notes(found: File, writer: _Writer, told: list[str], measured: DeviceProfile | None) -> Iterator[str]:
    if found.version or "schema" in found.attributes:
        yield one_line(f"schema {found.version or found.attributes['schema']}")
    if measured is not None:
        yield f"measured: {len(measured)} device nodes, as the file says; times in whole microseconds"
    yield from told
    if writer.shapeless:
        yield f"{writer.shapeless} of {len(writer.rows)} operators come without shapes: only their launch is predicted"


@dataclass(slots=True)
class _Group:
    """A node that stands for an operator, and the device nodes it caused."""

    node: Node
    device: list[Node] = field(default_factory=list)


def _on_device(node: Node) -> bool:
    return node.attributes.get("is_cpu_op") is False


def _plain_name(node: Node) -> str:
    """`aten::addmm(3)` is an `aten::addmm`."""
    return _NUMBERED.sub("", node.name)


def _speaking(node: Node) -> HostOp:
    """The node as a profiled operator, for the cost rules."""
    part = node.inputs
    kinds = [_kind(text) for text in part.types]
    tensors = [_tensors_in(value) for value in part.values]
    values = ["" if tensor else str(value) for value, tensor in zip(part.values, tensors, strict=True)]
    shapes = [
        _lists(shape) if index >= len(tensors) or tensors[index] else [] for index, shape in enumerate(part.shapes)
    ]
    return HostOp(_plain_name(node), 0, 0, tuple(shapes), tuple(kinds), tuple(values))


def _kind(text: str) -> Any:
    """`Tensor(float)` → `float`, `GenericList[Tensor(float),Tensor(int)]` → a list."""
    if text.startswith("GenericList[Tensor("):
        return [piece.partition(")")[0] for piece in text.split("Tensor(")[1:]]
    return text[len("Tensor(") : -1] if text.startswith("Tensor(") and text.endswith(")") else text


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _tensors_in(value: Any) -> bool:
    """True for a tensor's tuple, or a list of them."""
    if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
        return _tensors_in(value[0])
    return isinstance(value, list | tuple) and len(value) >= 5 and all(isinstance(item, int) for item in value[:5])


def _groups(nodes: Sequence[Node]) -> Iterator[_Group]:
    """Operators in dependence order."""
    by_id = {node.id: node for node in nodes}
    found: dict[int, _Group] = {}
    if any(_on_device(node) for node in nodes):
        heads = _heads(nodes)
        for node in nodes:
            if _on_device(node):
                chosen = _cause(node, by_id)
                chosen = by_id[heads.get(chosen.id, chosen.id)]
                found.setdefault(chosen.id, _Group(chosen)).device.append(node)
        yield from found.values()
        return
    callers = {dep for node in nodes for dep in node.ctrl_deps}
    covered: set[int] = set()
    for node in reversed(nodes):  # callees first
        known = calls.known(_speaking(node)) and aten.functional(_plain_name(node)) not in aten.VIEWS
        if node.id in covered or not (known or (node.id not in callers and _does_something(node))):
            continue
        found[node.id] = _Group(node)
        _cover(node, by_id, covered)
    yield from (found[node.id] for node in nodes if node.id in found)


def _heads(nodes: Sequence[Node]) -> dict[int, int]:
    """The first part of each operator that the converter cut at its launches: `name(0)`, `name(1)`, …"""
    heads: dict[tuple[str, str], int] = {}
    found: dict[int, int] = {}
    for node in sorted(nodes, key=lambda node: node.id):
        part = _NUMBERED.search(node.name)
        if part is None or _on_device(node):
            continue
        key = (_plain_name(node), str(node.inputs.values))
        if part.group() == "(0)":
            heads[key] = node.id
        found[node.id] = heads.get(key, node.id)
    return found


def _cover(node: Node, by_id: dict[int, Node], covered: set[int]) -> None:
    """The callers of an operator are no operators of their own."""
    for _ in range(MAX_DEPTH):
        parents = [by_id[dep] for dep in node.ctrl_deps if dep in by_id]
        if not parents or parents[0].id in covered:
            return
        node = parents[0]
        covered.add(node.id)


def _does_something(node: Node) -> bool:
    """A leaf that computes, communicates or moves: no metadata, no view, no allocation."""
    if node.type in (*_COMMUNICATION, *_MEMORY):
        return True
    packet = aten.packet(_plain_name(node))
    if node.type != NodeType.COMP_NODE or packet in aten.VIEWS or packet in aten.NOT_OPERATORS:
        return False
    return not node.name.startswith(("[", "##", "record_param_comms", "detach"))


def _cause(node: Node, by_id: dict[int, Node]) -> Node:
    """The innermost operator around a device node that a rule knows, else the node itself."""
    if node.type in (*_COMMUNICATION, *_MEMORY):
        return node
    hosts = [by_id[dep] for dep in (*node.ctrl_deps, *node.data_deps) if dep in by_id]
    hosts = [host for host in hosts if not _on_device(host)]
    hosts.sort(key=lambda host: host.inputs != node.inputs)  # a kernel carries the arguments of its operator
    host = hosts[0] if hosts else node  # else it names its caller first
    for _ in range(MAX_DEPTH):
        if calls.known(_speaking(host)):
            return host
        parents = [by_id[dep] for dep in host.ctrl_deps if dep in by_id and not _on_device(by_id[dep])]
        if host is node or not parents:
            break
        host = parents[0]
    same = hosts and hosts[0].inputs == node.inputs and node.inputs.values
    return hosts[0] if same else node


class _Writer:
    """Groups become operators of a draft."""

    def __init__(self, draft: Draft, nodes: Sequence[Node]) -> None:
        self.draft = draft
        self.sizes = _storage_sizes(nodes)
        self.storages: dict[int, TensorKey] = {}
        self.written: set[int] = set()
        self.shapeless = 0
        self.rows: list[_Group] = []

    def take(self, group: _Group) -> None:
        """One operator."""
        self.rows.append(group)
        node = group.node
        cost, reads, writes = self._cost(node)
        flags = Flag.MUTATES if calls.in_place(_plain_name(node)) else Flag.NONE
        phase = Phase.BACKWARD if "Backward" in node.name or "_backward" in node.name else Phase.FORWARD
        self.draft.operator(_plain_name(node) or f"node {node.id}", cost, reads, writes, phase=phase, flags=flags)

    def _cost(self, node: Node) -> tuple[Cost, list[Access], list[Access]]:
        if node.type in (*_COMMUNICATION, *_MEMORY):
            return self._moving(node)
        inputs, outputs = self.tensors(node.inputs), self.tensors(node.outputs)
        speaking = _speaking(node)
        cost = Cost(kind=Kind.OPAQUE)
        call: Call | None = None
        if calls.known(speaking):
            try:
                call = calls.as_call(speaking, ())
                given = tuple(Operand(shape=key.shape, dtype=key.dtype) for key in outputs) or call.outputs
                call = Call(name=call.name, args=call.args, outputs=given)
                cost = aten.cost_of(call)
            except (IndexError, TypeError, ValueError, AttributeError, KeyError, ArithmeticError):
                call = None
        if not inputs and not outputs:
            self.shapeless += 1
        reads, writes = self._accesses(_plain_name(node), call, inputs, outputs)
        return cost, reads, writes

    def _accesses(
        self, name: str, call: Call | None, inputs: list[TensorKey], outputs: list[TensorKey]
    ) -> tuple[list[Access], list[Access]]:
        """All of each tensor; of a gathered table what is taken; the first argument of an in-place form is written."""
        mutates, packet = calls.in_place(name), aten.functional(name)
        reads = [(key, key.size) for key in inputs]
        if call is not None and packet in aten.TABLE_READS and aten.TABLE_READS[packet] < len(reads):
            at = aten.TABLE_READS[packet]
            taken = aten.gathered_elements(call) * BITS[reads[at][0].dtype] // 8
            reads[at] = (reads[at][0], min(reads[at][1], taken))
        writes = [(key, key.size) for key in outputs]
        if mutates and inputs:
            if packet in aten.OVERWRITES:
                reads = [entry for entry in reads if entry[0].storage != inputs[0].storage]
            if all(key.storage != inputs[0].storage for key in outputs):
                writes.append((inputs[0], inputs[0].size))
        return reads, writes

    def _moving(self, node: Node) -> tuple[Cost, list[Access], list[Access]]:
        """Communication reads and writes its bytes; a load writes them, a store reads them."""
        inputs = self.tensors(node.inputs)
        size = next((value for key in ("comm_size", "tensor_size") if (value := _size(node, key))), 0)
        if not inputs and size:
            inputs = [self.draft.tensor((size,), DType.INT8, Role.INPUT)]
        reads = [(key, key.size) for key in inputs]
        if not reads:
            self.shapeless += 1
        writes: list[Access] = []
        if node.type != NodeType.MEM_STORE_NODE and reads:
            writes = [(key, key.size) for key in self.tensors(node.outputs)] or reads[:1]
        if node.type == NodeType.MEM_LOAD_NODE:
            reads = []
        kind = Kind.COMM if node.type in _COMMUNICATION else Kind.COPY
        return Cost(kind=kind), reads, writes

    def tensors(self, part: Arguments) -> list[TensorKey]:
        """All tensors among arguments, each as a view of its storage."""
        found: list[TensorKey] = []
        for index, value in enumerate(part.values):
            shape = part.shapes[index] if index < len(part.shapes) else ()
            kind = _kind(part.types[index]) if index < len(part.types) else ""
            found += self._tensors(value, shape, kind)
        return found

    def _tensors(self, value: Any, shape: Any, kind: Any) -> Iterator[TensorKey]:
        if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
            for index, item in enumerate(value[: arguments.MAX_TENSORS]):
                sides = shape[index] if isinstance(shape, list | tuple) and index < len(shape) else ()
                yield from self._tensors(
                    item, sides, kind[index] if isinstance(kind, list) and index < len(kind) else ""
                )
            return
        if not _tensors_in(value):
            return
        _, storage, offset, elements, width = value[:5]
        dtype = arguments.DTYPES.get(kind if isinstance(kind, str) else "") or _by_width(width)
        sides = _sides(shape)
        if sides is None or (sides == () and elements > 1):
            sides = (max(0, elements),)
        yield self._view(storage, offset * max(1, width), sides, dtype)

    def _view(self, storage: int, offset: int, sides: Shape, dtype: DType) -> TensorKey:
        owner = self.storages.get(storage)
        if owner is None:
            size = max(self.sizes.get(storage, 0), bytes_of(sides, dtype))
            owner = self.storages[storage] = self.draft.tensor((size,), DType.INT8)
        room = owner.size
        start = min(max(0, offset), room)
        return TensorKey(
            storage=owner.storage,
            dtype=dtype,
            shape=sides,
            offset=start,
            size=min(bytes_of(sides, dtype), room - start),
        )


def _sides(shape: Any) -> Shape | None:
    if not isinstance(shape, list | tuple) or len(shape) > arguments.MAX_SIDES:
        return None
    if any(isinstance(side, bool) or not isinstance(side, int) or side < 0 for side in shape):
        return None
    return tuple(shape) if prod(shape) < arguments.MAX_ELEMENTS else None


def _by_width(width: int) -> DType:
    return {1: DType.INT8, 2: DType.BF16, 8: DType.INT64}.get(width, DType.FP32)


def _size(node: Node, key: str) -> int:
    value = node.attributes.get(key)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < LARGEST else 0


def _storage_sizes(nodes: Sequence[Node]) -> dict[int, int]:
    """Storage id -> bytes: the furthest end of any of its tensors."""
    sizes: dict[int, int] = {}

    def visit(value: Any) -> None:
        if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
            for item in value[: arguments.MAX_TENSORS]:
                visit(item)
        elif _tensors_in(value):
            _, storage, offset, elements, width = value[:5]
            end = (max(0, offset) + max(0, elements)) * max(1, width)
            if end < LARGEST:
                sizes[storage] = max(sizes.get(storage, 0), end)

    for node in nodes:
        for part in (node.inputs, node.outputs):
            for value in part.values:
                visit(value)
    return sizes


def _measured(groups: Sequence[_Group]) -> DeviceProfile | None:
    """Durations of the device nodes; without start times one after the other."""
    rows = [(node, row) for row, group in enumerate(groups) for node in group.device or [group.node] if node.duration]
    if not rows:
        return None
    started = any(node.start for node, _ in rows)
    first = min(node.start for node, _ in rows)
    entries: list[tuple[int, int, int, Node]] = []
    clock = 0
    for node, row in rows:
        start = node.start - first if started else clock
        clock += node.duration
        entries.append((start * TICKS_PER_MICROSECOND, node.id, row, node))
    entries.sort(key=lambda entry: entry[:2])
    if any(entry[0] + entry[3].duration * TICKS_PER_MICROSECOND >= LARGEST // 2 for entry in entries):
        return None
    strings: dict[str, int] = {}
    names = [strings.setdefault(one_line(entry[3].name), len(strings)) for entry in entries]
    activity = [Activity.KERNEL if entry[3].type not in _MEMORY else Activity.MEMCPY for entry in entries]
    streams = [_size(entry[3], "tid") for entry in entries]
    columns = (names, activity, [e[2] for e in entries], [e[0] for e in entries], streams)
    name, kind, operator, start_column, stream = (np.array(column, np.int64) for column in columns)
    duration = np.array([entry[3].duration * TICKS_PER_MICROSECOND for entry in entries], np.int64)
    return DeviceProfile(
        device="", strings=tuple(strings), name=name, activity=kind, operator=operator, start=start_column,
        duration=duration, stream=stream,
    )  # fmt: skip
