"""Mutators that know the form of what they change: JSON, protobuf messages, HLO text, tables, archives."""

from __future__ import annotations

import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from typing import Final

from test_trace_fuzz import mutate_bytes, mutate_column, mutate_rows, mutated

from hiersim import wire

Mutator = Callable[[bytes, random.Random], bytes]
NUMBERS: Final = ("0", "-1", "1", "2", "64", "65", "4294967296", "4611686018427387904", "1e309", "nan", "9" * 40, "")
VARINTS: Final = (0, 1, 2, 3, 5, 7, 9, 16, 23, 255, 2**31 - 1, 2**31, 2**40, 2**62, 2**63, 2**64 - 1)
PIECES: Final = (
    "", "{", "}", "(", ")", "[", "]", ",", "=", "%", '"', "\\", "#", "\t", ";", "\x00", "é", "x" * 300, "f32[]",
    "bf16[8,<=4]{1,0}", "(f32[2], s32[])", "ENTRY", "ROOT", "parameter(0)", "fusion", "while", "tuple", "constant(3)",
    "calls=%f", "body=%b", "dimensions={0,1}", "window={size=3x3 pad=1_1x1_1}", "dim_labels=b01f_01io->b01f", "index=7",
    "gemm", "view", "sync",
)  # fmt: skip
MOST_DEPTH: Final = 12


def json_rows(data: bytes, draw: random.Random) -> bytes:
    """One JSON value per line."""
    rows = [json.loads(line) for line in data.splitlines() if line.strip()]
    return b"\n".join(json.dumps(row).encode() for row in mutate_rows(rows, draw) if row is not rows)


def json_value(data: bytes, draw: random.Random) -> bytes:
    """A JSON document: something inside it becomes something else, goes, or comes twice."""
    return json.dumps(mutated(json.loads(data), draw)).encode()


def message(data: bytes, draw: random.Random, depth: int = 0) -> bytes:
    """A protobuf message: a field of it, or of a message inside it, changes, goes, comes twice or moves."""
    try:
        parts = list(wire.fields(data))
    except wire.WireError:
        return _leaf(data, draw)
    if not parts:
        return data
    at = draw.randrange(len(parts))
    number, kind, value = parts[at]
    action = draw.randrange(9)
    if isinstance(value, bytes) and action > 2 and depth < MOST_DEPTH:
        parts[at] = (number, kind, message(value, draw, depth + 1))
    elif action == 0:
        del parts[at]
    elif action == 1:
        parts.insert(draw.randrange(len(parts) + 1), parts[at])
    elif action == 2:
        parts[at] = (draw.choice((1, 2, 3, 4, 5, 6, 7, 8, 11, 20, number + 1)), kind, value)
    elif isinstance(value, bytes):
        parts[at] = (number, kind, _leaf(value, draw))
    else:
        parts[at] = (number, kind, draw.choice(VARINTS))
    return b"".join(map(_field, parts))


def delimited(data: bytes, draw: random.Random) -> bytes:
    """Messages with a length before each."""
    found, at = [], 0
    while at < len(data):
        size, at = wire.varint(data, at)
        found.append(data[at : at + size])
        at += size
    one, other = draw.randrange(len(found)), draw.randrange(len(found))
    action = draw.randrange(8)
    if action == 0:
        del found[one]
    elif action == 1:
        found.insert(one, found[other])
    elif action == 2:
        found[one], found[other] = found[other], found[one]
    else:
        found[one] = message(found[one], draw)
    return b"".join(_varint(len(part)) + part for part in found)


def text(data: bytes, draw: random.Random) -> bytes:
    """Lines and words: dropped, doubled, swapped, or another word of the file, a number or a piece of the language."""
    lines = data.decode(errors="replace").split("\n")
    at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    action = draw.randrange(10)
    if action == 0:
        del lines[at]
    elif action == 1:
        lines.insert(other, lines[at])
    elif action == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        words = re.split(r"([\w.\-]+)", lines[at])
        place = draw.randrange(len(words))
        known = re.findall(r"[\w.\-]+", lines[other]) or [""]
        words[place] = draw.choice((draw.choice(known), draw.choice(known), draw.choice(NUMBERS), draw.choice(PIECES)))
        lines[at] = "".join(words)
    return "\n".join(lines).encode()


def archive(data: bytes, draw: random.Random) -> bytes:
    """A zip of columns and a JSON header."""
    with zipfile.ZipFile(io.BytesIO(data)) as held:
        entries = {info.filename: held.read(info) for info in held.infolist()}
    name = draw.choice(sorted(entries))
    if name == "header.json":
        entries[name] = json_value(entries[name], draw)
    elif draw.random() < 0.05:
        del entries[name]
    else:
        entries[name] = mutate_column(entries[name], draw)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for key, part in entries.items():
            made.writestr(key, part)
    return buffer.getvalue()


def raw(data: bytes, draw: random.Random) -> bytes:
    """Bytes flipped, dropped, doubled or cut."""
    return mutate_bytes(data, draw) if data else draw.randbytes(8)


def _leaf(value: bytes, draw: random.Random) -> bytes:
    choices = (
        b"",
        value * 2,
        value[:-1],
        b"\xff\xfe",
        b"y",
        b"x",
        draw.randbytes(4),
        b"Loop",
        b"Conv",
        b"-1",
        b"a" * 70,
    )
    return draw.choice(choices)


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def _field(part: wire.Field) -> bytes:
    number, kind, value = part
    tag = _varint(number << 3 | kind)
    if isinstance(value, bytes):
        return tag + _varint(len(value)) + value
    if kind == wire.VARINT:
        return tag + _varint(value)
    size = 8 if kind == wire.FIXED64 else 4
    return tag + (value % 2 ** (8 * size)).to_bytes(size, "little")
