"""Nodes of a Chakra execution trace, and their protobuf form (`et_def.proto`)."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from hiersim.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    fields,
    put_bytes,
    put_number,
    put_varint,
    real,
    signed,
    whole_numbers,
    zigzag,
)

MAX_LITERAL: Final = 2**20
"""Characters of the values, shapes or types of a node."""


class NodeType(IntEnum):
    """What a node does."""

    INVALID_NODE = 0
    METADATA_NODE = 1
    MEM_LOAD_NODE = 2
    MEM_STORE_NODE = 3
    COMP_NODE = 4
    COMM_SEND_NODE = 5
    COMM_RECV_NODE = 6
    COMM_COLL_NODE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Arguments or results: parallel lists."""

    values: tuple[Any, ...] = ()
    """A tensor is (tensor id, storage id, offset, elements, bytes per element, device)."""
    shapes: tuple[Any, ...] = ()
    types: tuple[str, ...] = ()


NOTHING: Final = Arguments()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node; times in microseconds."""

    id: int
    name: str = ""
    type: int = NodeType.COMP_NODE
    ctrl_deps: tuple[int, ...] = ()
    """Nodes that must be done first; PyTorch's give the caller here."""
    data_deps: tuple[int, ...] = ()
    start: int = 0
    duration: int = 0
    inputs: Arguments = NOTHING
    outputs: Arguments = NOTHING
    attributes: Mapping[str, Any] = field(default_factory=dict)


def literal(text: str) -> tuple[Any, ...]:
    """A list in Python's spelling; empty where it is none. Most are JSON but for quotes, which is read much faster."""
    if not text or len(text) > MAX_LITERAL:
        return ()
    try:
        value = json.loads(_as_json(text)) if '"' not in text else None
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list):
        return tuple(value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of `[1if]` before it refuses it
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return ()
    return tuple(value) if isinstance(value, list | tuple) else ()


def _as_json(text: str) -> str:
    for python, other in (("'", '"'), ("True", "true"), ("False", "false"), ("None", "null")):
        text = text.replace(python, other)
    return text


def node_of(message: bytes) -> Node:
    """Decode one node.

    Raises
    ------
    WireError
        The bytes are no message.
    """
    found: dict[str, Any] = {"id": 0, "type": NodeType.INVALID_NODE}
    deps: dict[int, list[int]] = {4: [], 5: []}
    attributes: dict[str, Any] = {}
    for number, kind, value in fields(message):
        if number in _NUMBERS and kind == VARINT:
            found[_NUMBERS[number]] = value
        elif number == 2 and isinstance(value, bytes):
            found["name"] = value.decode("utf-8", "replace")
        elif number in deps:
            deps[number] += whole_numbers(kind, value)
        elif number in (8, 9) and isinstance(value, bytes):
            found["inputs" if number == 8 else "outputs"] = _arguments(value)
        elif number == 10 and isinstance(value, bytes):
            name, decoded = attribute_of(value)
            attributes[name] = decoded
    return Node(ctrl_deps=tuple(deps[4]), data_deps=tuple(deps[5]), attributes=attributes, **found)


_NUMBERS: Final = {1: "id", 3: "type", 6: "start", 7: "duration"}


def _arguments(message: bytes) -> Arguments:
    texts = {
        number: value.decode("utf-8", "replace") for number, _, value in fields(message) if isinstance(value, bytes)
    }
    types = tuple(str(item) for item in literal(texts.get(3, "")))
    return Arguments(values=literal(texts.get(1, "")), shapes=literal(texts.get(2, "")), types=types)


def attribute_of(message: bytes) -> tuple[str, Any]:
    """Name and value of an attribute; lists as tuples, None for what is not understood."""
    name, found = "", None
    for number, kind, value in fields(message):
        if number == 1 and isinstance(value, bytes):
            name = value.decode("utf-8", "replace")
        elif number > 2:
            if number % 2 == 0 and isinstance(value, bytes):
                found = tuple(_values(number - 1, value))
            else:
                found = _scalar(number, kind, value)
    return name, found


def _values(number: int, message: bytes) -> list[Any]:
    """`values` of a list message: one by one, or packed numbers."""
    found: list[Any] = []
    for field_number, kind, value in fields(message):
        if field_number != 1:
            continue
        if number in (29, 31) or not isinstance(value, bytes):
            found.append(_scalar(number, kind, value))
        elif number in _FIXED:
            size = _FIXED[number]
            pieces = [value[at : at + size] for at in range(0, len(value) - size + 1, size)]
            found += [_scalar(number, FIXED64, int.from_bytes(piece, "little")) for piece in pieces]
        else:
            found += [_scalar(number, VARINT, item) for item in whole_numbers(BYTES, value)]
    return found


_FIXED: Final = {3: 8, 5: 4, 19: 4, 21: 8, 23: 4, 25: 8}


def _scalar(number: int, kind: int, value: int | bytes) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace") if number in (29, 31) else None
    if number in (3, 5):
        size = 8 if number == 3 else 4
        return real(value, size) if value < 2 ** (8 * size) else None
    if number in (15, 17):
        return zigzag(value)
    if number == 27:
        return bool(value)
    if number in (23, 25) and kind in (FIXED32, FIXED64):
        bits = 8 * _FIXED[number]
        return value - 2**bits if value >= 2 ** (bits - 1) else value
    return signed(value) if number in (7, 9) else value


# --- writing ---------------------------------------------------------------------------------------


def message_of(node: Node) -> bytes:
    """Encode one node; fields at their default are left out, as protobuf does."""
    out = bytearray()
    if node.id:
        out += put_number(1, node.id)
    if node.name:
        out += put_bytes(2, node.name.encode())
    if node.type:
        out += put_number(3, node.type)
    for number, deps in ((4, node.ctrl_deps), (5, node.data_deps)):
        if deps:
            out += put_bytes(number, b"".join(_packed(deps)))
    if node.start:
        out += put_number(6, node.start)
    if node.duration:
        out += put_number(7, node.duration)
    for number, part in ((8, node.inputs), (9, node.outputs)):
        texts = (str(list(part.values)), str(list(part.shapes)), str(list(part.types)))
        out += put_bytes(number, b"".join(put_bytes(at, text.encode()) for at, text in enumerate(texts, start=1)))
    for name, value in node.attributes.items():
        out += put_bytes(10, put_attribute(name, value))
    return bytes(out)


def _packed(values: tuple[int, ...]) -> list[bytes]:
    return [put_varint(value) for value in values]


def put_attribute(name: str, value: bool | int | str) -> bytes:
    """An attribute: a flag, an int64 or a text."""
    head = put_bytes(1, name.encode())
    if isinstance(value, bool):
        return head + put_number(27, int(value))
    return head + (put_number(9, value) if isinstance(value, int) else put_bytes(29, value.encode()))
