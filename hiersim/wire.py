"""The protobuf wire format: fields of a message, and messages with a length before each.

Unknown fields are passed over, so that newer and older schemas can be read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

Field = tuple[int, int, int | bytes]
"""Number, wire type, value: integers for varints and fixed sizes, bytes for the rest."""
VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
LONGEST: Final = 10
"""Bytes of a varint."""


class WireError(ValueError):
    """Bytes that are no message."""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number and where it ends."""
    value = shift = 0
    for index in range(at, min(at + LONGEST, len(data))):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), index + 1
        shift += 7
    raise WireError("a number has no end")


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message in their order."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise WireError("a field has number 0")
        if kind == VARINT:
            value, at = varint(data, at)
            yield number, kind, value
            continue
        if kind == BYTES:
            size, at = varint(data, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise WireError(f"a field has wire type {kind}")
        if at + size > len(data):
            raise WireError("a field is longer than its message")
        part = data[at : at + size]
        at += size
        yield number, kind, part if kind == BYTES else int.from_bytes(part, "little")


def whole_numbers(kind: int, value: int | bytes) -> list[int]:
    """A repeated number, one by one or packed."""
    if isinstance(value, int):
        return [value] if kind == VARINT else []
    found: list[int] = []
    at = 0
    while at < len(value):
        number, at = varint(value, at)
        found.append(number)
    return found


def signed(value: int) -> int:
    """A two's complement 64-bit number."""
    return value - 2**64 if value >= 2**63 else value


def zigzag(value: int) -> int:
    """`sint32`, `sint64`."""
    return (value >> 1) ^ -(value & 1)


def real(value: int, size: int) -> float:
    """The bits of a float (4 bytes) or double (8)."""
    found: float = struct.unpack("<d" if size == 8 else "<f", value.to_bytes(size, "little"))[0]
    return found


# --- writing ---------------------------------------------------------------------------------------


def put_varint(value: int) -> bytes:
    """An unsigned number, or a negative one in two's complement."""
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def put_number(number: int, value: int) -> bytes:
    """A number field."""
    return put_varint(number << 3) + put_varint(value)


def put_fixed64(number: int, value: int) -> bytes:
    """A number field of eight bytes."""
    return put_varint(number << 3 | FIXED64) + (value & 2**64 - 1).to_bytes(8, "little")


def put_bytes(number: int, value: bytes) -> bytes:
    """A text or message field."""
    return put_varint(number << 3 | BYTES) + put_varint(len(value)) + value


def delimited(message: bytes) -> bytes:
    """A message with its length before it."""
    return put_varint(len(message)) + message
