"""Chakra files as nodes: protobuf (`.et`), and the JSON of its jsonizer, of its feeder, and of PyTorch."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from hiersim.errors import TraceError, one_line
from hiersim.frontends.chakra.schema import NOTHING, Arguments, Node, NodeType, attribute_of, literal, node_of
from hiersim.frontends.json_stream import elements
from hiersim.wire import LONGEST, WireError, fields, varint

WANTED: Final = "a Chakra execution trace (.et, or its JSON)"
MAX_MESSAGE: Final = 64 * 2**20
MAX_NODES: Final = 1_000_000
_TYPES: Final = {item.name: int(item) for item in NodeType}
_ID: Final = 2**64


@dataclass(slots=True)
class File:
    """All nodes of a file and what stands before them."""

    version: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)


def read_chakra(path: str | os.PathLike[str]) -> File:
    """Read a trace in any of its forms.

    Raises
    ------
    TraceError
        None of them, cut off, or nodes that contradict each other.
    """
    file, found = str(path), File()
    is_json = ".json" in Path(path).name.lower()
    seen: set[int] = set()
    for node in _json(Path(path), file, found) if is_json else _messages(Path(path), file, found):
        if node.id in seen:
            raise TraceError(f"has two nodes {node.id}", file=file, expected="each id once")
        seen.add(node.id)
        found.nodes.append(node)
        if len(found.nodes) > MAX_NODES:
            raise TraceError("has too many nodes", file=file, expected=f"at most {MAX_NODES}")
    if not found.nodes:
        raise TraceError("holds no nodes", file=file, expected=WANTED)
    return found


# --- protobuf --------------------------------------------------------------------------------------


def _messages(path: Path, file: str, found: File) -> Iterator[Node]:
    number = 0
    try:
        with path.open("rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        stream: IO[bytes]
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:  # type: ignore[assignment]
            for message in _delimited(stream):
                if number == 0:
                    _metadata(message, found)
                else:
                    yield node_of(message)
                number += 1
    except WireError as error:
        raise TraceError(f"is no Chakra trace: {error}", file=file, key=f"message {number}", expected=WANTED) from None
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TraceError(f"cannot be read: {reason}", file=file, expected=WANTED) from None


def _delimited(stream: IO[bytes]) -> Iterator[bytes]:
    """Messages with their length before them."""
    window, at = b"", 0
    while True:
        if len(window) - at < LONGEST:
            window, at = window[at:] + stream.read(2**20), 0
        if at == len(window):
            return
        size, at = varint(window, at)
        if size > MAX_MESSAGE:
            raise WireError(f"a message has {size} bytes")
        while len(window) - at < size:
            more = stream.read(max(2**20, size))
            if not more:
                raise WireError("the file ends inside a message")
            window, at = window[at:] + more, 0
        yield window[at : at + size]
        at += size


def _metadata(message: bytes, found: File) -> None:
    """`GlobalMetadata`: a version and attributes."""
    for number, _, value in fields(message):
        if number == 1 and isinstance(value, bytes):
            found.version = value.decode("utf-8", "replace")
        elif number == 2 and isinstance(value, bytes):
            name, decoded = attribute_of(value)
            found.attributes[name] = decoded


# --- JSON ------------------------------------------------------------------------------------------


def _json(path: Path, file: str, found: File) -> Iterator[Node]:
    head: dict[str, Any] = {}
    for index, row in enumerate(elements(path, file, head, ("nodes", "workload_graph"), WANTED)):
        try:
            yield _node(row)
        except (TypeError, ValueError, AttributeError) as error:
            raise TraceError(f"is no node: {one_line(str(error))}", file=file, key=f"nodes[{index}]") from None
    found.version = str(head.get("schema", head.get("version", "")))[:40]
    found.attributes.update(_attributes(head.get("attr", [])))


def _node(row: Mapping[str, Any]) -> Node:
    """A node in any spelling: `Id` or `id`, `data_deps` or `dataDeps`, one caller or a list of them."""
    lower = {key.replace("_", "").lower(): value for key, value in row.items()}
    attributes = _attributes(lower.get("attr", lower.get("attrs", [])))
    for key in ("is_cpu_op", "comm_size", "tensor_size", "comm_type"):
        if key in row:
            attributes[key] = row[key]
    if "id" not in lower:
        raise ValueError("has no id")
    return Node(
        id=_id(lower["id"]), name=str(lower.get("name", "")), type=_type(lower.get("nodetype", lower.get("type"))),
        ctrl_deps=_ids(lower.get("ctrldeps", lower.get("parent"))), data_deps=_ids(lower.get("datadeps")),
        start=_id(lower.get("starttimemicros", 0)),
        duration=_id(lower.get("durationmicros", lower.get("runtime", lower.get("dur", 0)))),
        inputs=_part(row, lower, "input"), outputs=_part(row, lower, "output"), attributes=attributes,
    )  # fmt: skip


def _part(row: Mapping[str, Any], lower: Mapping[str, Any], name: str) -> Arguments:
    """`{"values": …, "shapes": …, "types": …}`, or three lists beside each other (older schemas)."""
    part = lower.get(f"{name}s")
    if isinstance(part, Mapping):
        lists = [_listed(part.get(key)) for key in ("values", "shapes", "types")]
    elif isinstance(part, list):
        lists = [_listed(item) for item in (part, row.get(f"{name}_shapes"), row.get(f"{name}_types"))]
    else:
        return NOTHING
    return Arguments(values=lists[0], shapes=lists[1], types=tuple(map(str, lists[2])))


def _listed(value: Any) -> tuple[Any, ...]:
    return literal(value) if isinstance(value, str) else tuple(value) if isinstance(value, list) else ()


def _id(value: Any) -> int:
    """A whole number, possibly as text (protobuf writes 64 bits so)."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 21:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{str(value)[:40]!r} is not a whole number")
    if not 0 <= value < _ID:
        raise ValueError(f"{value} is out of range")
    return value


def _ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(map(_id, value)) if isinstance(value, list) else (_id(value),)


def _type(value: Any) -> int:
    """By number or name; PyTorch's nodes have none: they compute."""
    if value is None or value == "":
        return NodeType.COMP_NODE
    return _TYPES.get(value, NodeType.INVALID_NODE) if isinstance(value, str) else _id(value)


def _attributes(rows: Any) -> dict[str, Any]:
    """`[{"name": …, "value": …}]` or protobuf's `[{"name": …, "int64Val": …}]`."""
    found: dict[str, Any] = {}
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, Mapping) and isinstance(row.get("name"), str):
            values = [value for key, value in row.items() if key not in ("name", "type", "docString", "doc_string")]
            found[row["name"]] = values[0] if values else None
    return found
