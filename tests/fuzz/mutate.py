"""Mutators that know the form of what they change: JSON, protobuf messages, HLO text, tables, archives."""

from __future__ import annotations

import functools
import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from test_trace_fuzz import ODD, mutate_bytes, mutate_column

from hiersim import wire


class Draw(random.Random):
    """Random numbers, and what a mutant may be made of besides its own file."""

    words: tuple[str, ...] = ()
    """Keys and values that the reader knows."""
    other: bytes = b""
    """Another file of the format."""


Mutator = Callable[[bytes, Draw], bytes]
NUMBERS: Final = ("0", "-1", "1", "2", "64", "65", "4294967296", "4611686018427387904", "1e309", "nan", "9" * 40, "")
VARINTS: Final = (0, 1, 2, 3, 5, 7, 9, 16, 23, 255, 2**31 - 1, 2**31, 2**40, 2**62, 2**63, 2**64 - 1)
PIECES: Final = (
    "", "{", "}", "(", ")", "[", "]", ",", "=", "%", '"', "\\", "#", "\t", ";", "\x00", "é", "x" * 300, "f32[]",
    "bf16[8,<=4]{1,0}", "(f32[2], s32[])", "ENTRY", "ROOT", "parameter(0)", "fusion", "while", "tuple", "constant(3)",
    "calls=%f", "body=%b", "dimensions={0,1}", "window={size=3x3 pad=1_1x1_1}", "dim_labels=b01f_01io->b01f", "index=7",
    "gemm", "view", "sync",
)  # fmt: skip
MOST_DEPTH: Final = 12


def json_rows(data: bytes, draw: Draw) -> bytes:
    """One JSON value per line: lines go, come twice, swap, come from another file, or change inside."""
    rows = data.splitlines()
    at, action = draw.randrange(len(rows)), draw.randrange(10)
    if action == 3:
        rows.insert(at, draw.choice(draw.other.splitlines() or [b""]))
    elif not rearranged(rows, at, action, draw):
        rows[at] = json_value(rows[at], draw)
    return b"\n".join(rows)


def rearranged(parts: list[bytes], at: int, action: int, draw: Draw) -> bool:
    """Part `at` goes (action 0), another comes before it once more (1), or both swap (2); else nothing, and False."""
    other = draw.randrange(len(parts))
    if action == 0:
        del parts[at]
    elif action == 1:
        parts.insert(at, parts[other])
    elif action == 2:
        parts[at], parts[other] = parts[other], parts[at]
    return action < 3


def json_value(data: bytes, draw: Draw) -> bytes:
    """A JSON document: something inside it becomes something else, goes, or comes twice."""
    return json.dumps(changed(_parsed(data), draw)).encode()


@functools.lru_cache(maxsize=512)
def _parsed(data: bytes) -> Any:
    return json.loads(data)


def changed(value: Any, draw: Draw) -> Any:
    """`value` with one place inside it changed; what does not change is shared."""
    if isinstance(value, dict) and draw.random() < 0.9:
        key, copy = draw.choice(sorted(value) or [""]), dict(value)
        action = draw.randrange(9)
        if action == 0:
            copy.pop(key, None)
        elif action == 1:
            copy[_word(draw)] = copy.pop(key, 0)
        elif action == 2:
            copy[_word(draw)] = _odd(draw)
        elif key:
            copy[key] = changed(copy[key], draw)
        return copy
    if isinstance(value, list) and value and draw.random() < 0.85:
        at = draw.randrange(len(value))
        rest = value[at + draw.choice((0, 1, 1, 1)) :]
        return [*value[:at], changed(value[at], draw) if draw.random() < 0.9 else draw.choice(value), *rest]
    if isinstance(value, int) and draw.random() < 0.5:
        return draw.choice((value + 1, value - 1, -value, value * 2, value // 2, 0, 1))
    return _odd(draw)


def _odd(draw: Draw) -> Any:
    return _word(draw) if draw.random() < 0.4 else draw.choice(ODD)


def _word(draw: Draw) -> str:
    return draw.choice(draw.words) if draw.words else "x"


def message(data: bytes, draw: Draw, depth: int = 0) -> bytes:
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


def delimited(data: bytes, draw: Draw) -> bytes:
    """Messages with a length before each."""
    found, at = [], 0
    while at < len(data):
        size, at = wire.varint(data, at)
        found.append(data[at : at + size])
        at += size
    one = draw.randrange(len(found))
    if not rearranged(found, one, draw.randrange(8), draw):
        found[one] = message(found[one], draw)
    return b"".join(_varint(len(part)) + part for part in found)


def text(data: bytes, draw: Draw) -> bytes:
    """Lines and words: dropped, doubled, swapped, or another word of the file, a number or a piece of the language."""
    lines = data.decode(errors="replace").split("\n")
    at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    action = draw.randrange(11)
    if action == 0:
        del lines[at]
    elif action == 3 and draw.other:
        lines.insert(at, draw.choice(draw.other.decode(errors="replace").split("\n")))
    elif action == 1:
        lines.insert(other, lines[at])
    elif action == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        words = re.split(r"([\w.\-]+)", lines[at])
        place = draw.randrange(len(words))
        known = re.findall(r"[\w.\-]+", lines[other]) or [""]
        pieces = (draw.choice(known), draw.choice(known), draw.choice(NUMBERS), draw.choice(PIECES), _word(draw))
        words[place] = draw.choice(pieces)
        lines[at] = "".join(words)
    return "\n".join(lines).encode()


def archive(data: bytes, draw: Draw) -> bytes:
    """A zip of columns and a JSON header."""
    entries = dict(_unzipped(data))
    name = draw.choice(sorted(entries))
    chance = draw.random()
    if chance < 0.05:
        del entries[name]
    elif chance < 0.1:
        entries.update({key: part for key, part in _unzipped(draw.other).items() if key == name or chance < 0.06})
    elif name == "header.json" or chance < 0.3:
        entries["header.json"] = json_value(entries["header.json"], draw)
    else:
        entries[name] = mutate_column(entries[name], draw)
    return _stored(entries)


@functools.lru_cache(maxsize=512)
def _unzipped(data: bytes) -> Mapping[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as held:
        return {info.filename: held.read(info) for info in held.infolist()}


def _stored(entries: Mapping[str, bytes]) -> bytes:
    """A zip without compression, made in a tenth of the time that `zipfile` takes."""
    parts, directory, at = [], [], 0
    for name, data in entries.items():
        key = name.encode()
        fields = struct.pack("<HHHHHLLLHH", 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(key), 0)
        parts += [b"PK\3\4" + fields + key, data]
        directory.append(b"PK\1\2\24\0" + fields + struct.pack("<HHHLL", 0, 0, 0, 0, at) + key)
        at += 30 + len(key) + len(data)
    count, size = len(entries), sum(map(len, directory))
    return b"".join([*parts, *directory, struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, count, count, size, at, 0)])


def raw(data: bytes, draw: Draw) -> bytes:
    """Bytes flipped, dropped, doubled or cut."""
    return mutate_bytes(data, draw) if data else draw.randbytes(8)


def _leaf(value: bytes, draw: Draw) -> bytes:
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
