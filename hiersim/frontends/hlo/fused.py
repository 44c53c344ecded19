"""What a fusion does inside: its instructions, and how much of each operand it touches.

The rules are those of XLA's own analysis (`HloCostAnalysis::HandleFusion`): an operand that is only sliced or looked up
is read as far as the slices and lookups go; a part that is replaced at the end is written in place.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

from hiersim.frontends.hlo.shapes import Array, arrays
from hiersim.frontends.hlo.text import Computation, Instruction, Module

_SEEN_THROUGH: Final = frozenset({"bitcast", "reshape"})
_PARTS: Final = frozenset({"slice", "dynamic-slice", "gather"})
_NO_WORK: Final = frozenset({"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "reshape", "broadcast",
                             "after-all", "optimization-barrier"})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """A fusion's computation, seen from outside."""

    rows: tuple[tuple[Instruction, tuple[Array, ...]], ...]
    """Instructions that compute or move something, with the shapes of their operands."""
    read: dict[int, int] = field(default_factory=dict)
    """Bytes that are read of a parameter, where these are not all."""
    in_place: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Result → the parameter in whose memory it can lie, and the bytes of it that are replaced."""


def fused(module: Module, computation: Computation, depth: int = 0) -> Fused:
    """The analysis of a fusion's computation; fusions and calls inside it are gone through."""
    if depth > 20:
        module.fail(f"fusion '{computation.name}' calls itself", computation.instructions[0].line)
    by_name = {row.name: row for row in computation.instructions}
    rows: list[tuple[Instruction, tuple[Array, ...]]] = []
    inner: dict[str, dict[int, int]] = {}
    for row in computation.instructions:
        if row.opcode in ("fusion", "call", "async-start"):
            name = row.attributes.get("calls") or row.attributes.get("to_apply") or ""
            found = fused(module, module.called(name, row.line), depth + 1)
            rows += found.rows
            inner[row.name] = found.read
        elif row.opcode not in _NO_WORK:
            rows.append((row, tuple(part for name in row.operands for part in arrays(by_name[name].shape))))
    in_place = _in_place(computation, by_name)
    return Fused(rows=tuple(rows), read=_read(computation, set(in_place.values()), inner), in_place=in_place)


def _parameter(by_name: dict[str, Instruction], name: str) -> int | None:
    """The number of the parameter that a value is, under whatever shape."""
    row = by_name[name]
    while row.opcode in _SEEN_THROUGH and row.operands:
        row = by_name[row.operands[0]]
    return int(row.literal) if row.opcode == "parameter" and row.literal.isdigit() else None


def _in_place(computation: Computation, by_name: dict[str, Instruction]) -> dict[int, tuple[int, int]]:
    root = by_name[computation.root]
    found: dict[int, tuple[int, int]] = {}
    for at, name in enumerate(root.operands if root.opcode == "tuple" else (root.name,)):
        row = by_name[name]
        while row.opcode in _SEEN_THROUGH and row.operands:
            row = by_name[row.operands[0]]
        if row.opcode in ("dynamic-update-slice", "scatter") and len(row.operands) > 1:
            number = _parameter(by_name, row.operands[0])
            update = by_name[row.operands[1] if row.opcode == "dynamic-update-slice" else row.operands[-1]]
            if number is not None:
                found[at] = (number, sum(array.bytes for array in arrays(update.shape)))
    return found


def _read(computation: Computation, targets: set[tuple[int, int]], inner: dict[str, dict[int, int]]) -> dict[int, int]:
    """Bytes that are read of parameters that only slices, lookups and replacements in place look at.

    `inner` holds what was found for the fusions and calls inside, by their names.
    """
    users: dict[str, list[tuple[Instruction, int]]] = defaultdict(list)
    for row in computation.instructions:
        for position, name in enumerate(row.operands):
            users[name].append((row, position))
    replaced = {number for number, _ in targets}

    def touched(name: str, number: int) -> int | None:
        """None: all of it."""
        if name == computation.root:
            return None
        total = 0
        for row, position in users[name]:
            if row.opcode in _SEEN_THROUGH:
                part = touched(row.name, number)
            elif row.opcode in _PARTS and position == 0:
                part = sum(array.bytes for array in arrays(row.shape))
            elif row.opcode in ("dynamic-update-slice", "scatter") and position == 0 and number in replaced:
                part = 0
            else:
                part = inner.get(row.name, {}).get(position)
            if part is None:
                return None
            total += part
        return total

    sizes: dict[int, int] = {}
    for row in computation.instructions:
        if row.opcode == "parameter" and row.literal.isdigit():
            size = touched(row.name, int(row.literal))
            whole = sum(array.bytes for array in arrays(row.shape))
            if size is not None and size < whole:
                sizes[int(row.literal)] = size
    return sizes
