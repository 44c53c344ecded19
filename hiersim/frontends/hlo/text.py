"""HLO text → computations of instructions, as they stand there.

The text is what `jax.jit(f).lower(…).as_text(dialect="hlo")`, `.compile().as_text()` and XLA's dumps
(`--xla_dump_hlo_as_text`) hold. Grammar: https://openxla.org/xla/hlo_dumps, hlo_parser.cc of XLA.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from hiersim.errors import TraceError
from hiersim.frontends.hlo.shapes import Shape, parse_shape

MAX_TEXT: Final = 512 * 2**20
_COMMENT: Final = re.compile(r"/\*.*?\*/")
_HEADER: Final = re.compile(r"^(ENTRY\s+)?%?([\w.\-]+)\s*(\(.*\)\s*->.*)?\{\s*$")
_OPCODE: Final = re.compile(r"\s*([a-z][\w\-]*)\(")
_NAME: Final = re.compile(r"%?([\w.\-]+)$")
_OPEN: Final = {"(": ")", "{": "}", "[": "]"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One line: `name = shape opcode(operands), attributes`."""

    name: str
    shape: Shape
    opcode: str
    operands: tuple[str, ...]
    literal: str
    """What stands in the brackets of a constant or parameter."""
    attributes: Mapping[str, str]
    line: int

    @property
    def scope(self) -> str:
        """The path that the framework gave: `jit(f)/layer_0/dot_general`; empty where there is none."""
        found = re.search(r'op_name="((?:[^"\\]|\\.)*)"', self.attributes.get("metadata", ""))
        return found[1].replace("\\'", "'").replace('\\"', '"') if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Computation:
    """Instructions in an order that puts each after its operands; the root is its result."""

    name: str
    instructions: tuple[Instruction, ...]
    root: str
    last_use: Mapping[str, int] = field(default_factory=dict)
    """Index of the last instruction that looks at a value, through whatever only renames it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """All computations of a module by name."""

    name: str
    file: str
    entry: str
    computations: Mapping[str, Computation]
    donated: Mapping[int, int]
    """Result of the entry → the parameter whose memory it takes."""

    def fail(self, problem: str, line: int | None = None, expected: str | None = None) -> NoReturn:
        """Raise a `TraceError` at a line of the text."""
        raise TraceError(problem, file=self.file, line=line, expected=expected)

    def called(self, name: str, line: int) -> Computation:
        """The computation of that name."""
        found = self.computations.get(name.strip().lstrip("%"))
        return found if found is not None else self.fail(f"computation '{name[:60]}' is not in the file", line)


RENAMES: Final = frozenset({
    "get-tuple-element", "tuple", "bitcast", "reshape", "broadcast", "optimization-barrier", "async-done",
    "async-update", "copy-start", "copy-done", "slice-start", "slice-done", "dynamic-slice-start", "dynamic-slice-done",
    "while", "call", "conditional", "custom-call",
})  # fmt: skip
"""Opcodes whose result can be memory that they were given."""


def read_module(path: str | Path) -> Module:
    """The module in a text file, plain or gzip.

    Raises
    ------
    TraceError
        The file is not HLO text; names the line.
    """
    file = str(path)
    try:
        with open(path, "rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else open(path, "rb") as stream:
            raw = stream.read(MAX_TEXT + 1)
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise TraceError(f"cannot be read: {error}", file=file) from None
    if len(raw) > MAX_TEXT:
        raise TraceError("is larger than 512 MiB", file=file)
    try:
        return parse_module(raw.decode("utf-8"), file)
    except UnicodeDecodeError as error:
        raise TraceError(f"is not UTF-8 text at byte {error.start}", file=file, expected="HLO text") from None


def parse_module(text: str, file: str = "HLO text") -> Module:
    """The module that `text` is; see `read_module`."""
    reader = _Reader(file)
    header, computations, entry = "", {}, ""
    for line, row in reader.rows(text):
        if row.startswith("HloModule"):
            header = row
        elif reader.open is None:
            found = _HEADER.match(row)
            if found:
                reader.begin(found[2], line)
                entry = found[2] if found[1] else entry
        elif row == "}":
            done = reader.end(line)
            computations[done.name] = done
        else:
            reader.instruction(row, line)
    if reader.open is not None:
        reader.fail(f"computation '{reader.open}' does not end", line, "a line '}'")
    if not header or not computations:
        raise TraceError("is not an HLO module", file=file, expected="text that begins with 'HloModule'")
    if entry not in computations:
        raise TraceError("has no ENTRY computation", file=file)
    aliases = re.search(r"input_output_alias=(.*?\) \})", header)
    pairs = re.findall(r"\{(\d*)\}: \((\d+), \{\}", aliases[1]) if aliases else []
    donated = {int(result or 0): int(number) for result, number in pairs}
    name = re.match(r"HloModule\s+([^\s,]+)", header)
    return Module(
        name=name[1] if name else "module", file=file, entry=entry, computations=computations, donated=donated
    )


class _Reader:
    """The computation that is being read."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.open: str | None = None
        self.rows_read: list[Instruction] = []
        self.known: set[str] = set()
        self.root = ""

    def fail(self, problem: str, line: int, expected: str | None = None) -> NoReturn:
        raise TraceError(problem, file=self.file, line=line, expected=expected)

    def rows(self, text: str) -> Iterator[tuple[int, str]]:
        """Lines without comments; one whose brackets are open goes on in the next."""
        held, start, open_brackets = "", 0, 0
        for number, raw in enumerate(text.splitlines(), 1):
            row = _COMMENT.sub("", raw).strip() if "/*" in raw else raw.strip()
            if not row or row.startswith("//"):
                continue
            if not held and " = " not in row:
                yield number, row
                continue
            start = start if held else number
            held = f"{held} {row}" if held else row
            open_brackets += _balance(row)
            if open_brackets <= 0:
                yield start, held
                held, open_brackets = "", 0
        if held:
            self.fail("brackets are not closed", start)

    def begin(self, name: str, line: int) -> None:
        self.open, self.rows_read, self.known, self.root = name, [], set(), ""

    def end(self, line: int) -> Computation:
        if not self.rows_read:
            self.fail(f"computation '{self.open}' is empty", line)
        done = Computation(
            name=self.open or "", instructions=tuple(self.rows_read), root=self.root or self.rows_read[-1].name,
            last_use=_last_uses(self.rows_read),
        )  # fmt: skip
        self.open = None
        return done

    def instruction(self, row: str, line: int) -> None:
        is_root = row.startswith("ROOT ")
        left, _, right = row.removeprefix("ROOT ").partition(" = ")
        name = _NAME.match(left.strip())
        if not name or not right:
            self.fail(f"'{row[:60]}' is not an instruction", line, "name = shape opcode(operands)")
        at = _end_of_shape(right)
        opcode = _OPCODE.match(right[at:])
        if not opcode:
            self.fail(f"'{right[at : at + 40]}' is not an opcode", line, "name = shape opcode(operands)")
        begin = at + opcode.end()
        end = _closing(right, begin - 1)
        if end < 0:
            self.fail("brackets are not closed", line)
        inside = right[begin:end]
        plain = opcode[1] in ("constant", "parameter", "iota")
        operands = () if plain else tuple(self._operand(part, line) for part in split(inside))
        self.rows_read.append(
            Instruction(
                name=name[1],
                shape=parse_shape(right[:at], lambda problem: self.fail(problem, line)),
                opcode=opcode[1],
                operands=operands,
                literal=inside.strip() if plain else "",
                attributes=dict(_attribute(part) for part in split(right[end + 1 :].lstrip().removeprefix(","))),
                line=line,
            )
        )
        if name[1] in self.known:
            self.fail(f"'{name[1]}' is there twice", line)
        self.known.add(name[1])
        if is_root:
            self.root = name[1]

    def _operand(self, part: str, line: int) -> str:
        found = _NAME.search(part)
        if not found or found[1] not in self.known:
            self.fail(f"operand '{part[-60:]}' is not defined before", line)
        return found[1]


def split(text: str) -> list[str]:
    """The parts between commas that are in no bracket and no quotes, without blanks."""
    parts, depth, begin, quoted, escaped = [], 0, 0, False, False
    for at, char in enumerate(text):
        if quoted:
            quoted = char != '"' or escaped
            escaped = char == "\\" and not escaped
        elif char == '"':
            quoted, escaped = True, False
        elif char in "({[":
            depth += 1
        elif char in ")}]":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[begin:at].strip())
            begin = at + 1
    parts.append(text[begin:].strip())
    return [part for part in parts if part]


def _attribute(part: str) -> tuple[str, str]:
    key, _, value = part.partition("=")
    return key.strip(), value.strip()


def _balance(row: str) -> int:
    """Brackets that a line opens and does not close, outside quotes."""
    if '"' in row:
        row = re.sub(r'"(?:[^"\\]|\\.)*"', "", row)
    return sum(row.count(char) for char in "({[") - sum(row.count(char) for char in ")}]")


def _closing(text: str, start: int) -> int:
    """Index of the bracket that closes the one at `start`; -1: none."""
    depth, quoted, escaped = 0, False, False
    for at in range(start, len(text)):
        char = text[at]
        if quoted:
            quoted = char != '"' or escaped
            escaped = char == "\\" and not escaped
        elif char == '"':
            quoted, escaped = True, False
        elif char in _OPEN:
            depth += 1
        elif char in ")}]":
            depth -= 1
            if depth == 0:
                return at
    return -1


def _end_of_shape(text: str) -> int:
    """Index behind the shape that a definition begins with."""
    if text.startswith("("):
        return _closing(text, 0) + 1
    found = re.match(r"[a-z]\w*\[[^\]]*\]", text)
    if not found:
        return 0
    at = found.end()
    return _closing(text, at) + 1 if text[at : at + 1] == "{" else at


def _last_uses(rows: list[Instruction]) -> dict[str, int]:
    last: dict[str, int] = {}
    for at in range(len(rows) - 1, -1, -1):
        row = rows[at]
        until = max(at, last.get(row.name, at)) if row.opcode in RENAMES else at
        for operand in row.operands:
            last[operand] = max(last.get(operand, -1), until)
    return last
