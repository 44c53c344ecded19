"""Walks an HLO module in the order in which it runs and appends its kernels.

Scalars that are known before the run (counters of loops, offsets of slices) are computed on the way, so that loops are
walked as often as they run. Nothing else is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from hiersim.frontends.aten import Operand, arithmetic_dtype
from hiersim.frontends.hlo.costs import RANDOM, cost_of
from hiersim.frontends.hlo.fused import Fused, fused
from hiersim.frontends.hlo.shapes import Array, Shape, arrays
from hiersim.frontends.hlo.text import Computation, Instruction, Module
from hiersim.frontends.hlo.values import Item, Number, Value, computed, flat, literal_of
from hiersim.frontends.schedule_builder import ScheduleBuilder
from hiersim.frontends.tables import Access, Row, Storage, TensorKey, merged
from hiersim.model.operators import Flag, Kind, Phase, Role

MAX_ROWS: Final = 100_000
MAX_STEPS: Final = 150_000
"""Instructions that are walked, with those that run nothing: a loop that does not end is refused within seconds."""
MAX_DEPTH: Final = 50
_NOTHING: Final = frozenset({"after-all", "partition-id", "replica-id", "get-dimension-size", "set-dimension-size"})
_PREFETCHES: Final = frozenset({"copy-start", "slice-start", "dynamic-slice-start"})
_ARRIVALS: Final = frozenset({"copy-done", "slice-done", "dynamic-slice-done"})
_CYCLES: Final = re.compile(r'"estimated_cycles":"?(\d{1,12})\b')
_UNITARY: Final = re.compile(
    r"^(jit|pjit|jvp|vmap|transpose|checkpoint|remat|custom_[a-z_]+)?\(.*\)$|^(while|body|cond|closed_call)$"
)


@dataclass(slots=True)
class Walk:
    """One walk; `builder` holds the kernels."""

    module: Module
    fuse: bool
    """A fusion is one kernel; else each of its instructions is one."""
    builder: ScheduleBuilder = field(default_factory=ScheduleBuilder)
    opaque: set[str] = field(default_factory=set)
    notes: set[str] = field(default_factory=set)
    constants: dict[tuple[str, str], Value] = field(default_factory=dict)
    seen: dict[str, Fused] = field(default_factory=dict)
    """What was learned of a fusion's computation."""
    made: dict[tuple[int, str, Flag], Row] = field(default_factory=dict)
    depth: int = 0
    steps: int = 0
    silent: int = 0
    """Above 0 nothing is appended."""

    # --- memory ------------------------------------------------------------------------------------

    def new(self, array: Array, role: Role = Role.ACTIVATION, name: str = "") -> Value:
        """An array in a storage of its own."""
        storage = self.builder.tensors.storage(Storage(size=max(1, array.bytes), role=role, name=name))
        key = TensorKey(storage=storage, dtype=array.dtype, shape=array.sizes, size=array.bytes)
        return Value(array=array, key=key, owned=role is Role.ACTIVATION)

    def stored(self, value: Value, row: Instruction) -> Value:
        """The value with all elements in memory of its own; what exists in part is written out."""
        if not value.expanded or (value.key is None and value.array.elements <= 1):
            return value
        whole = self.new(value.array)
        self.append(row, "broadcast", reads(value), writes(whole))
        return whole

    # --- kernels -----------------------------------------------------------------------------------

    def append(self, row: Instruction, code: str, read: list[Access], written: list[Access]) -> None:
        """A kernel that only moves data."""
        dtype = (written or read)[0][0].dtype
        moved = Row(
            name=f"hlo.{code}", module=module_of(row.scope), phase=phase_of(row.scope), flags=Flag.NONE, dtype=dtype,
            cost=cost_of(self.module, _moving(row, code), ()),
        )  # fmt: skip
        self.kernel(row, f"{code}.{row.name}", [moved], read, written)

    def kernel(self, row: Instruction, name: str, rows: list[Row], read: list[Access], written: list[Access]) -> None:
        """Append a kernel, unless it touches nothing."""
        if self.silent or not (read or written):
            return
        self.opaque |= {part.name for part in rows if part.cost.kind is Kind.OPAQUE}
        held = [(part, False) for part in rows]
        cycles = expected_cycles(row) if name == row.name else -1
        self.builder.kernel(name, held, merged(read), merged(written), cycles=cycles)
        if len(self.builder.operators.rows) > MAX_ROWS:
            self.module.fail(f"runs more than {MAX_ROWS} instructions", row.line, "fewer repetitions of its loops")

    def operator(self, row: Instruction, operands: Sequence[Array], flags: Flag = Flag.NONE) -> Row:
        """An instruction as a row of the trace; loops meet the same one again and again."""
        place = (row.line, row.name, flags)
        if place not in self.made:
            self.made[place] = self._operator(row, operands, flags)
        return self.made[place]

    def _operator(self, row: Instruction, operands: Sequence[Array], flags: Flag) -> Row:
        cost, scope = cost_of(self.module, row, operands), row.scope
        ins, outs = (tuple(Operand(shape=item.sizes, dtype=item.dtype) for item in group)
                     for group in (operands, arrays(row.shape)))  # fmt: skip
        flags |= Flag.RANDOM if row.opcode in RANDOM else Flag.NONE
        flags |= Flag.RECOMPUTED if "rematted_computation" in scope else Flag.NONE
        return Row(
            name=f"hlo.{row.opcode}", module=module_of(scope), phase=phase_of(scope), flags=flags,
            dtype=arithmetic_dtype(cost.kind, ins, outs), cost=cost,
        )  # fmt: skip

    # --- control flow ------------------------------------------------------------------------------

    def run(self, computation: Computation, arguments: Sequence[Item], line: int) -> Item:
        """The result of a computation; its kernels are appended."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.module.fail(f"computation '{computation.name}' calls itself, or calls nest too deeply", line)
        values: dict[str, Item] = {}
        for at, row in enumerate(computation.instructions):
            values[row.name] = self.step(computation, row, at, [values[name] for name in row.operands], arguments)
        self.depth -= 1
        return values[computation.root]

    def step(
        self, computation: Computation, row: Instruction, at: int, operands: list[Item], arguments: Sequence[Item]
    ) -> Item:
        """The result of one instruction."""
        code = row.opcode
        self.steps += 1
        if self.steps > MAX_STEPS:
            self.module.fail(f"walks more than {MAX_STEPS} instructions", row.line, "fewer repetitions of its loops")
        if code == "parameter":
            number = int(row.literal) if row.literal.isdigit() else -1
            if not 0 <= number < len(arguments):
                self.module.fail(f"parameter '{row.literal[:20]}' is not among {len(arguments)} arguments", row.line)
            return arguments[number]
        if code == "constant":
            return self.constant(computation, row)
        if code in _NOTHING:
            return Value(array=row.shape) if isinstance(row.shape, Array) else None
        if code in ("tuple", "optimization-barrier", "get-tuple-element", "async-done", "async-update"):
            return self.renamed(row, operands)
        if code in _PREFETCHES or code in _ARRIVALS:
            return self.prefetched(row, operands)
        if code in ("call", "async-start", "fusion"):
            return self.called(row, operands, dies=lambda item: computation.last_use[item] <= at)
        if code == "while":
            return self.loop(row, operands)
        if code == "conditional":
            return self.branch(row, operands)
        return self.plain(row, flat(tuple(operands)), last=all(computation.last_use[x] <= at for x in row.operands[:1]))

    def constant(self, computation: Computation, row: Instruction) -> Item:
        """A scalar stands in the code; larger ones lie in memory, once for all uses."""
        if not isinstance(row.shape, Array):
            return tuple(Value(array=array) for array in arrays(row.shape))
        if row.shape.elements <= 1:
            return Value(array=row.shape, literal=literal_of(row.literal, row.shape.dtype))
        place = (computation.name, row.name)
        if place not in self.constants:
            self.constants[place] = self.new(row.shape, Role.CONSTANT, row.name)
        return self.constants[place]

    def renamed(self, row: Instruction, operands: list[Item]) -> Item:
        """Tuples and their parts; the end of an asynchronous call hands on the result of its start."""
        if row.opcode == "tuple":
            return tuple(operands)
        if row.opcode == "optimization-barrier":
            return operands[0] if len(operands) == 1 else tuple(operands)
        held = operands[0] if operands else None
        if row.opcode == "get-tuple-element":
            index = row.attributes.get("index", "")
            if not isinstance(held, tuple) or not index.isdigit() or int(index) >= len(held):
                self.module.fail(f"'{row.name}' takes a part that its operand lacks", row.line)
            return held[int(index)]
        return held

    def prefetched(self, row: Instruction, operands: list[Item]) -> Item:
        """Copies and slices that a compiler moves ahead, into a nearer memory space: no kernels.

        Which tier a reader finds the bytes in is what a design decides, so that it reads them where they came from.
        """
        held = operands[0] if operands else None
        if row.opcode in _ARRIVALS:
            return held
        shapes = row.shape if isinstance(row.shape, tuple) else ()
        at = 0 if row.opcode == "copy-start" else 1
        moved = shapes[at] if len(shapes) > at else None
        if not isinstance(held, Value) or not isinstance(moved, Array):
            self.module.fail(f"'{row.name}' moves no array", row.line)
        return held.seen_as(moved)

    def called(self, row: Instruction, operands: list[Item], dies: Callable[[str], bool]) -> Item:
        """A call is walked through; so is a fusion, unless it is a kernel."""
        name = row.attributes.get("calls") or row.attributes.get("to_apply") or ""
        inner = self.module.called(name, row.line)
        values = flat(tuple(operands))
        known = all(value.literal is not None for value in values)
        if row.opcode != "fusion" or not self.fuse or (known and all(part.elements <= 1 for part in arrays(row.shape))):
            return self.run(inner, operands, row.line)
        if inner.name not in self.seen:
            self.seen[inner.name] = fused(self.module, inner)
        return self.fusion(row, inner, operands, dies)

    def loop(self, row: Instruction, operands: list[Item]) -> Item:
        """The body as often as the condition holds; where that is not known, as often as XLA says, or once."""
        state: Item = operands[0] if len(operands) == 1 else tuple(operands)
        if isinstance(state, tuple):
            state = tuple(self.stored(part, row) if isinstance(part, Value) else part for part in state)
        condition, body = (self.module.called(row.attributes.get(key, ""), row.line) for key in ("condition", "body"))
        trips = re.search(r'known_trip_count\\?"?[:=]\{\\?"?n\\?"?[:=]\\?"?(\d+)', str(dict(row.attributes)))
        done = 0
        while True:
            before = len(self.builder.operators.rows)
            self.silent += 1
            asked = flat(self.run(condition, [state], row.line))
            self.silent -= 1
            again: Number | None = asked[0].literal if asked else None
            if again is None:
                again = done < (int(trips[1]) if trips else 1)
                if not trips:
                    self.notes.add(f"hlo: loops whose length depends on data are counted once: {row.name}")
            if not again:
                return state
            state = self.run(body, [state], row.line)
            done += 1
            if done > MAX_ROWS or (done > 10_000 and len(self.builder.operators.rows) == before):
                self.module.fail(f"loop '{row.name}' does not end", row.line)

    def branch(self, row: Instruction, operands: list[Item]) -> Item:
        """The branch that is known to be taken; else the longest, with a note."""
        named = row.attributes.get("branch_computations", "").strip("{}")
        names = [part.strip() for part in named.split(",") if part.strip()] or [
            row.attributes.get("true_computation", ""), row.attributes.get("false_computation", "")
        ]  # fmt: skip
        branches = [self.module.called(name, row.line) for name in names]
        chosen = operands[0].literal if operands and isinstance(operands[0], Value) else None
        if chosen is None:
            self.notes.add(f"hlo: of branches that depend on data the longest is counted: {row.name}")
            at = max(range(len(branches)), key=lambda index: len(branches[index].instructions))
        else:
            at = int(not chosen) if isinstance(chosen, bool) else min(max(0, int(chosen)), len(branches) - 1)
        if at + 1 >= len(operands):
            self.module.fail(f"'{row.name}' has {len(operands)} operands", row.line, f"{len(branches) + 1}")
        return self.run(branches[at], [operands[at + 1]], row.line)

    # --- instructions that touch memory ------------------------------------------------------------

    def plain(self, row: Instruction, operands: list[Value], last: bool) -> Item:
        """One instruction, one kernel, unless nothing runs for it."""
        out = row.shape
        if isinstance(out, Array):
            if row.opcode in ("bitcast", "reshape") and operands:
                return operands[0].seen_as(out)
            if row.opcode == "broadcast" and operands:
                held = operands[0].seen_as(out)
                return held if out.elements <= 1 or held.key else Value(array=out)
            numbers = [value.literal for value in operands if value.literal is not None]
            if operands and len(numbers) == len(operands) and out.elements <= 1:
                return Value(array=out, literal=computed(row, numbers))
            if row.opcode in ("dynamic-update-slice", "scatter") and len(operands) > 1:
                return self.updated(row, operands, last)
        if "AllocateBuffer" in row.attributes.get("custom_call_target", "") and isinstance(out, Array):
            return self.new(out)  # memory that a compiler for TPUs sets aside: nothing runs
        if "ConcatBitcast" in row.attributes.get("custom_call_target", "") and isinstance(out, Array) and operands:
            return self.joined(row, operands, out)
        results = [self.new(array) for array in arrays(out)]
        read = [access for value, size in _read_sizes(row, operands) for access in reads(value, size)]
        written = [access for value in results for access in writes(value)]
        rows = [self.operator(row, [value.array for value in operands])]
        self.kernel(row, row.name, rows, read, written)
        return _shaped(out, iter(results))

    def joined(self, row: Instruction, operands: list[Value], out: Array) -> Value:
        """Parts that lie one behind the other are one array: nothing runs where they are parts of one storage."""
        storages = {value.key.storage for value in operands if value.key is not None}
        first = operands[0].key
        if len(storages) != 1 or first is None:
            whole = self.new(out)
            self.append(row, "concatenate", [part for value in operands for part in reads(value)], writes(whole))
            return whole
        key = TensorKey(storage=first.storage, dtype=out.dtype, shape=out.sizes, size=out.bytes)
        return Value(array=out, key=key, owned=operands[0].owned)

    def updated(self, row: Instruction, operands: list[Value], last: bool) -> Item:
        """A part of an array is replaced: in place where nobody else looks at it, else in a copy."""
        target, rest = self.stored(operands[0], row), operands[1:]
        update = rest[0] if row.opcode == "dynamic-update-slice" else rest[-1]
        size = min(update.array.bytes, target.array.bytes)
        read = [access for value in rest for access in reads(value)]
        rows = [self.operator(row, [value.array for value in operands], Flag.MUTATES if last else Flag.NONE)]
        if target.key is None:
            return target
        if target.owned and last:
            self.kernel(row, row.name, rows, read + self._accumulated(row, target, size), writes(target, size))
            return target
        whole = self.new(target.array)
        self.kernel(row, row.name, rows, read + reads(target), writes(whole))
        return whole

    def _accumulated(self, row: Instruction, target: Value, size: int) -> list[Access]:
        """What a scatter that accumulates reads of its target."""
        name = row.attributes.get("to_apply")
        adds = row.opcode == "scatter" and name and len(self.module.called(name, row.line).instructions) > 2
        return reads(target, size) if adds else []

    def fusion(self, row: Instruction, inner: Computation, operands: list[Item], dies: Callable[[str], bool]) -> Item:
        """One kernel for all instructions of a fusion."""
        found = self.seen[inner.name]
        values = [item if isinstance(item, Value) else None for item in operands]
        read: list[Access] = []
        for at, item in enumerate(operands):
            size = found.read.get(at)
            for value in flat(item):
                read += reads(value, size)
        results, written = [], []
        for at, array in enumerate(arrays(row.shape)):
            number, size = found.in_place.get(at, (-1, 0))
            held = values[number] if 0 <= number < len(values) else None
            if held is not None and held.owned and not held.expanded and dies(row.operands[number]):
                results.append(held.seen_as(array))
                written += writes(held, min(size, held.array.bytes))
                continue
            results.append(self.new(array))
            written += writes(results[-1])
            read += reads(held) if held is not None else []
        rows = [self.operator(part, shapes) for part, shapes in found.rows]
        self.kernel(row, row.name, rows, read, written)
        return _shaped(row.shape, iter(results))


def reads(value: Value, size: int | None = None) -> list[Access]:
    """The access that reads a value, or a part of it."""
    if value.key is None or value.key.size <= 0 or size == 0:
        return []
    return [(value.key, value.key.size if size is None else min(size, value.key.size))]


writes = reads
"""The access that writes a value, or a part of it."""


def expected_cycles(row: Instruction) -> int:
    """What XLA's cost model expects of an instruction on its target, where the text says so; else -1."""
    found = _CYCLES.search(row.attributes.get("backend_config", "").replace('\\"', '"'))
    return int(found[1]) if found else -1


def module_of(scope: str) -> str:
    """The path of modules in a scope: without the transformations around it and the primitive at its end."""
    parts = [part for part in scope.split("/")[:-1] if part and not _UNITARY.match(part)]
    return ".".join(parts)


def phase_of(scope: str) -> Phase:
    """JAX writes what belongs to a backward pass under `transpose(jvp(…))`."""
    return Phase.BACKWARD if "transpose(jvp" in scope else Phase.FORWARD


def _moving(row: Instruction, code: str) -> Instruction:
    return Instruction(
        name=row.name, shape=row.shape, opcode=code, operands=(), literal="", attributes={}, line=row.line
    )


def _read_sizes(row: Instruction, operands: list[Value]) -> list[tuple[Value, int | None]]:
    """Operands and the bytes that are read of each: slices and lookups read what they return."""
    sizes: list[int | None] = [None] * len(operands)
    out = sum(array.bytes for array in arrays(row.shape))
    if row.opcode in ("slice", "dynamic-slice", "gather") and operands:
        sizes[0] = out
    return list(zip(operands, sizes, strict=True))


def _shaped(shape: Shape, values: Iterator[Value]) -> Item:
    """Values in the form of a shape."""
    if isinstance(shape, tuple):
        return tuple(_shaped(part, values) for part in shape)
    return None if shape is None else next(values)
