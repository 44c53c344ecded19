"""Builders of broken traces that are binary or large: name → (file suffix, builder, what the error must say)."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hiersim.frontends.archive import save_trace
from hiersim.frontends.rows import load_rows

FOLDER = Path(__file__).parents[1] / "broken" / "traces"
HEADER = '{"format": "hiersim-trace", "version": 1, "name": "broken"}\n'
Builder = Callable[[Path], None]
Entries = dict[str, bytes]


def good_rows() -> str:
    """The sound readable trace that the broken ones were made from."""
    return (FOLDER / "good.jsonl").read_text()


def good_archive(path: Path) -> bytes:
    """The same in the compact form, written to `path`."""
    save_trace(load_rows(FOLDER / "good.jsonl"), path)
    return path.read_bytes()


def entries_of(path: Path) -> Entries:
    """Files in a sound archive."""
    good_archive(path)
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def npy(column: Any, *, pickle: bool = False) -> bytes:
    """A NumPy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(column), allow_pickle=pickle)
    return buffer.getvalue()


def archive(change: Callable[[Entries], None], pack: int = zipfile.ZIP_DEFLATED) -> Builder:
    """A sound archive with its files changed."""

    def build(path: Path) -> None:
        entries = entries_of(path)
        change(entries)
        with zipfile.ZipFile(path, "w", pack) as target:
            for name, data in entries.items():
                target.writestr(name, data)

    return build


def column(name: str, data: Any) -> Builder:
    """A sound archive with one column replaced: bytes, an array, or a function of the old array."""

    def change(entries: Entries) -> None:
        key = f"graph/{name}.npy"
        value = data(np.load(io.BytesIO(entries[key]))) if callable(data) else data
        entries[key] = value if isinstance(value, bytes) else npy(value)

    return archive(change)


def header(change: Callable[[dict[str, Any]], Any]) -> Builder:
    """A sound archive with its JSON header changed."""

    def apply(entries: Entries) -> None:
        value = json.loads(entries["header.json"])
        change(value)
        entries["header.json"] = json.dumps(value).encode()

    return archive(apply)


def raw(data: bytes | Callable[[], bytes]) -> Builder:
    """A file of these bytes."""
    return lambda path: path.write_bytes(data() if callable(data) else data) and None


def damaged(change: Callable[[bytearray], Any]) -> Builder:
    """A sound archive with its bytes changed."""

    def build(path: Path) -> None:
        data = bytearray(good_archive(path))
        path.write_bytes(bytes(change(data) or data))

    return build


def twice(path: Path) -> None:
    """The header is there two times."""
    entries = entries_of(path)
    with zipfile.ZipFile(path, "w") as target, warnings.catch_warnings(action="ignore"):
        for name, data in [*entries.items(), ("graph/reads/ptr.npy", entries["graph/reads/ptr.npy"])]:
            target.writestr(name, data)


def patched_directory(path: Path, name: bytes, offset: int, form: str, *values: int) -> None:
    """A sound archive with a field of one entry of its directory overwritten."""
    data = bytearray(good_archive(path))
    at = data.rindex(name) - 46
    struct.pack_into(form, data, at + offset, *values)
    path.write_bytes(data)


def overlapping(path: Path) -> None:
    """Two entries of the directory share one local file."""
    data = bytearray(good_archive(path))
    first = struct.unpack_from("<L", data, data.rindex(b"graph/reads/ptr.npy") - 46 + 42)
    struct.pack_into("<L", data, data.rindex(b"graph/writes/ptr.npy") - 46 + 42, *first)
    path.write_bytes(data)


def many_members(piece: bytes, times: int) -> Callable[[], bytes]:
    """Gzip members that unpack to `piece`, one after the other."""
    return lambda: gzip.compress(piece, 9) * times


def many_tensors() -> bytes:
    """Tensor rows, and an operator that reads a tensor of another name."""
    rows = [f'{{"tensor": "t{n}", "shape": [1], "dtype": "bf16", "role": "input"}}' for n in range(60_000)]
    return "\n".join([HEADER.strip(), *rows, '{"operator": "a", "kind": "copy", "reads": ["t59999x"]}']).encode()


def long_column(kind: type[np.signedinteger[Any]], length: int) -> Callable[[Entries], None]:
    """A column of zeros that packs to almost nothing."""

    def change(entries: Entries) -> None:
        entries["graph/operators/kind.npy"] = npy(np.zeros(length, kind))

    return change


def npy_header(text: str) -> bytes:
    """A NumPy file with that header and no data."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


_BIG = 2**63 - 1
BUILT: dict[str, tuple[str, Builder, tuple[str, ...]]] = {
    # compressed text
    "truncated gzip": (".jsonl.gz", raw(lambda: gzip.compress(good_rows().encode())[:-40]), ("cannot be read",)),
    "gzip without data": (".jsonl.gz", raw(gzip.compress(b"")), ("is empty", "header line")),
    "gzip of the wrong checksum": (
        ".jsonl.gz", raw(lambda: gzip.compress(good_rows().encode())[:-8] + b"\0" * 8), ("cannot be read", "CRC"),
    ),
    "gzip bomb of zeros": (".jsonl.gz", raw(many_members(b"\0" * 2**26, 16)), (":1:", "longer than 1 MiB")),
    "gzip bomb of empty lines": (".jsonl.gz", raw(many_members(b"\n" * 2**26, 4)), (":1001:", "1000 empty lines")),
    "gzip bomb of rows": (
        ".jsonl.gz",
        raw(lambda: gzip.compress(HEADER.encode()) + gzip.compress((" " * 1_000_000 + "\n").encode()) * 500),
        ("unpacks to more than 32 MiB", "compact form"),
    ),
    # text
    "100000 brackets": (".jsonl", raw(HEADER.encode() + b"[" * 100_000), (":2:", "nested too deeply")),
    "100000 braces": (".jsonl", raw(HEADER.encode() + b'{"a":' * 100_000), (":2:", "nested too deeply")),
    "a line of 100 MB": (".jsonl", raw(lambda: b'{"tensor": "' + b"a" * 10**8), (":1:", "longer than 1 MiB")),
    "a key twice among 90000": (
        ".jsonl",
        raw(lambda: ("{" + ",".join(f'"k{n}":1' for n in range(90_000)) + ',"k7":1}').encode()),
        (":1:", "k7: is there twice"),
    ),
    "a wrong name among 60000": (".jsonl", raw(many_tensors), (":60002:", "no tensor 't59999x'", "'t59999'")),
    "a name of a megabyte": (
        ".jsonl", raw(lambda: (HEADER + '{"tensor": "' + "x" * 10**6 + '"}').encode()), (":2:", "shape: is missing"),
    ),
    "a shape of large primes": (
        ".jsonl",
        raw(lambda: (HEADER + f'{{"tensor": "x", "shape": {[2**61 - 1] * 40_000}, "dtype": "bf16"}}').encode()),
        (":2:", "has 40000 sides"),
    ),
    "random bytes as text": (".jsonl", raw(random.Random(1).randbytes(5000)), ("1:", "is not UTF-8 text")),
    "random bytes as gzip": (".gz", raw(b"\x1f\x8b" + random.Random(1).randbytes(5000)), ("cannot be read",)),
    "utf-16": (".jsonl", raw(HEADER.encode("utf-16")), (":1:", "is not UTF-8 text")),
    # archives as a whole
    "an empty archive": (".npz", raw(b""), ("cannot be read", "not a zip file")),
    "random bytes as archive": (".npz", raw(random.Random(2).randbytes(5000)), ("cannot be read", "not a zip file")),
    "text as archive": (".npz", raw(lambda: good_rows().encode()), ("cannot be read", "expected a trace archive")),
    "an archive cut in half": (".npz", damaged(lambda data: data[: len(data) // 2]), ("cannot be read",)),
    "an archive with a flipped byte": (
        ".npz", damaged(lambda data: data.__setitem__(60, data[60] ^ 255)), ("cannot be read",),
    ),
    "an archive of 17 MiB": (".npz", raw(lambda: bytes(17 * 2**20)), ("is larger than 16 MiB",)),
    "a file twice": (".npz", twice, ("holds 'graph/reads/ptr.npy' twice",)),
    "overlapping files": (".npz", overlapping, ("cannot be read",)),
    "a lying size": (
        ".npz", lambda path: patched_directory(path, b"graph/reads/ptr.npy", 24, "<L", 20), ("cannot be read", "CRC"),
    ),
    "an enormous size": (
        ".npz", lambda path: patched_directory(path, b"graph/reads/ptr.npy", 24, "<L", 2**32 - 2), ("unpacks to more",),
    ),
    "an encrypted file": (
        ".npz", lambda path: patched_directory(path, b"header.json", 8, "<H", 1), ("cannot be read", "encrypted"),
    ),
    "an LZMA file": (".npz", archive(lambda entries: None, zipfile.ZIP_LZMA), ("packed in an unknown way", "deflate")),
    "a bzip2 file": (".npz", archive(lambda entries: None, zipfile.ZIP_BZIP2), ("packed in an unknown way",)),
    "a path out of the archive": (
        ".npz", archive(lambda entries: entries.update({"../x.npy": npy([1])})), ("holds '../x.npy'", "no trace has"),
    ),
    "an absolute path": (".npz", archive(lambda entries: entries.update({"/etc/x": b""})), ("which no trace has",)),
    "a missing column": (
        ".npz", archive(lambda entries: entries.pop("graph/reads/ptr.npy") and None), ("lacks 'graph/reads/ptr.npy'",),
    ),
    "a bomb of zeros": (".npz", archive(long_column(np.int64, 42 * 10**6)), ("unpacks to more than a trace may hold",)),
    "the longest column": (".npz", archive(long_column(np.int8, 40 * 10**6 - 200)), ("operators.name", "has shape")),
    # its header
    "a header of another format": (".npz", header(lambda h: h.update(format="chakra")), ("not a hiersim trace",)),
    "a header of another version": (".npz", header(lambda h: h.update(version=2)), ("has version 2", "version 1")),
    "a header with a typo": (".npz", header(lambda h: h["header"].update(nmae="x")), ("header.nmae", "'name'")),
    "a header without a graph": (".npz", header(lambda h: h.pop("graph")), ("graph: is missing",)),
    "names that are numbers": (
        ".npz", header(lambda h: h["graph"]["operators"].update(strings=[1])), ("operators.strings", "list of strings"),
    ),
    "schedules in a list": (".npz", header(lambda h: h.update(schedules=["x"])), ("schedules", "is not a table")),
    "a schedule of a strange name": (".npz", header(lambda h: h.update(schedules={"../x": {}})), ("is not a table",)),
    "a header that is no JSON": (
        ".npz", archive(lambda entries: entries.update({"header.json": b"{'a': 1}"})), ("header that is not JSON",),
    ),
    "a header of brackets": (
        ".npz", archive(lambda entries: entries.update({"header.json": b"[" * 100_000})), ("header that is not JSON",),
    ),
    "a header of a million lists": (
        ".npz", archive(lambda entries: entries.update({"header.json": b"[" + b"[]," * 10**6})), ("of too many parts",),
    ),
    "a header of 9 MiB": (
        ".npz", archive(lambda entries: entries.update({"header.json": b" " * 9 * 2**20})), ("header.json", "at most"),
    ),
    # its columns
    "objects": (".npz", column("reads/ptr", npy(np.array([None, {}]), pickle=True)), ("has dtype object",)),
    "fractions": (".npz", column("reads/ptr", lambda old: old.astype(float)), ("has dtype float64", "integer column")),
    "unsigned 64 bits": (".npz", column("reads/ptr", lambda old: old.astype(np.uint64)), ("has dtype uint64",)),
    "two dimensions": (".npz", column("reads/ptr", lambda old: old.reshape(1, -1)), ("has shape (1, 3)", "one dim")),
    "no dimension": (".npz", column("reads/ptr", npy(np.int64(3))), ("has shape ()", "one dimension")),
    "no NumPy column": (".npz", column("reads/ptr", b"PK" * 20), ("graph/reads/ptr: is not a NumPy column",)),
    "a NumPy header of code": (
        ".npz", column("reads/ptr", npy_header("__import__('os').abort()\n")), ("broken NumPy header",),
    ),
    "a NumPy header that is cut": (".npz", column("reads/ptr", b"\x93NUMPY\1\0\xff\xff{"), ("broken NumPy header",)),
    "a shape that lies": (
        ".npz",
        column("reads/ptr", npy_header("{'descr': '<i8', 'fortran_order': False, 'shape': (9000000000,), }\n")),
        ("has shape (9000000000,), which its bytes do not fill",),
    ),
    "a negative shape": (
        ".npz",
        column("reads/ptr", npy_header("{'descr': '<i8', 'fortran_order': False, 'shape': (-1,), }\n")),
        ("graph/reads/ptr", "(-1,)"),
    ),
    "an index out of range": (".npz", column("reads/tensor", lambda old: old + 9), ("reads[0]", "does not exist")),
    "a negative index": (".npz", column("reads/tensor", lambda old: old - 1), ("reads[0]", "tensor -1")),
    "a pointer that falls": (".npz", column("reads/ptr", np.array([0, 9, 3])), ("reads.ptr", "not a list of offsets")),
    "a pointer that wraps": (
        ".npz", column("operators/dims_ptr", np.array([0, _BIG, 4])), ("operators.dims_ptr", "not a list of offsets"),
    ),
    "a pointer that wraps round to the end": (
        ".npz", column("tensors/shape_ptr", np.array([0, _BIG, -2, 7, 8])), ("shape_ptr", "not a list of offsets"),
    ),
    "a pointer too short": (".npz", column("reads/ptr", np.array([0, 3])), ("reads.ptr", "expected (3,)")),
    "an unknown kind": (".npz", column("operators/kind", lambda old: old + 99), ("operators.kind[0]", "is 99")),
    "flags of the future": (".npz", column("operators/flags", lambda old: old + 64), ("operators.flags[0]", "is 64")),
    "a negative number": (".npz", column("tensors/storage_bytes", lambda old: -old), ("storage_bytes[0]", "is -4096")),
    "sizes that overflow in sum": (
        ".npz", column("tensors/storage_bytes", lambda old: old.astype(np.int64) + 2**61), ("more than 2^62 bytes",),
    ),
    "flops that overflow in sum": (
        ".npz", column("operators/vector_flops", np.full(2, 2**61)), ("vector_flops", "adds up to more than 2^62"),
    ),
    "a loop nest without end": (
        ".npz", column("operators/dims", np.array([2**30] * 4)), ("operators.dims[0]", "loop nest", "smaller sizes"),
    ),
    "a free of an output": (".npz", column("tensors/storage_free", np.array([-1, -1, 1, 1])), ("frees z", "output")),
    "a use after a free": (".npz", column("tensors/storage_free", np.array([-1, -1, 0, -1])), ("after row 0 freed",)),
    "a tensor beyond its storage": (".npz", column("tensors/tensor_offset", lambda old: old + 1), ("at byte 4097",)),
    "a move of too much": (".npz", column("reads/size", lambda old: old + 1), ("reads.size[0]", "of a tensor of 4096")),
}  # fmt: skip

if os.name == "posix" and os.geteuid() != 0:

    def _locked(path: Path) -> None:
        path.write_text(good_rows())
        path.chmod(0)

    BUILT["a file without permission"] = (".jsonl", _locked, ("cannot be read: Permission denied",))

WORST = (
    "gzip bomb of zeros", "gzip bomb of empty lines", "gzip bomb of rows", "100000 brackets", "a line of 100 MB",
    "a key twice among 90000", "a wrong name among 60000", "a shape of large primes", "a bomb of zeros",
    "the longest column", "a header of a million lists", "a header of 9 MiB",
)  # fmt: skip
